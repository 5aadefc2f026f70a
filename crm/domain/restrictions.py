"""Owns restrictions: what binds the organisation about a person, whatever anybody prefers or permits."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Self

from pydantic import Field, model_validator

from crm.domain.codes import Channel, CommunicationPurpose, RestrictionBasis, RestrictionKind
from crm.domain.shape import Shape, broken_at, distinct, parse
from crm.domain.texts import Id, ShortText, new_id
from crm.domain.times import Instant

__all__ = ["MOST_RESTRICTIONS", "Restriction", "Restrictions", "marked", "said_by_source", "withholds"]

MOST_RESTRICTIONS: Final = 50


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
        elif self.until is not None and self.until <= self.placed_at:
            raise broken_at("until", "period_order")
        return self


Restrictions = Annotated[
    list[Restriction], Field(max_length=MOST_RESTRICTIONS), distinct(lambda restriction: restriction.id)
]


def withholds(restrictions: Sequence[Mapping[str, Any]]) -> bool:
    """Whether one that is in force restricts the record."""
    return any(each["kind"] == RestrictionKind.RECORD and "lifted_at" not in each for each in restrictions)


def marked(by: str, at: str) -> dict[str, Any]:
    """A restriction of the record of which no more is known than that `by` says so."""
    restriction = {"kind": RestrictionKind.RECORD, "basis": RestrictionBasis.SOURCE_SYSTEM}
    said: dict[str, Any] = parse(Restriction, {**restriction, "placed_by": by, "placed_at": at}, "restrictions")
    return said


def said_by_source(restrictions: Sequence[Mapping[str, Any]], source: str, at: str) -> list[Mapping[str, Any]]:
    """`restrictions` with one of the source system `source` in force, at the end unless there is one.

    Past the limit there is no room for it; the flag of the record stands without one then.
    """
    said = [each for each in restrictions if each["basis"] == RestrictionBasis.SOURCE_SYSTEM]
    theirs = [each for each in said if each["placed_by"] == source]
    if withholds(theirs) or len(restrictions) >= MOST_RESTRICTIONS:
        return list(restrictions)
    return [*restrictions, marked(source, at)]
