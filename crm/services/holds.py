"""Legal holds: placing one, lifting one, and looking at them. While one is active, nothing of the patient is erased."""

from dataclasses import replace
from enum import StrEnum

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act
from crm.errors import Erased, Invalid, NotFound
from crm.services.profiles import Profiles
from crm.services.request import Request
from crm.store.holds import Hold
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["Hold", "HoldReason", "Holds"]


class HoldReason(StrEnum):
    """Why a record must be kept, whoever asks for its erasure (GDPR Art. 17(3) and 18(2), 45 CFR 164.530(j))."""

    LITIGATION = "LITIGATION"
    INVESTIGATION = "INVESTIGATION"
    REGULATOR = "REGULATOR"
    RETENTION_DUTY = "RETENTION_DUTY"


class Holds:
    """The use cases around legal holds."""

    def __init__(self, store: Store, profiles: Profiles) -> None:
        self._store = store
        self._profiles = profiles

    async def place(self, actor: Actor, request: Request, patient_id: str, reason: HoldReason) -> Hold:
        """A new hold, beside others that there may be: each is lifted on its own.

        Raises `NotFound`, `Erased`, or what the policy refuses. An erasure of the same patient comes before or after.
        """
        rule = await self._admit(actor, request, patient_id, Act.HOLD)
        async with self._store.writing(request.context(actor, rule), Act.HOLD, [patient_id]) as unit:
            record = await _locked(unit, actor, patient_id)
            return await unit.place_hold(record, reason.value)

    async def lift(self, actor: Actor, request: Request, patient_id: str, hold_id: str) -> Hold:
        """The end of a hold, by whoever may place one: cases outlive the people who opened them.

        Raises `Invalid` for a hold that is not one of this patient's or was lifted before, `NotFound`, `Erased`, or
        what the policy refuses.
        """
        rule = await self._admit(actor, request, patient_id, Act.RELEASE)
        async with self._store.writing(request.context(actor, rule), Act.RELEASE, [patient_id]) as unit:
            record = await _locked(unit, actor, patient_id)
            for hold in await unit.holds(record):
                if hold.id == hold_id:
                    return await unit.lift_hold(record, hold)
            raise Invalid("input.holdId", "unknown_hold")

    async def again(
        self, actor: Actor, request: Request, patient_id: str, hold_id: str, why: str, *, placed: bool
    ) -> Hold:
        """A hold as it was answered before: as it was `placed`, or after it was lifted; `why` is a code for the record.

        Raises `NotFound`, or what the policy refuses.
        """
        rule = await self._admit(actor, request, patient_id, Act.READ)
        async with self._store.reading(request.context(actor, rule), Act.READ, [patient_id]) as unit:
            record = _visible(await unit.load([patient_id], ()), actor, patient_id)
            for hold in await unit.holds(record):
                if hold.id == hold_id:
                    unit.touch(record, why)
                    return replace(hold, lifted_by=None, lifted_at=None) if placed else hold
            raise NotFound

    async def of(self, actor: Actor, request: Request, patient_id: str) -> list[Hold]:
        """Every hold there ever was on the patient, in the order of placing; also after the patient was erased.

        Raises `NotFound`, or what the policy refuses.
        """
        rule = await self._admit(actor, request, patient_id, Act.READ)
        async with self._store.reading(request.context(actor, rule), Act.READ, [patient_id]) as unit:
            record = _visible(await unit.load([patient_id], ()), actor, patient_id)
            return await unit.holds(record)

    async def _admit(self, actor: Actor, request: Request, patient_id: str, act: Act) -> str:
        """The rule that lets the actor have to do with holds; a refusal is recorded and raised."""
        return (await self._profiles.admit(actor, request, frozenset(), [patient_id], Action.HOLD, act)).rule


async def _locked(unit: WritingUnit, actor: Actor, patient_id: str) -> Record:
    """The record, locked as writers and erasures lock it."""
    record = _visible(await unit.load_for_change([patient_id]), actor, patient_id)
    if record.status == "erased":
        raise Erased
    return record


def _visible(found: dict[str, Record], actor: Actor, patient_id: str) -> Record:
    record = found.get(patient_id) if policy.scope(actor) in (None, patient_id) else None
    if record is None:
        raise NotFound
    return record
