"""Doing a change once, however often it is asked for under one key, and answering it again from what is stored.

The answer is made anew under the caller's permissions of now, and recorded as the reading that it is: nothing of a
patient was kept for it. Whether a change was done, the store knows (`crm.store.retries`).
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from auth.actor import Actor
from auth.policy import Action
from auth.roles import Role
from crm.audit.event import Act, rfc3339
from crm.catalogue import BY_PATH
from crm.domain.contact_codes import ATTEMPTS, LASTING
from crm.errors import Erased, Invalid, NotFound, RequestInProgress
from crm.services.break_glass import BreakGlass
from crm.services.duplicates import reviewed
from crm.services.erasures import Erasures
from crm.services.holds import Holds
from crm.services.profiles import Profile, Profiles, act_of, view, visible
from crm.services.request import Request
from crm.store import organisations, retries
from crm.store.merges import others
from crm.store.record import Record
from crm.store.retries import Effect, Kind, Repeated, slot_of
from crm.store.unit import Store, Unit

__all__ = ["REPEATED", "Repeatable", "Retries"]

REPEATED: Final = "REPEATED"
"""Why a record was read: to answer again what was answered before."""

_HOUR: Final = 3_600_000_000

Attempt = Callable[[Request], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Repeatable:
    """What a caller asks for: the action and the patients that it names, the paths of `Patient` that it answers.

    `selected` are the fields asked of a break-glass grant.
    """

    action: Action
    ids: Sequence[str]
    asked: frozenset[str]
    selected: frozenset[str] = frozenset()


class Retries:
    """The memory of one process over that of the store. A key is known for so many `hours`.

    `told` counts what came of requests that came again: `repeated` were answered again, `in_progress` refused as being
    done.
    """

    def __init__(
        self,
        store: Store,
        profiles: Profiles,
        holds: Holds,
        erasures: Erasures,
        break_glass: BreakGlass,
        *,
        hours: int = 48,
    ) -> None:
        self._store = store
        self._profiles = profiles
        self._holds = holds
        self._erasures = erasures
        self._break_glass = break_glass
        self._kept = hours * _HOUR
        self._running: set[bytes] = set()
        self.told: Counter[str] = Counter()

    async def once(self, actor: Actor, request: Request, change: Repeatable, attempt: Attempt) -> Any:
        """What `attempt` answers, or answered before under the key of `request`, which has one.

        Raises `RequestInProgress` while it is being done, here or in another process, `Invalid` where the key came with
        something else, `Erased` where nothing is left of the patient, `KeyUnavailable`, what `attempt` raises, and what
        the policy refuses of the answer by now.
        """
        context = request.context(actor)
        slot = slot_of(self._store.keys, context)
        if slot in self._running:
            self.told["in_progress"] += 1
            # Without the patients: looking their names up would hold connections that the one at work may need.
            async with self._store.recording(context, act_of(change.action)):
                raise RequestInProgress
        self._running.add(slot)
        try:
            return await attempt(request)
        except RequestInProgress:
            self.told["in_progress"] += 1
            raise
        except Repeated as repeated:
            effect = repeated.effect
        except Invalid:
            # What was right when it was done may be wrong by now, as a moment that was to come.
            known = await retries.done(partial(self._store.database.fetch, actor.org), self._store.keys, context)
            if known is None:
                raise
            effect = known
        finally:
            self._running.discard(slot)
        self.told["repeated"] += 1
        if effect.kind is Kind.MESSAGE:
            return await attempt(replace(request, retry=None))  # which has a memory of its own
        return await self._again(actor, request, change, effect)

    async def prune(self) -> None:
        """Forgets, in every organisation, what was done longer ago than it is kept."""
        before = self._store.clock() - self._kept
        for org in await organisations.every(self._store.database):
            async with self._store.database.transaction(org) as connection:
                await retries.prune(connection, org, before)

    async def _again(self, actor: Actor, request: Request, change: Repeatable, effect: Effect) -> Any:
        if effect.patient_id is None and effect.kind is not Kind.GRANT_REVIEWED:
            async with self._store.recording(request.context(actor), act_of(change.action), change.ids):
                raise NotFound if Role.MESSAGING in actor.roles else Erased  # who sends is not told of erasures
        patient_id = effect.patient_id or ""
        request = replace(request, retry=None)
        match effect.kind:
            case Kind.RECEIPT:
                return await self._erasures.again(actor, request, patient_id, int(effect.ref), REPEATED)
            case Kind.HOLD_PLACED | Kind.HOLD_LIFTED:
                placed = effect.kind is Kind.HOLD_PLACED
                return await self._holds.again(actor, request, patient_id, effect.ref, REPEATED, placed=placed)
            case Kind.GRANT_GIVEN | Kind.GRANT_REVIEWED:
                given = effect.kind is Kind.GRANT_GIVEN
                return await self._break_glass.again(actor, request, effect.ref, change.selected, REPEATED, given=given)
            case Kind.REPORT:
                await self._touched(actor, request, change, effect)
                return {"id": patient_id, "version": effect.version}
            case Kind.CODE:
                await self._touched(actor, request, change, effect)
                channel, _, point = effect.ref.partition(" ")
                until = rfc3339(effect.at + LASTING)
                return {"contact_point_id": point, "channel": channel, "expires_at": until, "attempts": ATTEMPTS}
            case Kind.PAIR:
                await self._touched(actor, request, change, effect)
                verdict, _, other = effect.ref.partition(" ")
                return reviewed(patient_id, other, verdict, effect.at)
        return await self._profile(actor, request, change, effect)

    async def _touched(self, actor: Actor, request: Request, change: Repeatable, effect: Effect) -> None:
        """Records that something was said of a patient again, and nothing of the record opened."""
        patient_id = str(effect.patient_id)
        grant = await self._profiles.admit(actor, request, frozenset(), [patient_id], change.action)
        async with self._store.reading(request.context(actor, grant.rule), Act.READ, [patient_id]) as unit:
            unit.touch(await self._present(unit, actor, patient_id, frozenset()), REPEATED)

    async def _profile(self, actor: Actor, request: Request, change: Repeatable, effect: Effect) -> Profile:
        """The profile as it was answered, as far as the caller may read it now: in the version of then."""
        patient_id = str(effect.patient_id)
        grant = await self._profiles.admit(actor, request, change.asked, [patient_id], change.action)
        async with self._store.reading(request.context(actor, grant.rule), Act.READ, [patient_id]) as unit:
            names = frozenset(BY_PATH[path].name for path in change.asked)
            record = await self._present(unit, actor, patient_id, names)
            broken = await unit.grants([record]) if grant.needs_grant else {}
            if (record.id, record.version) != (patient_id, effect.version):
                record = await self._former(unit, record, effect, names)
            shown = view(grant, actor, restricted=record.guarded, broken=broken.get(record.id))
            profile = unit.open(record, shown)
            unit.touch(record, REPEATED)
            return profile

    async def _present(self, unit: Unit, actor: Actor, patient_id: str, names: frozenset[str]) -> Record:
        """The record as it is, which may be another one's by now. Raises `NotFound`, `Erased`."""
        found = await unit.load(await visible(unit, actor, [patient_id]), names | {"restricted"})
        record = found.get(patient_id)
        if record is None:
            raise NotFound
        if record.status == "erased":
            raise Erased
        return record

    async def _former(self, unit: Unit, present: Record, effect: Effect, names: frozenset[str]) -> Record:
        """The record as the change left it; as it is now where it was merged into another since.

        And where it held then what another person said, until their merge was undone.
        """
        if present.id != effect.patient_id or others(await unit.family(present), present.id, effect.version):
            return present
        version = await unit.version(present.id, effect.version)
        if version is None:
            raise NotFound
        [record] = await unit.load_past(present, [version], names)
        return record
