"""Taking away the beginning of a log whose time is over: whole tiles of events, never a hash of the tree.

The service may not do this, and no trigger lets anybody: it is done as the owner of the tables, who takes the triggers
away inside the transaction and puts them back in the same one. Whether it may be done is `crm.services.retention`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, Connection, bindparam, delete, exists, func, select, text, update

from crm.errors import Tampered
from crm.store.database import Fetch
from crm.store.migrations import as_owner
from crm.store.statements import prepare
from crm.store.tables import audit_detail, audit_event, audit_head, legal_hold, patient

__all__ = ["SLICE", "first_since", "held", "take_away"]

SLICE: Final = 256 * 256
"""Events that one transaction takes away: while it runs, nothing is logged."""

_STRETCH: Final = 50_000
_FENCED: Final = (audit_event.name, audit_detail.name)

_E = audit_event.c
_FIRST = prepare(
    select(func.min(_E.seq).label("seq")).where(
        _E.org == bindparam("org"),
        _E.seq >= bindparam("start", type_=BigInteger),
        _E.seq < bindparam("end", type_=BigInteger),
        _E.ts >= bindparam("before", type_=BigInteger),
    )
)
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
    """The number of the first event from `start` on that is not older than `before` (microseconds since 1970)."""
    for begin in range(start, size, _STRETCH):
        [row] = await fetch(_FIRST, start=begin, end=min(begin + _STRETCH, size), before=before)
        if row["seq"] is not None:
            return int(row["seq"])
    return size


async def held(fetch: Fetch, below: int) -> int:
    """How many patients under a legal hold have events with numbers below `below`."""
    return int((await fetch(_HELD, below=below))[0]["patients"])


def take_away(url: str, org: str, start: int, end: int) -> None:
    """Deletes the events from `start` to before `end`, and the sealed words that they speak of. Blocking.

    `end` is then the oldest that is kept. Raises Tampered where `start` is not, Unsafe, StoreUnavailable.
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
    words = _words(connection.execute(select(_E.leaf).where(*chosen)).scalars())
    with _unfenced(connection):
        for name, kind in words:
            connection.execute(
                delete(audit_detail).where(
                    audit_detail.c.org == org, audit_detail.c.id == name, audit_detail.c.kind == kind
                )
            )
        connection.execute(delete(audit_event).where(*chosen))
    connection.execute(update(audit_head).where(of_log).values(pruned=end))


def _words(leaves: Iterator[bytes] | Any) -> Sequence[tuple[str, str]]:
    """Id and kind of the sealed words that events speak of."""
    found = []
    for leaf in leaves:
        content = orjson.loads(leaf)
        if "sealed" in content:
            found.append((content["ref"], content["act"]))
    return found


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
