"""The npm packages that tests and benchmarks install are those that were pinned, wherever they come from."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ["tests/conformance/node", "bench/peers"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_packages_have_a_hash_and_no_address(folder: str) -> None:
    """The lock pins each by version and hash, and any registry may be asked for it."""
    packages = json.loads((ROOT / folder / "package-lock.json").read_text("utf-8"))["packages"]
    asked = packages.pop("")
    assert len(packages) > 10
    assert [path for path, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []
    assert [path for path, package in packages.items() if "resolved" in package] == []
    given = {**asked.get("dependencies", {}), **asked.get("devDependencies", {})}
    assert {name: packages[f"node_modules/{name}"]["version"] for name in given} == given
