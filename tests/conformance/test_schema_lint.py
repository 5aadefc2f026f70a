"""The rules of graphql-eslint, on the SDL in git and on the documents that the clients of the tests send."""

from pathlib import Path
from typing import Any

from schema.sdl import build_schema
from tests import node

ROOT = Path(__file__).resolve().parents[2]
SDL = "schema/schema.graphql"
DOCUMENTS = "tests/conformance/documents/*.graphql"


async def test_the_recommended_and_the_relay_rules() -> None:
    """Nothing is found by any of the rules, and no type is excused that has an id for everybody."""
    found = await node.run("lint.mjs", ROOT, SDL, DOCUMENTS)
    assert found["problems"] == []
    assert len(found["files"]) > 1
    rules = {rule.removeprefix("@graphql-eslint/") for rule in found["rules"]}
    assert rules >= {"require-description", "require-deprecation-reason", "strict-id-in-types", "relay-page-info"}
    types: dict[str, Any] = build_schema().type_map
    identified = {
        name for name in found["withoutId"] if str(getattr(types[name].fields.get("id"), "type", "")) == "ID!"
    }
    assert identified == set()


async def test_the_rules_find_what_is_wrong(tmp_path: Path) -> None:
    """A field that nobody describes, a deprecation without a reason, a thing without an id: none of them passes."""
    (tmp_path / "bad.graphql").write_text("type Query { old: ClinicType @deprecated } type ClinicType { name: String }")
    found = await node.run("lint.mjs", tmp_path, "bad.graphql")
    broken = {problem.split()[1].removeprefix("@graphql-eslint/") for problem in found["problems"]}
    assert broken == {
        "naming-convention",
        "relay-page-info",
        "require-deprecation-reason",
        "require-description",
        "strict-id-in-types",
    }
