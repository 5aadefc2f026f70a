"""Owns the confidential communication: where somebody asked to be reached instead. No reason is asked.

45 CFR 164.522(b): a provider must accommodate a reasonable request and may not require an explanation (b)(2)(iii).
"""

from typing import Annotated, Any, Self

from pydantic import Field, ValidationInfo, model_validator

from crm.domain.addresses import Address
from crm.domain.codes import Channel, CommunicationPurpose, ContactPointSystem
from crm.domain.contact_points import ContactPoint
from crm.domain.languages import LanguageTag
from crm.domain.shape import Shape, broken_at, distinct
from crm.domain.texts import Id, ShortText, new_id
from crm.domain.times import Instant

__all__ = ["SYSTEMS", "ConfidentialCommunication", "withheld"]

SYSTEMS: dict[Channel, ContactPointSystem] = {
    Channel.SMS: ContactPointSystem.SMS,
    Channel.VOICE: ContactPointSystem.PHONE,
    Channel.TEXTPHONE: ContactPointSystem.PHONE,
    Channel.FAX: ContactPointSystem.FAX,
    Channel.EMAIL: ContactPointSystem.EMAIL,
}
"""Channels that end at a number or mailbox, and what that is. LETTER has an address, PORTAL and IN_PERSON nothing."""

_WITHOUT_END = frozenset({Channel.PORTAL, Channel.IN_PERSON})


class ConfidentialCommunication(Shape):
    """One way, and no other, to reach the person about `purposes`, or about everything where none is named.

    `value` is a number (E.164) or a mailbox, by the channel; a LETTER has an `address` instead, PORTAL and IN_PERSON
    neither. There is no member for a reason, and there must never be one.
    """

    id: Id = Field(default_factory=new_id)
    channel: Channel
    value: ShortText | None = None
    address: Address | None = None
    purposes: Annotated[list[CommunicationPurpose], distinct(str)] = []
    language: LanguageTag | None = None
    set_at: Instant
    set_by: ShortText | None = None

    @model_validator(mode="after")
    def _ends_somewhere(self, info: ValidationInfo) -> Self:
        if self.channel is Channel.LETTER:
            if self.address is None:
                raise broken_at("address", "missing")
        elif self.channel in SYSTEMS:
            if self.value is None:
                raise broken_at("value", "missing")
            system = SYSTEMS[self.channel]
            point = ContactPoint.model_validate({"system": system, "value": self.value}, context=info.context)
            return self.model_copy(update={"value": point.value, "address": None})
        elif self.channel not in _WITHOUT_END:
            raise broken_at("channel", "unknown_code")
        return self.model_copy(update={"value": None})


def withheld(value: Any) -> dict[str, Any] | None:
    """That there is one, and nothing of it: what staff are shown who may use it without seeing it."""
    return None if value is None else {"withheld": True}
