"""`keys verify` finds an attack by SQL that the service could not notice, or not at once; and nothing where nothing is.

The numbers E-08 and so on are those of the attack list in the encryption design. `test_verify_findings.py` goes on.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.box import pack, unpack
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.stored_key import new_index_key
from crm.errors import Tampered
from crm.store import opening, reindexing, resealing
from tests.clinic import Clinic, Found, opened
from tests.conftest import Databases
from tests.house import REQUEST, House, actor
from tests.intruder import Intruder
from tests.keys import ENV
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[House, Intruder]]:
    """One service for the module, on each engine in turn."""
    url = databases.create(shared_engine)
    async with opened(url, tmp_path_factory.mktemp("verified")) as both:
        yield both
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
    await clinic.change(one, 1, Role.FRONT_DESK, time_zone="UTC")
    assert (await clinic.record(one)).version == 2
    assert await clinic.found(one) == set()
    async with clinic.it.services.store.writing(context, Act.IMPORT) as unit:
        unit.change((await unit.load_for_change([one]))[one], {"time_zone": "Africa/Nairobi"}, "hospital")
    assert await clinic.found(one) == set()


async def test_erasures_give_no_finding(clinic: Clinic) -> None:
    """An erased patient, an erased class, one that was filled again, and one erased before it was ever filled."""
    whole, part, again = [await clinic.person() for _ in range(3)]
    empty, filled = [(await clinic.it.register({"time_zone": "UTC"}, org=clinic.org))["id"] for _ in range(2)]
    point = [{"system": "PHONE", "value": "+447700900555"}]
    await clinic.erase(whole)
    await clinic.erase(part, KeyClass.SENSITIVE)
    await clinic.erase(again, KeyClass.CONTACT, KeyClass.SENSITIVE)
    for one in (empty, filled):
        await clinic.erase(one, KeyClass.CONTACT)
    found = await clinic.verified()
    assert (found.records, found.findings) == (5, [])
    await clinic.change(part, 2, time_zone="Asia/Kathmandu")
    for one in (again, filled):
        await clinic.change(one, 2, contact_points=point)
    found = await clinic.verified()
    assert (found.records, found.findings) == (5, [])


async def test_a_rotation_gives_no_finding_at_any_stage(database_url: str, tmp_path: Path) -> None:
    """New data keys; and a new index key while it is pending, when it is active, and once the old one is destroyed."""
    async with opened(database_url, tmp_path) as (it, intruder):
        clinic, keys = Clinic(it, intruder, "clinic"), it.services.store.keys
        ring = KeyRing.load(tmp_path / "keyring.json")
        rows = KeySet.bootstrap(ring, ENV)
        keys.adopt(KeySet.load(ring, ENV, rows))
        old = await clinic.person()
        late = it.services.store.clock() + 1
        assert await resealing.reseal(it.database, keys, clinic.org, old, late, late) == (len(KeyClass), 0)
        assert await clinic.found(old) == set()

        first = next(row for row in rows if row.kind == "index")
        second = new_index_key(ring, ENV, 2, "pending")
        keys.adopt(KeySet.load(ring, ENV, [*rows, second]))
        new = await clinic.person()  # under both
        assert await clinic.found(old) == set()
        stages = [replace(first, state="retiring"), replace(second, state="active")]
        rest = [row for row in rows if row is not first]
        keys.adopt(KeySet.load(ring, ENV, [*rest, *stages]))
        assert await clinic.found(old) == set()

        stages[0] = replace(first, state="destroyed", wrapped=None)
        keys.adopt(KeySet.load(ring, ENV, [*rest, *stages]))
        found = {(each.patient_id, each.fault.value) for each in (await clinic.verified()).findings}
        assert found == {(old, "index_wrong"), (old, "index_missing"), (new, "index_wrong")}  # the control: too early
        await reindexing.reindex(it.database, keys, clinic.org, 2, [old], 0)
        await clinic.run("DELETE FROM blind_index WHERE key_ver = 1")
        assert (await clinic.verified()).findings == []


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
    await clinic.change(one, 1, Role.FRONT_DESK, time_zone="UTC")
    await clinic.put_back(one, copy)
    assert await clinic.found(one) == {("row_rolled_back", "")}
