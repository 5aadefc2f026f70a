"""Rotation of root keys: a new one at the provider, and the few stored keys of its use under it. Touches no record."""

import asyncio
from dataclasses import dataclass

from crm.crypto.stored_key import rewrapped
from crm.errors import Unsafe
from crm.services.key_life.custodian import Custodian
from crm.store import keystore

__all__ = ["Rerooted", "rewrap_all", "rotate", "separate"]

_TRIES = 3


@dataclass(frozen=True, slots=True)
class Rerooted:
    """The newest root key of a use, whether an unfinished rotation was finished, and how many keys came under it."""

    use: str
    key_ref: str
    resumed: bool
    moved: int


async def rotate(custodian: Custodian, use: str) -> Rerooted:
    """A new root key for a use, with every stored key of that use under it; or the end of a rotation under way.

    Raises Unsafe where the provider cannot make one, KeyUnavailable where this process was given none of that use,
    ProviderUnavailable, StoreUnavailable.
    """
    newest = (await asyncio.to_thread(custodian.provider.roots, use))[-1]
    rows = [row for row in await custodian.rows(use) if row.state != "destroyed"]
    # Retiring keys may well be under older root keys of their own; the active one comes last of all that was left.
    resumed = any(row.key.key_ref != newest for row in rows if row.state == "active")
    await custodian.record_everywhere(f"root:{use}")
    if not resumed:
        newest = await asyncio.to_thread(custodian.provider.rotate, use)
    return Rerooted(use, newest, resumed, await rewrap_all(custodian, use, {row.no for row in rows}))


async def separate(custodian: Custodian, use: str) -> None:
    """Makes a root key for a new key alone.

    Such a key can be destroyed for all copies of the key store, and none of the others with it. One that stood there
    unused will not do: a key store put back from a copy has forgotten what it wrapped. Raises ProviderUnavailable.
    """
    try:
        await asyncio.to_thread(custodian.provider.rotate, use)
    except Unsafe as refusal:
        custodian.watch.note(f"{use}: the new key shares its root key with the old one, because {refusal}")


async def rewrap_all(custodian: Custodian, use: str, numbers: set[int]) -> int:
    """Brings the keys of a use with these numbers under its newest root key; how many were not there yet.

    Each is proved by unwrapping it before it is stored. Raises Unsafe when others change them all the time.
    """
    moved = 0
    for _ in range(_TRIES):
        newest = (await asyncio.to_thread(custodian.provider.roots, use))[-1]
        rows = [row for row in await custodian.rows(use) if row.no in numbers and row.state != "destroyed"]
        behind = [row for row in rows if row.key.key_ref != newest]
        if not behind:
            return moved
        for row in behind:
            fresh = await asyncio.to_thread(rewrapped, custodian.provider, custodian.env, row.key)
            moved += await keystore.rewrap(custodian.keystore, row, fresh, custodian.now())
    raise Unsafe(f"the root keys for {use} are being changed by somebody else: try again when that is done")
