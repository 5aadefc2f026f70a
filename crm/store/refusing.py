"""What is recorded of an action, and of one that was refused: the event of a context, and the reason code."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from auth.errors import AuthError
from crm.audit.event import Event
from crm.errors import (
    BatchTooLarge,
    BreakGlassRequired,
    CrmError,
    Erased,
    Invalid,
    LegalHold,
    NotFound,
    PositionExpired,
    RateLimited,
    RequestInProgress,
    RestrictedRecord,
    SourceOverruled,
    VersionConflict,
    VersionRequired,
)
from crm.store.context import Context
from crm.store.database import Fetch
from crm.store.subjects import subjects_of

__all__ = ["DENIALS", "event", "of_context", "reason", "refusals", "refused"]


def event(context: Context, **facts: Any) -> Event:
    """An event of this context; `facts` are the members that differ."""
    return Event(**{**of_context(context), **facts})


def of_context(context: Context) -> dict[str, Any]:
    """The members that every event of this context has."""
    return {
        "op": context.operation,
        "req": context.request_id,
        "who": context.who,
        "pou": context.purpose,
        "pol": context.policy,
        "rul": context.rules,
    }


async def refusals(fetch: Fetch, context: Context, ids: Sequence[str], facts: Mapping[str, Any]) -> list[Event]:
    """One event per patient among `ids` that exists, and one that counts the others, or that stands alone."""
    return [event(context, **each) for each in await refused(fetch, context, ids, facts)]


async def refused(fetch: Fetch, context: Context, ids: Sequence[str], facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The members of those events. No record is opened for a refusal: it is flagged only where it is the own one."""
    subjects = await subjects_of(fetch, context.org, ids)
    own = subjects.get(context.caller.own_record or "") if context.caller else None
    flags = tuple(facts.get("flg", ()))
    known = sorted(subjects.values())
    events = [{**facts, "pat": each, "flg": (*flags, "self_access") if each == own else flags} for each in known]
    unknown = len(set(ids)) - len(known)
    if unknown or not events:
        events.append({**facts, "cnt": unknown or None})
    return events


def reason(failure: Exception) -> str:
    """The reason code of a refusal: the class's name in capitals for our own errors, one word for everything else."""
    if isinstance(failure, Invalid):
        return "VALIDATION_FAILED"
    if isinstance(failure, CrmError | AuthError):
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(failure).__name__).upper()
    return "INTERNAL"


DENIALS = (
    AuthError, BatchTooLarge, BreakGlassRequired, Erased, Invalid, LegalHold, NotFound, RateLimited,
    PositionExpired, RequestInProgress, RestrictedRecord, SourceOverruled, VersionConflict, VersionRequired,
)  # fmt: skip
"""What is refused by a rule; everything else that is raised is a failure of the service."""
