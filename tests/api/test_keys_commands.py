"""The commands `keys …` as their users see them: what each prints, returns and refuses."""

import json
import os
import pty
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.processes import PATIENCE, ROOT, call, command, done, environment, founded

DAY = 86_400 * 1_000_000


def patient(number: int) -> dict[str, Any]:
    """A FHIR Patient who differs from others by a number."""
    return {
        "resourceType": "Patient",
        "id": f"pat-{number}",
        "identifier": [{"system": "urn:example:mrn", "value": f"MRN-{number}"}],
        "name": [{"use": "official", "family": "Okafor", "given": ["Samantha"]}],
        "birthDate": "1984-07-03",
    }


@pytest.fixture
def place(tmp_path: Path, databases: Databases) -> Iterator[dict[str, Any]]:
    """The settings of a place with three patients in a SQLite database."""
    url = databases.create("sqlite")
    settings = founded(tmp_path / "data", url)
    file = tmp_path / "in.ndjson"
    file.write_text("\n".join(json.dumps(patient(number)) for number in range(3)))
    done("import", "fhir", file, **settings)
    yield settings
    databases.drop(url)


def sql(place: dict[str, Any], statement: str, *values: Any) -> list[tuple[Any, ...]]:
    """Rows of the place's database."""
    with closing(sqlite3.connect(str(place["database_url"]).removeprefix("sqlite:///"))) as database, database:
        return database.execute(statement, values).fetchall()


def status(place: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The stored keys by use and number, as `keys status --json` tells them."""
    told = json.loads(done("keys", "status", "--json", **place))
    return {f"{key['use']} {key['no']}": key for key in told["keys"]}


def test_rotate_takes_wrap_keys_unless_told_otherwise(place: dict[str, Any]) -> None:
    """A new epoch for every class, in lines for people; the old ones are kept for as long as copies are."""
    said = done("keys", "rotate", **place)
    assert [line.split(":")[0] for line in said.splitlines()] == [
        "identity 2", "contact 2", "preference 2", "sensitive 2",
    ]  # fmt: skip
    assert "identity 2: 3 rows moved" in said
    keys = status(place)
    assert {name: keys[name]["state"] for name in ("identity 1", "identity 2", "index 1", "log 1")} == {
        "identity 1": "retiring", "identity 2": "active", "index 1": "active", "log 1": "active",
    }  # fmt: skip
    assert (keys["identity 1"]["references"], keys["identity 2"]["references"]) == (0, 3)
    assert keys["identity 1"]["due"] == keys["identity 1"]["drained_at"] + 30 * DAY


def test_one_class_alone(place: dict[str, Any]) -> None:
    """Others stay as they are."""
    done("keys", "rotate", "--class", "contact", **place)
    assert {name for name, key in status(place).items() if key["state"] == "retiring"} == {"contact 1"}


def test_only_what_is_due(place: dict[str, Any]) -> None:
    """Nothing is, until a key is older than its time; then that one alone is rotated."""
    assert done("keys", "rotate", "--due", **place) == "nothing is due\n"
    sql(place, "UPDATE crypto_key SET activated_at = activated_at - ? WHERE key_class = 'contact'", 31 * DAY)
    told = json.loads(done("keys", "rotate", "--due", "--json", **place))
    assert [(one["use"], one["no"]) for one in told["rotated"]] == [("contact", 2)]
    sql(place, "UPDATE crypto_key SET activated_at = activated_at - ?, created_at = created_at - ?", *[400 * DAY] * 2)
    assert done("keys", "rotate", "index", "--due", **place).startswith("index 2: ")
    told = json.loads(done("keys", "rotate", "--due", "--json", **place))
    assert {one["use"] for one in told["rotated"] if "no" in one} == {"identity", "contact", "preference", "sensitive"}
    assert {one["use"] for one in told["rotated"] if "key_ref" in one} >= {"identity", "preference", "log"}


def test_status_is_a_page_for_people(place: dict[str, Any]) -> None:
    """Keys, root keys, counts of data keys, what this process holds, and who else runs."""
    hour_ago = time.time_ns() // 1000 - 3_600_000_000
    held = '{"identity": {"1": "active"}}'
    told = (hour_ago, hour_ago, held, 300_000_000)
    sql(place, "INSERT INTO replica (node, started_at, seen_at, holds, max_age) VALUES ('old-one', ?, ?, ?, ?)", *told)
    said = done("keys", "status", **place)
    assert "identity 1    active  0 d     3  keyring   rotate by" in said
    assert "data keys: identity 3, contact 0, preference 0, sensitive 0" in said
    assert "this process holds: identity, contact, preference, sensitive, index, log" in said
    gone = next(line for line in said.splitlines() if line.startswith("replica old-one: "))
    assert "counts as gone" in gone
    assert "was not given contact, preference, sensitive, index, log" in gone
    assert any(line.startswith("replica ") and "seen 0 s ago" in line for line in said.splitlines())
    assert said.isascii()


def test_imports_recognise_everybody_after_the_index_key(place: dict[str, Any], tmp_path: Path) -> None:
    """Digests of the old key are gone, and the same file changes nothing all the same; then it is known again."""
    done("keys", "rotate", "index", **place)
    assert sql(place, "SELECT count(*) FROM source_record") == [(0,)]
    assert sql(place, "SELECT DISTINCT key_ver FROM blind_index") == [(2,)]
    for _ in range(2):
        told = json.loads(done("import", "fhir", tmp_path / "in.ndjson", "--json", **place).splitlines()[-1])
        assert (told["unchanged"], told["created"], told["updated"]) == (3, 0, 0)
    assert sql(place, "SELECT key_ver, count(*) FROM source_record GROUP BY 1") == [(2, 3)]


@pytest.mark.slow
def test_data_keys_print_the_time_to_go_on_with(place: dict[str, Any]) -> None:
    """The time goes to standard error before the work begins; with it, nothing is done twice."""
    ended = command("keys", "rotate", "data", **place)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("data keys: 3 replaced, of 3 patients")
    before = ended.stderr.removeprefix("data keys made before ").partition(": ")[0]
    again = json.loads(done("keys", "rotate", "data", "--before", before, "--json", **place))
    assert again["rotated"][0]["moved"] == 0
    [(patient_id,)] = sql(place, "SELECT id FROM patient ORDER BY id LIMIT 1")
    one = json.loads(done("keys", "rotate", "data", "--patient", patient_id, "--json", **place))
    assert (one["rotated"][0]["patients"], one["rotated"][0]["moved"]) == (1, 1)


@pytest.mark.slow
def test_destroy_asks_and_waits(place: dict[str, Any]) -> None:
    """Kept for the copies' sake; with --now it asks first, and refuses where nobody is there to answer."""
    done("keys", "rotate", "--class", "identity", **place)
    kept = command("keys", "destroy", **place)
    assert (kept.returncode, kept.stdout.startswith("kept: identity 1: copies that need it")) == (0, True)
    asked = command("keys", "destroy", "--now", **place)
    assert asked.returncode == 1
    assert "nobody is there to confirm this: state --yes" in asked.stderr
    assert "to be destroyed for good: identity 1" in asked.stderr
    assert status(place)["identity 1"]["state"] == "retiring"
    ended = command("keys", "destroy", "--now", "--yes", **place)
    assert ended.returncode == 0
    assert ended.stdout.startswith("destroyed: identity 1\ndestroyed: root key identity-")
    assert "copy the key store and the root keys now" in ended.stdout
    assert status(place)["identity 1"]["state"] == "destroyed"
    assert len(done("export", "fhir", **place).splitlines()) == 3
    assert done("keys", "destroy", "--now", **place) == "there is no old key\n"


@pytest.mark.slow
def test_destroy_refuses_what_is_needed(place: dict[str, Any]) -> None:
    """It says how many rows are under the key, destroys nothing, and returns 3."""
    before = sql(place, "SELECT patient_id, epoch, wrapped FROM patient_key WHERE key_class = 'identity' LIMIT 1")
    done("keys", "rotate", "--class", "identity", **place)
    [(patient_id, _, wrapped)] = before
    sql(place, "UPDATE patient_key SET epoch = 1, wrapped = ? WHERE patient_id = ? AND key_class = 'identity'",
        wrapped, patient_id)  # fmt: skip
    ended = command("keys", "destroy", "--now", "--yes", **place)
    assert ended.returncode == 3
    assert "kept: identity 1: 1 rows are under it" in ended.stdout
    assert status(place)["identity 1"]["state"] == "retiring"
    assert json.loads(done("keys", "rotate", "--class", "identity", "--json", **place))["rotated"][0]["resumed"]
    assert command("keys", "destroy", "--now", "--yes", **place).returncode == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rotate", "everything"), "the kinds of keys are wrap, index, root and data"),
        (("rotate", "--class", "address"), "is not one of identity, contact, preference, sensitive"),
        (("rotate", "index", "--class", "identity"), "--class is for wrap keys"),
        (("rotate", "--patient", "x"), "--patient and --before are for data keys"),
        (("rotate", "data", "--before", "yesterday"), "a time is written as"),
        (("verify", "--sample", "0"), "Invalid value for '--sample'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_usage_errors(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    """What does not fit together is refused before anything is opened."""
    ended = command("keys", *words, cwd=tmp_path, data_dir=tmp_path)
    assert ended.returncode == 2, ended.stderr
    assert said in " ".join(ended.stderr.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_record_that_does_not_open_is_told_by_the_status(place: dict[str, Any]) -> None:
    """The others are rotated; exit status 3 says that somebody is left."""
    sql(place, "UPDATE patient_key SET wrapped = zeroblob(66) WHERE key_class = 'identity' AND patient_id = "
               "(SELECT min(id) FROM patient)")  # fmt: skip
    ended = command("keys", "rotate", "--class", "identity", **place)
    assert ended.returncode == 3
    assert "identity 2: 2 rows moved" in ended.stdout
    assert "1 could not be opened and stay as they were" in ended.stdout
    assert "identity 1 cannot be retired: 1 data keys" in ended.stderr


def test_on_a_terminal_there_are_bars(place: dict[str, Any]) -> None:
    """Where somebody watches, each step shows itself; elsewhere standard error stays plain."""
    ours, theirs = pty.openpty()
    words = call("keys", "rotate", "--class", "identity")
    ended = subprocess.run(
        words, env=environment(**place), cwd=ROOT, stdout=subprocess.PIPE, stderr=theirs, timeout=PATIENCE, check=True
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65_536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert b"identity 2: data keys of demo" in shown
    assert b"\x1b[" in shown
    assert ended.stdout.startswith(b"identity 2: 3 rows moved")
    assert "\x1b" not in command("keys", "rotate", **place).stderr
