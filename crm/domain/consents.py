"""Owns consent directives: permissions and prohibitions of contact, appended and never overwritten. Decides nothing."""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, Final, Self

from pydantic import Field, Strict, model_validator

from crm.domain.codes import Channel, CommunicationPurpose, ConsentDecision, GiverRole
from crm.domain.languages import LanguageTag
from crm.domain.shape import Shape, broken_at, distinct
from crm.domain.texts import Id, LongText, ShortText, new_id
from crm.domain.times import Instant

__all__ = [
    "MOST_DIRECTIVES", "Capture", "ConsentDirective", "ConsentDirectives", "ConsentScope", "Giver", "by_patient",
    "mark_of", "weighs_from",
]  # fmt: skip

MOST_DIRECTIVES: Final = 500
"""Directives of one person. A repetition of what is in force adds none, so this is far from what anybody says."""


class ConsentScope(Shape):
    """What a directive is about; what is left out is not limited: no member at all is every contact.

    `contact_point_id` is that of a contact point of the record or of a related person; `sender` names a registered
    sender.
    """

    channel: Channel | None = None
    contact_point_id: Id | None = None
    purpose: CommunicationPurpose | None = None
    sender: ShortText | None = None


class Giver(Shape):
    """Who said so: the patient, or with `related_person_id` somebody else, in the right of `role`."""

    role: GiverRole = GiverRole.PATIENT
    related_person_id: Id | None = None


class Capture(Shape):
    """The evidence of a directive: when and how it was said, who entered it, and the words that the giver was shown.

    `message_id` and `contact_point_id` are of the message that said so, where one did. `evidence` is a reference, such
    as the number of a recording or a form; nothing of the person stands in it.
    """

    at: Instant
    channel: Channel | None = None
    system: ShortText | None = None
    by: ShortText | None = None
    wording_id: ShortText | None = None
    wording_version: ShortText | None = None
    language: LanguageTag | None = None
    evidence: ShortText | None = None
    message_id: ShortText | None = None
    contact_point_id: Id | None = None


class ConsentDirective(Shape):
    """One permission or prohibition of contact (FHIR R4 `Consent`); `seq` counts those of the record from 1.

    It holds from `effective_from` until just before `effective_to`. A DENY binds at once; `honour_by` is the moment by
    which everybody else must have stopped: ten business days in the United States (47 CFR 64.1200(a)(10)).
    `confirmed_at` is when a permission was confirmed by a second act (double opt-in). `mark` tells for which number or
    mailbox a permission of one contact point was given (see `mark_of`).
    """

    id: Id = Field(default_factory=new_id)
    seq: Annotated[int, Strict(), Field(ge=1)]
    decision: ConsentDecision
    scope: ConsentScope = ConsentScope()
    giver: Giver = Giver()
    capture: Capture
    confirmed_at: Instant | None = None
    effective_from: Instant
    effective_to: Instant | None = None
    received_at: Instant
    honour_by: Instant | None = None
    mark: ShortText | None = None
    note: LongText | None = None

    @model_validator(mode="after")
    def _ends_after_it_begins(self) -> Self:
        if self.effective_to is not None and self.effective_to <= self.effective_from:
            raise broken_at("effective_to", "period_order")
        return self


ConsentDirectives = Annotated[
    list[ConsentDirective],
    Field(max_length=MOST_DIRECTIVES),
    distinct(lambda directive: directive.id),
    distinct(lambda directive: directive.seq),
]


def by_patient(directive: Mapping[str, Any]) -> bool:
    """Whether the patient said so: the giver is nobody else, by their right or by name."""
    giver = directive.get("giver") or {}
    return giver.get("role", GiverRole.PATIENT) == GiverRole.PATIENT and giver.get("related_person_id") is None


def mark_of(directive_id: str, value: str) -> str:
    """Four hex digits by which a number or mailbox is known again, and cannot be found out once it is erased.

    A contact point keeps its id when its value changes; a permission was given for the value.
    """
    return hashlib.sha256(f"{directive_id}\n{value}".encode()).hexdigest()[:4]


def weighs_from(directive: Mapping[str, Any]) -> str:
    """The `Instant` from which a directive is weighed against others: a PERMIT is no newer than the words that gave it.

    Whoever enters an old form could otherwise let it take effect after a STOP, and so beat it.
    """
    since: str = directive["effective_from"]
    if directive["decision"] == ConsentDecision.DENY:
        return since
    said = (directive.get("capture") or {}).get("at")
    return since if said is None or said > since else said
