"""How much each actor did on each day, counted from the log as it grows; and who did far more than before.

Derived from the log and nothing else: `rebuild` counts all that is kept anew, and `crm.store.log_days` says when to.
"""

from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Float, and_, bindparam, case, cast, delete, exists, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.sql.elements import ClauseElement

from crm.store.database import Connection, Database
from crm.store.statements import any_of, prepare
from crm.store.tables import audit_actor_day, audit_event, audit_head, audit_rollup

__all__ = ["CHUNK", "DAY", "Excess", "excesses", "rebuild", "roll_up"]

DAY: Final = 86_400_000_000
"""Microseconds of a day."""

CHUNK: Final = 2_000
"""Events that are counted in one transaction, which on SQLite keeps other writers waiting."""


@dataclass(frozen=True, slots=True)
class Excess:
    """An actor who touched far more patients on a day (days since 1970, UTC) than they used to.

    `mean` and `deviation` (of the population) are of the patients on `days` days before, on which they did anything.
    """

    day: int
    actor: str
    events: int
    patients: int
    refused: int
    days: int
    mean: float
    deviation: float


_MINE = audit_rollup.c.org == bindparam("org")
_E, _D = audit_event.c, audit_actor_day.c
# The PostgreSQL construct; both engines spell ON CONFLICT alike.
_BEGIN = prepare(
    insert_unless(audit_rollup).values(org=bindparam("org"), seq=0).on_conflict_do_nothing(index_elements=["org"])
)
_LOCK = prepare(select(audit_rollup.c.seq).where(_MINE).with_for_update())
_HEAD = prepare(select(audit_head.c.size, audit_head.c.pruned).where(audit_head.c.org == bindparam("org")))
_MOVE = prepare(update(audit_rollup).where(_MINE).values(seq=bindparam("reached")))
_FORGET = prepare(delete(audit_actor_day).where(_D.org == bindparam("org")))


def _counting() -> ClauseElement:
    """The events of a range, added to the days of their actors.

    A patient counts where the actor had not touched them before on that day, which the patient's index tells.
    """
    day = _E.ts // DAY
    fresh = (
        select(
            day.label("day"),
            _E.actor,
            _E.pat,
            func.count().label("events"),
            func.sum(case((_E.out == 8, 1), else_=0), type_=BigInteger).label("refused"),
        )
        .where(_E.org == bindparam("org"), _E.seq >= bindparam("start"), _E.seq < bindparam("end"))
        .group_by(day, _E.actor, _E.pat)
        .subquery("fresh")
    )
    before = audit_event.alias("before")
    known = exists().where(
        before.c.org == bindparam("org"),
        before.c.pat == fresh.c.pat,
        before.c.ts >= fresh.c.day * DAY,
        before.c.ts < (fresh.c.day + 1) * DAY,
        before.c.actor == fresh.c.actor,
        before.c.seq < bindparam("start"),
    )
    new = case((and_(fresh.c.pat.is_not(None), ~known), 1), else_=0)
    counted = (
        select(
            bindparam("org", type_=_E.org.type).label("org"),
            fresh.c.day,
            fresh.c.actor,
            func.sum(fresh.c.events, type_=BigInteger).label("events"),
            func.sum(new, type_=BigInteger).label("patients"),
            func.sum(fresh.c.refused, type_=BigInteger).label("refused"),
        )
        # Without a condition SQLite takes ON CONFLICT for that of a join.
        .where(literal(1) == 1)
        .group_by(fresh.c.day, fresh.c.actor)
        # In one order, so that two of them cannot wait for each other.
        .order_by(fresh.c.day, fresh.c.actor)
    )
    columns = ["org", "day", "actor", "events", "patients", "refused"]
    adding = insert_unless(audit_actor_day).from_select(columns, counted)
    sums = {name: audit_actor_day.c[name] + adding.excluded[name] for name in columns[3:]}
    return adding.on_conflict_do_update(index_elements=columns[:3], set_=sums)


_COUNT = prepare(_counting())
_BUSY = prepare(
    select(_D.day, _D.actor, _D.events, _D.patients, _D.refused)
    .where(
        _D.org == bindparam("org"),
        _D.day >= bindparam("first_day"),
        _D.day <= bindparam("last_day"),
        _D.patients >= bindparam("least"),
    )
    .order_by(_D.day, _D.actor)
)
_PATIENTS = cast(_D.patients, Float)
_HISTORY = prepare(
    select(
        _D.actor,
        func.count().label("days"),
        func.avg(_PATIENTS).label("mean"),
        func.avg(_PATIENTS * _PATIENTS).label("square"),
    )
    .where(
        _D.org == bindparam("org"),
        any_of(_D.actor, "actors"),
        _D.day >= bindparam("first_day"),
        _D.day < bindparam("end_day"),
    )
    .group_by(_D.actor)
)


async def roll_up(database: Database, org: str, *, most: int = 100_000, chunk: int = CHUNK) -> bool:
    """Counts what was logged since the last time, about `most` events of it; whether everything is counted now.

    Several processes may do it at once: a range of events is counted by one of them, exactly once.
    """
    for _ in range(0, most, chunk):
        async with database.transaction(org) as connection:
            left = await _next(connection, chunk)
        if not left:
            return True
    return False


async def rebuild(database: Database, org: str) -> None:
    """Forgets all counts, and lets `roll_up` begin anew with the oldest event that is still kept."""
    async with database.transaction(org) as connection:
        await connection.execute(_BEGIN)
        await connection.fetch(_LOCK)
        head = await connection.fetch_one(_HEAD)
        await connection.execute(_FORGET)
        await connection.execute(_MOVE, reached=head["pruned"] if head else 0)


async def _next(connection: Connection, chunk: int) -> int:
    """Counts the next events, at most `chunk`, and says how many are left."""
    if await connection.fetch_one(_HEAD) is None:
        return 0
    locked = await connection.fetch_one(_LOCK)
    if locked is None:
        await connection.execute(_BEGIN)
        locked = await connection.fetch_one(_LOCK)
    head = await connection.fetch_one(_HEAD)  # as it is under the lock: never behind what another process counted
    if head is None:
        return 0
    reached = locked["seq"] if locked else 0
    if reached > head["size"]:
        # The log was put back to an older state, or somebody wants what comes not to be counted.
        await connection.execute(_FORGET)
        reached = 0
    start = max(reached, head["pruned"])
    end = min(head["size"], start + chunk)
    if end > start:
        await connection.execute(_COUNT, start=start, end=end)
        await connection.execute(_MOVE, reached=end)
    return int(head["size"] - end)


async def excesses(
    database: Database, org: str, first_day: int, last_day: int, *, history: int, sigmas: float, least: int, known: int
) -> list[Excess]:
    """Who touched more patients on one of the days than the mean and `sigmas` deviations of their own days before.

    Those days are the `history` ones before `first_day`. Nobody is judged by fewer than `known` days on which they did
    something, nor for fewer than `least` patients. By how far they exceed, the farthest first.
    """
    busy = await database.fetch(org, _BUSY, first_day=first_day, last_day=last_day, least=least)
    actors = sorted({row["actor"] for row in busy})
    before = {"first_day": first_day - history, "end_day": first_day}
    rows = await database.fetch(org, _HISTORY, actors=actors, **before) if actors else []
    past = {row["actor"]: (row["days"], row["mean"], row["square"]) for row in rows if row["days"] >= known}
    found: list[Excess] = []
    for row in busy:
        if row["actor"] not in past:
            continue
        days, mean, square = past[row["actor"]]
        deviation = max(square - mean * mean, 0.0) ** 0.5
        if row["patients"] > mean + sigmas * deviation:
            facts = (row["day"], row["actor"], row["events"], row["patients"], row["refused"])
            found.append(Excess(*facts, days, mean, deviation))
    return sorted(found, key=lambda each: (-(each.patients - each.mean), each.day, each.actor))
