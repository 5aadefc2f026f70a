"""Data keys on their way from one epoch to the next: counts, batches, and the end of transactions begun before.

The predicate is the cursor: what is still under the old epoch is what remains to be done, however often a run was
killed and whoever else is at it. Decides nothing about when.
"""

import asyncio
import time
from collections.abc import Collection
from typing import Final

from sqlalchemy import BigInteger, and_, bindparam, func, literal, not_, or_, select, update

from crm.catalogue import KeyClass
from crm.crypto.keyset import KeySet
from crm.errors import Tampered, UnknownKey
from crm.store.database import NO_ORG, Database
from crm.store.record import LIVE
from crm.store.statements import any_of, prepare
from crm.store.tables import epoch_floor, patient_key

__all__ = ["data_keys", "forbid", "rewrap", "settled", "under_epoch"]

_K: Final = patient_key.c
_EACH: Final = 0.05
_LONGEST: Final = 60.0
"""Seconds to wait for other transactions at most: the service's own do not last so long, and others do not matter."""

_HORIZON: Final = prepare(
    select(literal(0).label("oldest"), literal(0).label("next")),
    postgresql=select(
        func.txid_snapshot_xmin(func.txid_current_snapshot()).label("oldest"),
        func.txid_snapshot_xmax(func.txid_current_snapshot()).label("next"),
    ),
)
_COUNTS: Final = prepare(
    select(_K.key_class, _K.epoch, func.count().label("keys"))
    .where(_K.org == bindparam("org"), _K.state == LIVE)
    .group_by(_K.key_class, _K.epoch)
)
_HERE: Final = and_(_K.org == bindparam("org"), _K.key_class == bindparam("class_"), _K.state == LIVE)
# By column and by what the wrapped key itself says (`crm/crypto/wrapping.py`): an edited column must not hide a key.
_UNDER: Final = prepare(
    select(func.count().label("keys")).where(
        _HERE, or_(_K.epoch == bindparam("epoch"), func.substr(_K.wrapped, 3, 4) == bindparam("header"))
    )
)
_FORBID: Final = prepare(
    update(epoch_floor)
    .where(epoch_floor.c.key_class == bindparam("class_"), epoch_floor.c.no < bindparam("epoch"))
    .values(no=bindparam("epoch"))
)
_BATCH: Final = prepare(
    select(_K.patient_id, _K.dek_no, _K.wrapped)
    .where(_HERE, _K.epoch == bindparam("epoch"), not_(any_of(_K.patient_id, "skipped")))
    .limit(bindparam("rows", type_=BigInteger))
    .with_for_update(skip_locked=True)
)
_MOVE: Final = prepare(
    update(patient_key)
    .where(
        _K.org == bindparam("org"),
        _K.patient_id == bindparam("patient"),
        _K.key_class == bindparam("class_"),
        _K.dek_no == bindparam("number"),
        _K.epoch + 0 == bindparam("old"),  # computed, so that PostgreSQL finds the row by its primary key
        _K.state == LIVE,
    )
    .values(epoch=bindparam("epoch"), wrapped=bindparam("wrapped"))
)


async def data_keys(database: Database, org: str) -> dict[tuple[str, int], int]:
    """How many live data keys an organisation has, by class and epoch."""
    return {(row["key_class"], row["epoch"]): row["keys"] for row in await database.fetch(org, _COUNTS)}


async def under_epoch(database: Database, org: str, key_class: KeyClass, epoch: int) -> int:
    """How many live data keys of a class say, in their column or in themselves, that they are under this epoch."""
    asked = {"class_": key_class.value, "epoch": epoch, "header": epoch.to_bytes(4)}
    rows = await database.fetch(org, _UNDER, **asked)
    return int(rows[0]["keys"])


async def forbid(database: Database, key_class: KeyClass, epoch: int) -> None:
    """From now on no data key of a class can be stored under this epoch or an older one, by any process.

    Returns once every transaction that has stored one is over, and so can be counted. Raises StoreUnavailable.
    """
    async with database.transaction(NO_ORG) as connection:
        await connection.execute(_FORBID, class_=key_class.value, epoch=epoch)


async def rewrap(
    database: Database,
    keys: KeySet,
    org: str,
    key_class: KeyClass,
    epoch: int,
    *,
    limit: int,
    skipped: Collection[str] = (),
) -> tuple[int, list[str]]:
    """Wraps at most `limit` live data keys of `epoch` under the active one, in one transaction.

    Returns how many were moved, and the ids of patients whose data key could not be opened: give those as `skipped`
    next time. Keys that somebody else holds locked are passed over. Raises KeyUnavailable, StoreUnavailable.
    """
    keys.check_age()
    moved: list[dict[str, object]] = []
    failed: list[str] = []
    async with database.transaction(org) as connection:
        asked = {"class_": key_class.value, "epoch": epoch, "skipped": sorted(skipped), "rows": limit}
        for row in await connection.fetch(_BATCH, **asked):
            try:
                new = keys.rewrap(org, row["patient_id"], key_class, row["dek_no"], bytes(row["wrapped"]))
            except (Tampered, UnknownKey):
                failed.append(row["patient_id"])
                continue
            named = {"patient": row["patient_id"], "class_": key_class.value, "number": row["dek_no"], "old": epoch}
            moved.append({**named, "epoch": new.epoch, "wrapped": new.wrapped})
        if moved:
            await connection.execute_many(_MOVE, moved)
    return len(moved), failed


async def settled(database: Database) -> None:
    """Returns once every transaction that had begun before has ended. Raises StoreUnavailable.

    On SQLite that is a turn at the one writer.
    """
    if database.dialect == "sqlite":
        async with database.transaction(NO_ORG):
            return
    # A transaction has no number before it first writes, which it does right after it looked at its keys.
    await asyncio.sleep(_EACH)
    begun = await database.fetch(NO_ORG, _HORIZON)
    until = time.monotonic() + _LONGEST
    while time.monotonic() < until:
        now = await database.fetch(NO_ORG, _HORIZON)
        if now[0]["oldest"] >= begun[0]["next"]:
            return
        await asyncio.sleep(_EACH)
