"""Owns the code lists of access needs and accessible formats, and the group to which each need belongs."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from crm.domain.codes import AccessNeedCategory

__all__ = ["CATEGORIES", "AccessNeedKind", "AccessibleFormat"]


class AccessibleFormat(StrEnum):
    """A format in which information must be given.

    Heed's own stable words over UKCore-PreferredWrittenCommunicationFormat (11 large print, 12 Braille, 13 audio tape)
    and the formats of the English Accessible Information Standard.
    """

    LARGE_PRINT = "LARGE_PRINT"
    LARGE_PRINT_20 = "LARGE_PRINT_20"
    LARGE_PRINT_24 = "LARGE_PRINT_24"
    LARGE_PRINT_28 = "LARGE_PRINT_28"
    BRAILLE = "BRAILLE"
    BRAILLE_G1 = "BRAILLE_G1"
    BRAILLE_G2 = "BRAILLE_G2"
    MOON = "MOON"
    EASY_READ = "EASY_READ"
    MAKATON_TEXT = "MAKATON_TEXT"
    APHASIA_ACCESSIBLE = "APHASIA_ACCESSIBLE"
    COLOURED_PAPER = "COLOURED_PAPER"
    AUDIO = "AUDIO"
    AUDIO_ELECTRONIC = "AUDIO_ELECTRONIC"
    AUDIO_CASSETTE = "AUDIO_CASSETTE"
    AUDIO_CD = "AUDIO_CD"
    AUDIO_DVD = "AUDIO_DVD"
    AUDIO_USB = "AUDIO_USB"
    SIGNED_VIDEO = "SIGNED_VIDEO"
    HTML_ELECTRONIC = "HTML_ELECTRONIC"
    ELECTRONIC_DOWNLOAD = "ELECTRONIC_DOWNLOAD"
    INFO_BY_EMAIL = "INFO_BY_EMAIL"


class AccessNeedKind(StrEnum):
    """What must be done or ready so that the person can take part.

    Heed's own stable words over the SNOMED CT terms of the NHS reasonable adjustment flag. A written format is not
    here: it has one place, the accessible formats.
    """

    # Communication support: how the person communicates.
    LIP_READS = "LIP_READS"
    HEARING_AID = "HEARING_AID"
    HEARING_LOOP = "HEARING_LOOP"
    BSL_USER = "BSL_USER"
    PREFERS_BSL = "PREFERS_BSL"
    PREFERS_WRITTEN = "PREFERS_WRITTEN"
    RECEPTIVE_SUPPORT = "RECEPTIVE_SUPPORT"
    EXPRESSIVE_SUPPORT = "EXPRESSIVE_SUPPORT"
    COMMUNICATION_PASSPORT = "COMMUNICATION_PASSPORT"
    TEXTPHONE_USER = "TEXTPHONE_USER"
    # Communication professionals: who must be booked.
    INTERPRETER = "INTERPRETER"
    SIGN_LANGUAGE_INTERPRETER = "SIGN_LANGUAGE_INTERPRETER"
    BSL_INTERPRETER = "BSL_INTERPRETER"
    MAKATON_INTERPRETER = "MAKATON_INTERPRETER"
    HANDS_ON_SIGNING = "HANDS_ON_SIGNING"
    VISUAL_FRAME_SIGNING = "VISUAL_FRAME_SIGNING"
    SIGN_SUPPORTED_ENGLISH = "SIGN_SUPPORTED_ENGLISH"
    LIPSPEAKER = "LIPSPEAKER"
    SPEECH_TO_TEXT_REPORTER = "SPEECH_TO_TEXT_REPORTER"
    NOTE_TAKER = "NOTE_TAKER"
    DEAFBLIND_MANUAL = "DEAFBLIND_MANUAL"
    DEAFBLIND_BLOCK = "DEAFBLIND_BLOCK"
    DEAFBLIND_HAPTIC = "DEAFBLIND_HAPTIC"
    DEAFBLIND_COMMUNICATOR_GUIDE = "DEAFBLIND_COMMUNICATOR_GUIDE"
    ADVOCATE = "ADVOCATE"
    # Contact methods: a need, which is more than a preferred channel and less than a consent.
    CONTACT_BY_EMAIL = "CONTACT_BY_EMAIL"
    CONTACT_BY_LETTER = "CONTACT_BY_LETTER"
    CONTACT_BY_SMS = "CONTACT_BY_SMS"
    CONTACT_BY_TELEPHONE = "CONTACT_BY_TELEPHONE"
    CONTACT_BY_TEXT_RELAY = "CONTACT_BY_TEXT_RELAY"
    CONTACT_VIA_CARER = "CONTACT_VIA_CARER"
    AUDIBLE_ALERT = "AUDIBLE_ALERT"
    TACTILE_ALERT = "TACTILE_ALERT"
    VISUAL_ALERT = "VISUAL_ALERT"
    # Information: ways of giving it that are not a written format.
    VERBAL_ONLY = "VERBAL_ONLY"
    READ_ALOUD_BY_THIRD_PARTY = "READ_ALOUD_BY_THIRD_PARTY"
    # Everything else.
    STEP_FREE_ACCESS = "STEP_FREE_ACCESS"
    WHEELCHAIR_SPACE = "WHEELCHAIR_SPACE"
    TRANSFER_AID = "TRANSFER_AID"
    QUIET_SPACE = "QUIET_SPACE"
    FIRST_OR_LAST_APPOINTMENT = "FIRST_OR_LAST_APPOINTMENT"
    EXTENDED_APPOINTMENT = "EXTENDED_APPOINTMENT"
    APPOINTMENT_REMINDERS = "APPOINTMENT_REMINDERS"
    COMPANION_PRESENT = "COMPANION_PRESENT"
    ASSISTANCE_DOG = "ASSISTANCE_DOG"
    TRANSPORT = "TRANSPORT"
    OTHER = "OTHER"


# Where each group starts in the list above; a group ends where the next begins.
_STARTS: Final[Mapping[AccessNeedKind, AccessNeedCategory]] = {
    AccessNeedKind.LIP_READS: AccessNeedCategory.COMMUNICATION_SUPPORT,
    AccessNeedKind.INTERPRETER: AccessNeedCategory.COMMUNICATION_PROFESSIONAL,
    AccessNeedKind.CONTACT_BY_EMAIL: AccessNeedCategory.CONTACT_METHOD,
    AccessNeedKind.VERBAL_ONLY: AccessNeedCategory.INFORMATION_FORMAT,
    AccessNeedKind.STEP_FREE_ACCESS: AccessNeedCategory.ADDITIONAL,
}


def _categories() -> dict[AccessNeedKind, AccessNeedCategory]:
    categories = {}
    current = AccessNeedCategory.COMMUNICATION_SUPPORT
    for kind in AccessNeedKind:
        current = _STARTS.get(kind, current)
        categories[kind] = current
    return categories


CATEGORIES: Final[Mapping[AccessNeedKind, AccessNeedCategory]] = _categories()
"""The group of every kind of need; the first four are those of the Accessible Information Standard (DAPB1605)."""
