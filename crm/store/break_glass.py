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
    literal,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from crm.audit.entry import OUTCOMES
from crm.audit.event import FLAGS, Act
from crm.domain.break_glass import DRIFT, LASTING, LATE, STANDING, UNREVIEWED, UNREVIEWED_IN
from crm.errors import RateLimited
from crm.store.context import Context
from crm.store.database import Connection, Database, Fetch
from crm.store.organisations import every
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import audit_event, break_glass

__all__ = ["Grant", "Waiting", "active", "add", "find", "known", "openings", "page", "review", "waiting"]


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
_NOW: Final = bindparam("now", type_=BigInteger)
_OWN: Final = and_(_HERE, _G.actor == bindparam("actor"), _G.issuer == bindparam("issuer"))
# Whoever writes rows behind the service's back gets no more than it would have given; `audit verify` finds the rest.
_GOES_ON: Final = and_(
    _G.expires_at > _NOW,
    _G.expires_at <= _G.requested_at + literal(LASTING, BigInteger),
    _G.requested_at <= _NOW + literal(DRIFT, BigInteger),
    or_(_G.verdict.is_(None), _G.verdict == STANDING.value),
)
_ACTIVE: Final = prepare(
    select(_G.subject, _G.id).where(_OWN, any_of(_G.subject, "subjects"), _GOES_ON).order_by(_G.id)
)
_KNOWN: Final = prepare(
    select(*_COLUMNS)
    .where(_OWN, _G.subject == bindparam("subject"), _GOES_ON, _G.reviewed_at.is_(None))
    .order_by(_G.id.desc())
    .limit(literal(1, BigInteger))
)
_LATEST: Final = prepare(
    select(_G.requested_at)
    .where(_OWN, _G.reviewed_at.is_(None), _G.requested_at > bindparam("since", type_=BigInteger))
    .order_by(_G.requested_at.desc())
    .limit(literal(UNREVIEWED, BigInteger))
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
_NOWHERE: Final[ColumnElement[int]] = literal_column("0")


def _openings(*of_the_grant: ColumnElement[bool]) -> Select[tuple[str, int]]:
    """Reads by who asked for the grant, found by the index over the patient's events; the leaf tells under which."""
    period = and_(_E.pat == _G.subject, _E.ts >= _G.requested_at, _E.ts < _G.expires_at + LATE)
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
    """By audit subject, the newest grant of the caller that goes on at `now`; others are absent.

    It has not expired, and no review came to anything but that it was justified.
    """
    who = context.who
    asked = {"actor": who.sub, "issuer": who.iss, "subjects": sorted(subjects), "now": now}
    rows = await fetch(_ACTIVE, org=context.org, **asked) if subjects else []
    return {row["subject"]: row["id"] for row in rows}


async def known(fetch: Fetch, context: Context, wanted: Grant) -> Grant | None:
    """The unreviewed grant of the caller for the patient of `wanted` that goes on already; None without one.

    Raises `RateLimited` where there is none, and `UNREVIEWED` others were requested within `UNREVIEWED_IN`; requests
    at one moment for several patients may exceed that, each by one.
    """
    now = wanted.requested_at
    asked = {"actor": wanted.actor, "issuer": wanted.issuer}
    rows = await fetch(_KNOWN, org=context.org, **asked, subject=wanted.subject, now=now)
    if rows:
        return Grant(*rows[0])
    times = [row["requested_at"] for row in await fetch(_LATEST, org=context.org, **asked, since=now - UNREVIEWED_IN)]
    if len(times) == UNREVIEWED:
        raise RateLimited(max(1, -((now - UNREVIEWED_IN - times[-1]) // 1_000_000)))
    return None


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
