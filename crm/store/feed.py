"""The change feed: changes of records, numbered in one order for each organisation, to be read from a position.

Owns the numbering of what waits in the outbox, reading, and taking away what is too old. Who may be told what of a
change is decided elsewhere (`crm.services.feed`); nothing here opens a record.

Numbers have no gaps and follow the order in which changes were committed, as far as it could be seen: those that were
found together are put in the order of their times. Of one patient they always follow the versions.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from typing import Final, NamedTuple

import orjson
from sqlalchemy import BigInteger, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless

from crm.store.database import Database, Fetch, Row
from crm.store.rings import ringing
from crm.store.statements import any_of, prepare, prepare_growth
from crm.store.tables import change, change_head, outbox
from crm.store.work import Grow, Work, step

__all__ = [
    "TOPIC",
    "Change",
    "ChangeKind",
    "find",
    "head",
    "oldest",
    "prune",
    "read",
    "sequence",
    "settle",
    "waiting_since",
]

TOPIC: Final = "change"
"""What is rung when changes got their numbers."""

AT_ONCE: Final = 1_000
"""Changes that get their numbers in one transaction."""


class ChangeKind(StrEnum):
    """What happened to a record as a whole; CHANGED where only fields did."""

    CHANGED = "CHANGED"
    MERGED = "MERGED"
    UNMERGED = "UNMERGED"
    ERASED = "ERASED"


class Change(NamedTuple):
    """One change: its place, the record and its version then, and the catalogue names that changed; never values.

    `id` is the same for ever, also where the feed is read again; `at` is in microseconds since 1970, UTC.
    """

    seq: int
    id: str
    patient_id: str
    version: int
    kind: ChangeKind
    names: frozenset[str]
    at: int


_O: Final = outbox.c
_C: Final = change.c
_H: Final = change_head.c

_ANY = prepare(select(_O.id).where(_O.org == bindparam("org")).limit(1))
_SINCE = prepare(select(func.min(_O.created_at)).where(_O.org == bindparam("org")))
_LOCK = prepare(select(_H.seq).where(_H.org == bindparam("org")).with_for_update())
# The PostgreSQL construct; both engines spell ON CONFLICT DO NOTHING alike.
_FOUND = prepare(
    insert_unless(change_head)
    .values(org=bindparam("org"), seq=bindparam("seq", type_=BigInteger))
    .on_conflict_do_nothing(index_elements=["org"])
)
# A patient's times never go back, whatever clocks do: no part of this order has a version without those before it.
_WAITING = prepare(
    select(_O.id, _O.patient_id, _O.version, _O.kind, _O.changed, _O.created_at)
    .where(_O.org == bindparam("org"))
    .order_by(_O.created_at, _O.version, _O.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_NUMBER = prepare_growth(
    update(change_head)
    .where(_H.org == bindparam("org"), _H.seq == bindparam("old_seq"))
    .values(seq=bindparam("new_seq"))
    .returning(_H.seq),
    change,
)
_TAKE = prepare(delete(outbox).where(_O.org == bindparam("org"), any_of(_O.id, "ids")))
_HEAD = prepare(select(_H.seq).where(_H.org == bindparam("org")))
_ROW = (_C.seq, _C.id, _C.patient_id, _C.version, _C.kind, _C.changed, _C.at)
_BEHIND = _C.seq > bindparam("after_")
_READ = prepare(
    select(*_ROW).where(_C.org == bindparam("org"), _BEHIND).order_by(_C.seq).limit(bindparam("rows", type_=BigInteger))
)
_READ_OF = prepare(
    select(*_ROW)
    .where(_C.org == bindparam("org"), any_of(_C.patient_id, "ids"), _BEHIND)
    .order_by(_C.seq)
    .limit(bindparam("rows", type_=BigInteger))
)
_FIND = prepare(select(*_ROW).where(_C.org == bindparam("org"), _C.seq == bindparam("seq")))
_OLDEST = prepare(select(func.min(_C.seq)).where(_C.org == bindparam("org")))
_YOUNG = prepare(
    select(_C.seq)
    .where(_C.org == bindparam("org"), _C.seq >= bindparam("start"), _C.at >= bindparam("since"))
    .order_by(_C.seq)
    .limit(1)
)
_PRUNE = prepare(
    delete(change).where(_C.org == bindparam("org"), _C.seq >= bindparam("start"), _C.seq < bindparam("end"))
)
_SLICE: Final = 5_000
"""Changes that are taken away in one transaction."""


async def settle(database: Database, org: str) -> bool:
    """Numbers all that waits when this is called; whether there was anything. Raises StoreUnavailable.

    Whoever reads the feed after this sees every change that was acknowledged before it, by whichever replica.
    """
    if not await database.fetch(org, _ANY):
        return False
    while await sequence(database, org):
        pass
    return True


async def waiting_since(fetch: Fetch, org: str) -> int | None:
    """When the oldest change was made that waits for its number (microseconds since 1970); None where none does."""
    oldest: int | None = (await fetch(_SINCE, org=org))[0][0]
    return oldest


async def sequence(database: Database, org: str, *, at_once: int = AT_ONCE) -> bool:
    """Numbers the oldest changes that wait, at most `at_once`, and rings; whether there may be more.

    Any replica may do it at any time: the head is locked, so each change gets one number. Raises StoreUnavailable.
    """
    return await database.perform(org, _sequenced(at_once))


def _sequenced(at_once: int) -> Work[bool]:
    found = yield step(_LOCK)
    if not found:
        yield step(_FOUND, seq=0)
        found = yield step(_LOCK)
    last = int(found[0]["seq"])
    rows = yield step(_WAITING, rows=at_once)  # after the lock, so that it sees all that others numbered or left
    if not rows:
        return False
    numbered = [
        (seq, row["id"], row["patient_id"], row["version"], row["kind"], row["changed"], row["created_at"])
        for seq, row in enumerate(rows, start=last + 1)
    ]
    if not (yield Grow(_NUMBER, {"old_seq": last, "new_seq": last + len(rows)}, numbered)):
        raise RuntimeError("the head of the feed moved while it was locked")
    yield step(_TAKE, ids=[row["id"] for row in rows])
    yield ringing(TOPIC)
    return len(rows) == at_once


async def head(fetch: Fetch, org: str) -> int:
    """The number of the newest change; 0 where there never was one. What waits in the outbox does not count."""
    rows = await fetch(_HEAD, org=org)
    return int(rows[0]["seq"]) if rows else 0


async def oldest(fetch: Fetch, org: str) -> int | None:
    """The number of the oldest change that is kept; None where there never was one."""
    found: int | None = (await fetch(_OLDEST, org=org))[0][0]
    return found


async def read(fetch: Fetch, org: str, after: int, limit: int, ids: Sequence[str] | None = None) -> list[Change]:
    """The oldest changes behind number `after`, ascending, at most `limit`; of these patients only, where given."""
    if ids is None:
        return [_change(row) for row in await fetch(_READ, org=org, after_=after, rows=limit)]
    return [_change(row) for row in await fetch(_READ_OF, org=org, after_=after, rows=limit, ids=list(ids))]


async def find(fetch: Fetch, org: str, seq: int) -> Change | None:
    """The change of this number; None where there never was one, or it is not kept any more."""
    rows = await fetch(_FIND, org=org, seq=seq)
    return _change(rows[0]) if rows else None


async def prune(database: Database, org: str, before: int) -> int:
    """Takes away the oldest changes, up to the first one since `before` (microseconds since 1970); how many.

    The newest stays, however old: it is the position of everybody who has read all.
    """
    fetch = partial(database.fetch, org)
    first = await oldest(fetch, org)
    if first is None:
        return 0
    young = await fetch(_YOUNG, org=org, start=first, since=before)
    end: int = young[0]["seq"] if young else await head(fetch, org)
    for start in range(first, end, _SLICE):
        async with database.transaction(org) as connection:
            await connection.execute(_PRUNE, start=start, end=min(start + _SLICE, end))
    return end - first


def _change(row: Row) -> Change:
    seq, name, patient_id, version, kind, changed, at = row
    return Change(seq, name, patient_id, version, ChangeKind(kind), frozenset(orjson.loads(changed)), at)
