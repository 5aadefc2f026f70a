"""Merges as stored: which there were, and what of a record's surroundings goes along. Decides nothing, opens nothing.

Versions that a record had while another was merged into it, until that was undone, hold what both people said.

What stands outside a record and names it by its id (what imports knew, legal holds, messages that wait) follows the
record's person to the survivor. One-time codes do not: who got one asks for another.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import BigInteger, bindparam, insert, or_, select, update

from crm.store.database import Connection, Fetch, Row
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import contact_verification, legal_hold, record_merge, source_record, waiting_message

__all__ = [
    "Merge",
    "Span",
    "Taken",
    "add",
    "carry",
    "family",
    "give_back",
    "give_back_holds",
    "led_to",
    "of_record",
    "others",
    "spans",
    "standing",
    "undo",
]


class Taken(NamedTuple):
    """A field of which both records had a word: whose was taken, and by which rule (codes of `crm.domain`)."""

    name: str
    side: str
    rule: str


class Merge(NamedTuple):
    """One merge: the versions are those that it made; times are microseconds since 1970, UTC.

    `by` and `undone_by` are subjects of tokens as the log has them. `to_review` are catalogue names, `holds` ids of
    legal holds that came from the duplicate. `undone_version` is the survivor's first without it.
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
    undone_version: int | None = None
    holds: tuple[str, ...] = ()


class Span(NamedTuple):
    """Versions of a record, from `first` to before `until`, in which it held what others said as well."""

    patient_id: str
    first: int
    until: int


_M: Final = record_merge.c
_COLUMNS: Final = [
    _M[name]
    for name in (
        "id", "survivor_id", "survivor_version", "duplicate_id", "duplicate_version", "reason", "merged_by",
        "merged_at", "choices", "undone_by", "undone_at", "to_review", "undone_version", "holds",
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
        undone_by=bindparam("by"),
        undone_at=bindparam("at", type_=BigInteger),
        undone_version=bindparam("version_", type_=BigInteger),
        to_review=bindparam("review"),
    )
)


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
_HOLDS: Final = prepare(
    select(legal_hold.c.id)
    .where(legal_hold.c.org == bindparam("org"), legal_hold.c.patient_id == bindparam("from_"))
    .order_by(legal_hold.c.id)
)
_REPORTS_BACK: Final = _moved(source_record, any_of(source_record.c.slot, "slots"))
_MESSAGES_BACK: Final = _moved(waiting_message, any_of(waiting_message.c.id, "ids"))
_HOLDS_BACK: Final = _moved(legal_hold, any_of(legal_hold.c.id, "ids"))


async def add(connection: Connection, org: str, merge: Merge) -> None:
    """Stores a new merge, with the ids of the holds that are the duplicate's until `carry`."""
    facts = merge._asdict()
    row = {name: facts[name] for name in _M.keys() & facts.keys()}
    row |= {
        "merged_by": merge.by,
        "merged_at": merge.at,
        "choices": orjson.dumps([list(each) for each in merge.choices]).decode(),
    }
    held = await connection.fetch(_HOLDS, org=org, from_=merge.duplicate_id)
    row["holds"] = orjson.dumps([each["id"] for each in held]).decode()
    await connection.execute(_ADD, **{**row, "org": org, "to_review": None})


async def of_record(fetch: Fetch, org: str, ids: Collection[str]) -> list[Merge]:
    """Every merge, also those that were undone, of which one of these records is a side; the oldest first."""
    return [_merge(row) for row in await fetch(_OF, org=org, ids=sorted(ids))]


async def standing(fetch: Fetch, org: str, duplicate_id: str) -> Merge | None:
    """The merge by which this record is merged into another now."""
    rows = await fetch(_STANDING, org=org, duplicate=duplicate_id)
    return _merge(rows[0]) if rows else None


async def family(fetch: Fetch, org: str, ids: Collection[str]) -> list[Merge]:
    """Every merge, also those that were undone, by which a record ever had to do with one of these."""
    found: dict[str, Merge] = {}
    known: set[str] = set()
    while ids := set(ids) - known:
        known |= ids
        found |= {merge.id: merge for merge in await of_record(fetch, org, ids)}
        ids = {name for merge in found.values() for name in (merge.survivor_id, merge.duplicate_id)}
    return list(found.values())


def others(found: Sequence[Merge], patient_id: str, version: int) -> dict[str, int]:
    """Those whose values a record held in a version and who are another's now, each with their own version of then.

    `found` is the record's `family`.
    """
    held = {
        name: number
        for merge in found
        if merge.survivor_id == patient_id and merge.undone_version is not None
        if merge.survivor_version <= version < merge.undone_version
        for name, number in _brought(found, merge)
    }
    return {name: number for name, number in held.items() if _end(found, name) != _end(found, patient_id)}


def spans(found: Sequence[Merge], patient_id: str) -> list[Span]:
    """Where former versions of other records hold what was said of a patient; `found` is their `family`."""
    return sorted(
        Span(merge.survivor_id, merge.survivor_version, merge.undone_version)
        for merge in found
        if merge.undone_version is not None and patient_id in {name for name, _ in _brought(found, merge)}
    )


def led_to(found: Sequence[Merge], duplicate_id: str, version: int) -> str | None:
    """The record into which another was merged in that version of its own, which has the status of such."""
    made = [merge for merge in found if merge.duplicate_id == duplicate_id and merge.duplicate_version <= version]
    return max(made, key=lambda merge: merge.duplicate_version).survivor_id if made else None


def _brought(found: Sequence[Merge], merge: Merge) -> Iterator[tuple[str, int]]:
    """Whose values came with a merge: the duplicate's, and of those who were merged into that by then."""
    yield merge.duplicate_id, merge.duplicate_version
    for inner in found:
        before = inner.survivor_id == merge.duplicate_id and inner.survivor_version < merge.duplicate_version
        if before and (inner.undone_version is None or inner.undone_version > merge.duplicate_version):
            yield from _brought(found, inner)


def _end(found: Sequence[Merge], patient_id: str) -> str:
    """The record that an id leads to now."""
    way = {merge.duplicate_id: merge.survivor_id for merge in found if merge.undone_at is None}
    while patient_id in way:
        patient_id = way.pop(patient_id)
    return patient_id


async def undo(
    connection: Connection, org: str, merge: Merge, by: str, at: int, to_review: Sequence[str], version: int
) -> None:
    """Enters that a merge was undone, by which the survivor came to `version`."""
    review = orjson.dumps(list(to_review)).decode()
    await connection.execute(_UNDO, org=org, id_=merge.id, by=by, at=at, review=review, version_=version)


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


async def give_back_holds(connection: Connection, org: str, merge: Merge) -> None:
    """Hands the legal holds back that came with a merge."""
    if merge.holds:
        place = {"org": org, "from_": merge.survivor_id, "to": merge.duplicate_id}
        await connection.execute(_HOLDS_BACK, **place, ids=sorted(merge.holds))


def _merge(row: Row) -> Merge:
    *facts, choices, undone_by, undone_at, review, version, held = tuple(row)
    taken = tuple(Taken(*each) for each in orjson.loads(choices))
    to_review = tuple(orjson.loads(review)) if review else ()
    return Merge._make((*facts, taken, undone_by, undone_at, to_review, version, tuple(orjson.loads(held))))
