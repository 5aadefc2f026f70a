"""The code lists as GraphQL enums; owns their descriptions, not their members (those are of `crm`)."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import graphene

from crm.audit.event import Outcome
from crm.domain import values
from schema.errors import DESCRIPTIONS, Code

__all__ = ["EnumText", "enum_type"]

EnumText = Mapping[str, str]

_ACRONYMS = {word: word.upper() for word in ("bsl", "sms", "tty", "url", "html", "cd", "dvd", "usb", "pdf")}


def enum_type(
    codes: type[StrEnum], text: EnumText | None = None, *, name: str | None = None, about: str | None = None
) -> Any:
    """The GraphQL enum of a code list; a member without a text of its own is described by its name in words."""
    texts = text or {}
    if strangers := texts.keys() - codes.__members__.keys():
        raise RuntimeError(f"{codes.__name__} has no {', '.join(sorted(strangers))}")
    summary = about or (codes.__doc__ or "").strip().split("\n")[0]

    def describe(member: StrEnum | None) -> str:
        return summary if member is None else texts.get(member.name) or _in_words(member.name)

    return graphene.Enum.from_enum(codes, name=name, description=describe)


def _in_words(name: str) -> str:
    words = [_ACRONYMS.get(word, word) for word in name.lower().split("_")]
    sentence = " ".join(words)
    return f"{sentence[:1].upper()}{sentence[1:]}."


ErrorCode = enum_type(
    Code, {code.name: text for code, text in DESCRIPTIONS.items()}, name="ErrorCode",
    about="Why something was refused or failed; the same list as in `errors[].extensions.code`.",
)  # fmt: skip
AccessOutcome = enum_type(
    Outcome,
    {
        "OK": "Done as asked.",
        "PARTIAL": "Done in part.",
        "DENIED": "Refused.",
        "ERROR": "Failed.",
    },
    name="AccessOutcome",
    about="How a recorded access ended.",
)

NameUse = enum_type(
    values.NameUse,
    {
        "USUAL": "The name the person normally uses.",
        "OFFICIAL": "The name on official documents.",
        "TEMP": "A temporary name.",
        "NICKNAME": "A name among friends.",
        "ANONYMOUS": "A pseudonym that protects the person.",
        "OLD": "No longer in use.",
        "MAIDEN": "A name before marriage.",
    },
)
IdentifierUse = enum_type(
    values.IdentifierUse,
    {
        "USUAL": "The identifier to use by default.",
        "OFFICIAL": "The most trusted identifier.",
        "TEMP": "A temporary identifier.",
        "SECONDARY": "Identifies the person only together with others.",
        "OLD": "No longer valid.",
    },
)
LinkType = enum_type(
    values.LinkType,
    {
        "REPLACED_BY": "The other record replaces this one.",
        "REPLACES": "This record replaces the other.",
        "REFER": "The other record is the main one.",
        "SEEALSO": "The other record may say more.",
    },
)
Sensitivity = enum_type(
    values.Sensitivity,
    {"CELEBRITY": "Known to the public (HL7 v3-ActCode CEL).", "EMPLOYEE": "Works here (HL7 v3-ActCode EMP)."},
    about="Why more people than usual may be curious about a record.",
)
AdministrativeGender = enum_type(
    values.AdministrativeGender,
    {"OTHER": "Neither male nor female.", "UNKNOWN": "Asked for, and not known."},
)
TriState = enum_type(
    values.TriState,
    {"YES": "Yes.", "NO": "No.", "UNKNOWN": "Nobody asked, or nobody knows; never to be read as yes."},
)
ContactPointSystem = enum_type(
    values.ContactPointSystem,
    {
        "PHONE": "A telephone that is spoken through.",
        "FAX": "A fax machine.",
        "EMAIL": "An e-mail address.",
        "PAGER": "A pager.",
        "URL": "A web address or messenger contact.",
        "SMS": "A number for text messages only.",
        "OTHER": "Something else; the value says what.",
    },
)
ContactPointUse = enum_type(
    values.ContactPointUse,
    {
        "HOME": "At home.",
        "WORK": "At work.",
        "TEMP": "For a time only.",
        "OLD": "No longer in use; kept as a fact.",
        "MOBILE": "Carried along.",
    },
)
Capability = enum_type(
    values.Capability,
    {
        "VOICE": "Takes voice calls.",
        "SMS": "Takes text messages.",
        "FAX": "Takes faxes.",
        "TTY": "Is a text telephone.",
        "DATA": "Takes data, such as e-mail.",
    },
)
VerificationStatus = enum_type(
    values.VerificationStatus,
    {
        "UNVERIFIED": "Not shown to belong to the person.",
        "VERIFIED": "Shown to belong to the person.",
        "FAILED": "Tried, and not shown.",
    },
)
VerificationMethod = enum_type(
    values.VerificationMethod,
    {
        "OTP": "The person gave back a one-time code.",
        "REPLY": "The person answered a message.",
        "STAFF": "A member of staff checked it.",
        "IMPORT": "Another system says so.",
    },
)
UndeliverableReason = enum_type(
    values.UndeliverableReason,
    {
        "UNKNOWN": "Nobody knows why.",
        "SYSTEM_ERROR": "A system on the way failed.",
        "INVALID_PHONE_NUMBER": "The number is not in service, or not the person's.",
        "RECIPIENT_UNAVAILABLE": "The person could not be reached.",
        "FAMILY_OBJECTION": "The family objected.",
        "PATIENT_OBJECTION": "The person objected.",
        "INVALID_ADDRESS": "The address does not exist, or is not the person's.",
    },
)
AddressUse = enum_type(
    values.AddressUse,
    {
        "HOME": "Where the person lives.",
        "WORK": "Where the person works.",
        "TEMP": "For a time only.",
        "OLD": "No longer in use.",
        "BILLING": "Where bills go.",
    },
)
AddressType = enum_type(
    values.AddressType,
    {"POSTAL": "For letters.", "PHYSICAL": "A place that can be visited.", "BOTH": "For letters and visits."},
)
LanguageMode = enum_type(
    values.LanguageMode,
    {"SPOKEN": "Spoken and heard.", "WRITTEN": "Written and read.", "SIGNED": "Signed and seen, or felt."},
)
Proficiency = enum_type(values.Proficiency)
AccessibleFormat = enum_type(
    values.AccessibleFormat,
    {
        "LARGE_PRINT": "Large print, at least 16 point.",
        "LARGE_PRINT_20": "Large print, 20 point.",
        "LARGE_PRINT_24": "Large print, 24 point.",
        "LARGE_PRINT_28": "Large print, 28 point.",
        "BRAILLE": "Braille of either grade.",
        "BRAILLE_G1": "Uncontracted (grade 1) Braille.",
        "BRAILLE_G2": "Contracted (grade 2) Braille.",
        "MOON": "Moon, an embossed alphabet.",
        "EASY_READ": "Easy read: short sentences with pictures.",
        "MAKATON_TEXT": "Text with Makaton symbols.",
        "APHASIA_ACCESSIBLE": "Written for people with aphasia.",
        "COLOURED_PAPER": "On coloured paper; the text of the need says which colour.",
        "AUDIO_ELECTRONIC": "Audio as a file.",
        "SIGNED_VIDEO": "A video in sign language.",
        "HTML_ELECTRONIC": "Electronic text that a screen reader can read.",
        "ELECTRONIC_DOWNLOAD": "An electronic document to download.",
        "INFO_BY_EMAIL": "Written information by e-mail.",
    },
)
AccessNeedKind = enum_type(
    values.AccessNeedKind,
    {
        "LIP_READS": "Reads lips: face the person, in good light.",
        "HEARING_AID": "Uses a hearing aid.",
        "HEARING_LOOP": "A hearing loop, switched on.",
        "BSL_USER": "Uses British Sign Language.",
        "PREFERS_BSL": "Prefers British Sign Language to speech.",
        "PREFERS_WRITTEN": "Prefers written words to speech.",
        "RECEPTIVE_SUPPORT": "Support in understanding what is said.",
        "EXPRESSIVE_SUPPORT": "Support in saying what is meant.",
        "COMMUNICATION_PASSPORT": "Carries a communication passport: read it first.",
        "TEXTPHONE_USER": "Uses a text telephone.",
        "INTERPRETER": "An interpreter for a spoken language.",
        "HANDS_ON_SIGNING": "Signing into the person's hands.",
        "VISUAL_FRAME_SIGNING": "Signing within the person's field of view.",
        "SIGN_SUPPORTED_ENGLISH": "Speech supported by signs.",
        "LIPSPEAKER": "A lipspeaker, who repeats without voice what is said.",
        "SPEECH_TO_TEXT_REPORTER": "A reporter who writes down what is said, as it is said.",
        "NOTE_TAKER": "Somebody who takes notes.",
        "DEAFBLIND_MANUAL": "The deafblind manual alphabet.",
        "DEAFBLIND_BLOCK": "The deafblind block alphabet.",
        "DEAFBLIND_HAPTIC": "Haptic communication.",
        "DEAFBLIND_COMMUNICATOR_GUIDE": "A guide who communicates with deafblind people.",
        "ADVOCATE": "An advocate who speaks with the person.",
        "CONTACT_VIA_CARER": "Contact through the carer.",
        "AUDIBLE_ALERT": "Is called by sound.",
        "TACTILE_ALERT": "Is called by touch.",
        "VISUAL_ALERT": "Is called by sight.",
        "VERBAL_ONLY": "Information by word of mouth only.",
        "READ_ALOUD_BY_THIRD_PARTY": "Somebody reads written information aloud.",
        "STEP_FREE_ACCESS": "A way without steps.",
        "WHEELCHAIR_SPACE": "Space for a wheelchair.",
        "TRANSFER_AID": "Equipment to move between chair and couch.",
        "QUIET_SPACE": "A quiet place to wait.",
        "FIRST_OR_LAST_APPOINTMENT": "The first or the last appointment of the day.",
        "EXTENDED_APPOINTMENT": "A longer appointment.",
        "COMPANION_PRESENT": "A companion stays with the person.",
        "ASSISTANCE_DOG": "Comes with an assistance dog.",
        "TRANSPORT": "Transport there and back.",
        "OTHER": "Something else; the text says what to do.",
    },
)
AccessNeedCategory = enum_type(
    values.AccessNeedCategory,
    {
        "COMMUNICATION_SUPPORT": "Help with communication, such as equipment or time.",
        "COMMUNICATION_PROFESSIONAL": "A person who interprets or speaks for the patient.",
        "CONTACT_METHOD": "A particular way to be contacted.",
        "INFORMATION_FORMAT": "A particular format of written information.",
        "ADDITIONAL": "Anything else that has to be arranged.",
    },
)
CulturalNeedKind = enum_type(
    values.CulturalNeedKind,
    {
        "DIET": "Food, drink and ingredients of medicines.",
        "PRAYER_OR_RITUAL": "Time and place for prayer or a ritual.",
        "MODESTY": "Dress, undressing and chaperones.",
        "CLINICIAN_GENDER": "The gender of the clinician.",
        "BLOOD_PRODUCTS": "Blood and what is made of it.",
        "FASTING_OR_CALENDAR": "Fasts, holy days and the calendar.",
        "FAMILY_DECISION": "Who takes part in decisions.",
        "END_OF_LIFE": "Dying, and what comes after.",
        "TOUCH_OR_SPACE": "Touch, distance and greeting.",
        "OTHER": "Something else; the handling says what to do.",
    },
)
CommunicationPurpose = enum_type(
    values.CommunicationPurpose,
    {
        "APPOINTMENT_REMINDER": "A reminder of an appointment.",
        "TEST_RESULT": "The result of a test.",
        "PRESCRIPTION": "A prescription or a medicine.",
        "CARE_INSTRUCTION": "What to do before or after care.",
        "RECALL_SCREENING": "Recall to a check or a screening.",
        "BILLING": "An invoice or a payment.",
        "SURVEY": "A survey, such as of how it was.",
        "MARKETING": "An offer or an advertisement.",
        "RESEARCH_INVITE": "Invitation to take part in research.",
        "ADMIN_NOTICE": "Notice about administration.",
        "EMERGENCY": "Danger to the person's health.",
    },
)
Channel = enum_type(
    values.Channel,
    {
        "SMS": "Text message.",
        "VOICE": "Telephone call.",
        "EMAIL": "E-mail.",
        "LETTER": "Letter by post.",
        "PORTAL": "Message in the patient portal.",
        "PUSH": "Notification of an app.",
        "CHAT": "Chat or messenger.",
        "TEXTPHONE": "Text telephone or relay service.",
        "IN_PERSON": "Face to face.",
        "FAX": "Fax.",
    },
)
Day = enum_type(
    values.Day,
    {
        "MON": "Monday.", "TUE": "Tuesday.", "WED": "Wednesday.", "THU": "Thursday.", "FRI": "Friday.",
        "SAT": "Saturday.", "SUN": "Sunday.",
    },
)  # fmt: skip
TimeOfDay = enum_type(values.TimeOfDay)
ClinicianGender = enum_type(
    values.ClinicianGender,
    {"FEMALE": "A woman.", "MALE": "A man.", "NO_PREFERENCE": "Asked for, and it does not matter."},
)
CommunicationStyle = enum_type(
    values.CommunicationStyle,
    {
        "PLAIN_LANGUAGE": "Short sentences and everyday words.",
        "DETAILED": "With all details.",
        "BRIEF": "Only what matters most.",
        "FORMAL": "With title and surname.",
        "INFORMAL": "With the first name.",
        "STEP_BY_STEP": "One thing at a time.",
    },
)
