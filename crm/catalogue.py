"""The catalogue: one row per profile field, from which sealing, policy, masks, the SDL, import, export and docs derive.

To add a field: one `Field` row here plus its type in `crm/domain`. Numbers and names are frozen once released, because
stored ciphertext is bound to them (`tests/conformance/frozen_catalogue.json` fails the build when one changes).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any

from auth.policy import Group
from crm.domain import addressing, confidential, masks, reply_terms, search_terms, source_records, superseding, values

__all__ = [
    "BY_NAME",
    "BY_NUMBER",
    "BY_PATH",
    "CLASSES",
    "FIELDS",
    "INDEXES",
    "Codec",
    "Field",
    "Index",
    "KeyClass",
    "Label",
]


class KeyClass(StrEnum):
    """A class of data keys: each patient has one key per class, and a replica may be given only some classes."""

    IDENTITY = "identity"
    CONTACT = "contact"
    PREFERENCE = "preference"
    SENSITIVE = "sensitive"


class Codec(IntEnum):
    """How a value becomes the plaintext of its envelope; the number is written into the envelope's header."""

    TEXT = 0x01
    JSON = 0x03
    DATE = 0x04
    BOOL = 0x05


class Label(StrEnum):
    """Sensitivity labels (HL7 v3-ActCode, `_InformationSensitivityPolicy`), shown in each field's documentation."""

    DEMO = "DEMO"
    DOB = "DOB"
    PATLOC = "PATLOC"
    GENDER = "GENDER"
    REL = "REL"
    PRS = "PRS"
    NONE = "NONE"


@dataclass(frozen=True, slots=True)
class Field:
    """One profile field.

    `name` is the frozen logical id (in AAD, events and provenance); `paths` are the GraphQL paths below `Patient` that
    it answers.
    `key_class` is None for clear columns and for fields computed from others (`derived_from`, by `derive(values, on)`).
    `block` is the padding block of the plaintext in octets (ISO 7816-4), chosen so that lengths tell little.
    `kind` is the pydantic type of the value; `fhir` the place in a FHIR R4 Patient.
    `append_only`: a list of which the store lets nobody change or remove an entry.
    """

    number: int
    name: str
    paths: tuple[str, ...]
    group: Group
    label: Label
    description: str
    fhir: str
    kind: Any = None
    key_class: KeyClass | None = None
    codec: Codec = Codec.JSON
    block: int = 16
    mask: Callable[[Any], Any] = masks.hide
    derived_from: tuple[str, ...] = ()
    derive: Callable[[Mapping[str, Any], str], Any] | None = None
    append_only: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """One blind index: which fields feed it, how many bits are kept, and the normalised terms of a record.

    Only unique or compound values are indexed; a surname alone never is; `docs/fields.md` says what each leaks.
    """

    code: int
    name: str
    bits: int
    fields: tuple[str, ...]
    terms: Callable[[Mapping[str, Any]], set[bytes]] = field(repr=False)


def _clear(number: int, name: str, path: str, group: Group, text: str, fhir: str) -> Field:
    return Field(number, name, (path,), group, Label.NONE, text, fhir)


def _sealed(key_class: KeyClass) -> Callable[..., Field]:
    """Rows of one class: number, name, path or paths, group, label, description, FHIR path, and what is special."""

    def row(
        number: int,
        name: str,
        paths: str | tuple[str, ...],
        group: Group,
        label: Label,
        text: str,
        fhir: str,
        **more: Any,
    ) -> Field:
        every = (paths,) if isinstance(paths, str) else paths
        return Field(number, name, every, group, label, text, fhir, key_class=key_class, **more)

    return row


_identity = _sealed(KeyClass.IDENTITY)
_contact = _sealed(KeyClass.CONTACT)
_preference = _sealed(KeyClass.PREFERENCE)
_sensitive = _sealed(KeyClass.SENSITIVE)

_EXT = "http://hl7.org/fhir/StructureDefinition/"


def _ours(name: str) -> str:
    """The place of a field for which FHIR R4 has no element: an extension of our own."""
    return f"extension urn:heed:fhir:{name.replace('_', '-')}"


FIELDS: tuple[Field, ...] = (
    # --- clear columns of the record itself -------------------------------------------------------------------------
    _clear(1, "restricted", "restricted", Group.GOVERNANCE,
           "Whether the record is restricted: where the person lives and how to reach them is then withheld from most.",
           "meta.security (v3-Confidentiality R or V)"),
    _clear(2, "recorded_at", "recordedAt", Group.RECORD, "When the record was first stored.", "meta"),
    _clear(3, "updated_at", "updatedAt", Group.RECORD, "When the record last changed.", "meta.lastUpdated"),
    _clear(4, "provenance", "provenance", Group.GOVERNANCE,
           "For each group of fields: which source system said so, who entered it, and when.", "Provenance"),
    # --- who the person is -------------------------------------------------------------------------------------------
    _identity(10, "preferred_name", "preferredName", Group.ADDRESSING, Label.DEMO,
              "The name the person wants to be called by, as they say it.", "name[use=usual|nickname].text",
              kind=values.ShortText, codec=Codec.TEXT, block=32, mask=masks.initial),
    _identity(11, "names", "names", Group.LEGAL_NAME, Label.DEMO,
              "All names by FHIR use, each with the period in which it holds.", "name",
              kind=values.HumanNames, block=64),
    _identity(12, "birth_date", "birthDate", Group.BIRTH, Label.DOB,
              "Date of birth as far as it is known: YYYY, YYYY-MM or YYYY-MM-DD.", "birthDate",
              kind=values.PartialDate, codec=Codec.DATE, mask=masks.year),
    _identity(13, "deceased", "deceased", Group.VITAL, Label.NONE,
              "Whether the person has died; null where nobody said.", "deceasedBoolean", kind=bool, codec=Codec.BOOL),
    _identity(14, "deceased_at", "deceasedAt", Group.VITAL, Label.NONE,
              "When the person died, as far as it is known.", "deceasedDateTime",
              kind=values.PartialDateTime, codec=Codec.TEXT, block=32),
    _identity(15, "identifiers", "identifiers", Group.IDENTIFIERS, Label.DEMO,
              "Business identifiers, such as the hospital number or the national health number.", "identifier",
              kind=values.Identifiers, block=64, mask=masks.identifiers),
    _identity(16, "active", "active", Group.VITAL, Label.NONE,
              "Whether the source says that this record is in use.", "active", kind=bool, codec=Codec.BOOL),
    _identity(17, "links", "links", Group.IDENTIFIERS, Label.NONE,
              "Other records about the same person, such as the one that replaced this.", "link",
              kind=values.Links, block=64),
    Field(18, "display_name", ("displayName",), Group.ADDRESSING, Label.DEMO,
          "How to address the person: the one rule, computed here so that no client has to.", "",
          derived_from=("preferred_name", "names"), derive=addressing.display_name_of, mask=masks.initial),
    Field(19, "legal_name", ("legalName",), Group.LEGAL_NAME, Label.DEMO,
          "The name on official documents today.", "name[use=official]",
          derived_from=("names",), derive=addressing.legal_name_of),
    Field(20, "source_records", (), Group.RECORD, Label.DEMO,
          "Ids under which source systems know the person; used to recognise them, never answered.", "id, meta.source",
          kind=source_records.SourceRecords, key_class=KeyClass.IDENTITY, block=64),
    _identity(21, "sensitivity", "sensitivity", Group.GOVERNANCE, Label.NONE,
              "Why more people than usual may be curious about the record; the access log marks who looks at it.",
              "meta.security (v3-ActCode CEL, EMP)", kind=values.Sensitivities),
    _identity(22, "superseded_ids", "supersededIds", Group.RECORD, Label.NONE,
              "Ids of records that were merged into this one: each of them answers with this one.",
              "", kind=superseding.SupersededIds),
    Field(23, "merged_into", (), Group.RECORD, Label.NONE,
          "The record into which this one was merged; followed from the old id, never answered.", "",
          kind=superseding.RecordId, key_class=KeyClass.IDENTITY, codec=Codec.TEXT, block=64),
    # --- how to reach them -------------------------------------------------------------------------------------------
    _contact(30, "contact_points", "contactPoints", Group.CONTACT, Label.PATLOC,
             "Telephone numbers, e-mail addresses and other ways to reach the person, ranked.", "telecom",
             kind=values.ContactPoints, block=64, mask=masks.contact_points),
    _contact(31, "addresses", "addresses", Group.ADDRESS, Label.PATLOC,
             "Postal and physical addresses, each with its use and period.", "address",
             kind=values.Addresses, block=64),
    _contact(32, "related_persons", "relatedPersons", Group.RELATED, Label.PATLOC,
             "People who are contacted instead of the patient or beside them, or act for them, with their own needs.",
             "RelatedPerson", kind=values.RelatedPersons, block=64),
    _contact(33, "confidential_communication", "confidentialCommunication", Group.CONFIDENTIAL, Label.PRS,
             "The one way in which the person asked to be reached instead of all others; no reason is asked for. Staff "
             "see that there is one, and use it through contact decisions.", _ours("confidential_communication"),
             kind=values.ConfidentialCommunication, block=64, mask=confidential.withheld),
    # --- what they need and prefer -----------------------------------------------------------------------------------
    _preference(40, "languages", "languages", Group.LANGUAGE, Label.NONE,
                "Languages as BCP 47 tags, each with how it is used (spoken, written, signed), rank and proficiency.",
                "communication", kind=values.Languages, block=64),
    _preference(41, "interpreter_needed", "interpreterNeeded", Group.LANGUAGE, Label.NONE,
                "Whether an interpreter is needed: YES, NO or UNKNOWN.", f"extension {_EXT}patient-interpreterRequired",
                kind=values.TriState, codec=Codec.TEXT, block=32),
    _preference(42, "accessible_formats", "accessibleFormats", Group.ACCESS, Label.NONE,
                "Formats in which written information must be given.",
                "extension UKCore-ContactPreference (PreferredWrittenCommunicationFormat)",
                kind=values.AccessibleFormats, block=64),
    _preference(43, "access_needs", "accessNeeds", Group.ACCESS, Label.NONE,
                "What must be done so that the person can take part; what to do, never a diagnosis.", "Flag",
                kind=values.AccessNeeds, block=64),
    _preference(44, "cultural_need_handling", ("culturalNeeds.id", "culturalNeeds.handling"), Group.HANDLING,
                Label.NONE,
                "What staff should do about a cultural need, without the reason.", _ours("cultural_need_handling"),
                kind=values.CulturalNeedHandlings, block=64),
    _preference(45, "channel_preferences", "channelPreferences", Group.CHANNEL, Label.NONE,
                "Preferred channels in order, for each purpose of communication.", _ours("channel_preferences"),
                kind=values.ChannelPreferences, block=64),
    _preference(46, "contact_windows", "contactWindows", Group.CHANNEL, Label.NONE,
                "When the person wants to be contacted, or not to be, in an IANA time zone.", _ours("contact_windows"),
                kind=values.ContactWindows, block=64),
    _preference(47, "time_zone", "timeZone", Group.CHANNEL, Label.NONE,
                "The person's IANA time zone.", "extension http://hl7.org/fhir/StructureDefinition/tz-code",
                kind=values.TimeZone, codec=Codec.TEXT, block=32),
    _preference(48, "communication_style", "communicationStyle", Group.STYLE, Label.NONE,
                "How the person likes to be spoken and written to.", _ours("communication_style"),
                kind=values.CommunicationStyle, codec=Codec.TEXT, block=32),
    _preference(49, "instructions", "instructions", Group.STYLE, Label.NONE,
                "Free-text instructions for whoever meets or contacts the person.", _ours("instructions"),
                kind=values.LongText, codec=Codec.TEXT, block=64),
    _preference(50, "appointment_preferences", "appointmentPreferences", Group.APPOINTMENT, Label.NONE,
                "Preferred times of day, days, and gender of the clinician.", _ours("appointment_preferences"),
                kind=values.AppointmentPreferences, block=64),
    _preference(51, "case_manager", "caseManager", Group.CASE_MANAGER, Label.NONE,
                "The member of staff who is responsible for the person's care relationship.", _ours("case_manager"),
                kind=values.CaseManager, block=64),
    _preference(52, "care_team", "careTeam", Group.CASE_MANAGER, Label.NONE,
                "The members of staff who care for the person, as the subjects of their tokens; other clinicians and "
                "coordinators who look at the record are marked in the access log.", _ours("care_team"),
                kind=values.CareTeam, block=64),
    # --- what they permit, and what binds us --------------------------------------------------------------------------
    _preference(53, "consents", "consents", Group.CONSENT, Label.NONE,
                "Consent directives about contact, the oldest first: permissions and prohibitions, never overwritten.",
                "Consent", kind=values.ConsentDirectives, block=64, append_only=True),
    _preference(54, "suspensions", "suspensions", Group.MESSAGES, Label.NONE,
                "Messages of the person that staff have to read, or have read; while one is unclear, sending rests.",
                _ours("suspensions"), kind=values.Suspensions, block=64),
    _preference(55, "restrictions", "restrictions", Group.RESTRICTION, Label.NONE,
                "Restrictions that bind the organisation, also those that were lifted.", _ours("restrictions"),
                kind=values.Restrictions, block=64),
    # --- what only few may know --------------------------------------------------------------------------------------
    _sensitive(60, "pronouns", "pronouns", Group.PRONOUNS, Label.GENDER,
               "The person's pronouns, such as `they/them`.", f"extension {_EXT}individual-pronouns",
               kind=values.ShortText, codec=Codec.TEXT, block=32),
    _sensitive(61, "administrative_gender", "administrativeGender", Group.GENDER, Label.GENDER,
               "Administrative gender as FHIR codes it; not a statement about identity or body.", "gender",
               kind=values.AdministrativeGender, codec=Codec.TEXT, block=32),
    _sensitive(62, "religion", "religion", Group.CULTURE, Label.REL,
               "Religion or belief, in the person's words or the display of the code.",
               f"extension {_EXT}patient-religion",
               kind=values.ShortText, codec=Codec.TEXT, block=64),
    _sensitive(63, "religion_code", "religionCode", Group.CULTURE, Label.REL,
               "Code of the religion in HL7 v3-ReligiousAffiliation.", f"extension {_EXT}patient-religion",
               kind=values.ReligionCode, codec=Codec.TEXT, block=16),
    _sensitive(64, "cultural_need_detail", ("culturalNeeds.kind", "culturalNeeds.detail"), Group.CULTURE, Label.REL,
               "The kind and background of a cultural need, kept apart from what staff should do.",
                _ours("cultural_need_detail"),
               kind=values.CulturalNeedDetails, block=64),
)  # fmt: skip

BY_NAME: dict[str, Field] = {row.name: row for row in FIELDS}
BY_NUMBER: dict[int, Field] = {row.number: row for row in FIELDS}
BY_PATH: dict[str, Field] = {path: row for row in FIELDS for path in row.paths}

CLASSES: dict[KeyClass, tuple[Field, ...]] = {
    key_class: tuple(row for row in FIELDS if row.key_class is key_class) for key_class in KeyClass
}

INDEXES: tuple[Index, ...] = (
    Index(1, "identifier", 128, ("identifiers",), search_terms.identifiers),
    Index(2, "phone", 16, ("contact_points",), search_terms.phones),
    Index(3, "email", 16, ("contact_points",), search_terms.emails),
    Index(4, "full_name", 20, ("names", "preferred_name"), search_terms.full_names),
    Index(5, "family_birth_date", 128, ("names", "birth_date"), search_terms.family_birth_dates),
    Index(6, "source_record", 128, ("source_records",), source_records.terms),
    # Whose message a reply is, where it comes from a number or mailbox that is not one of the contact points.
    Index(7, "reply", 16, ("related_persons", "confidential_communication"), reply_terms.replies),
    # The month in which a review of a need is due: who reads the table sees who shares one, not which it is.
    Index(8, "review_due", 128, ("access_needs",), reply_terms.review_months),
)
