"""What `keys verify` reads: everything stored of some patients, and rows that belong to nobody. Judges nothing.

Each statement sees a moment of its own, and the service goes on writing meanwhile: whoever finds something looks again
(`crm.services.verification`). Lists are bounded, so that no table has to fit into memory.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress
from typing import Any, Final

import orjson
from sqlalchemy import BigInteger, Table, bindparam, exists, func, select

from crm.audit.entry import OUTCOMES
from crm.audit.event import Act, Outcome
from crm.crypto.stored_key import Name
from crm.domain.times import micros
from crm.errors import Tampered
from crm.store import history, merges, past
from crm.store.database import Fetch
from crm.store.ledger import Erasure, Link
from crm.store.record import LIVE, Record
from crm.store.soundness import Change, KeyRow, Stored, Term
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import (
    audit_event,
    audit_head,
    audit_outbox,
    blind_index,
    erasure_ledger,
    patient,
    patient_key,
    patient_version,
    sealed_row,
    sealed_version,
    source_record,
)

__all__ = ["LAST", "epochs", "erased", "ids", "load", "log_size", "missing", "nameless", "patients", "strays"]

LAST: Final = "\U0010ffff"
"""Behind every patient id."""

Load = Callable[[Collection[str]], Awaitable[dict[str, Record]]]

_MOST_STRAYS: Final = 100
_PAGE: Final = 500
_CHANGES: Final = tuple(act.value for act in (Act.CREATE, Act.UPDATE, Act.MERGE, Act.UNMERGE, Act.ERASE))
_DONE: Final = (OUTCOMES["ok"], OUTCOMES["partial"])
"""Outcomes of what was committed; partial is what was not answered in full."""

_IDS = prepare(
    select(patient.c.id)
    .where(patient.c.org == bindparam("org"), patient.c.id > bindparam("after"))
    .order_by(patient.c.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_COUNT = prepare(select(func.count().label("patients")).where(patient.c.org == bindparam("org")))
_THERE = prepare(select(patient.c.id).where(patient.c.org == bindparam("org"), any_of(patient.c.id, "ids")))


def _of_patients(table: Table, *columns: str) -> Statement:
    """Columns of a patient's rows, behind the patient's id."""
    return prepare(
        select(table.c.patient_id, *(table.c[name] for name in columns)).where(
            table.c.org == bindparam("org"), any_of(table.c.patient_id, "ids")
        )
    )


_KEYS = _of_patients(patient_key, *KeyRow._fields)
_TERMS = _of_patients(blind_index, "index_code", "key_ver", "value", "row_id")
_REPORTS = _of_patients(source_record)
_ERASURES = _of_patients(erasure_ledger, "seq", "entry", "hash")
_LOGGED = prepare(
    select(audit_event.c.pat, audit_event.c.leaf).where(
        audit_event.c.org == bindparam("org"),
        any_of(audit_event.c.pat, "subjects"),
        audit_event.c.act.in_(_CHANGES),
        audit_event.c.out.in_(_DONE),
    )
)
_STAGED = prepare(
    select(audit_outbox.c.id, audit_outbox.c.leaf)
    .where(audit_outbox.c.org == bindparam("org"), audit_outbox.c.id > bindparam("after"))
    .order_by(audit_outbox.c.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_EPOCHS = prepare(
    select(patient_key.c.key_class, patient_key.c.epoch, func.count().label("keys"))
    .where(patient_key.c.org == bindparam("org"), patient_key.c.state == LIVE)
    .group_by(patient_key.c.key_class, patient_key.c.epoch)
)


def _of_nobody(table: Table) -> Statement:
    """Patient ids between two, of rows whose patient is not there."""
    owner = exists().where(patient.c.org == table.c.org, patient.c.id == table.c.patient_id)
    return prepare(
        select(table.c.patient_id)
        .where(
            table.c.org == bindparam("org"),
            table.c.patient_id > bindparam("after"),
            table.c.patient_id <= bindparam("until"),
            ~owner,
        )
        .distinct()
        .limit(_MOST_STRAYS)
    )


_OF_NOBODY: Final = {
    table.name: _of_nobody(table)
    for table in (sealed_row, patient_key, blind_index, source_record, patient_version, sealed_version)
}

_SIZE = prepare(select(audit_head.c.size).where(audit_head.c.org == bindparam("org")))
_NAMELESS = prepare(
    select(audit_event.c.pat)
    .distinct()
    .where(
        audit_event.c.org == bindparam("org"),
        audit_event.c.seq >= bindparam("from_", type_=BigInteger),
        audit_event.c.seq < bindparam("to", type_=BigInteger),
        audit_event.c.act == Act.CREATE.value,
        audit_event.c.out.in_(_DONE),
        ~exists().where(patient.c.org == audit_event.c.org, patient.c.audit_subject == audit_event.c.pat),
    )
)
_ERASED = prepare(
    select(func.count().label("patients")).where(patient.c.org == bindparam("org"), patient.c.status == "erased")
)


# --- patients --------------------------------------------------------------------------------------------------------


async def patients(fetch: Fetch) -> int:
    """How many patients there are, whatever their status."""
    return int((await fetch(_COUNT))[0]["patients"])


async def ids(fetch: Fetch, after: str, first: int) -> list[str]:
    """At most `first` ids behind `after`, ascending, whatever the status."""
    return [row["id"] for row in await fetch(_IDS, after=after, rows=first)]


async def load(
    fetch: Fetch, org: str, records: Load, chosen: Collection[str], *, staged: bool
) -> dict[str, Stored | None]:
    """Everything stored of these patients, by id; None for one whose clear row is none that the service writes.

    `staged` hears events that wait to be numbered as well; it costs a walk through all that wait. An id that is not
    there any more is absent.
    """
    loaded = await _records(records, chosen)
    found = {name: None if record is None else Stored(record) for name, record in loaded.items()}
    there = {name: stored for name, stored in found.items() if stored is not None}
    for row in await fetch(_KEYS, ids=list(there)):
        there[row["patient_id"]].keys.append(KeyRow(*tuple(row)[1:]))
    for row in await fetch(_TERMS, ids=list(there)):
        there[row["patient_id"]].terms.append(Term(*tuple(row)[1:]))
    for row in await fetch(_REPORTS, ids=list(there)):
        there[row["patient_id"]].reports += 1
    for patient_id, version in await history.all_of(fetch, org, there):
        there[patient_id].versions.append(version)
    for patient_id, key_class, former in await past.all_of(fetch, org, there):
        there[patient_id].former.append((key_class, former))
    for row in await fetch(_ERASURES, ids=list(there)):
        with suppress(Tampered):  # whoever follows the chain will notice
            link = Link(org, row["seq"], row["entry"], bytes(row["hash"]))
            there[row["patient_id"]].erasures.append(link.erasure())
    for told in await _of_others(fetch, org, there):
        for name in {name for name, _, _ in told.former} & there.keys():
            there[name].emptied.append(told)
    named = {stored.record.audit_subject: stored for stored in there.values() if stored.record.audit_subject}
    for subject, changes in (await _changes(fetch, named.keys(), staged=staged)).items():
        named[subject].changes = changes
    return found


async def _of_others(fetch: Fetch, org: str, chosen: Collection[str]) -> list[Erasure]:
    """The erasures of all who ever had to do with these by a merge."""
    family = await merges.family(fetch, org, chosen)
    ids = {name for merge in family for name in (merge.survivor_id, merge.duplicate_id)}
    found = []
    for row in await fetch(_ERASURES, ids=sorted(ids)) if ids else ():
        with suppress(Tampered):
            found.append(Link(org, row["seq"], row["entry"], bytes(row["hash"])).erasure())
    return found


async def _records(records: Load, chosen: Collection[str]) -> dict[str, Record | None]:
    """The records by id, one by one where one of them cannot be read."""
    try:
        return dict(await records(chosen))
    except (ValueError, TypeError, KeyError):
        if len(chosen) == 1:
            return dict.fromkeys(chosen)
    found: dict[str, Record | None] = {}
    for name in chosen:
        found |= await _records(records, [name])
    return found


# --- the access log --------------------------------------------------------------------------------------------------


async def _changes(fetch: Fetch, subjects: Collection[str], *, staged: bool) -> dict[str, list[Change]]:
    """The changes of each of these names in the log. An event that is numbered meanwhile is heard once."""
    found: dict[str, dict[str, Change]] = {subject: {} for subject in subjects}
    if staged:  # first, since events leave from here for the log
        async for leaf in _waiting(fetch):
            _hear(found, leaf)
    for row in await fetch(_LOGGED, subjects=list(subjects)):
        _hear(found, bytes(row["leaf"]))
    return {subject: list(changes.values()) for subject, changes in found.items()}


async def _waiting(fetch: Fetch) -> AsyncIterator[bytes]:
    after = ""
    while rows := await fetch(_STAGED, after=after, rows=_PAGE):
        for row in rows:
            yield bytes(row["leaf"])
        after = rows[-1]["id"]


def _hear(found: dict[str, dict[str, Change]], leaf: bytes) -> None:
    """Takes in a leaf that tells of a change: an event of an update or erasure that changed nothing names no paths."""
    try:
        told: dict[str, Any] = orjson.loads(leaf)
        changes = found.get(told.get("pat", ""))
        if changes is None or told["act"] not in _CHANGES or told["out"] not in (Outcome.OK, Outcome.PARTIAL):
            return
        paths, cut = frozenset(told.get("chg", ())), "chg" in told.get("cut", ())
        if paths or cut or told["act"] == Act.CREATE:
            version = told["obj"][0]["ver"]
            by, at = told.get("who", {}).get("sub", ""), micros(told["t"])
            changes[told["id"]] = Change(told["id"], told["act"], version, None if cut else paths, by, at)
    except (ValueError, TypeError, KeyError, IndexError):
        return  # what such a leaf was about will be missing


async def log_size(fetch: Fetch) -> int:
    """How many events the log has."""
    rows = await fetch(_SIZE)
    return int(rows[0]["size"]) if rows else 0


async def nameless(fetch: Fetch, first: int, behind: int) -> int:
    """How many names, of patients whose creation stands in this stretch of the log, belong to no patient."""
    return len(await fetch(_NAMELESS, from_=first, to=behind))


async def erased(fetch: Fetch) -> int:
    """How many patients were erased whole: each has left one name behind in the log, and nobody knows which."""
    return int((await fetch(_ERASED))[0]["patients"])


# --- rows of nobody, epochs ------------------------------------------------------------------------------------------


async def strays(fetch: Fetch, after: str, until: str) -> list[tuple[str, str]]:
    """Table and patient id of rows whose patient is not there, among ids behind `after` up to `until`; some of many."""
    return [
        (table, row["patient_id"])
        for table, statement in _OF_NOBODY.items()
        for row in await fetch(statement, after=after, until=until)
    ]


async def missing(fetch: Fetch, chosen: Collection[str]) -> set[str]:
    """Those of the ids that have no clear row."""
    return set(chosen) - {row["id"] for row in await fetch(_THERE, ids=list(chosen))}


async def epochs(fetch: Fetch) -> dict[Name, int]:
    """How many live data keys say that they are under each epoch of each class."""
    return {(row["key_class"], row["epoch"]): row["keys"] for row in await fetch(_EPOCHS)}
