"""Whether a log is whole and looked after: gaps, what waits outside it, what was published and witnessed. Read only."""

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Select, bindparam, func, select

from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_checkpoint, audit_event, audit_outbox

__all__ = ["Published", "Waiting", "first_missing", "last_published", "last_witnessed", "published", "waiting"]


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint that was published: the signed note, and the lines by which witnesses cosigned it.

    Times are microseconds since 1970; `witnessed_at` is None while no witness has cosigned it.
    """

    epoch: int
    size: int
    note: str
    published_at: int
    cosignatures: str
    witnessed_at: int | None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Events that committed beside their change and are not numbered yet; `oldest` in microseconds since 1970."""

    count: int
    oldest: int | None


_C: Final = audit_checkpoint.c


def _newest(*more: Any) -> Select[Any]:
    rows = select(_C.epoch, _C.size, _C.note, _C.published_at, _C.cosignatures, _C.witnessed_at)
    return rows.where(_C.org == bindparam("org"), *more).order_by(_C.epoch.desc(), _C.size.desc()).limit(1)


_ONE = prepare(_newest(_C.epoch == bindparam("of_epoch"), _C.size == bindparam("of_size")))
_PUBLISHED = prepare(_newest())
_WITNESSED = prepare(_newest(_C.witnessed_at.is_not(None)))
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


async def published(database: Database, org: str, epoch: int, size: int) -> Published | None:
    """The checkpoint of this size, if it was published."""
    return _one(await database.fetch(org, _ONE, of_epoch=epoch, of_size=size))


async def last_published(database: Database, org: str) -> Published | None:
    """The newest checkpoint that was published."""
    return _one(await database.fetch(org, _PUBLISHED))


async def last_witnessed(database: Database, org: str) -> Published | None:
    """The newest checkpoint that a witness cosigned."""
    return _one(await database.fetch(org, _WITNESSED))


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


def _one(rows: Any) -> Published | None:
    return Published(*rows[0]) if rows else None
