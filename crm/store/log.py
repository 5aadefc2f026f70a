"""The log in the database: the writer's sink, the outbox rows of changes, and what officers read.

Owns every statement on the audit tables. The head row is locked first, so batches of all replicas are ordered without a
leader; numbers come from the locked head, never from a sequence (which leaves gaps) nor from `max(seq)` (which scans).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, ColumnElement, Select, bindparam, delete, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from crm.audit.entry import OUTCOMES, Draft, restore
from crm.audit.event import recorded_request, recorded_subject
from crm.audit.writer import Seal
from crm.store.database import NO_ORG, Connection, Database
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import audit_event, audit_head, audit_outbox, organisation

__all__ = ["EventFilter", "LogSink", "LoggedEvent", "counts", "events", "lock_head", "stage_rows"]


class _DatabaseTime(ColumnElement[int]):
    """The database's own clock at this moment, in microseconds since 1970 (milliseconds' precision on SQLite)."""

    inherit_cache = True
    type = BigInteger()


@compiles(_DatabaseTime, "postgresql")
def _time_postgresql(_element: _DatabaseTime, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "(extract(epoch from clock_timestamp()) * 1000000)::bigint"


@compiles(_DatabaseTime, "sqlite")
def _time_sqlite(_element: _DatabaseTime, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000"


_LOCK_HEAD = prepare(select(audit_head.c.size).where(audit_head.c.org == bindparam("org")).with_for_update())
# The PostgreSQL construct; both engines spell ON CONFLICT DO NOTHING alike.
_ADD_ORGANISATION = prepare(
    insert_unless(organisation)
    .values(org=bindparam("org"), created_at=_DatabaseTime())
    .on_conflict_do_nothing(index_elements=["org"])
)
_ADD_HEAD = prepare(
    insert_unless(audit_head)
    .values(org=bindparam("org"), size=0, frontier=bindparam("frontier"), db_time=_DatabaseTime())
    .on_conflict_do_nothing(index_elements=["org"])
)
_MOVE_HEAD = prepare(
    update(audit_head)
    .where(audit_head.c.org == bindparam("org"))
    .values(size=bindparam("new_size"), db_time=_DatabaseTime())
)
_TAKE_STAGED = prepare(
    delete(audit_outbox)
    .where(audit_outbox.c.org == bindparam("org"), any_of(audit_outbox.c.id, "ids"))
    .returning(audit_outbox.c.id)
)
_INSERT_EVENT = prepare(insert(audit_event))
_INSERT_STAGED = prepare(insert(audit_outbox))
_ORGANISATIONS = prepare(select(organisation.c.org).order_by(organisation.c.org))
_STAGED = prepare(
    select(audit_outbox.c.leaf)
    .where(audit_outbox.c.org == bindparam("org"), audit_outbox.c.created_at < bindparam("before"))
    .order_by(audit_outbox.c.id)
    .limit(bindparam("rows", type_=BigInteger))
)


class LogSink:
    """Keeps the logs of all organisations in `database`; the `Sink` of a `LogWriter`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        """See `crm.audit.writer.Sink`. The first event of an organisation also founds its log."""
        async with self._database.transaction(org) as connection:
            size = await lock_head(connection)
            entries = seal(await _still_to_log(connection, drafts))
            rows = [
                {
                    "org": org,
                    "seq": seq,
                    "id": entry.id,
                    "leaf": entry.leaf,
                    "leaf_hash": entry.leaf_hash,
                    **entry.index._asdict(),
                }
                for seq, entry in enumerate(entries, start=size)
            ]
            if rows:
                await connection.execute_many(_INSERT_EVENT, rows)
            await connection.execute(_MOVE_HEAD, new_size=size + len(rows))

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        """See `crm.audit.writer.Sink`."""
        found: dict[str, Sequence[Draft]] = {}
        for row in await self._database.fetch(NO_ORG, _ORGANISATIONS):
            org = row["org"]
            staged = await self._database.fetch(org, _STAGED, before=before, rows=limit)
            if staged:
                found[org] = [restore(bytes(entry["leaf"])) for entry in staged]
        return found


async def lock_head(connection: Connection) -> int:
    """The number of events in the log, with its head locked until the transaction ends."""
    head = await connection.fetch_one(_LOCK_HEAD)
    if head is None:
        await connection.execute(_ADD_ORGANISATION)
        await connection.execute(_ADD_HEAD, frontier=b"")
        head = await connection.fetch_one(_LOCK_HEAD)
    if head is None:
        raise RuntimeError("the head of the log cannot be seen in its own scope")
    return int(head["size"])


async def _still_to_log(connection: Connection, drafts: Sequence[Draft]) -> list[Draft]:
    """The drafts without those that another transaction logged before: their outbox rows are gone."""
    ids = [draft.id for draft in drafts if draft.staged]
    if not ids:
        return list(drafts)
    taken = {row["id"] for row in await connection.fetch(_TAKE_STAGED, ids=ids)}
    result = []
    for draft in drafts:
        if not draft.staged:
            result.append(draft)
        elif draft.id in taken:
            taken.remove(draft.id)  # its owner and the sweeper may both have brought it
            result.append(draft)
    return result


async def stage_rows(connection: Connection, org: str, drafts: Sequence[Draft]) -> None:
    """Write staged drafts into the outbox, in the transaction of the change they describe."""
    if not drafts:
        return
    # A sweeper visits the organisations it knows of, and this may be the first that is heard of this one.
    await connection.execute(_ADD_ORGANISATION)
    await connection.execute_many(
        _INSERT_STAGED,
        [{"org": org, "id": draft.id, "leaf": draft.octets(), "created_at": draft.created_at} for draft in drafts],
    )


# --- what officers read ---------------------------------------------------------------------------------------------


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
