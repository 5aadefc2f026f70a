"""Owns access needs, accessible formats and cultural needs: what to do for the person, never why."""

from typing import Annotated, Self

from pydantic import Field, Strict, model_validator

from crm.domain.codes import AccessNeedCategory, CulturalNeedKind, SharingBasis
from crm.domain.need_codes import CATEGORIES, AccessibleFormat, AccessNeedKind
from crm.domain.shape import Shape, broken_at, distinct
from crm.domain.texts import Id, LongText, ShortText, new_id
from crm.domain.times import PartialDateTime

__all__ = [
    "AccessNeed", "AccessNeeds", "AccessibleFormats", "CulturalNeedDetail", "CulturalNeedDetails",
    "CulturalNeedHandling", "CulturalNeedHandlings",
]  # fmt: skip


class AccessNeed(Shape):
    """One thing to do or to have ready so that the person can take part, with the stages of its life.

    They are those of DAPB1605: identified (`identified_at`, `source`), recorded (the provenance of the record), flagged
    (`flag_visible`), shared (`sharing_basis`), met (`last_met_at`, `last_unmet_at`) and reviewed.

    `category` is derived from `kind`. `flag_visible` says whether staff see it on opening the record. OTHER needs a
    `text`.
    """

    id: Id = Field(default_factory=new_id)
    kind: AccessNeedKind
    category: AccessNeedCategory = AccessNeedCategory.ADDITIONAL
    text: LongText | None = None
    flag_visible: Annotated[bool, Strict()] = True
    identified_at: PartialDateTime | None = None
    source: ShortText | None = None
    sharing_basis: SharingBasis | None = None
    last_met_at: PartialDateTime | None = None
    last_unmet_at: PartialDateTime | None = None
    last_reviewed_at: PartialDateTime | None = None
    review_due_at: PartialDateTime | None = None

    @model_validator(mode="after")
    def _in_its_category(self) -> Self:
        if self.kind is AccessNeedKind.OTHER and self.text is None:
            raise broken_at("text", "missing")
        return self.model_copy(update={"category": CATEGORIES[self.kind]})


class CulturalNeedHandling(Shape):
    """What staff should do about a cultural need, without the reason; `id` joins it to its detail."""

    id: Id = Field(default_factory=new_id)
    handling: LongText


class CulturalNeedDetail(Shape):
    """The kind and background of a cultural need; `id` joins it to what staff should do."""

    id: Id = Field(default_factory=new_id)
    kind: CulturalNeedKind
    detail: LongText | None = None


_by_id = distinct(lambda need: need.id)

AccessibleFormats = Annotated[list[AccessibleFormat], distinct(str)]
AccessNeeds = Annotated[list[AccessNeed], Field(max_length=50), _by_id]
CulturalNeedHandlings = Annotated[list[CulturalNeedHandling], Field(max_length=50), _by_id]
CulturalNeedDetails = Annotated[list[CulturalNeedDetail], Field(max_length=50), _by_id]
