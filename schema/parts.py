"""The parts of which a patient's record consists, as GraphQL types that translate names and nothing else."""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import GRANTS, Group
from schema import contact_enums, enums
from schema.scalars import ClockTime, LanguageTag, PartialDateTime, TimeZone

__all__ = [
    "AccessNeed", "Address", "AppointmentPreferences", "CaseManager", "ChannelPreference", "ContactPoint",
    "ContactWindow", "CulturalNeed", "HumanName", "Identifier", "Language", "Link", "Period", "items", "needed",
    "readable_by", "words",
]  # fmt: skip


def readable_by(group: Group) -> str:
    """Which roles the policy lets read a group of fields, for some purpose of use, as a sentence."""
    clear = sorted({grant.role.value for grant in GRANTS if group in grant.read})
    masked = sorted({grant.role.value for grant in GRANTS if group in grant.masked} - set(clear))
    sentence = f"Readable by: {', '.join(clear) or 'nobody'}."
    return f"{sentence} Masked for: {', '.join(masked)}." if masked else sentence


def items(of: Any, text: str, **more: Any) -> graphene.Field:
    """A list without nulls in it, which may itself be null."""
    return graphene.Field(graphene.List(graphene.NonNull(of)), description=text, **more)


def needed(of: Any, text: str, **more: Any) -> graphene.Field:
    """A field that is never null."""
    return graphene.Field(of, required=True, description=text, **more)


def words(text: str) -> graphene.Field:
    """Text that may be null."""
    return graphene.Field(graphene.String, description=text)


class Period(graphene.ObjectType):
    """From when to when something holds; both ends belong to it, and an absent end is open."""

    start = graphene.Field(PartialDateTime, description="The first moment or day, as precise as is known.")
    end = graphene.Field(PartialDateTime, description="The last moment or day, as precise as is known.")


class HumanName(graphene.ObjectType):
    """One name of a person in the shape of FHIR R4 `HumanName`."""

    use = graphene.Field(enums.NameUse, description="What the name is used for.")
    text = words("The whole name as it is written.")
    family = words("The family name.")
    given = items(graphene.String, "Given names in the order in which they are said.")
    prefix = items(graphene.String, "Parts before the name, such as a title.")
    suffix = items(graphene.String, "Parts after the name.")
    period = graphene.Field(Period, description="When the name is or was in use.")


class IdentifierKind(graphene.ObjectType):
    """What kind of identifier it is."""

    system = words("The code system, a URI; usually HL7 v2-0203.")
    code = words("The code, such as `MR`.")
    text = words("The kind in words.")


class Identifier(graphene.ObjectType):
    """A number or name that a system gave the person, unique within that system (FHIR R4 `Identifier`)."""

    system = words("The namespace, a URI.")
    value = needed(graphene.String, "The identifier itself.")
    use = graphene.Field(enums.IdentifierUse, description="What the identifier is used for.")
    type = graphene.Field(IdentifierKind, description="What kind of identifier it is.")
    period = graphene.Field(Period, description="When the identifier is or was valid.")
    assigner = words("The organisation that gave the identifier, in words.")


class Link(graphene.ObjectType):
    """Another record about the same person."""

    type = needed(enums.LinkType, "How the other record relates to this one.")
    other = needed(graphene.String, "A reference to the other record, such as `Patient/123`.")


class Language(graphene.ObjectType):
    """A language of the person and how it is used."""

    tag = needed(LanguageTag, "The language.")
    text = words("The language in words, where a source wrote it out.")
    modes = items(enums.LanguageMode, "How the language is used; empty where nobody said.")
    rank = graphene.Field(graphene.Int, description="Order of preference: 1 comes first.")
    preferred = graphene.Field(graphene.Boolean, description="Whether this is the preferred language.")
    proficiency = graphene.Field(enums.Proficiency, description="How well the language is used.")


class AccessNeed(graphene.ObjectType):
    """Something to do so that the person can take part; never a diagnosis."""

    id = needed(graphene.ID, "The id of the need within the record.")
    kind = needed(enums.AccessNeedKind, "What is needed.")
    category = graphene.Field(enums.AccessNeedCategory, description="The group the kind belongs to.")
    text = words("Details of what to do, in words.")
    flag_visible = graphene.Field(
        graphene.Boolean, description="Whether staff should see the need as soon as they open the record."
    )
    identified_at = graphene.Field(PartialDateTime, description="When the need was found.")
    last_reviewed_at = graphene.Field(PartialDateTime, description="When it was last looked at with the person.")
    review_due_at = graphene.Field(PartialDateTime, description="When it should be looked at again.")
    source = words("Who found the need or told of it.")
    sharing_basis = graphene.Field(
        contact_enums.SharingBasis, description="On what ground it is passed on to other services."
    )
    last_met_at = graphene.Field(PartialDateTime, description="When it was last met.")
    last_unmet_at = graphene.Field(PartialDateTime, description="When it was last not met.")


class CulturalNeed(graphene.ObjectType):
    """A cultural need: what staff should do, and, for the few who may know, what it is about."""

    id = needed(graphene.ID, "The id of the need within the record. " + readable_by(Group.HANDLING))
    kind = graphene.Field(enums.CulturalNeedKind, description="What the need is about. " + readable_by(Group.CULTURE))
    handling = words("What staff should do, without the reason. " + readable_by(Group.HANDLING))
    detail = words("The background of the need. " + readable_by(Group.CULTURE))


class Verification(graphene.ObjectType):
    """Whether a contact point was shown to belong to the person."""

    status = needed(enums.VerificationStatus, "The state of the verification.")
    method = graphene.Field(enums.VerificationMethod, description="How it was verified.")
    at = graphene.Field(PartialDateTime, description="When it was verified.")
    by = words("Who or what verified it.")


class Undeliverable(graphene.ObjectType):
    """What is known about messages that did not arrive."""

    since = needed(PartialDateTime, "When the first of them failed.")
    reason = needed(enums.UndeliverableReason, "Why they fail.")
    count = needed(graphene.Int, "How many failed in a row.")


class ContactPoint(graphene.ObjectType):
    """One way to reach the person (FHIR R4 `ContactPoint`, with what may be said where others can listen)."""

    id = needed(graphene.ID, "The id of the contact point within the record.")
    system = needed(enums.ContactPointSystem, "What kind of contact point it is.")
    value = needed(
        graphene.String,
        "The number or address; E.164 (such as `+442071838750`) for telephones where it can be read so.",
    )
    as_written = words("The number or address as it was given, where that differs from `value`.")
    extension = words("The extension to dial after a telephone number.")
    use = graphene.Field(enums.ContactPointUse, description="Where it reaches the person.")
    rank = graphene.Field(graphene.Int, description="Order of preference: 1 comes first.")
    period = graphene.Field(Period, description="When it is or was in use.")
    capabilities = items(
        enums.Capability,
        "What the equipment behind it can do. A PHONE is sent texts only where SMS is among them. Unless stated, "
        "they follow from the system, from `use` MOBILE, and from the numbering plan where it tells mobiles apart.",
    )
    text_permitted = graphene.Field(
        enums.TriState,
        description="Whether the person wants texts at it: NO stops them, YES alone does not make a PHONE take texts.",
    )
    voicemail_ok = graphene.Field(enums.TriState, description="Whether a message may be left on its voicemail.")
    detailed_message_ok = graphene.Field(
        enums.TriState, description="Whether such a message may say more than who called."
    )
    verified = needed(graphene.Boolean, "Whether it was shown to belong to the person.")
    verification = graphene.Field(Verification, description="How and when that was shown.")
    undeliverable = graphene.Field(Undeliverable, description="Present while messages to it fail.")

    @staticmethod
    def resolve_verified(root: Mapping[str, Any], _info: Any) -> bool:
        """The state of the verification as yes or no."""
        verification: Mapping[str, Any] = root.get("verification") or {}
        return verification.get("status") == "VERIFIED"


class Address(graphene.ObjectType):
    """Where the person lives or takes letters (FHIR R4 `Address`)."""

    id = needed(graphene.ID, "The id of the address within the record.")
    use = graphene.Field(enums.AddressUse, description="What the address is used for.")
    type = graphene.Field(enums.AddressType, description="Whether letters or people go there.")
    text = words("The whole address as it is written on an envelope.")
    lines = items(graphene.String, "Street, house and the like, in the order in which they are written.")
    city = words("City, town or village.")
    district = words("District or county.")
    state = words("State or region within the country.")
    postal_code = words("Postal code.")
    country = words("Country, as an ISO 3166 code where the source gave one.")
    period = graphene.Field(Period, description="When the address is or was in use.")


class ChannelPreference(graphene.ObjectType):
    """Preferred channels for one purpose of communication."""

    purpose = needed(enums.CommunicationPurpose, "Why the person is contacted.")
    channels = graphene.Field(
        graphene.List(graphene.NonNull(enums.Channel)), required=True, description="Channels, the preferred one first."
    )


class ContactWindow(graphene.ObjectType):
    """When the person wants to be contacted, or not to be. If its end is before its start, it goes past midnight."""

    days = graphene.Field(
        graphene.List(graphene.NonNull(enums.Day)), required=True, description="Days of the week on which it starts."
    )
    from_ = needed(ClockTime, "When it starts.", name="from", source="from")
    to = needed(ClockTime, "When it ends.")
    time_zone = needed(TimeZone, "The time zone of both.")
    quiet = needed(graphene.Boolean, "Whether this is when the person does not want to be contacted.")

    @staticmethod
    def resolve_quiet(root: Mapping[str, Any], _info: Any) -> bool:
        """What was stored before there were quiet windows says nothing of it."""
        return bool(root.get("quiet"))


class AppointmentPreferences(graphene.ObjectType):
    """What the person would like for appointments."""

    times = items(enums.TimeOfDay, "Preferred parts of the day.")
    days = items(enums.Day, "Preferred days of the week.")
    clinician_gender = graphene.Field(enums.ClinicianGender, description="The clinician the person would rather see.")


class CaseManager(graphene.ObjectType):
    """The member of staff who is responsible for the care relationship."""

    name = needed(graphene.String, "The name.")
    reference = words("A reference to the person in another system.")
    organisation = words("The organisation they work for.")
    since = graphene.Field(PartialDateTime, description="Since when.")
