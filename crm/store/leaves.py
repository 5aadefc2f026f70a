"""The leaves of a log by their numbers, to give the log away whole."""

from sqlalchemy import bindparam, select

from crm.errors import Unsafe
from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_event

__all__ = ["leaves"]

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
