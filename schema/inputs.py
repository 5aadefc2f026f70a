"""What callers submit: input types, and `plain`, which turns a coerced input into plain values. Validates nothing.

An omitted field stays as it is, null clears it, and a list replaces the whole list that was there.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any

import graphene

from auth.policy import GRANTS, Group
from crm.domain.erasure import ErasureReason
from schema import contact_enums, enums
from schema.conflicts import OnConflictEnum
from schema.erasures import ErasureReasonEnum, KeyClassEnum, LegalHoldReason
from schema.scalars import ClockTime, LanguageTag, PartialDate, PartialDateTime, TimeZone

__all__ = [
    "AddContactPointInput",
    "ErasePatientInput",
    "LiftLegalHoldInput",
    "Mergeable",
    "PatientSearch",
    "PlaceLegalHoldInput",
    "RegisterPatientInput",
    "RetireContactPointInput",
    "Target",
    "UpdateContactPointInput",
    "UpdateIdentityInput",
    "UpdatePreferencesInput",
    "for_writers",
    "plain",
    "written_by",
]


def plain(value: Any) -> Any:
    """Dicts with snake_case keys, lists and strings; enum members become their values."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.value if isinstance(value, Enum) else value


def _text(text: str, *, required: bool = False) -> graphene.String:
    return graphene.String(description=text, required=required)


def _list(of: Any, text: str) -> graphene.List:
    return graphene.List(graphene.NonNull(of), description=text)


def written_by(text: str, group: Group) -> str:
    """Of a field: `text`, and which roles the policy lets change a group of fields, for some purpose of use."""
    return f"{text} Writable by: {_writers(group)}."


def for_writers(text: str, group: Group) -> str:
    """Of a mutation: `text`, and for whom it is, since it changes a group of fields."""
    return f"{text} For: {_writers(group)}."


def _writers(group: Group) -> str:
    return ", ".join(sorted({grant.role.value for grant in GRANTS if group in grant.write})) or "nobody"


class PeriodInput(graphene.InputObjectType):
    """From when to when something holds; both ends belong to it, and an absent end is open."""

    start = PartialDateTime(description="The first moment or day, as precise as is known.")
    end = PartialDateTime(description="The last moment or day; not before `start`.")


class HumanNameInput(graphene.InputObjectType):
    """One name: its parts as written, or the whole as `text`; at least one of them."""

    use = enums.NameUse(description="What the name is used for.")
    text = _text("The whole name as it is written, up to 200 characters.")
    family = _text("The family name, up to 200 characters.")
    given = _list(graphene.String, "Given names in the order in which they are said.")
    prefix = _list(graphene.String, "Parts before the name, such as a title.")
    suffix = _list(graphene.String, "Parts after the name.")
    period = PeriodInput(description="When the name is or was in use.")


class IdentifierKindInput(graphene.InputObjectType):
    """What kind of identifier it is."""

    system = _text("The code system, a URI; usually HL7 v2-0203.")
    code = _text("The code, such as `MR`.")
    text = _text("The kind in words.")


class IdentifierInput(graphene.InputObjectType):
    """A number or name that a system gave the person."""

    system = _text("The namespace, a URI, up to 200 characters.")
    value = _text("The identifier itself, up to 200 characters.", required=True)
    use = enums.IdentifierUse(description="What the identifier is used for.")
    type = IdentifierKindInput(description="What kind of identifier it is.")
    period = PeriodInput(description="When the identifier is or was valid.")
    assigner = _text("The organisation that gave the identifier, in words.")


class IdentifierKey(graphene.InputObjectType):
    """An identifier to look for."""

    system = _text("The namespace, a URI.", required=True)
    value = _text("The identifier itself.", required=True)


class LinkInput(graphene.InputObjectType):
    """Another record about the same person."""

    type = enums.LinkType(description="How the other record relates to this one.", required=True)
    other = _text("A reference to the other record, such as `Patient/123`.", required=True)


class LanguageInput(graphene.InputObjectType):
    """A language of the person and how it is used."""

    tag = LanguageTag(description="The language.", required=True)
    modes = _list(enums.LanguageMode, "How the language is used.")
    rank = graphene.Int(description="Order of preference, from 1.")
    preferred = graphene.Boolean(description="Whether this is the preferred language.")
    proficiency = enums.Proficiency(description="How well the language is used.")


class AccessNeedInput(graphene.InputObjectType):
    """Something to do so that the person can take part; never a diagnosis."""

    id = graphene.ID(description="The id of a need that the record already has; omit it for a new one.")
    kind = enums.AccessNeedKind(description="What is needed.", required=True)
    text = _text("Details of what to do, up to 4,000 characters.")
    flag_visible = graphene.Boolean(description="Whether staff should see the need as soon as they open the record.")
    identified_at = PartialDateTime(description="When the need was found.")
    last_reviewed_at = PartialDateTime(description="When it was last looked at with the person.")
    review_due_at = PartialDateTime(description="When it should be looked at again.")
    source = _text("Who found the need or told of it.")
    sharing_basis = contact_enums.SharingBasis(description="On what ground it is passed on to other services.")


class CulturalNeedInput(graphene.InputObjectType):
    """A cultural need: what staff should do and, kept apart from it, what it is about."""

    id = graphene.ID(description="The id of a need that the record already has; omit it for a new one.")
    kind = enums.CulturalNeedKind(description=written_by("What the need is about.", Group.CULTURE))
    handling = _text(
        written_by("What staff should do, without the reason, up to 4,000 characters.", Group.HANDLING), required=True
    )
    detail = _text(written_by("The background of the need, up to 4,000 characters; needs a `kind`.", Group.CULTURE))


_USE = "Where it reaches the person. MOBILE lets a PHONE take texts, where no capabilities are stated."
_CAPABILITIES = (
    "What the equipment behind it can do. A PHONE is sent texts only where SMS is among them. Omitted, they "
    "follow from the system, from `use` MOBILE, and from the numbering plan where it tells mobiles apart."
)
_TEXT_PERMITTED = "Whether the person wants texts at it: NO stops them, YES alone does not make a PHONE take texts."


class ContactPointInput(graphene.InputObjectType):
    """A way to reach the person; it starts unverified."""

    system = enums.ContactPointSystem(description="What kind of contact point it is.", required=True)
    value = _text("The number or address. Telephone numbers should be international, with `+`.", required=True)
    use = enums.ContactPointUse(description=_USE)
    rank = graphene.Int(description="Order of preference, from 1.")
    period = PeriodInput(description="When it is or was in use.")
    capabilities = _list(enums.Capability, _CAPABILITIES)
    text_permitted = enums.TriState(description=_TEXT_PERMITTED)
    voicemail_ok = enums.TriState(description="Whether a message may be left on its voicemail.")
    detailed_message_ok = enums.TriState(description="Whether such a message may say more than who called.")


class ContactPointChangeInput(graphene.InputObjectType):
    """What changes on a contact point: omitted stays, null clears. A new value has to be verified anew.

    A new `use` alone leaves `capabilities` as they are: give those as well, or null, and they follow from it.
    """

    system = enums.ContactPointSystem(description="What kind of contact point it is.")
    value = _text("The number or address.")
    use = enums.ContactPointUse(description=_USE)
    rank = graphene.Int(description="Order of preference, from 1.")
    period = PeriodInput(description="When it is or was in use.")
    capabilities = _list(enums.Capability, _CAPABILITIES)
    text_permitted = enums.TriState(description=_TEXT_PERMITTED)
    voicemail_ok = enums.TriState(description="Whether a message may be left on its voicemail.")
    detailed_message_ok = enums.TriState(description="Whether such a message may say more than who called.")


class AddressInput(graphene.InputObjectType):
    """Where the person lives or takes letters."""

    id = graphene.ID(description="The id of an address that the record already has; omit it for a new one.")
    use = enums.AddressUse(description="What the address is used for.")
    type = enums.AddressType(description="Whether letters or people go there.")
    text = _text("The whole address as it is written on an envelope.")
    lines = _list(graphene.String, "Street, house and the like, in the order in which they are written.")
    city = _text("City, town or village.")
    district = _text("District or county.")
    state = _text("State or region within the country.")
    postal_code = _text("Postal code.")
    country = _text("Country, preferably as an ISO 3166 code.")
    period = PeriodInput(description="When the address is or was in use.")


class ChannelPreferenceInput(graphene.InputObjectType):
    """Preferred channels for one purpose of communication; one row for each purpose."""

    purpose = enums.CommunicationPurpose(description="Why the person is contacted.", required=True)
    channels = graphene.List(
        graphene.NonNull(enums.Channel), required=True, description="Channels, the preferred one first."
    )


class ContactWindowInput(graphene.InputObjectType):
    """When the person wants to be contacted, or not to be. If its end is before its start, it goes past midnight."""

    days = graphene.List(graphene.NonNull(enums.Day), required=True, description="Days of the week on which it starts.")
    from_ = ClockTime(name="from", description="When it starts.", required=True)
    to = ClockTime(description="When it ends; not the same as `from`.", required=True)
    time_zone = TimeZone(description="The time zone of both.", required=True)
    quiet = graphene.Boolean(description="Whether this is when the person does not want to be contacted.")


class AppointmentPreferencesInput(graphene.InputObjectType):
    """What the person would like for appointments."""

    times = _list(enums.TimeOfDay, "Preferred parts of the day.")
    days = _list(enums.Day, "Preferred days of the week.")
    clinician_gender = enums.ClinicianGender(description="The clinician whom the person would rather see.")


class CaseManagerInput(graphene.InputObjectType):
    """The member of staff who is responsible for the care relationship."""

    name = _text("The name, up to 200 characters.", required=True)
    reference = _text("A reference to the person in another system.")
    organisation = _text("The organisation they work for.")
    since = PartialDateTime(description="Since when.")


class Target:
    """The record to change, and the version the change is based on."""

    patient_id = graphene.ID(description="The record to change.", required=True)
    expected_version = graphene.Int(
        description="The `version` that you read; required. VERSION_REQUIRED without it, VERSION_CONFLICT when the "
        "record has changed since."
    )


class Mergeable(Target):
    """The same for what may be put on top of changes of other fields."""

    on_conflict = OnConflictEnum(
        description="What becomes of the change where the record has changed since; REFUSE if omitted.",
    )


class _Preferences:
    """Fields shared by every input that sets preferences."""

    preferred_name = _text(written_by("The name the person wants to be called by.", Group.ADDRESSING))
    pronouns = _text(written_by("The person's pronouns, such as `they/them`.", Group.PRONOUNS))
    languages = _list(LanguageInput, written_by("All languages of the person.", Group.LANGUAGE))
    interpreter_needed = enums.TriState(description=written_by("Whether an interpreter is needed.", Group.LANGUAGE))
    accessible_formats = _list(
        enums.AccessibleFormat, written_by("Formats in which written information must be given.", Group.ACCESS)
    )
    access_needs = _list(AccessNeedInput, written_by("All access needs.", Group.ACCESS))
    cultural_needs = _list(CulturalNeedInput, written_by("All cultural needs.", Group.HANDLING))
    religion = _text(written_by("Religion or belief, in the person's words.", Group.CULTURE))
    religion_code = _text(
        written_by("Code of the religion in HL7 v3-ReligiousAffiliation, four digits.", Group.CULTURE)
    )
    channel_preferences = _list(
        ChannelPreferenceInput, written_by("Preferred channels for each purpose.", Group.CHANNEL)
    )
    contact_windows = _list(
        ContactWindowInput, written_by("When the person wants to be contacted, or not to be.", Group.CHANNEL)
    )
    time_zone = TimeZone(description=written_by("The person's time zone.", Group.CHANNEL))
    communication_style = enums.CommunicationStyle(
        description=written_by("How the person likes to be spoken and written to.", Group.STYLE)
    )
    instructions = _text(written_by("Free text for whoever meets the person, up to 4,000 characters.", Group.STYLE))
    appointment_preferences = AppointmentPreferencesInput(
        description=written_by("What the person would like for appointments.", Group.APPOINTMENT)
    )
    case_manager = CaseManagerInput(description=written_by("The responsible case manager.", Group.CASE_MANAGER))
    care_team = _list(
        graphene.String, written_by("Everybody who cares for the person: the subjects of tokens.", Group.CASE_MANAGER)
    )


class _Identity:
    """Fields shared by every input that says who the person is and where they live."""

    names = _list(HumanNameInput, written_by("All names.", Group.LEGAL_NAME))
    birth_date = PartialDate(description=written_by("Date of birth as far as it is known.", Group.BIRTH))
    administrative_gender = enums.AdministrativeGender(description=written_by("Administrative gender.", Group.GENDER))
    deceased = graphene.Boolean(description=written_by("Whether the person has died.", Group.VITAL))
    deceased_at = PartialDateTime(description=written_by("When the person died.", Group.VITAL))
    active = graphene.Boolean(description=written_by("Whether this record is in use.", Group.VITAL))
    identifiers = _list(IdentifierInput, written_by("All business identifiers.", Group.IDENTIFIERS))
    links = _list(LinkInput, written_by("All links to other records about the person.", Group.IDENTIFIERS))
    addresses = _list(AddressInput, written_by("All addresses.", Group.ADDRESS))
    sensitivity = _list(
        enums.Sensitivity, written_by("Why more people than usual may be curious about the record.", Group.GOVERNANCE)
    )


class RegisterPatientInput(_Identity, _Preferences, graphene.InputObjectType):
    """A new patient: whatever is known."""

    contact_points = _list(ContactPointInput, written_by("Ways to reach the person.", Group.CONTACT))


class UpdatePreferencesInput(Mergeable, _Preferences, graphene.InputObjectType):
    """New preferences and needs. Omitted stays, null clears, a list replaces the whole list."""


class UpdateIdentityInput(Mergeable, _Identity, graphene.InputObjectType):
    """New facts about who the person is. Omitted stays, null clears, a list replaces the whole list."""

    preferred_name = _text(written_by("The name the person wants to be called by.", Group.ADDRESSING))
    pronouns = _text(written_by("The person's pronouns, such as `they/them`.", Group.PRONOUNS))


class AddContactPointInput(Mergeable, graphene.InputObjectType):
    """One more way to reach the person."""

    contact_point = ContactPointInput(description="The new contact point.", required=True)


class UpdateContactPointInput(Mergeable, graphene.InputObjectType):
    """A change of one contact point."""

    contact_point_id = graphene.ID(description="The contact point's id within the record.", required=True)
    contact_point = ContactPointChangeInput(description="What changes.", required=True)


class RetireContactPointInput(Mergeable, graphene.InputObjectType):
    """A contact point that is no longer in use; it stays in the record as a fact."""

    contact_point_id = graphene.ID(description="The contact point's id within the record.", required=True)


class ErasePatientInput(Target, graphene.InputObjectType):
    """What to erase of a record: all of it, or some classes of its fields."""

    classes = _list(KeyClassEnum, "Only these classes; the whole patient if omitted. Not an empty list.")
    reason = ErasureReasonEnum(
        description="Why it is erased; it is recorded, and stands on the receipt.",
        required=True,
        default_value=ErasureReason.PATIENT_REQUEST,
    )


class PlaceLegalHoldInput(graphene.InputObjectType):
    """A hold on one record. It changes nothing of the record, and so needs no version."""

    patient_id = graphene.ID(description="The record to hold.", required=True)
    reason = LegalHoldReason(description="Why it must be kept.", required=True)


class LiftLegalHoldInput(graphene.InputObjectType):
    """The end of one hold."""

    patient_id = graphene.ID(description="The record that is held.", required=True)
    hold_id = graphene.ID(description="The hold's id, which `legalHolds` tells.", required=True)


class PatientSearch(graphene.InputObjectType):
    """What to look for: one of `phone`, `email`, `fullName`, `identifier`, or `familyName` with `birthDate`."""

    phone = _text("A telephone number, international with `+`, or as it is dialled in the server's own country.")
    email = _text("An e-mail address.")
    family_name = _text("A family name; only together with `birthDate`.")
    birth_date = PartialDate(description="A date of birth; only together with `familyName`.")
    full_name = _text("Given and family name, in the order in which they are said.")
    identifier = IdentifierKey(description="A business identifier.")
