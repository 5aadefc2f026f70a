"""How a root field is done once: the client's key becomes a retry of each root field of a mutation. Stores nothing.

Where the key comes from is for the transports; whether something was done before, the service knows.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import orjson
from graphql import OperationType

from crm.domain.conflicts import OnConflict
from crm.domain.retries import REQUEST_ID, Retry, is_request_id
from crm.errors import Invalid
from crm.services.retries import Repeatable
from schema.context import Context
from schema.plan import RootField
from schema.prepared import Operation, Root

__all__ = ["Key", "once", "retry_of"]

Key = tuple[str, str]
"""Where a client's key comes from (`crm.domain.retries`), and the key."""

Ask = Callable[[Context], Awaitable[Any]]


def retry_of(operation: Operation, key: Key | None, variables: Any) -> Retry | None:
    """What a mutation is known by when it comes again; None for a query, and without a key.

    The same is asked where document, operation and variables are the same, in whatever order the members of objects
    come. Raises `Invalid` for an X-Request-Id that cannot be a key: whoever states one means to be known by it.
    """
    if key is None or operation.kind is not OperationType.MUTATION:
        return None
    if key[0] == REQUEST_ID and not is_request_id(key[1]):
        raise Invalid(REQUEST_ID, "retry_key")
    name = operation.definition.name
    asked = [operation.document.digest, name.value if name else None, variables]
    return Retry(*key, hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest())


async def once(context: Context, root: Root, step: int, ask: Ask) -> Any:
    """What `ask` answers for a root field of a mutation, or answered before; `step` is its place in the operation."""
    planned = context.plan.roots[root.key]
    request = replace(context.request, merge=_merges(planned))
    if request.retry is None or planned.action is None:
        return await ask(replace(context, request=request))
    request = replace(request, retry=replace(request.retry, step=step))
    selected = context.operation.selected(root.key, "BreakGlassGrant")
    change = Repeatable(planned.action, planned.ids, planned.asked, selected)
    return await context.services.retries.once(
        context.actor, request, change, lambda request: ask(replace(context, request=request))
    )


def _merges(planned: RootField) -> bool:
    chosen = planned.arguments.get("input", {}).get("on_conflict")
    return bool(chosen == OnConflict.MERGE_DISJOINT)
