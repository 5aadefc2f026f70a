"""`keys verify`: each way to damage what is stored, planted once and found; and nothing found where nothing is wrong.

The numbers E-08 and so on are those of the attack list in the encryption design.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.box import pack, unpack
from crm.crypto.stored_key import StoredKey
from crm.errors import Tampered
from crm.services.verification import Verified, verify
from crm.store import keystore, opening
from crm.store import record as records
from crm.store.record import Record
from tests.conftest import Databases
from tests.house import REQUEST, House, actor, house
from tests.intruder import Intruder
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

Found = set[tuple[str, str]]
"""Fault and part, of one patient."""

TABLES = ("patient", "sealed_row", "patient_key", "blind_index")


@dataclass(frozen=True)
class Clinic:
    """A service, an intruder in its database, and an organisation that no other test uses."""

    it: House
    intruder: Intruder
    org: str

    async def person(self, **more: Any) -> str:
        """The id of a fresh patient with a value in every field."""
        return str((await self.it.register({**WHOLE, **more}, org=self.org))["id"])

    async def change(self, patient_id: str, version: int, **values: Any) -> None:
        """A change of the service's own."""
        clerk = actor(Role.INTEGRATION, org=self.org)
        await self.it.services.changes.update(clerk, REQUEST, patient_id, version, values, frozenset())

    async def erase(self, patient_id: str, *classes: KeyClass) -> None:
        """Erases these classes, or all of the patient."""
        context = REQUEST.context(actor(Role.PRIVACY_OFFICER, org=self.org))
        async with self.it.services.store.writing(context, Act.ERASE) as unit:
            record = (await unit.load_for_change([patient_id]))[patient_id]
            await unit.erase(record, frozenset(classes) or None, "PATIENT_REQUEST")

    async def record(self, patient_id: str) -> Record:
        """What is stored of the patient."""

        async def fetch(statement: Any, /, **params: Any) -> Any:
            return await self.it.database.fetch(self.org, statement, **params)

        return (await records.load(fetch, self.org, [patient_id], BY_NAME))[patient_id]

    async def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The intruder's statement, in which ORG stands for this organisation."""
        return await self.intruder.run(sql.replace("ORG", f"'{self.org}'"), *values)

    async def copy(self, patient_id: str, tables: tuple[str, ...] = TABLES) -> dict[str, list[dict[str, Any]]]:
        """All rows of a patient."""
        found = {}
        for table in tables:
            names = COLUMNS[table]
            rows = await self.run(f"SELECT {', '.join(names)} FROM {table} WHERE {_whose(table)} = ?", patient_id)
            found[table] = [dict(zip(names, row, strict=True)) for row in rows]
        return found

    async def put_back(self, patient_id: str, copy: dict[str, list[dict[str, Any]]]) -> None:
        """The rows of a copy in the place of those that are there now."""
        for table, rows in copy.items():
            await self.run(f"DELETE FROM {table} WHERE {_whose(table)} = ?", patient_id)
            for row in rows:
                marks = ", ".join("?" for _ in row)
                await self.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    async def verified(self, sample: int | None = None) -> Verified:
        """What `keys verify` finds in this organisation."""
        operator = actor(Role.OPERATOR, org=self.org)
        return await verify(self.it.services.store, self.it.database, operator, REQUEST, sample, _unwatched)

    async def found(self, patient_id: str) -> Found:
        """The faults of this patient; there must be none of any other, but some may concern nobody in particular."""
        findings = (await self.verified()).findings
        assert {each.patient_id for each in findings} <= {patient_id, ""}
        return {(each.fault.value, each.part) for each in findings}


COLUMNS = {
    "patient": (
        "org", "id", "version", "status", "restricted", "audit_subject", "classes", "created_at", "updated_at",
        "merged_into",
    ),
    "sealed_row": ("org", "patient_id", "key_class", "version", "dek_no", "cells", "seal", "provenance"),
    "patient_key": (
        "org", "patient_id", "key_class", "dek_no", "epoch", "wrapped", "state", "created_at", "shredded_at",
    ),
    "blind_index": ("org", "index_code", "key_ver", "value", "patient_id", "row_id"),
}  # fmt: skip


def _whose(table: str) -> str:
    return "id" if table == "patient" else "patient_id"


def _unwatched(_done: int, _of: int | None) -> None:
    """Nobody watches."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[House, Intruder]]:
    """A service whose keys are listed in its key store, and an intruder in its database."""
    url = databases.create(shared_engine)
    async with house(url, tmp_path_factory.mktemp("verified")) as it:
        for key_class in KeyClass:
            await keystore.add(it.database, StoredKey("wrap", key_class.value, 1, "active", "test", "r", b"w"), 1)
        yield it, Intruder(url)
    databases.drop(url)


@pytest.fixture
def clinic(place: tuple[House, Intruder]) -> Clinic:
    """An organisation of its own for each test."""
    return Clinic(*place, f"clinic-{uuid4().hex[:8]}")


# --- nothing wrong ---------------------------------------------------------------------------------------------------


async def test_a_sound_house_gives_no_finding(clinic: Clinic) -> None:
    """Whatever the service itself does to a record, nothing of it looks like an attack."""
    one = await clinic.person()
    await clinic.change(one, 1, religion="Other", names=[{"family": "Changed", "given": ["Una"]}])
    await clinic.change(one, 2, contact_points=None, pronouns=None)
    await clinic.change(one, 3, pronouns=None)  # changes nothing, and is on record all the same
    grown = (await clinic.it.register({"time_zone": "UTC"}, org=clinic.org))["id"]
    await clinic.change(grown, 1, preferred_name="Bo")
    await clinic.change(grown, 2, religion="None")
    await clinic.change(grown, 3, time_zone="Africa/Nairobi")
    restricted = await clinic.it.store({**WHOLE, "restricted": True}, org=clinic.org)
    await clinic.it.register({}, org=clinic.org)
    store = clinic.it.services.store
    for flag in (False, True):
        async with store.writing(REQUEST.context(actor(Role.INTEGRATION, org=clinic.org)), Act.UPDATE) as unit:
            record = (await unit.load_for_change([restricted]))[restricted]
            unit.change(record, {"restricted": flag}, "test")
    found = await clinic.verified()
    assert (found.patients, found.records, found.counts, found.unchecked, found.unknown_cells) == (4, 4, {}, (), 0)


async def test_imports_and_confirmations_give_no_finding(clinic: Clinic) -> None:
    """What came from an import, and was confirmed by a person without a change of any value, is in order."""
    context = REQUEST.context(actor(Role.INTEGRATION, org=clinic.org))
    async with clinic.it.services.store.writing(context, Act.IMPORT) as unit:
        values = {"preferred_name": "Ida", "time_zone": "UTC", "source_records": [{"source": "hospital", "id": "1"}]}
        one = unit.create(values, "hospital").id
    await clinic.change(one, 1, time_zone="UTC")
    assert (await clinic.record(one)).version == 2
    assert await clinic.found(one) == set()


async def test_erasures_give_no_finding(clinic: Clinic) -> None:
    """An erased patient, an erased class, one that was filled again, and one erased before it was ever filled."""
    whole, part, again, never = [await clinic.person() for _ in range(3)] + [
        (await clinic.it.register({"time_zone": "UTC"}, org=clinic.org))["id"]
    ]
    await clinic.erase(whole)
    await clinic.erase(part, KeyClass.SENSITIVE)
    await clinic.change(part, 2, time_zone="UTC")
    await clinic.erase(again, KeyClass.CONTACT, KeyClass.SENSITIVE)
    await clinic.change(again, 2, contact_points=[{"system": "PHONE", "value": "+447700900555"}])
    await clinic.erase(never, KeyClass.CONTACT)
    await clinic.change(never, 2, contact_points=[{"system": "PHONE", "value": "+447700900555"}])
    found = await clinic.verified()
    assert (found.records, found.findings) == (4, [])


async def test_work_that_goes_on_meanwhile_gives_no_finding(clinic: Clinic) -> None:
    """Patients who are changed, registered and erased while the run looks at them are not taken for attacked."""
    people = [await clinic.person() for _ in range(4)]
    busy = True

    async def work(patient_id: str) -> None:
        version = 1
        while busy:
            names = [{"family": f"Name{version}", "given": ["Una"]}]
            await clinic.change(patient_id, version, names=names, religion=f"Faith {version}")
            version += 1

    async def come_and_go() -> None:
        while busy:
            await clinic.erase(await clinic.person())

    tasks = [asyncio.create_task(each) for each in (*map(work, people), come_and_go())]
    found = [await clinic.verified() for _ in range(8)]
    busy = False
    await asyncio.gather(*tasks)
    assert [each.findings for each in found] == [[]] * 8
    assert (await clinic.record(people[0])).version > 1


# --- the attack list -------------------------------------------------------------------------------------------------


async def test_e08_an_old_cell_is_found(clinic: Clinic) -> None:
    """An old cell beside today's seal: the binding of the cell alone accepts it, the row seal does not, nor verify."""
    one = await clinic.person()
    old = await clinic.intruder.row(one, "contact")
    await clinic.change(one, 1, contact_points=[{"system": "PHONE", "value": "+447700900777"}])
    new = await clinic.intruder.row(one, "contact")
    field = BY_NAME["contact_points"]
    cells = {**unpack(new["cells"]), field.number: unpack(old["cells"])[field.number]}
    await clinic.intruder.write(one, "contact", cells=pack(cells))

    record, keys = await clinic.record(one), clinic.it.services.store.keys
    key = keys.data_key(clinic.org, one, KeyClass.CONTACT, new["dek_no"], new["wrapped"])
    assert b"900321" in key.open(field, cells[field.number])  # the control
    with pytest.raises(Tampered, match="row seal"):
        opening.unlock(keys, record, KeyClass.CONTACT)
    assert await clinic.found(one) == {("seal_broken", "contact")}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ("restricted = 1 - restricted", set()),
        ("status = 'merged'", set()),
        ("created_at = created_at - 1", set()),
        ("audit_subject = ?", {("record_unrecorded", ""), ("record_removed", "log")}),
    ],
)
async def test_e09_an_edit_in_the_clear_is_found(clinic: Clinic, edit: str, expected: Found) -> None:
    """A clear column that was changed in SQL is vouched for by the seal of every row; without its seal it opens."""
    one = await clinic.person()
    await clinic.run(f"UPDATE patient SET {edit} WHERE id = ?", *[uuid4().hex] * edit.count("?"), one)
    broken = {("seal_broken", key_class.value) for key_class in KeyClass}
    assert await clinic.found(one) == broken | expected

    record, keys = await clinic.record(one), clinic.it.services.store.keys
    row = record.rows[KeyClass.PREFERENCE]
    key = keys.data_key(clinic.org, one, KeyClass.PREFERENCE, row.dek_no, row.wrapped or b"")
    zone = BY_NAME["time_zone"]
    assert key.open(zone, unpack(row.box)[zone.number]) == b"Africa/Nairobi"  # the control: cells do not mind


async def test_e10_a_record_rolled_back_whole_is_found(clinic: Clinic) -> None:
    """All rows of a patient as they were: every seal fits, and only the access log knows better."""
    one = await clinic.person()
    copy = await clinic.copy(one)
    await clinic.change(one, 1, time_zone="UTC", contact_points=[{"system": "PHONE", "value": "+447700900777"}])
    assert await clinic.found(one) == set()
    await clinic.put_back(one, copy)

    record, keys = await clinic.record(one), clinic.it.services.store.keys
    for key_class in KeyClass:
        opening.unlock(keys, record, key_class)  # the control: binding and seal accept it
    asked = frozenset({"timeZone"})
    read = await clinic.it.services.profiles.read(actor(Role.CLINICIAN, org=clinic.org), REQUEST, one, asked)
    assert read["time_zone"] == "Africa/Nairobi"
    assert await clinic.found(one) == {("record_rolled_back", "")}

    await clinic.change(one, 1, time_zone="Asia/Kathmandu")
    assert await clinic.found(one) == {("version_repeated", "")}


async def test_e10_one_row_rolled_back_whole_is_found(clinic: Clinic) -> None:
    """One class put back with its seal and version, under a record that went on: the log knows when each changed."""
    one = await clinic.person()
    copy = await clinic.copy(one, ("sealed_row",))
    await clinic.change(one, 1, time_zone="UTC")
    await clinic.change(one, 2, religion="Other")
    await clinic.put_back(one, copy)
    for key_class in KeyClass:
        opening.unlock(clinic.it.services.store.keys, await clinic.record(one), key_class)  # the control
    assert await clinic.found(one) == {("row_rolled_back", "preference"), ("row_rolled_back", "sensitive")}


async def test_e10_a_restriction_rolled_back_is_found(clinic: Clinic) -> None:
    """A restriction seals every row anew: its removal by old rows under the newest version is seen in each."""
    one = await clinic.it.store({**WHOLE, "restricted": False}, org=clinic.org)
    copy = await clinic.copy(one)
    context = REQUEST.context(actor(Role.INTEGRATION, org=clinic.org))
    async with clinic.it.services.store.writing(context, Act.UPDATE) as unit:
        unit.change((await unit.load_for_change([one]))[one], {"restricted": True}, "test")
    await clinic.put_back(one, copy)
    await clinic.run("UPDATE patient SET version = 2 WHERE id = ?", one)
    assert await clinic.found(one) == {("row_rolled_back", key_class.value) for key_class in KeyClass}


async def test_e10_a_confirmation_rolled_back_is_found(clinic: Clinic) -> None:
    """A version that no row carries: the log does not say which class was confirmed, but one must have been sealed."""
    context = REQUEST.context(actor(Role.INTEGRATION, org=clinic.org))
    async with clinic.it.services.store.writing(context, Act.IMPORT) as unit:
        one = unit.create({"time_zone": "UTC"}, "hospital").id
    copy = await clinic.copy(one, ("sealed_row",))
    await clinic.change(one, 1, time_zone="UTC")
    await clinic.put_back(one, copy)
    assert await clinic.found(one) == {("row_rolled_back", "")}
