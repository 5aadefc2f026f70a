"""Break-glass as GraphQL shows it: grants, what is asked with them, and their reviews. Decides nothing about them."""

from typing import Any

import graphene

from crm.domain.break_glass import GROUNDS, BreakGlassReason, Verdict
from schema.enums import enum_type
from schema.pages import PageInfo
from schema.scalars import DateTime

__all__ = [
    "BreakGlassGrant",
    "BreakGlassGrantConnection",
    "BreakGlassReasonEnum",
    "RequestBreakGlassInput",
    "ReviewBreakGlassInput",
]

BreakGlassReasonEnum = enum_type(
    BreakGlassReason,
    {reason.name: f"{ground[:1].upper()}{ground[1:]}." for reason, ground in GROUNDS.items()},
    name="BreakGlassReason",
    about="Why somebody breaks the glass.",
)
BreakGlassVerdict = enum_type(
    Verdict,
    {
        "JUSTIFIED": "The access was needed; the grant goes on until its end.",
        "UNJUSTIFIED": "It was not, and the grant ends at once.",
        "NEEDS_FOLLOW_UP": "It goes on elsewhere: with a superior, an inquiry, or the patient; the grant ends at once.",
    },
    name="BreakGlassVerdict",
    about="What the review of a grant came to.",
)


class BreakGlassGrant(graphene.ObjectType):
    """Leave for one person to read one record, restricted parts included, for a while; judged by another afterwards."""

    id = graphene.ID(required=True, description="The grant's id, to which the events of the log refer.")
    patient_id = graphene.ID(description="Whose record; null once the patient was erased.")
    reason = graphene.Field(BreakGlassReasonEnum, required=True, description="Why, as a code.")
    text = graphene.String(
        description="Why, in the words of whoever asked. They are sealed, and reading them is recorded; ERASED once "
        "the patient was erased."
    )
    requested_by = graphene.String(required=True, description="Who asked, as the subject of their token.")
    requested_at = graphene.Field(DateTime, required=True, description="When they asked.")
    expires_at = graphene.Field(DateTime, required=True, description="When the grant ends, or ended.")
    openings = graphene.Int(
        required=True,
        description="How often the record was answered under it.",
    )
    reviewed_by = graphene.String(description="Who reviewed it; null while nobody has.")
    reviewed_at = graphene.Field(DateTime, description="When it was reviewed.")
    verdict = graphene.Field(BreakGlassVerdict, description="What the review came to.")
    note = graphene.String(description="What the reviewer wrote; sealed like `text`.")
    age_minutes = graphene.Int(required=True, description="Minutes from the request to the review, or until now.")
    overdue = graphene.Boolean(required=True, description="Whether it waits for longer than a review may take.")


class BreakGlassGrantEdge(graphene.ObjectType):
    """One grant of a page."""

    node = graphene.Field(BreakGlassGrant, required=True, description="The grant.")
    cursor = graphene.String(required=True, description="The place of this grant in the list; opaque.")


class BreakGlassGrantConnection(graphene.ObjectType):
    """One page of grants."""

    edges = graphene.List(graphene.NonNull(BreakGlassGrantEdge), required=True, description="The grants of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")


class RequestBreakGlassInput(graphene.InputObjectType):
    """A request for a grant. It changes nothing of the record, and so needs no version."""

    patient_id = graphene.ID(description="The record to read.", required=True)
    reason: Any = BreakGlassReasonEnum(description="Why.", required=True)
    text = graphene.String(description="Why, in 10 to 1,000 characters, for whoever reviews it.", required=True)
    minutes = graphene.Int(description="For how long: 60 if omitted, and no longer than the organisation allows.")


class ReviewBreakGlassInput(graphene.InputObjectType):
    """The review of one grant."""

    grant_id = graphene.ID(description="The grant's id, which `breakGlassGrants` tells.", required=True)
    verdict: Any = BreakGlassVerdict(description="What it came to.", required=True)
    note = graphene.String(description="Why, in 10 to 1,000 characters; sealed.")
