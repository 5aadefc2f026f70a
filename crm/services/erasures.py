"""Erasing a patient or some classes of one, doing it again after a restore, and the receipts that say what it reached.

An erasure needs no key: any replica can do it, also one that could not read what it erases.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Final

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import KeyClass
from crm.crypto.note import Signer
from crm.crypto.stored_key import Name
from crm.domain.erasure import ErasureReason
from crm.domain.replies import NEEDED, silent_ends
from crm.domain.superseding import MERGED
from crm.errors import (
    CrmError,
    Erased,
    Invalid,
    KeyUnavailable,
    NotFound,
    Tampered,
    VersionConflict,
    VersionRequired,
)
from crm.services.receipts import Receipt, receipt
from crm.services.request import Request
from crm.store.database import Database
from crm.store.keystore import KeyRow, key_rows
from crm.store.ledger import Erasure, Link
from crm.store.ledger_copies import Chains, LedgerCopies
from crm.store.record import Record
from crm.store.unit import Store, Unit, WritingUnit

__all__ = ["ErasureReason", "Erasures", "Receipt"]

_log = logging.getLogger("heed.erasure")

_FORBIDDING: Final = NEEDED | {"consents", "restrictions", "suspensions"}
_DAY: Final = 86_400_000_000


class Erasures:
    """The use cases of erasure.

    `keystore` is the database of the keys, `copies` the ledger's copies outside the records' database. `wrap_days` and
    `backup_days` are those of the settings, from which a receipt tells when an erasure is due to reach all copies.
    """

    def __init__(
        self,
        store: Store,
        keystore: Database,
        copies: LedgerCopies,
        *,
        wrap_days: int = 30,
        backup_days: int = 30,
    ) -> None:
        self._store = store
        self._keystore = keystore
        self._copies = copies
        self._wrap = wrap_days * _DAY
        self._backup = backup_days * _DAY

    async def erase(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        classes: frozenset[KeyClass] | None,
        reason: ErasureReason,
        *,
        any_version: bool = False,
    ) -> Receipt:
        """Erases the patient, or only `classes`, and so of every record that was merged into the patient's.

        It holds on every replica when this returns.
        With `any_version` it erases whatever is there now. What fails after the commit (a copy of the ledger,
        overwriting freed pages) is said in the process's log, and made up for later. Raises `NotFound`, `Erased` for
        what was erased before, `VersionRequired`, `VersionConflict`, `LegalHold`, `Invalid` where there is nothing of
        these classes, or what the policy refuses.
        """
        async with self._store.recording(request.context(actor), Act.ERASE, [patient_id]):
            rule = policy.decide(actor, Action.ERASE)
        known = await self._keys() or {}
        versions = [no for use, no in known if use == "index"]
        async with self._store.writing(request.context(actor, rule), Act.ERASE, [patient_id]) as unit:
            if expected_version is None and not any_version:
                raise VersionRequired
            record, merged = await _locked(unit, actor, patient_id)
            _refuse_in_vain([record, *merged], classes)
            if not any_version and expected_version != record.version:
                raise VersionConflict(record.version)
            beside = []
            for each in merged:
                if classes is None or classes & (each.classes - each.erased):
                    await _leave_alone(unit, each, classes)
                    beside.append(await unit.erase(each, classes, reason.value, versions))
            await _leave_alone(unit, record, classes)
            erasure = await unit.erase(record, classes, reason.value, versions)
        # Whoever asked may be gone by now; that must not keep the copies from what was done.
        return await asyncio.shield(self._follow_up(erasure, beside))

    async def receipts(self, actor: Actor, request: Request, patient_id: str) -> list[Receipt]:
        """The receipts of all erasures of the patient, in order, with what has become final since.

        Raises `NotFound`, or what the policy refuses.
        """
        async with self._store.recording(request.context(actor), Act.READ, [patient_id]):
            rule = policy.decide(actor, Action.HOLD)
        async with self._store.reading(request.context(actor, rule), Act.READ, [patient_id]) as unit:
            record = _visible(await unit.load([patient_id], ()), actor, patient_id)
            unit.touch(record)
            erasures = await unit.erasures(record.id)
            beside = await _beside(unit, record)
        keys = await self._keys()
        return [self._receipt(each, keys, beside.get(_together(each), ())) for each in erasures]

    async def again(self, actor: Actor, request: Request, patient_id: str, seq: int, why: str) -> Receipt:
        """The receipt of one erasure that was answered before, with what has become final since; `why` is a code.

        Raises `NotFound`, or what the policy refuses.
        """
        async with self._store.recording(request.context(actor), Act.READ, [patient_id]):
            rule = policy.decide(actor, Action.ERASE)
        async with self._store.reading(request.context(actor, rule), Act.READ, [patient_id]) as unit:
            record = _visible(await unit.load([patient_id], ()), actor, patient_id)
            unit.touch(record, why)
            erasure = next((each for each in await unit.erasures(patient_id) if each.seq == seq), None)
            if erasure is None:
                raise NotFound
            beside = await _beside(unit, record)
        return self._receipt(erasure, await self._keys(), beside.get(_together(erasure), ()))

    async def missing(self) -> Chains:
        """What copies of the ledger know and the records' database has forgotten. Raises `Unsafe`."""
        return await self._copies.missing()

    async def replay(self, actor: Actor, request: Request, chain: Sequence[Link]) -> None:
        """Does again, one by one, what a copy says was erased in the actor's organisation; `chain` as from `missing`.

        A run that was killed may simply be run again. Raises what the policy refuses, `Tampered`, `StoreUnavailable`.
        """
        async with self._store.recording(request.context(actor), Act.ERASE):
            rule = policy.decide(actor, Action.ERASE)
        for link in chain:
            async with self._store.writing(request.context(actor, rule), Act.ERASE) as unit:
                await unit.erase_again(link)
        await self._spread_and_scrub()

    def verifier_key(self, org: str) -> str | None:
        """The key that the organisation's receipts are verified with; None where this process may not sign."""
        signer = self._signer(org)
        return signer.verifier_key if signer else None

    async def _follow_up(self, erasure: Erasure, beside: Sequence[Erasure]) -> Receipt:
        await self._spread_and_scrub()
        return self._receipt(erasure, await self._keys(), beside)

    async def _spread_and_scrub(self) -> None:
        try:
            await self._copies.spread()
            scrubbed = await self._store.database.scrub()
        except CrmError as failure:
            _log.warning("what follows an erasure could not be done: %s", type(failure).__name__)
        else:
            if not scrubbed:
                _log.warning("the database's freed pages could not be overwritten just now; the next erasure tries it")

    async def _keys(self) -> Mapping[Name, KeyRow] | None:
        try:
            return {row.key.name: row for row in await key_rows(self._keystore)}
        except CrmError as failure:
            _log.warning("the key store could not be asked which keys are gone: %s", type(failure).__name__)
            return None

    def _receipt(self, erasure: Erasure, keys: Mapping[Name, KeyRow] | None, beside: Sequence[Erasure] = ()) -> Receipt:
        signer, now = self._signer(erasure.org), self._store.clock()
        return receipt(erasure, keys, signer, now, wrap=self._wrap, backup=self._backup, beside=beside)

    def _signer(self, org: str) -> Signer | None:
        try:
            return Signer(f"{org}/erasure", self._store.keys.signer()[1])
        except KeyUnavailable:
            return None


def _visible(found: dict[str, Record], actor: Actor, patient_id: str) -> Record:
    record = found.get(patient_id) if policy.scope(actor) in (None, patient_id) else None
    if record is None:
        raise NotFound
    return record


async def _locked(unit: WritingUnit, actor: Actor, patient_id: str) -> tuple[Record, list[Record]]:
    """The record, and those that were merged into it and are not erased yet: all locked at once, as everybody locks.

    With them those whose former versions hold something of them: see `WritingUnit.erase`.
    Raises `NotFound`; and `VersionConflict` where another record is merged into it, or parted from it, at this moment.
    """
    found = _visible(await unit.load([patient_id], ()), actor, patient_id)
    family = {found.id, *await unit.superseded(found)}
    beside = {span.patient_id for name in family for span in await unit.spans(name)}
    locked = await unit.lock_as_they_are(family | beside)
    record = locked.pop(found.id)
    if record.status == MERGED or {record.id, *await unit.superseded(record)} != family:
        raise VersionConflict(record.version)
    return record, [each for name, each in locked.items() if name in family and each.status == MERGED]


async def _beside(unit: Unit, record: Record) -> dict[tuple[str, int], list[Erasure]]:
    """Erasures of what was merged into a record, by what tells that they were done together with one of its own."""
    found: dict[tuple[str, int], list[Erasure]] = {}
    for name in await unit.superseded(record):
        for each in await unit.erasures(name):
            found.setdefault(_together(each), []).append(each)
    return found


def _together(erasure: Erasure) -> tuple[str, int]:
    return erasure.request_id, erasure.at


def _refuse_in_vain(records: Sequence[Record], classes: frozenset[KeyClass] | None) -> None:
    """An erasure that would change nothing is told as such: of the first record, and what was merged into it."""
    if records[0].status == "erased":
        raise Erased
    if classes is not None and not any(classes & (record.classes - record.erased) for record in records):
        if any(classes & record.erased for record in records):
            raise Erased
        raise Invalid("input.classes", "nothing_to_erase")


async def _leave_alone(unit: WritingUnit, record: Record, classes: frozenset[KeyClass] | None) -> None:
    """Keeps keyed hashes of the numbers and mailboxes at which contact was forbidden, so that no import undoes that.

    As far as this process can open the record: an erasure needs no key, and waits for none.
    """
    if classes is not None and classes.isdisjoint({KeyClass.PREFERENCE, KeyClass.CONTACT}):
        return
    try:
        silent = silent_ends(unit.current(record, _FORBIDDING), unit.now)
    except (KeyUnavailable, Tampered):
        _log.warning("an erasure left no suppressions: this process could not open the record")
        return
    await unit.suppress(silent, "ERASED")
