"""How a change of a record becomes rows: new envelopes, row seals, data keys, search values, history, the outbox entry.

Everything is collected in `Writes` and flushed table by table, so that many imported patients cost few statements.
Nothing here decides who may change what, or which version was expected.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import bindparam, delete, insert, update
from uuid_utils import uuid7

from crm.audit.event import rfc3339
from crm.catalogue import BY_NAME, CLASSES, INDEXES, Index, KeyClass
from crm.crypto.box import pack
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.domain.superseding import MERGED
from crm.store import history
from crm.store.codec import encode
from crm.store.database import Connection
from crm.store.feed import ChangeKind
from crm.store.history import Maker
from crm.store.opening import reveal, unlock
from crm.store.provenance import Source, confirmed, noted, unheard
from crm.store.record import LIVE, SHREDDED, Record, SealedRow
from crm.store.statements import prepare
from crm.store.tables import blind_index, outbox, patient, patient_key, sealed_row, sealed_version

FIRST_KEY = 1

_Unlocked = tuple[DataKey, dict[int, bytes], bytes | None]
"""A data key, the cells it opens by field number, and the key as it is stored."""

_INSERT_PATIENT = prepare(insert(patient))
_INSERT_KEY = prepare(insert(patient_key))
_INSERT_SEALED = prepare(insert(sealed_row))
_INSERT_SUPERSEDED = prepare(insert(sealed_version))
_INSERT_INDEX = prepare(insert(blind_index))
_INSERT_OUTBOX = prepare(insert(outbox))
_VERSIONED = ("version", "status", "restricted", "classes", "updated_at", "merged_into")
_UPDATE_PATIENT = prepare(
    update(patient)
    .where(patient.c.org == bindparam("org"), patient.c.id == bindparam("id_"))
    .values({name: bindparam(name) for name in _VERSIONED})
)
_UPDATE_SEALED = prepare(
    update(sealed_row)
    .where(
        sealed_row.c.org == bindparam("org"),
        sealed_row.c.patient_id == bindparam("id_"),
        sealed_row.c.key_class == bindparam("key_class"),
    )
    .values(
        version=bindparam("version"),
        cells=bindparam("cells"),
        seal=bindparam("seal"),
        provenance=bindparam("provenance"),
        dek_no=bindparam("dek_no"),
    )
)
_DELETE_INDEX = prepare(
    delete(blind_index).where(
        blind_index.c.org == bindparam("org"),
        # Put like this, because SQLite would else walk through all values of that index.
        blind_index.c.patient_id >= bindparam("id_"),
        blind_index.c.patient_id <= bindparam("id_"),
        blind_index.c.index_code + 0 == bindparam("code_"),
    )
)


@dataclass(slots=True)
class Writes:
    """Rows that wait for the end of the unit of work, in the order in which foreign keys allow them."""

    patients: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    sealed: list[dict[str, Any]] = field(default_factory=list)
    superseded: list[dict[str, Any]] = field(default_factory=list)
    resealed: list[dict[str, Any]] = field(default_factory=list)
    stale_terms: list[dict[str, Any]] = field(default_factory=list)
    terms: list[dict[str, Any]] = field(default_factory=list)
    described: list[dict[str, Any]] = field(default_factory=list)
    outbox: list[dict[str, Any]] = field(default_factory=list)

    async def flush(self, connection: Connection) -> None:
        """Writes everything inside the caller's transaction, one statement per table."""
        for statement, rows in (
            (_INSERT_PATIENT, self.patients),
            (_UPDATE_PATIENT, self.versions),
            (_INSERT_KEY, self.keys),
            (_INSERT_SEALED, self.sealed),
            (_INSERT_SUPERSEDED, self.superseded),
            (_UPDATE_SEALED, self.resealed),
            (_DELETE_INDEX, self.stale_terms),
            (_INSERT_INDEX, self.terms),
            (history.INSERT, self.described),
            (_INSERT_OUTBOX, self.outbox),
        ):
            if rows:
                await connection.execute_many(statement, rows)
                rows.clear()


def new_record(org: str, patient_id: str, audit_subject: str, now: int) -> Record:
    """A record that is not stored yet: version 0 and no sealed rows."""
    return Record(org, patient_id, 0, "active", False, audit_subject, now, now)


class Turn(NamedTuple):
    """What a change is besides its values: what others are told of it, and the status of the record (None: as before).

    With `takes_back` entries may leave a list that is only appended to: those that a merge appended, and nobody else.
    The new version is greater than `above`: no number that was seen under one of two ids means another record later.
    """

    kind: ChangeKind = ChangeKind.CHANGED
    status: str | None = None
    takes_back: bool = False
    above: int = 0


_ORDINARY: Final = Turn()


def apply(
    keys: KeySet,
    writes: Writes,
    record: Record,
    values: Mapping[str, Any],
    source: Source,
    turn: Turn = _ORDINARY,
) -> list[str]:
    """Puts the new record's rows into `writes`, advances `record` to it, and names the fields that really changed.

    `values` maps catalogue names to canonical values (None clears). Fields whose value stays the same are left alone;
    when nothing changes, nothing is written and the version stays. Who speaks from now on for what a lower voice said,
    and whose other word is remembered, is a change of `provenance`. Raises `ValueError` where less than was there would
    be left of a field that is only appended to, whoever asks for it.
    """
    keys.check_age()
    on = rfc3339(source.recorded_at)[:10]
    turned = turn.status not in (None, record.status)
    affected = [index for index in INDEXES if turned or not values.keys().isdisjoint(index.fields)]
    needed = set(values) | {name for index in affected for name in index.fields}
    before = reveal(keys, record, needed, on)
    changed = [name for name, value in values.items() if before.get(name) != value]
    if not turn.takes_back:
        _require_appended(before, values, changed)
    same = confirmed(record, values.keys() - set(changed), source)
    heard = unheard(record, source)
    if not (changed or same or heard) and record.version:
        return []
    created = record.version == 0
    record.version = max(record.version, turn.above) + 1
    record.updated_at = max(source.recorded_at, record.updated_at)  # clocks of replicas differ, versions go on
    after = {**before, **{name: values[name] for name in changed}}
    given = {name: values[name] for name in (*changed, *same)}
    _reseal_all(keys, writes, record, given, source, heard, turn.status or record.status)
    for index in affected:
        if created or turned or not set(changed).isdisjoint(index.fields):
            _reindex(keys, writes, record, index, after, fresh=created)
    _write_clear_row(writes, record, created, values.get("merged_into"))
    changed += ["provenance"] if same or heard else []
    announce(writes, record, changed, source.maker, turn.kind)
    return changed


def _require_appended(before: Mapping[str, Any], values: Mapping[str, Any], changed: Iterable[str]) -> None:
    for name in changed:
        if BY_NAME[name].append_only:
            old = before.get(name) or []
            if (values[name] or [])[: len(old)] != old:
                raise ValueError(f"{name} is only appended to")


def announce(
    writes: Writes, record: Record, changed: Iterable[str], maker: Maker, kind: ChangeKind = ChangeKind.CHANGED
) -> None:
    """Tells history and, through the outbox, others that the record's new version changed fields of these names.

    Never which values they have. Each new version is announced, and once.
    """
    writes.described.append(history.row(record, changed, maker))
    writes.outbox.append(
        {
            "id": str(uuid7()),
            "org": record.org,
            "patient_id": record.id,
            "version": record.version,
            "changed": orjson.dumps(sorted(changed)).decode(),
            "created_at": record.updated_at,
            "kind": kind.value,
        }
    )


def _write_clear_row(writes: Writes, record: Record, created: bool, merged_into: str | None) -> None:
    if created:
        writes.patients.append(
            {
                "org": record.org,
                "id": record.id,
                "version": record.version,
                "status": record.status,
                "restricted": int(record.restricted),
                "audit_subject": record.audit_subject,
                "classes": record.stored_classes,
                "created_at": record.created_at,
                "updated_at": record.updated_at,
                "merged_into": None,
            }
        )
    else:
        writes.versions.append(
            {
                "org": record.org,
                "id_": record.id,
                "version": record.version,
                "status": record.status,
                "restricted": int(record.restricted),
                "classes": record.stored_classes,
                "updated_at": record.updated_at,
                "merged_into": merged_into,
            }
        )


def _reseal_all(
    keys: KeySet,
    writes: Writes,
    record: Record,
    values: Mapping[str, Any],
    source: Source,
    heard: frozenset[KeyClass],
    status: str,
) -> None:
    """Seals the rows of every class whose cells or notes change.

    All rows when the clear row changes that they vouch for; `heard` are classes of which notes change besides.
    """
    by_class = {
        key_class: {name: value for name, value in values.items() if BY_NAME[name].key_class is key_class}
        for key_class in CLASSES
    }
    filled = {key_class for key_class, cells in by_class.items() if cells}
    restricted, classes = bool(values.get("restricted", record.restricted)), record.classes | filled
    if (restricted, classes, status) != (record.restricted, record.classes, record.status):
        filled |= classes - record.erased
    filled |= heard
    # Opened before the record changes: the present seals vouch for the present record.
    opened = {key_class: _unlocked(keys, writes, record, key_class) for key_class in sorted(filled)}
    record.restricted, record.classes, record.status = restricted, classes, status
    for key_class, unlocked in opened.items():
        _reseal(writes, record, unlocked, by_class[key_class], source)


def _reseal(writes: Writes, record: Record, unlocked: _Unlocked, values: Mapping[str, Any], source: Source) -> None:
    """Seals the changed cells of one class, and the row as a whole."""
    key, cells, wrapped = unlocked
    old = record.rows.get(key.key_class)
    spoken = dict.fromkeys(BY_NAME[name].group for name in values)
    notes = noted(orjson.loads(old.provenance) if old else {}, spoken, source)
    for name, value in values.items():
        entry = BY_NAME[name]
        if value is None:
            cells.pop(entry.number, None)
        else:
            cells[entry.number] = key.seal(entry, encode(entry, value))
    provenance = orjson.dumps(notes, option=orjson.OPT_SORT_KEYS).decode()
    seal = key.seal_row(record.version, cells, provenance.encode(), record=record.vouched)
    row = SealedRow(record.version, key.dek_no, pack(cells), seal, provenance, wrapped, LIVE)
    record.rows[key.key_class] = row
    place = {"org": record.org, "key_class": key.key_class.value, "dek_no": row.dek_no}
    stored = {"version": row.version, "cells": row.box, "seal": row.seal, "provenance": row.provenance}
    if old is None:
        writes.sealed.append({**place, "patient_id": record.id, **stored})
    else:
        writes.superseded.append(_as_it_was(record, key.key_class, old))
        writes.resealed.append({**place, "id_": record.id, **stored})


def _as_it_was(record: Record, key_class: KeyClass, row: SealedRow) -> dict[str, Any]:
    """The row that a new one replaces, for history; without content where that was erased."""
    erased = row.key_state == SHREDDED
    return {
        "org": record.org,
        "patient_id": record.id,
        "key_class": key_class.value,
        "version": row.version,
        "dek_no": row.dek_no,
        "cells": None if erased else row.box,
        "seal": None if erased else row.seal,
        "provenance": row.provenance,
    }


def _unlocked(keys: KeySet, writes: Writes, record: Record, key_class: KeyClass) -> _Unlocked:
    """The data key of one class with its present cells and its wrapped form; a new one where there is none.

    A class that was erased and is filled again gets the next number: the key that was destroyed stays so.
    """
    erased = record.erased
    if key_class in record.classes - erased:
        return *unlock(keys, record, key_class), record.rows[key_class].wrapped
    no = record.rows[key_class].dek_no + 1 if key_class in erased else FIRST_KEY
    key, new = keys.new_data_key(record.org, record.id, key_class, no)
    writes.keys.append(
        {
            "org": record.org,
            "patient_id": record.id,
            "key_class": key_class.value,
            "dek_no": no,
            "epoch": new.epoch,
            "wrapped": new.wrapped,
            "state": LIVE,
            "created_at": record.updated_at,
            "shredded_at": None,
        }
    )
    return key, {}, new.wrapped


def _reindex(
    keys: KeySet, writes: Writes, record: Record, index: Index, values: Mapping[str, Any], *, fresh: bool
) -> None:
    """Replaces the record's terms of one blind index; a record that was merged into another is not found any more."""
    if not fresh:
        writes.stale_terms.append({"org": record.org, "id_": record.id, "code_": index.code})
    present = {name: value for name, value in values.items() if value is not None}
    # Two terms may share a truncated value; the row is then needed once.
    hashed = {
        (version, keys.index_value(record.org, index.name, index.bits, term, version))
        for version in keys.index_versions_written()
        for term in (index.terms(present) if record.status != MERGED else ())
    }
    writes.terms.extend(
        {
            "org": record.org,
            "index_code": index.code,
            "key_ver": version,
            "value": value,
            "patient_id": record.id,
            "row_id": record.id,
        }
        for version, value in sorted(hashed)
    )
