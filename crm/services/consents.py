"""Recording consent directives: who may say what in whose right, and the one way by which any room appends them."""

from collections.abc import Mapping, Sequence
from typing import Any

from auth.actor import Actor
from auth.policy import Action
from auth.roles import Role
from crm.audit.event import Act
from crm.domain.codes import GiverRole
from crm.domain.consent_history import appended
from crm.domain.replies import NEEDED, released_by
from crm.domain.shape import parse
from crm.domain.times import Instant, micros
from crm.errors import Invalid
from crm.services.editing import Editor, system_of
from crm.services.profiles import Profile
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, Unit

__all__ = ["CONSULTED", "Consents", "appended_values", "ends_of"]

_PATH = "input"
CONSULTED = ("consents", "time_zone", "contact_points", "related_persons", "confidential_communication")
"""The fields that tell what a directive adds to a record."""


def appended_values(
    unit: Unit, record: Record, directives: Sequence[Mapping[str, Any]], path: str = "directives"
) -> dict[str, Any]:
    """The values with which `unit` appends `directives` to those of a locked `record`: to be given to `unit.change`.

    Empty where all of them are in force already, so that the record and its version stay. Raises `Invalid` with a place
    below `path` (see `crm.domain.consent_history.appended`).
    """
    stored = unit.current(record, CONSULTED)
    history = stored.get("consents") or []
    confidential = stored.get("confidential_communication")
    after = appended(
        history, directives, unit.now, zone=stored.get("time_zone"), confidential=confidential, ends=ends_of(stored),
        path=path,
    )  # fmt: skip
    return {"consents": after} if len(after) > len(history) else {}


def ends_of(stored: Mapping[str, Any]) -> dict[str, str]:
    """The numbers and mailboxes of a record by the ids of their contact points, those of related persons as well."""
    points = list(stored.get("contact_points") or ())
    for person in stored.get("related_persons") or ():
        points += person["contact_points"]
    return {point["id"]: point["value"] for point in points}


class Consents:
    """The use case of recording a directive that somebody gave."""

    def __init__(self, store: Store, editor: Editor) -> None:
        self._store = store
        self._editor = editor

    async def record(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        directive: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """The profile with one directive more, or as it was where the directive is in force already.

        A PERMIT of the patient lets their own numbers and mailboxes be used again which it covers and which were left
        alone before it was said. Who entered it, and in which application, is taken from the token. Raises what
        `Editor` raises, and `Invalid`: `not_your_right` for a giver in whose name the actor may not speak,
        `unknown_related_person`, `unknown_contact_point`, and what `appended_values` raises.
        """
        # The action is the right to append. Who may write the field besides, could replace it if that were possible.
        admitted = await self._editor.admit(actor, request, patient_id, (), asked, Action.CONSENT)
        async with self._store.writing(admitted.context, Act.UPDATE, [patient_id]) as unit:
            record = await self._editor.locked(unit, admitted, expected_version)
            capture = {**(directive.get("capture") or {}), "by": actor.subject, "system": system_of(actor)}
            said = {**directive, "giver": _giver(actor, directive.get("giver") or {}), "capture": capture}
            _require_known(unit, record, said)
            values = appended_values(unit, record, [said], _PATH)
            # Before the change: what the record itself forbade until now keeps the rest silent.
            released = released_by(unit.current(record, {*NEEDED, "consents"}), said, unit.today, unit.now)
            await unit.release(released, _said_at(said, unit.now))
            unit.change(record, values, system_of(actor))
            return self._editor.answer(unit, record, admitted)


def _said_at(said: Mapping[str, Any], now: int) -> int:
    """From when a PERMIT is weighed, in microseconds, UTC: what stopped later is not undone by it."""
    stated = [said["capture"].get("at"), said.get("effective_from")]
    return min([now, *(micros(parse(Instant, at, _PATH)) for at in stated if at)])


def _giver(actor: Actor, stated: Mapping[str, Any]) -> dict[str, Any]:
    """Who gives the directive. Patients speak for themselves; a proxy for the patient, and never as the patient."""
    giver = {name: value for name, value in stated.items() if value is not None}
    proxy = Role.PROXY in actor.roles
    role = giver.setdefault("role", (GiverRole.LASTING_POWER_OF_ATTORNEY if proxy else GiverRole.PATIENT).value)
    themself = role == GiverRole.PATIENT
    if (proxy and themself) or (Role.PATIENT in actor.roles and not themself):
        raise Invalid(f"{_PATH}.giver.role", "not_your_right")
    if themself and "related_person_id" in giver:
        raise Invalid(f"{_PATH}.giver.relatedPersonId", "not_your_right")
    return giver


def _require_known(unit: Unit, record: Record, said: Mapping[str, Any]) -> None:
    """Refuses a giver and a contact point that the record does not have."""
    stored = unit.current(record, ["contact_points", "related_persons"])
    related = stored.get("related_persons") or []
    points = [*(stored.get("contact_points") or []), *(point for one in related for point in one["contact_points"])]
    giver = said["giver"].get("related_person_id")
    if giver is not None and all(one["id"] != giver for one in related):
        raise Invalid(f"{_PATH}.giver.relatedPersonId", "unknown_related_person")
    point = (said.get("scope") or {}).get("contact_point_id")
    if point is not None and all(one["id"] != point for one in points):
        raise Invalid(f"{_PATH}.scope.contactPointId", "unknown_contact_point")
