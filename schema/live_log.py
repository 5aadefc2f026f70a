"""The access log as it grows: the subscription for officers, and the shape of what it tells."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any

import graphene

from auth.policy import Action
from schema.context import Context
from schema.erasures import allowed_to
from schema.events import AccessEventEdge, AccessEventFilter
from schema.inputs import plain

__all__ = ["LogSubscriptions"]


class AppendedAccessEvents(graphene.ObjectType):
    """What was appended to the access log since the last answer, and where that leaves the log."""

    edges = graphene.List(
        graphene.NonNull(AccessEventEdge),
        required=True,
        description="The events that fit the filter, the oldest first, at most 100; none in the first answer.",
    )
    position = graphene.String(
        required=True,
        description="Where the log was looked at up to. Give it as `after` to go on from there; opaque. The cursor of "
        "an event, from `accessEvents` too, is the position just behind it.",
    )


class LogSubscriptions:
    """What is told of the access log while it grows."""

    access_event_appended = graphene.Field(
        AppendedAccessEvents,
        required=True,
        filter=AccessEventFilter(description="Which events; all of the organisation if omitted."),
        after=graphene.String(
            description="The position after which to begin; from now on if omitted. POSITION_EXPIRED where the log "
            "does not have it, or not any more."
        ),
        description="Access events as they are appended, in the order of the log, each once. The first answer comes at "
        "once and tells the position. That somebody follows, and each answer with events, is an event itself; those of "
        f"answers are not told here, only by `accessEvents`. {allowed_to(Action.AUDIT_READ)}",
    )

    @staticmethod
    async def subscribe_access_event_appended(
        _: Any, info: Any, filter: Mapping[str, Any] | None = None, after: str | None = None
    ) -> AsyncGenerator[Any, None]:
        """Answers begin with the position."""
        here: Context = info.context
        return await here.services.live_log.follow(here.actor, here.request, plain(filter or {}), after)

    @staticmethod
    async def resolve_access_event_appended(appended: Any, info: Any, **_: Any) -> Mapping[str, Any]:
        """One answer."""
        here: Context = info.context
        return await here.services.live_log.told(here.actor, here.request, appended)
