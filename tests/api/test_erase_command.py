"""`erase` and `replay-erasures` as their users see them: what they print, refuse and return."""

import json
import os
import pty
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm.crypto.note import open_note
from tests.conftest import Databases
from tests.processes import PATIENCE, ROOT, call, command, done, environment, founded


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[dict[str, Any]]:
    """A place with a key ring and a SQLite database, for all tests of this module."""
    url = databases.create("sqlite")
    yield founded(tmp_path_factory.mktemp("erase") / "data", url)
    databases.drop(url)


@pytest.fixture(scope="module")
def patients(place: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The ids of four patients, each for one test."""
    source = tmp_path_factory.mktemp("source") / "patients.ndjson"
    lines = [
        {"resourceType": "Patient", "id": str(number), "name": [{"family": family}], "gender": "female"}
        for number, family in enumerate(("Anders", "Berg", "Chen", "Diaz"))
    ]
    source.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    done("import", "fhir", source, **place)
    return [json.loads(line)["id"] for line in done("export", "fhir", **place).splitlines()]


def test_a_patient(place: dict[str, Any], patients: list[str]) -> None:
    """Prints the signed receipt; once more it says ERASED; the receipt can be printed again; an export refuses."""
    one = patients[0]
    note = done("erase", one, "--yes", "--reason", "NO_LONGER_NEEDED", **place)
    assert f"patient: {one}\nerased: the whole record\nreason: NO_LONGER_NEEDED" in note
    again = command("erase", one, "--yes", **place)
    assert (again.returncode, again.stdout, again.stderr[:14]) == (1, "", "heed: ERASED: ")
    receipt = json.loads(done("erase", one, "--receipt", "--json", **place))
    assert (receipt["patient_id"], receipt["whole"], receipt["reason"]) == (one, True, "NO_LONGER_NEEDED")
    assert receipt["effective_in_copies_at"] is None
    assert open_note(receipt["note"], receipt["verifier_key"]).splitlines()[:9] == note.splitlines()[:9]
    shown = command("erase", one, "--receipt", **place)
    assert shown.stderr == f"verifier key, to be kept apart from the note: {receipt['verifier_key']}\n"
    assert open_note(shown.stdout, receipt["verifier_key"])  # standard output is the note and nothing else
    refused = command("export", "patient", one, **place)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "ERASED" in refused.stderr
    assert one not in done("export", "fhir", **place)


def test_some_classes(place: dict[str, Any], patients: list[str]) -> None:
    """Only those that are named; the rest of the record is still given out."""
    one = patients[1]
    receipt = json.loads(done("erase", one, "--class", "sensitive", "--yes", "--json", **place))
    assert (receipt["classes"], receipt["whole"]) == (["sensitive"], False)
    profile = json.loads(done("export", "patient", one, **place))
    assert profile["names"][0]["family"] == "Berg"
    assert "administrative_gender" in profile["erased"]
    assert "administrative_gender" not in profile


def test_nobody_to_ask(place: dict[str, Any], patients: list[str]) -> None:
    """Without a terminal and without --yes nothing is erased, and one line says why."""
    refused = command("erase", patients[2], **place)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "heed: nobody is there to confirm this: state --yes\n"
    assert done("erase", patients[2], "--receipt", **place) == "nothing of this patient was erased\n"


@pytest.mark.parametrize("answer", ["n", "y"])
def test_somebody_is_asked(place: dict[str, Any], patients: list[str], answer: str) -> None:
    """On a terminal the question names what is erased, and of whom; only a yes does it."""
    one = patients[2]
    ours, theirs = pty.openpty()
    os.write(ours, f"{answer}\n".encode())
    ended = subprocess.run(
        call("erase", one), env=environment(**place), cwd=ROOT, stdin=theirs, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert f"Erase everything of {one} in demo, for good?" in ended.stderr
    assert ended.returncode == (0 if answer == "y" else 1)
    assert ("erased: the whole record" in ended.stdout) is (answer == "y")


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("0199c0de-0000-7000-8000-000000000001", "--yes"), 1, "there is no such patient"),
        (("0199c0de-0000-7000-8000-000000000001", "--receipt"), 1, "there is no such patient"),
        (("x", "--class", "clinical", "--yes"), 2, "'clinical' is not one of identity, contact, preference, sensitive"),
        (("x", "--reason", "BOREDOM", "--yes"), 2, "BOREDOM"),
    ],
)
def test_what_is_refused(place: dict[str, Any], words: tuple[str, ...], status: int, said: str) -> None:
    """An unknown patient, class or reason: told plainly, without a traceback."""
    ended = command("erase", *words, **place)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert said in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
def test_an_old_copy_is_put_back(place: dict[str, Any], patients: list[str], tmp_path: Path) -> None:
    """Every command refuses the database that has forgotten, and says what to run; after that all is as it was."""
    file = Path(place["database_url"].removeprefix("sqlite:///"))
    shutil.copytree(file.parent, tmp_path / "backup")
    done("erase", patients[3], "--yes", **place)
    shutil.copy(tmp_path / "backup" / file.name, file)
    for words in (("export", "fhir"), ("erase", patients[3], "--yes"), ("keys", "status")):
        refused = command(*words, **place)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "1 erasures are missing" in refused.stderr
        assert "run `python server.py replay-erasures`" in refused.stderr
    assert done("replay-erasures", **place) == "1 erasures were done again\n"
    assert json.loads(done("replay-erasures", "--json", **place)) == {"replayed": 0}
    assert patients[3] not in done("export", "fhir", **place)
    assert "ERASED" in command("erase", patients[3], "--yes", **place).stderr
