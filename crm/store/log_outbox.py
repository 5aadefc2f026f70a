"""What waits to be numbered into a log, and how a row of ours is told from one that anybody wrote. Numbers nothing.

Whoever may insert rows into `audit_outbox` could else have any event signed, in anybody's name. A row is ours if its
stamp, an HMAC under a key that is derived from the one which signs the logs, is over organisation, id and leaf.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from sqlalchemy import BigInteger, bindparam, select

from crm.audit.entry import Draft, restore
from crm.crypto.note import Signer
from crm.store.database import Database, Row
from crm.store.statements import any_of, prepare
from crm.store.tables import audit_event, audit_outbox

__all__ = ["NO_EPOCH", "Orphans", "find", "is_ours", "stamp"]

NO_EPOCH: Final = 0
"""The epoch that no log has: what waits is stamped under that name, and so outlives every epoch."""

_PURPOSE: Final = b"audit_outbox"
_C = audit_outbox.c

_STAGED = prepare(
    select(_C.id, _C.leaf, _C.stamp)
    .where(_C.org == bindparam("org"), _C.created_at < bindparam("before"), _C.id > bindparam("after"))
    .order_by(_C.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_NUMBERED = prepare(
    select(audit_event.c.id).where(audit_event.c.org == bindparam("org"), any_of(audit_event.c.id, "ids"))
)


class Orphans(NamedTuple):
    """Drafts that nobody numbered, and how many rows beside them are not ours."""

    drafts: list[Draft]
    strangers: int


def stamp(signer: Signer, org: str, name: str, leaf: bytes) -> bytes:
    """The stamp of a row; `signer` is that of the organisation in `NO_EPOCH`."""
    return signer.stamp(_PURPOSE, org.encode(), name.encode(), leaf)


def is_ours(signer: Signer, org: str, row: Row) -> bool:
    """Whether a row with id, leaf and stamp is one that a holder of the log's key staged for this organisation."""
    parts = (_PURPOSE, org.encode(), row["id"].encode(), bytes(row["leaf"]))
    return row["stamp"] is not None and signer.stamped(bytes(row["stamp"]), *parts)


async def find(database: Database, org: str, before: int, limit: int, signer: Callable[[], Signer]) -> Orphans:
    """Our oldest staged drafts of before a time (microseconds since 1970), at most `limit`.

    Rows that are not ours are passed over, so that they hold up none of ours; and so is one that has its number
    already, which its owner took in this moment, or somebody put back. Raises KeyUnavailable, StoreUnavailable.
    """
    drafts: list[Draft] = []
    strangers = 0
    after = ""
    while len(drafts) < limit:
        rows = await database.fetch(org, _STAGED, before=before, after=after, rows=limit)
        ours = [row for row in rows if is_ours(signer(), org, row)]
        strangers += len(rows) - len(ours)
        if ours:
            numbered = {row["id"] for row in await database.fetch(org, _NUMBERED, ids=[row["id"] for row in ours])}
            drafts += [restore(bytes(row["leaf"])) for row in ours if row["id"] not in numbered]
        if len(rows) < limit:
            break
        after = rows[-1]["id"]
    return Orphans(drafts[:limit], strangers)
