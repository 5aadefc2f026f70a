"""The end of a log for those who follow it: how far it goes, and what was appended behind a place. Writes nothing."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, bindparam, select

from crm.store.database import Database
from crm.store.log_reading import EventFilter, LoggedEvent, Narrowing, conditions, narrow, narrowing
from crm.store.statements import Statement, prepare
from crm.store.tables import audit_event, audit_head

__all__ = ["End", "behind", "end"]


class End(NamedTuple):
    """How many events a log has, and how many of the first were pruned."""

    size: int
    pruned: int


_END: Final = prepare(select(audit_head.c.size, audit_head.c.pruned).where(audit_head.c.org == bindparam("org")))


async def end(database: Database, org: str) -> End:
    """Where the log of `org` ends. Raises StoreUnavailable."""
    rows = await database.fetch(org, _END)
    return End(rows[0]["size"], rows[0]["pruned"]) if rows else End(0, 0)


async def behind(
    database: Database, org: str, chosen: EventFilter, place: int, last: int, limit: int
) -> Sequence[LoggedEvent]:
    """Events with numbers above `place` and up to `last`, oldest first, at most `limit`. Raises StoreUnavailable.

    They are walked through by number, so the time that this takes is that of `last - place` events at most.
    """
    shape = narrow(chosen)
    params = narrowing(chosen)
    shape = replace(shape, given=shape.given | {"place"})
    rows = await database.fetch(org, _walk(shape), **params, place=place, last_place=last, rows=limit)
    return [LoggedEvent(row["seq"], bytes(row["leaf"])) for row in rows]


@lru_cache(maxsize=512)
def _walk(shape: Narrowing) -> Statement:
    seq = audit_event.c.seq
    between = seq > bindparam("place", type_=BigInteger), seq <= bindparam("last_place", type_=BigInteger)
    rows = select(seq, audit_event.c.leaf).where(*between, *conditions(shape))
    return prepare(rows.order_by(seq).limit(bindparam("rows", type_=BigInteger)))
