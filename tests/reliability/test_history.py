"""History as it is stored: every version is described, what was replaced is kept, and erasure reaches both."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import bindparam, select

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_PATH, KeyClass
from crm.errors import Erased, Tampered
from crm.store import history, resealing
from crm.store.history import Since
from crm.store.statements import prepare
from crm.store.tables import patient_version, sealed_version
from crm.store.view import View
from tests.house import ORG, OTHER_ORG, REQUEST, House, actor, house, now
from tests.intruder import Intruder

_V = patient_version.c
_S = sealed_version.c
_VERSIONS = prepare(
    select(_V.version, _V.at, _V.act, _V.changed, _V.subject, _V.channel, _V.system)
    .where(_V.org == bindparam("org"), _V.patient_id == bindparam("key"))
    .order_by(_V.version)
)
_REPLACED = prepare(
    select(_S.key_class, _S.version, _S.cells, _S.provenance, _S.dek_no)
    .where(_S.org == bindparam("org"), _S.patient_id == bindparam("key"))
    .order_by(_S.key_class, _S.version)
)


async def change(it: House, patient_id: str, *steps: dict[str, Any], act: Act = Act.UPDATE) -> None:
    """Stores these values one after another, each step in a unit of its own."""
    for values in steps:
        async with it.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), act) as unit:
            record = (await unit.load_for_change([patient_id]))[patient_id]
            unit.change(record, values, "desk")


async def erase(it: House, patient_id: str, classes: frozenset[KeyClass] | None) -> None:
    """Erases these classes, or all with None."""
    async with it.services.store.writing(REQUEST.context(actor(Role.PRIVACY_OFFICER)), Act.ERASE) as unit:
        record = (await unit.load_for_change([patient_id]))[patient_id]
        await unit.erase(record, classes, "PATIENT_REQUEST")


async def since(it: House, known: dict[str, int], org: str = ORG) -> dict[str, Since]:
    """What happened since the known versions."""
    return await history.changed_since(partial(it.database.fetch, org), org, known)


async def test_each_version_is_described(database_url: str, tmp_path: Path) -> None:
    """Registration, changes and an erasure: when, who, what, and by which way; a change of nothing makes no version."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "time_zone": "UTC"})
        await change(it, patient, {"time_zone": "Africa/Nairobi"}, {"time_zone": "Africa/Nairobi"})
        await change(it, patient, {"pronouns": "they/them", "time_zone": None}, act=Act.IMPORT)
        await erase(it, patient, frozenset({KeyClass.SENSITIVE}))
        rows = await it.database.fetch(ORG, _VERSIONS, key=patient)
        told = [tuple(row) for row in rows]
        assert [row[0] for row in told] == [1, 2, 3, 4]
        assert [row[2:3] + row[5:] for row in told] == [
            ("create", "api", "test"),
            ("update", "api", "desk"),
            ("update", "import", "desk"),
            ("erase", None, None),
        ]
        assert told[1][3] == '["time_zone"]'
        assert told[2][3] == '["pronouns","time_zone"]'
        assert "religion" in told[3][3]
        assert {row[4] for row in told} == {"u-1"}
        assert sorted(row[1] for row in told) == [row[1] for row in told]


async def test_what_was_replaced_is_kept_sealed(database_url: str, tmp_path: Path) -> None:
    """Only rows of classes that were sealed anew, each under the version from which on it held."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "time_zone": "UTC"})
        await change(it, patient, {"time_zone": "Africa/Nairobi"}, {"preferred_name": "Sue"}, {"time_zone": "UTC"})
        kept = [tuple(row)[:2] for row in await it.database.fetch(ORG, _REPLACED, key=patient)]
        assert kept == [("identity", 1), ("preference", 1), ("preference", 2)]


async def test_changes_since_a_version(database_url: str, tmp_path: Path) -> None:
    """Each patient from the version that is known of them; nobody of another organisation, and no unknown id."""
    async with house(database_url, tmp_path) as it:
        one, two = [await it.store({"preferred_name": "Sam"}) for _ in range(2)]
        south = await it.store({"preferred_name": "Sue"}, org=OTHER_ORG)
        await change(it, one, {"time_zone": "UTC"}, {"pronouns": "they/them"})
        assert await since(it, {one: 1, two: 1, south: 1, "0": 1}) == {
            one: Since(3, frozenset({"time_zone", "pronouns"}), known=True),
            two: Since(1, frozenset(), known=True),
        }
        assert await since(it, {one: 2}) == {one: Since(3, frozenset({"pronouns"}), known=True)}
        assert await since(it, {one: 7}) == {one: Since(3, frozenset(), known=True)}
        assert (await since(it, {one: 0}))[one].names == {"preferred_name", "time_zone", "pronouns"}
        assert await since(it, {}) == {}
        assert await since(it, {one: 1}, OTHER_ORG) == {}


async def test_erasure_reaches_what_was_kept(database_url: str, tmp_path: Path) -> None:
    """A class: its old rows are empty. The whole patient: no old row is left, and no version but the erasure's own."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "time_zone": "UTC", "pronouns": "they/them"})
        await change(it, patient, {"time_zone": "Africa/Nairobi", "pronouns": "ze/zir"})
        await erase(it, patient, frozenset({KeyClass.SENSITIVE}))
        rows = {row["key_class"]: row for row in await it.database.fetch(ORG, _REPLACED, key=patient)}
        assert (rows["sensitive"]["cells"], rows["sensitive"]["provenance"]) == (None, "{}")
        assert rows["preference"]["cells"]
        await erase(it, patient, None)
        assert not await it.database.fetch(ORG, _REPLACED, key=patient)
        [last] = await it.database.fetch(ORG, _VERSIONS, key=patient)
        assert (last["version"], last["act"]) == (4, "erase")
        assert (await since(it, {patient: 1}))[patient].known is False


async def told(it: House, patient_id: str, *names: str) -> list[dict[str, Any]]:
    """What every version says of these public paths, the newest first."""
    context = REQUEST.context(actor(Role.PRIVACY_OFFICER))
    view = View(frozenset(names))
    async with it.services.store.reading(context, Act.READ) as unit:
        fields = {BY_PATH[name].name for name in names}
        present = (await unit.load([patient_id], fields | {"restricted"}))[patient_id]
        found = await unit.load_past(present, await unit.versions(patient_id, 2**53, 100), fields)
        return [unit.open(record, view) for record in found]


async def test_a_version_reads_as_it_was(database_url: str, tmp_path: Path) -> None:
    """Values, restriction and times of then; each version opened has an event of its own, which names it."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "time_zone": "UTC"})
        await change(it, patient, {"time_zone": "Africa/Nairobi"}, {"preferred_name": None, "restricted": True})
        assert await told(it, patient, "preferredName", "timeZone", "restricted") == [
            {"id": patient, "version": 3, "time_zone": "Africa/Nairobi", "restricted": True},
            {"id": patient, "version": 2, "preferred_name": "Sam", "time_zone": "Africa/Nairobi", "restricted": False},
            {"id": patient, "version": 1, "preferred_name": "Sam", "time_zone": "UTC", "restricted": False},
        ]
        leaves = await it.leaves()
        assert [leaf["obj"][0]["ver"] for leaf in leaves[-3:]] == [3, 2, 1]
        assert all(leaf["fld"] == ["preferredName", "restricted", "timeZone"] for leaf in leaves[-3:])
        assert all(("restricted" in leaf["flg"], leaf["why"]) == (True, "HISTORY") for leaf in leaves[-3:])


async def test_a_class_that_was_erased_and_filled_again(database_url: str, tmp_path: Path) -> None:
    """Before the erasure and until it was filled: erased, and nothing else. From then on: what was entered."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "pronouns": "they/them"})
        await erase(it, patient, frozenset({KeyClass.SENSITIVE}))
        await change(it, patient, {"pronouns": "ze/zir"})
        said = [each["pronouns"] for each in await told(it, patient, "pronouns", "preferredName")]
        assert said[0] == "ze/zir"
        assert [type(each) for each in said[1:]] == [Erased, Erased]


async def test_history_goes_along_with_a_new_data_key(database_url: str, tmp_path: Path) -> None:
    """Every version says the same afterwards under the new key; the old one is gone, and erasure reaches all."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "time_zone": "UTC", "pronouns": "they/them"})
        await change(it, patient, {"time_zone": "Africa/Nairobi"}, {"restricted": True}, {"pronouns": None})
        names = ("preferredName", "timeZone", "pronouns", "restricted", "provenance")
        before = await told(it, patient, *names)
        for _ in range(2):
            assert await resealing.reseal(it.database, it.services.store.keys, ORG, patient, now(), now()) == (3, 0)
        assert await told(it, patient, *names) == before
        assert {row["dek_no"] for row in await it.database.fetch(ORG, _REPLACED, key=patient)} == {3}
        await erase(it, patient, frozenset({KeyClass.PREFERENCE}))
        assert all(isinstance(each["time_zone"], Erased) for each in await told(it, patient, "timeZone"))


async def test_a_class_whose_history_does_not_open_keeps_its_key(database_url: str, tmp_path: Path) -> None:
    """Damage is not sealed anew: the class is left as it is, and the others are exchanged."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam", "time_zone": "UTC"})
        await change(it, patient, {"time_zone": "Africa/Nairobi"})
        intruder = Intruder(database_url)
        await intruder.run("UPDATE sealed_version SET provenance = '{}' WHERE key_class = 'preference'")
        assert await resealing.reseal(it.database, it.services.store.keys, ORG, patient, now(), now()) == (1, 1)
        with pytest.raises(Tampered):
            await told(it, patient, "timeZone")
        assert [each["preferred_name"] for each in await told(it, patient, "preferredName")] == ["Sam", "Sam"]
