"""Owns telephone numbers, e-mail addresses and other ways to reach the person, and their normal forms."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

import phonenumbers
from email_validator import EmailNotValidError, validate_email
from phonenumbers import NumberParseException, PhoneNumberFormat, PhoneNumberType, ValidationResult
from pydantic import Field, Strict, ValidationInfo, model_validator

from crm.domain.codes import (
    Capability,
    ContactPointSystem,
    ContactPointUse,
    TriState,
    UndeliverableReason,
    VerificationMethod,
    VerificationStatus,
)
from crm.domain.languages import Rank
from crm.domain.shape import Shape, broken_at, distinct, entry_of
from crm.domain.texts import Id, ShortText, new_id
from crm.domain.times import PartialDateTime, Period

__all__ = ["ContactPoint", "ContactPoints", "Undeliverable", "Verification", "dialled", "e164", "mailbox", "personal"]

_PHONES = frozenset({ContactPointSystem.PHONE, ContactPointSystem.SMS, ContactPointSystem.FAX})
_RULES: Final[Mapping[ContactPointSystem, str]] = {
    **dict.fromkeys(_PHONES, "e164"),
    ContactPointSystem.EMAIL: "email",
    ContactPointSystem.URL: "url",
}
_LONGEST_NUMBER: Final = 64
# A number begins like one: text around it would otherwise be skipped in silence.
_NUMBER_START = re.compile(r"\s*(tel:)?\s*[+\uff0b(\d]", re.IGNORECASE)
# Only schemes that open a conversation: a link of the profile may be shown on a page.
_URL = re.compile(r"(?:https?://|sips?:|xmpp:|mailto:|tel:)[^\s<>\"]+", re.IGNORECASE)


def e164(text: str, region: str | None) -> tuple[str, str | None, bool] | None:
    """`text` as E.164, its extension, and whether it is surely a mobile; None when it cannot be a number.

    Possible is enough (the length fits the country's plan): numbers reserved for fiction and new ranges are not in
    service and yet not wrong. A number without `+` needs `region`, an ISO 3166 code.
    """
    number = _number(text, region)
    if number is None:
        return None
    mobile = phonenumbers.number_type(number) == PhoneNumberType.MOBILE
    return phonenumbers.format_number(number, PhoneNumberFormat.E164), number.extension or None, mobile


def dialled(text: str, region: str | None) -> str | None:
    """The number alone, as `e164` has it: to look up what kind of number it is takes longer than all the rest."""
    number = _number(text, region)
    return None if number is None else phonenumbers.format_number(number, PhoneNumberFormat.E164)


def _number(text: str, region: str | None) -> phonenumbers.PhoneNumber | None:
    if len(text) > _LONGEST_NUMBER or not _NUMBER_START.match(text):
        return None
    try:
        number = phonenumbers.parse(text, region)
    except NumberParseException:
        return None
    possible = phonenumbers.is_possible_number_with_reason(number) == ValidationResult.IS_POSSIBLE
    return number if possible else None


def mailbox(text: str) -> str | None:
    """`text` with its domain in lower case and its local part as it is (RFC 5321 2.4); None when it is no address.

    Checked without asking the network; domains under `.test` are taken, for trials.
    """
    try:
        return validate_email(text.strip(), check_deliverability=False, test_environment=True).normalized
    except EmailNotValidError:
        return None


def personal(point: Mapping[str, Any]) -> bool:
    """Whether a stored contact point is a mobile or a mailbox: what people may change of themselves.

    As in the English Personal Demographics Service; everything else, such as the number of the house, the practice
    changes.
    """
    match point["system"]:
        case ContactPointSystem.EMAIL | ContactPointSystem.SMS:
            return True
        case ContactPointSystem.PHONE:
            return point.get("use") == ContactPointUse.MOBILE or Capability.SMS in point["capabilities"]
    return False


class Verification(Shape):
    """Whether the person was shown to hold the contact point, how, when, and by whom."""

    status: VerificationStatus = VerificationStatus.UNVERIFIED
    method: VerificationMethod | None = None
    at: PartialDateTime | None = None
    by: ShortText | None = None


class Undeliverable(Shape):
    """Since when messages to the contact point fail, why, and how many did."""

    since: PartialDateTime
    reason: UndeliverableReason
    count: Annotated[int, Strict(), Field(ge=1, le=2_147_483_647)] = 1


class ContactPoint(Shape):
    """One way to reach the person (FHIR R4 `ContactPoint`).

    `value` is E.164 for PHONE, SMS and FAX, a mailbox for EMAIL, a link for URL; `as_written` is what was entered where
    that differs. An import keeps what has no normal form as it was written, and claims no capability for it.
    `capabilities` that nobody stated follow from the system, the use and the numbering plan. `verified` is derived.
    """

    id: Id = Field(default_factory=new_id)
    system: ContactPointSystem
    value: ShortText
    as_written: ShortText | None = None
    extension: ShortText | None = None
    use: ContactPointUse | None = None
    rank: Rank | None = None
    period: Period | None = None
    capabilities: Annotated[list[Capability], distinct(str)] = []
    text_permitted: TriState = TriState.UNKNOWN
    voicemail_ok: TriState = TriState.UNKNOWN
    detailed_message_ok: TriState = TriState.UNKNOWN
    verified: Annotated[bool, Strict()] = False
    verification: Verification = Verification()
    undeliverable: Undeliverable | None = None

    @model_validator(mode="after")
    def _normal(self, info: ValidationInfo) -> Self:
        entry = entry_of(info)
        normal = self._normal_form(entry.region)
        if normal is None and not entry.lenient:
            raise broken_at("value", _RULES[self.system])
        changes = normal or {}
        if changes.get("value", self.value) != self.value and self.as_written is None:
            changes["as_written"] = self.value
        changes["verified"] = self.verification.status is VerificationStatus.VERIFIED
        return self.model_copy(update=changes)

    def _normal_form(self, region: str | None) -> dict[str, Any] | None:
        """What changes when the value is written in its normal form; None when it has none."""
        if self.system in _PHONES:
            number = e164(self.value, region)
            if number is None:
                return None
            value, extension, mobile = number
            changes: dict[str, Any] = {"value": value, "extension": extension or self.extension}
            if "capabilities" not in self.model_fields_set:
                changes["capabilities"] = self._likely_capabilities(mobile)
            return changes
        if self.system is ContactPointSystem.EMAIL:
            address = mailbox(self.value)
            return None if address is None else {"value": address}
        if self.system is ContactPointSystem.URL and not _URL.fullmatch(self.value):
            return None
        return {}

    def _likely_capabilities(self, mobile: bool) -> list[Capability]:
        if self.system is ContactPointSystem.FAX:
            return [Capability.FAX]
        if self.system is ContactPointSystem.SMS:
            return [Capability.SMS]
        texts = mobile or self.use is ContactPointUse.MOBILE
        return [Capability.VOICE, Capability.SMS] if texts else [Capability.VOICE]


ContactPoints = Annotated[list[ContactPoint], Field(max_length=50), distinct(lambda point: point.id)]
