"""The log on real databases: several writers, killed writers, strangers' locks, orphans, and what officers read."""

import asyncio
import json
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import bindparam, select

from crm.audit.event import Act, Event, Outcome, Who, leaf_hash
from crm.audit.writer import LogWriter
from crm.errors import AuditUnavailable, StoreUnavailable
from crm.store.database import Database, connect
from crm.store.log import EventFilter, LogSink, counts, events, stage_rows
from crm.store.postgres import PostgresDatabase
from crm.store.statements import Statement, prepare
from crm.store.tables import audit_event, audit_head, audit_outbox

ROOT = Path(__file__).resolve().parents[2]
START = 1_795_287_303_000_000
ADA, GRACE = "a" * 32, "b" * 32

_LOG = prepare(select(audit_event).where(audit_event.c.org == bindparam("org")).order_by(audit_event.c.seq))
_SIZE = prepare(select(audit_head.c.size).where(audit_head.c.org == bindparam("org")))
_WAITING = prepare(select(audit_outbox.c.id).where(audit_outbox.c.org == bindparam("org")))
_LOCK = prepare(select(audit_head.c.size).where(audit_head.c.org == bindparam("org")).with_for_update())


class Clock:
    """Microseconds since 1970; every look is one later."""

    def __init__(self, now: int = START) -> None:
        self.now = now

    def __call__(self) -> int:
        self.now += 1
        return self.now


def opened(url: str) -> Database:
    """The database at `url`, not yet open; the tests' PostgreSQL does not fsync, so durability is not asked of it."""
    return PostgresDatabase(url, durable=False) if url.startswith("postgres") else connect(url)


@asynccontextmanager
async def database_at(url: str) -> AsyncIterator[Database]:
    """The opened database at `url`."""
    database = opened(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def writer_on(database: Database, node: str = "ra-1", **settings: Any) -> AsyncIterator[LogWriter]:
    """A started writer over `database`."""
    writer = LogWriter(LogSink(database), node=node, **{"clock": Clock(), "deadline": 30.0, **settings})
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated and opened database on each engine."""
    async with database_at(database_url) as made:
        yield made


def event(label: int = 0, **facts: Any) -> Event:
    """A read; `label` tells it from others."""
    return Event(**{"act": Act.READ, "obj": label, **facts})


async def logged(database: Database, org: str = "north") -> list[dict[str, Any]]:
    """The log's leaves, after a check that it is whole: numbers without gaps, hashes and counts right."""
    rows = await database.fetch(org, _LOG)
    assert [row["seq"] for row in rows] == list(range(len(rows)))
    size = await database.fetch(org, _SIZE)
    assert (size[0]["size"] if size else 0) == len(rows)
    leaves = [json.loads(bytes(row["leaf"])) for row in rows]
    assert [row["id"] for row in rows] == [leaf["id"] for leaf in leaves]
    assert all(bytes(row["leaf_hash"]) == leaf_hash(bytes(row["leaf"])) for row in rows)
    assert len({leaf["id"] for leaf in leaves}) == len(leaves)
    counted: dict[str, list[int]] = {}
    for leaf in leaves:
        counted.setdefault(leaf["src"]["node"], []).append(leaf["src"]["n"])
    assert all(run == list(range(1, len(run) + 1)) for run in counted.values())
    return leaves


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what a writer does in its own time; the test's own limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - there is no event for every state a test may ask for
        await asyncio.sleep(0.01)


def labels(leaves: Sequence[dict[str, Any]]) -> list[int]:
    """The labels that `event` gave."""
    return [leaf["obj"][0]["ver"] for leaf in leaves]


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
    dead = LogWriter(LogSink(database), node="dead", clock=Clock())
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
    sink = LogSink(database)
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
from tests.reliability.test_log import Clock, opened

async def main():
    database = opened(sys.argv[2])
    await database.open()
    writer = LogWriter(LogSink(database), node=sys.argv[3], clock=Clock(), deadline=30.0)
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


async def test_officer_reads_newest_first_page_by_page(database: Database) -> None:
    """Pages of any size put together are the whole log, newest first, without gap or repetition."""
    async with writer_on(database) as writer:
        await writer.append("north", [event(label) for label in range(10)])
        for label in range(10, 23):
            await writer.append("north", [event(label)])
        await writer.append("south", [event(999)])
    for size in (1, 4, 23, 50):
        seen: list[int] = []
        after = None
        while page := await events(database, "north", EventFilter(), size, after):
            assert len(page) <= size
            seen += [found.seq for found in page]
            after = page[-1].seq
        assert sorted(seen) == list(range(23))
        times = [(await logged(database))[seq]["t"] for seq in seen]
        assert times == sorted(times, reverse=True)
    assert await events(database, "north", EventFilter(), 5, after_seq=10_000) == []
    assert await events(database, "elsewhere", EventFilter(), 5) == []


async def test_officer_filters(database: Database) -> None:
    """Each filter finds exactly its events, alone and with others, and the counts agree."""
    nurse, clerk = Who(sub="nurse", roles=("clinician",)), Who(sub="clerk", roles=("front_desk",))
    samples = [
        event(0, who=nurse, pat=ADA, pou="TREAT", req="r-0"),
        event(1, who=clerk, pat=ADA, pou="HOPERAT", req="r-1"),
        event(2, who=clerk, pat=GRACE, pou="HOPERAT", out=Outcome.DENIED, why="FORBIDDEN", req="r-2"),
        event(3, who=nurse, pat=GRACE, pou="TREAT", act=Act.UPDATE, req="r-3"),
        event(4, act=Act.LOGIN, out=Outcome.DENIED, why="EXPIRED"),
        event(5, who=clerk, pat=ADA, pou="HOPERAT", out=Outcome.ERROR, req="r-1"),
        event(6, who=Who(sub="Zoë the\u0000nurse"), req="a request"),
    ]
    async with writer_on(database) as writer:
        for sample in samples:
            await writer.append("north", [sample])
    times = [leaf["t"] for leaf in await logged(database)]
    questions: list[tuple[EventFilter, list[int]]] = [
        (EventFilter(), [6, 5, 4, 3, 2, 1, 0]),
        (EventFilter(patient=ADA), [5, 1, 0]),
        (EventFilter(actor="nurse"), [3, 0]),
        (EventFilter(outcome="denied"), [4, 2]),
        (EventFilter(outcome="ok"), [6, 3, 1, 0]),
        (EventFilter(purpose="TREAT"), [3, 0]),
        (EventFilter(act="update"), [3]),
        (EventFilter(request="r-1"), [5, 1]),
        (EventFilter(request="a request"), [6]),
        (EventFilter(actor="Zoë the\u0000nurse"), [6]),
        (EventFilter(patient=ADA, actor="clerk", outcome="error"), [5]),
        (EventFilter(patient=ADA, purpose="HPAYMT"), []),
    ]
    for chosen, expected in questions:
        found = await events(database, "north", chosen, 100)
        assert labels([one.content for one in found]) == expected
        assert sum((await counts(database, "north", chosen)).values()) == len(expected)
    assert await events(database, "north", EventFilter(), 5, after_seq=2**70) == []
    assert await counts(database, "north", EventFilter()) == {"ok": 4, "denied": 2, "error": 1}
    second = (await events(database, "north", EventFilter(), 100))[-2]
    since = START + (int(times[1][-7:-1]) - START % 1_000_000)
    assert second.content["t"] == times[1]
    between = EventFilter(since=since, until=since + 1)
    assert labels([one.content for one in await events(database, "north", between, 100)]) == [1]


async def test_index_columns_are_those_of_the_leaf(database: Database) -> None:
    """What is stored beside a leaf is what its octets say."""
    async with writer_on(database) as writer:
        await writer.append("north", [event(1, who=Who(sub="u-1"), pat=ADA, pou="TREAT", flg=("vip",), req="r-9")])
    row = (await database.fetch("north", _LOG))[0]
    names = ("pat", "actor", "role", "pou", "act", "out", "flags", "disc", "req")
    assert [row[name] for name in names] == [ADA, "u-1", "", "TREAT", "read", 0, 16, 0, "r-9"]


@pytest.mark.parametrize("engine", ["sqlite"])
@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        (EventFilter(), "time"),
        (EventFilter(patient=ADA), "patient"),
        (EventFilter(actor="nurse"), "actor"),
        (EventFilter(request="r-1"), "request"),
        (EventFilter(outcome="denied"), "refused"),
        (EventFilter(patient=ADA, purpose="TREAT", outcome="ok"), "patient"),
    ],
)
async def test_officer_questions_have_an_index(database_url: str, engine: str, chosen: EventFilter, index: str) -> None:
    """Each question walks its own index, without statistics to tell SQLite so (PostgreSQL keeps statistics itself)."""
    async with database_at(database_url) as database:
        asked: list[tuple[str, list[Any]]] = []

        class Listener:
            """A database that notes what it is asked."""

            async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Any]:
                form = statement.sqlite()
                asked.append((form.sql, form.arguments({"org": org, **params})))
                return await database.fetch(org, statement, **params)

        await events(cast("Database", Listener()), "north", chosen, 10)
    prompt = sqlite3.connect(database_url.removeprefix("sqlite:///"))
    [(sql, arguments)] = asked
    plan = " ".join(row[3] for row in prompt.execute(f"EXPLAIN QUERY PLAN {sql}", arguments))
    prompt.close()
    assert f"SEARCH audit_event USING INDEX ix_audit_event_{index} " in plan
