"""The versions of a record as GraphQL shows them: when, by whom, which fields, and the record as it was."""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Action
from schema import policy_enums
from schema.context import Context
from schema.erasures import allowed_to
from schema.pages import PageInfo, as_connection, page_size
from schema.parts import needed, words
from schema.scalars import DateTime
from schema.types import Patient

__all__ = ["AS_OF", "AS_OF_VERSION", "HistoryQueries"]

AS_OF = DateTime(
    description="The record as it was at this time, seen on that day; as it is now if omitted. "
    f"{allowed_to(Action.HISTORY)}"
)
AS_OF_VERSION = graphene.Int(
    description="The record as it was in this version; in place of `asOf`, and for the same roles."
)


class VersionMaker(graphene.ObjectType):
    """Who made a version of a record, as their token named them."""

    subject = words("The subject of the token; for patients, of members of staff, only where they may know names.")
    roles = graphene.Field(
        graphene.List(graphene.NonNull(policy_enums.RoleEnum)), required=True, description="The roles in the token."
    )
    yourself = needed(graphene.Boolean, "Whether it was you.")


class RecordVersion(graphene.ObjectType):
    """One version of a record. What is not described is older than history, or is not for you."""

    version = needed(graphene.Int, "The number of the version, from 1.")
    recorded_at = needed(DateTime, "Since when it was the newest.")
    action = words(
        "How it was made: `create`, `update`, `erase`, `merge` or `unmerge`, as in the log; null where not described."
    )
    changed_fields = needed(
        graphene.List(graphene.NonNull(graphene.String)),
        "Paths of the fields that it changed, of those that you may read; never their values.",
    )
    source = words("The application or source system that the values came from; null where none gave any.")
    channel = words("By which way the values came: `api` or `import`; null where none came.")
    by = graphene.Field(VersionMaker, description="Who made it; null where not described.")
    patient = graphene.Field(
        Patient,
        description="The record as it was, under your permissions of now; what was erased since stays erased. Null "
        "where it held what another person said, until their merge was undone: for patients, and for all once one of "
        "them is erased.",
    )


class RecordVersionEdge(graphene.ObjectType):
    """One version of a page."""

    node = graphene.Field(RecordVersion, required=True, description="The version.")
    cursor = graphene.String(required=True, description="The place of this version in the list; opaque.")


class RecordVersionConnection(graphene.ObjectType):
    """One page of versions, the newest first."""

    edges = graphene.List(graphene.NonNull(RecordVersionEdge), required=True, description="The versions of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")


class VersionComparison(graphene.ObjectType):
    """A record in two versions."""

    before = graphene.Field(Patient, required=True, description="The record as it was in the older version.")
    after = graphene.Field(Patient, required=True, description="The record as it was in the newer version.")
    changed_fields = graphene.List(
        graphene.NonNull(graphene.String),
        description="Paths of the fields that changed from the one to the other, of those that you may read; null "
        "where a version in between is older than history, or they are too far apart to tell.",
    )


class HistoryQueries:
    """Who changed a record, and what it said before."""

    history = graphene.Field(
        RecordVersionConnection,
        patient_id=graphene.ID(required=True, description="The record's id."),
        first=graphene.Int(description="How many at most: 1 to 100, 25 if omitted."),
        after=graphene.String(description="The cursor after which to go on; from the newest if omitted."),
        description="The versions of a record, the newest first. NOT_FOUND for an unknown id and for a record that you "
        "may not know of. Each version whose `patient` is asked for has an entry of its own in the access log. "
        f"{allowed_to(Action.HISTORY)}",
    )

    compare_versions = graphene.Field(
        VersionComparison,
        patient_id=graphene.ID(required=True, description="The record's id."),
        from_=graphene.Argument(graphene.Int, name="from", required=True, description="One version, such as yours."),
        to=graphene.Int(required=True, description="The other, such as `currentVersion` of a VERSION_CONFLICT."),
        description="Both sides of a conflict, for a person to decide. Each side has an entry of its own in the access "
        "log. NOT_FOUND for an unknown id and for a record that you may not know of; VALIDATION_FAILED "
        "(`unknown_version`) for a version that there is not, or (`not_kept`) that is older than history, "
        "or that holds, from before a merge was undone, what another person said and you may not see. "
        f"{allowed_to(Action.HISTORY)} And for whoever else of the staff may change records, so that they can decide a "
        "conflict: there VALIDATION_FAILED (`too_old`) for a version that has not been the newest for a day, or for "
        "as long as the service is set to.",
    )

    @staticmethod
    async def resolve_compare_versions(
        _root: Any, info: Any, patient_id: str, from_: int, to: int
    ) -> Mapping[str, Any]:
        """Both sides."""
        here: Context = info.context
        return await here.services.history.compare(here.actor, here.request, patient_id, from_, to, here.asked(info))

    @staticmethod
    async def resolve_history(
        _root: Any, info: Any, patient_id: str, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of versions."""
        here: Context = info.context
        size, asked = page_size(first, here.limits), here.asked(info)
        page = await here.services.history.versions(here.actor, here.request, patient_id, size, after, asked)
        return as_connection(page)
