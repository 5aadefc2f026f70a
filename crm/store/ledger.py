"""The erasure ledger: what was erased, in order, each entry chained to the one before it. Erases nothing itself.

    hash of entry n = SHA-256("ERASURE1" ‖ hash of entry n - 1 (32 octets, zeros before the first) ‖ entry in UTF-8)

An entry is one JSON object with sorted keys, and holds no patient's value: ids, classes, numbers of keys, a reason
code, who and when. Each organisation has a chain of its own, numbered from 1. The table in the records' database is
the authority, and grows in the transaction that erases; `ledger_copies` repeats it elsewhere, octet by octet.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import BigInteger, bindparam, insert, select
from sqlalchemy.dialects.postgresql import insert as insert_unless

from crm.errors import Tampered
from crm.store.database import Connection, Fetch
from crm.store.log import lock_head
from crm.store.statements import prepare
from crm.store.tables import erasure_ledger

__all__ = ["Erasure", "Link", "append", "chain_hash", "entries_of", "links", "repeat", "sound_until"]

_START: Final = bytes(32)
_C: Final = erasure_ledger.c


@dataclass(frozen=True, slots=True)
class Erasure:
    """One entry. `at` is in microseconds since 1970; `hash` is empty until the entry has its place.

    `keys` are class, number and last epoch of every data key that was destroyed, now or before; `index_versions` are
    those of the index key under which older copies may hold search values. `former` are versions of other records (id,
    first, and the first that is not meant) that held what was said of the patient, and were emptied of these classes.
    """

    org: str
    seq: int
    patient_id: str
    whole: bool
    classes: tuple[str, ...]
    keys: tuple[tuple[str, int, int], ...]
    index_versions: tuple[int, ...]
    reason: str
    request_id: str
    by: str
    at: int
    hash: bytes = b""
    former: tuple[tuple[str, int, int], ...] = ()

    def text(self) -> str:
        """The entry as it is stored and hashed."""
        members = {"v": 1, **{name: getattr(self, name) for name in _MEMBERS}}
        if self.former:
            members["former"] = self.former
        return orjson.dumps(members, option=orjson.OPT_SORT_KEYS).decode()


_MEMBERS: Final = (
    "org", "seq", "patient_id", "whole", "classes", "keys", "index_versions", "reason", "request_id", "by", "at",
)  # fmt: skip


class Link(NamedTuple):
    """An entry word for word, as any copy of the ledger keeps it."""

    org: str
    seq: int
    text: str
    hash: bytes

    def erasure(self) -> Erasure:
        """What the entry says. Raises Tampered for a text that no ledger wrote."""
        try:
            members: dict[str, Any] = orjson.loads(self.text)
            found = Erasure(**{name: members[name] for name in _MEMBERS}, hash=self.hash)
            found = replace(
                found,
                classes=tuple(found.classes),
                keys=tuple((key_class, no, epoch) for key_class, no, epoch in found.keys),
                index_versions=tuple(found.index_versions),
                former=tuple((name, first, until) for name, first, until in members.get("former", ())),
            )
        except (ValueError, TypeError, KeyError):
            raise Tampered("erasure ledger") from None
        if (found.org, found.seq) != (self.org, self.seq):
            raise Tampered("erasure ledger")
        return found


def chain_hash(before: bytes, text: str) -> bytes:
    """The hash of an entry whose predecessor has the hash `before` (empty for the first entry)."""
    return hashlib.sha256(b"ERASURE1" + (before or _START) + text.encode()).digest()


def sound_until(chain: Sequence[Link]) -> int:
    """How many links from the first on are in order: numbered without gaps, unchanged, each chained to the last."""
    before = _START
    for count, link in enumerate(chain):
        if link.seq != count + 1 or link.hash != chain_hash(before, link.text):
            return count
        try:
            link.erasure()
        except Tampered:
            return count
        before = link.hash
    return len(chain)


_LAST = prepare(select(_C.seq, _C.hash).where(_C.org == bindparam("org")).order_by(_C.seq.desc()).limit(1))
_AFTER = prepare(
    select(_C.seq, _C.entry, _C.hash)
    .where(_C.org == bindparam("org"), _C.seq > bindparam("after", type_=BigInteger))
    .order_by(_C.seq)
)
_OF_PATIENT = prepare(
    select(_C.seq, _C.entry, _C.hash)
    .where(_C.org == bindparam("org"), _C.patient_id == bindparam("patient"))
    .order_by(_C.seq)
)
_INSERT = prepare(insert(erasure_ledger))
_INSERT_UNLESS_THERE = prepare(insert_unless(erasure_ledger).on_conflict_do_nothing())


async def append(connection: Connection, erasure: Erasure) -> Erasure:
    """Stores `erasure` as the organisation's next entry, in the caller's transaction; returns it with number and hash.

    Erasures of one organisation take turns by the head of its log, which their events need anyway.
    """
    await lock_head(connection)
    last = await connection.fetch_one(_LAST)
    seq, before = (last["seq"], bytes(last["hash"])) if last else (0, _START)
    placed = replace(erasure, seq=seq + 1)
    placed = replace(placed, hash=chain_hash(before, placed.text()))
    await connection.execute(_INSERT, **_row(Link(placed.org, placed.seq, placed.text(), placed.hash), placed))
    return placed


async def repeat(connection: Connection, chain: Iterable[Link]) -> None:
    """Stores links word for word, in the caller's transaction; those whose number is taken already are left out."""
    if rows := [_row(link, link.erasure()) for link in chain]:
        await connection.execute_many(_INSERT_UNLESS_THERE, rows)


def _row(link: Link, erasure: Erasure) -> dict[str, Any]:
    return {
        "org": link.org, "seq": link.seq, "patient_id": erasure.patient_id, "entry": link.text, "hash": link.hash
    }  # fmt: skip


async def links(fetch: Fetch, org: str, after: int = 0) -> list[Link]:
    """The organisation's links behind number `after`, in order; unverified."""
    rows = await fetch(_AFTER, org=org, after=after)
    return [Link(org, row["seq"], row["entry"], bytes(row["hash"])) for row in rows]


async def entries_of(fetch: Fetch, org: str, patient_id: str) -> list[Erasure]:
    """What was erased of one patient, in order; empty where nothing was. Raises Tampered."""
    rows = await fetch(_OF_PATIENT, org=org, patient=patient_id)
    return [Link(org, row["seq"], row["entry"], bytes(row["hash"])).erasure() for row in rows]
