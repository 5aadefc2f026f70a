"""Webhook endpoints as stored: registered, enabled and disabled, leased to the one process that sends, moved on.

A lease holds as long as its beat goes on. Whoever wants to take one over watches the beat by a clock of their own, so
that no two clocks are ever compared. What is registered is sealed; this module opens nothing.
"""

from dataclasses import asdict, dataclass, field
from typing import Final

from sqlalchemy import BigInteger, Integer, Text, bindparam, case, insert, literal, null, select, update

from crm.store.database import Connection, Fetch
from crm.store.statements import prepare
from crm.store.tables import webhook_endpoint

__all__ = [
    "ACTIVE",
    "DISABLED",
    "Health",
    "StoredEndpoint",
    "add",
    "beat",
    "every",
    "find",
    "keep",
    "lease",
    "move",
    "release",
    "reseal",
    "turn",
]

ACTIVE: Final = "active"
DISABLED: Final = "disabled"
"""States of an endpoint."""


@dataclass(frozen=True, slots=True)
class StoredEndpoint:
    """One endpoint of an organisation. Times are microseconds since 1970, UTC; see `webhook_tables`."""

    id: str
    sealed: bytes = field(repr=False)
    state: str
    why: str
    position: int
    failures: int
    failing_since: int | None
    paused_until: int
    lease_by: str | None
    beat: int
    created_at: int
    changed_at: int


@dataclass(frozen=True, slots=True)
class Health:
    """How an endpoint fares: failures in a row, since when, and until when it is left alone."""

    failures: int = 0
    failing_since: int | None = None
    paused_until: int = 0


_E: Final = webhook_endpoint.c
_COLUMNS: Final = [_E[name] for name in StoredEndpoint.__dataclass_fields__]
_ONE: Final = (_E.org == bindparam("org")) & (_E.id == bindparam("key"))
_NOW: Final = bindparam("now", type_=BigInteger)
_BY: Final = bindparam("by", type_=Text)

_EVERY = prepare(select(*_COLUMNS).where(_E.org == bindparam("org")).order_by(_E.id))
_FIND = prepare(select(*_COLUMNS).where(_ONE))
_ADD = prepare(insert(webhook_endpoint))
# Whoever comes back from being disabled has a clean slate, and no lease goes on over it.
_TURN = prepare(
    update(webhook_endpoint)
    .where(_ONE, _E.state != bindparam("to", type_=Text))
    .values(
        state=bindparam("to", type_=Text),
        why=bindparam("because", type_=Text),
        changed_at=_NOW,
        failures=literal(0, Integer),
        failing_since=null(),
        paused_until=literal(0, BigInteger),
        lease_by=null(),
    )
)
_RESEAL = prepare(
    update(webhook_endpoint)
    .where(_ONE, _E.sealed == bindparam("was"))
    .values(sealed=bindparam("content"), changed_at=_NOW)
)
_MOVE = prepare(
    update(webhook_endpoint)
    .where(_ONE)
    .values(position=bindparam("to", type_=BigInteger), paused_until=literal(0, BigInteger), changed_at=_NOW)
)
_LEASE = prepare(
    update(webhook_endpoint)
    .where(_ONE, _E.state == ACTIVE, _E.beat == bindparam("seen", type_=BigInteger))
    .values(lease_by=_BY, beat=_E.beat + literal(1, BigInteger))
)
_BEAT = prepare(
    update(webhook_endpoint)
    .where(_ONE, _E.state == ACTIVE, _E.lease_by == _BY)
    .values(beat=_E.beat + literal(1, BigInteger))
)
_RELEASE = prepare(update(webhook_endpoint).where(_ONE, _E.lease_by == _BY).values(lease_by=null()))
# Where somebody has moved the position meanwhile, that stands.
_KEEP = prepare(
    update(webhook_endpoint)
    .where(_ONE, _E.state == ACTIVE, _E.lease_by == _BY)
    .values(
        position=case(
            (_E.position == bindparam("was", type_=BigInteger), bindparam("to", type_=BigInteger)), else_=_E.position
        ),
        failures=bindparam("failures", type_=Integer),
        failing_since=bindparam("failing_since", type_=BigInteger),
        paused_until=bindparam("paused_until", type_=BigInteger),
    )
)


async def every(fetch: Fetch, org: str) -> list[StoredEndpoint]:
    """All endpoints of an organisation, the oldest first."""
    return [StoredEndpoint(*row) for row in await fetch(_EVERY, org=org)]


async def find(fetch: Fetch, org: str, endpoint_id: str) -> StoredEndpoint | None:
    """One of them, or None."""
    rows = await fetch(_FIND, org=org, key=endpoint_id)
    return StoredEndpoint(*rows[0]) if rows else None


async def add(connection: Connection, org: str, endpoint: StoredEndpoint) -> None:
    """Stores a new endpoint."""
    await connection.execute(_ADD, org=org, **asdict(endpoint))


async def turn(connection: Connection, org: str, endpoint_id: str, state: str, why: str, now: int) -> bool:
    """Disables or enables an endpoint, `why` by a code; False where it is so already, or is none."""
    return await connection.execute(_TURN, org=org, key=endpoint_id, to=state, because=why, now=now) == 1


async def reseal(connection: Connection, org: str, endpoint_id: str, was: bytes, content: bytes, now: int) -> bool:
    """Replaces a sealed registration; False where somebody else has done so since `was` was read."""
    return await connection.execute(_RESEAL, org=org, key=endpoint_id, was=was, content=content, now=now) == 1


async def move(connection: Connection, org: str, endpoint_id: str, position: int, now: int) -> None:
    """Puts the position somewhere else, and ends a pause."""
    await connection.execute(_MOVE, org=org, key=endpoint_id, to=position, now=now)


async def lease(connection: Connection, org: str, endpoint_id: str, by: str, seen: int) -> bool:
    """Takes an active endpoint over for the process `by`, unless its beat went on since it was `seen`."""
    return await connection.execute(_LEASE, org=org, key=endpoint_id, by=by, seen=seen) == 1


async def beat(connection: Connection, org: str, endpoint_id: str, by: str) -> bool:
    """Says that the process `by` still sends; False where the lease is not its own any more."""
    return await connection.execute(_BEAT, org=org, key=endpoint_id, by=by) == 1


async def release(connection: Connection, org: str, endpoint_id: str, by: str) -> None:
    """Lets the lease go, for the next process at once."""
    await connection.execute(_RELEASE, org=org, key=endpoint_id, by=by)


async def keep(
    connection: Connection, org: str, endpoint_id: str, by: str, health: Health, was: int, position: int
) -> bool:
    """Stores how an endpoint fares and how far it came from `was`; False where the lease is not `by`'s any more."""
    return await connection.execute(_KEEP, org=org, key=endpoint_id, by=by, was=was, to=position, **asdict(health)) == 1
