"""The patient as GraphQL shows one: types that translate names and nothing else. Descriptions come from the catalogue.

A profile is a plain dict that a root resolver got from a service; everything here resolves from it without I/O. An
exception in place of a value, as of a field that was erased, becomes the error of that field; the rest is answered.
"""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import GRANTS, Group
from crm.catalogue import BY_PATH
from schema import enums
from schema.scalars import ClockTime, DateTime, LanguageTag, PartialDate, PartialDateTime, TimeZone

__all__ = ["CLEAR", "Patient", "PatientResult", "Period", "Refusal", "readable_by"]

CLEAR: frozenset[str] = frozenset({"id", "version"})
"""Fields of `Patient` that every grant to read includes; they hold nothing about the person."""

ABSENT = "Null where nothing is recorded, where the policy withholds it, and beside the error ERASED."


def readable_by(group: Group) -> str:
    """Which roles the policy lets read a group of fields, for some purpose of use, as a sentence."""
    clear = sorted({grant.role.value for grant in GRANTS if group in grant.read})
    masked = sorted({grant.role.value for grant in GRANTS if group in grant.masked} - set(clear))
    sentence = f"Readable by: {', '.join(clear) or 'nobody'}."
    return f"{sentence} Masked for: {', '.join(masked)}." if masked else sentence


def _about(path: str) -> str:
    field = BY_PATH[path]
    return f"{field.description} {readable_by(field.group)}"


def _list(of: Any, text: str, **more: Any) -> graphene.Field:
    return graphene.Field(graphene.List(graphene.NonNull(of)), description=text, **more)


def _need(of: Any, text: str, **more: Any) -> graphene.Field:
    return graphene.Field(of, required=True, description=text, **more)


def _text(text: str) -> graphene.Field:
    return graphene.Field(graphene.String, description=text)


class Period(graphene.ObjectType):
    """From when to when something holds; both ends belong to it, and an absent end is open."""

    start = graphene.Field(PartialDateTime, description="The first moment or day, as precise as is known.")
    end = graphene.Field(PartialDateTime, description="The last moment or day, as precise as is known.")


class HumanName(graphene.ObjectType):
    """One name of a person in the shape of FHIR R4 `HumanName`."""

    use = graphene.Field(enums.NameUse, description="What the name is used for.")
    text = _text("The whole name as it is written.")
    family = _text("The family name.")
    given = _list(graphene.String, "Given names in the order in which they are said.")
    prefix = _list(graphene.String, "Parts before the name, such as a title.")
    suffix = _list(graphene.String, "Parts after the name.")
    period = graphene.Field(Period, description="When the name is or was in use.")


class IdentifierType(graphene.ObjectType):
    """What kind of identifier it is."""

    system = _text("The code system, a URI; usually HL7 v2-0203.")
    code = _text("The code, such as `MR`.")
    text = _text("The kind in words.")


class Identifier(graphene.ObjectType):
    """A number or name that a system gave the person, unique within that system (FHIR R4 `Identifier`)."""

    system = _text("The namespace, a URI.")
    value = _need(graphene.String, "The identifier itself.")
    use = graphene.Field(enums.IdentifierUse, description="What the identifier is used for.")
    type = graphene.Field(IdentifierType, description="What kind of identifier it is.")
    period = graphene.Field(Period, description="When the identifier is or was valid.")
    assigner = _text("The organisation that gave the identifier, in words.")


class Link(graphene.ObjectType):
    """Another record about the same person."""

    type = _need(enums.LinkType, "How the other record relates to this one.")
    other = _need(graphene.String, "A reference to the other record, such as `Patient/123`.")


class Language(graphene.ObjectType):
    """A language of the person and how it is used."""

    tag = _need(LanguageTag, "The language.")
    text = _text("The language in words, where a source wrote it out.")
    modes = _list(enums.LanguageMode, "How the language is used; empty where nobody said.")
    rank = graphene.Field(graphene.Int, description="Order of preference: 1 comes first.")
    preferred = graphene.Field(graphene.Boolean, description="Whether this is the preferred language.")
    proficiency = graphene.Field(enums.Proficiency, description="How well the language is used.")


class AccessNeed(graphene.ObjectType):
    """Something to do so that the person can take part; never a diagnosis."""

    id = _need(graphene.ID, "The id of the need within the record.")
    kind = _need(enums.AccessNeedKind, "What is needed.")
    category = graphene.Field(enums.AccessNeedCategory, description="The group the kind belongs to.")
    text = _text("Details of what to do, in words.")
    flag_visible = graphene.Field(
        graphene.Boolean, description="Whether staff should see the need as soon as they open the record."
    )
    identified_at = graphene.Field(PartialDateTime, description="When the need was found.")
    last_reviewed_at = graphene.Field(PartialDateTime, description="When it was last looked at with the person.")
    review_due_at = graphene.Field(PartialDateTime, description="When it should be looked at again.")


class CulturalNeed(graphene.ObjectType):
    """A cultural need: what staff should do, and, for the few who may know, what it is about."""

    id = _need(graphene.ID, "The id of the need within the record. " + readable_by(Group.HANDLING))
    kind = graphene.Field(enums.CulturalNeedKind, description="What the need is about. " + readable_by(Group.CULTURE))
    handling = _text("What staff should do, without the reason. " + readable_by(Group.HANDLING))
    detail = _text("The background of the need. " + readable_by(Group.CULTURE))


class Verification(graphene.ObjectType):
    """Whether a contact point was shown to belong to the person."""

    status = _need(enums.VerificationStatus, "The state of the verification.")
    method = graphene.Field(enums.VerificationMethod, description="How it was verified.")
    at = graphene.Field(PartialDateTime, description="When it was verified.")
    by = _text("Who or what verified it.")


class Undeliverable(graphene.ObjectType):
    """What is known about messages that did not arrive."""

    since = _need(PartialDateTime, "When the first of them failed.")
    reason = _need(enums.UndeliverableReason, "Why they fail.")
    count = _need(graphene.Int, "How many failed in a row.")


class ContactPoint(graphene.ObjectType):
    """One way to reach the person (FHIR R4 `ContactPoint`, with what may be said where others can listen)."""

    id = _need(graphene.ID, "The id of the contact point within the record.")
    system = _need(enums.ContactPointSystem, "What kind of contact point it is.")
    value = _need(
        graphene.String,
        "The number or address; E.164 (such as `+442071838750`) for telephones where it can be read so.",
    )
    as_written = _text("The number or address as it was given, where that differs from `value`.")
    extension = _text("The extension to dial after a telephone number.")
    use = graphene.Field(enums.ContactPointUse, description="Where it reaches the person.")
    rank = graphene.Field(graphene.Int, description="Order of preference: 1 comes first.")
    period = graphene.Field(Period, description="When it is or was in use.")
    capabilities = _list(enums.Capability, "What the equipment behind it can do.")
    text_permitted = graphene.Field(enums.TriState, description="Whether text messages may be sent to it.")
    voicemail_ok = graphene.Field(enums.TriState, description="Whether a message may be left on its voicemail.")
    detailed_message_ok = graphene.Field(
        enums.TriState, description="Whether such a message may say more than who called."
    )
    verified = _need(graphene.Boolean, "Whether it was shown to belong to the person.")
    verification = graphene.Field(Verification, description="How and when that was shown.")
    undeliverable = graphene.Field(Undeliverable, description="Present while messages to it fail.")

    @staticmethod
    def resolve_verified(root: Mapping[str, Any], _info: Any) -> bool:
        """The state of the verification as yes or no."""
        verification: Mapping[str, Any] = root.get("verification") or {}
        return verification.get("status") == "VERIFIED"


class Address(graphene.ObjectType):
    """Where the person lives or takes letters (FHIR R4 `Address`)."""

    id = _need(graphene.ID, "The id of the address within the record.")
    use = graphene.Field(enums.AddressUse, description="What the address is used for.")
    type = graphene.Field(enums.AddressType, description="Whether letters or people go there.")
    text = _text("The whole address as it is written on an envelope.")
    lines = _list(graphene.String, "Street, house and the like, in the order in which they are written.")
    city = _text("City, town or village.")
    district = _text("District or county.")
    state = _text("State or region within the country.")
    postal_code = _text("Postal code.")
    country = _text("Country, as an ISO 3166 code where the source gave one.")
    period = graphene.Field(Period, description="When the address is or was in use.")


class ChannelPreference(graphene.ObjectType):
    """Preferred channels for one purpose of communication."""

    purpose = _need(enums.CommunicationPurpose, "Why the person is contacted.")
    channels = graphene.Field(
        graphene.List(graphene.NonNull(enums.Channel)), required=True, description="Channels, the preferred one first."
    )


class ContactWindow(graphene.ObjectType):
    """When the person wants to be contacted. A window whose end is before its start goes on past midnight."""

    days = graphene.Field(
        graphene.List(graphene.NonNull(enums.Day)), required=True, description="Days of the week on which it starts."
    )
    from_ = _need(ClockTime, "When it starts.", name="from", source="from")
    to = _need(ClockTime, "When it ends.")
    time_zone = _need(TimeZone, "The time zone of both.")


class AppointmentPreferences(graphene.ObjectType):
    """What the person would like for appointments."""

    times = _list(enums.TimeOfDay, "Preferred parts of the day.")
    days = _list(enums.Day, "Preferred days of the week.")
    clinician_gender = graphene.Field(enums.ClinicianGender, description="The clinician the person would rather see.")


class CaseManager(graphene.ObjectType):
    """The member of staff who is responsible for the care relationship."""

    name = _need(graphene.String, "The name.")
    reference = _text("A reference to the person in another system.")
    organisation = _text("The organisation they work for.")
    since = graphene.Field(PartialDateTime, description="Since when.")


class Provenance(graphene.ObjectType):
    """Where one group of fields comes from."""

    group = _need(enums.FieldGroup, "The group of fields.")
    source = _need(graphene.String, "The system that said so.")
    recorded_by = _text("Who entered it, as the subject of their token.")
    recorded_at = _need(DateTime, "When it was entered here.")


def _own(of: Any, path: str) -> graphene.Field:
    return graphene.Field(of, description=f"{_about(path)} {ABSENT}")


def _own_list(of: Any, path: str) -> graphene.Field:
    return _list(of, f"{_about(path)} {ABSENT}")


_NEED_PARTS = {"cultural_need_handling": ("handling",), "cultural_need_detail": ("kind", "detail")}
"""The fields in which cultural needs are stored, and the members that each has of them."""


class Patient(graphene.ObjectType):
    """One person's record: how to address and reach them, and what they need and prefer."""

    id = _need(graphene.ID, "The record's id: opaque, and the same for ever.")
    version = _need(graphene.Int, "Counts the record's changes from 1; state it as `expectedVersion` in a change.")
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
    cultural_needs = _list(
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

    id = _need(graphene.ID, "The id that was asked for.")
    code = _need(enums.ErrorCode, "Why; an unknown patient and one you may not know of are both NOT_FOUND.")


class PatientResult(graphene.Union):
    """What one id of a batch comes to: the patient, or why not."""

    class Meta:
        types = (Patient, Refusal)

    @classmethod
    def resolve_type(cls, instance: Any, info: Any) -> Any:
        """A profile is a dict; whatever else the service answers is a refusal."""
        return Patient if isinstance(instance, dict) else Refusal
