"""A record as it was in one of its versions: its sealed rows of then, under the clear row of then. Opens nothing.

In each class the row holds that is the newest of those not newer than the version. Its row seal vouches for the clear
row of that version: whatever changes that row seals all others anew.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import BigInteger, ColumnElement, Table, and_, bindparam, func, or_, select, union_all

from crm.audit.event import rfc3339
from crm.catalogue import KeyClass
from crm.store import history
from crm.store.database import Fetch
from crm.store.history import Version
from crm.store.record import Past, Record, SealedRow
from crm.store.statements import any_of, prepare
from crm.store.tables import patient_key, sealed_row, sealed_version

__all__ = ["Rows", "all_of", "as_it_was", "former", "rows"]

Rows = Sequence[tuple[KeyClass, SealedRow]]
"""Sealed rows of one patient, of several classes and versions."""

_ROW: Final = ("key_class", "version", "dek_no", "cells", "seal", "provenance")
_HIGH: Final = bindparam("high", type_=BigInteger)
_LOW: Final = bindparam("low", type_=BigInteger)


def _here(table: Any) -> ColumnElement[bool]:
    return and_(
        table.c.org == bindparam("org"),
        table.c.patient_id == bindparam("patient"),
        any_of(table.c.key_class, "classes"),
    )


def _of(table: Table, *where: ColumnElement[bool]) -> Any:
    return select(*(table.c[name] for name in _ROW)).where(_here(table), table.c.version <= _HIGH, *where)


def _statement() -> Any:
    """The rows of all versions from `low` to `high`: what was replaced in between, and what held at `low` already."""
    older = sealed_version.alias("older")
    held = (
        select(func.max(older.c.version))
        .where(
            older.c.org == bindparam("org"),
            older.c.patient_id == bindparam("patient"),
            older.c.key_class == sealed_version.c.key_class,
            older.c.version <= _LOW,
        )
        .scalar_subquery()
    )
    replaced = _of(sealed_version, or_(sealed_version.c.version > _LOW, sealed_version.c.version == held))
    found = union_all(_of(sealed_row), replaced).subquery("found")
    key = and_(
        patient_key.c.org == bindparam("org"),
        patient_key.c.patient_id == bindparam("patient"),
        patient_key.c.key_class == found.c.key_class,
        patient_key.c.dek_no == found.c.dek_no,
    )
    return select(*(found.c[name] for name in _ROW), patient_key.c.wrapped, patient_key.c.state).select_from(
        found.outerjoin(patient_key, key)
    )


_ROWS: Final = prepare(_statement())


async def rows(
    fetch: Fetch, org: str, patient_id: str, classes: Collection[KeyClass], versions: Collection[int]
) -> Rows:
    """The sealed rows of these classes that hold in any of the versions; one statement, so that they fit together."""
    span = {"low": min(versions), "high": max(versions)}
    found = await fetch(_ROWS, org=org, patient=patient_id, classes=sorted(classes), **span)
    return [(KeyClass(row["key_class"]), SealedRow(*tuple(row)[1:])) for row in found]


_FORMER: Final = prepare(
    select(*(sealed_version.c[name] for name in _ROW))
    .where(sealed_version.c.org == bindparam("org"), sealed_version.c.patient_id == bindparam("patient"))
    .order_by(sealed_version.c.key_class, sealed_version.c.version)
)


_ALL: Final = prepare(
    select(sealed_version.c.patient_id, *(sealed_version.c[name] for name in _ROW)).where(
        sealed_version.c.org == bindparam("org"), any_of(sealed_version.c.patient_id, "ids")
    )
)


async def all_of(fetch: Fetch, org: str, ids: Collection[str]) -> list[tuple[str, str, SealedRow]]:
    """Every former row of these patients, without its data key, behind their id and what stands as its class."""
    found = []
    for stored in await fetch(_ALL, org=org, ids=list(ids)):
        patient_id, key_class, version, dek_no, cells, seal, provenance = tuple(stored)
        found.append((patient_id, key_class, SealedRow(version, dek_no, cells, seal, provenance, None, "")))
    return found


async def former(fetch: Fetch, record: Record) -> dict[KeyClass, list[Record]]:
    """For each class, the record as it was where a former row of it began to hold, with just that row.

    Only of rows that the present data key opens; `record` is locked and whole. A row from before history is put under
    the first version that is described, in which it still held; and one that no version fits, under the present one.
    """
    told = await history.page(fetch, record.org, record.id, record.version + 1, record.version)
    ascending = sorted(told, key=lambda version: version.version)
    found: dict[KeyClass, list[Record]] = {}
    for stored in await fetch(_FORMER, org=record.org, patient=record.id):
        key_class = KeyClass(stored["key_class"])
        now = record.rows.get(key_class)
        if now is None or stored["dek_no"] != now.dek_no or stored["cells"] is None:  # what was erased
            continue
        version_of_row, dek_no, cells, seal, provenance = tuple(stored)[1:]
        row = SealedRow(version_of_row, dek_no, cells, seal, provenance, now.wrapped, now.key_state)
        version = next((each for each in ascending if each.version >= row.version), None)
        if version is None:
            then = replace(record, rows={key_class: row})
        else:
            then = as_it_was(record, version, [(key_class, row)])
        found.setdefault(key_class, []).append(then)
    return found


def as_it_was(present: Record, version: Version, known: Rows, day: str | None = None) -> Record:
    """The record in that version, made of `rows`; seen on `day` (YYYY-MM-DD), by default the version's first.

    A patient's name in the log and the time of registration are the same in all versions.
    """
    held: dict[KeyClass, SealedRow] = {}
    for key_class, row in known:
        if row.version <= version.version and (key_class not in held or held[key_class].version < row.version):
            held[key_class] = row
    return replace(
        present,
        version=version.version,
        status=version.status,
        restricted=version.restricted,
        classes=version.classes,
        updated_at=version.at,
        rows=held,
        past=Past(present, day or rfc3339(version.at)[:10]),
    )
