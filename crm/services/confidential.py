"""Setting and clearing the confidential communication: by the person, or by the privacy officer who takes the request.

Nobody is asked for a reason, and no reason can be stored (45 CFR 164.522(b)(2)(iii)).
"""

from collections.abc import Mapping
from typing import Any, Final

from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.domain import values
from crm.domain.times import instant
from crm.services.editing import Editor
from crm.services.profiles import Profile, Profiles
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["ConfidentialCommunications"]

_NAME: Final = "confidential_communication"
_END: Final = ("channel", "value", "address")


class ConfidentialCommunications:
    """The two use cases. `region` is the default region of telephone numbers without a country code."""

    def __init__(self, store: Store, profiles: Profiles, *, region: str | None = None) -> None:
        self._store = store
        self._editor = Editor(store, profiles)
        self._region = region

    async def set(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        wanted: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Puts `wanted` (channel, value or address, purposes, language) in the place of whatever was there.

        It holds from now on. Who asks for the same end again keeps its id. Raises `Invalid` with the path below `input`
        and what `Editor.edit` raises.
        """
        admitted = await self._editor.admit(actor, request, patient_id, [_NAME], asked, Action.CONFIDE)
        async with self._store.recording(request.context(actor), Act.UPDATE, [patient_id]):
            said = {**wanted, "set_at": instant(self._store.clock()), "set_by": actor.subject}
            entered = values.parse(BY_NAME[_NAME].kind, said, "input", region=self._region)

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            old = unit.current(record, [_NAME]).get(_NAME)
            return {_NAME: {**entered, "id": old["id"]} if old and _end(old) == _end(entered) else entered}

        return await self._editor.edit(admitted, expected_version, change)

    async def clear(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        asked: frozenset[str],
    ) -> Profile:
        """Takes it away; the ordinary ways to the person count again. Without one, nothing is changed."""
        admitted = await self._editor.admit(actor, request, patient_id, [_NAME], asked, Action.CONFIDE)
        return await self._editor.edit(admitted, expected_version, lambda _unit, _record: {_NAME: None})


def _end(communication: Mapping[str, Any]) -> list[Any]:
    """Where it leads, without the id of an address: that is new each time it is entered."""
    place = [communication.get(name) for name in _END]
    return [{**part, "id": ""} if isinstance(part, dict) else part for part in place]
