"""The end of keys that nothing needs any more, and of the root keys that could still open old copies of them.

The order leaves everything that lives readable wherever it stops: survivors first come under a newer root key and prove
themselves there; then the old key is forgotten; then the old root key is destroyed. A key that is needed is refused.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from crm.catalogue import KeyClass
from crm.crypto.provider import USES
from crm.errors import Unsafe
from crm.services.key_life import indexes, roots
from crm.services.key_life.custodian import Custodian
from crm.store import keystore, rotating
from crm.store.keystore import KeyRow

__all__ = ["Ending", "Verdict", "destroy", "plan"]


class Verdict(StrEnum):
    """What is to become of an old key."""

    READY = "ready"
    NEEDED = "needed"
    UNFINISHED = "unfinished"
    YOUNG = "young"


@dataclass(frozen=True, slots=True)
class Ending:
    """An old key and its verdict.

    `no` is None for a root key, which `key_ref` names. `references` counts what is still under it; `due` is from when
    on the copies that need it are older than copies are kept, microseconds since 1970.
    """

    use: str
    no: int | None
    key_ref: str
    verdict: Verdict
    references: int = 0
    due: int | None = None


async def plan(custodian: Custodian, keep: int, *, hurry: bool) -> list[Ending]:
    """Every old key with its verdict. `keep` is how long copies are kept, in microseconds; `hurry` ignores that."""
    found: list[Ending] = []
    for use in _uses(custodian):
        rows = await _rows(custodian, use)
        found += [await _judge(custodian, row, keep, hurry=hurry) for row in rows if _may_end(row)]
        found += await _old_roots(custodian, use, rows, keep, hurry=hurry)
    return found


async def destroy(custodian: Custodian, keep: int, *, hurry: bool) -> list[Ending]:
    """Ends every key that is ready, and returns those. Run again, it finishes what was left unfinished.

    Raises Unsafe where the provider cannot rotate or destroy, ProviderUnavailable, StoreUnavailable.
    """
    ended: list[Ending] = []
    for use in _uses(custodian):
        rows = await _rows(custodian, use)
        verdicts = {row.no: await _judge(custodian, row, keep, hurry=hurry) for row in rows if _may_end(row)}
        for row in rows:
            if row.no in verdicts and verdicts[row.no].verdict is Verdict.READY and row.key.kind == "wrap":
                await rotating.forbid(custodian.store.database, KeyClass(row.key.key_class), row.no)
        await custodian.settled()
        # Again, since a transaction that had begun before may have added something.
        doomed = [row for row in rows if row.no in verdicts and await _is_ready(custodian, row, keep, hurry=hurry)]
        if doomed:
            await _end(custodian, use, doomed)
        ended += [verdicts[row.no] for row in doomed]
        ended += await _end_roots(custodian, use, keep, hurry=hurry)
    await custodian.keyroom.look()
    return ended


def _uses(custodian: Custodian) -> list[str]:
    held = custodian.provider.uses()
    return [use for use in USES if use in held]


async def _rows(custodian: Custodian, use: str) -> list[KeyRow]:
    return [row for row in await keystore.key_rows(custodian.keystore) if row.key.use == use]


def _may_end(row: KeyRow) -> bool:
    """Receipts are verified for ever, so their keys stay."""
    return row.state == "retiring" and row.key.kind != "sign"


async def _judge(custodian: Custodian, row: KeyRow, keep: int, *, hurry: bool) -> Ending:
    use, no = row.key.use, row.no
    due = None if row.drained_at is None else row.drained_at + keep
    references = await _references(custodian, row)
    if references:
        verdict = Verdict.NEEDED
    elif due is None or any(replica.relies_on_older(use, no + 1) for replica in await custodian.live()):
        verdict = Verdict.UNFINISHED
    else:
        verdict = Verdict.READY if hurry or due <= custodian.now() else Verdict.YOUNG
    return Ending(use, no, row.key.key_ref, verdict, references, due)


async def _is_ready(custodian: Custodian, row: KeyRow, keep: int, *, hurry: bool) -> bool:
    return (await _judge(custodian, row, keep, hurry=hurry)).verdict is Verdict.READY


async def _references(custodian: Custodian, row: KeyRow) -> int:
    """How many data keys, index values or digests are under this key, by column or by what they say themselves."""
    if row.key.kind == "index":
        return (await indexes.stored(custodian)).get(row.no, 0)
    database, key_class = custodian.store.database, KeyClass(row.key.key_class)
    counts = [
        await rotating.under_epoch(database, org, key_class, row.no) for org in await custodian.organisations()
    ]  # fmt: skip
    return sum(counts)


async def _end(custodian: Custodian, use: str, doomed: Sequence[KeyRow]) -> None:
    """Takes what shares a root key with the doomed out from under it, and forgets the doomed."""
    for row in doomed:
        await custodian.record_everywhere(f"destroy:{use}:{row.no}")
    numbers = {row.no for row in doomed}
    refs = {row.key.key_ref for row in doomed}
    survivors = {row.no for row in await _rows(custodian, use) if row.no not in numbers and row.key.key_ref in refs}
    if (await asyncio.to_thread(custodian.provider.roots, use))[-1] in refs:
        await asyncio.to_thread(custodian.provider.rotate, use)
    await roots.rewrap_all(custodian, use, survivors)
    for row in doomed:
        await keystore.end(custodian.keystore, row.key)


async def _old_roots(custodian: Custodian, use: str, rows: Sequence[KeyRow], keep: int, *, hurry: bool) -> list[Ending]:
    """The root keys before the newest under which nothing is now, the oldest first.

    One is kept for as long as copies from when something was under it; one that no row knows of, as after the key store
    was put back from a copy, for as long as copies from before the present ones came into use. After the first that has
    to stay all do: a provider that numbers versions destroys the older ones with each.
    """
    found: list[Ending] = []
    latest = max((row.wrapped_at or row.created_at for row in rows), default=0)
    stays = False
    for ref in (await asyncio.to_thread(custodian.provider.roots, use))[:-1]:
        under = sum(row.key.key_ref == ref and row.state != "destroyed" for row in rows)
        left = [row.wrapped_at or row.created_at for row in rows if ref in row.former]
        if not any(ref in row.roots for row in rows):
            left = [latest]
        due = max(left) + keep if left else None
        young = due is not None and due > custodian.now() and not hurry
        stays = stays or young or under > 0
        if not under:
            found.append(Ending(use, None, ref, Verdict.YOUNG if stays else Verdict.READY, due=due))
    return found


async def _end_roots(custodian: Custodian, use: str, keep: int, *, hurry: bool) -> list[Ending]:
    found = await _old_roots(custodian, use, await _rows(custodian, use), keep, hurry=hurry)
    ready = [ending for ending in found if ending.verdict is Verdict.READY]
    for ending in ready:
        await custodian.record_everywhere(f"destroy:root:{use}")
        await _destroyed(custodian, use, ending.key_ref)
    rows = await _rows(custodian, use)
    in_use = {row.key.key_ref for row in rows if row.state != "destroyed"}
    old = set((await asyncio.to_thread(custodian.provider.roots, use))[:-1])
    for row in rows:
        if row.state == "destroyed" and row.destroyed_at is None and old <= in_use - set(row.roots):
            times = [await _destroyed(custodian, use, ref) for ref in row.roots]
            await keystore.ended(custodian.keystore, row.key, max(times))
    return ready


async def _destroyed(custodian: Custodian, use: str, key_ref: str) -> int:
    """Destroys a root key, and from when on nobody can use it; one that the provider has forgotten is gone already."""
    try:
        done = await asyncio.to_thread(custodian.provider.destroy, key_ref)
    except Unsafe:
        if key_ref in await asyncio.to_thread(custodian.provider.roots, use):
            raise
        return custodian.now()
    return max(custodian.now(), done.at)
