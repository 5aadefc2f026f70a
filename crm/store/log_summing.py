"""Sums over a log: how often, of how many patients, by whom; and who was given what of one patient. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, FromClause, Integer, bindparam, case, func, literal, select, union_all

from crm.audit.event import FLAGS
from crm.store.database import Database
from crm.store.log_reading import EventFilter, LoggedEvent, Narrowing, conditions, events_at, narrow, narrowing
from crm.store.statements import Statement, prepare
from crm.store.tables import audit_event

__all__ = ["DIMENSIONS", "Disclosed", "Sum", "disclosures", "summary"]

DAY = 86_400_000_000
HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Sum:
    """What one group of events adds up to.

    `key` has a value for each dimension asked for: text, the outcome's number, the flag's bit, days since 1970, or the
    hour of the day (UTC). `patients` counts different ones; `first_at` and `last_at` are microseconds since 1970.
    """

    key: dict[str, Any]
    events: int
    refused: int
    patients: int
    first_at: int
    last_at: int


@dataclass(frozen=True, slots=True)
class Disclosed:
    """What one recipient was given for one purpose: how often, when first and last, and the events that say so."""

    count: int
    first: LoggedEvent
    last: LoggedEvent


_E: Final = audit_event.c
_BIT = union_all(*(select(literal(bit, type_=Integer).label("bit")) for bit in FLAGS.values())).subquery("flag")
DIMENSIONS: Final[dict[str, ColumnElement[Any]]] = {
    "actor": _E.actor.concat(""),
    "patient": _E.pat.concat(""),
    "action": _E.act,
    "outcome": _E.out,
    "purpose": _E.pou,
    "role": _E.role,
    "flag": _BIT.c.bit,
    "day": _E.ts // DAY,
    "hour": _E.ts // HOUR % 24,
}
"""By what events can be grouped. An event with several flags counts under each, and without any under none.

Actor and patient are computed, because SQLite would walk through everybody's index to have them in order.
"""

_REFUSED = func.sum(case((_E.out == 8, 1), else_=0), type_=BigInteger)
_DISCLOSED = prepare(
    select(func.count().label("events"), func.min(_E.seq).label("first"), func.max(_E.seq).label("last"))
    .where(
        _E.org == bindparam("org"),
        _E.pat == bindparam("patient"),
        _E.disc != 0,
        _E.ts >= bindparam("since"),
        _E.ts < bindparam("until"),
        _E.out < 8,
    )
    .group_by(_E.actor, _E.pou)
    .order_by(func.min(_E.seq))
    .limit(bindparam("rows", type_=BigInteger))
)


async def summary(
    database: Database, org: str, chosen: EventFilter, dimensions: Sequence[str], first: int
) -> list[Sum]:
    """At most `first` groups of the events that a filter finds, the largest first; `dimensions` of `DIMENSIONS`."""
    names = tuple(sorted(set(dimensions)))
    rows = await database.fetch(org, _sums(narrow(chosen), names), **narrowing(chosen), rows=first)
    return [
        Sum(
            {name: row[f"by_{name}"] for name in names},
            row["events"],
            row["refused"],
            row["patients"],
            row["first_at"],
            row["last_at"],
        )
        for row in rows
    ]


async def disclosures(
    database: Database, org: str, patient: str, since: int, until: int, first: int
) -> list[Disclosed]:
    """What was given out of a patient (an audit subject) in a time: at most `first` of recipient and purpose.

    A recipient is the caller who took it; refused and failed attempts gave out nothing.
    """
    found = await database.fetch(org, _DISCLOSED, patient=patient, since=since, until=until, rows=first)
    events = await events_at(database, org, {row[name] for row in found for name in ("first", "last")}) if found else {}
    return [Disclosed(row["events"], events[row["first"]], events[row["last"]]) for row in found]


@lru_cache(maxsize=512)
def _sums(shape: Narrowing, dimensions: tuple[str, ...]) -> Statement:
    columns = [DIMENSIONS[name].label(f"by_{name}") for name in dimensions]
    events = func.count()
    rows = select(
        *columns,
        events.label("events"),
        _REFUSED.label("refused"),
        _patients(shape, dimensions).label("patients"),
        func.min(_E.ts).label("first_at"),
        func.max(_E.ts).label("last_at"),
    ).where(*conditions(shape))
    if "flag" in dimensions:
        source: FromClause = audit_event.join(_BIT, _E.flags.op("&")(_BIT.c.bit) != 0)
        rows = rows.select_from(source).where(_E.flags != 0)  # for the index of those that have any
    rows = rows.group_by(*(column.name for column in columns))
    return prepare(
        rows.order_by(events.desc(), *(column.name for column in columns)).limit(bindparam("rows", type_=BigInteger))
    )


def _patients(shape: Narrowing, dimensions: tuple[str, ...]) -> ColumnElement[int]:
    """How many different patients; where there can be but one, without counting them."""
    if "patient" in shape.given or "patient" in dimensions:
        return func.max(case((_E.pat.is_(None), 0), else_=1), type_=BigInteger)
    return func.count(_E.pat.distinct())
