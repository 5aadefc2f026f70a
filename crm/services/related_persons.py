"""Adding, changing and ending related persons. Their contact points keep ids and verification across changes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from auth.actor import Actor
from crm.catalogue import BY_NAME
from crm.domain import values
from crm.domain.codes import StandIn
from crm.domain.contact_points import ContactPoint
from crm.domain.related_persons import RelatedPerson
from crm.domain.times import ended
from crm.errors import Invalid
from crm.services.editing import Editor
from crm.services.profiles import Profile, Profiles
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["RelatedPersons"]

_NAME: Final = "related_persons"
_PLACE: Final = "input.relatedPerson"
_OURS: Final = ("id", "as_written", "verification", "verified", "undeliverable")
"""Members of a contact point that are not submitted: they stay while the number or mailbox does."""

Persons = list[dict[str, Any]]


class RelatedPersons:
    """The three use cases. `region` is the default region of telephone numbers without a country code."""

    def __init__(self, store: Store, profiles: Profiles, *, region: str | None = None) -> None:
        self._editor = Editor(store, profiles)
        self._region = region

    async def add(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        person: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Appends a person under a new id; contact points start unverified. Raises what `Editor.edit` raises."""

        def edit(persons: Persons, _: str) -> Persons:
            return [*persons, self._entered({**person, "id": values.new_id()}, [])]

        return await self._edit(actor, request, patient_id, expected_version, asked, edit)

    async def update(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        person_id: str,
        person: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Replaces the submitted members of one person: omitted stays, None clears, lists are replaced whole.

        A contact point whose number or mailbox stays keeps its id and verification, also where no id was sent.
        """

        def edit(persons: Persons, _: str) -> Persons:
            old = _one(persons, person_id)
            new = self._entered({**old, **person}, old.get("contact_points", []))
            return [new if each is old else each for each in persons]

        return await self._edit(actor, request, patient_id, expected_version, asked, edit)

    async def end(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        person_id: str,
        asked: frozenset[str],
    ) -> Profile:
        """Ends the role of one person, who stays as a fact: the period ends today, and contact at once."""

        def edit(persons: Persons, today: str) -> Persons:
            old = _one(persons, person_id)
            new = {**old, "contact": StandIn.NONE, "period": ended(old.get("period", {}), today)}
            return [new if each is old else each for each in persons]

        return await self._edit(actor, request, patient_id, expected_version, asked, edit)

    async def _edit(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        asked: frozenset[str],
        edit: Callable[[Persons, str], Persons],
    ) -> Profile:
        admitted = await self._editor.admit(actor, request, patient_id, [_NAME], asked)

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            stored = unit.current(record, [_NAME]).get(_NAME) or []
            # A new value was entered by the rules; what an import kept as it was written may stay so.
            persons = values.parse(
                BY_NAME[_NAME].kind, edit(stored, unit.today), "input.relatedPersons", region=self._region, lenient=True
            )
            return {_NAME: persons}

        return await self._editor.edit(admitted, expected_version, change)

    def _entered(self, person: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The person in canonical form; `known` are the contact points that are on record. Raises `Invalid`."""
        entered: dict[str, Any] = values.parse(RelatedPerson, {**person, "contact_points": []}, _PLACE)
        points = [
            point if point in known else self._point(point, known, f"{_PLACE}.contactPoints.{number}")
            for number, point in enumerate(person.get("contact_points") or [])
        ]
        return {**entered, "contact_points": points}

    def _point(self, point: Mapping[str, Any], known: Sequence[Mapping[str, Any]], place: str) -> dict[str, Any]:
        """One contact point as it was sent; with the id of a known one it takes that one's place."""
        named = next((each for each in known if each["id"] == point.get("id")), None)
        if point.get("id") is not None and named is None:
            raise Invalid(f"{place}.id", "unknown_contact_point")
        entered: dict[str, Any] = values.parse(
            ContactPoint, point, place, region=self._region, lenient=any(_end(point) == _end(each) for each in known)
        )
        same = next((each for each in [named, *known] if each and _end(each) == _end(entered)), None)
        if same is not None and (named is None or same is named):
            return {**entered, **{key: same[key] for key in _OURS if key in same}}
        return entered


def _end(point: Mapping[str, Any]) -> tuple[Any, ...]:
    return point["system"], point["value"], point.get("extension")


def _one(persons: Persons, person_id: str) -> dict[str, Any]:
    for person in persons:
        if person["id"] == person_id:
            return person
    raise Invalid("input.relatedPersonId", "unknown_related_person")
