"""A patient's record as it is stored, still sealed, and the statements that load it. Opens nothing."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from itertools import chain
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, CompoundSelect, Select, and_, bindparam, null, select, true, union_all

from crm.catalogue import BY_NAME, CLASSES, Field, KeyClass
from crm.domain.superseding import MERGED
from crm.store.database import Fetch, Row
from crm.store.statements import Statement, any_of, prepare
from crm.store.tables import patient, patient_key, sealed_row

_BESIDE_EVERY_CLASS = frozenset({"provenance", "restricted"})

LIVE = "live"
SHREDDED = "shredded"
"""States of a data key."""

_NONE: frozenset[KeyClass] = frozenset()


@dataclass(slots=True)
class SealedRow:
    """One class of one patient: a box of sealed cells, its row seal, and the wrapped data key that opens them.

    Once the class was erased, box, seal and key are NULL, and nothing may read them: `key_state` says so.
    """

    version: int
    dek_no: int
    box: bytes
    seal: bytes
    provenance: str
    wrapped: bytes | None
    key_state: str


@dataclass(frozen=True, slots=True)
class Past:
    """What makes a record one of former times: the `present` one, and the `day` (YYYY-MM-DD) on which it is seen."""

    present: "Record"
    day: str


@dataclass(slots=True)
class Record:
    """The clear row of a patient and the sealed rows that were asked for; times are microseconds since 1970, UTC.

    `classes` are those in which the record has a sealed row, loaded or not. A record as it was (`past`) is only read.
    """

    org: str
    id: str
    version: int
    status: str
    restricted: bool
    audit_subject: str | None
    created_at: int
    updated_at: int
    classes: frozenset[KeyClass] = frozenset()
    rows: dict[KeyClass, SealedRow] = field(default_factory=dict)
    past: Past | None = None

    @property
    def guarded(self) -> bool:
        """Whether the record is restricted; one as it was also where it became so since."""
        return self.restricted or (self.past is not None and self.past.present.restricted)

    @property
    def erased(self) -> frozenset[KeyClass]:
        """Those of the loaded classes whose data key was destroyed on request."""
        for row in self.rows.values():
            if row.key_state == SHREDDED:
                return frozenset(key_class for key_class, row in self.rows.items() if row.key_state == SHREDDED)
        return _NONE

    @property
    def emptied(self) -> bool:
        """Whether one of the loaded rows has lost what it held although its data key is there: see `erasing`."""
        return any(not row.box and row.key_state == LIVE for row in self.rows.values())

    @property
    def vouched(self) -> bytes:
        """What every row seal vouches for besides its own row: the clear columns that nobody may edit unseen."""
        return orjson.dumps([self.status, self.restricted, self.audit_subject, self.created_at, sorted(self.classes)])

    @property
    def stored_classes(self) -> str:
        """The column `classes`: a JSON list, sorted."""
        return orjson.dumps(sorted(self.classes)).decode()


def sources(names: Iterable[str]) -> list[Field]:
    """The catalogue rows that hold what `names` need: a derived field needs the fields it is computed from."""
    found = chain.from_iterable(BY_NAME[name].derived_from or (name,) for name in names)
    return [BY_NAME[name] for name in dict.fromkeys(found)]


@lru_cache(maxsize=1024)
def classes_of(wanted: frozenset[str]) -> frozenset[KeyClass]:
    """The key classes that must be loaded to open the fields of these names.

    Provenance stands beside the cells of every class, and the restriction is believed only where a row vouches for it.
    """
    if not wanted.isdisjoint(_BESIDE_EVERY_CLASS):
        return frozenset(CLASSES)
    return frozenset(row.key_class for row in sources(wanted) if row.key_class is not None)


_CLEAR = [
    patient.c.id,
    patient.c.version,
    patient.c.status,
    patient.c.restricted,
    patient.c.audit_subject,
    patient.c.created_at,
    patient.c.updated_at,
    patient.c.classes,
]
_ROW = ("key_class", "version", "dek_no", "cells", "seal", "provenance")
_KEY = ("wrapped", "state")
_SEALED = [*(sealed_row.c[name] for name in _ROW), *(patient_key.c[name] for name in _KEY)]
"""Columns of the two joined tables; `_assemble` relies on the order."""

_IN_TURN = 1 + len(_SEALED)
_JOINED = len(_CLEAR) + len(_SEALED)
"""How wide the rows of the two forms are that bring sealed rows as well."""


@cache
def _select(classes: frozenset[KeyClass], single: bool) -> Statement:
    """One statement for one or many patients: the clear row and the sealed rows of just these classes."""
    many = _select(classes, single=False) if single else None
    here = _here(patient.c.org, patient.c.id, single)
    if not classes:
        return prepare(select(*_CLEAR).where(here), many=many)
    by_loops = _select_by_loops(sorted(classes)).where(here)
    return prepare(_select_in_turn(classes, single), postgresql=by_loops, many=many)


def _here(org: ColumnElement[str], id: ColumnElement[str], single: bool) -> ColumnElement[bool]:
    return and_(org == bindparam("org"), id == bindparam("id") if single else any_of(id, "ids"))


def _select_in_turn(classes: frozenset[KeyClass], single: bool) -> CompoundSelect[Any]:
    """For SQLite: the clear rows and then the sealed rows, each with the patient's id in front.

    Joined, every clear row would be copied for each of its classes: measured a quarter dearer.
    """
    key = and_(
        patient_key.c.org == bindparam("org"),
        patient_key.c.patient_id == sealed_row.c.patient_id,
        patient_key.c.key_class == sealed_row.c.key_class,
        patient_key.c.dek_no == sealed_row.c.dek_no,
    )
    rows = (
        select(sealed_row.c.patient_id, *_SEALED)
        .select_from(sealed_row.outerjoin(patient_key, key))
        .where(_here(sealed_row.c.org, sealed_row.c.patient_id, single))
    )
    if classes != frozenset(CLASSES):
        rows = rows.where(sealed_row.c.key_class.in_(sorted(classes)))
    return union_all(select(*_CLEAR, null()).where(_here(patient.c.org, patient.c.id, single)), rows)


def _select_by_loops(classes: Sequence[KeyClass]) -> Select[Any]:
    """For PostgreSQL: sealed rows beside their clear row, as loops over the primary keys and nothing else.

    A plan that was made while the tables were empty is kept; without the limits, which forbid to turn the loops into
    joins, it would go through all rows of the organisation for as long as nobody analysed the tables.
    """
    row = (
        select(*(column for column in sealed_row.c if column.name != "org"))
        .where(
            sealed_row.c.org == patient.c.org,
            sealed_row.c.patient_id == patient.c.id,
            sealed_row.c.key_class.in_(classes),
        )
        .limit(len(CLASSES))
        .lateral("sealed")
    )
    key = (
        select(patient_key.c.wrapped, patient_key.c.state)
        .where(
            patient_key.c.org == patient.c.org,
            patient_key.c.patient_id == patient.c.id,
            patient_key.c.key_class == row.c.key_class,
            patient_key.c.dek_no == row.c.dek_no,
        )
        .limit(1)
        .lateral("key")
    )
    columns = [*_CLEAR, *(row.c[name] for name in _ROW), *(key.c[name] for name in _KEY)]
    return select(*columns).select_from(patient.outerjoin(row, true()).outerjoin(key, true()))


_ACTIVE_IDS = prepare(
    select(patient.c.id)
    .where(patient.c.org == bindparam("org"), patient.c.id > bindparam("after"), patient.c.status == "active")
    .order_by(patient.c.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_THESE = select(patient.c.id).where(patient.c.org == bindparam("org"), any_of(patient.c.id, "ids"))
_LOCK = prepare(_THESE.order_by(patient.c.id).with_for_update())
_LOCK_UNMERGED = prepare(_THESE.where(patient.c.status != MERGED).order_by(patient.c.id).with_for_update())


_CLASSES = {key_class.value: key_class for key_class in KeyClass}


@cache
def _classes(stored: str) -> frozenset[KeyClass]:
    """The column `classes`, of which there are few different ones."""
    return frozenset(map(KeyClass, orjson.loads(stored)))


def _assemble(org: str, rows: Sequence[Row]) -> dict[str, Record]:
    """Records by id, from rows in any of the forms that `_select` gives: by position, since names cost more."""
    records: dict[str, Record] = {}
    clear, width = len(_CLEAR), len(tuple(rows[0])) if rows else 0
    for row in map(tuple, rows):
        patient_id = row[0]
        record = records.get(patient_id)
        if record is None:
            if width == _IN_TURN and row[1] in _CLASSES:
                continue  # a sealed row of nobody; had its clear row come late, the record would lack it, and not open
            _, version, status, restricted, subject, created_at, updated_at, classes = row[:clear]
            record = records[patient_id] = Record(
                org, patient_id, version, status, bool(restricted), subject, created_at, updated_at, _classes(classes)
            )
        elif width == _IN_TURN:
            record.rows[_CLASSES[row[1]]] = SealedRow(*row[2:])
        if width == _JOINED and (key_class := row[clear]) is not None:
            record.rows[_CLASSES[key_class]] = SealedRow(*row[clear + 1 :])
    return records


async def load(fetch: Fetch, org: str, ids: Collection[str], names: Iterable[str]) -> dict[str, Record]:
    """The records of `ids` in `org` by id, each with the classes that `names` need; unknown ids are absent."""
    classes = classes_of(frozenset(names))
    if len(ids) == 1:
        rows = await fetch(_select(classes, single=True), org=org, id=next(iter(ids)))
    else:
        rows = await fetch(_select(classes, single=False), org=org, ids=list(ids))
    return _assemble(org, rows)


async def load_locked(fetch: Fetch, org: str, ids: Collection[str], *, merged: bool = True) -> dict[str, Record]:
    """The same inside a transaction, whole and locked against other writers until it ends.

    With `merged` false those that were merged into others are not locked.
    """
    await fetch(_LOCK if merged else _LOCK_UNMERGED, org=org, ids=list(ids))
    return await load(fetch, org, ids, BY_NAME)


async def active_ids(fetch: Fetch, org: str, after: str, first: int) -> list[str]:
    """At most `first` ids of active patients behind `after`, ascending."""
    return [row["id"] for row in await fetch(_ACTIVE_IDS, org=org, after=after, rows=first)]
