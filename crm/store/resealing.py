"""A patient's cells under a new data key: opened, sealed again, and the old key shredded, all in one transaction.

The record says the same afterwards, under the same version, and so does each of its former versions, which go along.
Decides nothing about whose turn it is.

Keys of details (`crm.store.details`) are left: the log has the digest of what they sealed, which can only be destroyed.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import bindparam, func, insert, select, update

from crm.catalogue import CLASSES, KeyClass
from crm.crypto.box import pack
from crm.crypto.data_key import DataKey
from crm.crypto.detail import FIRST_KEY
from crm.crypto.keyset import KeySet
from crm.errors import KeyDestroyed, Tampered, UnknownKey
from crm.store import past
from crm.store import record as records
from crm.store.database import Connection, Database
from crm.store.opening import unlock
from crm.store.record import LIVE, SHREDDED, Record
from crm.store.statements import prepare
from crm.store.tables import patient_key, sealed_row, sealed_version

__all__ = ["count", "is_older", "older", "reseal"]

_PAGE: Final = 500

_K: Final = patient_key.c
_R: Final = sealed_row.c
_OLDER: Final = (
    _K.org == bindparam("org"),
    _K.state == LIVE,
    _K.created_at < bindparam("before"),
    _K.dek_no < FIRST_KEY,
)
_NEXT: Final = prepare(
    select(_K.patient_id).where(*_OLDER, _K.patient_id > bindparam("after")).order_by(_K.patient_id).limit(_PAGE)
)
_COUNT: Final = prepare(select(func.count(_K.patient_id.distinct()).label("patients")).where(*_OLDER))
_OF_PATIENT: Final = prepare(select(_K.key_class, _K.dek_no).where(*_OLDER, _K.patient_id == bindparam("patient")))
_INSERT_KEY: Final = prepare(insert(patient_key))
_SHRED: Final = prepare(
    update(patient_key)
    .where(
        _K.org == bindparam("org"),
        _K.patient_id == bindparam("patient"),
        _K.key_class == bindparam("class_"),
        _K.dek_no == bindparam("number"),
        _K.state == LIVE,
    )
    .values(state=SHREDDED, wrapped=None, shredded_at=bindparam("at"))
)
_RESEAL: Final = prepare(
    update(sealed_row)
    .where(
        _R.org == bindparam("org"),
        _R.patient_id == bindparam("patient"),
        _R.key_class == bindparam("class_"),
        _R.dek_no == bindparam("old"),
    )
    .values(dek_no=bindparam("number"), cells=bindparam("cells"), seal=bindparam("seal"))
)
_F: Final = sealed_version.c
_RESEAL_FORMER: Final = prepare(
    update(sealed_version)
    .where(
        _F.org == bindparam("org"),
        _F.patient_id == bindparam("patient"),
        _F.key_class == bindparam("class_"),
        _F.version == bindparam("of_version"),
        _F.dek_no == bindparam("old"),
    )
    .values(dek_no=bindparam("number"), cells=bindparam("cells"), seal=bindparam("seal"))
)


async def older(database: Database, org: str, before: int, after: str) -> list[str]:
    """The next ids behind `after`, ascending, of patients with a live data key that was made before that time."""
    rows = await database.fetch(org, _NEXT, before=before, after=after)
    return list(dict.fromkeys(row["patient_id"] for row in rows))


async def is_older(database: Database, org: str, before: int, patient_id: str) -> bool:
    """Whether this patient is one of them."""
    return bool(await database.fetch(org, _OF_PATIENT, patient=patient_id, before=before))


async def count(database: Database, org: str, before: int) -> int:
    """How many they are."""
    rows = await database.fetch(org, _COUNT, before=before)
    return int(rows[0]["patients"])


async def reseal(database: Database, keys: KeySet, org: str, patient_id: str, before: int, now: int) -> tuple[int, int]:
    """Gives one patient a new data key for each class whose key was made before that time.

    Returns how many classes were sealed anew, and how many could not be and are as they were: they do not authenticate,
    or hold a field that only a newer program knows. Raises KeyUnavailable where this process lacks a class, and
    StoreUnavailable.
    """
    keys.check_age()
    done = failed = 0
    async with database.transaction(org) as connection:
        record = (await records.load_locked(connection.fetch, org, [patient_id])).get(patient_id)
        if record is None:
            return 0, 0
        due = {tuple(row) for row in await connection.fetch(_OF_PATIENT, patient=patient_id, before=before)}
        former = await past.former(connection.fetch, record)
        for key_class, row in record.rows.items():
            if row.key_state != LIVE or (key_class.value, row.dek_no) not in due:
                continue
            try:
                changes = _changes(keys, [record, *former.get(key_class, ())], key_class, now)
            except (KeyError, Tampered, UnknownKey, KeyDestroyed):  # KeyError: a field that only a newer program knows
                failed += 1
                continue
            await _store(connection, changes)
            done += 1
    return done, failed


def _changes(keys: KeySet, versions: Sequence[Record], key_class: KeyClass, now: int) -> dict[str, Any]:
    """The parameters of the statements that exchange the data key of one class, in the present version and all others.

    The present one is the first of `versions`. None of them is exchanged where one cannot be.
    """
    present = versions[0]
    number = present.rows[key_class].dek_no + 1
    fresh, new = keys.new_data_key(present.org, present.id, key_class, number)
    # The old key is about to be shredded: the new one has to prove itself as it will be stored.
    again = keys.data_key(present.org, present.id, key_class, number, new.wrapped)
    sealed = [_sealed(keys, record, key_class, fresh, again) for record in versions]
    return {
        "place": {"patient": present.id, "class_": key_class.value},
        "old": present.rows[key_class].dek_no, "number": number, "epoch": new.epoch, "wrapped": new.wrapped,
        "present": sealed[0], "former": sealed[1:], "at": now,
    }  # fmt: skip


def _sealed(keys: KeySet, record: Record, key_class: KeyClass, fresh: DataKey, again: DataKey) -> dict[str, Any]:
    """The cells and the row seal of one version under `fresh`, after `again`, which is the same key, believed them."""
    row, vouched = record.rows[key_class], record.vouched
    key, cells = unlock(keys, record, key_class, vouched)
    fields = {field.number: field for field in CLASSES[key_class]}
    sealed = {at: fresh.seal(fields[at], key.open(fields[at], cell)) for at, cell in cells.items()}
    seal = fresh.seal_row(row.version, sealed, row.provenance.encode(), record=vouched)
    again.verify_row(seal, row.version, sealed, row.provenance.encode(), record=vouched)
    return {"of_version": row.version, "cells": pack(sealed), "seal": seal}


async def _store(connection: Connection, changes: Mapping[str, Any]) -> None:
    """The new key first: cells are only ever stored beside a live one."""
    place, old, number = changes["place"], changes["old"], changes["number"]
    await connection.execute(
        _INSERT_KEY,
        patient_id=place["patient"],
        key_class=place["class_"],
        dek_no=number,
        epoch=changes["epoch"],
        wrapped=changes["wrapped"],
        state=LIVE,
        created_at=changes["at"],
        shredded_at=None,
    )
    present = {name: changes["present"][name] for name in ("cells", "seal")}
    await connection.execute(_RESEAL, **place, old=old, number=number, **present)
    if changes["former"]:
        rows = [{**place, "old": old, "number": number, **former} for former in changes["former"]]
        await connection.execute_many(_RESEAL_FORMER, rows)
    await connection.execute(_SHRED, **place, number=old, at=changes["at"])
