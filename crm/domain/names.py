"""Owns the names of a person as FHIR R4 `HumanName` shapes them; which one is shown is the matter of `addressing`."""

from typing import Annotated, Self

from pydantic import Field, ValidationInfo, model_validator

from crm.domain.codes import NameUse
from crm.domain.shape import Shape, broken, entry_of
from crm.domain.texts import ShortText
from crm.domain.times import Period

__all__ = ["HumanName", "HumanNames"]

_Parts = Annotated[list[ShortText], Field(max_length=20)]


class HumanName(Shape):
    """One name: its parts as written, in the order in which they are said, or the whole as `text`."""

    use: NameUse | None = None
    text: ShortText | None = None
    family: ShortText | None = None
    given: _Parts = []
    prefix: _Parts = []
    suffix: _Parts = []
    period: Period | None = None

    @model_validator(mode="after")
    def _says_something(self, info: ValidationInfo) -> Self:
        if not (self.text or self.family or self.given or self.prefix or self.suffix or entry_of(info).lenient):
            raise broken("empty")
        return self


HumanNames = Annotated[list[HumanName], Field(max_length=30)]
