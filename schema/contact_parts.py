"""What people permit, who stands in for them, and what binds the organisation, as GraphQL types."""

from collections.abc import Mapping
from typing import Any

import graphene

from schema import contact_enums, enums
from schema.parts import AccessNeed, Address, ContactPoint, Language, Period, items, needed, words
from schema.scalars import DateTime, LanguageTag

__all__ = ["ConfidentialCommunication", "ConsentDirective", "RelatedPerson", "Restriction", "Suspension"]


class ConsentScope(graphene.ObjectType):
    """What a directive is about; what is null is not limited."""

    channel = graphene.Field(enums.Channel, description="The channel.")
    contact_point_id = graphene.ID(description="The contact point, of the patient or of a related person.")
    purpose = graphene.Field(enums.CommunicationPurpose, description="The purpose of the communication.")
    sender = words("The registered sender.")


class ConsentGiver(graphene.ObjectType):
    """Who gave a directive."""

    role = needed(contact_enums.GiverRole, "In which right.")
    related_person_id = graphene.ID(description="The related person; null for the patient.")


class ConsentCapture(graphene.ObjectType):
    """The evidence of a directive."""

    at = needed(DateTime, "When it was said.")
    channel = graphene.Field(enums.Channel, description="How it was said.")
    system = words("The system in which it was entered.")
    by = words("Who entered it, as the subject of their token.")
    wording_id = words("Which text the giver was shown or read.")
    wording_version = words("Which version of that text.")
    language = graphene.Field(LanguageTag, description="In which language.")
    evidence = words("A reference to a form or recording.")
    message_id = words("The id of the message that said it.")
    contact_point_id = graphene.ID(description="From where that message came.")


class ConsentDirective(graphene.ObjectType):
    """One permission or prohibition of contact. Directives are appended; none is ever changed or removed."""

    id = needed(graphene.ID, "The id of the directive.")
    seq = needed(graphene.Int, "Its place in the history, from 1.")
    decision = needed(contact_enums.ConsentDecision, "What it says.")
    scope = needed(ConsentScope, "What it is about.")
    giver = needed(ConsentGiver, "Who gave it.")
    capture = needed(ConsentCapture, "The evidence.")
    confirmed_at = graphene.Field(DateTime, description="When it was confirmed by a second act (double opt-in).")
    effective_from = needed(DateTime, "From when it holds.")
    effective_to = graphene.Field(DateTime, description="Until when it holds; null for good.")
    received_at = needed(DateTime, "When it was received here.")
    honour_by = graphene.Field(
        DateTime, description="By when everybody must have stopped; here a DENY binds from the moment it is stored."
    )
    note = words("What whoever entered it wrote beside it.")


class RelatedPerson(graphene.ObjectType):
    """Somebody who is contacted instead of the patient or beside them, or acts for them (FHIR R4 `RelatedPerson`)."""

    id = needed(graphene.ID, "The id within the record.")
    name = needed(graphene.String, "How to address them.")
    relationship = needed(contact_enums.Relationship, "Who they are to the patient.")
    authority = graphene.Field(contact_enums.Authority, description="What their role rests on.")
    contact = needed(contact_enums.StandIn, "Whether they are contacted.")
    purposes = items(enums.CommunicationPurpose, "About what; all purposes where the list is empty.")
    rank = graphene.Field(graphene.Int, description="Order among several: 1 comes first.")
    period = graphene.Field(Period, description="When this holds.")
    contact_points = items(ContactPoint, "How to reach them.")
    languages = items(Language, "Their own languages.")
    accessible_formats = items(enums.AccessibleFormat, "Formats in which they must be written to.")
    access_needs = items(AccessNeed, "What they need themselves.")


class ConfidentialCommunication(graphene.ObjectType):
    """The one way in which the person asked to be reached instead of all others. No reason is asked for or kept.

    Who may only use it sees `withheld`, and null in every other field.
    """

    id = graphene.ID(description="The id within the record.")
    channel = graphene.Field(enums.Channel, description="The channel.")
    value = words("The number or mailbox.")
    address = graphene.Field(Address, description="The address of letters.")
    purposes = items(enums.CommunicationPurpose, "About what; everything where the list is empty.")
    language = graphene.Field(LanguageTag, description="The language to use there.")
    set_at = graphene.Field(DateTime, description="Since when.")
    set_by = words("Who entered it, as the subject of their token.")
    withheld = needed(graphene.Boolean, "Whether there is one that you may use without seeing it.")

    @staticmethod
    def resolve_withheld(root: Mapping[str, Any], _info: Any) -> bool:
        """Only the masked form says so."""
        return bool(root.get("withheld"))


class Restriction(graphene.ObjectType):
    """What binds the organisation about a person, whatever anybody prefers or permits."""

    id = needed(graphene.ID, "The id within the record.")
    kind = needed(contact_enums.RestrictionKind, "What it binds.")
    basis = needed(contact_enums.RestrictionBasis, "Why it binds.")
    channels = items(enums.Channel, "The channels it forbids; all where the list is empty.")
    purposes = items(enums.CommunicationPurpose, "The purposes it forbids; all where the list is empty.")
    until = graphene.Field(DateTime, description="When it ends by itself.")
    placed_by = needed(graphene.String, "Who placed it, as the subject of their token.")
    placed_at = needed(DateTime, "When it was placed.")
    lifted_by = words("Who lifted it.")
    lifted_at = graphene.Field(DateTime, description="When it was lifted.")


class Suspension(graphene.ObjectType):
    """A message of the person that staff have to read, or have read."""

    id = needed(graphene.ID, "The id within the record.")
    kind = needed(contact_enums.SuspensionKind, "Why it waits, or waited.")
    message_id = needed(graphene.String, "The gateway's id of the message.")
    gateway = needed(graphene.String, "The gateway that brought it.")
    channel = needed(enums.Channel, "How it came.")
    contact_point_id = graphene.ID(description="From where it came.")
    text = needed(graphene.String, "What the person wrote.")
    received_at = needed(DateTime, "When it came in.")
    verdict = graphene.Field(contact_enums.SuspensionVerdict, description="What it was taken for; null while it waits.")
    resolved_by = words("Who read it, as the subject of their token.")
    resolved_at = graphene.Field(DateTime, description="When they had read it.")
