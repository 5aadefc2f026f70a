"""Owns postal and physical addresses as FHIR R4 `Address` shapes them; checks no address against a gazetteer."""

from typing import Annotated

from pydantic import Field

from crm.domain.codes import AddressType, AddressUse
from crm.domain.shape import Shape, distinct
from crm.domain.texts import Id, LongText, ShortText, new_id
from crm.domain.times import Period

__all__ = ["Address", "Addresses"]


class Address(Shape):
    """Where the person lives or takes letters; `text` is the whole as it is written on an envelope."""

    id: Id = Field(default_factory=new_id)
    use: AddressUse | None = None
    type: AddressType | None = None
    text: LongText | None = None
    lines: Annotated[list[ShortText], Field(max_length=20)] = []
    city: ShortText | None = None
    district: ShortText | None = None
    state: ShortText | None = None
    postal_code: ShortText | None = None
    country: ShortText | None = None
    period: Period | None = None


Addresses = Annotated[list[Address], Field(max_length=30), distinct(lambda address: address.id)]
