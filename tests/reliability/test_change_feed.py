"""The change feed under many writers, sequencers and followers: nothing lost, nothing late, versions in order."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import insert

from auth.roles import Role
from crm.delivery.bell import Bell
from crm.delivery.changes import Changes
from crm.delivery.sequencer import Sequencer
from crm.errors import PositionExpired
from crm.store import feed, organisations
from crm.store.database import Database
from crm.store.feed import Change
from crm.store.rings import hearing
from crm.store.statements import prepare
from crm.store.tables import outbox
from tests.conftest import Databases
from tests.counting import CountingDatabase
from tests.house import REQUEST, actor, house
from tests.ringing import LONG, PATIENCE, bell_with, end_listeners
from tests.store import NORTH, SOUTH, opened

_STAGE = prepare(insert(outbox))


async def stage(database: Database, *changes: tuple[str, int], at: int = 1, org: str = NORTH) -> None:
    """One transaction that changes these patients, each to a version."""
    rows = [
        {
            "id": f"{random.getrandbits(64):016x}",  # says nothing of the order
            "patient_id": patient,
            "version": version,
            "changed": '["names"]',
            "created_at": at,
            "kind": "CHANGED",
        }
        for patient, version in changes
    ]
    async with database.transaction(org) as connection:
        await organisations.note(connection)
        await connection.execute_many(_STAGE, rows)


async def everything(database: Database, org: str = NORTH, after: int = 0) -> list[Change]:
    """The whole feed."""
    return await feed.read(partial(database.fetch, org), org, after, 100_000)


def in_order(changes: list[Change]) -> bool:
    """Whether numbers have no gaps, and each patient's versions rise one by one."""
    versions: Counter[str] = Counter()
    for change in changes:
        versions[change.patient_id] += 1
        if change.version != versions[change.patient_id]:
            return False
    return [change.seq for change in changes] == list(range(1, len(changes) + 1))


async def test_what_was_read_is_never_preceded_by_what_comes_later(database_url: str) -> None:
    """Many writers with clocks of their own, several who number at once, and a reader: it misses nothing."""
    patients, versions = 12, 15
    read: list[Change] = []
    done = asyncio.Event()

    async def write(database: Database, patient: str, rng: random.Random) -> None:
        at = 1_000
        for version in range(1, versions + 1):
            at += rng.choice([0, 0, 1, 500])  # some share their times
            await stage(database, (patient, version), at=at)
            await asyncio.sleep(rng.choice([0, 0.001]))

    async def number(database: Database) -> None:
        while not done.is_set():
            await feed.sequence(database, NORTH, at_once=7)
            await asyncio.sleep(0)

    async def follow(database: Database) -> None:
        while not done.is_set():
            read.extend(await everything(database, after=read[-1].seq if read else 0))
            await asyncio.sleep(0.001)

    async with opened(database_url) as one, opened(database_url) as other:
        helping = [asyncio.create_task(work) for work in (number(one), number(other), follow(other))]
        rng = random.Random(7)
        await asyncio.gather(*(write(rng.choice([one, other]), f"p{n}", random.Random(n)) for n in range(patients)))
        await feed.settle(one, NORTH)
        done.set()
        await asyncio.gather(*helping)
        whole = await everything(one)
        read.extend(await everything(other, after=read[-1].seq if read else 0))
    assert len(whole) == patients * versions
    assert in_order(whole)
    assert read == whole


async def test_a_backlog_is_numbered_part_by_part(database_url: str) -> None:
    """Whatever the parts are cut, no version comes before an older one; and the same read again is the same."""
    async with opened(database_url) as database:
        for version in range(1, 31):
            await stage(database, *((f"p{n}", version) for n in range(5)), at=version // 10)
        while await feed.sequence(database, NORTH, at_once=4):
            pass
        whole = await everything(database)
        assert len(whole) == 150
        assert in_order(whole)
        for position in (0, 1, 77, 149, 150):
            assert await everything(database, after=position) == whole[position:]
        some = await feed.read(partial(database.fetch, NORTH), NORTH, 20, 10, ["p1", "p3"])
        assert some == [each for each in whole[20:] if each.patient_id in {"p1", "p3"}][:10]
        assert await feed.head(partial(database.fetch, NORTH), NORTH) == 150
        assert await everything(database, SOUTH) == []


async def test_a_clock_that_goes_back_changes_no_order(database_url: str, tmp_path: Path) -> None:
    """The clock of a replica is an hour behind that of the last change: its change still comes after that."""
    async with house(database_url, tmp_path) as it:
        patient, clerk = str((await it.register())["id"]), actor(Role.INTEGRATION)
        late = it.services.store.clock
        for version, hours in ((1, 0), (2, -1), (3, 1), (4, -2)):
            it.services.store.clock = lambda hours=hours: late() + hours * 3_600_000_000  # type: ignore[misc]
            values = {"preferred_name": f"Sam {version}"}
            await it.services.changes.update(clerk, REQUEST, patient, version, values, frozenset())
        await feed.settle(it.database, clerk.org)
        found = await everything(it.database, clerk.org)
        assert in_order(found)
        assert [each.at for each in found] == sorted(each.at for each in found)


async def test_another_replica_numbers_what_one_left_behind(database_url: str, tmp_path: Path) -> None:
    """A process that stored a change and ended before it was numbered: whoever looks round next does it."""
    async with house(database_url, tmp_path) as it:
        patient = str((await it.register())["id"])
        org = actor(Role.INTEGRATION).org
        assert await everything(it.database, org) == []
    async with opened(database_url) as database:
        sequencer = Sequencer(database, Bell(database, database_url))
        await sequencer.look_round()
        [change] = await everything(database, org)
        assert (change.patient_id, sequencer.waiting_since) == (patient, change.at)
        await sequencer.look_round()
        assert (await everything(database, org), sequencer.waiting_since) == ([change], None)


async def test_old_changes_go_and_the_newest_stays(database_url: str) -> None:
    """What is older than is kept goes from the front; the last change stays as the position of who has read all."""
    async with opened(database_url) as database:
        for version in range(1, 11):
            await stage(database, ("p", version), at=version * 100)
        await feed.settle(database, NORTH)
        assert await feed.prune(database, NORTH, 450) == 4
        assert await feed.prune(database, NORTH, 450) == 0
        assert [each.seq for each in await everything(database)] == [5, 6, 7, 8, 9, 10]
        assert await feed.prune(database, NORTH, 10_000) == 5
        assert [each.seq for each in await everything(database)] == [10]
        assert await feed.prune(database, SOUTH, 10_000) == 0
        await stage(database, ("p", 11), at=1_100)
        await feed.settle(database, NORTH)
        assert [each.seq for each in await everything(database)] == [10, 11]


# --- following -------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def telling(url: str, *, every: float = LONG) -> AsyncIterator[tuple[Database, Sequencer, Changes]]:
    """A process that numbers changes and follows them; nothing but rings wakes it unless `every` is short."""
    async with bell_with(url, every=every) as (ringing, database):
        sequencer = Sequencer(database, ringing)
        sequencer.start()
        yield database, sequencer, Changes(database, ringing)
        await sequencer.stop()


async def take(changes: Changes, count: int, after: int = 0, pause: float = 0) -> list[Change]:
    """The next changes behind a position."""
    found: list[Change] = []
    async with asyncio.timeout(PATIENCE), aclosing(changes.follow(NORTH, after)) as following:
        async for change in following:
            found.append(change)
            if len(found) == count:
                break
            if pause:
                await asyncio.sleep(pause)
    return found


async def test_a_follower_hears_of_a_change_of_this_process(database_url: str) -> None:
    """Without a look of its own: the change itself rings."""
    async with telling(database_url) as (database, sequencer, changes):
        hearing = asyncio.create_task(take(changes, 3))
        for version in (1, 2, 3):
            await stage(database, ("p", version), at=version)
            sequencer.kick(NORTH)
            await asyncio.sleep(0.01)
        assert in_order(await hearing)
        assert changes.followers(NORTH) == 0


async def test_a_follower_hears_of_a_change_of_another_process(databases: Databases) -> None:
    """On PostgreSQL through NOTIFY, in the transaction that numbers the change."""
    url = databases.create("postgresql")
    async with telling(url) as (here, sequencer, _), telling(url) as (_, _, there):
        hearing = asyncio.create_task(take(there, 2))
        await stage(here, ("p", 1))
        sequencer.kick(NORTH)
        await asyncio.sleep(0.1)
        await stage(here, ("p", 2))
        sequencer.kick(NORTH)
        assert in_order(await hearing)
    databases.drop(url)


async def test_only_changes_ring(databases: Databases, tmp_path: Path) -> None:
    """Looking rings nothing, since ringing takes turns; a ring says topic and organisation, nothing of a patient."""
    url = databases.create("postgresql")
    heard: list[tuple[str, str]] = []
    clerk = actor(Role.INTEGRATION)
    async with hearing(url, lambda topic, org: heard.append((topic, org))), house(url, tmp_path) as it:
        patient = str((await it.register())["id"])
        await feed.settle(it.database, clerk.org)
        while not heard:  # noqa: ASYNC110 - the list tells nobody
            await asyncio.sleep(0.01)
        assert heard == [("change", clerk.org)]
        for _ in range(3):
            await it.services.profiles.read(clerk, REQUEST, patient, frozenset({"displayName"}))
            await it.services.feed.page(clerk, REQUEST, 10, None)
        await asyncio.sleep(0.2)
        assert len(heard) == 1
    databases.drop(url)


async def test_nothing_is_lost_with_a_connection_that_listens(databases: Databases) -> None:
    """What rings while the connection is away is found as soon as it is back; nobody waits for a look."""
    url = databases.create("postgresql")
    async with telling(url) as (here, sequencer, _), telling(url) as (_, _, there):
        hearing = asyncio.create_task(take(there, 4))
        for version in (1, 2, 3, 4):
            assert await end_listeners(url) <= 2
            await stage(here, ("p", version))
            sequencer.kick(NORTH)
            await asyncio.sleep(0.3)
        assert in_order(await hearing)
    databases.drop(url)


async def test_a_missed_ring_is_made_up_by_looking(database_url: str) -> None:
    """Nobody rings at all: followers look every so often."""
    async with opened(database_url) as database:
        quiet = Bell(database, database_url, every=0.05)
        changes = Changes(database, quiet)
        hearing = asyncio.create_task(take(changes, 2))
        for version in (1, 2):
            await stage(database, ("p", version))
            await feed.settle(database, NORTH)
            await asyncio.sleep(0.1)
        assert in_order(await hearing)


async def test_a_thousand_followers_cost_one_reader(database_url: str) -> None:
    """All hear all, from wherever they begin; what is remembered is bounded, and reads do not grow with them."""
    count, before, later = 1_000, 40, 60
    async with opened(database_url) as real:
        counter = CountingDatabase()
        ringing = Bell(real, database_url, every=LONG)
        changes = Changes(counter.around(real), ringing, remembered=50)
        for version in range(1, before + 1):
            await stage(real, ("p", version))
        await feed.settle(real, NORTH)
        rng = random.Random(1)
        starts = [before if n % 10 else rng.randrange(before) for n in range(count)]
        hearing = [asyncio.create_task(take(changes, before + later - start, start)) for start in starts]
        while changes.followers(NORTH) < count:  # noqa: ASYNC110 - they tell nobody
            await asyncio.sleep(0)
        asked = counter.statements
        for version in range(before + 1, before + later + 1):
            await stage(real, ("p", version))
            await feed.settle(real, NORTH)
            ringing.wake(feed.TOPIC, NORTH)
            await asyncio.sleep(0)
            assert len(changes._readers[NORTH]._newest) <= 50
        found = await asyncio.gather(*hearing)
        assert counter.statements - asked < count  # and not `count` times `later`
        whole = await everything(real)
    for start, each in zip(starts, found, strict=True):
        assert each == whole[start:]


async def test_who_is_slow_lags_and_loses_nothing(database_url: str) -> None:
    """A follower far behind what is remembered reads the table, and catches up; the others do not wait for it."""
    async with opened(database_url) as database:
        ringing = Bell(database, database_url, every=0.05)
        changes = Changes(database, ringing, remembered=10)
        slow = asyncio.create_task(take(changes, 100, pause=0.005))
        quick = asyncio.create_task(take(changes, 100))
        for version in range(1, 101):
            await stage(database, ("p", version))
            if version % 10 == 0:
                await feed.settle(database, NORTH)
                ringing.wake(feed.TOPIC, NORTH)
                await asyncio.sleep(0)
        assert in_order(await quick)
        assert not slow.done()
        assert in_order(await slow)


@pytest.mark.parametrize("of_whom", [None, frozenset({"q"})], ids=["everybody", "one"])
async def test_who_lags_behind_what_is_kept_is_told(database_url: str, of_whom: frozenset[str] | None) -> None:
    """They lost changes, and end with that, whether or not any was of those whom they follow; who is at it goes on."""
    async with opened(database_url) as database:
        changes = Changes(database, Bell(database, database_url, every=0.05), remembered=10)
        for version in range(1, 301):
            await stage(database, ("p", version), ("q", version), at=version)
        await feed.settle(database, NORTH)
        async with asyncio.timeout(PATIENCE), aclosing(changes.follow(NORTH, 0, lambda: of_whom)) as following:
            assert (await anext(following)).version == 1
            assert await feed.prune(database, NORTH, 250) == 498
            with pytest.raises(PositionExpired):
                [each async for each in following]  # what was read at once is still told
        assert [each.seq for each in await take(changes, 2, after=498)] == [499, 500]


@pytest.mark.parametrize("behind", [True, False])
async def test_whom_a_follower_means_may_change(database_url: str, behind: bool) -> None:
    """From the change on at which they mean somebody else; in what they read at once, too, and with few reads."""
    async with opened(database_url) as database:
        counter = CountingDatabase()
        changes = Changes(counter.around(database), Bell(database, database_url, every=0.05))
        if not behind:
            keeping = asyncio.create_task(take(changes, 901))
            while not changes.followers(NORTH):  # noqa: ASYNC110 - they tell nobody
                await asyncio.sleep(0)
        await stage(database, *((f"p{n % 300}", n // 300 + 1) for n in range(900)))
        await feed.settle(database, NORTH)
        meant, found = {"p1"}, []
        counter.forget()
        async with asyncio.timeout(PATIENCE), aclosing(changes.follow(NORTH, 0, lambda: frozenset(meant))) as following:
            async for change in following:
                found.append((change.patient_id, change.version))
                if len(found) == 2:
                    meant = {"p1", "p299"}
                if len(found) == 4:
                    break
        assert counter.statements < 12
        whole = [(each.patient_id, each.version) for each in await everything(database)]
        later = [each for each in whole[whole.index(("p1", 2)) + 1 :] if each[0] in meant]
        assert found == [("p1", 1), ("p1", 2), *later[:2]]
        await stage(database, ("p0", 4))
        await feed.settle(database, NORTH)
        if not behind:
            assert len(await keeping) == 901


async def test_followers_survive_a_database_that_is_away(database_url: str) -> None:
    """Who waits goes on waiting while it does not answer, and hears what happened meanwhile."""
    async with opened(database_url) as there, opened(database_url) as here:
        changes = Changes(here, Bell(here, database_url, every=0.05))
        hearing = asyncio.create_task(take(changes, 1))
        await asyncio.sleep(0.1)
        await here.close()
        await stage(there, ("p", 1))
        await feed.settle(there, NORTH)
        await asyncio.sleep(0.2)
        assert not hearing.done()
        await here.open()
        assert [each.version for each in await hearing] == [1]


@pytest.mark.parametrize("live", [True, False])
async def test_two_replicas_tell_of_each_others_changes(databases: Databases, tmp_path: Path, live: bool) -> None:
    """End to end on PostgreSQL: stored by one, told by the other; also where neither hears rings."""
    url = databases.create("postgresql")
    (tmp_path / "other").mkdir()
    clerk = actor(Role.INTEGRATION)
    async with house(url, tmp_path, live=live) as one:
        keys = one.services.store.keys
        async with house(url, tmp_path / "other", keys=lambda _: keys, live=live) as other:
            patient = str((await one.register())["id"])
            page = await other.services.feed.page(clerk, REQUEST, 10, None)
            assert [node["id"] for node in page.nodes] == [patient]  # acknowledged there, so it is known here
            following = await other.services.feed.follow(clerk, REQUEST, [patient], page.newest)
            async with asyncio.timeout(PATIENCE), aclosing(following):
                hearing = asyncio.ensure_future(anext(following))
                await asyncio.sleep(0.05)
                await one.services.changes.update(clerk, REQUEST, patient, 1, {"religion": "Sikh"}, frozenset())
                if not live:
                    await feed.settle(one.database, clerk.org)
                told = await other.services.feed.tell(clerk, REQUEST, await hearing, named=True)
            assert told is not None
            assert (told["id"], told["version"], told["changed_fields"]) == (patient, 2, ["religion"])
    databases.drop(url)
