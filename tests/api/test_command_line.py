"""The command line as its users see it: what each command prints, writes and returns."""

import gzip
import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest

from auth.roles import PERSONAL, Role
from tests.conftest import Databases
from tests.processes import ROOT, call, command, done, environment, founded

PATIENT = {
    "resourceType": "Patient",
    "id": "pat-1",
    "identifier": [{"system": "urn:example:mrn", "value": "MRN-1"}],
    "name": [{"use": "official", "family": "Okafor", "given": ["Samantha"]}],
    "birthDate": "1984-07-03",
}


def patient(number: int, **more: Any) -> dict[str, Any]:
    """A FHIR Patient that differs from others by its number."""
    identifier = [{"system": "urn:example:mrn", "value": f"MRN-{number}"}]
    return {**PATIENT, "id": f"pat-{number}", "identifier": identifier, **more}


def ndjson(path: Path, *resources: Any) -> Path:
    """A file with one resource, or one raw text, for each line."""
    lines = [resource if isinstance(resource, str) else json.dumps(resource) for resource in resources]
    path.write_text("\n".join(lines) + "\n")
    return path


def summary(output: str) -> dict[str, int]:
    """The four numbers on the last line of `import fhir --json`."""
    last = json.loads(output.splitlines()[-1])
    return {name: last[name] for name in ("created", "updated", "unchanged", "rejected")}


@pytest.fixture
def place(tmp_path: Path, databases: Databases) -> Iterator[dict[str, Any]]:
    """The settings of a place with a key ring and a migrated SQLite database."""
    url = databases.create("sqlite")
    yield founded(tmp_path / "data", url)
    databases.drop(url)


def test_who_interrupts_while_it_starts_sees_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C among the imports ends it with 130, as later on, and without a traceback."""
    (tmp_path / "typer.py").write_text("import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(30)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    ended = command("--help")
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "words",
    [(), ("--help",), ("serve", "--help"), ("demo", "--help"), ("import", "fhir", "--help"), ("token", "--help")],
    ids=lambda words: " ".join(words) or "nothing",
)
def test_help_is_plain_and_complete(words: tuple[str, ...]) -> None:
    """Help names every option or command, and on a pipe it has no control characters and no boxes."""
    shown = command(*words)
    text = shown.stdout + shown.stderr
    assert shown.returncode == (0 if words else 2)
    assert text.startswith("Usage: server.py")
    assert text.isascii()
    assert text.replace("\n", "").isprintable()
    if words in ((), ("--help",)):
        for name in ("demo", "serve", "migrate", "token", "import", "export", "keys", "policy", "schema", "docs"):
            assert f"\n  {name} " in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("frobnicate",), "No such command 'frobnicate'"),
        (("serve", "--nope"), "No such option: --nope"),
        (("token", "--subject", "x"), "Missing option '--role'"),
        (("token", "--subject", "x", "--role", "king"), "'king' is not one of"),
        (("token", "--subject", "x", "--role", "clinician", "--ttl", "15"), "a duration is a number"),
        (("token", "--subject", "x", "--role", "clinician", "--ttl", "0m"), "a duration is a number"),
        (("token", "--subject", "x", "--role", "clinician", "--org", "a b"), "an organisation is"),
        (("demo", "--port", "99999"), "Invalid value for '--port'"),
        (("demo", "--patients", "0"), "Invalid value for '--patients'"),
        (("import", "fhir"), "Missing argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors_say_what_is_wrong(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """A word the command line does not know: what it is, how to get help, status 2, nothing done."""
    ended = command(*words, cwd=tmp_path, data_dir=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_migrate_twice_and_two_at_once(empty_database_url: str, tmp_path: Path) -> None:
    """Two replicas migrate at the same time, then a third: all succeed, and say the same revision."""
    settings: dict[str, Any] = {"data_dir": tmp_path, "database_url": empty_database_url}
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: command("migrate", **settings), range(2)))
    ended = [*both, command("migrate", **settings)]
    assert [one.returncode for one in ended] == [0, 0, 0], [one.stderr for one in ended]
    assert {one.stdout for one in ended} == {"the database is at revision 0011\n"}


def test_tokens(tmp_path: Path) -> None:
    """A token is one line, with the claims that were asked for; test_demo.py has one of each role."""
    roles = (Role.FRONT_DESK, Role.PROXY)

    def made(role: Role) -> str:
        bound = ("--patient", "0198-p") if role in PERSONAL else ()
        ask = ("--subject", "u-7", "--org", "north", "--ttl", "2h", *bound)
        return done("token", "--role", role.value, *ask, data_dir=tmp_path)

    with ThreadPoolExecutor(2) as pool:
        outputs = list(pool.map(made, roles))  # two at once, who also make the issuer's key
    for role, output in zip(roles, outputs, strict=True):
        assert output.count("\n") == 1
        claims = jwt.decode(output.strip(), options={"verify_signature": False})
        assert (claims["roles"], claims["sub"], claims["org"]) == ([role.value], "u-7", "north")
        assert claims["exp"] - claims["iat"] == 7200
        assert claims.get("patient") == ("0198-p" if role in PERSONAL else None)


@pytest.mark.parametrize(
    ("words", "settings", "said"),
    [
        (("--role", "patient"), {}, "--patient ID is needed with the roles patient and proxy"),
        (("--role", "messaging", "--patient", "x"), {}, "--patient ID goes with the roles of people"),
        (
            ("--role", "patient", "--patient", "x", "--family-name", "Y"),
            {},
            "--family-name NAME goes with the roles of staff",
        ),
        (("--role", "clinician", "--ttl", "2d"), {}, "a token lives at most 24 hours"),
        (("--role", "proxy", "--patient", "a/b"), {}, "no server would accept this token"),
        (
            ("--role", "clinician"),
            {
                "env": "production",
                "issuers": '[{"issuer": "https://id.test", "audience": "heed", "jwks_url": "https://id.test/jwks", '
                '"algorithms": ["RS256"]}]',
            },
            "signs no tokens in production",
        ),
    ],
    ids=["no patient", "a patient too many", "a name too many", "too long", "bad patient", "production"],
)
def test_tokens_that_are_refused(words: tuple[str, ...], settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    """What no server would accept is not signed."""
    ended = command("token", "--subject", "x", *words, data_dir=tmp_path, **settings)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert said in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_keys_init_never_overwrites(tmp_path: Path) -> None:
    """The key ring is its owner's only, and a second one never takes its place."""
    done("keys", "init", data_dir=tmp_path / "data")
    ring = tmp_path / "data" / "keyring.json"
    before = ring.read_bytes()
    assert ring.stat().st_mode & 0o777 == 0o600
    assert ring.parent.stat().st_mode & 0o777 == 0o700
    again = command("keys", "init", data_dir=tmp_path / "data")
    assert again.returncode == 1
    assert "never overwritten" in again.stderr
    assert ring.read_bytes() == before


def test_policy_schema_and_pages_are_the_committed_ones() -> None:
    """`policy show`, `schema` and `docs --check` agree with the files under version control."""
    with ThreadPoolExecutor(2) as pool:
        whole, desk, sdl, check = pool.map(
            lambda line: done(*line.split()),
            ["policy show", "policy show --role front_desk", "schema", "docs --check"],
        )
    rows = whole.splitlines()
    assert rows[0].split("\t")[:2] == ["role", "purpose"]
    assert {row.split("\t")[0] for row in rows[1:]} == set(Role)
    assert desk.splitlines() == [rows[0], *(row for row in rows if row.startswith("front_desk\t"))]
    assert sdl == (ROOT / "schema" / "schema.graphql").read_text()
    assert check == ""


def test_import_counts_every_record_once(place: dict[str, Any], tmp_path: Path) -> None:
    """Created, then unchanged, then updated; rejects are told by line and kept as they stood, for their owner only."""
    broken = '{"resourceType": "Patient", "gender": "CANARY-gender"'
    strange = json.dumps(patient(9, gender="CANARY-gender"))
    file = ndjson(tmp_path / "in.ndjson", patient(1), broken, strange, patient(2))
    kept = tmp_path / "rejects.ndjson"

    first = command("import", "fhir", file, "--rejects", kept, "--json", **place)
    assert first.returncode == 3
    assert summary(first.stdout) == {"created": 2, "updated": 0, "unchanged": 0, "rejected": 2}
    assert "CANARY" not in first.stdout + first.stderr
    assert json.loads(first.stdout)["by_reason"] == {"bad_code": 1, "not_json": 1}
    assert first.stderr.splitlines() == [f"{file}:2: rejected: not_json", f"{file}:3: rejected: bad_code gender"]
    assert kept.stat().st_mode & 0o777 == 0o600
    refused = [json.loads(line) for line in kept.read_text().splitlines()]
    assert [(one["line"], one["reason"], one["record"]) for one in refused] == [
        (2, "not_json", broken),
        (3, "bad_code", strange),
    ]

    again = command("import", "fhir", file, **place)
    assert again.returncode == 3
    assert again.stdout.startswith("created 0, updated 0, unchanged 2, rejected 2; 4 records")
    changed = ndjson(tmp_path / "changed.ndjson", patient(1, birthDate="1984-07-04"))
    assert summary(done("import", "fhir", changed, "--json", **place))["updated"] == 1


def test_import_takes_every_kind_of_file(place: dict[str, Any], tmp_path: Path) -> None:
    """A Bundle over several lines, a single resource, gzip of NDJSON: one command for all, one summary."""
    bundle = tmp_path / "bundle.json"
    entries = [{"resource": patient(number)} for number in (1, 2)]
    bundle.write_text(json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}, indent=2))
    single = tmp_path / "single.json"
    single.write_text(json.dumps(patient(3), indent=1))
    packed = tmp_path / "more.ndjson.gz"
    packed.write_bytes(gzip.compress(b"\n".join(json.dumps(patient(number)).encode() for number in (4, 5))))
    files = (bundle, single, packed)
    assert summary(done("import", "fhir", *files, "--json", **place))["created"] == 5
    assert summary(done("import", "fhir", *files, "--json", **place))["unchanged"] == 5


def test_import_refuses_what_it_cannot_read(place: dict[str, Any], tmp_path: Path) -> None:
    """A file that is missing, or rejects that would overwrite an input: one line, status 1, and nothing is stored."""
    good = ndjson(tmp_path / "good.ndjson", patient(1))
    missing = command("import", "fhir", good, tmp_path / "missing", **place)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == f"heed: cannot read {tmp_path / 'missing'}\n"
    same = command("import", "fhir", good, "--rejects", good, **place)
    assert same.returncode == 1
    assert "name another file" in same.stderr
    assert summary(done("import", "fhir", good, "--json", **place))["created"] == 1


@pytest.mark.slow
def test_exports_give_back_what_came_in(place: dict[str, Any], tmp_path: Path) -> None:
    """All of an organisation as NDJSON, one person whole; another organisation's patients are not there."""
    done("import", "fhir", ndjson(tmp_path / "in.ndjson", *(patient(n) for n in range(300))), "--org", "north", **place)
    out = tmp_path / "out.ndjson"
    assert command("export", "fhir", "--org", "north", "--output", out, **place).stderr == "exported 300 patients\n"
    assert out.stat().st_mode & 0o777 == 0o600
    patients = [json.loads(line) for line in out.read_text().splitlines()]
    assert {one["name"][0]["family"] for one in patients} == {"Okafor"}

    again = command("export", "fhir", "--org", "north", "--output", out, **place)
    assert again.returncode == 1
    assert again.stderr == f"heed: cannot write {out}: File exists\n"

    own = patients[0]["id"]
    whole = json.loads(done("export", "patient", own, "--org", "north", **place))
    assert (whole["id"], whole["birth_date"]) == (own, "1984-07-03")
    missing = command("export", "patient", own, "--org", "south", **place)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr == "heed: there is no such patient in this organisation\n"

    _a_reader_who_leaves(place)


def _a_reader_who_leaves(place: dict[str, Any]) -> None:
    """`export fhir | head -1` ends without a word about broken pipes."""
    words, env = call("export", "fhir", "--org", "north"), environment(**place)
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as exporting:
        assert exporting.stdout is not None
        assert exporting.stderr is not None
        exporting.stdout.readline()
        exporting.stdout.close()
        assert exporting.stderr.read() == b""


@pytest.mark.slow
def test_needs_are_exported_for_others(place: dict[str, Any], tmp_path: Path) -> None:
    """As Flags and nothing else, in the form that was asked for."""
    needs = {"url": "urn:heed:fhir:access-needs", "valueString": '[{"kind": "HEARING_LOOP", "text": "Desk two."}]'}
    done("import", "fhir", ndjson(tmp_path / "in.ndjson", patient(1, extension=[needs]), patient(2)), **place)
    for form, text in (("nhs", "Desk two."), ("us", "Hearing loop: Desk two.")):
        found = command("export", "needs", "--as", form, **place)
        assert found.stderr == "exported 1 needs\n"
        [flag] = [json.loads(line) for line in found.stdout.splitlines()]
        assert (flag["resourceType"], flag["code"]["text"]) == ("Flag", text)


def test_no_command_says_a_value(place: dict[str, Any], tmp_path: Path) -> None:
    """Unique words in every place of good, strange and broken records: none comes out on stdout or stderr."""
    word = "CANARY7Q"
    name = {"family": f"{word}a", "given": [f"{word}b"]}
    files = [
        ndjson(
            tmp_path / "in.ndjson",
            patient(1, name=[name], telecom=[{"system": "email", "value": f"{word}@example.org"}]),
            patient(2, **{f"{word}key": 1}),
            patient(3, gender=word),
            patient(4, birthDate=word),
            patient(5, name=[{**name, f"{word}key": "x"}]),
            patient(6, extension=[{"url": f"http://example.test/?{word}", "valueString": word}]),
            patient(7, extension=[{"url": word, "extension": [{"url": word, word: word}]}]),
            patient(8, telecom=[{"system": word, "value": word}]),
            patient(
                9, identifier=[{"system": word, "value": word}], link=[{"type": word, "other": {"reference": word}}]
            ),
            patient(10, modifierExtension=[{"url": f"http://{word}.test/modifier", "valueBoolean": True}]),
            patient(11, communication=[{"language": {"coding": [{"code": word}], "text": word}}]),
            patient(12, id=f"{word} not an id"),
            f'{{"resourceType": "{word}"}}',
            f'{{"resourceType": "Patient", "{word}": ',
            f'{{"{word}": 1, "{word}": 2}}',
            f'"{word}"',
            word,
        )
    ]
    outputs = [
        command("import", "fhir", *files, **place),
        command("export", "fhir", "--output", tmp_path / "out.ndjson", **place),
        command("export", "patient", word, **place),
    ]
    for output in outputs:
        assert word.lower() not in (output.stdout + output.stderr).lower()
        assert (output.stdout + output.stderr).replace("\n", "").isprintable()
    assert word in (tmp_path / "out.ndjson").read_text(), "the canary was never stored, so its absence says nothing"
