"""The receipt of an erasure: computed from the ledger and the ends of keys, written as plain lines, signed. Pure.

An erasure holds in the live service at once. A copy made before (a backup, a write-ahead log, an old replica) still has
the wrapped data keys, and can be opened by whoever also has the wrap key of the epoch; so it holds there once every
epoch that ever wrapped them is destroyed, whatever the number of copies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from crm.audit.event import rfc3339
from crm.crypto.note import Signer
from crm.crypto.stored_key import Name
from crm.domain.erasure import GROUNDS, ErasureReason
from crm.store.keystore import KeyRow
from crm.store.ledger import Erasure

__all__ = ["Receipt", "receipt"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What an erasure reached, as of now. Times are microseconds since 1970, UTC.

    `also` are the records that were merged into this one and erased with it; what is said of keys is of theirs too.
    `former` counts the other records of which versions were emptied that held what this one said.
    `effective_in_copies_at` is from when no copy can be opened any more (it may lie ahead), None while that waits for
    the keys in `waits_for` (such as `identity/2`), which are due by `due_at`. `index_waits_for` are the index keys
    until whose end older copies hold search values as keyed hashes. `note` says all of this as a signed note (C2SP),
    which `verifier_key` verifies; it is unsigned, and there is no such key, where this process has no signing key.
    """

    patient_id: str
    also: tuple[str, ...]
    former: int
    classes: tuple[str, ...]
    whole: bool
    reason: str
    erased_at: int
    ledger_seq: int
    ledger_hash: str
    effective_in_copies_at: int | None
    waits_for: tuple[str, ...]
    index_waits_for: tuple[str, ...]
    due_at: int | None
    note: str
    verifier_key: str | None


def receipt(
    erasure: Erasure,
    rows: Mapping[Name, KeyRow] | None,
    signer: Signer | None,
    now: int,
    *,
    wrap: int,
    backup: int,
    beside: Sequence[Erasure] = (),
) -> Receipt:
    """The receipt at `now`. `rows` are all keys, None where nobody could be asked: then everything still has to wait.

    `wrap` and `backup` are microseconds: how long an epoch is used, and how long copies are kept. `beside` are the
    erasures of the records that were merged into this one, done together with it.
    """
    known = rows or {}
    latest: dict[str, int] = {}
    for key_class, _, epoch in chain.from_iterable(each.keys for each in (erasure, *beside)):
        latest[key_class] = max(epoch, latest.get(key_class, 0))
    # Every epoch up to the last may have wrapped the key at some time, and a copy from then has it so.
    epochs = [(use, no) for use, last in sorted(latest.items()) for no in range(1, last + 1)]
    waiting = [name for name in epochs if _destroyed(known.get(name)) is None]
    times = [at for name in epochs if (at := _destroyed(known.get(name))) is not None]
    versions = chain.from_iterable(each.index_versions for each in (erasure, *beside))
    indexes = [("index", no) for no in range(1, max(versions, default=0) + 1)]
    due = [_due(known.get(name), erasure.at, wrap, backup) for name in waiting]
    plain = Receipt(
        patient_id=erasure.patient_id,
        also=tuple(sorted(each.patient_id for each in beside)),
        former=len({name for each in (erasure, *beside) for name, _, _ in each.former}),
        classes=tuple(dict.fromkeys(chain.from_iterable(each.classes for each in (erasure, *beside)))),
        whole=erasure.whole,
        reason=erasure.reason,
        erased_at=erasure.at,
        ledger_seq=erasure.seq,
        ledger_hash=erasure.hash.hex(),
        effective_in_copies_at=None if waiting else max([erasure.at, *times]),
        waits_for=_named(waiting),
        index_waits_for=_named([name for name in indexes if not _is_gone(known.get(name), now)]),
        due_at=max(due, default=None),
        note="",
        verifier_key=signer.verifier_key if signer else None,
    )
    text = "".join(f"{line}\n" for line in _lines(erasure.org, plain, now))
    return replace(plain, note=signer.sign(text) if signer else text)


def _destroyed(row: KeyRow | None) -> int | None:
    """From when on nobody can use the key; a key that is forgotten waits for its root key."""
    return row.destroyed_at if row else None


def _is_gone(row: KeyRow | None, now: int) -> bool:
    return row is not None and row.destroyed_at is not None and row.destroyed_at <= now


def _due(row: KeyRow | None, erased_at: int, wrap: int, backup: int) -> int:
    """When a key should be destroyed by: used for `wrap`, and kept for `backup` after nothing needs it any more."""
    if row is not None and row.drained_at is not None:
        return row.drained_at + backup
    began = (row.activated_at or row.created_at) if row else erased_at
    return max(began + wrap, erased_at) + backup


def _named(names: list[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(f"{use}/{no}" for use, no in names)


def _lines(org: str, of: Receipt, now: int) -> list[str]:
    """The receipt for a person to read."""
    return [
        "heed erasure receipt 1",
        f"organisation: {org}",
        f"patient: {of.patient_id}",
        *([f"with what was merged into it: {_list(of.also)}"] if of.also else []),
        f"erased: {'the whole record' if of.whole else 'the classes ' + ', '.join(of.classes)}",
        *([f"with what other records held of it before a merge was undone: {of.former}"] if of.former else []),
        f"reason: {of.reason}, {GROUNDS[ErasureReason(of.reason)]}",
        f"in the live service since: {rfc3339(of.erased_at)}",
        f"ledger entry: {of.ledger_seq} {of.ledger_hash}",
        f"in older copies: {_copies(of)}",
        f"search values in older copies: {_search_values(of)}",
        f"not covered: {_NEVER_SEALED}",
        f"not claimed: {_BEYOND_REACH}",
        f"as of: {rfc3339(now)}",
    ]


_NEVER_SEALED = (
    "what was never sealed, which is the record's id, version and times, the names of changed fields, and the access "
    "events, which name the record by a pseudonym"
)
_BEYOND_REACH = (
    "that nothing lingers in the memory of a running process, or on a medium until it uses a block again "
    "(NIST SP 800-88r2: cryptographic erase covers what was sealed from the first day)"
)


def _copies(of: Receipt) -> str:
    if of.effective_in_copies_at is not None:
        end = rfc3339(of.effective_in_copies_at)
        return f"from {end} on, the end of the last wrap key that its data keys were ever sealed under"
    due = f", due by {rfc3339(of.due_at)}" if of.due_at is not None else ""
    return (
        f"not yet; whoever has one and the wrap keys can open it until these are destroyed: {_list(of.waits_for)}{due}"
    )


def _search_values(of: Receipt) -> str:
    if not of.index_waits_for:
        return "none that anybody could test a guess against"
    keys = _list(of.index_waits_for)
    return f"keyed hashes; whoever has the index key can test a guess against them until these are destroyed: {keys}"


def _list(names: tuple[str, ...]) -> str:
    return ", ".join(names)
