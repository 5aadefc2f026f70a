"""Changes of records as GraphQL tells of them: as they happen, since a version, from a position. Never a value."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any

import graphene

from auth.policy import Action
from crm.services.feed import ChangesPage
from crm.store.feed import Change, ChangeKind
from schema.context import Context
from schema.enums import enum_type
from schema.erasures import allowed_to
from schema.inputs import plain
from schema.pages import PageInfo, page_size
from schema.scalars import DateTime
from schema.subscriptions import Nothing
from schema.types import Refusal

__all__ = ["FeedQueries", "ProfileSubscriptions"]

ProfileChangeKind = enum_type(
    ChangeKind,
    {
        "CHANGED": "Fields of the record changed; so it is, too, when a record is new.",
        "MERGED": "The record was merged with another one; read it anew.",
        "UNMERGED": "A merge was undone; read the record anew.",
        "ERASED": "The whole record was erased: whatever is known of it elsewhere has to go, too.",
    },
    name="ProfileChangeKind",
    about="What happened to a record as a whole.",
)

_FIELDS = "Paths of the fields that changed, as far as you may read them."
_POSITION = (
    "Opaque; give it as `after` to go on behind this change. POSITION_EXPIRED once changes are not kept from there on."
)


def _paths(text: str, *, required: bool = True) -> graphene.List:
    return graphene.List(graphene.NonNull(graphene.String), required=required, description=text)


class ProfileChange(graphene.ObjectType):
    """That a record changed: which one and what of it, and no value. Read the record to know what it says now."""

    id = graphene.ID(required=True, description="The record's id.")
    version = graphene.Int(required=True, description="The version that this change made.")
    changed_fields = _paths(f"{_FIELDS} Empty where `kind` says it all.")
    kind = graphene.Field(ProfileChangeKind, required=True, description="What happened to the record as a whole.")
    position = graphene.String(required=True, description=f"The place of this change among all. {_POSITION}")
    changed_at = graphene.Field(DateTime, required=True, description="When the change was made.")


class RecordChangeEdge(graphene.ObjectType):
    """One change of a page."""

    node = graphene.Field(ProfileChange, required=True, description="The change.")
    cursor = graphene.String(required=True, description="Its position, the same as `node.position`.")


class RecordChangeConnection(graphene.ObjectType):
    """One page of changes, the oldest first.

    Changes of which you may be told nothing are left out, so a page may have fewer than were asked for: go on from
    `pageInfo.endCursor`, which lies behind them, too, for as long as `hasNextPage` says so.
    """

    edges = graphene.List(graphene.NonNull(RecordChangeEdge), required=True, description="The changes of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")
    newest = graphene.String(
        required=True,
        description="The position of the newest change of all: whoever takes it, and then reads all records, goes on "
        "from it and misses nothing. For patients and proxies it is spelled anew each time.",
    )


class ChangedRecord(graphene.ObjectType):
    """A record that is not any more as it was in the version that you know."""

    id = graphene.ID(required=True, description="The record's id.")
    version = graphene.Int(required=True, description="The version that it has now.")
    changed_fields = _paths(
        f"{_FIELDS} Null where it is not known which did: then read the whole record.", required=False
    )


class ChangedResult(graphene.Union):
    """What one known record comes to, if anything changed: what did, or why it cannot be told."""

    class Meta:
        types = (ChangedRecord, Refusal)

    @classmethod
    def resolve_type(cls, instance: Any, info: Any) -> Any:
        """A change is a dict; whatever else the service answers is a refusal."""
        return ChangedRecord if isinstance(instance, dict) else Refusal


class KnownRecord(graphene.InputObjectType):
    """A record as you know it."""

    id = graphene.ID(required=True, description="The record's id.")
    version = graphene.Int(required=True, description="The version that you know.")


class FeedQueries:
    """The roots that ask what changed."""

    changed_since = graphene.List(
        graphene.NonNull(ChangedResult),
        required=True,
        known=graphene.List(
            graphene.NonNull(KnownRecord),
            required=True,
            description="At most 1,000 records. Give them as a variable: a document has at most 1,000 tokens.",
        ),
        description="Those of the records you know that have changed since, in the order of `known`; what is as you "
        "know it, or differs only in what you may not read, is left out. An unknown record and one that you may not "
        "know of are both refused as NOT_FOUND; without a break-glass grant that you need, changed or not, as "
        f"BREAK_GLASS_REQUIRED. {allowed_to(Action.READ)}",
    )
    record_changes = graphene.Field(
        RecordChangeConnection,
        first=graphene.Argument(graphene.Int, description="How many to look at, at most: 1 to 100, 25 if omitted."),
        after=graphene.String(
            description="The position behind which to go on; from the oldest that is kept if omitted."
        ),
        description="What changed in which record, in the order in which it happened: all of the organisation's "
        f"records, or your own. {allowed_to(Action.FOLLOW)}",
    )

    @staticmethod
    async def resolve_changed_since(_root: Any, info: Any, known: Sequence[Any]) -> Sequence[Any]:
        """Changes and refusals."""
        here: Context = info.context
        return await here.services.feed.changed_since(here.actor, here.request, plain(known))

    @staticmethod
    async def resolve_record_changes(
        _root: Any, info: Any, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of changes."""
        here: Context = info.context
        page = await here.services.feed.page(here.actor, here.request, page_size(first, here.limits), after)
        return _as_connection(page, after)


class ProfileSubscriptions:
    """The subscription to changes of records."""

    profile_changed = graphene.Field(
        ProfileChange,
        required=True,
        patient_ids=graphene.List(
            graphene.NonNull(graphene.ID),
            description="The records, at most 1,000. If omitted, all of the organisation's or your own, for: "
            f"{allowed_to(Action.FOLLOW).removeprefix('For: ')}",
        ),
        after=graphene.String(
            description="The position behind which to begin; from now on if omitted. What has happened since is told "
            "first, in order; POSITION_EXPIRED where that is not kept any more."
        ),
        description="Tells of each change once it is stored: of one record in the order of its versions. A change of "
        "which you may be told nothing is left out. After an interruption go on `after` the last position, and nothing "
        f"is lost. {allowed_to(Action.READ)}",
    )

    @staticmethod
    async def subscribe_profile_changed(
        _root: Any, info: Any, patient_ids: list[str] | None = None, after: str | None = None
    ) -> AsyncGenerator[Change, None]:
        """The changes that may have to be told of."""
        here: Context = info.context
        return await here.services.feed.follow(here.actor, here.request, patient_ids, after)

    @staticmethod
    async def resolve_profile_changed(
        root: Change, info: Any, patient_ids: list[str] | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """What is told of one of them. Raises `Nothing`."""
        here: Context = info.context
        named = patient_ids is not None
        told = await here.services.feed.tell(here.actor, here.request, root, named=named)
        if told is None:
            raise Nothing
        return told


def _as_connection(page: ChangesPage, after: str | None) -> Mapping[str, Any]:
    """A page in the shape of a connection; its end lies behind what was looked at, and not only what is told."""
    return {
        "edges": [{"node": node, "cursor": cursor} for node, cursor in zip(page.nodes, page.cursors, strict=True)],
        "page_info": {
            "has_next_page": page.has_next_page,
            "has_previous_page": after is not None,
            "start_cursor": page.cursors[0] if page.cursors else None,
            "end_cursor": page.end,
        },
        "newest": page.newest,
    }
