"""The verification of what is stored: everything of an organisation, or a random sample of it. Answers no value.

It runs beside the service, which goes on writing: whatever looks wrong is looked at again, until it was the same before
and after a look. What is found is counted and named, and never ends the run.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from auth.actor import Actor
from crm.audit.event import Act, Outcome
from crm.catalogue import FIELDS, KeyClass
from crm.crypto.stored_key import Name
from crm.services.request import Request
from crm.store import history_soundness, ledger, verifying
from crm.store.database import Database, Fetch
from crm.store.faults import Fault, Flaw
from crm.store.keystore import stored_keys
from crm.store.soundness import Judgement, Stored, judge
from crm.store.unit import Store, Unit

__all__ = ["Advance", "Finding", "Verified", "verify"]

BATCH = 200
"""Patients that are looked at together."""
STRETCH = 5_000
"""Events of the log in which one statement looks for patients who are not there any more."""
KEPT = 1_000
"""Findings of one organisation that are named; the others are counted."""
LOOKS = 10
"""How often a patient who is changed during each look is looked at again, before the last look is believed."""

Advance = Callable[[int, int | None], None]
"""Called with how many patients are done, and of how many."""

_NAMES = frozenset(row.name for row in FIELDS)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong, with which key class, index or table (`part`), and how many times.

    `patient_id` is empty where no single patient is concerned.
    """

    org: str
    patient_id: str
    fault: Fault
    part: str = ""
    count: int = 1


@dataclass(slots=True)
class Verified:
    """What came of one organisation.

    `records` were looked at, of `patients` that there are. `findings` are the first `KEPT`, `counts` has them all.
    `unchecked` names classes, or `index`, of which this process has no key. `unknown_cells` are of fields that only a
    newer program knows. `epochs` are live data keys by class and epoch.
    """

    org: str
    patients: int = 0
    records: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[Fault] = field(default_factory=Counter)
    unchecked: tuple[str, ...] = ()
    unknown_cells: int = 0
    epochs: Mapping[Name, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, patient_id: str, flaw: Flaw, count: int = 1) -> None:
        """Counts a finding, and names it while there is room."""
        self.counts[flaw.fault] += count
        if len(self.findings) < KEPT:
            self.findings.append(Finding(self.org, patient_id, flaw.fault, flaw.part, count))


async def verify(
    store: Store, keystore: Database, actor: Actor, request: Request, sample: int | None, advance: Advance
) -> Verified:
    """Verifies the actor's organisation: `sample` patients drawn at random, or with None everything.

    A sample leaves out what only a walk over all tables shows: rows of nobody, and patients who are gone. Leaves one
    event, with the number of records and whether anything was found. Raises StoreUnavailable, ProviderUnavailable.
    """
    begun = time.monotonic()
    async with store.reading(request.context(actor), Act.CONFIG) as unit:
        states = {key.name: key.state for key in await stored_keys(keystore)}
        visit = _Visit(store, unit, actor.org, states)
        await visit.sample(sample, advance) if sample is not None else await visit.everything(advance)
        found = visit.found
        unit.remark(cnt=found.records, out=Outcome.PARTIAL if found.counts else Outcome.OK)
    found.seconds = time.monotonic() - begun
    return found


class _Visit:
    """One run through one organisation."""

    def __init__(self, store: Store, unit: Unit, org: str, states: Mapping[Name, str]) -> None:
        self.found = Verified(org)
        self._keys = store.keys
        self._fetch: Fetch = partial(store.database.fetch, org)
        self._load = partial(unit.load_as_they_are, names=_NAMES)
        self._states = states

    async def sample(self, size: int, advance: Advance) -> None:
        """Patients drawn without looking, so that nobody can prepare for it, and the ledger."""
        await self._begin()
        chosen = await self._draw(size)
        for start in range(0, len(chosen), BATCH):
            await self._batch(chosen[start : start + BATCH])
            advance(self.found.records, len(chosen))

    async def everything(self, advance: Advance) -> None:
        """Every patient, the rows between them, and what the log and the ledger know of others."""
        await self._begin()
        after = ""
        while batch := await verifying.ids(self._fetch, after, BATCH):
            await self._batch(batch)
            await self._strays(after, batch[-1])
            after = batch[-1]
            advance(self.found.records, self.found.patients)
        await self._strays(after, verifying.LAST)
        size = await verifying.log_size(self._fetch)
        gone = 0
        for first in range(0, size, STRETCH):
            gone += await verifying.nameless(self._fetch, first, min(first + STRETCH, size))
        # Counted last, so that an erasure during the run is not taken for a patient who was removed.
        if (gone := gone - await verifying.erased(self._fetch)) > 0:
            self.found.add("", Flaw(Fault.RECORD_REMOVED, "log"), gone)

    async def _begin(self) -> None:
        """What concerns no single patient: which classes can be opened, the epochs, and the chain of the ledger."""
        found, keys = self.found, self._keys
        found.patients = await verifying.patients(self._fetch)
        searching = () if keys.index_versions() else ("index",)
        found.unchecked = (*(each.value for each in KeyClass if each not in keys.held), *searching)
        found.epochs = await verifying.epochs(self._fetch)
        for epoch, count in sorted(found.epochs.items()):
            state = self._states.get(epoch)
            if state in (None, "destroyed"):
                part = epoch[0] if epoch[0] in set(KeyClass) else "patient_key"
                found.add("", Flaw(Fault.EPOCH_UNKNOWN if state is None else Fault.EPOCH_DESTROYED, part), count)
        links = await ledger.links(self._fetch, found.org)
        if (sound := ledger.sound_until(links)) < len(links):
            found.add("", Flaw(Fault.LEDGER_BROKEN, "erasure_ledger"))
        told = sorted({link.erasure().patient_id for link in links[:sound]})
        for start in range(0, len(told), BATCH):
            for name in sorted(await verifying.missing(self._fetch, told[start : start + BATCH])):
                found.add(name, Flaw(Fault.RECORD_REMOVED, "erasure_ledger"))

    async def _draw(self, size: int) -> list[str]:
        """`size` ids, each patient as likely as any other, in one walk over all ids and with room for `size`."""
        chance = random.SystemRandom()
        chosen: list[str] = []
        after, seen = "", 0
        while batch := await verifying.ids(self._fetch, after, STRETCH):
            for name in batch:
                seen += 1
                if len(chosen) < size:
                    chosen.append(name)
                elif (place := chance.randrange(seen)) < size:
                    chosen[place] = name
            after = batch[-1]
        return sorted(chosen)

    async def _batch(self, chosen: Sequence[str]) -> None:
        """Looks at patients, and again at those in whom something seems wrong, until nobody changes them meanwhile."""
        judged = self._judged(await self._stored(chosen, staged=False))
        suspects = [name for name, verdict in judged.items() if verdict.flaws]
        for _ in range(LOOKS):
            if not suspects:
                break
            stored = await self._stored(suspects, staged=True)
            after = await self._stored(suspects, staged=False)
            for name in suspects:
                judged.pop(name)
            judged |= self._judged(stored)
            suspects = [name for name in stored if judged[name].flaws and _changed(stored[name], after.get(name))]
        for name, verdict in sorted(judged.items()):
            self.found.unknown_cells += verdict.unknown_cells
            for flaw in sorted(verdict.flaws):
                self.found.add(name, flaw)
        self.found.records += len(judged)

    async def _stored(self, chosen: Sequence[str], *, staged: bool) -> dict[str, Stored | None]:
        return await verifying.load(self._fetch, self.found.org, self._load, chosen, staged=staged)

    def _judged(self, stored: Mapping[str, Stored | None]) -> dict[str, Judgement]:
        unreadable = Judgement(frozenset({Flaw(Fault.RECORD_UNREADABLE, "patient")}))
        return {name: unreadable if seen is None else self._judge(seen) for name, seen in stored.items()}

    def _judge(self, seen: Stored) -> Judgement:
        found = judge(self._keys, self._states, seen)
        if found.flaws:  # history is compared with the record, and so waits until that is sound
            return found
        return found._replace(flaws=found.flaws.union(history_soundness.flaws(self._keys, seen)))

    async def _strays(self, after: str, until: str) -> None:
        for table, name in await verifying.strays(self._fetch, after, until):
            self.found.add(name, Flaw(Fault.ROW_OF_NOBODY, table))


def _changed(before: Stored | None, after: Stored | None) -> bool:
    """Whether somebody wrote between two looks, so that what the first saw need not belong together."""
    if before is None or after is None:
        return before is not after
    rows = [(seen.record, sorted(seen.terms), sorted(seen.keys, key=str)) for seen in (before, after)]
    return rows[0] != rows[1]
