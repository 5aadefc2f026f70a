"""What officers add up, as GraphQL shows it: sums of the log, people who did more than before, and disclosures."""

from collections.abc import Mapping, Sequence
from typing import Any

import graphene

from auth.policy import Action
from crm.services.questions import Answered, Dimension
from schema import enums, policy_enums
from schema.context import Context
from schema.enums import enum_type
from schema.erasures import allowed_to
from schema.events import AccessActor, AccessEventFilter, AccessFlag
from schema.inputs import plain
from schema.scalars import DateTime, PartialDate

__all__ = ["OfficersQuestions"]

AccessDimension = enum_type(
    Dimension,
    {
        "ACTOR": "The subject of the caller's token.",
        "PATIENT": "The patient.",
        "ACTION": "What was done or attempted.",
        "OUTCOME": "How it ended.",
        "PURPOSE": "The purpose of use.",
        "ROLE": "The caller's roles.",
        "FLAG": "The circumstance; an event with several counts under each, one without any nowhere.",
        "DAY": "The day, in UTC.",
        "HOUR": "The hour of the day, 0 to 23, in UTC.",
    },
    name="AccessDimension",
    about="By what access events are grouped.",
)
_RECORDED = f"The look is recorded. {allowed_to(Action.AUDIT_READ)}"
_COMPLETE = graphene.Boolean(required=True, description="Whether these are all; otherwise ask about less at once.")


def _count(text: str) -> graphene.Int:
    return graphene.Int(required=True, description=text)


def _time(text: str, *, required: bool = True, name: str | None = None) -> graphene.Field:
    return graphene.Field(DateTime, required=required, name=name, description=text)


class AccessSum(graphene.ObjectType):
    """What one group of access events adds up to. Dimensions that were not asked for are null."""

    actor = graphene.String(description="The subject of the callers' token; null also where there was no valid token.")
    patient_id = graphene.ID(description="The patient; null also where the events concern no single one.")
    audit_subject = graphene.String(description="The patient's random name in the log.")
    action = graphene.String(description="What was done or attempted.")
    outcome = graphene.Field(enums.AccessOutcome, description="How it ended.")
    purpose_of_use = graphene.Field(
        policy_enums.PurposeOfUse, description="Why they asked; null also where nothing was said."
    )
    roles = graphene.List(graphene.NonNull(policy_enums.RoleEnum), description="The callers' roles.")
    flag = graphene.Field(AccessFlag, description="The circumstance.")
    day = graphene.Field(PartialDate, description="The day in UTC.")
    hour = graphene.Int(description="The hour of the day in UTC, 0 to 23.")
    events = _count("How many events.")
    refused = _count("How many of them were refused.")
    patients = _count("How many different patients they touched.")
    first_at = _time("When the first happened.")
    last_at = _time("When the last happened.")


class AccessSummary(graphene.ObjectType):
    """Groups of access events, the largest first."""

    from_ = _time("From when on events were looked at, inclusive; null for the beginning.", required=False, name="from")
    to = _time("Until when, exclusive; null for the end.", required=False)
    rows = graphene.List(graphene.NonNull(AccessSum), required=True, description="The groups.")
    complete = _COMPLETE


class AccessAnomaly(graphene.ObjectType):
    """Somebody who touched far more patients on a day than on their own days before."""

    day = graphene.Field(PartialDate, required=True, description="The day in UTC.")
    actor = graphene.String(description="The subject of the caller's token.")
    patients = _count("Different patients on that day.")
    events = _count("Events on that day.")
    refused = _count("How many of them were refused.")
    usual_patients = graphene.Float(required=True, description="The mean of patients on the days before.")
    deviation = graphene.Float(required=True, description="The standard deviation of those.")
    threshold = graphene.Float(required=True, description="What was exceeded: the mean and four deviations.")
    days_known = _count("On how many of the 90 days before the actor did anything; nobody is judged by fewer than 5.")


class AccessAnomalies(graphene.ObjectType):
    """Who did far more than before in a time, the farthest from their mean first."""

    from_ = _time("From when on; the whole day in UTC counts.", name="from")
    to = _time("Until when; the whole day in UTC counts.")
    rows = graphene.List(graphene.NonNull(AccessAnomaly), required=True, description="Actors and days.")
    complete = graphene.Boolean(
        required=True, description="Whether these are all, and every event so far was counted; otherwise ask again."
    )


class Disclosure(graphene.ObjectType):
    """What one recipient was given of a patient for one purpose (45 CFR 164.528(b)).

    Where it was more than once, the fields are those of the first time (164.528(b)(3)).
    """

    recipient = graphene.Field(AccessActor, required=True, description="Who took it; the log knows no postal address.")
    purpose_of_use = graphene.Field(policy_enums.PurposeOfUse, description="What for.")
    action = graphene.String(required=True, description="How it left, such as `export`.")
    fields = graphene.List(
        graphene.NonNull(graphene.String), required=True, description="Paths of the patient's fields that were given."
    )
    first_at = _time("When, or when for the first time.")
    last_at = _time("When for the last time.")
    count = _count("How often.")
    first_event_id = graphene.ID(required=True, description="The access event of the first time.")
    last_event_id = graphene.ID(required=True, description="The access event of the last time.")


class AccountingOfDisclosures(graphene.ObjectType):
    """To whom something of a patient was given out, in the order of the first time.

    It names every disclosure, also those for which no account has to be given (45 CFR 164.528(a)(1)).
    """

    patient_id = graphene.ID(required=True, description="The patient.")
    from_ = _time("From when on disclosures were looked for, inclusive.", name="from")
    to = _time("Until when, exclusive.")
    disclosures = graphene.List(graphene.NonNull(Disclosure), required=True, description="Recipients and purposes.")
    complete = _COMPLETE


def _since(text: str) -> graphene.Argument:
    return graphene.Argument(DateTime, name="from", description=text)


class OfficersQuestions:
    """Root fields of officers that answer with sums."""

    access_summary = graphene.Field(
        AccessSummary,
        required=True,
        filter=AccessEventFilter(description="Which events."),
        group_by=graphene.List(
            graphene.NonNull(AccessDimension), required=True, description="By what; one sum over all for an empty list."
        ),
        first=graphene.Int(description="How many groups at most: 1 to 1,000, 100 if omitted."),
        description="Access events by groups, for charts and for questions such as who saw a patient, and how often. "
        "Without a patient, request or session it is about 31 days at most, the last ones if nothing is said, and 366 "
        f"with an actor. {_RECORDED}",
    )
    access_anomalies = graphene.Field(
        AccessAnomalies,
        required=True,
        from_=_since("The first day; a week before `to` if omitted."),
        to=DateTime(description="The last day, of which the time given is no part; now if omitted."),
        minimum_patients=graphene.Int(description="Days with fewer patients are nothing to judge; 20 if omitted."),
        description="Who touched more patients on a day than the mean and four standard deviations of their own 90 "
        f"days before `from`. At most 31 days at once. {_RECORDED}",
    )
    accounting_of_disclosures = graphene.Field(
        AccountingOfDisclosures,
        required=True,
        patient_id=graphene.ID(required=True, description="The record's id."),
        from_=_since("From when on; six years before `to` if omitted."),
        to=DateTime(description="Until when; now if omitted."),
        description=f"To whom something of a patient was given out. NOT_FOUND, or ERASED. {_RECORDED}",
    )

    @staticmethod
    async def resolve_access_summary(
        _root: Any,
        info: Any,
        group_by: Sequence[Any],
        filter: Mapping[str, Any] | None = None,
        first: int | None = None,
    ) -> Answered:
        """Groups of events."""
        here: Context = info.context
        size = 100 if first is None else first
        dimensions = [str(Dimension(each)) for each in group_by]
        return await here.services.questions.summary(here.actor, here.request, plain(filter or {}), dimensions, size)

    @staticmethod
    async def resolve_access_anomalies(
        _root: Any,
        info: Any,
        from_: str | None = None,
        to: str | None = None,
        minimum_patients: int | None = None,
    ) -> Answered:
        """Actors and days."""
        here: Context = info.context
        least = 20 if minimum_patients is None else minimum_patients
        return await here.services.questions.anomalies(here.actor, here.request, from_, to, least)

    @staticmethod
    async def resolve_accounting_of_disclosures(
        _root: Any, info: Any, patient_id: str, from_: str | None = None, to: str | None = None
    ) -> Mapping[str, Any]:
        """Recipients of one patient."""
        here: Context = info.context
        found = await here.services.questions.disclosures(here.actor, here.request, patient_id, from_, to)
        return {
            "patient_id": patient_id,
            "from_": found.from_,
            "to": found.to,
            "disclosures": found.rows,
            "complete": found.complete,
        }
