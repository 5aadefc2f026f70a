"""Placing and lifting restrictions, and keeping the flag `restricted` true to them. Decides nothing about contact."""

from collections.abc import Mapping
from typing import Any, Final

from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.domain import restrictions as domain
from crm.domain import values
from crm.domain.times import instant
from crm.errors import Invalid
from crm.services.editing import Editor
from crm.services.profiles import Profile, Profiles
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["Restrictions"]

_NAMES: Final = ("restrictions", "restricted")


class Restrictions:
    """The two use cases; who may is a matter of `Action.RESTRICT`."""

    def __init__(self, store: Store, profiles: Profiles) -> None:
        self._store = store
        self._editor = Editor(store, profiles)

    async def place(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        wanted: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Adds `wanted` (kind, basis, and for CONTACT its channels, purposes and `until`); several stand side by side.

        Raises `Invalid` with the path below `input`, and what `Editor.edit` raises.
        """
        admitted = await self._editor.admit(actor, request, patient_id, _NAMES, asked, Action.RESTRICT)
        async with self._store.recording(request.context(actor), Act.UPDATE, [patient_id]):
            said = {**wanted, "placed_by": actor.subject, "placed_at": instant(self._store.clock())}
            placed = values.parse(domain.Restriction, said, "input")
        return await self._editor.edit(
            admitted, expected_version, lambda unit, record: _following([*_stated(unit, record), placed])
        )

    async def lift(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        restriction_id: str,
        asked: frozenset[str],
    ) -> Profile:
        """Ends one restriction, which stays in the record; others go on.

        Raises `Invalid` for one that is not the record's or was lifted, and what `Editor.edit` raises.
        """
        admitted = await self._editor.admit(actor, request, patient_id, _NAMES, asked, Action.RESTRICT)

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            stored = _stated(unit, record)
            found = next((each for each in stored if each["id"] == restriction_id), None)
            if found is None:
                raise Invalid("input.restrictionId", "unknown_restriction")
            if "lifted_at" in found:
                raise Invalid("input.restrictionId", "already_lifted")
            lifted = {**found, "lifted_by": actor.subject, "lifted_at": instant(unit.now)}
            return _following([lifted if each is found else each for each in stored])

        return await self._editor.edit(admitted, expected_version, change)


def _stated(unit: WritingUnit, record: Record) -> list[dict[str, Any]]:
    """The restrictions of the record, with one for a flag that none of them explains.

    That is a flag from before restrictions were kept, or one whose statement was erased. Whoever places one beside it
    shall not lift both with theirs.
    """
    stored = unit.current(record, ["restrictions"]).get("restrictions") or []
    if record.restricted and not domain.withholds(stored):
        return [*stored, domain.marked("unrecorded", instant(unit.now))]
    return stored


def _following(restrictions: list[dict[str, Any]]) -> dict[str, Any]:
    """What to store: the restrictions, and the flag that follows from them."""
    kept = values.parse(BY_NAME["restrictions"].kind, restrictions, "input.restrictions")
    return {"restrictions": kept, "restricted": domain.withholds(kept)}
