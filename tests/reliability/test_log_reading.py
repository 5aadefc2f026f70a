"""What officers read of the log, on both engines: pages, filters, counts, and the index that each question walks."""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest

from crm.audit.event import Act, Outcome, Who
from crm.store.database import Database
from crm.store.log_reading import EventFilter, events
from crm.store.log_summing import summary
from crm.store.statements import Statement
from tests.logs import START, database_at, event, labels, logged, rows_of, writer_on

ADA, GRACE = "a" * 32, "b" * 32


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated and opened database on each engine."""
    async with database_at(database_url) as made:
        yield made


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
        assert sum(each.events for each in await summary(database, "north", chosen, [], 1)) == len(expected)
    assert await events(database, "north", EventFilter(), 5, after_seq=2**70) == []
    by_outcome = await summary(database, "north", EventFilter(), ["outcome"], 9)
    assert [(each.key["outcome"], each.events) for each in by_outcome] == [(0, 4), (8, 2), (12, 1)]
    second = (await events(database, "north", EventFilter(), 100))[-2]
    since = START + (int(times[1][-7:-1]) - START % 1_000_000)
    assert second.content["t"] == times[1]
    between = EventFilter(since=since, until=since + 1)
    assert labels([one.content for one in await events(database, "north", between, 100)]) == [1]


async def test_index_columns_are_those_of_the_leaf(database: Database) -> None:
    """What is stored beside a leaf is what its octets say."""
    async with writer_on(database) as writer:
        await writer.append("north", [event(1, who=Who(sub="u-1"), pat=ADA, pou="TREAT", flg=("vip",), req="r-9")])
    row = (await rows_of(database))[0]
    names = ("pat", "actor", "role", "pou", "act", "out", "flags", "disc", "req")
    assert [row[name] for name in names] == [
        ADA,
        "u-1",
        "",
        "TREAT",
        "read",
        0,
        16 | 256,
        0,
        "r-9",
    ]  # and the clock is the tests' own


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
