"""Owns business identifiers and links between records; resolves neither."""

from typing import Annotated

from pydantic import Field

from crm.domain.codes import IdentifierUse, LinkType
from crm.domain.shape import Shape
from crm.domain.texts import ShortText
from crm.domain.times import Period

__all__ = ["Identifier", "IdentifierType", "Identifiers", "Link", "Links"]


class IdentifierType(Shape):
    """What kind of identifier it is: a code, usually of HL7 v2-0203, or words."""

    system: ShortText | None = None
    code: ShortText | None = None
    text: ShortText | None = None


class Identifier(Shape):
    """A number or name that a system gave the person, unique within `system` (FHIR R4 `Identifier`)."""

    system: ShortText | None = None
    value: ShortText
    use: IdentifierUse | None = None
    type: IdentifierType | None = None
    period: Period | None = None
    assigner: ShortText | None = None


class Link(Shape):
    """Another record about the same person; `other` is a reference such as `Patient/123` (FHIR R4 `Patient.link`)."""

    type: LinkType
    other: ShortText


Identifiers = Annotated[list[Identifier], Field(max_length=50)]
Links = Annotated[list[Link], Field(max_length=50)]
