"""The log on real databases: several writers, killed writers, broken connections, strangers' locks, orphans."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import bindparam, select

from crm.audit.writer import LogWriter
from crm.errors import AuditUnavailable, StoreUnavailable
from crm.store.database import Database
from crm.store.log import LogSink, stage_rows
from crm.store.statements import prepare
from crm.store.tables import audit_head, audit_outbox
from tests.logs import START, Clock, database_at, event, labels, logged, signer, until, writer_on

ROOT = Path(__file__).resolve().parents[2]

_WAITING = prepare(select(audit_outbox.c.id).where(audit_outbox.c.org == bindparam("org")))
_LOCK = prepare(select(audit_head.c.size).where(audit_head.c.org == bindparam("org")).with_for_update())


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated and opened database on each engine."""
    async with database_at(database_url) as made:
        yield made


async def test_events_are_logged_in_order(database: Database) -> None:
    """Appended events stand in their organisation's log, numbered from 0, in the order of the calls."""
    async with writer_on(database) as writer:
        for label in range(5):
            await writer.append("north", [event(label), event(100 + label)])
        await writer.append("south", [event(7)])
    assert labels(await logged(database)) == [0, 100, 1, 101, 2, 102, 3, 103, 4, 104]
    assert labels(await logged(database, "south")) == [7]


async def test_many_callers_at_once(database: Database) -> None:
    """Hundreds of waiting callers are served by a few transactions, each event exactly once."""
    async with writer_on(database) as writer:
        await asyncio.gather(*(writer.append("north", [event(label)]) for label in range(400)))
    assert sorted(labels(await logged(database))) == list(range(400))


async def test_two_replicas_share_one_log(database: Database, database_url: str) -> None:
    """Two writers on one database, founding the same logs at the same time, leave no gap and no duplicate."""
    async with (
        database_at(database_url) as other,
        writer_on(database, "ra-1") as one,
        writer_on(other, "ra-2") as two,
    ):
        calls = [
            writer.append(org, [event(label), event(1000 + label)])
            for label in range(60)
            for writer in (one, two)
            for org in ("north", "south")
        ]
        await asyncio.gather(*calls)
    for org in ("north", "south"):
        leaves = await logged(database, org)
        assert len(leaves) == 240
        assert {leaf["src"]["node"].partition("/")[0] for leaf in leaves} == {"ra-1", "ra-2"}


async def test_cancelled_callers_are_recorded(database: Database) -> None:
    """Clients that go away at any moment leave their events in the log."""
    async with writer_on(database) as writer:
        calls = [asyncio.create_task(writer.append("north", [event(label)])) for label in range(30)]
        for call in calls:
            await asyncio.sleep(0)
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        # Only a caller whose task never ran has left nothing: it had not asked for anything yet.
        await writer.append("north", [event(99)])
    assert labels(await logged(database))[-1] == 99
    assert len(await logged(database)) == 31


async def test_change_and_its_event_commit_together(database: Database) -> None:
    """A committed change leaves one event and an empty outbox; a rolled back one leaves nothing."""
    async with writer_on(database) as writer:
        async with database.transaction("north") as connection:
            staged = writer.stage("north", [event(1), event(2)])
            await stage_rows(connection, "north", staged)
        await writer.sequence("north", staged)
        with suppress(StoreUnavailable):
            async with database.transaction("north") as connection:
                await stage_rows(connection, "north", writer.stage("north", [event(3)]))
                raise StoreUnavailable
        await writer.append("north", [event(4)])
    assert labels(await logged(database)) == [1, 2, 4]
    assert await database.fetch("north", _WAITING) == []


async def test_orphans_are_sequenced_once_by_whoever_comes_first(database: Database, database_url: str) -> None:
    """Events whose process died between commit and sequence are taken in by one of several sweepers, once."""
    dead = LogWriter(LogSink(database, signer), node="dead", clock=Clock())
    staged = dead.stage("north", [event(label) for label in range(20)])
    async with database.transaction("north") as connection:
        await stage_rows(connection, "north", staged)
    later = START + 60_000_000
    async with (
        database_at(database_url) as other,
        writer_on(database, "ra-1", clock=Clock(later)) as one,
        writer_on(other, "ra-2", clock=Clock(later)) as two,
    ):
        await asyncio.gather(*(writer.append("north", [event(50)]) for writer in (one, two)))
        await until(lambda: one.healthy and two.healthy)
    leaves = await logged(database)
    assert sorted(labels(leaves)) == [*range(20), 50, 50]
    orphans = [leaf for leaf in leaves if leaf["obj"][0]["ver"] != 50]
    assert all(leaf["src"]["for"].startswith("dead/") for leaf in orphans)
    assert await database.fetch("north", _WAITING) == []


async def test_owner_and_sweeper_bring_the_same_event(database: Database) -> None:
    """When the owner is late and a sweeper finds its row in the same batch, the event is logged once."""
    sink = LogSink(database, signer)
    async with writer_on(database) as writer:
        staged = writer.stage("north", [event(1)])
        async with database.transaction("north") as connection:
            await stage_rows(connection, "north", staged)
        found = await sink.orphans(START + 1_000_000, 10)
        await asyncio.gather(writer.sequence("north", staged), writer.sequence("north", found["north"]))
        await writer.sequence("north", staged)
    assert labels(await logged(database)) == [1]


async def test_strangers_lock_refuses_at_the_deadline(database: Database, database_url: str) -> None:
    """While another process sits on the log, callers are refused in time; afterwards the log goes on by itself."""
    async with writer_on(database) as writer:
        await writer.append("north", [event(1)])
    async with database_at(database_url) as stranger, writer_on(database, "ra-2", deadline=0.3) as writer:
        async with stranger.transaction("north") as connection:
            await connection.fetch(_LOCK)
            for _ in range(2):
                with pytest.raises(AuditUnavailable):
                    await writer.append("north", [event(2)])
            await until(lambda: not writer.healthy)
        await until(lambda: writer.healthy)
        await writer.append("north", [event(3)])
    # What was refused may be there all the same (nobody knew), but only before what came later, and at most once each.
    found = labels(await logged(database))
    assert (found[0], found[-1]) == (1, 3)
    assert found.count(2) <= 2


async def test_closed_database_refuses(database: Database) -> None:
    """A database that is away is a refusal, not another error."""
    async with writer_on(database) as writer:
        await writer.append("north", [event(1)])
        await database.close()
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(2)])
        await database.open()
    assert labels(await logged(database)) == [1]


_KILLED = """
import asyncio, os, sys
sys.path.insert(0, sys.argv[1])
from crm.audit.event import Act, Event
from crm.audit.writer import LogWriter
from crm.store.log import LogSink, stage_rows
from tests.logs import Clock, opened, signer

async def main():
    database = opened(sys.argv[2])
    await database.open()
    writer = LogWriter(LogSink(database, signer), node=sys.argv[3], clock=Clock(), deadline=30.0)
    await writer.start()
    async def client(first):
        for label in range(first, first + 10_000):
            event = Event(Act.READ, obj=label)
            if label % 5:
                await writer.append("north", [event])
            else:
                async with database.transaction("north") as connection:
                    staged = writer.stage("north", [event])
                    await stage_rows(connection, "north", staged)
                await writer.sequence("north", staged)
            os.write(1, b"%d\\n" % label)
    await asyncio.gather(*(client(number * 10_000) for number in range(8)))

asyncio.run(main())
"""


async def test_killed_writers_lose_nothing_they_acknowledged(database: Database, database_url: str) -> None:
    """Two processes are killed in full flight: every acknowledged event is in the log, and the log is whole."""
    call = [sys.executable, "-c", _KILLED, str(ROOT), database_url]
    acknowledged: list[set[int]] = []
    async with writer_on(database, "survivor") as writer:
        processes = [
            await asyncio.create_subprocess_exec(*call, name, stdout=asyncio.subprocess.PIPE)
            for name in ("ra-1", "ra-2")
        ]
        try:
            for process in processes:
                assert process.stdout is not None
                seen = {int(await process.stdout.readline()) for _ in range(60)}
                await writer.append("north", [event(999_999)])
                process.kill()
                rest = await process.stdout.read()
                lines = rest.split(b"\n")[:-1]  # a line the kill cut short was not acknowledged
                acknowledged.append(seen | {int(line) for line in lines})
        finally:
            for process in processes:
                if process.returncode is None:
                    with suppress(ProcessLookupError):
                        process.kill()
                await process.communicate()
        await writer.append("north", [event(999_999)])
    async with writer_on(database, "sweeper", clock=Clock(START + 3_600_000_000)) as writer:
        await until(lambda: writer.healthy)
    leaves = await logged(database)
    for name, labels_seen in zip(("ra-1", "ra-2"), acknowledged, strict=True):
        durable = {
            leaf["obj"][0]["ver"]
            for leaf in leaves
            if name in {leaf["src"]["node"].partition("/")[0], leaf["src"].get("for", "").partition("/")[0]}
        }
        assert labels_seen <= durable
    assert await database.fetch("north", _WAITING) == []


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_broken_connections_lose_nothing_that_was_acknowledged(
    database: Database, database_url: str, engine: str
) -> None:
    """The server drops every connection again and again: each caller is answered truly, and the log stays whole."""
    acknowledged: list[int] = []
    refused: list[int] = []
    breaking = asyncio.Event()

    async def client(writer: LogWriter, first: int) -> None:
        label = first
        while not breaking.is_set():
            try:
                await writer.append("north", [event(label)])
                acknowledged.append(label)
            except AuditUnavailable:
                refused.append(label)
                await asyncio.sleep(0.01)
            label += 1

    operator = await asyncpg.connect(database_url)
    async with writer_on(database) as writer:
        clients = [asyncio.create_task(client(writer, number * 1_000_000)) for number in range(8)]
        for _ in range(8):
            await asyncio.sleep(0.1)
            await operator.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        breaking.set()
        await asyncio.gather(*clients)
        await operator.close()
        for label in range(99_000_000, 99_000_010):  # the last to be dropped may be noticed by the first of them
            try:
                await until(lambda: writer.healthy)
                await writer.append("north", [event(label)])
            except AuditUnavailable:
                refused.append(label)
            else:
                acknowledged.append(label)
                break
        else:
            pytest.fail("the log does not come back")
    found = labels(await logged(database))
    assert set(acknowledged) <= set(found)
    assert set(found) <= {*acknowledged, *refused}
    assert len(set(found)) == len(found)
    assert refused
