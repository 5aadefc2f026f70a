"""What is given away of a log: leaves by their numbers, and how many events an export will hold."""

from functools import lru_cache

from sqlalchemy import bindparam, func, select

from crm.errors import Unsafe
from crm.store.database import Database
from crm.store.log_reading import EventFilter, Narrowing, conditions, narrow, narrowing
from crm.store.statements import Statement, prepare
from crm.store.tables import audit_event

__all__ = ["count", "leaves"]

_LEAVES = prepare(
    select(audit_event.c.seq, audit_event.c.leaf)
    .where(
        audit_event.c.org == bindparam("org"),
        audit_event.c.seq >= bindparam("start"),
        audit_event.c.seq < bindparam("end"),
    )
    .order_by(audit_event.c.seq)
)


async def leaves(database: Database, org: str, start: int, end: int) -> list[bytes]:
    """The octets of the events `start` to `end`, exclusive. Raises Unsafe, with its number, where one is missing."""
    rows = await database.fetch(org, _LEAVES, start=start, end=end)
    number = start
    for row in rows:
        if row["seq"] != number:
            break
        number += 1
    if number != end:
        raise Unsafe(f"event {number} of the log of {org} is missing: see what `audit verify` says")
    return [bytes(row["leaf"]) for row in rows]


async def count(database: Database, org: str, chosen: EventFilter, end: int) -> int:
    """How many of the first `end` events of the log a filter finds."""
    [row] = await database.fetch(org, _counting(narrow(chosen)), **narrowing(chosen), end=end)
    return int(row["events"])


@lru_cache(maxsize=64)
def _counting(shape: Narrowing) -> Statement:
    rows = select(func.count().label("events")).where(*conditions(shape), audit_event.c.seq < bindparam("end"))
    return prepare(rows)
