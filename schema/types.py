"""The patient as GraphQL shows one: types that translate names and nothing else. Descriptions come from the catalogue.

A profile is a plain dict that a root resolver got from a service; everything here resolves from it without I/O. An
exception in place of a value, as of a field that was erased, becomes the error of that field; the rest is answered.
"""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Group
from crm.catalogue import BY_PATH
from schema import enums
from schema.contact_parts import ConfidentialCommunication, ConsentDirective, RelatedPerson, Restriction, Suspension
from schema.parts import (
    AccessNeed,
    Address,
    AppointmentPreferences,
    CaseManager,
    ChannelPreference,
    ContactPoint,
    ContactWindow,
    CulturalNeed,
    HumanName,
    Identifier,
    Language,
    Link,
    items,
    needed,
    readable_by,
)
from schema.provenance import Provenance
from schema.scalars import DateTime, PartialDate, PartialDateTime, TimeZone

__all__ = ["CLEAR", "Patient", "PatientResult", "Refusal"]

CLEAR: frozenset[str] = frozenset({"id", "version"})
"""Fields of `Patient` that every grant to read includes; they hold nothing about the person."""

ABSENT = "Null where nothing is recorded, where the policy withholds it, and beside the error ERASED."


def _about(path: str) -> str:
    field = BY_PATH[path]
    return f"{field.description} {readable_by(field.group)}"


def _own(of: Any, path: str) -> graphene.Field:
    return graphene.Field(of, description=f"{_about(path)} {ABSENT}")


def _own_list(of: Any, path: str) -> graphene.Field:
    return items(of, f"{_about(path)} {ABSENT}")


_NEED_PARTS = {"cultural_need_handling": ("handling",), "cultural_need_detail": ("kind", "detail")}
"""The fields in which cultural needs are stored, and the members that each has of them."""


class Patient(graphene.ObjectType):
    """One person's record: how to address and reach them, and what they need and prefer."""

    id = needed(graphene.ID, "The record's id: opaque, and the same for ever.")
    version = needed(graphene.Int, "Counts the record's changes from 1; state it as `expectedVersion` in a change.")
    superseded_ids = _own_list(graphene.ID, "supersededIds")
    restricted = _own(graphene.Boolean, "restricted")
    sensitivity = _own_list(enums.Sensitivity, "sensitivity")
    recorded_at = _own(DateTime, "recordedAt")
    updated_at = _own(DateTime, "updatedAt")
    provenance = _own_list(Provenance, "provenance")
    display_name = _own(graphene.String, "displayName")
    preferred_name = _own(graphene.String, "preferredName")
    legal_name = _own(HumanName, "legalName")
    names = _own_list(HumanName, "names")
    pronouns = _own(graphene.String, "pronouns")
    birth_date = _own(PartialDate, "birthDate")
    deceased = _own(graphene.Boolean, "deceased")
    deceased_at = _own(PartialDateTime, "deceasedAt")
    active = _own(graphene.Boolean, "active")
    administrative_gender = _own(enums.AdministrativeGender, "administrativeGender")
    identifiers = _own_list(Identifier, "identifiers")
    links = _own_list(Link, "links")
    contact_points = _own_list(ContactPoint, "contactPoints")
    addresses = _own_list(Address, "addresses")
    languages = _own_list(Language, "languages")
    interpreter_needed = _own(enums.TriState, "interpreterNeeded")
    accessible_formats = _own_list(enums.AccessibleFormat, "accessibleFormats")
    access_needs = _own_list(AccessNeed, "accessNeeds")
    cultural_needs = items(
        CulturalNeed,
        f"Cultural needs: what staff should do, and what they are about. {readable_by(Group.HANDLING)} {ABSENT}",
    )
    religion = _own(graphene.String, "religion")
    religion_code = _own(graphene.String, "religionCode")
    channel_preferences = _own_list(ChannelPreference, "channelPreferences")
    contact_windows = _own_list(ContactWindow, "contactWindows")
    time_zone = _own(TimeZone, "timeZone")
    communication_style = _own(enums.CommunicationStyle, "communicationStyle")
    instructions = _own(graphene.String, "instructions")
    appointment_preferences = _own(AppointmentPreferences, "appointmentPreferences")
    case_manager = _own(CaseManager, "caseManager")
    care_team = _own_list(graphene.String, "careTeam")
    related_persons = _own_list(RelatedPerson, "relatedPersons")
    confidential_communication = _own(ConfidentialCommunication, "confidentialCommunication")
    consents = _own_list(ConsentDirective, "consents")
    suspensions = _own_list(Suspension, "suspensions")
    restrictions = _own_list(Restriction, "restrictions")

    @staticmethod
    def resolve_cultural_needs(root: Mapping[str, Any], _info: Any) -> list[dict[str, Any]] | None:
        """Puts what is stored apart (what to do, and why) together again by the id of the need.

        What was erased of each need answers so in its place; with nothing left, the whole field does.
        """
        parts = {name: root[name] for name in _NEED_PARTS if root.get(name) is not None}
        erased = {name: part for name, part in parts.items() if isinstance(part, Exception)}
        needs: dict[str, dict[str, Any]] = {}
        for name, part in parts.items():
            for entry in () if name in erased else part:
                needs.setdefault(entry["id"], {}).update(entry)
        for name, failure in erased.items():
            if not needs:
                raise failure
            for need in needs.values():
                need.update(dict.fromkeys(_NEED_PARTS[name], failure))
        return list(needs.values()) if parts else None


class Refusal(graphene.ObjectType):
    """Stands in a batch for a patient who is not answered."""

    id = needed(graphene.ID, "The id that was asked for.")
    code = needed(enums.ErrorCode, "Why; an unknown patient and one you may not know of are both NOT_FOUND.")


class PatientResult(graphene.Union):
    """What one id of a batch comes to: the patient, or why not."""

    class Meta:
        types = (Patient, Refusal)

    @classmethod
    def resolve_type(cls, instance: Any, info: Any) -> Any:
        """A profile is a dict; whatever else the service answers is a refusal."""
        return Patient if isinstance(instance, dict) else Refusal
