"""Subscriptions: one question, and an answer for each event of its source. Owns the order of these steps, no transport.

Whether the question may be asked is decided anew for every event, so a stream outlives no permission. What an answer
tells of a patient is on record before it is given, as everywhere: the source gives what services opened.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from graphql import OperationType, default_field_resolver

from auth.actor import Actor
from crm.errors import Overloaded
from schema.compiled import is_awaitable
from schema.errors import Code, Refused, problem_of
from schema.execution import Answer, Engine, Execution, Parameters
from schema.prepared import Root

__all__ = ["Nothing", "subscribe"]

_KIND = (OperationType.SUBSCRIPTION,)


class Nothing(Exception):
    """Raised by the resolver of an event of which the caller may be told nothing: then there is no answer to it."""


async def subscribe(
    engine: Engine, actor: Actor, request_id: str, parameters: Parameters, deadline: float, turns: asyncio.Semaphore
) -> AsyncGenerator[Answer, None]:
    """The answers to a subscription; one that was not executed is the last. To be closed by who stops listening.

    Waiting for an event takes as long as it takes. To begin and to answer each event takes one of `turns`: with waiting
    for it at most `deadline` seconds, then OVERLOADED.
    """
    source: Any = None
    try:
        async with asyncio.timeout(deadline), turns:
            begun = await engine.begin(actor, request_id, parameters, _KIND)
            if isinstance(begun, Execution):
                source = await _source(begun)
        if isinstance(begun, Answer):
            yield begun
            return
        async for event in source:
            async with asyncio.timeout(deadline), turns:
                answer = await _answer(engine, actor, request_id, parameters, event)
            if answer is None:
                await asyncio.sleep(0)  # nobody waits for us to send, so nobody else would have a turn
                continue
            yield answer
            if not answer.executed:
                return
    except TimeoutError:
        yield Answer([problem_of(Overloaded())])
    except Exception as error:  # noqa: BLE001 - the closed table decides what is told about it
        yield Answer([problem_of(error)])
    finally:
        if hasattr(source, "aclose"):
            await source.aclose()


def _only_root(execution: Execution) -> Root:
    """Validation lets one root field through; only `__typename` is no field that anything happens to."""
    if not execution.prepared.roots:
        raise Refused(Code.GRAPHQL_VALIDATION_FAILED, "A subscription needs a field that has events.")
    return execution.prepared.roots[0]


def _told(execution: Execution, root: Root) -> tuple[Any, dict[str, Any]]:
    """What the functions of a root field are told: `info`, and its arguments."""
    plan = execution.context.plan
    return execution.prepared.info(root, execution.context, dict(plan.variables)), dict(plan.roots[root.key].arguments)


async def _source(execution: Execution) -> Any:
    """The events (GraphQL specification, CreateSourceEventStream)."""
    root = _only_root(execution)
    info, arguments = _told(execution, root)
    source: Any = root.definition.subscribe
    found = source(None, info, **arguments)
    return await found if is_awaitable(found) else found


async def _answer(engine: Engine, actor: Actor, request_id: str, parameters: Parameters, event: Any) -> Answer | None:
    """The answer to one event (GraphQL specification, ExecuteSubscriptionEvent), if it still may be given.

    None where there is nothing to be told.
    """
    begun = await engine.begin(actor, request_id, parameters, _KIND)
    if isinstance(begun, Answer):
        return begun
    root = _only_root(begun)
    info, arguments = _told(begun, root)
    resolver: Any = root.definition.resolve or default_field_resolver
    try:
        outcome = resolver(event, info, **arguments)
        if is_awaitable(outcome):
            outcome = await outcome
    except Nothing:
        return None
    except Exception as error:  # noqa: BLE001 - it becomes the error of this field
        outcome = error
    return await engine.complete(begun, {root.key: outcome})
