"""Merging records as GraphQL shows it: what is merged, why, whose words were taken, and what is to be looked at after.

Each resolver asks one service once. Decides nothing.
"""

from collections.abc import Sequence
from typing import Any

import graphene

from auth.policy import Action
from crm.domain.merging import Side
from crm.domain.precedence import Rule
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.services.merging import Which
from schema.changing import change, target
from schema.context import Context, Profile
from schema.enums import enum_type
from schema.erasures import allowed_to
from schema.inputs import Target
from schema.parts import needed, words
from schema.scalars import DateTime

__all__ = ["MergingMutations", "MergingQueries"]

MergeReasonEnum = enum_type(
    MergeReason,
    {
        "REGISTERED_TWICE": "Somebody registered the person a second time.",
        "SOURCE_MERGED": "A source system merged its records of the person, as HL7 v2 ADT A40 tells.",
        "CONFIRMED_BY_PERSON": "The person, or who acts for them, said that both records are theirs.",
        "REVIEWED": "Staff compared the records.",
    },
    name="MergeReason",
    about="Why two records are taken to be about one person.",
)
UnmergeReasonEnum = enum_type(
    UnmergeReason,
    {
        "TWO_PEOPLE": "The records are about two people.",
        "WRONG_RECORD": "The person's other record was meant, not this one.",
        "SOURCE_UNMERGED": "A source system undid its merge, as HL7 v2 ADT A37 tells.",
    },
    name="UnmergeReason",
    about="Why a merge is undone.",
)
SideEnum = enum_type(
    Side,
    {"SURVIVOR": "The record that stays.", "DUPLICATE": "The record that was merged into it."},
    name="MergeSide",
    about="One of the two records of a merge.",
)


class MergePatientsInput(Target, graphene.InputObjectType):
    """The record that stays, and the one that is merged into it."""

    duplicate_id = graphene.ID(required=True, description="The record that is merged into the other.")
    duplicate_version = graphene.Int(
        description="The `version` of it that you read; required as `expectedVersion` is. `field` of a "
        "VERSION_CONFLICT names it where it is to blame."
    )
    reason: Any = MergeReasonEnum(required=True, description="Why they are taken to be about one person.")


class UnmergePatientsInput(Target, graphene.InputObjectType):
    """The record that stayed, and the one that was merged into it."""

    duplicate_id = graphene.ID(required=True, description="The record that was merged into the other.")
    reason: Any = UnmergeReasonEnum(required=True, description="Why the merge is undone.")


class MergeChoice(graphene.ObjectType):
    """A field of which both records had a word, and not the same."""

    field = needed(graphene.String, "The path of the field, or of the list in which entries met.")
    taken = needed(SideEnum, "Whose word was taken.")
    rule = words(f"By which rule of source precedence: {', '.join(rule.value for rule in Rule)}.")


class RecordMerge(graphene.ObjectType):
    """A merge of two records; one that was undone stays as a fact. Fields that you may not read are not named."""

    id = needed(graphene.ID, "The merge's id.")
    patient_id = needed(graphene.ID, "The record that stayed.")
    duplicate_id = needed(graphene.ID, "The record that was merged into it.")
    reason = needed(MergeReasonEnum, "Why.")
    merged_by = needed(graphene.String, "Who merged them, as the subject of their token.")
    merged_at = needed(DateTime, "When.")
    choices = needed(graphene.List(graphene.NonNull(MergeChoice)), "Where only one word could be taken.")
    undone_by = words("Who undid it, as the subject of their token; null while it stands.")
    undone_at = graphene.Field(DateTime, description="When it was undone; null while it stands.")
    to_review = needed(
        graphene.List(graphene.NonNull(graphene.String)),
        "Paths of the fields that had changed since when it was undone: they stayed with `patientId`, and somebody has "
        "to see whose they are.",
    )


class MergingQueries:
    """What was merged."""

    merges = graphene.Field(
        graphene.List(graphene.NonNull(RecordMerge)),
        required=True,
        patient_id=graphene.ID(required=True, description="The record's id, or one that leads to it."),
        description="The merges of a record, the oldest first, with those of the records that were merged into it. "
        f"NOT_FOUND for an unknown id. {allowed_to(Action.MERGE)}",
    )

    @staticmethod
    async def resolve_merges(_root: Any, info: Any, patient_id: str) -> Sequence[Any]:
        """All of them: one person has few."""
        here: Context = info.context
        return await here.services.merging.merges(here.actor, here.request, patient_id)


class MergingMutations:
    """Making one record of two, and two of one."""

    merge_patients = change(
        MergePatientsInput,
        "Merges a duplicate into a record: its id answers with that record from then on, everywhere. Lists are united, "
        "of single values the word of the higher source stands, of prohibitions and restrictions the stricter. "
        "VALIDATION_FAILED for one that is merged already (`already_merged`), for the same record twice "
        "(`same_record`), and where the person asked to be reached in two different ways instead of all others "
        f"(`confidential_communication_conflict`). {allowed_to(Action.MERGE)}",
    )
    unmerge_patients = change(
        UnmergePatientsInput,
        "Undoes a merge: the duplicate is a record of its own again, and what came from it and was not changed since "
        "leaves the other. What changed since stays there, see `merges`; prohibitions and restrictions stay on both. "
        "VALIDATION_FAILED for a record that is not merged (`not_merged`) or into another one "
        "(`merged_into_another`), and while another record is merged into this one that was merged later "
        f"(`merged_later`). {allowed_to(Action.MERGE)}",
    )

    @staticmethod
    async def resolve_merge_patients(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The record that stays."""
        here: Context = info.context
        patient_id, version, values = target(input)
        which = Which(patient_id, version, values["duplicate_id"], values.get("duplicate_version"))
        reason = MergeReason(values["reason"])
        return await here.services.merging.merge(here.actor, here.request, which, reason, here.asked(info))

    @staticmethod
    async def resolve_unmerge_patients(_root: Any, info: Any, input: dict[str, Any]) -> Profile:
        """The record that stayed."""
        here: Context = info.context
        patient_id, version, values = target(input)
        which = Which(patient_id, version, values["duplicate_id"])
        reason = UnmergeReason(values["reason"])
        return await here.services.merging.unmerge(here.actor, here.request, which, reason, here.asked(info))
