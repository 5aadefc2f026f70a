"""Possible duplicates as GraphQL shows them: two ids, how alike their records are, and what people said of them.

Each resolver asks one service once. Decides nothing, and shows no value of either record.
"""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Action
from crm.domain.likeness import Agreement, Band, Fact
from crm.services.duplicates import NEAREST, PairsPage, Verdict
from schema.changing import mutation
from schema.context import Context
from schema.enums import enum_type
from schema.erasures import allowed_to
from schema.pages import PageInfo, as_connection, page_size
from schema.parts import needed
from schema.scalars import DateTime

__all__ = ["DuplicatesMutations", "DuplicatesQueries"]

LikenessEnum = enum_type(
    Band,
    {
        "PROBABLE": "Rather one person than two.",
        "POSSIBLE": "Worth a look; twins with names that rhyme are never more than that.",
        "UNLIKELY": "Rather two people; such pairs are not shown.",
    },
    name="Likeness",
    about="What the comparison of two records comes to.",
)
FactEnum = enum_type(
    Fact,
    {
        "IDENTIFIER": "A business identifier.",
        "BIRTH_DATE": "The date of birth.",
        "FAMILY_NAME": "A family name, present or past.",
        "GIVEN_NAME": "The first given name, or what the person is called.",
        "PHONE": "A telephone number.",
        "EMAIL": "An e-mail address.",
    },
    name="ComparedFact",
    about="What of two records is compared.",
)
AgreementEnum = enum_type(
    Agreement,
    {
        "SAME": "The same, or both the same as far as they are known.",
        "CLOSE": "One slip apart, or a short or second name of the same person.",
        "DIFFERENT": "Different.",
    },
    name="Agreement",
    about="How a fact compares that both records state.",
)
VerdictEnum = enum_type(
    Verdict,
    {
        "NOT_DUPLICATE": "They are two people: the pair is not shown until names, birth date or identifiers change.",
        "UNDECIDED": "It cannot be said yet, or what was said before is taken back: the pair goes on being shown.",
    },
    name="DuplicateVerdict",
    about="What a person says of two records.",
)


class Comparison(graphene.ObjectType):
    """How one fact of two records compares; never what it is."""

    fact = needed(FactEnum, "What is compared.")
    agreement = needed(AgreementEnum, "How it compares.")


class PossibleDuplicate(graphene.ObjectType):
    """Two records that may be about one person, each with the version that was compared."""

    first_id = needed(graphene.ID, "The one record, whose id is the smaller.")
    first_version = needed(graphene.Int, "Its version.")
    second_id = needed(graphene.ID, "The other record.")
    second_version = needed(graphene.Int, "Its version.")
    likeness = needed(LikenessEnum, "What the comparison comes to.")
    bits = needed(graphene.Float, "What the evidence weighs, in bits: each doubles the odds that they are one person.")
    facts = needed(
        graphene.List(graphene.NonNull(Comparison)), "What both state; of a restricted record only what you may read."
    )
    found_at = graphene.Field(DateTime, description="When the pair was found first; null where it was just now.")
    verdict = graphene.Field(VerdictEnum, description="What somebody said of it; null where nobody did.")


class PossibleDuplicateEdge(graphene.ObjectType):
    """One pair of a page."""

    node = graphene.Field(PossibleDuplicate, required=True, description="The pair.")
    cursor = graphene.String(required=True, description="The place of this pair in the list; opaque.")


class PossibleDuplicateConnection(graphene.ObjectType):
    """One page of pairs: in the order in which they were found, or of one record the most alike first.

    Stored pairs that are not alike any more are left out, so a page of the list may have fewer than were asked for, or
    none: go on from `pageInfo.endCursor`, which lies behind them, too, for as long as `hasNextPage` says so.
    """

    edges = graphene.List(graphene.NonNull(PossibleDuplicateEdge), required=True, description="The pairs of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")
    crowded = graphene.Boolean(
        description="Of one record: whether others share something with it that were not compared, because more than "
        f"fifty share that, or because more than {NEAREST} share something; null of the list.",
    )


class ReviewDuplicateInput(graphene.InputObjectType):
    """Two records, in either order, and what is said of them."""

    patient_id = graphene.ID(required=True, description="The one record.")
    other_id = graphene.ID(required=True, description="The other.")
    verdict: Any = VerdictEnum(required=True, description="What is said of them. For one person, see `mergePatients`.")


class DuplicateReview(graphene.ObjectType):
    """What was said of two records."""

    patient_id = needed(graphene.ID, "The one record.")
    other_id = needed(graphene.ID, "The other.")
    verdict = needed(VerdictEnum, "What was said.")
    reviewed_at = needed(DateTime, "When.")


class DuplicatesQueries:
    """Which records may be about one person."""

    possible_duplicates = graphene.Field(
        PossibleDuplicateConnection,
        patient_id=graphene.ID(description="A record, whose like is looked for now; all found pairs if omitted."),
        first=graphene.Int(description="How many at most, of the list how many to look at: 1 to 100, 25 if omitted."),
        after=graphene.String(description="The cursor after which to go on; from the first if omitted."),
        description="Pairs of records that may be about one person and that nobody settled. Without `patientId`, those "
        "that the sweep `duplicates` found, compared anew. For callers who may read names, birth date, identifiers and "
        f"contact points. {allowed_to(Action.MERGE)}",
    )

    @staticmethod
    async def resolve_possible_duplicates(
        _root: Any, info: Any, patient_id: str | None = None, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of pairs."""
        here: Context = info.context
        size = page_size(first, here.limits)
        pairs = here.services.duplicates
        if patient_id is None:
            return _as_connection(await pairs.page(here.actor, here.request, size, after))
        return _as_connection(await pairs.of_patient(here.actor, here.request, patient_id, size, after))


class DuplicatesMutations:
    """What people say of pairs."""

    review_duplicate = mutation(
        DuplicateReview,
        ReviewDuplicateInput,
        "Says of two records whether they are about two people. Changes neither record. VALIDATION_FAILED for the same "
        "record twice (`same_record`), and for two that are not alike and were not found before (`not_alike`). "
        f"{allowed_to(Action.MERGE)}",
    )

    @staticmethod
    async def resolve_review_duplicate(_root: Any, info: Any, input: Mapping[str, Any]) -> Mapping[str, Any]:
        """What was said."""
        here: Context = info.context
        one, other, verdict = input["patient_id"], input["other_id"], Verdict(input["verdict"])
        return await here.services.duplicates.review(here.actor, here.request, one, other, verdict)


def _as_connection(page: PairsPage) -> Mapping[str, Any]:
    """A page in the shape of a connection; its end lies behind what was looked at, and not only what is told."""
    connection = as_connection(page)
    return {**connection, "crowded": page.crowded, "page_info": {**connection["page_info"], "end_cursor": page.end}}
