"""Owns which code and which words others use for a need or a format: SNOMED CT as in NHS flags, and plain English.

The SNOMED CT codes are those of the draft value set RA-FlagCode (NHSDigital/ra-sandbox, March 2024) and may change with
it; our own codes stand beside them, so nothing hangs on that. Codes alone are kept, not the terms of SNOMED CT.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from crm.domain.codes import AccessNeedCategory
from crm.domain.need_codes import AccessibleFormat, AccessNeedKind

__all__ = ["BY_LABEL", "BY_SNOMED", "RA_CATEGORIES", "SNOMED_CODES", "Form", "label"]


class Form(StrEnum):
    """Whose form of a Flag."""

    NHS = "nhs"
    US = "us"


RA_CATEGORIES: Final[Mapping[AccessNeedCategory, str]] = {
    AccessNeedCategory.COMMUNICATION_SUPPORT: "001",
    AccessNeedCategory.COMMUNICATION_PROFESSIONAL: "002",
    AccessNeedCategory.CONTACT_METHOD: "003",
    AccessNeedCategory.INFORMATION_FORMAT: "004",
    AccessNeedCategory.ADDITIONAL: "005",
}
"""The draft code system RA-FlagCategory; its first four groups are those of the Accessible Information Standard."""

SNOMED_CODES: Final[Mapping[str, str]] = {
    "LIP_READS": "441092009",
    "HEARING_AID": "285055002",
    "HEARING_LOOP": "198061000000105",
    "BSL_USER": "415803005",
    "PREFERS_BSL": "520471000000105",
    "PREFERS_WRITTEN": "520491000000109",
    "RECEPTIVE_SUPPORT": "1082681000000103",
    "EXPRESSIVE_SUPPORT": "1082691000000101",
    "COMMUNICATION_PASSPORT": "837341000000108",
    "TEXTPHONE_USER": "445488003",
    "INTERPRETER": "315594003",
    "BSL_INTERPRETER": "204331000000107",
    "MAKATON_INTERPRETER": "204341000000103",
    "HANDS_ON_SIGNING": "945731000000104",
    "VISUAL_FRAME_SIGNING": "945711000000107",
    "SIGN_SUPPORTED_ENGLISH": "936761000000104",
    "LIPSPEAKER": "945911000000109",
    "SPEECH_TO_TEXT_REPORTER": "966401000000100",
    "NOTE_TAKER": "945891000000106",
    "DEAFBLIND_MANUAL": "957051000000100",
    "DEAFBLIND_BLOCK": "957071000000109",
    "DEAFBLIND_HAPTIC": "957111000000103",
    "DEAFBLIND_COMMUNICATOR_GUIDE": "796201000000109",
    "ADVOCATE": "225835008",
    "CONTACT_BY_EMAIL": "936741000000100",
    "CONTACT_BY_LETTER": "936721000000107",
    "CONTACT_BY_SMS": "936701000000103",
    "CONTACT_BY_TELEPHONE": "795661000000104",
    "CONTACT_BY_TEXT_RELAY": "796081000000106",
    "CONTACT_VIA_CARER": "719561001",
    "AUDIBLE_ALERT": "945931000000101",
    "TACTILE_ALERT": "945971000000104",
    "VISUAL_ALERT": "945951000000108",
    "VERBAL_ONLY": "367741000000102",
    "READ_ALOUD_BY_THIRD_PARTY": "985021000000106",
    "APPOINTMENT_REMINDERS": "1108131000000104",
    "EXTENDED_APPOINTMENT": "1108171000000102",
    "EASY_READ": "796161000000101",
    "LARGE_PRINT_20": "957331000000109",
    "LARGE_PRINT_24": "957351000000102",
    "LARGE_PRINT_28": "957371000000106",
    "BRAILLE_G1": "936681000000100",
    "BRAILLE_G2": "936661000000109",
    "MOON": "936621000000101",
    "MAKATON_TEXT": "936641000000108",
    "AUDIO_ELECTRONIC": "936601000000105",
    "AUDIO_CASSETTE": "795801000000104",
    "AUDIO_CD": "795731000000104",
    "AUDIO_DVD": "795691000000105",
    "AUDIO_USB": "945691000000105",
    "ELECTRONIC_DOWNLOAD": "945751000000106",
    "INFO_BY_EMAIL": "936581000000101",
    "APHASIA_ACCESSIBLE": "1082551000000100",
}

BY_SNOMED: Final[Mapping[str, str]] = {code: ours for ours, code in SNOMED_CODES.items()}

_CAPITALS: Final = frozenset({"BSL", "CD", "DVD", "HTML", "SMS", "USB", "G1", "G2"})


def label(code: str) -> str:
    """A need or format in plain English, such as `BSL interpreter`."""
    words = [word if word in _CAPITALS else word.lower() for word in code.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


BY_LABEL: Final[Mapping[str, str]] = {
    label(code.value).casefold(): code.value for code in (*AccessNeedKind, *AccessibleFormat)
}
