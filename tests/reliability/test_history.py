"""History as it is stored: every version is described, what was replaced is kept, and erasure reaches both."""

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import bindparam, select
from sqlalchemy.engine import Connection

from auth.roles import Role
from crm.audit.event import Act, rfc3339
from crm.catalogue import BY_PATH, KeyClass
from crm.errors import Erased, Invalid, NotFound, Tampered, Unsafe
from crm.store import history, migrations, resealing
from crm.store.history import Since
from crm.store.statements import prepare
from crm.store.tables import patient_version, sealed_version
from crm.store.unit import Store
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


def _to(url: str, revision: str) -> None:
    """Takes the database to a revision, up or down."""
    way = command.downgrade if revision == "0005" else command.upgrade
    migrations._run(url, lambda c: migrations._alembic(c, lambda config: way(config, revision)), exclusive=True)


async def test_records_from_before_history(database_url: str, tmp_path: Path) -> None:
    """The revision describes the present version of each, by nobody; from there on everything is kept as of others."""
    async with house(database_url, tmp_path) as it:
        one, gone = [await it.store({"preferred_name": "Sam", "time_zone": "UTC"}) for _ in range(2)]
        south = await it.store({"preferred_name": "Sue"}, org=OTHER_ORG)
        await change(it, one, {"time_zone": "Africa/Nairobi"})
        await erase(it, gone, None)
        keys = it.services.store.keys
    await asyncio.to_thread(_to, database_url, "0005")
    await asyncio.to_thread(_to, database_url, "head")
    async with house(database_url, tmp_path / "anew", keys=lambda _: keys) as it:
        found = [
            [(row["version"], row["act"]) for row in await it.database.fetch(org, _VERSIONS, key=patient)]
            for org, patient in ((ORG, one), (ORG, gone), (OTHER_ORG, south))
        ]
        assert found == [[(2, None)], [(2, None)], [(1, None)]]
        await change(it, one, {"preferred_name": "Samira"}, {"time_zone": None, "restricted": True})
        assert [each.get("time_zone") for each in await told(it, one, "timeZone", "preferredName")] == [
            None,
            "Africa/Nairobi",
            "Africa/Nairobi",
        ]
        changed = frozenset({"preferred_name", "restricted", "time_zone"})
        assert await since(it, {one: 1}) == {one: Since(4, changed, known=False)}
        assert (await since(it, {one: 2}))[one].known
        assert await resealing.reseal(it.database, it.services.store.keys, ORG, one, now() + 1, now()) == (2, 0)
        assert [each["preferred_name"] for each in await told(it, one, "preferredName")] == ["Samira", "Samira", "Sam"]
        look = partial(it.services.history.read, actor(Role.PRIVACY_OFFICER), REQUEST, one, frozenset({"timeZone"}))
        for version, rule in ((1, "not_kept"), (5, "unknown_version")):
            with pytest.raises(Invalid, match=rule):
                await look(version=version)
        with pytest.raises(NotFound):
            await look(at=rfc3339(now() - 10 * 60_000_000))


async def test_versions_do_not_go_back_with_a_clock(database_url: str, tmp_path: Path) -> None:
    """A replica whose clock is behind makes a version of the same moment; that moment is answered with the newest."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"time_zone": "UTC"})
        behind = Store(it.database, it.services.store.keys, it.log, lambda: now() - 300_000_000)
        context = REQUEST.context(actor(Role.INTEGRATION))
        async with behind.writing(context, Act.UPDATE) as unit:
            record = (await unit.load_for_change([patient]))[patient]
            unit.change(record, {"time_zone": "Africa/Nairobi"}, "desk")
        first, second = await it.database.fetch(ORG, _VERSIONS, key=patient)
        assert first["at"] == second["at"]
        async with it.services.store.reading(context, Act.READ) as unit:
            found = await unit.version_at(patient, first["at"])
            assert found
            assert found.version == 2
            assert await unit.version_at(patient, first["at"] - 1) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE patient_version SET subject = 'somebody'",
        "DELETE FROM patient_version",
        "UPDATE sealed_version SET dek_no = 9",
    ],
)
async def test_history_is_not_rewritten(database_url: str, tmp_path: Path, statement: str) -> None:
    """The database itself refuses it, also to who owns the tables."""
    async with house(database_url, tmp_path) as it:
        patient = await it.store({"preferred_name": "Sam"})
        await change(it, patient, {"preferred_name": "Sue"})
    with pytest.raises((Unsafe, Erased)):
        await asyncio.to_thread(_as_owner, database_url, statement)


def _as_owner(url: str, statement: str) -> None:
    """One statement with the rights of the tables' owner, within the organisation."""

    def work(connection: Connection) -> None:
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT set_config('heed.org', '{ORG}', true)")
        connection.exec_driver_sql(statement)

    migrations._run(url, work, exclusive=True)
