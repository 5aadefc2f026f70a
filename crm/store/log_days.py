"""Whether the sums of each person's days are those of the events, counted in another way. Mends nothing.

`crm.store.log_rollup` counts a range of numbers at a time and adds up; here a day is counted as a whole.
"""

from typing import Final

from sqlalchemy import BigInteger, Integer, bindparam, case, func, literal, select, union_all

from crm.store.database import Fetch
from crm.store.log_rollup import DAY
from crm.store.statements import prepare
from crm.store.tables import audit_actor_day, audit_event, audit_head, audit_rollup

__all__ = ["differing"]

_BEFORE_ALL: Final = -(2**31)
_E, _D = audit_event.c, audit_actor_day.c
_ORG: Final = bindparam("org", type_=audit_event.c.org.type)
_REACHED = func.coalesce(select(audit_rollup.c.seq).where(audit_rollup.c.org == _ORG).scalar_subquery(), 0)

_FIRST_KEPT = prepare(
    select(_E.ts).where(
        _E.org == _ORG,
        _E.seq
        == select(audit_head.c.pruned).where(audit_head.c.org == _ORG, audit_head.c.pruned > 0).scalar_subquery(),
    )
)
_NEXT = prepare(
    select(
        select(func.min(_E.ts))
        .where(_E.org == _ORG, _E.ts >= bindparam("ts", type_=BigInteger))
        .scalar_subquery()
        .label("ts"),
        select(func.min(_D.day))
        .where(_D.org == _ORG, _D.day >= bindparam("day", type_=Integer))
        .scalar_subquery()
        .label("day"),
    )
)
# One statement, so that a service which counts on meanwhile moves all of it or nothing.
_DAY = prepare(
    union_all(
        select(
            literal(0).label("stored"),
            _E.actor,
            func.count().label("events"),
            func.count(_E.pat.distinct()).label("patients"),
            func.sum(case((_E.out == 8, 1), else_=0), type_=BigInteger).label("refused"),
        )
        .where(
            _E.org == _ORG,
            _E.ts >= bindparam("start", type_=BigInteger),
            _E.ts < bindparam("end", type_=BigInteger),
            _E.seq < _REACHED,
        )
        .group_by(_E.actor),
        select(literal(1), _D.actor, _D.events, _D.patients, _D.refused).where(
            _D.org == _ORG, _D.day == bindparam("day", type_=Integer)
        ),
    )
)


async def differing(fetch: Fetch) -> list[tuple[int, str]]:
    """Days (since 1970, UTC) and actors whose sums are not those of the events that were counted so far.

    Believes the columns of the events, so the log has to be verified before. Days of which events may have been pruned
    are left out: up to the one after that of the oldest event that is kept.
    """
    kept = await fetch(_FIRST_KEPT)
    day = kept[0]["ts"] // DAY + 2 if kept else _BEFORE_ALL
    found: list[tuple[int, str]] = []
    while True:
        [following] = await fetch(_NEXT, ts=max(day, 0) * DAY, day=day)
        days = [each for each in (following["day"], _day_of(following["ts"])) if each is not None]
        if not days:
            return found
        day = min(days)
        sums: tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]] = ({}, {})
        for stored, actor, *counts in await fetch(_DAY, start=day * DAY, end=(day + 1) * DAY, day=day):
            sums[stored][actor] = tuple(counts)
        counted, stored_sums = sums
        found += [
            (day, actor)
            for actor in sorted(counted.keys() | stored_sums.keys())
            if counted.get(actor) != stored_sums.get(actor)
        ]
        day += 1


def _day_of(moment: int | None) -> int | None:
    return None if moment is None else moment // DAY
