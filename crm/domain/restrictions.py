"""Owns restrictions: what binds the organisation about a person, whatever anybody prefers or permits."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from crm.domain.codes import Channel, CommunicationPurpose, RestrictionBasis, RestrictionKind
from crm.domain.shape import Shape, broken_at, distinct
from crm.domain.texts import Id, ShortText, new_id
from crm.domain.times import Instant

__all__ = ["Restriction", "Restrictions"]


class Restriction(Shape):
    """One restriction (45 CFR 164.522(a), GDPR Art. 18 and 21, or an order); it stays as a fact once it was lifted.

    RECORD withholds where the person is and how to reach them, until it is lifted by a person, never by a date.
    CONTACT forbids contact by `channels` and about `purposes` (all where none is named) until `until`.
    """

    id: Id = Field(default_factory=new_id)
    kind: RestrictionKind
    basis: RestrictionBasis
    channels: Annotated[list[Channel], distinct(str)] = []
    purposes: Annotated[list[CommunicationPurpose], distinct(str)] = []
    until: Instant | None = None
    placed_by: ShortText
    placed_at: Instant
    lifted_by: ShortText | None = None
    lifted_at: Instant | None = None

    @model_validator(mode="after")
    def _records_have_no_scope(self) -> Self:
        if self.kind is RestrictionKind.RECORD:
            for name in ("channels", "purposes", "until"):
                if getattr(self, name):
                    raise broken_at(name, "unknown_field")
        return self


Restrictions = Annotated[list[Restriction], Field(max_length=50), distinct(lambda restriction: restriction.id)]
