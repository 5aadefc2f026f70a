"""Pairs of records that may be about one person, as stored: found, reviewed, forgotten. Compares nothing."""

from collections.abc import Collection, Iterable
from typing import Any, Final, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, Select, and_, bindparam, delete, null, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless
from uuid_utils import uuid7

from crm.store.database import Connection, Fetch
from crm.store.statements import any_of, prepare
from crm.store.tables import possible_duplicate

__all__ = ["NOT_DUPLICATE", "Found", "Pair", "add", "forget", "known", "page", "say", "settle"]

NOT_DUPLICATE: Final = "NOT_DUPLICATE"
"""The verdict after which a pair is no longer shown."""

Pair = tuple[str, str]
"""Two ids, the smaller first."""

_D: Final = possible_duplicate.c
_COLUMNS: Final = (
    _D.id, _D.first_id, _D.second_id, _D.found_at, _D.verdict, _D.identities, _D.reviewer, _D.reviewed_at
)  # fmt: skip
_HERE: Final = _D.org == bindparam("org")
_OPEN: Final = or_(_D.verdict.is_(None), _D.verdict != NOT_DUPLICATE)


class Found(NamedTuple):
    """A pair that was found or reviewed; times in microseconds since 1970, UTC. See the table for `identities`."""

    id: str
    first_id: str
    second_id: str
    found_at: int
    verdict: str | None = None
    identities: bytes | None = None
    reviewer: str | None = None
    reviewed_at: int | None = None

    @property
    def pair(self) -> Pair:
        """The two ids."""
        return self.first_id, self.second_id


def _these(*conditions: ColumnElement[bool]) -> Select[Any]:
    return select(*_COLUMNS).where(_HERE, *conditions)


_ADD: Final = prepare(insert_unless(possible_duplicate).on_conflict_do_nothing())
_PAGE: Final = prepare(
    _these(_D.id > bindparam("after"), _OPEN).order_by(_D.id).limit(bindparam("rows", type_=BigInteger))
)
_OF: Final = prepare(
    _these(
        or_(
            and_(_D.first_id == bindparam("id_"), any_of(_D.second_id, "others")),
            and_(_D.second_id == bindparam("id_"), any_of(_D.first_id, "others")),
        )
    )
)
_SAY: Final = prepare(
    update(possible_duplicate)
    .where(_HERE, _D.first_id == bindparam("first"), _D.second_id == bindparam("second"))
    .values(
        verdict=bindparam("said"),
        identities=bindparam("of"),
        reviewer_issuer=bindparam("issuer"),
        reviewer=bindparam("subject"),
        reviewed_at=bindparam("at", type_=BigInteger),
    )
)
_REOPEN: Final = prepare(
    update(possible_duplicate)
    .where(_HERE, any_of(_D.id, "ids"))
    .values(verdict=null(), identities=null(), reviewer_issuer=null(), reviewer=null(), reviewed_at=null())
)
_DROP: Final = prepare(delete(possible_duplicate).where(_HERE, any_of(_D.id, "ids"), _OPEN))
_FORGET: Final = prepare(
    delete(possible_duplicate).where(_HERE, or_(_D.first_id == bindparam("id_"), _D.second_id == bindparam("id_")))
)


async def add(connection: Connection, org: str, pairs: Iterable[Pair], at: int) -> None:
    """Stores pairs; those that are known stay as they are."""
    empty = dict.fromkeys(("verdict", "identities", "reviewer_issuer", "reviewer", "reviewed_at"))
    rows = [
        {"org": org, "id": str(uuid7()), "first_id": first, "second_id": second, "found_at": at, **empty}
        for first, second in pairs
    ]
    if rows:
        await connection.execute_many(_ADD, rows)


async def page(fetch: Fetch, org: str, after: str, rows: int) -> list[Found]:
    """At most `rows` pairs behind the id `after`, in the order in which they were found; not those that are settled."""
    return [_found(row) for row in await fetch(_PAGE, org=org, after=after, rows=rows)]


async def known(fetch: Fetch, org: str, patient_id: str, others: Collection[str]) -> dict[str, Found]:
    """The stored pairs of a record with any of the others, by the other's id."""
    if not others:
        return {}
    rows = [_found(row) for row in await fetch(_OF, org=org, id_=patient_id, others=sorted(others))]
    return {row.second_id if row.first_id == patient_id else row.first_id: row for row in rows}


async def say(
    connection: Connection, org: str, pair: Pair, verdict: str, identities: bytes, who: tuple[str, str], at: int
) -> None:
    """Enters what somebody (issuer and subject) said of a pair, whether or not it was found before."""
    await add(connection, org, [pair], at)
    issuer, subject = who
    said = {"said": verdict, "of": identities, "issuer": issuer, "subject": subject, "at": at}
    await connection.execute(_SAY, org=org, first=pair[0], second=pair[1], **said)


async def settle(connection: Connection, org: str, reopened: Collection[str], gone: Collection[str]) -> None:
    """Takes back what was said of pairs (by their ids), and removes those that are `gone`, but for settled ones."""
    for statement, ids in ((_REOPEN, reopened), (_DROP, gone)):
        if ids:
            await connection.execute(statement, org=org, ids=sorted(ids))


async def forget(connection: Connection, org: str, patient_id: str) -> None:
    """Removes the pairs of a record, whose digests would outlast what they were made of."""
    await connection.execute(_FORGET, org=org, id_=patient_id)


def _found(row: Any) -> Found:
    found = Found(*row)
    return found if found.identities is None else found._replace(identities=bytes(found.identities))
