"""Whether a log is whole: numbers missing among its events, and events that wait outside it. Writes nothing."""

from dataclasses import dataclass

from sqlalchemy import bindparam, func, select

from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_event, audit_outbox

__all__ = ["Waiting", "first_missing", "waiting"]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that committed beside their change and are not numbered yet; `oldest` in microseconds since 1970."""

    count: int
    oldest: int | None


_WAITING = prepare(
    select(func.count().label("events"), func.min(audit_outbox.c.created_at).label("oldest")).where(
        audit_outbox.c.org == bindparam("org")
    )
)
_COUNT = prepare(
    select(func.count().label("events")).where(
        audit_event.c.org == bindparam("org"),
        audit_event.c.seq >= bindparam("start"),
        audit_event.c.seq < bindparam("end"),
    )
)


async def waiting(database: Database, org: str) -> Waiting:
    """What is not in the log yet."""
    [row] = await database.fetch(org, _WAITING)
    return Waiting(row["events"], row["oldest"])


async def first_missing(database: Database, org: str, start: int, end: int) -> int | None:
    """The first number from `start`, inclusive, to `end`, exclusive, that no event has; None where none is missing."""
    if await _count(database, org, start, end) == end - start:
        return None
    while end - start > 1:
        middle = (start + end) // 2
        if await _count(database, org, start, middle) == middle - start:
            start = middle
        else:
            end = middle
    return start


async def _count(database: Database, org: str, start: int, end: int) -> int:
    [row] = await database.fetch(org, _COUNT, start=start, end=end)
    return int(row["events"])
