"""Reviews and outcomes of access needs: mutations, and the two lists that say where something was left undone."""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Action, Group
from schema.changing import VERSIONED, change, target
from schema.context import Context, Profile
from schema.erasures import allowed_to
from schema.inputs import Mergeable, for_writers
from schema.pages import PageInfo, PatientConnection, as_connection, page_size
from schema.scalars import DateTime, PartialDate, PartialDateTime
from schema.types import Patient

__all__ = ["NeedsMutations", "NeedsQueries"]

_NEED = graphene.ID(required=True, description="The need's id within the record.")
_FIRST = graphene.Int(description="How many at most: 1 to 100, 25 if omitted.")
_AFTER = graphene.String(description="The cursor after which to go on; from the first if omitted.")


class ReviewNeedInput(Mergeable, graphene.InputObjectType):
    """That a need was looked at with the person."""

    need_id = _NEED
    review_due_at = PartialDateTime(description="When to look at it again, not before today; never if omitted.")


class RecordNeedOutcomeInput(Mergeable, graphene.InputObjectType):
    """Whether a need was met."""

    need_id = _NEED
    met = graphene.Boolean(required=True, description="Whether it was met just now.")


class UnmetNeedEdge(graphene.ObjectType):
    """One patient of a page, and what the log says of their needs."""

    node = graphene.Field(Patient, required=True, description="The patient.")
    cursor = graphene.String(required=True, description="The place of this patient in the list; opaque.")
    last_at = graphene.Field(DateTime, required=True, description="When a need was last not met in the time asked.")
    times = graphene.Int(required=True, description="How often that happened in the time asked.")


class UnmetNeedConnection(graphene.ObjectType):
    """One page of patients of whom a need was not met, in the order of their ids."""

    edges = graphene.List(graphene.NonNull(UnmetNeedEdge), required=True, description="The patients of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")


class NeedsQueries:
    """Whose needs wait."""

    overdue_reviews = graphene.Field(
        PatientConnection,
        as_of=PartialDate(description="A day; today (UTC) if omitted. What is due on that day is not overdue."),
        first=_FIRST,
        after=_AFTER,
        description="Patients with an access need whose review is overdue; the need still holds. "
        f"{allowed_to(Action.SEARCH)}",
    )
    unmet_needs = graphene.Field(
        UnmetNeedConnection,
        from_=PartialDateTime(required=True, name="from", description="From when."),
        to=PartialDateTime(description="Until before when; now if omitted."),
        first=_FIRST,
        after=_AFTER,
        description="Patients of whom a need was not met: a contact decision could not meet it, or staff recorded so. "
        f"{allowed_to(Action.SEARCH)}",
    )

    @staticmethod
    async def resolve_overdue_reviews(
        _root: Any, info: Any, as_of: str | None = None, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of patients."""
        here: Context = info.context
        size = page_size(first, here.limits)
        page = await here.services.needs.overdue(here.actor, here.request, as_of, size, after, here.asked(info))
        return as_connection(page)

    @staticmethod
    async def resolve_unmet_needs(
        _root: Any,
        info: Any,
        from_: str,
        to: str | None = None,
        first: int | None = None,
        after: str | None = None,
    ) -> Mapping[str, Any]:
        """One page of patients, with when and how often."""
        here: Context = info.context
        size = page_size(first, here.limits)
        page = await here.services.needs.unmet(here.actor, here.request, from_, to, size, after, here.asked(info))
        answer = as_connection(page)
        told = zip(answer["edges"], page.last, page.times, strict=True)
        return {**answer, "edges": [{**edge, "last_at": last, "times": times} for edge, last, times in told]}


class NeedsMutations:
    """What happens to a need once it is recorded."""

    review_need = change(
        ReviewNeedInput,
        for_writers(f"Says that an access need was looked at now, and when to look again. {VERSIONED}", Group.ACCESS),
    )
    record_need_outcome = change(
        RecordNeedOutcomeInput,
        for_writers(
            f"Says whether an access need was met now; one that was not is found by `unmetNeeds`. {VERSIONED}",
            Group.ACCESS,
        ),
    )

    @staticmethod
    async def resolve_review_need(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with the reviewed need."""
        here: Context = info.context
        patient_id, version, values = target(input)
        need_id, due = values["need_id"], values.get("review_due_at")
        return await here.services.needs.review(
            here.actor, here.request, patient_id, version, need_id, due, here.asked(info)
        )

    @staticmethod
    async def resolve_record_need_outcome(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The profile with the outcome."""
        here: Context = info.context
        patient_id, version, values = target(input)
        need_id, met = values["need_id"], values["met"]
        return await here.services.needs.outcome(
            here.actor, here.request, patient_id, version, need_id, met, here.asked(info)
        )
