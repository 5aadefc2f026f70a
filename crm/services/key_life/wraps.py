"""Rotation of the keys that wrap data keys, class by class: a new epoch, then every data key under it.

No field is opened and no record changes. It bounds how long an erased patient can still be read from an old copy.
"""

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from crm.catalogue import KeyClass
from crm.crypto.aead import Alg
from crm.crypto.stored_key import new_wrap_key, unwrapped
from crm.errors import KeyUnavailable
from crm.services.key_life import roots
from crm.services.key_life.custodian import Custodian
from crm.store import keystore, rotating
from crm.store.keystore import KeyRow

__all__ = ["Rotated", "rotate"]

_BATCH: Final = 500
_AGAIN: Final = 0.05
"""Seconds until data keys that somebody else held locked are looked at again."""


@dataclass(slots=True)
class Rotated:
    """What a rotation came to: the new number, whether an unfinished one was finished, rows moved, patients left out.

    `left_out` could not be opened: the old key stays until they are seen to.
    """

    use: str
    no: int
    resumed: bool
    moved: int = 0
    left_out: int = 0
    seconds: float = 0.0


async def rotate(custodian: Custodian, key_class: KeyClass) -> Rotated:
    """Begins a new epoch of a class, or finishes what is unfinished, and moves every data key.

    Raises KeyUnavailable where this process lacks the class, StoreUnavailable, ProviderUnavailable.
    """
    if key_class not in custodian.keyroom.keys.held:
        raise KeyUnavailable(f"this process was given no key for {key_class}")
    done = await _begun(custodian, key_class)
    await custodian.activate(done.use, done.no)
    begun = time.monotonic()
    for row in await custodian.rows(done.use):
        if row.state == "retiring" and (row.drained_at is None or await _left(custodian, key_class, row.no)):
            await _drain(custodian, key_class, row, done)
    done.seconds = time.monotonic() - begun
    return done


async def _begun(custodian: Custodian, key_class: KeyClass) -> Rotated:
    """The rotation under way; without one, another is begun."""
    rows = await custodian.rows(key_class.value)
    active = next(row for row in rows if row.state == "active")
    for row in rows:
        if row.state == "pending":
            return Rotated(key_class.value, row.no, resumed=True)
        if row.state == "retiring" and (row.drained_at is None or await _left(custodian, key_class, row.no)):
            return Rotated(key_class.value, active.no, resumed=True)
    # The cipher of data keys' wraps stays what it was: where a deployment allows only one, that is the one.
    alg = Alg(unwrapped(custodian.provider, custodian.env, active.key)[0])
    no = rows[-1].no + 1
    await roots.separate(custodian, key_class.value)
    await custodian.publish(new_wrap_key(custodian.provider, custodian.env, key_class, no, "pending", alg))
    return Rotated(key_class.value, no, resumed=False)


async def _left(custodian: Custodian, key_class: KeyClass, epoch: int) -> int:
    """How many data keys of all organisations are still under an epoch."""
    database = custodian.store.database
    return sum([
        await rotating.under_epoch(database, org, key_class, epoch) for org in await custodian.organisations()
    ])  # fmt: skip


async def _drain(custodian: Custodian, key_class: KeyClass, row: KeyRow, done: Rotated) -> None:
    """Moves what is under an old epoch, twice: a transaction that had begun before may have added some."""
    failed: dict[str, set[str]] = {}
    for _ in range(2):
        for org in await custodian.organisations():
            await _move(custodian, key_class, row.no, org, failed.setdefault(org, set()), done)
        await custodian.settled()
    if left := await _left(custodian, key_class, row.no):
        done.left_out += left
        custodian.watch.note(
            f"{done.use} {row.no} cannot be retired: {left} data keys are under it that could not be moved; `keys "
            "verify` says whose"
        )
    else:
        await keystore.drained(custodian.keystore, row.key, custodian.now())


async def _move(
    custodian: Custodian, key_class: KeyClass, epoch: int, org: str, failed: set[str], done: Rotated
) -> None:
    database, keys = custodian.store.database, custodian.keyroom.keys
    left = (await rotating.data_keys(database, org)).get((key_class.value, epoch), 0) - len(failed)
    if left <= 0:
        return
    await custodian.record(org, f"wrap:{key_class.value}:{done.no}", left)
    moved, of = 0, left
    while left > 0:
        begun = time.monotonic()
        count, refused = await rotating.rewrap(
            database, keys, org, key_class, epoch, limit=_BATCH, skipped=failed
        )  # fmt: skip
        failed.update(refused)
        moved += count
        done.moved += count
        custodian.watch.at(f"{done.use} {done.no}: data keys of {org}", moved, max(of, moved))
        if not count and not refused:  # what is left is locked, or somebody else did it
            left = (await rotating.data_keys(database, org)).get((key_class.value, epoch), 0) - len(failed)
            await asyncio.sleep(_AGAIN)
        await custodian.pause(begun)
