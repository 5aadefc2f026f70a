"""`documents register`, `list` and `retire`, with the arguments that their users give, on both engines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands import logs
from commands.document_commands import documents_app
from crm.errors import Unsafe
from crm.services.documents import digest

CARD = "query Card($id: ID!) { patient(id: $id) { id religion } }"
TWO = "query One { viewer { org } } query Two($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { id } } }"
Run = Callable[..., Result]


@pytest.fixture
def documents(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs one of the commands on a migrated database, in a folder with three files."""
    monkeypatch.setenv("HEED_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HEED_DATABASE_URL", database_url)
    monkeypatch.setattr(logs, "configure", lambda _: None)  # the process is the tests', and speaks as they want
    monkeypatch.chdir(tmp_path)
    (tmp_path / "card.graphql").write_text(CARD)
    (tmp_path / "two.json").write_text(json.dumps({digest(TWO): TWO, digest(CARD): CARD}))
    (tmp_path / "bad.graphql").write_text("{ viewer { nope } }")

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(documents_app, words)
        assert result.exit_code == code, result.output
        return result

    return run


def listed(documents: Run, *words: str) -> dict[str, list[str]]:
    """The names of the documents on the list, by client."""
    found: dict[str, list[str]] = {}
    for each in json.loads(documents("list", "--json", *words).stdout):
        found.setdefault(each["client"], []).append(each["name"])
    return found


def test_a_life_of_documents(documents: Run) -> None:
    """Registered from a text and from a manifest, each once; listed; retired one by one, and all of them."""
    said = documents("register", "web", "card.graphql").stdout
    assert said.startswith(f"{digest(CARD)}  card.graphql\n  query Card: 3 fields, 2 deep, 1 records at most\n")
    assert "FORBIDDEN_FIELD at patient: religion for front_desk/PATADMIN" in said
    assert said.endswith("1 registered for web, 1 of them new\n")
    summary = json.loads(documents("register", "web", "card.graphql", "two.json", "--json").stdout)
    assert (summary["registered"], summary["new"], summary["refused"]) == (True, 1, 0)
    documents("register", "mobile", "card.graphql")
    assert listed(documents) == {"mobile": ["Card"], "web": ["Card", "One, Two"]}
    assert f"mobile  {digest(CARD)}  Card  " in documents("list", "--client", "mobile").stdout
    assert documents("retire", "web", f"sha256:{digest(CARD)}").stdout == "1 of web are retired\n"
    assert listed(documents) == {"mobile": ["Card"], "web": ["One, Two"]}
    assert json.loads(documents("retire", "web", "--all", "--json").stdout) == {"client": "web", "retired": 1}
    assert listed(documents, "--client", "web") == {}
    assert listed(documents, "--client", "web", "--retired") == {"web": ["Card", "One, Two"]}
    assert ", retired " in documents("list", "--retired").stdout


def test_what_is_told_to_programs(documents: Run) -> None:
    """For each operation its cost, and for each role and purpose the fields to blame; nothing is registered."""
    summary: dict[str, Any] = json.loads(documents("register", "web", "two.json", "--check", "--json").stdout)
    assert (summary["client"], summary["registered"], summary["new"]) == ("web", False, 0)
    two, card = summary["documents"]
    assert (two["sha256"], two["file"], two["problems"]) == (digest(TWO), "two.json", [])
    assert [(each["name"], each["fields"], each["depth"], each["records"]) for each in two["operations"]] == [
        ("One", 2, 2, 0),
        ("Two", 2, 2, 1000),
    ]
    refused = card["operations"][0]["refused"]
    fields = {"root": "patient", "code": "FORBIDDEN_FIELD", "fields": ["religion"]}
    assert {"role": "front_desk", "purpose": "PATADMIN", **fields} in refused
    assert "clinician" not in {each["role"] for each in refused}
    assert listed(documents) == {}


def test_one_that_could_never_be_executed_keeps_all_out(documents: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 3, the reason and the place; limits are those of the settings."""
    said = documents("register", "web", "card.graphql", "bad.graphql", code=3).stdout
    assert "GRAPHQL_VALIDATION_FAILED: Cannot query field 'nope' on type 'Viewer'. (line 1, column 12)" in said
    assert said.endswith("nothing was registered: 1 of 2 could never be executed\n")
    monkeypatch.setenv("HEED_LIMIT_OPERATIONS", "1")
    assert "QUERY_TOO_COSTLY" in documents("register", "web", "two.json", code=3).stdout
    assert listed(documents) == {}


def test_slips_are_refused(documents: Run, tmp_path: Path) -> None:
    """Names that are none, documents that are none, and retiring without saying what."""
    documents("register", "a client", "card.graphql", code=2)
    documents("register", "", "card.graphql", code=2)
    documents("retire", "web", code=2)
    documents("retire", "web", "short", code=2)
    documents("retire", "web", digest(CARD), "--all", code=2)
    (tmp_path / "empty.json").write_text("{}")
    assert isinstance(documents("register", "web", "empty.json", code=1).exception, Unsafe)
    assert isinstance(documents("register", "web", "missing.graphql", code=1).exception, FileNotFoundError)
    assert listed(documents) == {}
