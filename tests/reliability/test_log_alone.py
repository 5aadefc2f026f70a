"""A log into which one process writes is grown in one statement: only while its head is where that process left it."""

import time
from collections.abc import AsyncIterator, Sequence
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import bindparam, select, update

from crm.audit.checkpoint import parse
from crm.audit.entry import Draft, Entry, draft, number
from crm.audit.event import Act
from crm.audit.recount import RENEWED
from crm.audit.tree import Frontier
from crm.crypto.note import open_note
from crm.errors import StoreUnavailable, Tampered
from crm.store.database import Database, Row
from crm.store.log import LogSink, stage_rows
from crm.store.statements import prepare
from crm.store.tables import audit_head, audit_tile
from crm.store.work import Grow
from tests.logs import database_at, event, labels, logged, rows_of, signer

_HEAD = prepare(select(audit_head).where(audit_head.c.org == bindparam("org")))
_RENEW = prepare(update(audit_head).where(audit_head.c.org == bindparam("org")).values(epoch=audit_head.c.epoch + 1))
_TILES = prepare(select(audit_tile.c.n).where(audit_tile.c.org == bindparam("org"), audit_tile.c.level == 0))


class Watched:
    """A sink on a real database that counts what it grew in one statement, and sees what time it was told."""

    def __init__(self, database: Database, node: str) -> None:
        self.at_once = 0
        self.told: list[int] = []
        self._node, self._n = node, 0
        self._database = database
        self._sink = LogSink(self, signer)  # the rest of a database comes by __getattr__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        found = await self._database.grow(org, grow)
        self.at_once += bool(found)
        return found

    async def log(self, *numbers: int) -> None:
        """One batch of new events."""
        await self.commit([draft(event(label), time.time_ns() // 1000) for label in numbers])

    async def commit(self, drafts: Sequence[Draft]) -> None:
        """One batch."""
        logged = 0

        def seal(found: Sequence[Draft], now: int) -> list[Entry]:
            nonlocal logged
            logged = len(found)
            self.told.append(now)
            return [number(each, self._node, self._n + place) for place, each in enumerate(found, start=1)]

        await self._sink.commit("north", drafts, seal)
        self._n += logged


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated and opened database on each engine."""
    async with database_at(database_url) as made:
        yield made


async def whole(database: Database) -> list[int]:
    """The labels of the log, after a check that its head covers all of it and is signed."""
    leaves = await logged(database)
    tree = Frontier()
    for row in await rows_of(database):
        tree.append(bytes(row["leaf_hash"]))
    [head] = await database.fetch("north", _HEAD)
    told = parse(open_note(head["checkpoint"], signer("north", head["epoch"]).verifier_key))
    assert (told.size, told.root, bytes(head["frontier"])) == (tree.size, tree.root(), tree.octets())
    return labels(leaves)


async def test_the_third_batch_of_a_lone_writer_is_one_statement(database: Database) -> None:
    """The first two tell it that nobody else writes; the database's clock goes on meanwhile."""
    one = Watched(database, "one")
    for label in range(8):
        await one.log(label)
    assert one.at_once == 6
    assert await whole(database) == list(range(8))
    assert all(later > earlier - 10_000 for earlier, later in pairwise(one.told))  # SQLite tells whole milliseconds
    assert abs(one.told[-1] - time.time_ns() // 1000) < 2_000_000


async def test_whoever_finds_the_log_moved_locks_it(database: Database, database_url: str) -> None:
    """Two processes in turn: what one prepared for another head is not stored, but done again behind the lock."""
    async with database_at(database_url) as elsewhere:
        one, two = Watched(database, "one"), Watched(elsewhere, "two")
        for label in range(4):
            await one.log(label)
        assert one.at_once == 2
        for label in range(4, 12):
            await (two if label % 2 else one).log(label)
        assert (one.at_once, two.at_once) == (3, 0)
    assert await whole(database) == list(range(12))


async def test_a_log_that_began_anew_is_signed_under_its_new_name(database: Database) -> None:
    """The size is the same, the epoch is not."""
    one = Watched(database, "one")
    for label in range(3):
        await one.log(label)
    async with database.transaction("north") as connection:
        await connection.execute(_RENEW)
    with pytest.raises(Tampered):  # nobody has said so yet
        await one.log(3)
    await one.commit([draft(event(3, act=Act.BOOT, why=RENEWED), time.time_ns() // 1000)])
    assert one.at_once == 1
    assert await whole(database) == [0, 1, 2, 3]


async def test_full_tiles_and_staged_events_take_the_lock(database: Database) -> None:
    """A tile is stored in the transaction that fills it, and a staged event is logged once."""
    one = Watched(database, "one")
    for first in range(0, 300, 50):
        await one.log(*range(first, first + 50))
    assert one.at_once == 3
    assert [row["n"] for row in await database.fetch("north", _TILES)] == [0]
    staged = [draft(event(300), time.time_ns() // 1000, staged_by="one")]
    async with database.transaction("north") as connection:
        await stage_rows(connection, "north", staged)
    await one.commit(staged)
    await one.commit(staged)
    assert one.at_once == 3
    assert await whole(database) == list(range(301))


async def test_a_batch_that_failed_is_followed_by_one_that_locks(database: Database) -> None:
    """What the head is after a failure, nobody knows."""
    one = Watched(database, "one")
    for label in range(3):
        await one.log(label)
    await database.close()
    with pytest.raises(StoreUnavailable):
        await one.log(3)
    await database.open()
    await one.log(4)
    assert one.at_once == 1
    await one.log(5)
    assert one.at_once == 1
    assert await whole(database) == [0, 1, 2, 4, 5]
