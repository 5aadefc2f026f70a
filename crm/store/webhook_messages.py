"""Messages of webhooks that did not arrive at the first attempt: what waits, what was given up, what is tried next.

A message is a change of the feed for one endpoint. Only the oldest that waits for a patient may be sent.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import BigInteger, Integer, Text, and_, bindparam, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from crm.store.database import Connection, Fetch, Row
from crm.store.statements import any_of, prepare
from crm.store.tables import webhook_message

__all__ = [
    "DEAD",
    "WAITING",
    "Message",
    "behind",
    "counts",
    "dead",
    "drop",
    "drop_after",
    "due",
    "hasten",
    "put",
    "revive",
]

WAITING: Final = "waiting"
DEAD: Final = "dead"
"""States of a message."""


@dataclass(frozen=True, slots=True)
class Message:
    """One change for one endpoint. `changed` are catalogue names, `kind` is the feed's; times as everywhere."""

    position: int
    change_id: str
    patient_id: str
    version: int
    kind: str
    changed: frozenset[str]
    at: int
    state: str = WAITING
    attempts: int = 0
    next_at: int = 0
    answer: str = ""


_M: Final = webhook_message.c
_OLDER: Final = webhook_message.alias("older")
_NAMES: Final = tuple(Message.__dataclass_fields__)
_COLUMNS: Final = [_M[name] for name in _NAMES]
_OF: Final = (_M.org == bindparam("org")) & (_M.endpoint_id == bindparam("endpoint"))
_ROWS: Final = bindparam("rows", type_=BigInteger)
_NOW: Final = bindparam("now", type_=BigInteger)
_NEW: Final = insert(webhook_message)

_DUE = prepare(
    select(*_COLUMNS)
    .where(
        _OF,
        _M.state == WAITING,
        ~exists().where(
            and_(
                _OLDER.c.org == _M.org,
                _OLDER.c.endpoint_id == _M.endpoint_id,
                _OLDER.c.patient_id == _M.patient_id,
                _OLDER.c.state == WAITING,
                _OLDER.c.position < _M.position,
            )
        ),
    )
    .order_by(_M.next_at, _M.position)
    .limit(_ROWS)
)
_BEHIND = prepare(select(_M.patient_id).distinct().where(_OF, _M.state == WAITING, any_of(_M.patient_id, "patients")))
_COUNTS = prepare(
    select(_M.endpoint_id, _M.state, func.count()).where(_M.org == bindparam("org")).group_by(_M.endpoint_id, _M.state)
)
_DEAD = prepare(
    select(*_COLUMNS)
    .where(_OF, _M.state == DEAD, _M.position > bindparam("after", type_=BigInteger))
    .order_by(_M.position)
    .limit(_ROWS)
)
_PUT = prepare(
    _NEW.on_conflict_do_update(
        index_elements=["org", "endpoint_id", "position"],
        set_={name: _NEW.excluded[name] for name in ("state", "attempts", "next_at", "answer")},
    )
)
_DROP = prepare(delete(webhook_message).where(_OF, any_of(_M.position, "positions")))
_DROP_AFTER = prepare(delete(webhook_message).where(_OF, _M.position > bindparam("after", type_=BigInteger)))
_REVIVED: Final = {"state": literal(WAITING, Text), "attempts": literal(0, Integer), "next_at": _NOW}
_REVIVE = prepare(update(webhook_message).where(_OF, _M.state == DEAD).values(_REVIVED))
_REVIVE_ONE = prepare(
    update(webhook_message)
    .where(_OF, _M.state == DEAD, _M.change_id == bindparam("change", type_=Text))
    .values(_REVIVED)
)
_HASTEN = prepare(update(webhook_message).where(_OF, _M.state == WAITING).values(next_at=_NOW))


def _message(row: Row) -> Message:
    values = dict(zip(_NAMES, row, strict=True))
    return Message(**{**values, "changed": frozenset(orjson.loads(values["changed"]))})


async def due(fetch: Fetch, org: str, endpoint_id: str, limit: int) -> list[Message]:
    """The oldest message that waits for each patient, those first whose time comes first, at most `limit`."""
    return [_message(row) for row in await fetch(_DUE, org=org, endpoint=endpoint_id, rows=limit)]


async def behind(fetch: Fetch, org: str, endpoint_id: str, patients: Collection[str]) -> set[str]:
    """Those of the patients for whom something waits already, so that what is newer has to wait as well."""
    rows = await fetch(_BEHIND, org=org, endpoint=endpoint_id, patients=sorted(patients)) if patients else ()
    return {row[0] for row in rows}


async def counts(fetch: Fetch, org: str) -> dict[tuple[str, str], int]:
    """How many messages there are, by endpoint and state."""
    return {(row[0], row[1]): row[2] for row in await fetch(_COUNTS, org=org)}


async def dead(fetch: Fetch, org: str, endpoint_id: str, after: int, limit: int) -> list[Message]:
    """At most `limit` messages that were given up, behind a position, in the order of the feed."""
    return [_message(row) for row in await fetch(_DEAD, org=org, endpoint=endpoint_id, after=after, rows=limit)]


async def put(connection: Connection, org: str, endpoint_id: str, messages: Iterable[Message]) -> None:
    """Stores messages; of one that is there already, how it fares."""
    rows = [
        {
            "org": org,
            "endpoint_id": endpoint_id,
            **{name: getattr(each, name) for name in _NAMES},
            "changed": orjson.dumps(sorted(each.changed)).decode(),
        }
        for each in messages
    ]
    if rows:
        await connection.execute_many(_PUT, rows)


async def drop(connection: Connection, org: str, endpoint_id: str, positions: Sequence[int]) -> None:
    """Forgets messages, as of those that were delivered."""
    if positions:
        await connection.execute(_DROP, org=org, endpoint=endpoint_id, positions=list(positions))


async def drop_after(connection: Connection, org: str, endpoint_id: str, position: int) -> int:
    """Forgets every message behind a position, because the feed is read again from there; how many."""
    return await connection.execute(_DROP_AFTER, org=org, endpoint=endpoint_id, after=position)


async def hasten(connection: Connection, org: str, endpoint_id: str, now: int) -> None:
    """Lets everything that waits be due now."""
    await connection.execute(_HASTEN, org=org, endpoint=endpoint_id, now=now)


async def revive(connection: Connection, org: str, endpoint_id: str, change_id: str | None, now: int) -> int:
    """Lets messages that were given up wait again, as if they were new: that of one change, or all; how many."""
    if change_id is None:
        return await connection.execute(_REVIVE, org=org, endpoint=endpoint_id, now=now)
    return await connection.execute(_REVIVE_ONE, org=org, endpoint=endpoint_id, change=change_id, now=now)
