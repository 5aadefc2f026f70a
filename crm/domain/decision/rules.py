"""What an organisation decides contact by: purposes, senders, quiet hours and dated rules, with a version of their own.

Everything here is configuration with safe defaults (`crm.settings.contact` reads it); a patient's word is elsewhere.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from crm.domain.codes import Channel, CommunicationPurpose

__all__ = [
    "DEFAULT_SENDER", "PURPOSES", "STANDARD", "ContactRules", "LegalClass", "LegalHours", "PurposeRule", "RevokeScope",
    "Sender", "SharedNumbers",
]  # fmt: skip

STANDARD: Final = "STANDARD"
"""The format of a message that is in no accessible format."""


class LegalClass(StrEnum):
    """What a communication is to the law of telephone marketing (47 CFR 64.1200; elsewhere the nearest equivalent)."""

    HEALTHCARE = "HEALTHCARE"
    INFORMATIONAL = "INFORMATIONAL"
    TELEMARKETING = "TELEMARKETING"
    EMERGENCY = "EMERGENCY"


@dataclass(frozen=True, slots=True)
class PurposeRule:
    """How one purpose of communication is treated.

    `opt_in`: without a PERMIT nothing is sent. `quiet_hours`: default and patients' quiet hours bind. `verified`: only
    contact points that were shown to be the person's. `uses` are the HL7 purposes of use for which a decision about it
    may be used. `category` and `topic` are FHIR's (communication-category, communication-topic).
    """

    opt_in: bool
    legal_class: LegalClass
    quiet_hours: bool = True
    verified: bool = False
    uses: frozenset[str] = frozenset({"COC", "TREAT", "ETREAT", "BTG", "PATADMIN", "CAREMGT", "PATRQT", "RECORDMGT",
                                      "HCOMPL"})  # fmt: skip
    category: str = "notification"
    topic: str | None = None


_MARKETING: Final = frozenset({"HMARKT", "PATADMIN", "CAREMGT", "PATRQT", "RECORDMGT", "HCOMPL"})

PURPOSES: Final[Mapping[CommunicationPurpose, PurposeRule]] = MappingProxyType({
    CommunicationPurpose.APPOINTMENT_REMINDER: PurposeRule(
        False, LegalClass.HEALTHCARE, category="reminder", topic="appointment-reminder"),
    CommunicationPurpose.TEST_RESULT: PurposeRule(
        False, LegalClass.HEALTHCARE, verified=True, topic="report-labs"),
    CommunicationPurpose.PRESCRIPTION: PurposeRule(
        False, LegalClass.HEALTHCARE, topic="prescription-refill-request"),
    CommunicationPurpose.CARE_INSTRUCTION: PurposeRule(False, LegalClass.HEALTHCARE, category="instruction"),
    CommunicationPurpose.RECALL_SCREENING: PurposeRule(False, LegalClass.HEALTHCARE, category="reminder"),
    CommunicationPurpose.BILLING: PurposeRule(False, LegalClass.INFORMATIONAL),
    CommunicationPurpose.SURVEY: PurposeRule(True, LegalClass.INFORMATIONAL),
    CommunicationPurpose.MARKETING: PurposeRule(True, LegalClass.TELEMARKETING, uses=_MARKETING),
    CommunicationPurpose.RESEARCH_INVITE: PurposeRule(True, LegalClass.TELEMARKETING, uses=_MARKETING | {"HRESCH"}),
    CommunicationPurpose.ADMIN_NOTICE: PurposeRule(False, LegalClass.INFORMATIONAL),
    CommunicationPurpose.EMERGENCY: PurposeRule(
        False, LegalClass.EMERGENCY, quiet_hours=False, category="alert"),
})  # fmt: skip
"""The safe defaults: care is opt-out, whatever sells or asks a favour is opt-in."""


@dataclass(frozen=True, slots=True)
class Sender:
    """What a caller can send, as registered. Empty `languages`, and no `formats`, mean that nobody said: then any.

    `languages` are BCP 47 tags, the first being the one to fall back on; `formats` accessible formats besides STANDARD.
    `clients` are the applications (claim `client_id`) that are this sender when they name none; empty: by name only.
    `numbers` are where replies to it arrive. `programme` is the purpose of messages that do not say theirs.
    """

    id: str
    channels: tuple[Channel, ...]
    languages: tuple[str, ...] = ()
    formats: frozenset[str] | None = None
    clients: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    programme: CommunicationPurpose | None = None
    org: str | None = None


DEFAULT_SENDER: Final = Sender("default", (Channel.SMS, Channel.EMAIL))
"""Whoever is not registered: texts and e-mails, in whatever language and format the person needs."""


@dataclass(frozen=True, slots=True)
class LegalHours:
    """When a law permits contact, on the clock where the person is: from `start` until before `end`, minutes of a day.

    It holds from the day `since` (YYYY-MM-DD) until before `until`. `days` has the numbers of the weekdays, Monday 0.
    `source` says where it stands written.
    """

    jurisdiction: str
    since: str
    start: int
    end: int
    classes: frozenset[LegalClass]
    channels: frozenset[Channel]
    source: str
    until: str | None = None
    days: frozenset[int] = frozenset(range(7))


class RevokeScope(StrEnum):
    """How much a STOP covers: all, or what the law demands on that day."""

    ALL = "ALL"
    LEGAL_MINIMUM = "LEGAL_MINIMUM"


class SharedNumbers(StrEnum):
    """Whose directive a STOP from a shared number is: that of all who share it, or of nobody before staff have read."""

    ALL = "ALL"
    NONE_QUEUE = "NONE_QUEUE"


@dataclass(frozen=True, slots=True)
class ContactRules:
    """All rules of one organisation. `version` names them in every decision, and changes with every one of them.

    `zones` are the IANA zones in which patients of unknown zone may live; `jurisdictions` whose `LegalHours` bind.
    `quiet_from` and `quiet_to` are the organisation's own quiet hours, minutes of a day on the person's clock, for
    channels that make a sound (`audible`). `lasting` is how long a decision may be used, in microseconds.
    """

    version: str
    purposes: Mapping[CommunicationPurpose, PurposeRule] = field(default_factory=lambda: PURPOSES)
    senders: Mapping[str, Sender] = field(default_factory=lambda: MappingProxyType({}))
    zones: tuple[str, ...] = ("UTC",)
    jurisdictions: tuple[str, ...] = ()
    legal_hours: tuple[LegalHours, ...] = ()
    quiet_from: int = 21 * 60
    quiet_to: int = 8 * 60
    audible: frozenset[Channel] = frozenset(
        {Channel.SMS, Channel.VOICE, Channel.PUSH, Channel.CHAT, Channel.TEXTPHONE, Channel.FAX}
    )
    lasting: int = 15 * 60 * 1_000_000
    revoke_scope: RevokeScope = RevokeScope.ALL
    shared_numbers: SharedNumbers = SharedNumbers.ALL
