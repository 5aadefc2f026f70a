"""Taking in consent directives of other systems: each is appended to those of a known patient. Overwrites nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.domain.consent_history import appended
from crm.errors import Invalid
from crm.services.consents import CONSULTED, ends_of
from crm.services.recognition import Incoming, Known, Obstacle
from crm.store.context import Context
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["Said", "Statement", "append_all"]

_KEY_CLASS = BY_NAME["consents"].key_class
_MEANING = ("decision", "scope", "effective_from", "effective_to")


@dataclass(frozen=True, slots=True)
class Statement:
    """A Consent that was understood: how to find the patient it is about, and the directive as `appended` takes it.

    The directive's `id` is the same whenever the same Consent is read. `not_taken` are paths of elements left behind.
    """

    about: Incoming
    directive: Mapping[str, Any] = field(repr=False)
    not_taken: frozenset[str] = frozenset()


Said = bool | Obstacle | Invalid | None
"""What became of a statement: appended, or not because it was there; why not; None where nobody known is meant."""


async def append_all(
    store: Store, context: Context, statements: Sequence[Statement], known: Sequence[Known | None]
) -> list[Said]:
    """Appends what `statements` say about `known` patients, in one transaction, with one event and version a patient.

    Raises `Erased` and `Tampered` where a record cannot be opened, and appends nothing then.
    """
    said: list[Said] = [one.obstacle if one else None for one in known]
    of_patient: dict[str, list[int]] = {}
    for number, one in enumerate(known):
        if one is not None and one.obstacle is None:
            of_patient.setdefault(one.patient_id, []).append(number)
    async with store.writing(context, Act.IMPORT) as unit:
        records = await unit.load_for_change(of_patient)
        of_record: dict[str, list[int]] = {}
        for patient_id, numbers in of_patient.items():  # two of them may have been merged since they were recognised
            of_record.setdefault(records[patient_id].id if patient_id in records else patient_id, []).extend(numbers)
        by_id = {record.id: record for record in records.values()}
        for record_id, numbers in of_record.items():
            told = [statements[number] for number in sorted(numbers)]
            for number, outcome in zip(sorted(numbers), _append(unit, by_id.get(record_id), told), strict=True):
                said[number] = outcome
    return said


def _append(unit: WritingUnit, record: Record | None, statements: Sequence[Statement]) -> list[Said]:
    if record is None:
        return [None] * len(statements)
    if record.status != "active" or _KEY_CLASS in record.erased:  # nor does an import fill again what was erased
        gone = Obstacle.PATIENT_MERGED if record.status == "merged" else Obstacle.PATIENT_ERASED
        return [gone] * len(statements)
    unit.touch(record)
    stored = unit.current(record, CONSULTED)
    before = history = stored.get("consents") or []
    said: list[Said] = []
    for statement in statements:
        try:
            after = _appended(history, statement.directive, unit.now, stored)
        except Invalid as fault:
            said.append(fault)
        else:
            said.append(len(after) > len(history))
            history = after
    if history is not before:
        unit.change(record, {"consents": history}, statements[0].about.source)
    return said


def _appended(
    history: list[Mapping[str, Any]], directive: Mapping[str, Any], now: int, stored: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """The history with one directive more, or as it is where the directive stands in it already."""
    zone, confidential = stored.get("time_zone"), stored.get("confidential_communication")
    [entry] = appended([], [directive], now, zone=zone, path="provision")
    if twin := next((old for old in history if old["id"] == entry["id"]), None):
        if any(twin.get(name) != entry.get(name) for name in _MEANING):
            raise Invalid("provision.id", "duplicate")
        return history
    point = entry["scope"].get("contact_point_id")
    ends = ends_of(stored)
    if point is not None and point not in ends:
        raise Invalid("provision.scope.contactPointId", "unknown_contact_point")
    after = appended(history, [directive], now, zone=zone, confidential=confidential, ends=ends, path="provision")
    return after if len(after) > len(history) else history
