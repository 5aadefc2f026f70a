"""Owns what waits for staff after an unclear message of the person, and the suspension that goes with it."""

from typing import Annotated

from pydantic import Field

from crm.domain.codes import Channel, SuspensionKind, SuspensionVerdict
from crm.domain.shape import Shape, distinct
from crm.domain.texts import Id, LongText, ShortText, new_id
from crm.domain.times import Instant

__all__ = ["Suspension", "Suspensions"]


class Suspension(Shape):
    """One message that a person has to read: the words, where they came from, and what they were taken for.

    While an UNCLEAR one has no `verdict`, nothing but emergencies is sent. An OPT_IN_REQUEST stops nothing and permits
    nothing.
    """

    id: Id = Field(default_factory=new_id)
    kind: SuspensionKind
    message_id: ShortText
    gateway: ShortText
    channel: Channel
    contact_point_id: Id | None = None
    text: LongText
    received_at: Instant
    verdict: SuspensionVerdict | None = None
    resolved_by: ShortText | None = None
    resolved_at: Instant | None = None


Suspensions = Annotated[list[Suspension], Field(max_length=50), distinct(lambda suspension: suspension.id)]
