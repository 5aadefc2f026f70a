"""Every format in which a release stored records: this release still opens each, searches it, and changes it.

The files are frozen. When a format changes, the present one is frozen as well before the change is released.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.store.keystore import stored_keys
from tests.asking import question
from tests.client import client
from tests.house import ORG
from tests.intruder import Intruder
from tests.logs import database_at

FORMATS = {path.stem: path.read_text("utf-8") for path in sorted(Path(__file__).parent.glob("vectors/format-*.json"))}
SEARCH = "query F($by: PatientSearch!) { searchPatients(by: $by) { edges { node { id } } } }"
BY: list[dict[str, Any]] = [
    {"phone": "+447700900321"},
    {"email": "zoleka@example.test"},
    {"fullName": "Zoleka Wanjiru"},
    {"familyName": "Kamau", "birthDate": "1990-02-17"},
    {"identifier": {"system": "urn:example:hospital-number", "value": "H-7781"}},
]


def _read(value: Any) -> Any:
    return bytes.fromhex(value["hex"]) if isinstance(value, dict) else value


async def _restored(url: str, folder: Path, kept: dict[str, Any], version: int) -> KeySet:
    """The rows put into the database, and the keys that a process then loads; `version` is the key ring's."""
    intruder = Intruder(url)
    for table, rows in kept["rows"].items():
        for row in rows:
            places = ", ".join("?" * len(row))
            sql = f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})"
            await intruder.run(sql, *map(_read, row.values()))
    ring = folder / "ring.json"
    ring.touch(mode=0o600)
    ring.write_text(json.dumps({**kept["keyring"], "version": version}), encoding="utf-8")
    async with database_at(url) as database:
        return KeySet.load(KeyRing.load(ring), kept["env"], await stored_keys(database))


def test_e16_there_is_a_first_format() -> None:
    """The corpus is not empty, and its numbers have no gap."""
    assert sorted(FORMATS) == [f"format-{number}" for number in range(1, len(FORMATS) + 1)]
    assert FORMATS


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", FORMATS)
async def test_e16_old_formats_open(database_url: str, tmp_path: Path, name: str, version: int) -> None:
    """What a release stored is answered as that release answered it, found by every index, and can be changed."""
    kept = json.loads(FORMATS[name])
    keys = await _restored(database_url, tmp_path, kept, version)
    patient_id = kept["patient"]
    (tmp_path / "client").mkdir()
    async with client(database_url, tmp_path / "client", keys=lambda _: keys) as it:
        found = await it.data(question(kept["selection"]), Role.INTEGRATION, variables={"id": patient_id}, org=ORG)
        assert found["patient"] == kept["answer"]
        for by in BY:
            hits = await it.data(SEARCH, Role.CLINICIAN, variables={"by": by})
            assert [edge["node"]["id"] for edge in hits["searchPatients"]["edges"]] == [patient_id], by
        change = """mutation C($id: ID!) { updatePreferences(
          input: {patientId: $id, expectedVersion: 1, timeZone: "UTC", pronouns: "they/them"}) { version timeZone } }"""
        changed = await it.data(change, Role.CLINICIAN, variables={"id": patient_id})
        assert changed["updatePreferences"] == {"version": 2, "timeZone": "UTC"}
        found = await it.data(question("timeZone instructions"), Role.INTEGRATION, variables={"id": patient_id})
        assert found["patient"] == {"timeZone": "UTC", "instructions": kept["answer"]["instructions"]}


async def test_e16_another_format_does_not_open(database_url: str, tmp_path: Path) -> None:
    """The control: the same rows with one parameter of the format changed are refused, so the files hold something."""
    kept = json.loads(FORMATS["format-1"])
    for row in kept["rows"]["sealed_row"]:
        row["cells"]["hex"] = row["cells"]["hex"].replace("e101", "e201", 1)
    keys = await _restored(database_url, tmp_path, kept, 2)
    (tmp_path / "client").mkdir()
    async with client(database_url, tmp_path / "client", keys=lambda _: keys) as it:
        codes = await it.codes(question(kept["selection"]), Role.INTEGRATION, variables={"id": kept["patient"]})
        assert codes == ["INTERNAL_SERVER_ERROR"]
