"""Blind-index values on their way from one version of the index key to the next, patient by patient, under a lock.

Plaintext exists only inside one call, and goes nowhere but into the new values. The rows themselves say what is still
to be done, so a run that was killed goes on. Only older versions are ever replaced or removed.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, func, insert, select

from crm.audit.event import rfc3339
from crm.catalogue import INDEXES, Index
from crm.crypto.keyset import KeySet
from crm.errors import Erased, KeyDestroyed, Tampered, UnknownKey
from crm.store import record as records
from crm.store.database import Connection, Database, Row
from crm.store.opening import reveal
from crm.store.record import Record
from crm.store.statements import any_of, prepare
from crm.store.tables import blind_index, patient, source_record

__all__ = ["Page", "digests", "forget_digests", "forget_values", "page", "patients", "reindex", "values"]

_PAGE: Final = 2_000
"""Rows in one look. A patient has far fewer, so each look gets on."""

_B: Final = blind_index.c
_S: Final = source_record.c
_BY_CODE: Final = {index.code: index for index in INDEXES}

_VALUES: Final = prepare(
    select(_B.key_ver, func.count().label("rows")).where(_B.org == bindparam("org")).group_by(_B.key_ver)
)
_DIGESTS: Final = prepare(
    select(_S.key_ver, func.count().label("rows")).where(_S.org == bindparam("org")).group_by(_S.key_ver)
)
_PATIENTS: Final = prepare(
    select(func.count().label("patients")).select_from(patient).where(patient.c.org == bindparam("org"))
)
_STORED: Final = (_B.patient_id, _B.index_code, _B.key_ver)
_NEXT: Final = prepare(
    select(*_STORED)
    .where(_B.org == bindparam("org"), _B.patient_id > bindparam("after"))
    .order_by(_B.patient_id)
    .limit(_PAGE)
)
_LOCK: Final = prepare(
    select(patient.c.id)
    .where(patient.c.org == bindparam("org"), any_of(patient.c.id, "ids"))
    .order_by(patient.c.id)
    .with_for_update()
)
_INSERT: Final = prepare(insert(blind_index))
# From one patient to another in the order of their ids, and by the whole key: for anything else SQLite, which does not
# know how much there is, may walk through all values of the organisation.
_WHOLE: Final = ("index_code", "key_ver", "value", "patient_id", "row_id")
_BETWEEN: Final = prepare(
    select(*(_B[name] for name in _WHOLE))
    .where(_B.org == bindparam("org"), _B.patient_id >= bindparam("first"), _B.patient_id <= bindparam("last"))
    .order_by(_B.patient_id)
)
_DELETE: Final = prepare(
    delete(blind_index).where(_B.org == bindparam("org"), *(_B[name] == bindparam(name) for name in _WHOLE))
)
_OLD_DIGESTS: Final = prepare(
    select(_S.slot)
    .where(_S.org == bindparam("org"), _S.slot > bindparam("after"), _S.key_ver < bindparam("version"))
    .order_by(_S.slot)
    .limit(_PAGE)
)
_DELETE_DIGESTS: Final = prepare(
    delete(source_record).where(_S.org == bindparam("org"), any_of(_S.slot, "slots"), _S.key_ver < bindparam("version"))
)

_Stored = dict[str, dict[int, set[int]]]
"""By patient and index code the versions under which there are values."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is stored for the next patients in the order of their ids; `last` is empty behind the last one."""

    stored: _Stored
    last: str

    def lacking(self, version: int) -> list[str]:
        """Who has older values of an index, but none of that version."""
        return [one for one, codes in self.stored.items() if any(_lacks(found, version) for found in codes.values())]

    def superseded(self, version: int) -> list[str]:
        """Who has values of an index under that version, and older ones."""
        return [one for one, codes in self.stored.items() if any(_beside(found, version) for found in codes.values())]


def _lacks(found: set[int], version: int) -> bool:
    return version not in found and min(found) < version


def _beside(found: set[int], version: int) -> bool:
    return version in found and min(found) < version


async def values(database: Database, org: str) -> dict[int, int]:
    """How many index values are stored under each version of the index key."""
    return {row["key_ver"]: row["rows"] for row in await database.fetch(org, _VALUES)}


async def digests(database: Database, org: str) -> dict[int, int]:
    """How many digests of imported records are stored under each version of the index key."""
    return {row["key_ver"]: row["rows"] for row in await database.fetch(org, _DIGESTS)}


async def patients(database: Database, org: str) -> int:
    """How many patients an organisation has or had."""
    rows = await database.fetch(org, _PATIENTS)
    return int(rows[0]["patients"])


async def page(database: Database, org: str, after: str) -> Page:
    """The next patients behind the id `after` for whom there are index values."""
    rows = await database.fetch(org, _NEXT, after=after)
    stored = _gathered(rows)
    if len(rows) < _PAGE:
        return Page(stored, "")
    if len(stored) > 1:
        stored.popitem()  # perhaps not all of this patient's
    return Page(stored, next(reversed(stored)))


def _gathered(rows: Sequence[Row]) -> _Stored:
    stored: _Stored = {}
    for row in rows:
        stored.setdefault(row["patient_id"], {}).setdefault(row["index_code"], set()).add(row["key_ver"])
    return stored


async def _rows_of(connection: Connection, ids: Sequence[str]) -> list[Row]:
    """The values of these patients, who are neighbours or nearly so."""
    wanted = frozenset(ids)
    rows = await connection.fetch(_BETWEEN, first=min(ids), last=max(ids))
    return [row for row in rows if row["patient_id"] in wanted]


async def reindex(
    database: Database, keys: KeySet, org: str, version: int, ids: Sequence[str], now: int
) -> tuple[int, list[str]]:
    """Adds values under `version` for those of `ids` who have older ones only, in one transaction.

    Returns how many were added, and who could not be opened: their old values stay. Raises KeyUnavailable where this
    process lacks a class, and StoreUnavailable.
    """
    keys.check_age()
    added, failed = 0, []
    async with database.transaction(org) as connection:
        loaded = await records.load_locked(connection.fetch, org, ids)
        rows = await _rows_of(connection, ids)
        for patient_id, codes in _gathered(rows).items():
            lacking = [code for code, found in sorted(codes.items()) if _lacks(found, version)]
            try:
                terms = _terms(keys, loaded[patient_id], [_BY_CODE[code] for code in lacking], now)
            except (KeyError, Tampered, UnknownKey, KeyDestroyed):  # KeyError: an index that only a newer program has
                failed.append(patient_id)
                continue
            unwanted = {index.code for index, wanted in terms.items() if not wanted}
            if unwanted:  # values that nothing in the record asks for any more
                await _remove(connection, org, version, rows, {patient_id: unwanted})
            added += await _add(connection, keys, loaded[patient_id], terms, version)
    return added, failed


def _terms(keys: KeySet, record: Record, indexes: Iterable[Index], now: int) -> dict[Index, set[bytes]]:
    """The terms of each index, as a change of the record would find them; none where its class was erased."""
    day = rfc3339(now)[:10]
    found: dict[Index, set[bytes]] = {}
    for index in indexes:
        try:
            opened = reveal(keys, record, index.fields, day)
        except Erased:
            opened = {}
        found[index] = index.terms({name: value for name, value in opened.items() if value is not None})
    return found


async def _add(
    connection: Connection, keys: KeySet, record: Record, terms: Mapping[Index, Collection[bytes]], version: int
) -> int:
    rows: list[dict[str, Any]] = []
    for index, wanted in terms.items():
        hashed = {keys.index_value(record.org, index.name, index.bits, term, version) for term in wanted}
        place = {"index_code": index.code, "key_ver": version, "patient_id": record.id, "row_id": record.id}
        rows += ({"org": record.org, **place, "value": value} for value in sorted(hashed))
    if rows:
        await connection.execute_many(_INSERT, rows)
    return len(rows)


async def forget_values(database: Database, org: str, version: int, ids: Sequence[str]) -> None:
    """Removes these patients' values of older versions wherever there are some of `version`."""
    async with database.transaction(org) as connection:
        await connection.fetch(_LOCK, ids=list(ids))  # in the order in which every writer locks
        rows = await _rows_of(connection, ids)
        superseded = {
            patient_id: {code for code, found in codes.items() if _beside(found, version)}
            for patient_id, codes in _gathered(rows).items()
        }
        await _remove(connection, org, version, rows, superseded)


async def _remove(
    connection: Connection, org: str, version: int, rows: Sequence[Row], codes: Mapping[str, Collection[int]]
) -> None:
    """Removes those of `rows` that are of older versions, and of these indexes of these patients."""
    gone = [
        {"org": org, **dict(zip(_WHOLE, row, strict=True))}
        for row in rows
        if row["key_ver"] < version and row["index_code"] in codes.get(row["patient_id"], ())
    ]
    if gone:
        await connection.execute_many(_DELETE, gone)


async def forget_digests(database: Database, org: str, version: int, after: bytes) -> bytes:
    """Removes the next digests of imported records behind the slot `after` that an older version made.

    Returns the last slot that was removed, empty when there was none.
    """
    slots = [bytes(row["slot"]) for row in await database.fetch(org, _OLD_DIGESTS, after=after, version=version)]
    if not slots:
        return b""
    async with database.transaction(org) as connection:
        await connection.execute(_DELETE_DIGESTS, slots=slots, version=version)
    return slots[-1]
