"""Logs on real databases, for tests: a clock, opened databases, started writers, and a look at what was recorded."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from sqlalchemy import bindparam, select

from crm.audit.checkpoint import origin_of
from crm.audit.event import Act, Event, leaf_hash
from crm.audit.writer import LogWriter
from crm.crypto.note import Signer
from crm.store.database import Database, Row, connect
from crm.store.log import LogSink
from crm.store.postgres import PostgresDatabase
from crm.store.statements import prepare
from crm.store.tables import audit_event, audit_head

__all__ = [
    "START",
    "Clock",
    "database_at",
    "event",
    "labels",
    "logged",
    "opened",
    "rows_of",
    "signer",
    "until",
    "verifier_key",
    "writer_on",
]

_SEED = b"a seed of thirty-two octets, so."
START = 1_795_287_303_000_000

_LOG = prepare(select(audit_event).where(audit_event.c.org == bindparam("org")).order_by(audit_event.c.seq))
_SIZE = prepare(select(audit_head.c.size).where(audit_head.c.org == bindparam("org")))


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


@cache
def signer(org: str, epoch: int) -> Signer:
    """Signs the checkpoints of the tests' logs. Kept, as a service keeps its own."""
    return Signer(origin_of("heed.test", org, epoch), _SEED)


def verifier_key(origin: str) -> str:
    """What everybody may know of the key that signs the log of this name."""
    return Signer(origin, _SEED).verifier_key


@asynccontextmanager
async def writer_on(database: Database, node: str = "ra-1", **settings: Any) -> AsyncIterator[LogWriter]:
    """A started writer over `database`."""
    writer = LogWriter(LogSink(database, signer), node=node, **{"clock": Clock(), "deadline": 30.0, **settings})
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


def event(label: int = 0, **facts: Any) -> Event:
    """A read; `label` tells it from others."""
    return Event(**{"act": Act.READ, "obj": label, **facts})


async def rows_of(database: Database, org: str = "north") -> Sequence[Row]:
    """Every row of the log as it is stored, in order."""
    return await database.fetch(org, _LOG)


async def logged(database: Database, org: str = "north") -> list[dict[str, Any]]:
    """The log's leaves, after a check that it is whole: numbers without gaps, hashes and counts right."""
    rows = await rows_of(database, org)
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
