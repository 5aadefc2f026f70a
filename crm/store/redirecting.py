"""The way from the id of a merged record to the record that it was merged into. Answers nothing, and changes nothing.

Which record that is stands sealed in the merged one, so that nobody who writes to the database can send an id to
somebody else's record. Chains are followed to their end.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping

from sqlalchemy import bindparam, select

from crm.crypto.keyset import KeySet
from crm.domain.superseding import MERGED
from crm.errors import Tampered
from crm.store import opening
from crm.store import record as records
from crm.store.database import Fetch
from crm.store.record import Record
from crm.store.statements import any_of, prepare
from crm.store.tables import patient

__all__ = ["any_merged", "followed", "locked", "superseded"]

Load = Callable[[Collection[str]], Awaitable[dict[str, Record]]]
Known = Callable[[dict[str, Record]], Awaitable[dict[str, Record]]]
"""Gives the same records, once this process has looked for keys that they name and it does not know."""

_WAY = "merged_into"
_INTO = prepare(
    select(patient.c.id)
    .where(patient.c.org == bindparam("org"), any_of(patient.c.merged_into, "ids"))
    .order_by(patient.c.id)
)


def any_merged(found: Mapping[str, Record]) -> bool:
    """Whether one of the records was merged into another."""
    return any(record.status == MERGED for record in found.values())


async def followed(
    fetch: Fetch, keys: KeySet, known: Known, org: str, found: Mapping[str, Record], load: Load
) -> dict[str, Record]:
    """`found`, but under the id of each merged record the one that it was merged into, as `load` gives it.

    A record is one object, however many ids lead to it: a change under one of them is seen under all. A record whose
    way on was erased with its identity is answered as erased. Raises `Tampered` where a way leads nowhere or in a
    circle, and what opening raises.
    """
    answers = dict(found)
    seen: dict[str, set[str]] = {asked: set() for asked in found}
    while merged := {asked: record.id for asked, record in answers.items() if record.status == MERGED}:
        whole = await known(await records.load(fetch, org, set(merged.values()), (_WAY,)))
        ways = {asked: _way(keys, whole.get(name)) for asked, name in merged.items()}
        ends = await load({way for way in ways.values() if way})
        for asked, way in ways.items():
            if way is None:
                answers[asked].status = "erased"
            elif way not in ends or way in seen[asked]:
                raise Tampered
            else:
                seen[asked].add(merged[asked])
                answers[asked] = ends[way]
    latest = {record.id: record for asked, record in answers.items() if asked == record.id}
    latest |= {record.id: record for asked, record in answers.items() if asked != record.id}
    return {asked: latest[record.id] for asked, record in answers.items()}


def _way(keys: KeySet, record: Record | None) -> str | None:
    """Where the id of a record leads: to itself, if the merge was undone just now; None where nobody can tell any more.

    Raises `Tampered`, `KeyUnavailable`.
    """
    if record is None:
        raise Tampered
    if record.status != MERGED:
        return record.id
    way: str | None = opening.reveal(keys, record, (_WAY,), "").get(_WAY)
    if way is None and not opening.erased(record, (_WAY,)):
        raise Tampered
    return way


async def locked(fetch: Fetch, keys: KeySet, known: Known, org: str, ids: Collection[str]) -> dict[str, Record]:
    """Whole records to change, locked until the transaction ends, by the ids that were asked for.

    A merged record itself is not locked: merging locks both it and its survivor, in the order of ids. So once a
    survivor is locked it is asked again whether the way still leads there.
    """

    async def lock(wanted: Collection[str]) -> dict[str, Record]:
        return await known(await records.load_locked(fetch, org, wanted, merged=False)) if wanted else {}

    found = await lock(ids)
    while any_merged(found):
        answers = await followed(fetch, keys, known, org, found, lock)
        ways = {asked: answers[asked].id for asked, record in found.items() if record.status == MERGED}
        again = await lock(ways)
        there = await followed(fetch, keys, known, org, again, lock)
        if all(there[asked].id == way for asked, way in ways.items()):
            return answers
        found = {**found, **again}
    return found


async def superseded(fetch: Fetch, org: str, patient_id: str) -> list[str]:
    """The ids of all records that were merged into this one, directly or through others; ascending.

    Also of those that were erased with it. Needs no key: an erasure asks, which may be done by whoever has none.
    """
    met: set[str] = set()
    ids = {patient_id}
    while ids:
        rows = await fetch(_INTO, org=org, ids=sorted(ids))
        ids = {row["id"] for row in rows} - met - {patient_id}
        met |= ids
    return sorted(met)
