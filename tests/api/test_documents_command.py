"""`documents register`, `list` and `retire`, with the arguments that their users give, on both engines."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from commands import logs
from commands.document_commands import documents_app
from commands.documents import examine
from crm.errors import Unsafe
from crm.services.documents import digest
from schema.settings import Limits

CARD = "query Card($id: ID!) { patient(id: $id) { id religion } }"
TWO = "query One { viewer { org } } query Two($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { id } } }"
ISSUERS = json.dumps(
    [{"issuer": "https://id.test", "audience": "heed", "jwks_url": "https://id.test/jwks", "algorithms": ["ES256"]}]
)
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

    def run(*words: str, code: int = 0, given: str | None = None) -> Result:
        result = CliRunner().invoke(documents_app, words, input=given)
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
    said = documents("retire", "web", f"sha256:{digest(CARD).upper()}").stdout
    assert said == f"1 of web are retired\n{digest(CARD)} is executed as before: still registered by mobile\n"
    assert listed(documents) == {"mobile": ["Card"], "web": ["One, Two"]}
    retired = json.loads(documents("retire", "web", "--all", "--json").stdout)
    assert (retired["client"], retired["client_known"], retired["retired"]) == ("web", True, 1)
    assert listed(documents, "--client", "web") == {}
    assert listed(documents, "--client", "web", "--retired") == {"web": ["Card", "One, Two"]}
    assert ", retired " in documents("list", "--retired").stdout
    times = [(each["registered_at"], each["retired_at"]) for each in json.loads(documents("list", "--json").stdout)]
    assert [(datetime.fromisoformat(begun).tzinfo, ended) for begun, ended in times] == [(UTC, None)]


def test_retiring_what_is_not_there(documents: Run) -> None:
    """What was named and is not there is said, and status 3; what is there is retired all the same, and only once."""
    assert documents("list").stdout == "no documents are registered\n"
    assert documents("retire", "web", "--all", code=3).stdout.endswith("nothing was ever registered for web\n")
    documents("register", "web", "card.graphql")
    documents("register", "mobile", "card.graphql", "two.json")
    said = documents("retire", "web", digest(TWO), digest(CARD), code=3).stdout.splitlines()
    assert said[:2] == ["1 of web are retired", f"{digest(TWO)} is not registered for web"]
    assert json.loads(documents("retire", "web", digest(TWO), digest(CARD), "--json", code=3).stdout) == {
        "client": "web",
        "client_known": True,
        "retired": 0,
        "retired_before": [digest(CARD)],
        "not_found": [digest(TWO)],
        "still_registered": {digest(TWO): ["mobile"], digest(CARD): ["mobile"]},
    }
    assert documents("retire", "web", digest(CARD)).stdout.splitlines()[1] == f"{digest(CARD)} was retired before"
    assert listed(documents) == {"mobile": ["Card", "One, Two"]}
    assert json.loads(documents("retire", "nobody", "--all", "--json", code=3).stdout)["client_known"] is False


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
    said = documents("register", "web", "two.json", code=3).stdout
    assert "  QUERY_TOO_COSTLY: The document holds too many operations. Found: 2; HEED_LIMIT_OPERATIONS is 1.\n" in said
    assert listed(documents) == {}


TOO_MUCH = {
    "{ viewer { org } } #" + "x" * 981: "too many characters. Found: 1001; HEED_LIMIT_SOURCE is 1000.",
    "{ viewer {" + " org" * 90 + "}}": "too many tokens. Found: 95; HEED_LIMIT_TOKENS is 80.",
    "{ viewer {" + " org" * 90 + '" }}': "too many tokens. Found: more than 80; HEED_LIMIT_TOKENS is 80.",
    "#\n" * 5 + "{ viewer { org } }": "too many comments. Found: 5; HEED_LIMIT_COMMENTS is 4.",
    "{ viewer {" + " org" * 31 + "}}": "too many fields. Found: 32; HEED_LIMIT_FIELDS is 30.",
    "{ viewer { x: org y: org z: org } }": "too many aliases. Found: 3; HEED_LIMIT_ALIASES is 1.",
    "{ viewer { org" + " @skip(if: false)" * 3 + "}}": "too many directives. Found: 3; HEED_LIMIT_DIRECTIVES is 2.",
    "{ viewer { a { b { c } } } }": "nested too deeply. Found: 4; HEED_LIMIT_DEPTH is 3.",
    "{ __schema " + "{ x " * 20 + "}" * 21: "introspection is nested too deeply. Found: 21; 20 is the most.",
    '{ patients(ids: ["a", "b", "c"]) { ... on Patient { id } } }': "in one call. Found: 3; HEED_LIMIT_BATCH is 2.",
}


def test_what_was_too_much_is_counted(tmp_path: Path) -> None:
    """The setting and the number found, so that its owner knows how far off a document is."""
    limits = Limits(source=1_000, tokens=80, comments=4, fields=30, aliases=1, directives=2, depth=3, batch=2)
    files = []
    for number, text in enumerate(TOO_MUCH):
        files.append(tmp_path / f"{number}.graphql")
        files[-1].write_text(text)
    found = [each.problems for each in examine(files, limits)]
    assert [problem.partition(": ")[0] for (problem,) in found] == ["QUERY_TOO_COSTLY"] * 9 + ["BATCH_TOO_LARGE"]
    assert [
        (problem, told) for (problem,), told in zip(found, TOO_MUCH.values(), strict=True) if told not in problem
    ] == []


def test_introspection_is_appraised_as_this_server_answers_it(
    documents: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In development and with open introspection nobody is refused; else all but those who may read the schema."""
    (tmp_path / "types.graphql").write_text("{ __schema { queryType { name } } }")
    words = ("register", "web", "types.graphql", "--check")
    assert "FORBIDDEN" not in documents(*words).stdout
    monkeypatch.setenv("HEED_ENV", "production")
    monkeypatch.setenv("HEED_ISSUERS", ISSUERS)
    assert "FORBIDDEN at __schema for front_desk" in documents(*words).stdout
    monkeypatch.setenv("HEED_OPEN_INTROSPECTION", "true")
    assert "FORBIDDEN" not in documents(*words).stdout


def test_a_text_from_standard_input(documents: Run) -> None:
    """`-` is one document, exactly as it comes."""
    said = documents("register", "web", "-", given=CARD).stdout
    assert said.startswith(f"{digest(CARD)}  -\n  query Card: 3 fields")
    assert listed(documents) == {"web": ["Card"]}


def test_a_failure_is_told_to_programs(documents: Run, tmp_path: Path) -> None:
    """With --json whoever reads the output finds one object with the reason there, whichever command it was."""
    (tmp_path / "empty.json").write_text("{}")
    failed = documents("register", "web", "empty.json", "--json", code=1)
    assert json.loads(failed.stdout) == {"error": "these files hold no documents"}
    assert documents("register", "web", "empty.json", code=1).stdout == ""


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
