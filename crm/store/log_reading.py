"""What officers read of a log: its events by every question that has an index. Owns the questions, writes nothing."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, func, or_, select

from crm.audit.entry import OUTCOMES
from crm.audit.event import recorded_request, recorded_subject
from crm.store.database import Database
from crm.store.statements import Statement, prepare
from crm.store.tables import audit_event

__all__ = ["EventFilter", "LoggedEvent", "counts", "events"]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of one log; None asks nothing.

    `patient` is an audit subject, `actor` a token's `sub`, `request` an X-Request-Id; `since` (inclusive) and `until`
    (exclusive) are microseconds since 1970; `outcome` is ok, partial, denied or error, `purpose` an HL7 code, `act`
    one of `Act`.
    """

    patient: str | None = None
    actor: str | None = None
    since: int | None = None
    until: int | None = None
    outcome: str | None = None
    purpose: str | None = None
    act: str | None = None
    request: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One event as it was logged: its place, from 0, and the octets that are the evidence."""

    seq: int
    leaf: bytes

    @property
    def content(self) -> dict[str, Any]:
        """The members of the leaf (`docs/decisions/0009`)."""
        parsed: dict[str, Any] = orjson.loads(self.leaf)
        return parsed


_LATEST: Final = 2**63 - 1
_TIME_OF = prepare(
    select(audit_event.c.ts).where(audit_event.c.org == bindparam("org"), audit_event.c.seq == bindparam("seq"))
)
_COLUMNS: Final = {"patient": "pat", "actor": "actor", "purpose": "pou", "act": "act", "request": "req"}


async def events(
    database: Database, org: str, chosen: EventFilter, first: int, after_seq: int | None = None
) -> list[LoggedEvent]:
    """At most `first` events, newest first, from behind the event number `after_seq` on; [] when that does not exist.

    Events of the same time are ordered by number. Patient, actor, request, refusals and time each have their index.
    """
    params = _params(chosen)
    params["before_ts"], params["before_seq"] = _LATEST, _LATEST
    if after_seq is not None:
        known = await database.fetch(org, _TIME_OF, seq=after_seq) if 0 <= after_seq <= _LATEST else []
        if not known:
            return []
        params["before_ts"], params["before_seq"] = known[0]["ts"], after_seq
        params["last"] = min(params["last"], params["before_ts"])
    statement = _page(frozenset(params.keys() & _COLUMNS.keys()), chosen.outcome)
    rows = await database.fetch(org, statement, **params, rows=first)
    return [LoggedEvent(row["seq"], bytes(row["leaf"])) for row in rows]


async def counts(database: Database, org: str, chosen: EventFilter) -> dict[str, int]:
    """How many events the filter finds, by outcome; outcomes without any are absent."""
    params = _params(chosen)
    rows = await database.fetch(org, _tally(frozenset(params.keys() & _COLUMNS.keys()), chosen.outcome), **params)
    return {outcome: row["events"] for row in rows for outcome, code in OUTCOMES.items() if code == row["out"]}


def _params(chosen: EventFilter) -> dict[str, Any]:
    given = {name: getattr(chosen, name) for name in _COLUMNS}
    given["actor"] = recorded_subject(chosen.actor) if chosen.actor is not None else None
    given["request"] = recorded_request(chosen.request) if chosen.request is not None else None
    params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    params["since"] = chosen.since if chosen.since is not None else 0
    params["last"] = chosen.until - 1 if chosen.until is not None else _LATEST
    return params


@lru_cache(maxsize=512)
def _page(given: frozenset[str], outcome: str | None) -> Statement:
    ts, seq = _time(given), audit_event.c.seq
    # Spelled out, because with a row comparison SQLite takes the index of times for every question.
    older = or_(ts < bindparam("before_ts"), seq < bindparam("before_seq"))
    rows = select(seq, audit_event.c.leaf).where(older)
    rows = rows.order_by(ts.desc(), seq.desc()).limit(bindparam("rows", type_=BigInteger))
    return prepare(_narrow(rows, given, outcome))


@lru_cache(maxsize=512)
def _tally(given: frozenset[str], outcome: str | None) -> Statement:
    rows = select(audit_event.c.out, func.count().label("events")).group_by(audit_event.c.out)
    return prepare(_narrow(rows, given, outcome))


def _time(given: frozenset[str]) -> ColumnElement[int]:
    """The time of an event.

    Computed for one request, whose few events are then found by their own index, not met by walking through time.
    """
    return audit_event.c.ts + 0 if "request" in given else audit_event.c.ts


def _narrow(rows: Select[Any], given: frozenset[str], outcome: str | None) -> Select[Any]:
    """The filter as conditions. The outcome is written as a number, so that the partial index of refusals applies."""
    rows = rows.where(
        audit_event.c.org == bindparam("org"),
        _time(given) >= bindparam("since"),
        _time(given) <= bindparam("last"),
        *(audit_event.c[_COLUMNS[name]] == bindparam(name) for name in sorted(given)),
    )
    if outcome is None:
        return rows
    rows = rows.where(audit_event.c.out == OUTCOMES[outcome])
    return rows.where(audit_event.c.out != 0) if outcome != "ok" else rows
