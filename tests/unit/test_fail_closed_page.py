"""The page of what happens when the log cannot be written names tests, and each of them is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "fail-closed.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_each_named_test_is_there(path: str, name: str) -> None:
    """In the file that the page says."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_state_names_a_test() -> None:
    """No row of the table is only a promise, and no test of a state is left out of it."""
    rows = [line for line in PAGE.partition("## The drill")[0].splitlines() if line.startswith("| ")][1:]
    assert len(rows) > 20
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py::\w+`", row)] == []
    for path in sorted((ROOT / "tests" / "reliability").glob("test_fail_closed*.py")):
        tests = set(re.findall(r"^async def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
        assert tests <= {name for _, name in NAMED}
