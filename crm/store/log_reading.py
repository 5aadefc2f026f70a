"""What officers read of a log: its events by every question that has an index. Owns the questions, writes nothing."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, ColumnElement, Integer, LargeBinary, bindparam, or_, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType

from crm.audit.entry import OUTCOMES
from crm.audit.event import FLAGS, recorded_request, recorded_subject
from crm.store.database import Database
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import audit_event

__all__ = [
    "EventFilter",
    "LoggedEvent",
    "Narrowing",
    "conditions",
    "event_of",
    "events",
    "events_at",
    "narrow",
    "narrowing",
]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of one log; None asks nothing.

    `patient` is an audit subject, `actor` a token's `sub`, `request` an X-Request-Id; `since` (inclusive) and `until`
    (exclusive) are microseconds since 1970; `outcome` is ok, partial, denied or error, `purpose` an HL7 code, `act`
    one of `Act`. `flags` are words of `FLAGS`, of which an event has at least one. `token` is a token's `jti`, and
    `reference` the id of a grant or decision: they are looked for in the leaves themselves, so something else should
    narrow the question as well.
    """

    patient: str | None = None
    actor: str | None = None
    since: int | None = None
    until: int | None = None
    outcome: str | None = None
    purpose: str | None = None
    act: str | None = None
    request: str | None = None
    flags: Iterable[str] = ()
    token: str | None = None
    reference: str | None = None


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


class _Holds(ColumnElement[bool]):
    """The octets of `column` hold those of the parameter `name`."""

    inherit_cache = False
    # Not Boolean(): SQLAlchemy would write `… = 1` behind it on SQLite.
    type = NullType()  # type: ignore[assignment]

    def __init__(self, column: ColumnElement[bytes], name: str) -> None:
        self.column = column
        self.name = name


def _octets(element: _Holds, compiler: SQLCompiler, **kw: Any) -> tuple[str, str]:
    value = bindparam(element.name, type_=LargeBinary)
    return compiler.process(element.column, **kw), compiler.process(value, **kw)


@compiles(_Holds, "postgresql")
def _holds_postgresql(element: _Holds, compiler: SQLCompiler, **kw: Any) -> str:
    column, value = _octets(element, compiler, **kw)
    return f"position({value} in {column}) > 0"


@compiles(_Holds, "sqlite")
def _holds_sqlite(element: _Holds, compiler: SQLCompiler, **kw: Any) -> str:
    column, value = _octets(element, compiler, **kw)
    return f"instr({column}, {value}) > 0"


@dataclass(frozen=True, slots=True)
class Narrowing:
    """The shape of a filter: which conditions it has, apart from their values. One statement for each."""

    given: frozenset[str]
    outcome: str | None
    group: str | None

    @property
    def time(self) -> ColumnElement[int]:
        """The time of an event.

        Computed for one request, whose few events are then found by their own index, not met by walking through time;
        and for events by their `place`, which are walked through by number.
        """
        return audit_event.c.ts + 0 if self.given & {"request", "place"} else audit_event.c.ts


_LATEST: Final = 2**63 - 1
_COLUMNS: Final = {"patient": "pat", "actor": "actor", "purpose": "pou", "act": "act", "request": "req"}
_INSIDE: Final = ("token", "reference")
"""What is looked for in the leaves themselves."""
_FLAGS = audit_event.c.flags
# As the partial indexes are written (`log_tables.py`), each for the flags that it has; the last one has all of them.
_GROUPS: Final = {
    "break_glass": (1, _FLAGS.op("&")(1) == 1),
    "kin": (2060, _FLAGS.op("&")(2060) != 0),
    "notable": (5040, _FLAGS.op("&")(5040) != 0),
    "flagged": (sum(FLAGS.values()), _FLAGS != 0),
}
_TIME_OF = prepare(
    select(audit_event.c.ts).where(audit_event.c.org == bindparam("org"), audit_event.c.seq == bindparam("seq"))
)
_BY_ID = prepare(
    select(audit_event.c.seq, audit_event.c.leaf).where(
        audit_event.c.org == bindparam("org"), audit_event.c.id == bindparam("id")
    )
)
_BY_PLACE = prepare(
    select(audit_event.c.seq, audit_event.c.leaf).where(
        audit_event.c.org == bindparam("org"), any_of(audit_event.c.seq, "seqs")
    )
)


async def events(
    database: Database, org: str, chosen: EventFilter, first: int, after_seq: int | None = None
) -> list[LoggedEvent]:
    """At most `first` events, newest first, from behind the event number `after_seq` on; [] when that does not exist.

    Events of the same time are ordered by number. Patient, actor, request, refusals, circumstances and time each have
    their index.
    """
    params = narrowing(chosen)
    params["before_ts"], params["before_seq"] = _LATEST, _LATEST
    if after_seq is not None:
        known = await database.fetch(org, _TIME_OF, seq=after_seq) if 0 <= after_seq <= _LATEST else []
        if not known:
            return []
        params["before_ts"], params["before_seq"] = known[0]["ts"], after_seq
        params["last"] = min(params["last"], params["before_ts"])
    rows = await database.fetch(org, _page(narrow(chosen)), **params, rows=first)
    return [LoggedEvent(row["seq"], bytes(row["leaf"])) for row in rows]


async def event_of(database: Database, org: str, event_id: str) -> LoggedEvent | None:
    """The event with this id; None where there is none, or it was pruned."""
    rows = await database.fetch(org, _BY_ID, id=event_id)
    return LoggedEvent(rows[0]["seq"], bytes(rows[0]["leaf"])) if rows else None


async def events_at(database: Database, org: str, seqs: Iterable[int]) -> dict[int, LoggedEvent]:
    """Events by their numbers; those that do not exist, or were pruned, are absent."""
    rows = await database.fetch(org, _BY_PLACE, seqs=sorted(set(seqs)))
    return {row["seq"]: LoggedEvent(row["seq"], bytes(row["leaf"])) for row in rows}


def narrow(chosen: EventFilter) -> Narrowing:
    """The shape of a filter."""
    given = {name for name in (*_COLUMNS, *_INSIDE) if getattr(chosen, name) is not None}
    mask = _mask(chosen)
    group = next((name for name, (bits, _) in _GROUPS.items() if mask and not mask & ~bits), None)
    return Narrowing(frozenset(given), chosen.outcome, group)


def narrowing(chosen: EventFilter) -> dict[str, Any]:
    """The parameters of a statement whose conditions are `conditions(narrow(chosen))`."""
    given = {name: getattr(chosen, name) for name in _COLUMNS}
    given["actor"] = recorded_subject(chosen.actor) if chosen.actor is not None else None
    given["request"] = recorded_request(chosen.request) if chosen.request is not None else None
    params: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    params["since"] = chosen.since if chosen.since is not None else 0
    params["last"] = chosen.until - 1 if chosen.until is not None else _LATEST
    if mask := _mask(chosen):
        params["mask"] = mask
    if chosen.token is not None:
        # A text in a leaf holds no quotation mark that is not escaped, so this can be nothing but the member itself.
        params["token"] = b'"jti":' + orjson.dumps(recorded_subject(chosen.token))
    if chosen.reference is not None:
        params["reference"] = b'"ref":' + orjson.dumps(chosen.reference)
    return params


def _mask(chosen: EventFilter) -> int:
    return sum({FLAGS[flag] for flag in chosen.flags})


@lru_cache(maxsize=512)
def _page(shape: Narrowing) -> Statement:
    ts, seq = shape.time, audit_event.c.seq
    # Spelled out, because with a row comparison SQLite takes the index of times for every question.
    older = or_(ts < bindparam("before_ts"), seq < bindparam("before_seq"))
    rows = select(seq, audit_event.c.leaf).where(older, *conditions(shape))
    return prepare(rows.order_by(ts.desc(), seq.desc()).limit(bindparam("rows", type_=BigInteger)))


def conditions(shape: Narrowing) -> list[ColumnElement[bool]]:
    """A filter as conditions. Outcome and group are written as numbers, so that their partial indexes apply."""
    found: list[ColumnElement[bool]] = [
        audit_event.c.org == bindparam("org"),
        shape.time >= bindparam("since"),
        shape.time <= bindparam("last"),
        *(audit_event.c[_COLUMNS[name]] == bindparam(name) for name in sorted(shape.given & _COLUMNS.keys())),
    ]
    if shape.outcome is not None:
        found.append(audit_event.c.out == OUTCOMES[shape.outcome])
        if shape.outcome != "ok":
            found.append(audit_event.c.out != 0)
    if shape.group is not None:
        bits, group = _GROUPS[shape.group]
        found.append(group)
        if bits.bit_count() > 1:
            found.append(_FLAGS.op("&")(bindparam("mask", type_=Integer)) != 0)
    found += [_Holds(audit_event.c.leaf, name) for name in _INSIDE if name in shape.given]
    return found
