"""Rotation of the index key: values under the next version beside the old ones, then in their place.

From the publication on, every replica writes both and searches both; so no search misses anybody at any moment. Values
are computed anew from the opened records, inside the store; none of them leaves it, and no reading is recorded of them.
"""

import time
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final

from crm.catalogue import INDEXES, KeyClass
from crm.crypto.stored_key import new_index_key
from crm.errors import KeyUnavailable
from crm.services.key_life import roots
from crm.services.key_life.custodian import Custodian
from crm.services.key_life.wraps import Rotated
from crm.store import keystore, reindexing
from crm.store.record import classes_of

__all__ = ["CLASSES", "rotate", "stored"]

CLASSES: Final[frozenset[KeyClass]] = classes_of(frozenset(name for index in INDEXES for name in index.fields))
"""The classes that must be opened to compute index values."""

_BATCH: Final = 100

Refused = dict[str, set[str]]
"""By organisation the patients who could not be opened."""


async def rotate(custodian: Custodian) -> Rotated:
    """Begins a new version of the index key, or finishes what is unfinished, and replaces every value.

    Raises KeyUnavailable where this process lacks the index key or a class to compute it from, StoreUnavailable,
    ProviderUnavailable.
    """
    keys = custodian.keyroom.keys
    if lacking := sorted(CLASSES - keys.held):
        raise KeyUnavailable(f"index values cannot be computed here, without the keys of {', '.join(lacking)}")
    done = await _begun(custodian)
    begun = time.monotonic()
    refused: Refused = {}
    if keys.index_version < done.no:
        await custodian.known_to_all("index", done.no, "write both", lambda replica: replica.knows("index", done.no))
        await _fill(custodian, done, refused)
    await custodian.activate("index", done.no)
    await _fill(custodian, done, refused)
    await _clear(custodian, done)
    done.left_out = sum(map(len, refused.values()))
    await _retire(custodian, done)
    done.seconds = time.monotonic() - begun
    return done


async def _begun(custodian: Custodian) -> Rotated:
    """The rotation under way; without one, another is begun."""
    rows = await custodian.rows("index")
    active = next(row for row in rows if row.state == "active")
    counts = await stored(custodian)
    for row in rows:
        if row.state == "pending":
            return Rotated("index", row.no, resumed=True)
        if row.state == "retiring" and (row.drained_at is None or counts.get(row.no)):
            return Rotated("index", active.no, resumed=True)
    no = rows[-1].no + 1
    await roots.separate(custodian, "index")
    await custodian.publish(new_index_key(custodian.provider, custodian.env, no, "pending"))
    return Rotated("index", no, resumed=False)


async def stored(custodian: Custodian) -> dict[int, int]:
    """How many values and digests of all organisations are stored under each version."""
    database = custodian.store.database
    counts: dict[int, int] = {}
    for org in await custodian.organisations():
        for found in (await reindexing.values(database, org), await reindexing.digests(database, org)):
            for version, rows in found.items():
                counts[version] = counts.get(version, 0) + rows
    return counts


async def _fill(custodian: Custodian, done: Rotated, refused: Refused) -> None:
    """Adds values until none lacks, twice: a transaction that had begun before may have changed a patient."""
    for _ in range(2):
        for org in await custodian.organisations():
            await _fill_one(custodian, done, org, refused.setdefault(org, set()))
        await custodian.settled()


async def _fill_one(custodian: Custodian, done: Rotated, org: str, refused: set[str]) -> None:
    database, keys = custodian.store.database, custodian.keyroom.keys
    after, told, seen = "", False, 0
    of = await reindexing.patients(database, org)
    while True:
        page = await reindexing.page(database, org, after)
        for ids in _batches([one for one in page.lacking(done.no) if one not in refused]):
            if not told:
                old = sum(rows for no, rows in (await reindexing.values(database, org)).items() if no < done.no)
                await custodian.record(org, f"index:{done.no}", old)
                told = True
            begun = time.monotonic()
            added, failed = await reindexing.reindex(database, keys, org, done.no, ids, custodian.now())
            done.moved += added
            refused.update(failed)
            await custodian.pause(begun)
        seen += len(page.stored)
        custodian.watch.at(f"index {done.no}: patients of {org}", seen, max(of, seen))
        if not page.last:
            return
        after = page.last


async def _clear(custodian: Custodian, done: Rotated) -> None:
    """Removes what older versions made, where the new one has taken its place."""
    database = custodian.store.database
    for org in await custodian.organisations():
        after, seen = "", 0
        of = await reindexing.patients(database, org)
        while True:
            page = await reindexing.page(database, org, after)
            for ids in _batches(page.superseded(done.no)):
                begun = time.monotonic()
                await reindexing.forget_values(database, org, done.no, ids)
                await custodian.pause(begun)
            seen += len(page.stored)
            custodian.watch.at(f"index {done.no}: old values of {org}", seen, max(of, seen))
            if not page.last:
                break
            after = page.last
        slot, begun = await reindexing.forget_digests(database, org, done.no, b""), time.monotonic()
        while slot:
            await custodian.pause(begun)
            begun = time.monotonic()
            slot = await reindexing.forget_digests(database, org, done.no, slot)


async def _retire(custodian: Custodian, done: Rotated) -> None:
    """Notes which old versions nothing needs any more."""
    await custodian.settled()
    counts = await stored(custodian)
    for row in await custodian.rows("index"):
        if row.state != "retiring":
            continue
        if left := counts.get(row.no, 0):
            custodian.watch.note(
                f"index {row.no} cannot be retired: {left} values stay, of {done.left_out} patients whose record does "
                "not open; `keys verify` says whose"
            )
        elif row.drained_at is None:
            await keystore.drained(custodian.keystore, row.key, custodian.now())


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, _BATCH)):
        yield batch
