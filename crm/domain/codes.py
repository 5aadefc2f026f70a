"""Owns the code lists of the profile, each with the code system it comes from; stored and shown as UPPER_CASE words."""

from enum import StrEnum

__all__ = [
    "AccessNeedCategory", "AddressType", "AddressUse", "AdministrativeGender", "Authority", "Capability", "Channel",
    "ClinicianGender", "CommunicationPurpose", "CommunicationStyle", "ConsentDecision", "ContactPointSystem",
    "ContactPointUse", "CulturalNeedKind", "Day", "GiverRole", "IdentifierUse", "LanguageMode", "LinkType", "NameUse",
    "Proficiency", "Relationship", "RestrictionBasis", "RestrictionKind", "Sensitivity", "SharingBasis", "StandIn",
    "SuspensionKind", "SuspensionVerdict", "TimeOfDay", "TriState", "UndeliverableReason", "VerificationMethod",
    "VerificationStatus",
]  # fmt: skip


class TriState(StrEnum):
    """Yes, no, or nobody asked: silence is not consent (US Core 9 value set of `us-core-interpreter-needed`)."""

    YES = "YES"
    NO = "NO"
    UNKNOWN = "UNKNOWN"


class Sensitivity(StrEnum):
    """Who the person is to the public or to the organisation (HL7 v3-ActCode, InformationSensitivityPolicy: CEL, EMP).

    The codes of that list that name an illness or a kind of treatment are left out on purpose.
    """

    CELEBRITY = "CELEBRITY"
    EMPLOYEE = "EMPLOYEE"


class NameUse(StrEnum):
    """What a name is used for (http://hl7.org/fhir/name-use)."""

    USUAL = "USUAL"
    OFFICIAL = "OFFICIAL"
    TEMP = "TEMP"
    NICKNAME = "NICKNAME"
    ANONYMOUS = "ANONYMOUS"
    OLD = "OLD"
    MAIDEN = "MAIDEN"


class IdentifierUse(StrEnum):
    """What an identifier is used for (http://hl7.org/fhir/identifier-use)."""

    USUAL = "USUAL"
    OFFICIAL = "OFFICIAL"
    TEMP = "TEMP"
    SECONDARY = "SECONDARY"
    OLD = "OLD"


class LinkType(StrEnum):
    """How two records about one person relate (http://hl7.org/fhir/link-type)."""

    REPLACED_BY = "REPLACED_BY"
    REPLACES = "REPLACES"
    REFER = "REFER"
    SEEALSO = "SEEALSO"


class AdministrativeGender(StrEnum):
    """Gender for administration (http://hl7.org/fhir/administrative-gender)."""

    MALE = "MALE"
    FEMALE = "FEMALE"
    OTHER = "OTHER"
    UNKNOWN = "UNKNOWN"


class ContactPointSystem(StrEnum):
    """What a contact point is (http://hl7.org/fhir/contact-point-system)."""

    PHONE = "PHONE"
    FAX = "FAX"
    EMAIL = "EMAIL"
    PAGER = "PAGER"
    URL = "URL"
    SMS = "SMS"
    OTHER = "OTHER"


class ContactPointUse(StrEnum):
    """Where a contact point reaches the person (http://hl7.org/fhir/contact-point-use)."""

    HOME = "HOME"
    WORK = "WORK"
    TEMP = "TEMP"
    OLD = "OLD"
    MOBILE = "MOBILE"


class Capability(StrEnum):
    """What the equipment behind a contact point can do (HL7 v3-TelecommunicationCapabilities)."""

    VOICE = "VOICE"
    SMS = "SMS"
    FAX = "FAX"
    TTY = "TTY"
    DATA = "DATA"


class VerificationStatus(StrEnum):
    """Whether the person was shown to hold the contact point (Heed's own list)."""

    UNVERIFIED = "UNVERIFIED"
    VERIFIED = "VERIFIED"
    FAILED = "FAILED"


class VerificationMethod(StrEnum):
    """How a contact point was verified: one-time code, a reply, staff, or another system's word (Heed's own list)."""

    OTP = "OTP"
    REPLY = "REPLY"
    STAFF = "STAFF"
    IMPORT = "IMPORT"


class UndeliverableReason(StrEnum):
    """Why messages fail (http://terminology.hl7.org/CodeSystem/communication-not-done-reason; one is Heed's own)."""

    UNKNOWN = "UNKNOWN"
    SYSTEM_ERROR = "SYSTEM_ERROR"
    INVALID_PHONE_NUMBER = "INVALID_PHONE_NUMBER"
    RECIPIENT_UNAVAILABLE = "RECIPIENT_UNAVAILABLE"
    FAMILY_OBJECTION = "FAMILY_OBJECTION"
    PATIENT_OBJECTION = "PATIENT_OBJECTION"
    INVALID_ADDRESS = "INVALID_ADDRESS"


class AddressUse(StrEnum):
    """What an address is used for (http://hl7.org/fhir/address-use)."""

    HOME = "HOME"
    WORK = "WORK"
    TEMP = "TEMP"
    OLD = "OLD"
    BILLING = "BILLING"


class AddressType(StrEnum):
    """Whether letters or people go to an address (http://hl7.org/fhir/address-type)."""

    POSTAL = "POSTAL"
    PHYSICAL = "PHYSICAL"
    BOTH = "BOTH"


class LanguageMode(StrEnum):
    """How a language is used; HL7 v3-LanguageAbilityMode without its split into expressed and received."""

    SPOKEN = "SPOKEN"
    WRITTEN = "WRITTEN"
    SIGNED = "SIGNED"


class Proficiency(StrEnum):
    """How well a language is used (HL7 v3-LanguageAbilityProficiency: E, G, F, P)."""

    EXCELLENT = "EXCELLENT"
    GOOD = "GOOD"
    FAIR = "FAIR"
    POOR = "POOR"


class AccessNeedCategory(StrEnum):
    """The group of an access need: the four of the English Accessible Information Standard, and everything else."""

    COMMUNICATION_SUPPORT = "COMMUNICATION_SUPPORT"
    COMMUNICATION_PROFESSIONAL = "COMMUNICATION_PROFESSIONAL"
    CONTACT_METHOD = "CONTACT_METHOD"
    INFORMATION_FORMAT = "INFORMATION_FORMAT"
    ADDITIONAL = "ADDITIONAL"


class CulturalNeedKind(StrEnum):
    """What a cultural need is about (Heed's own list: no standard one is known)."""

    DIET = "DIET"
    PRAYER_OR_RITUAL = "PRAYER_OR_RITUAL"
    MODESTY = "MODESTY"
    CLINICIAN_GENDER = "CLINICIAN_GENDER"
    BLOOD_PRODUCTS = "BLOOD_PRODUCTS"
    FASTING_OR_CALENDAR = "FASTING_OR_CALENDAR"
    FAMILY_DECISION = "FAMILY_DECISION"
    END_OF_LIFE = "END_OF_LIFE"
    TOUCH_OR_SPACE = "TOUCH_OR_SPACE"
    OTHER = "OTHER"


class CommunicationPurpose(StrEnum):
    """Why the organisation contacts the person (Heed's own list, over FHIR communication-category and -topic)."""

    APPOINTMENT_REMINDER = "APPOINTMENT_REMINDER"
    TEST_RESULT = "TEST_RESULT"
    PRESCRIPTION = "PRESCRIPTION"
    CARE_INSTRUCTION = "CARE_INSTRUCTION"
    RECALL_SCREENING = "RECALL_SCREENING"
    BILLING = "BILLING"
    SURVEY = "SURVEY"
    MARKETING = "MARKETING"
    RESEARCH_INVITE = "RESEARCH_INVITE"
    ADMIN_NOTICE = "ADMIN_NOTICE"
    EMERGENCY = "EMERGENCY"


class Channel(StrEnum):
    """A way to bring a message to the person (Heed's own list; docs/decisions/0010 maps it to HL7 and NHS lists)."""

    SMS = "SMS"
    VOICE = "VOICE"
    EMAIL = "EMAIL"
    LETTER = "LETTER"
    PORTAL = "PORTAL"
    PUSH = "PUSH"
    CHAT = "CHAT"
    TEXTPHONE = "TEXTPHONE"
    IN_PERSON = "IN_PERSON"
    FAX = "FAX"


class Day(StrEnum):
    """A day of the week (http://hl7.org/fhir/days-of-week)."""

    MON = "MON"
    TUE = "TUE"
    WED = "WED"
    THU = "THU"
    FRI = "FRI"
    SAT = "SAT"
    SUN = "SUN"


class TimeOfDay(StrEnum):
    """A part of the day (http://hl7.org/fhir/event-timing: MORN, AFT, EVE)."""

    MORNING = "MORNING"
    AFTERNOON = "AFTERNOON"
    EVENING = "EVENING"


class ClinicianGender(StrEnum):
    """The clinician whom the person would rather see (Heed's own list)."""

    FEMALE = "FEMALE"
    MALE = "MALE"
    NO_PREFERENCE = "NO_PREFERENCE"


class CommunicationStyle(StrEnum):
    """How the person likes to be spoken and written to (Heed's own list)."""

    PLAIN_LANGUAGE = "PLAIN_LANGUAGE"
    DETAILED = "DETAILED"
    BRIEF = "BRIEF"
    FORMAL = "FORMAL"
    INFORMAL = "INFORMAL"
    STEP_BY_STEP = "STEP_BY_STEP"


class ConsentDecision(StrEnum):
    """What a consent directive says (FHIR R4 `Consent.provision.type`: permit, deny)."""

    PERMIT = "PERMIT"
    DENY = "DENY"


class GiverRole(StrEnum):
    """In which right somebody gives a consent directive (Heed's own list, over HL7 v3-RoleClass and v3-RoleCode)."""

    PATIENT = "PATIENT"
    PARENT = "PARENT"
    GUARDIAN = "GUARDIAN"
    LASTING_POWER_OF_ATTORNEY = "LASTING_POWER_OF_ATTORNEY"
    BEST_INTEREST = "BEST_INTEREST"
    OTHER = "OTHER"


class RestrictionKind(StrEnum):
    """What a restriction binds: who may see where the person is, or whether they may be contacted (Heed's own list)."""

    RECORD = "RECORD"
    CONTACT = "CONTACT"


class RestrictionBasis(StrEnum):
    """Why a restriction binds (Heed's own list). SOURCE_SYSTEM: another system says so, and not why."""

    AGREED_REQUEST = "AGREED_REQUEST"
    SELF_PAID = "SELF_PAID"
    OBJECTION = "OBJECTION"
    SAFEGUARDING = "SAFEGUARDING"
    COURT_ORDER = "COURT_ORDER"
    LAW = "LAW"
    SOURCE_SYSTEM = "SOURCE_SYSTEM"


class Relationship(StrEnum):
    """Who a related person is to the patient (HL7 v3-RoleCode, in words)."""

    PARENT = "PARENT"
    CHILD = "CHILD"
    SPOUSE_OR_PARTNER = "SPOUSE_OR_PARTNER"
    SIBLING = "SIBLING"
    OTHER_FAMILY = "OTHER_FAMILY"
    CARER = "CARER"
    GUARDIAN = "GUARDIAN"
    ATTORNEY = "ATTORNEY"
    FRIEND_OR_NEIGHBOUR = "FRIEND_OR_NEIGHBOUR"
    PROFESSIONAL = "PROFESSIONAL"
    OTHER = "OTHER"


class Authority(StrEnum):
    """What a related person's role rests on (the four codes of the draft NHS `FlagProxyRole`)."""

    PATIENT_CONSENT = "PATIENT_CONSENT"
    BEST_INTEREST = "BEST_INTEREST"
    LASTING_POWER_OF_ATTORNEY = "LASTING_POWER_OF_ATTORNEY"
    OTHER_REPRESENTATIVE = "OTHER_REPRESENTATIVE"


class StandIn(StrEnum):
    """Whether a related person is contacted in place of the patient, as well, or not at all (Heed's own list)."""

    INSTEAD = "INSTEAD"
    BESIDE = "BESIDE"
    NONE = "NONE"


class SharingBasis(StrEnum):
    """On what ground a need is passed on to other services: sources disagree whether consent is required, so say it."""

    CONSENT = "CONSENT"
    NO_OBJECTION = "NO_OBJECTION"
    OBJECTION = "OBJECTION"


class SuspensionKind(StrEnum):
    """Why a message of the person waits for staff: it may have meant to stop, or it asked for messages again."""

    UNCLEAR = "UNCLEAR"
    OPT_IN_REQUEST = "OPT_IN_REQUEST"


class SuspensionVerdict(StrEnum):
    """What staff took a waiting message for."""

    STOP = "STOP"
    NOT_STOP = "NOT_STOP"
    OPTED_IN = "OPTED_IN"
    DISMISSED = "DISMISSED"
