"""Owns the one path of every change of a stored record: who may, lock, version, restriction, change, answer.

What is changed, and to what, is for the rooms that use it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from auth import policy
from auth.actor import Actor
from auth.policy import Action, ReadGrant
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.errors import Erased, NotFound, RestrictedRecord, SourceOverruled, VersionRequired
from crm.services import conflicts
from crm.services.held_keys import require_to_change
from crm.services.profiles import Profile, Profiles, groups, view, visible
from crm.services.request import Request
from crm.store.context import Context
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["Admitted", "Edit", "Editor", "system_of"]

Edit = Callable[[WritingUnit, Record], Mapping[str, Any]]
"""Computes the values to store, by catalogue name, from the locked record."""


class Admitted(NamedTuple):
    """A yes, before any row was read: `actor` may change the fields `names` of the patient, and read `grant`.

    With `merge` the change may be put on top of others (`conflicts`).
    """

    actor: Actor
    context: Context
    patient_id: str
    names: frozenset[str]
    grant: ReadGrant
    merge: bool = False


class Editor:
    """Changes one record at a time on behalf of somebody whom the policy lets do it."""

    def __init__(self, store: Store, profiles: Profiles) -> None:
        self._store = store
        self._profiles = profiles

    async def admit(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        names: Iterable[str],
        asked: frozenset[str],
        action: Action = Action.UPDATE,
    ) -> Admitted:
        """Whether `actor` may change the catalogue fields `names` by `action` and read the paths `asked`.

        Raises what the policy refuses, then `KeyUnavailable`; a refusal is recorded.
        """
        grant = await self._profiles.admit(actor, request, asked, [patient_id], action)
        changed = frozenset(names)
        paths = [path for name in changed for path in BY_NAME[name].paths]
        async with self._store.recording(request.context(actor), Act.UPDATE, [patient_id]):
            rule = policy.decide_write(actor, groups(paths), action).rule
            require_to_change(self._store.keys, paths)
        context = request.context(actor, *{grant.rule, rule})
        return Admitted(actor, context, patient_id, changed, grant, request.merge)

    async def edit(
        self, admitted: Admitted, expected_version: int | None, edit: Edit, *, speaks: bool = True
    ) -> Profile:
        """Stores what `edit` makes of the locked record, and answers from what is now stored.

        With `speaks` false that is a mark beside what somebody said (see `WritingUnit.change`). Raises
        `VersionRequired`, `VersionConflict`, `NotFound`, `Erased`, `RestrictedRecord`, `SourceOverruled`, and what
        `edit` raises.
        """
        async with self._store.writing(admitted.context, Act.UPDATE, [admitted.patient_id]) as unit:
            record = await self.locked(unit, admitted, expected_version)
            values, system = edit(unit, record), system_of(admitted.actor)
            if speaks:
                _require_heard(unit, record, values, system)
            unit.change(record, values, system, speaks=speaks)
            return self.answer(unit, record, admitted)

    async def locked(self, unit: WritingUnit, admitted: Admitted, expected_version: int | None) -> Record:
        """The record to change, locked until `unit` ends. For rooms that write more in it than the record.

        Raises `VersionRequired`, `VersionConflict`, `NotFound`, `Erased`, and `RestrictedRecord`: on a restricted
        record, who may not see a value may not replace it either.
        """
        if expected_version is None:
            raise VersionRequired
        record = await self.present(unit, admitted)
        if record.version != expected_version:
            actor, grant, names, merge = admitted.actor, admitted.grant, admitted.names, admitted.merge
            own = record.id == admitted.patient_id
            await conflicts.meet(unit, record, actor, grant, names, expected_version, merge=merge, own=own)
        self.require_seen(record, admitted)
        return record

    async def present(self, unit: WritingUnit, admitted: Admitted) -> Record:
        """The record, locked until `unit` ends, whatever its version. Raises `NotFound`, `Erased`."""
        actor, patient_id = admitted.actor, admitted.patient_id
        found = await unit.load_for_change([patient_id]) if await visible(unit, actor, [patient_id]) else {}
        record = found.get(patient_id)
        if record is None:
            raise NotFound
        if record.status == "erased":
            raise Erased
        return record

    def require_seen(self, record: Record, admitted: Admitted) -> None:
        """Raises `RestrictedRecord` where the record withholds from the actor what they would change."""
        hidden = policy.withheld_when_restricted(admitted.actor) if record.restricted else frozenset()
        if any(BY_NAME[name].group in hidden for name in admitted.names):
            raise RestrictedRecord

    def answer(self, unit: WritingUnit, record: Record, admitted: Admitted) -> Profile:
        """The profile as it is now, as far as the actor asked for it and may read it."""
        profile = unit.open(record, view(admitted.grant, admitted.actor, restricted=record.restricted))
        if unit.merged is not None:
            profile["merged"] = unit.merged
        return profile


def _require_heard(unit: WritingUnit, record: Record, values: Mapping[str, Any], system: str) -> None:
    """Raises `SourceOverruled` where a feed would change what a higher source said; the same again is no change."""
    verdicts = unit.weigh(record, {BY_NAME[name].group for name in values}, system)
    held = [name for name in values if not verdicts[BY_NAME[name].group].takes]
    stored = unit.current(record, held) if held else {}
    if paths := [path for name in held if values[name] != stored.get(name) for path in BY_NAME[name].paths]:
        raise SourceOverruled(paths)


def system_of(actor: Actor) -> str:
    """The source system of a change made through the API: the calling application."""
    return actor.client_id or "api"
