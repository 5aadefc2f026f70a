"""What became of messages: marks on contact points that fail, and their end. Sends nothing, and shows no contact point.

Whoever sends knows a contact point by the id that a contact decision gave, so a report needs no right to read any.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from auth import policy
from auth.actor import Actor
from auth.policy import Action, Group
from auth.roles import Role
from crm.audit.event import Act, rfc3339
from crm.catalogue import BY_NAME
from crm.domain import values
from crm.domain.codes import UndeliverableReason
from crm.errors import Erased, Invalid, NotFound
from crm.services.editing import system_of
from crm.services.held_keys import require_to_change
from crm.services.request import Request
from crm.store.record import Record
from crm.store.retries import Effect, Kind
from crm.store.unit import Store, WritingUnit

__all__ = ["DeliveryReports"]

_HOLDERS: Final = ("contact_points", "related_persons", "confidential_communication")
"""The fields in which what a decision names is found by its id."""
_PATHS: Final = [path for name in _HOLDERS for path in BY_NAME[name].paths]
_MOST: Final = 2_147_483_647

_Mark = Callable[[dict[str, Any]], dict[str, Any]]


class DeliveryReports:
    """The use case of a delivery report, for whoever brings messages in."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def report(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        contact_point_id: str,
        delivered: bool,
        reason: UndeliverableReason | None,
    ) -> Mapping[str, Any]:
        """Counts a failure at the contact point, or ends its mark; answers `id` and `version` of the record alone.

        A contact point is one of the patient, of a related person, or the confidential one, which bears no mark.
        Raises `Invalid` for an unknown one and for a reason of what was delivered, `NotFound`, also for a restricted
        record of which the caller may not know, and to who sends for an erased one, `Erased` to others,
        `KeyUnavailable`, or what the policy refuses.
        """
        context = request.context(actor)
        async with self._store.recording(context, Act.UPDATE, [patient_id]):
            rule = policy.decide(actor, Action.INBOUND)
            require_to_change(self._store.keys, _PATHS)
            if delivered and reason is not None:
                raise Invalid("input.reason", "delivered")
        async with self._store.writing(request.context(actor, rule), Act.UPDATE, [patient_id]) as unit:
            record = (await unit.load_for_change([patient_id])).get(patient_id)
            if record is None:
                raise NotFound
            if record.status == "erased":
                raise NotFound if Role.MESSAGING in actor.roles else Erased  # a decision does not tell it of erasures
            mark = _cleared if delivered else _failing(reason or UndeliverableReason.UNKNOWN, rfc3339(unit.now))
            changes = _marked(unit, record, contact_point_id, mark, hidden=_hidden(actor, record))
            unit.change(record, changes, system_of(actor), speaks=False)
            unit.effect = Effect(Kind.REPORT, record.id, record.version)
            return {"id": record.id, "version": record.version}


def _hidden(actor: Actor, record: Record) -> bool:
    """Whether the caller must not learn that there is such a record."""
    return record.restricted and Group.CONTACT in policy.withheld_when_restricted(actor)


def _marked(unit: WritingUnit, record: Record, point_id: str, mark: _Mark, *, hidden: bool) -> dict[str, Any]:
    """The fields to store after `mark` changed one contact point. Raises `Invalid`, and `NotFound` where `hidden`."""
    held = unit.current(record, _HOLDERS)
    if (held.get("confidential_communication") or {}).get("id") == point_id:
        return {}  # a mark must not keep anybody from the one place where the person asked to be reached
    if hidden:
        raise NotFound
    points = held.get("contact_points") or []
    if _among(points, point_id):
        return {"contact_points": _stored("contact_points", _each(points, point_id, mark))}
    people = held.get("related_persons") or []
    if any(_among(person.get("contact_points") or [], point_id) for person in people):
        changed = [
            {**person, "contact_points": _each(person.get("contact_points") or [], point_id, mark)} for person in people
        ]
        return {"related_persons": _stored("related_persons", changed)}
    raise Invalid("input.contactPointId", "unknown_contact_point")


def _among(points: list[dict[str, Any]], point_id: str) -> bool:
    return any(point["id"] == point_id for point in points)


def _each(points: list[dict[str, Any]], point_id: str, mark: _Mark) -> list[dict[str, Any]]:
    return [mark(point) if point["id"] == point_id else point for point in points]


def _stored(name: str, value: Any) -> Any:
    return values.parse(BY_NAME[name].kind, value, "input.contactPointId", lenient=True)


def _cleared(point: dict[str, Any]) -> dict[str, Any]:
    return {key: part for key, part in point.items() if key != "undeliverable"}


def _failing(reason: UndeliverableReason, at: str) -> _Mark:
    """One failure more, since the first of those in a row, for the newest reason."""

    def mark(point: dict[str, Any]) -> dict[str, Any]:
        before = point.get("undeliverable") or {"since": at, "count": 0}
        count = min(before["count"] + 1, _MOST)
        return {**point, "undeliverable": {"since": before["since"], "reason": reason.value, "count": count}}

    return mark
