"""Owns related persons: who acts or is contacted for the patient, within which scope and period, and what they need."""

from typing import Annotated

from pydantic import Field

from crm.domain.codes import Authority, CommunicationPurpose, Relationship, StandIn
from crm.domain.contact_points import ContactPoint
from crm.domain.languages import Languages, Rank
from crm.domain.needs import AccessibleFormats, AccessNeeds
from crm.domain.shape import Shape, distinct
from crm.domain.texts import Id, ShortText, new_id
from crm.domain.times import Period

__all__ = ["RelatedPerson", "RelatedPersons"]


class RelatedPerson(Shape):
    """Somebody else who is reached about the patient, or acts for them (FHIR R4 `RelatedPerson`).

    `contact` says whether they are contacted INSTEAD of the patient, BESIDE, or not (NONE), about `purposes` (all where
    none is named) and within `period`; of several INSTEAD the lowest `rank` is asked first. They have contact points,
    languages, formats and needs of their own.
    """

    id: Id = Field(default_factory=new_id)
    name: ShortText
    relationship: Relationship
    authority: Authority | None = None
    contact: StandIn = StandIn.NONE
    purposes: Annotated[list[CommunicationPurpose], distinct(str)] = []
    rank: Rank | None = None
    period: Period | None = None
    contact_points: Annotated[list[ContactPoint], Field(max_length=10), distinct(lambda point: point.id)] = []
    languages: Languages = []
    accessible_formats: AccessibleFormats = []
    access_needs: AccessNeeds = []


RelatedPersons = Annotated[list[RelatedPerson], Field(max_length=20), distinct(lambda person: person.id)]
