"""What the service stored can be read without it: by a short program that knows only the written-down formats.

The program runs alone, without the project on its path, on what a real service wrote and its commands rotated.
"""

import ast
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.catalogue import CLASSES, FIELDS, Codec, KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.note import Signer
from crm.store.database import Database
from crm.store.keystore import bootstrap
from crm.store.log import LogSink, signer_of
from tests.asking import EVERYTHING, question
from tests.client import client
from tests.conftest import Databases
from tests.house import ORG, now
from tests.logs import database_at
from tests.people import WHOLE, camel
from tests.processes import command, done

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "examples" / "open_a_record.py"
VERIFIER = ROOT / "examples" / "verify_a_receipt.py"
PAGE = ROOT / "docs" / "reading-without-us.md"
ENV = "development"
SOURCES = [{"source": "urn:example:ward", "id": "77"}]


@dataclass(frozen=True)
class Left:
    """What a service left behind: its file, its key ring, a patient, and what the API said of the patient."""

    folder: Path
    url: str
    patient_id: str
    answered: dict[str, Any]

    def settings(self) -> dict[str, Any]:
        """The settings under which its commands run."""
        return {"data_dir": self.folder, "database_url": self.url, "env": ENV}

    def run(self, *, ring: Path | None = None, env: str = ENV) -> subprocess.CompletedProcess[str]:
        """The independent program, in a process that cannot find Heed."""
        file, keys = self.url.removeprefix("sqlite:///"), str(ring or self.folder / "keyring.json")
        words = [sys.executable, "-I", str(PROGRAM), file, keys, env, ORG, self.patient_id]
        return subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)

    def read(self) -> dict[str, Any]:
        """What it reads."""
        ended = self.run()
        assert ended.returncode == 0, ended.stderr
        found: dict[str, Any] = json.loads(ended.stdout)
        return found


@pytest.fixture
async def left(databases: Databases, tmp_path: Path) -> AsyncIterator[Left]:
    """A service that stored somebody with a value in every field, and stopped."""
    url, folder = databases.create("sqlite"), tmp_path / "data"
    folder.mkdir(mode=0o700)
    ring = KeyRing.create(folder / "keyring.json")
    async with database_at(url) as database:
        keys = KeySet.load(ring, ENV, await bootstrap(database, lambda: KeySet.bootstrap(ring, ENV), now()))

    def sink(database: Database) -> LogSink:
        return LogSink(database, signer_of(keys, "heed.invalid"))

    async with client(url, tmp_path, keys=lambda _: keys, sink=sink) as it:
        patient_id = await it.house.store(WHOLE, raw={"source_records": SOURCES})
        answer = await it.data(question(EVERYTHING), Role.PRIVACY_OFFICER, variables={"id": patient_id})
    yield Left(folder, url, patient_id, answer["patient"])
    databases.drop(url)


def as_answered(found: dict[str, Any]) -> dict[str, Any]:
    """What was read, in the shape of the API: the two halves of a cultural need are one there."""
    values = dict(found)
    details = {need["id"]: need for need in values.pop("cultural_need_detail")}
    values["cultural_needs"] = [{**need, **details[need["id"]]} for need in values.pop("cultural_need_handling")]
    del values["source_records"]  # never answered to anyone
    return dict(camel(values))


def without_nothing(value: Any) -> Any:
    """An answer without its nulls and empty lists, and without the no of what is stored only as a yes."""
    if isinstance(value, dict):
        kept = {key: of for key, of in value.items() if of or key not in {"quiet", "withheld"}}
        return {key: without_nothing(of) for key, of in kept.items() if of not in (None, [], {})}
    return [without_nothing(of) for of in value] if isinstance(value, list) else value


def agrees(left: Left) -> None:
    """Every stored field is read, and as the API answered it."""
    found = left.read()
    assert found.keys() == {field.name for field in FIELDS if field.key_class} - {"merged_into"}  # it is in use
    assert found["source_records"] == SOURCES
    read = without_nothing(as_answered(found))
    assert read == {name: value for name, value in without_nothing(left.answered).items() if name in read}


async def test_e16_an_independent_program_reads_every_field(left: Left) -> None:
    """All fields of all classes, in every codec, are what the API answered."""
    agrees(left)


async def test_e16_it_reads_on_after_a_rotation(left: Left) -> None:
    """Under a new wrap key of one class the record reads as before."""
    before = left.read()
    done("keys", "rotate", "wrap", "--class", "contact", **left.settings())
    assert left.read() == before


@pytest.mark.slow
async def test_e16_it_reads_on_after_every_rotation(left: Left) -> None:
    """With new wrap keys, data keys and root keys, and the old ones destroyed in ring and key store."""
    before = left.read()
    for what in ("wrap", "data", "root"):
        done("keys", "rotate", what, **left.settings())
        assert left.read() == before, what
    done("keys", "destroy", "--now", "--yes", **left.settings())
    ring = json.loads((left.folder / "keyring.json").read_bytes())
    assert {key["state"] for key in ring["keys"]} == {"active", "destroyed"}
    agrees(left)


async def test_e16_it_reads_nothing_of_another_place(left: Left) -> None:
    """The control: under another environment or another ring there is nothing to read."""
    other = left.folder / "other.json"
    KeyRing.create(other)
    for ended in (left.run(env="production"), left.run(ring=other)):
        assert ended.returncode != 0
        assert WHOLE["preferred_name"] not in ended.stdout
    assert left.run().returncode == 0


@pytest.mark.parametrize("lost", [True, False])
async def test_e16_it_says_which_key_is_missing(left: Left, lost: bool) -> None:
    """A root key that is not in the ring, or was destroyed there, is named in one sentence, and nothing is printed."""
    ring = json.loads((left.folder / "keyring.json").read_bytes())
    [key] = [key for key in ring["keys"] if key["use"] == "contact"]
    if lost:
        ring["keys"].remove(key)
    else:
        del key["key"], key["alg"]
        key.update(state="destroyed", destroyed="2026-11-22T00:00:00Z")
    part = left.folder / "part.json"
    part.write_text(json.dumps(ring), encoding="utf-8")
    ended = left.run(ring=part)
    assert (ended.returncode, ended.stdout) == (1, "")
    said = f"contact needs wrap key 1 under root key {key['id']}: not in the ring, or destroyed"
    assert ended.stderr == f"not readable: {said}\n"


def alone(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A program in a process that cannot find Heed."""
    call = [sys.executable, "-I", str(program), *words]
    return subprocess.run(call, capture_output=True, text=True, check=False)


async def test_e35_a_receipt_is_verified_alone(left: Left) -> None:
    """The note that `erase --receipt` prints is verified with its key; changed in any one octet it is not."""
    done("erase", left.patient_id, "--yes", "--org", ORG, **left.settings())
    shown = command("erase", left.patient_id, "--receipt", "--org", ORG, **left.settings())
    file, key = left.folder / "receipt.txt", shown.stderr.rstrip("\n").rpartition(" ")[2]
    file.write_text(shown.stdout, encoding="utf-8")
    ended = alone(VERIFIER, str(file), key)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"patient: {left.patient_id}\nerased: the whole record\n" in ended.stdout
    assert ended.stdout.rstrip("\n") == shown.stdout.rpartition("\n\n")[0]
    note = file.read_bytes()
    for place in (0, note.index(b"whole"), note.rindex(b"\n\n") - 1, len(note) - 60):
        file.write_bytes(note[:place] + bytes([note[place] ^ 1]) + note[place + 1 :])
        ended = alone(VERIFIER, str(file), key)
        assert (ended.returncode, ended.stdout, ended.stderr[:14]) == (1, "", "not verified: "), place
    file.write_bytes(note)
    other = Signer(f"{ORG}/erasure", bytes(32)).verifier_key
    assert alone(VERIFIER, str(file), other).stderr == "not verified: no signature of this key\n"


@pytest.mark.parametrize("program", [PROGRAM, VERIFIER])
def test_they_say_how_they_are_called(program: Path) -> None:
    """Called without a word, each says in one line what it wants."""
    ended = alone(program)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"usage: {program.name} ")
    assert ended.stderr.count("\n") == 1


@pytest.mark.parametrize("program", [PROGRAM, VERIFIER])
def test_they_are_short_and_independent(program: Path) -> None:
    """They import the standard library and `cryptography`, nothing of Heed, and fit on a page."""
    source = program.read_text(encoding="utf-8")
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= sys.stdlib_module_names | {"cryptography"}
    assert len([line for line in source.splitlines() if line.strip()]) <= 60


def test_it_knows_every_field_and_codec() -> None:
    """Its table is that of the catalogue, and so is the page's."""
    known: Any = None
    for node in ast.parse(PROGRAM.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FIELDS":
            known = ast.literal_eval(node.value)
    assert known == {field.number: field.name for fields in CLASSES.values() for field in fields}
    told = re.findall(r"^\| (\d+) \| `(\w+)` \| (\w+) \| 0x0(\d) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [(int(number), name, use, int(codec)) for number, name, use, codec in told] == [
        (field.number, field.name, field.key_class, field.codec)
        for key_class in KeyClass
        for field in CLASSES[key_class]
    ]
    assert {field.codec for fields in CLASSES.values() for field in fields} == set(Codec), "every codec was read"
