"""Break-glass grants as stored: a new one, those of a caller that are active, the queue, and a review. Decides nothing.

A grant names its patient as the log does, by the audit subject, so that an erasure cuts it off from whom it was about.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    LargeBinary,
    Select,
    and_,
    bindparam,
    cast,
    func,
    insert,
    literal_column,
    not_,
    select,
    update,
)

from crm.audit.entry import OUTCOMES
from crm.audit.event import FLAGS, Act
from crm.store.context import Context
from crm.store.database import Connection, Database, Fetch
from crm.store.organisations import every
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import audit_event, break_glass

__all__ = ["Grant", "Waiting", "active", "add", "find", "openings", "page", "review", "waiting"]


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant. Times are microseconds since 1970, UTC; the last four are None until the review.

    `subject` is the patient's name in the log; `issuer` and `actor`, `reviewer_issuer` and `reviewer` name people as
    the log has them (`Who`); `role` are the roles of the one who asked, with commas.
    """

    id: str
    subject: str
    issuer: str
    actor: str
    role: str
    reason: str
    requested_at: int
    expires_at: int
    reviewer_issuer: str | None = None
    reviewer: str | None = None
    reviewed_at: int | None = None
    verdict: str | None = None


class Waiting(NamedTuple):
    """How many grants nobody has reviewed, and when the oldest of them was requested; None without any."""

    grants: int
    oldest: int | None


_G: Final = break_glass.c
_HERE: Final = _G.org == bindparam("org")
_COLUMNS: Final = [_G[name] for name in Grant.__dataclass_fields__]
_ADD: Final = prepare(insert(break_glass))
_FIND: Final = prepare(select(*_COLUMNS).where(_HERE, _G.id == bindparam("id_")))
_ACTIVE: Final = prepare(
    select(_G.subject, _G.id)
    .where(
        _HERE,
        _G.actor == bindparam("actor"),
        _G.issuer == bindparam("issuer"),
        any_of(_G.subject, "subjects"),
        _G.expires_at > bindparam("now", type_=BigInteger),
    )
    .order_by(_G.id)
)
_REVIEW: Final = prepare(
    update(break_glass)
    .where(
        _HERE,
        _G.id == bindparam("id_"),
        _G.reviewed_at.is_(None),
        # Whoever asked never reviews, whatever the caller of this has checked.
        not_(and_(_G.issuer == bindparam("issuer"), _G.actor == bindparam("by"))),
    )
    .values(
        reviewer_issuer=bindparam("issuer"),
        reviewer=bindparam("by"),
        reviewed_at=bindparam("at", type_=BigInteger),
        verdict=bindparam("verdict"),
    )
)


def _page(reviewed: bool) -> Statement:
    """Waiting ones from the oldest on, reviewed ones from the newest: an id (UUIDv7) sorts by its time."""
    those: Select[tuple[object, ...]] = select(*_COLUMNS).where(_HERE).limit(bindparam("rows", type_=BigInteger))
    if reviewed:
        return prepare(those.where(_G.reviewed_at.is_not(None), _G.id < bindparam("after")).order_by(_G.id.desc()))
    return prepare(those.where(_G.reviewed_at.is_(None), _G.id > bindparam("after")).order_by(_G.id))


_PAGES: Final = {reviewed: _page(reviewed) for reviewed in (False, True)}
_WAITING: Final = prepare(
    select(func.count().label("grants"), func.min(_G.requested_at).label("oldest")).where(
        _HERE, _G.reviewed_at.is_(None)
    )
)
_E: Final = audit_event.c
_BROKEN: Final = FLAGS["break_glass"]
_LATE: Final = 600_000_000
"""Microseconds by which an event may be recorded after the look at the grants that allowed it: more than any request
takes."""
_NOWHERE: Final[ColumnElement[int]] = literal_column("0")


def _openings(*of_the_grant: ColumnElement[bool]) -> Select[tuple[str, int]]:
    """Reads by who asked for the grant, found by the index over the patient's events; the leaf tells under which."""
    period = and_(_E.pat == _G.subject, _E.ts >= _G.requested_at, _E.ts < _G.expires_at + _LATE)
    answered = _E.out.in_((OUTCOMES["ok"], OUTCOMES["partial"]))
    read = and_(_E.actor == _G.actor, _E.act == Act.READ.value, answered, _E.flags.bitwise_and(_BROKEN) == _BROKEN)
    return (
        select(_G.id, func.count().label("openings"))
        .join_from(break_glass, audit_event, and_(_E.org == _G.org, period, read, *of_the_grant))
        .where(_HERE, any_of(_G.id, "ids"))
        .group_by(_G.id)
    )


_OPENINGS: Final = prepare(
    _openings(func.instr(_E.leaf, cast(_G.id, LargeBinary)) > _NOWHERE),
    postgresql=_openings(func.strpos(func.convert_from(_E.leaf, literal_column("'UTF8'")), _G.id) > _NOWHERE),
)


async def add(connection: Connection, org: str, grant: Grant) -> None:
    """Stores a new grant."""
    values = {name: getattr(grant, name) for name in Grant.__dataclass_fields__}
    await connection.execute(_ADD, org=org, **values)


async def find(fetch: Fetch, org: str, grant_id: str) -> Grant | None:
    """The grant of that id."""
    rows = await fetch(_FIND, org=org, id_=grant_id)
    return Grant(*rows[0]) if rows else None


async def active(fetch: Fetch, context: Context, subjects: Collection[str], now: int) -> dict[str, str]:
    """By audit subject, the newest grant of the caller that has not expired at `now`; others are absent."""
    who = context.who
    asked = {"actor": who.sub, "issuer": who.iss, "subjects": sorted(subjects), "now": now}
    rows = await fetch(_ACTIVE, org=context.org, **asked) if subjects else []
    return {row["subject"]: row["id"] for row in rows}


async def page(fetch: Fetch, org: str, reviewed: bool, after: str, rows: int) -> list[Grant]:
    """At most so many grants behind the id `after`: those that wait, oldest first, or those reviewed, newest first."""
    return [Grant(*row) for row in await fetch(_PAGES[reviewed], org=org, after=after, rows=rows)]


async def openings(fetch: Fetch, org: str, ids: Sequence[str]) -> dict[str, int]:
    """How often the record was answered under each of these grants; absent are those that were never used."""
    rows = await fetch(_OPENINGS, org=org, ids=list(ids)) if ids else []
    return {row["id"]: row["openings"] for row in rows}


async def review(connection: Connection, context: Context, grant_id: str, verdict: str, at: int) -> bool:
    """Enters the caller's verdict; False where somebody else was first, or the caller is who asked for the grant."""
    who = context.who
    asked = {"id_": grant_id, "issuer": who.iss, "by": who.sub, "at": at, "verdict": verdict}
    return await connection.execute(_REVIEW, org=context.org, **asked) == 1


async def waiting(database: Database) -> Waiting:
    """Of all organisations together. Raises StoreUnavailable."""
    grants, oldest = 0, None
    for org in await every(database):
        row = (await database.fetch(org, _WAITING))[0]
        grants += row["grants"]
        if row["oldest"] is not None:
            oldest = row["oldest"] if oldest is None else min(oldest, row["oldest"])
    return Waiting(grants, oldest)
