"""Merges as stored: which there were, and what of a record's surroundings goes along. Decides nothing, opens nothing.

What stands outside a record and names it by its id (what imports knew, legal holds, messages that wait) follows the
record's person to the survivor. One-time codes do not: who got one asks for another.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import BigInteger, bindparam, insert, or_, select, update

from crm.store.database import Connection, Fetch, Row
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import contact_verification, legal_hold, record_merge, source_record, waiting_message

__all__ = ["Merge", "Taken", "add", "carry", "give_back", "of_record", "standing", "undo"]


class Taken(NamedTuple):
    """A field of which both records had a word: whose was taken, and by which rule (codes of `crm.domain`)."""

    name: str
    side: str
    rule: str


class Merge(NamedTuple):
    """One merge: the versions are those that it made; times are microseconds since 1970, UTC.

    `by` and `undone_by` are subjects of tokens as the log has them. `to_review` are catalogue names.
    """

    id: str
    survivor_id: str
    survivor_version: int
    duplicate_id: str
    duplicate_version: int
    reason: str
    by: str
    at: int
    choices: tuple[Taken, ...] = ()
    undone_by: str | None = None
    undone_at: int | None = None
    to_review: tuple[str, ...] = ()


_M: Final = record_merge.c
_COLUMNS: Final = [
    _M[name]
    for name in (
        "id", "survivor_id", "survivor_version", "duplicate_id", "duplicate_version", "reason", "merged_by",
        "merged_at", "choices", "undone_by", "undone_at", "to_review",
    )
]  # fmt: skip
_ADD: Final = prepare(insert(record_merge))
_OF: Final = prepare(
    select(*_COLUMNS)
    .where(_M.org == bindparam("org"), or_(any_of(_M.survivor_id, "ids"), any_of(_M.duplicate_id, "ids")))
    .order_by(_M.merged_at, _M.id)
)
_STANDING: Final = prepare(
    select(*_COLUMNS).where(
        _M.org == bindparam("org"), _M.duplicate_id == bindparam("duplicate"), _M.undone_at.is_(None)
    )
)
_UNDO: Final = prepare(
    update(record_merge)
    .where(_M.org == bindparam("org"), _M.id == bindparam("id_"), _M.undone_at.is_(None))
    .values(
        undone_by=bindparam("by"), undone_at=bindparam("at", type_=BigInteger), to_review=bindparam("review")
    )
)  # fmt: skip


def _moved(table: Any, *where: Any) -> Statement:
    mine = (table.c.org == bindparam("org"), table.c.patient_id == bindparam("from_"), *where)
    return prepare(update(table).where(*mine).values(patient_id=bindparam("to")))


_CARRIED: Final = tuple(_moved(table) for table in (source_record, legal_hold, waiting_message))
_END_CODES: Final = prepare(
    update(contact_verification)
    .where(
        contact_verification.c.org == bindparam("org"),
        contact_verification.c.patient_id == bindparam("from_"),
        contact_verification.c.closed_at.is_(None),
    )
    .values(closed_at=bindparam("at", type_=BigInteger))
)
_REPORTS_BACK: Final = _moved(source_record, any_of(source_record.c.slot, "slots"))
_MESSAGES_BACK: Final = _moved(waiting_message, any_of(waiting_message.c.id, "ids"))


async def add(connection: Connection, org: str, merge: Merge) -> None:
    """Stores a new merge."""
    facts = merge._asdict()
    row = {name: facts[name] for name in _M.keys() & facts.keys()}
    row |= {
        "merged_by": merge.by,
        "merged_at": merge.at,
        "choices": orjson.dumps([list(each) for each in merge.choices]).decode(),
    }
    await connection.execute(_ADD, **{**row, "org": org, "to_review": None})


async def of_record(fetch: Fetch, org: str, ids: Collection[str]) -> list[Merge]:
    """Every merge, also those that were undone, of which one of these records is a side; the oldest first."""
    return [_merge(row) for row in await fetch(_OF, org=org, ids=sorted(ids))]


async def standing(fetch: Fetch, org: str, duplicate_id: str) -> Merge | None:
    """The merge by which this record is merged into another now."""
    rows = await fetch(_STANDING, org=org, duplicate=duplicate_id)
    return _merge(rows[0]) if rows else None


async def undo(connection: Connection, org: str, merge: Merge, by: str, at: int, to_review: Sequence[str]) -> None:
    """Enters that a merge was undone."""
    await connection.execute(_UNDO, org=org, id_=merge.id, by=by, at=at, review=orjson.dumps(list(to_review)).decode())


async def carry(connection: Connection, org: str, duplicate_id: str, survivor_id: str, at: int) -> None:
    """Hands what hangs at a duplicate over to its survivor, and ends its one-time codes."""
    for move in _CARRIED:
        await connection.execute(move, org=org, from_=duplicate_id, to=survivor_id)
    await connection.execute(_END_CODES, org=org, from_=duplicate_id, at=at)


async def give_back(
    connection: Connection,
    org: str,
    survivor_id: str,
    duplicate_id: str,
    slots: Collection[bytes],
    messages: Collection[str],
) -> None:
    """Hands these slots of imported records and these waiting messages back to a duplicate."""
    place = {"org": org, "from_": survivor_id, "to": duplicate_id}
    if slots:
        await connection.execute(_REPORTS_BACK, **place, slots=sorted(slots))
    if messages:
        await connection.execute(_MESSAGES_BACK, **place, ids=sorted(messages))


def _merge(row: Row) -> Merge:
    *facts, choices, undone_by, undone_at, review = tuple(row)
    taken = tuple(Taken(*each) for each in orjson.loads(choices))
    return Merge._make((*facts, taken, undone_by, undone_at, tuple(orjson.loads(review)) if review else ()))
