"""Taking away the beginning of a log whose time is over: whole tiles of events, never a hash of the tree.

The service may not do this, and no trigger lets anybody: it is done as the owner of the tables, who takes the triggers
away inside the transaction and puts them back in the same one. Whether it may be done is `crm.services.retention`.
How old an event is, and whose, is what its leaf says: the columns can be edited by whoever owns the database.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, Connection, bindparam, delete, exists, func, select, text, update

from crm.audit.entry import Index, index_of
from crm.audit.recount import COLUMNS
from crm.errors import Tampered, Unsafe
from crm.store.database import Fetch
from crm.store.log_verifying import events
from crm.store.migrations import as_owner
from crm.store.statements import prepare
from crm.store.tables import audit_detail, audit_event, audit_head, legal_hold, patient

__all__ = ["SLICE", "first_since", "held", "take_away"]

SLICE: Final = 256 * 256
"""Events that one transaction takes away: while it runs, nothing is logged."""

_STRETCH: Final = 4_096
_FENCED: Final = (audit_event.name, audit_detail.name)

_E = audit_event.c
_HELD = prepare(
    select(func.count(legal_hold.c.patient_id.distinct()).label("patients"))
    .select_from(
        legal_hold.join(patient, (patient.c.org == legal_hold.c.org) & (patient.c.id == legal_hold.c.patient_id))
    )
    .where(
        legal_hold.c.org == bindparam("org"),
        legal_hold.c.lifted_at.is_(None),
        exists().where(
            _E.org == legal_hold.c.org,
            _E.pat == patient.c.audit_subject,
            _E.seq < bindparam("below", type_=BigInteger),
        ),
    )
)


async def first_since(fetch: Fetch, before: int, start: int, size: int) -> int:
    """The number of the first event from `start` on that is not older than `before` (microseconds since 1970).

    Judged by the leaves. Raises Unsafe where one is missing before that, or its columns say something else.
    """
    for begin in range(start, size, _STRETCH):
        end = min(begin + _STRETCH, size)
        rows = await events(fetch, begin, end)
        expected = begin
        for row, (_, index) in zip(rows, _read(rows), strict=False):
            if row[0] != expected:
                raise _refusal(expected)
            if index.ts >= before:
                return expected
            expected += 1
        if expected != end:
            raise _refusal(expected)
    return size


def _read(rows: Iterable[Sequence[Any]]) -> Iterator[tuple[Mapping[str, Any], Index]]:
    """What the leaves of events say (`COLUMNS`). Raises Unsafe where the columns say something else."""
    for row in rows:
        seq, _, leaf = row[:3]
        try:
            content = orjson.loads(leaf)
            index = index_of(content)
        except (ValueError, TypeError, KeyError, AttributeError):
            raise _refusal(seq) from None
        if index != tuple(row[4:]):
            raise _refusal(seq)
        yield content, index


def _refusal(seq: int) -> Unsafe:
    return Unsafe(
        f"event {seq} is missing, or its columns and its leaf disagree: nothing was pruned; run `audit verify`"
    )


async def held(fetch: Fetch, below: int) -> int:
    """How many patients under a legal hold have events with numbers below `below`."""
    return int((await fetch(_HELD, below=below))[0]["patients"])


def take_away(url: str, org: str, start: int, end: int) -> None:
    """Deletes the events from `start` to before `end`, and the sealed words that they speak of. Blocking.

    `end` is then the oldest that is kept. Raises Tampered where `start` is not, StoreUnavailable, and Unsafe also where
    columns and leaves of these disagree; nothing of them is gone then.
    """
    as_owner(url, lambda connection: _take_away(connection, org, start, end))


def _take_away(connection: Connection, org: str, start: int, end: int) -> None:
    if connection.dialect.name == "postgresql":
        # Row-level security binds the owner of the tables too.
        connection.execute(text("SELECT set_config('heed.org', :org, true)"), {"org": org})
    of_log = audit_head.c.org == org
    pruned = connection.execute(select(audit_head.c.pruned).where(of_log).with_for_update()).scalar()
    if pruned != start:
        raise Tampered("the beginning of a log")
    chosen = (_E.org == org, _E.seq >= start, _E.seq < end)
    rows = connection.execute(select(*(_E[name] for name in COLUMNS)).where(*chosen).order_by(_E.seq))
    words = [(content["ref"], index.act) for content, index in _read(rows) if "sealed" in content]
    with _unfenced(connection):
        for name, kind in words:
            connection.execute(
                delete(audit_detail).where(
                    audit_detail.c.org == org, audit_detail.c.id == name, audit_detail.c.kind == kind
                )
            )
        connection.execute(delete(audit_event).where(*chosen))
    connection.execute(update(audit_head).where(of_log).values(pruned=end))


@contextmanager
def _unfenced(connection: Connection) -> Iterator[None]:
    """The tables of the log without the triggers that keep them append-only; for this transaction alone."""
    if connection.dialect.name == "postgresql":
        for table in _FENCED:
            connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER append_only"))
        yield
        for table in _FENCED:
            connection.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER append_only"))
        return
    question = (
        "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger' AND tbl_name IN ('audit_event', 'audit_detail')"
    )
    fences = connection.execute(text(question)).fetchall()
    for name, _ in fences:
        connection.execute(text(f"DROP TRIGGER {name}"))
    yield
    for _, sql in fences:
        connection.exec_driver_sql(sql)
