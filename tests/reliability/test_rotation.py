"""Rotation of each kind of key among replicas of one service: nobody is lost, and what is unfinished is finished."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.catalogue import KeyClass
from crm.crypto.keyset import KeySet
from crm.crypto.stored_key import new_index_key, new_wrap_key
from crm.errors import KeyUnavailable, NotFound, UnknownKey
from crm.services.key_life import data_keys, indexes, roots, wraps
from crm.services.key_life.custodian import Custodian
from crm.store import keystore, reindexing, rotating
from crm.store.replicas import report
from tests.custody import Member, Stopped, StoppingWatch, member
from tests.house import ORG, OTHER_ORG, REQUEST, actor, now
from tests.intruder import Intruder
from tests.keys import ENV, partial_ring
from tests.people import WHOLE

ASKED = frozenset({"preferredName", "displayName", "religion", "contactPoints"})
CLERK = actor(Role.INTEGRATION)


def person(number: int) -> dict[str, Any]:
    """Somebody with a value in every field, and a name, a telephone and an identifier of their own."""
    return {
        **WHOLE,
        "preferred_name": f"P{number}",
        "names": [{"use": "OFFICIAL", "family": f"Family{number}", "given": ["Given"]}],
        "contact_points": [{"system": "PHONE", "value": f"+447700900{number:03d}"}],
        "identifiers": [{"system": "urn:mrn", "value": f"M-{number}"}],
    }


async def read(one: Member, patient_id: str, org: str = ORG) -> str:
    """The patient's preferred name, as this replica answers it."""
    profile = await one.house.services.profiles.read(actor(Role.INTEGRATION, org=org), REQUEST, patient_id, ASKED)
    return str(profile["preferred_name"])


async def found(one: Member, number: int, org: str = ORG) -> list[str]:
    """The names of whom this replica finds by each of the indexes that `person` fills."""
    clerk = actor(Role.INTEGRATION, org=org)
    names = []
    for by in (
        {"phone": f"+447700900{number:03d}"},
        {"full_name": f"Given Family{number}"},
        {"identifier": {"system": "urn:mrn", "value": f"M-{number}"}},
    ):
        page = await one.house.services.profiles.search(clerk, REQUEST, by, 5, None, ASKED)
        names += [node["preferred_name"] for node in page.nodes]
    return names


async def each_is_whole(one: Member, ids: dict[int, str]) -> None:
    """Everybody is read and found."""
    for number, patient_id in ids.items():
        org = OTHER_ORG if number % 3 == 2 else ORG
        assert await read(one, patient_id, org) == f"P{number}"
        assert await found(one, number, org) == [f"P{number}"] * 3


@pytest.fixture
async def pair(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Member, Member]]:
    """Two replicas that look at the key store only when they have to."""
    async with AsyncExitStack() as opened:
        first = await opened.enter_async_context(member(database_url, tmp_path, node="first"))
        yield first, await opened.enter_async_context(member(database_url, tmp_path, node="second"))


@pytest.fixture
async def ids(pair: tuple[Member, Member]) -> dict[int, str]:
    """Patients of two organisations."""
    first, _ = pair
    stored = {}
    for number in range(6):
        org = OTHER_ORG if number % 3 == 2 else ORG
        stored[number] = str((await first.house.register(person(number), org=org))["id"])
    return stored


async def states(one: Member, use: str) -> dict[int, str]:
    """The states of a use's keys as stored."""
    return {row.no: row.state for row in await keystore.key_rows(one.database) if row.key.use == use}


async def looking(one: Member) -> None:
    """A replica that looks all the time, until it is cancelled."""
    while True:
        await one.keyroom.look()
        await asyncio.sleep(0.05)


async def beside(one: Member, work: Awaitable[Any]) -> Any:
    """The result of `work`, while that replica keeps looking."""
    task = asyncio.create_task(looking(one))
    try:
        return await work
    finally:
        task.cancel()


async def under(one: Member) -> Counter[tuple[str, int]]:
    """How many live data keys there are of each class and epoch, all organisations together."""
    counts: Counter[tuple[str, int]] = Counter()
    for org in (ORG, OTHER_ORG):
        counts.update(await rotating.data_keys(one.database, org))
    return counts


async def versions(one: Member) -> Counter[int]:
    """How many index values there are under each version."""
    counts: Counter[int] = Counter()
    for org in (ORG, OTHER_ORG):
        counts.update(await reindexing.values(one.database, org))
    return counts


async def test_wrap_keys_of_a_class(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Every data key of the class comes under the new epoch, no other does, and each organisation's log says so."""
    first, second = pair
    before = await under(first)
    done = await beside(second, wraps.rotate(first.custodian(), KeyClass.IDENTITY))
    assert (done.no, done.moved, done.left_out, done.resumed) == (2, 6, 0, False)
    assert await under(first) == before - Counter({("identity", 1): 6}) + Counter({("identity", 2): 6})
    assert await states(first, "identity") == {1: "retiring", 2: "active"}
    await each_is_whole(second, ids)
    for org, count in ((ORG, 4), (OTHER_ORG, 2)):
        [leaf] = await first.house.leaves(org=org, act="key.rotate")
        assert (leaf["why"], leaf["cnt"], leaf["op"]) == ("wrap:identity:2", count, "command:keys-rotate")


async def test_new_patients_are_wrapped_under_the_new_epoch(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """After the rotation a replica that reported it writes nothing under the old key any more."""
    first, second = pair
    await beside(second, wraps.rotate(first.custodian(), KeyClass.CONTACT))
    await second.house.register(person(7))
    assert {epoch for use, epoch in await under(first) if use == "contact"} == {2}


async def test_a_rotation_waits_for_every_replica(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Nothing becomes active while a replica that lives has not said that it holds it; then it goes on by itself."""
    first, second = pair
    watch = StoppingWatch()
    task = asyncio.create_task(wraps.rotate(first.custodian(watch), KeyClass.IDENTITY))
    await asyncio.sleep(1.0)
    assert not task.done()
    assert await states(first, "identity") == {1: "active", 2: "pending"}
    assert watch.steps[-1] == ("identity 2: replicas that hold it", 1, 2)
    await second.keyroom.look()
    await asyncio.sleep(1.0)
    assert await states(first, "identity") == {1: "retiring", 2: "active"}
    assert not task.done(), "the second may still wrap under the first epoch"
    assert (await under(first))["identity", 1] == 6
    await second.keyroom.look()
    assert (await task).moved == 6


async def test_a_replica_that_starts_is_waited_for(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """One that looked at the key store before the publication, and has not reported yet, is not overlooked."""
    first, second = pair
    await second.keyroom.stop()
    await report(first.database, "starting", now(), now(), None, 3_600_000_000)
    task = asyncio.create_task(wraps.rotate(first.custodian(), KeyClass.IDENTITY))
    await asyncio.sleep(0.8)
    assert await states(first, "identity") == {1: "active", 2: "pending"}
    await report(first.database, "starting", now(), now(), {"identity": {1: "retiring", 2: "active"}}, 3_600_000_000)
    assert (await task).moved == 6


async def test_a_replica_that_is_gone_is_not(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Silence longer than the limit counts as the end: by then that process changes nothing any more."""
    first, _ = pair
    await asyncio.sleep(0.3)
    await first.keyroom.look()
    done = await wraps.rotate(first.custodian(max_age=0.2), KeyClass.IDENTITY)
    assert done.moved == 6


async def test_e28_two_rotators_at_once(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Both end well, there is one new key, and no data key was wrapped twice."""
    first, second = pair
    both = await asyncio.gather(
        *(wraps.rotate(one.custodian(), KeyClass.IDENTITY) for one in (first, second)),
        *(beside(one, asyncio.sleep(1.5)) for one in (first, second)),
    )
    assert [done.no for done in both[:2]] == [2, 2]
    assert sum(done.moved for done in both[:2]) == 6
    assert await states(first, "identity") == {1: "retiring", 2: "active"}
    await each_is_whole(second, ids)


async def test_e28_two_who_rotate_the_index_at_once(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Both end well, and no value is there twice or missing."""
    first, second = pair
    before = await versions(first)
    both = await asyncio.gather(
        *(indexes.rotate(one.custodian()) for one in (first, second)),
        *(beside(one, asyncio.sleep(1.5)) for one in (first, second)),
    )
    assert [done.no for done in both[:2]] == [2, 2]
    assert await versions(first) == Counter({2: before[1]})
    assert sum(done.moved for done in both[:2]) == before[1]
    await each_is_whole(second, ids)


async def test_e28_a_stale_replica_looks_once_and_succeeds(
    pair: tuple[Member, Member], ids: dict[int, str], database_url: str
) -> None:
    """One that nobody waited for meets an epoch it does not know: it looks at the key store, and answers."""
    first, second = pair
    unaware = KeySet.load(second.provider, ENV, await keystore.stored_keys(second.database))
    await asyncio.sleep(0.3)
    await first.keyroom.look()
    await wraps.rotate(first.custodian(max_age=0.2), KeyClass.IDENTITY)
    assert second.keys.states()["identity"] == {1: "active"}
    assert await read(second, ids[0]) == "P0"
    assert second.keys.states()["identity"] == {1: "retiring", 2: "active"}
    # The control: without that look it could not have been read.
    wrapped = (await Intruder(database_url).row(ids[0], "identity"))["wrapped"]
    assert wrapped[2:6] == (2).to_bytes(4)
    with pytest.raises(UnknownKey):
        unaware.data_key(ORG, ids[0], KeyClass.IDENTITY, 1, wrapped)


async def test_an_unfinished_rotation_is_finished_first(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """A published key is used before another one is made, and `resumed` says so."""
    first, second = pair
    await first.custodian().publish(new_wrap_key(first.provider, ENV, KeyClass.IDENTITY, 2, "pending"))
    done = await beside(second, wraps.rotate(first.custodian(), KeyClass.IDENTITY))
    assert (done.no, done.resumed, done.moved) == (2, True, 6)
    again = await beside(second, wraps.rotate(first.custodian(), KeyClass.IDENTITY))
    assert (again.no, again.resumed, again.moved) == (3, False, 6)


Rotation = Callable[[Custodian], Awaitable[Any]]
ROTATIONS: dict[str, Rotation] = {
    "wrap": lambda custodian: wraps.rotate(custodian, KeyClass.IDENTITY),
    "index": indexes.rotate,
}


@pytest.mark.parametrize("kind", ["wrap", "index"])
async def test_a_rotation_that_is_stopped_anywhere(
    pair: tuple[Member, Member], ids: dict[int, str], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped at each of its steps and run again each time, it ends where an undisturbed one ends."""
    first, second = pair
    monkeypatch.setattr(wraps, "_BATCH", 2)
    monkeypatch.setattr(indexes, "_BATCH", 1)
    keys, values = await under(first), await versions(first)
    stops = 0
    for at_most in range(1, 40):
        try:
            done = await beside(second, ROTATIONS[kind](first.custodian(StoppingWatch(at_most))))
            break
        except Stopped:
            stops += 1
            assert sum((await under(first)).values()) == sum(keys.values())
            await each_is_whole(second, ids)
            await each_is_whole(first, ids)
    assert stops > 3
    assert done.no == 2, "one rotation, however often it was begun again"
    if kind == "wrap":
        assert await under(first) == keys - Counter({("identity", 1): 6}) + Counter({("identity", 2): 6})
    else:
        assert await versions(first) == Counter({2: values[1]})
    await each_is_whole(second, ids)


async def test_a_data_key_that_does_not_open_is_left_out(
    pair: tuple[Member, Member], ids: dict[int, str], database_url: str
) -> None:
    """The others move; the epoch is not retired, and says how many are under it; put right, it is."""
    first, second = pair
    intruder = Intruder(database_url)
    wrapped = (await intruder.row(ids[0], "identity"))["wrapped"]
    await intruder.write(ids[0], "identity", wrapped=wrapped[:-1] + bytes([wrapped[-1] ^ 1]))
    watch = StoppingWatch()
    done = await beside(second, wraps.rotate(first.custodian(watch), KeyClass.IDENTITY))
    assert (done.moved, done.left_out) == (5, 1)
    assert "identity 1 cannot be retired: 1 data keys" in watch.notes[-1]
    rows = {row.no: row for row in await keystore.key_rows(first.database) if row.key.use == "identity"}
    assert rows[1].drained_at is None
    await intruder.write(ids[0], "identity", wrapped=wrapped)
    done = await beside(second, wraps.rotate(first.custodian(), KeyClass.IDENTITY))
    assert (done.no, done.resumed, done.moved, done.left_out) == (2, True, 1, 0)
    await each_is_whole(second, ids)


async def test_a_damaged_record_does_not_stop_the_index(
    pair: tuple[Member, Member], ids: dict[int, str], database_url: str
) -> None:
    """Its old values stay and are counted, so the old version is not retired; everybody else is found under the new."""
    first, second = pair
    intruder = Intruder(database_url)
    seal = (await intruder.row(ids[0], "identity"))["seal"]
    await intruder.write(ids[0], "identity", seal=bytes(len(seal)))
    watch = StoppingWatch()
    done = await beside(second, indexes.rotate(first.custodian(watch)))
    assert done.left_out == 1
    assert "index 1 cannot be retired" in watch.notes[-1]
    rows = {row.no: row for row in await keystore.key_rows(first.database) if row.key.use == "index"}
    assert (rows[1].state, rows[1].drained_at) == ("retiring", None)
    await intruder.write(ids[0], "identity", seal=seal)
    await each_is_whole(second, ids)
    done = await beside(second, indexes.rotate(first.custodian()))
    assert (done.no, done.resumed, done.left_out) == (2, True, 0)
    assert set(await versions(first)) == {2}
    await each_is_whole(second, ids)


async def test_index_values_of_a_change_during_the_rotation(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """While the next version is pending, a change writes both, and each replica finds the new value and not the old."""
    first, second = pair
    task = asyncio.create_task(indexes.rotate(first.custodian()))
    await asyncio.sleep(0.6)
    await second.keyroom.look()
    changed = {"contact_points": [{"system": "PHONE", "value": "+447700900555"}]}
    await second.house.services.changes.update(CLERK, REQUEST, ids[0], 1, changed, ASKED)
    assert set(await versions(first)) == {1, 2}
    await beside(second, task)
    for one in (first, second):
        for phone, names in (("+447700900555", ["P0"]), ("+447700900000", [])):
            page = await one.house.services.profiles.search(CLERK, REQUEST, {"phone": phone}, 5, None, ASKED)
            assert [node["preferred_name"] for node in page.nodes] == names


async def test_a_replica_that_flips_later_misses_nobody(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """One writes only the new version already, another still takes it for pending: it finds whom the first adds."""
    first, second = pair
    await first.custodian().publish(new_index_key(first.provider, ENV, 2, "pending"))
    await first.keyroom.look()
    await second.keyroom.look()
    rows = {row.no: row.key for row in await keystore.key_rows(first.database) if row.key.use == "index"}
    assert await keystore.activate(first.database, rows[1], rows[2], now())
    await first.keyroom.look()
    before = await versions(first)
    await first.house.register(person(9))
    assert set(await versions(first) - before) == {2}
    assert second.keys.index_version == 1
    assert await found(second, 9) == ["P9"] * 3
    assert await found(first, 0) == ["P0"] * 3, "and what is not filled in yet is found under the old version"


async def test_a_key_is_made_active_once(pair: tuple[Member, Member]) -> None:
    """By compare-and-set: not twice, not in the place of a key that is not active any more, and nothing by halves."""
    first, second = pair
    for no in (2, 3):
        key = new_wrap_key(first.provider, ENV, KeyClass.IDENTITY, no, "pending")
        await keystore.add(first.database, key, now())
    rows = {row.no: row.key for row in await keystore.key_rows(first.database) if row.key.use == "identity"}
    both = await asyncio.gather(*(keystore.activate(one.database, rows[1], rows[2], now()) for one in pair))
    assert sorted(both) == [False, True]
    after = {1: "retiring", 2: "active", 3: "pending"}
    assert not await keystore.activate(second.database, rows[1], rows[3], now())
    assert not await keystore.activate(second.database, rows[2], rows[1], now())
    assert await states(first, "identity") == after


async def test_index_keys_need_every_class(
    pair: tuple[Member, Member], ids: dict[int, str], database_url: str, tmp_path: Path
) -> None:
    """A process that lacks a class refuses before anything is published."""
    first, _ = pair
    part = partial_ring(tmp_path / "keyring.json", "index", "identity", "log")
    async with member(database_url, tmp_path, node="part", provider=lambda _: part) as some:
        with pytest.raises(KeyUnavailable):
            await indexes.rotate(some.custodian())
        with pytest.raises(KeyUnavailable):
            await wraps.rotate(some.custodian(), KeyClass.SENSITIVE)
    assert await states(first, "index") == {1: "active"}
    assert await states(first, "sensitive") == {1: "active"}


async def test_a_replica_without_the_class_is_not_waited_for(database_url: str, tmp_path: Path) -> None:
    """It never will hold it."""
    async with member(database_url, tmp_path, node="whole") as whole:
        part = partial_ring(tmp_path / "keyring.json", "contact", "log")
        async with member(database_url, tmp_path, node="part", provider=lambda _: part):
            assert (await wraps.rotate(whole.custodian(), KeyClass.IDENTITY)).no == 2


async def test_root_keys(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Every stored key of the use comes under the new root key; a rotation that stopped half way is finished."""
    first, second = pair
    await beside(second, wraps.rotate(first.custodian(), KeyClass.IDENTITY))
    known = list(first.provider.roots("identity"))
    done = await roots.rotate(first.custodian(), "identity")
    assert (done.resumed, done.moved, done.key_ref in known) == (False, 2, False)
    newest = first.provider.rotate("identity")  # the provider's part is done; then the process is killed
    done = await roots.rotate(first.custodian(), "identity")
    assert (done.key_ref, done.resumed, done.moved) == (newest, True, 2)
    again = await roots.rotate(first.custodian(), "identity")
    assert (again.resumed, again.moved, again.key_ref in [*known, newest]) == (False, 2, False)
    rows = [row for row in await keystore.key_rows(first.database) if row.key.use == "identity"]
    assert {row.key.key_ref for row in rows} == {again.key_ref}
    assert all(row.wrapped_at for row in rows)
    await each_is_whole(second, ids)


async def test_a_root_rotation_overwrites_nobody_elses(pair: tuple[Member, Member]) -> None:
    """A key that changed since it was read is left alone."""
    first, _ = pair
    [row] = [row for row in await keystore.key_rows(first.database) if row.key.use == "identity"]
    other = replace(row.key, key_ref="other", wrapped=b"other")
    assert await keystore.rewrap(first.database, row, other, now())
    assert not await keystore.rewrap(first.database, row, replace(row.key, wrapped=b"late"), now())
    [stored] = [row for row in await keystore.key_rows(first.database) if row.key.use == "identity"]
    assert (stored.key.wrapped, stored.roots) == (b"other", (row.key.key_ref, "other"))


async def test_data_keys_of_everybody(pair: tuple[Member, Member], ids: dict[int, str], database_url: str) -> None:
    """Each class of each patient gets a new key and new cells, the old keys are shredded, the records say the same."""
    first, second = pair
    intruder = Intruder(database_url)
    boxes = dict(await intruder.run("SELECT patient_id || key_class, cells FROM sealed_row"))
    done = await data_keys.rotate(first.custodian(), now())
    assert (done.patients, done.moved, done.left_out) == (6, 24, 0)
    after = dict(await intruder.run("SELECT patient_id || key_class, cells FROM sealed_row"))
    assert after.keys() == boxes.keys()
    assert not [name for name, box in after.items() if boxes[name] in (box, None)]
    keys = await intruder.run("SELECT dek_no, state, wrapped IS NULL, count(*) FROM patient_key GROUP BY 1, 2, 3")
    assert {(no, state, bool(gone), count) for no, state, gone, count in keys} == {
        (1, "shredded", True, 24), (2, "live", False, 24),
    }  # fmt: skip
    assert await intruder.run("SELECT DISTINCT version FROM patient") == [(1,)]
    await each_is_whole(second, ids)
    await second.house.services.changes.update(CLERK, REQUEST, ids[0], 1, {"preferred_name": "New"}, ASKED)
    assert await read(first, ids[0]) == "New"


async def test_data_keys_go_on_with_the_same_time(pair: tuple[Member, Member], ids: dict[int, str]) -> None:
    """Stopped half way and run again with its time, each key is replaced once; one patient alone can be asked for."""
    first, _ = pair
    before = now()
    with pytest.raises(Stopped):
        await data_keys.rotate(first.custodian(StoppingWatch(2)), before)
    rest = await data_keys.rotate(first.custodian(), before)
    assert rest.moved == 24 - 2 * 4
    assert (await data_keys.rotate(first.custodian(), before)).moved == 0
    one = await data_keys.rotate(first.custodian(), now(), ids[2])
    assert (one.patients, one.moved) == (1, 4)
    with pytest.raises(NotFound):
        await data_keys.rotate(first.custodian(), now(), "0198f0c2-7a00-7000-8000-000000000001")
    await each_is_whole(first, ids)


async def test_a_damaged_class_keeps_its_data_key(
    pair: tuple[Member, Member], ids: dict[int, str], database_url: str
) -> None:
    """What does not authenticate is not sealed anew as if it did: it stays as it is, and is counted."""
    first, _ = pair
    intruder = Intruder(database_url)
    row = await intruder.row(ids[0], "contact")
    await intruder.write(ids[0], "contact", seal=bytes(28))
    done = await data_keys.rotate(first.custodian(), now(), ids[0])
    assert (done.moved, done.left_out) == (3, 1)
    await intruder.write(ids[0], "contact", seal=row["seal"])
    await each_is_whole(first, {0: ids[0]})
