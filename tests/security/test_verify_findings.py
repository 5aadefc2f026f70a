"""Each finding of `keys verify`, planted once by somebody with the database's password, and found."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.box import pack
from crm.crypto.stored_key import StoredKey
from crm.services.verification import KEPT, Verified
from crm.store import keystore, opening
from crm.store.faults import MEANINGS, Fault, Flaw
from tests.clinic import TABLES, Clinic, Found, opened, whose
from tests.conftest import Databases
from tests.house import House
from tests.intruder import Intruder
from tests.security.test_verify_history import PLANTS as IN_HISTORY

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


# --- every other finding, planted once -------------------------------------------------------------------------------


def _flipped(octets: bytes, place: int) -> bytes:
    changed = bytearray(octets)
    changed[place] ^= 1
    return bytes(changed)


async def _cut(clinic: Clinic, one: str) -> None:
    row = await clinic.intruder.row(one, "identity")
    await clinic.intruder.write(one, "identity", cells=row["cells"][:-1])


async def _turn_a_bit(clinic: Clinic, one: str) -> None:
    """In the ciphertext of the first cell: its tag, which the row seal covers, stays."""
    row = await clinic.intruder.row(one, "preference")
    await clinic.intruder.write(one, "preference", cells=_flipped(row["cells"], 6 + 19))


async def _another_key(clinic: Clinic, one: str) -> None:
    row = await clinic.intruder.row(one, "contact")
    await clinic.intruder.write(one, "contact", wrapped=_flipped(row["wrapped"], 30))


async def _epoch(clinic: Clinic, one: str, number: int) -> None:
    row = await clinic.intruder.row(one, "contact")
    wrapped = row["wrapped"][:2] + number.to_bytes(4) + row["wrapped"][6:]
    await clinic.intruder.write(one, "contact", wrapped=wrapped)
    await clinic.run(f"UPDATE patient_key SET epoch = {number} WHERE key_class = 'contact' AND patient_id = ?", one)


async def _unknown_epoch(clinic: Clinic, one: str) -> None:
    await _epoch(clinic, one, 9)


async def _destroyed_epoch(clinic: Clinic, one: str) -> None:
    await keystore.add(clinic.it.database, StoredKey("wrap", "contact", 2, "destroyed", "test", "r", None), 1)
    await _epoch(clinic, one, 2)


async def _second_key(clinic: Clinic, one: str) -> None:
    [key] = [row for row in (await clinic.copy(one, ("patient_key",)))["patient_key"] if row["key_class"] == "contact"]
    key["dek_no"] = 2
    marks = ", ".join("?" for _ in key)
    await clinic.run(f"INSERT INTO patient_key ({', '.join(key)}) VALUES ({marks})", *key.values())


async def _unreadable_value(clinic: Clinic, one: str) -> None:
    """Sealed with the patient's own key, as a program with another idea of the field would."""
    record, keys = await clinic.record(one), clinic.it.services.store.keys
    key, cells = opening.unlock(keys, record, KeyClass.PREFERENCE)
    field, row = BY_NAME["languages"], record.rows[KeyClass.PREFERENCE]
    cells[field.number] = key.seal(field, b"[")
    seal = key.seal_row(row.version, cells, row.provenance.encode(), record=record.vouched)
    await clinic.intruder.write(one, "preference", cells=pack(cells), seal=seal)


async def _planted_term(clinic: Clinic, one: str, version: int = 1) -> None:
    value = clinic.it.services.store.keys.index_value(clinic.org, "phone", 16, b"+447700900111")
    await clinic.run(
        "INSERT INTO blind_index (org, index_code, key_ver, value, patient_id, row_id) "
        f"VALUES (ORG, 2, {version}, ?, ?, ?)",
        value, one, one,
    )  # fmt: skip


async def _term_of_a_lost_version(clinic: Clinic, one: str) -> None:
    await _planted_term(clinic, one, 7)


async def _shred(clinic: Clinic, one: str) -> None:
    await clinic.run(
        "UPDATE patient_key SET state = 'shredded', wrapped = NULL WHERE key_class = 'contact' AND patient_id = ?", one
    )
    await clinic.run(
        "UPDATE sealed_row SET cells = NULL, seal = NULL, provenance = '{}' "
        "WHERE key_class = 'contact' AND patient_id = ?",
        one,
    )
    await clinic.run("DELETE FROM blind_index WHERE index_code IN (2, 3, 7) AND patient_id = ?", one)


PLANTS: dict[str, tuple[Any, Found]] = {
    "clear row": ("UPDATE patient SET classes = 'nonsense' WHERE id = ?", {("record_unreadable", "patient")}),
    "version": ("UPDATE patient SET version = 2 WHERE id = ?", {("record_unrecorded", "")}),
    "row gone": (
        "DELETE FROM sealed_row WHERE key_class = 'contact' AND patient_id = ?", {("row_missing", "contact")},
    ),
    "class forgotten": (
        """UPDATE patient SET classes = '["identity","preference","sensitive"]' WHERE id = ?""",
        {("row_unnamed", "contact"), *(("seal_broken", name) for name in ("identity", "preference", "sensitive"))},
    ),
    "row ahead": (
        "UPDATE sealed_row SET version = 2 WHERE key_class = 'contact' AND patient_id = ?", {("row_ahead", "contact")},
    ),
    "provenance": (
        "UPDATE sealed_row SET provenance = '{}' WHERE key_class = 'contact' AND patient_id = ?",
        {("seal_broken", "contact")},
    ),
    "key gone": (
        "DELETE FROM patient_key WHERE key_class = 'contact' AND patient_id = ?", {("key_missing", "contact")},
    ),
    "key edited": (_another_key, {("key_tampered", "contact")}),
    "key cut": (
        "UPDATE patient_key SET wrapped = substr(wrapped, 1, 60) WHERE key_class = 'contact' AND patient_id = ?",
        {("key_tampered", "contact")},
    ),
    "key mislabelled": (
        "UPDATE patient_key SET epoch = 3 WHERE key_class = 'contact' AND patient_id = ?",
        {("key_mislabelled", "contact"), ("epoch_unknown", "contact")},
    ),
    "second key": (_second_key, {("key_unused", "contact")}),
    "unknown epoch": (_unknown_epoch, {("epoch_unknown", "contact")}),
    "destroyed epoch": (_destroyed_epoch, {("epoch_destroyed", "contact"), ("epoch_unknown", "contact")}),
    "box": (_cut, {("box_broken", "identity")}),
    "cell": (_turn_a_bit, {("cell_tampered", "preference")}),
    "value": (_unreadable_value, {("cell_unreadable", "preference")}),
    "term gone": ("DELETE FROM blind_index WHERE index_code = 3 AND patient_id = ?", {("index_missing", "email")}),
    "term planted": (_planted_term, {("index_wrong", "phone")}),
    "term of a lost version": (_term_of_a_lost_version, {("index_wrong", "")}),
    "term of another row": (
        "UPDATE blind_index SET row_id = 'x' WHERE index_code = 3 AND patient_id = ?",
        {("index_wrong", "email"), ("index_missing", "email")},
    ),
    "key destroyed": (_shred, {("erasure_unledgered", "contact")}),
    "erased by hand": (
        "UPDATE patient SET status = 'erased' WHERE id = ?",
        {
            ("erasure_unledgered", ""), ("erased_remains", "blind_index"),
            *(("erased_remains", key_class.value) for key_class in KeyClass),
        },
    ),
}  # fmt: skip
"""What somebody does to a patient with SQL, and what is found."""


@pytest.mark.parametrize("name", PLANTS)
async def test_each_fault_is_found(clinic: Clinic, name: str) -> None:
    """One plant in one patient: these findings, of this patient, and a second patient gives none."""
    plant, expected = PLANTS[name]
    await clinic.person()
    one = await clinic.person()
    assert await clinic.found(one) == set()
    await (clinic.run(plant, one) if isinstance(plant, str) else plant(clinic, one))
    assert await clinic.found(one) == expected


async def test_a_term_that_points_elsewhere_is_found_twice(clinic: Clinic) -> None:
    """A search value moved to another patient is missing here, and wrong there."""
    one, two = await clinic.person(), (await clinic.it.register({"time_zone": "UTC"}, org=clinic.org))["id"]
    await clinic.run("UPDATE blind_index SET patient_id = ? WHERE index_code = 2 AND patient_id = ?", two, one)
    found = {(each.patient_id, each.fault.value, each.part) for each in (await clinic.verified()).findings}
    assert found == {(one, "index_missing", "phone"), (two, "index_wrong", "phone")}


@pytest.mark.parametrize("table", ["sealed_row", "patient_key", "blind_index"])
async def test_a_row_of_nobody_is_found(clinic: Clinic, table: str) -> None:
    """A row left behind in each table, of a patient before, between and behind those who are there."""
    one, two, three = [await clinic.person() for _ in range(3)]
    for gone in (one, two, three):
        copy = await clinic.copy(gone)
        for name in TABLES:
            await clinic.run(f"DELETE FROM {name} WHERE {whose(name)} = ?", gone)
        await clinic.put_back(gone, {table: copy[table][:1]})
        here = {(each.patient_id, each.fault.value, each.part) for each in (await clinic.verified()).findings}
        assert here - {("", "record_removed", "log")} == {
            (each, "row_of_nobody", table) for each in (one, two, three)[: (one, two, three).index(gone) + 1]
        }


async def test_a_removed_patient_is_found(clinic: Clinic) -> None:
    """A patient of whom no row is left: the log knows a creation under a name that nobody has, and no erasure."""
    one, two = await clinic.person(), await clinic.person()
    await clinic.erase(two)
    for table in TABLES:
        await clinic.run(f"DELETE FROM {table} WHERE {whose(table)} = ?", one)
    found = (await clinic.verified()).findings
    assert [(each.patient_id, each.fault, each.part, each.count) for each in found] == [
        ("", Fault.RECORD_REMOVED, "log", 1)
    ]
    for table in TABLES:
        await clinic.run(f"DELETE FROM {table} WHERE {whose(table)} = ?", two)
    assert (two, "record_removed", "erasure_ledger") in {
        (each.patient_id, each.fault.value, each.part) for each in (await clinic.verified()).findings
    }


async def test_a_change_that_waits_to_be_numbered_is_on_record(clinic: Clinic) -> None:
    """An event in the outbox counts; without it the change is one that nobody recorded."""
    one = await clinic.person()
    await clinic.change(one, 1, time_zone="UTC")
    [(seq, leaf, event_id)] = await clinic.run(
        "SELECT seq, leaf, id FROM audit_event WHERE org = ORG AND act = 'update' ORDER BY seq DESC LIMIT 1"
    )
    await clinic.run("DELETE FROM audit_event WHERE org = ORG AND seq = ?", seq)
    assert await clinic.found(one) == {("record_unrecorded", "")}
    # Far in the future, so that no sweeper takes it for one that was left behind.
    late = "INSERT INTO audit_outbox (org, id, leaf, created_at) VALUES (ORG, ?, ?, 9000000000000000)"
    await clinic.run(late, event_id, leaf)
    assert await clinic.found(one) == set()


# --- erasure ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["sealed_row", "patient_key", "blind_index", "source_record"])
async def test_what_is_left_of_an_erased_patient_is_found(clinic: Clinic, table: str) -> None:
    """One row from a copy of before, put back beside an erased patient."""
    one = await clinic.person()
    copy = await clinic.copy(one)
    await clinic.erase(one)
    assert await clinic.found(one) == set()
    if table == "source_record":
        await clinic.run(
            "INSERT INTO source_record (org, slot, patient_id, digest, key_ver) VALUES (ORG, ?, ?, ?, 1)",
            b"slot", one, b"digest",
        )  # fmt: skip
        assert await clinic.found(one) == {("erased_remains", "source_record")}
        return
    [row] = [row for row in copy[table] if row.get("key_class", "identity") == "identity"][:1]
    which = "patient_id = ? AND key_class = 'identity'" if "key_class" in row else "patient_id = ?"
    await clinic.run(f"DELETE FROM {table} WHERE {which}", one)
    marks = ", ".join("?" for _ in row)
    await clinic.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())
    left = {("erased_remains", table if table == "blind_index" else "identity")}
    assert await clinic.found(one) == left | ({("erasure_undone", "identity")} if table == "patient_key" else set())


async def test_an_erasure_that_was_undone_is_found(clinic: Clinic) -> None:
    """Put back from a copy of before: of a patient the ledger says otherwise, of a class the log does as well."""
    whole, part = await clinic.person(), await clinic.person()
    copies = await clinic.copy(whole), await clinic.copy(part)
    await clinic.erase(whole)
    await clinic.put_back(whole, copies[0])
    undone = {("erasure_undone", key_class.value) for key_class in KeyClass} | {("erasure_undone", "")}
    assert await clinic.found(whole) == undone
    await clinic.erase(whole)
    await clinic.erase(part, KeyClass.CONTACT)
    await clinic.put_back(part, copies[1])
    found = await clinic.verified()
    assert {(each.fault.value, each.part) for each in found.findings if each.patient_id == part} == {
        ("erasure_undone", "contact"), ("record_rolled_back", ""),
    }  # fmt: skip


@pytest.mark.parametrize(
    "edit", ["UPDATE erasure_ledger SET entry = replace(entry, 'PATIENT', 'PATIEND')", "DELETE FROM erasure_ledger"]
)
async def test_a_ledger_that_was_changed_is_found(clinic: Clinic, edit: str) -> None:
    """An entry that was edited, or taken out of the middle."""
    people = [await clinic.person() for _ in range(3)]
    for one in people:
        await clinic.erase(one)
    assert (await clinic.verified()).findings == []
    await clinic.run(f"{edit} WHERE org = ORG AND seq = 2")
    found = {(each.fault.value, each.patient_id) for each in (await clinic.verified()).findings}
    lost = {("erasure_unledgered", people[1])} if edit.startswith("DELETE") else set()
    assert {("ledger_broken", "")} <= found <= {("ledger_broken", ""), ("erasure_unledgered", people[1])}
    assert lost <= found


# --- the run itself --------------------------------------------------------------------------------------------------


async def test_a_sample_looks_at_some(clinic: Clinic) -> None:
    """A sample has the size that was asked for; one of everybody finds what is planted in one."""
    people = [await clinic.person() for _ in range(5)]
    assert (await clinic.verified(2)).records == 2
    await clinic.run("UPDATE patient SET version = 2 WHERE id = ?", people[3])
    found = await clinic.verified(50)
    assert (found.records, [each.patient_id for each in found.findings]) == (5, [people[3]])
    drawn = [bool((await clinic.verified(1)).findings) for _ in range(60)]
    assert {False, True} == set(drawn)  # 1 in 5 each time: all alike once in 650,000 runs


async def test_the_run_leaves_one_event(clinic: Clinic) -> None:
    """How many were looked at and whether all was well is on record, and nothing of any patient."""
    one = await clinic.person()
    before = await clinic.it.leaves(org=clinic.org)
    await clinic.verified()
    await clinic.run("UPDATE patient SET version = 2 WHERE id = ?", one)
    await clinic.verified()
    leaves = (await clinic.it.leaves(org=clinic.org))[len(before) :]
    assert [(leaf["act"], leaf["out"], leaf["cnt"], "pat" in leaf) for leaf in leaves] == [
        ("config", "ok", 1, False), ("config", "partial", 1, False),
    ]  # fmt: skip


async def test_the_first_findings_are_named_and_all_are_counted() -> None:
    """A house in ruins does not fill the memory."""
    found = Verified("north")
    for number in range(KEPT + 5):
        found.add(str(number), Flaw(Fault.SEAL_BROKEN, "contact"))
    assert (len(found.findings), found.counts) == (KEPT, {Fault.SEAL_BROKEN: KEPT + 5})


async def test_every_fault_has_a_test_and_a_sentence() -> None:
    """No code that nobody has seen, and none that nobody can read."""
    planted = {fault for _, expected in (*PLANTS.values(), *IN_HISTORY.values()) for fault, _ in expected}
    elsewhere = {
        "record_rolled_back", "record_removed", "version_repeated", "row_rolled_back", "row_of_nobody",
        "erasure_undone", "ledger_broken",
    }  # fmt: skip
    assert planted | elsewhere == {fault.value for fault in Fault} == {fault.value for fault in MEANINGS}
