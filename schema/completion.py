"""What the root fields of an operation come to, and the response made of that by graphql-core. Decides nothing.

Roots are resolved once. Their outcomes are kept apart from the response, so that it can be made of them in more than
one way without anything being read, changed or recorded again.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

from graphql import (
    ExecutionContext,
    ExecutionResult,
    FieldNode,
    GraphQLError,
    GraphQLNonNull,
    GraphQLObjectType,
    OperationType,
    default_field_resolver,
    default_type_resolver,
    located_error,
)
from graphql.execution.execute import CollectedErrors
from graphql.pyutils import Path

from schema.compiled import is_awaitable
from schema.context import Context
from schema.prepared import Prepared, Root
from schema.repeating import once

__all__ = ["Outcomes", "complete", "resolve"]

Outcomes = Mapping[str, Any]
"""By response key what a root field's resolver answered, or the exception that it raised."""


async def resolve(prepared: Prepared, context: Context) -> Outcomes:
    """Asks every root field's resolver once: those of a query all at the same time, of a mutation one after the other.

    A mutation ends early where a field failed that may not be null, as there is no answer any more.
    """
    roots = prepared.roots
    if len(roots) == 1:
        return {roots[0].key: await _outcome(prepared, roots[0], context)}
    if prepared.operation.kind is not OperationType.MUTATION:
        found = await asyncio.gather(*(_outcome(prepared, root, context) for root in roots))
        return {root.key: outcome for root, outcome in zip(roots, found, strict=True)}
    outcomes: dict[str, Any] = {}
    for step, root in enumerate(roots):
        outcome = outcomes[root.key] = await _outcome(prepared, root, context, step)
        if isinstance(outcome, Exception) and isinstance(root.definition.type, GraphQLNonNull):
            break
    return outcomes


async def _outcome(prepared: Prepared, root: Root, context: Context, step: int = 0) -> Any:
    resolver: Any = root.definition.resolve or default_field_resolver

    async def ask(here: Context) -> Any:
        info = prepared.info(root, here, here.plan.variables)
        found = resolver(None, info, **here.plan.roots[root.key].arguments)
        return await found if is_awaitable(found) else found

    try:
        if prepared.operation.kind is OperationType.MUTATION:
            return await once(context, root, step, ask)
        return await ask(context)
    except Exception as error:  # noqa: BLE001 - it becomes the error of this field
        return error


async def complete(prepared: Prepared, context: Context, outcomes: Outcomes) -> ExecutionResult:
    """The response as graphql-core makes it: it knows of nulls and errors wherever they stand."""
    completion = _Completion(
        prepared.schema,
        prepared.fragments,
        outcomes,
        context,
        prepared.operation.definition,
        context.plan.variables,
        default_field_resolver,
        default_type_resolver,
        default_field_resolver,
        CollectedErrors(),
        None,
        is_awaitable,
    )
    errors = completion.collected_errors
    try:
        data: Any = completion.execute_operation(prepared.operation.definition, outcomes)
        return completion.build_response(await data if is_awaitable(data) else data, errors.errors)
    except GraphQLError as error:
        errors.add(error, None)
        return completion.build_response(None, errors.errors)


class _Completion(ExecutionContext):
    """graphql-core's executor over what the root fields came to; only what asks for the schema is resolved here."""

    def execute_field(
        self, parent_type: GraphQLObjectType, source: Any, field_nodes: list[FieldNode], path: Path
    ) -> Any:
        """See the base class; the outcome of a root field stands in for its resolver."""
        if path.prev is not None or path.key not in self.root_value:
            return super().execute_field(parent_type, source, field_nodes, path)
        definition = parent_type.fields[field_nodes[0].name.value]
        info = self.build_resolve_info(definition, field_nodes, parent_type, path)

        def failed(error: Exception) -> None:
            located = located_error(error, field_nodes, path.as_list())
            self.handle_field_error(located, definition.type, path)

        async def awaited(completed: Any) -> Any:
            try:
                return await completed
            except Exception as error:  # noqa: BLE001 - it becomes the error of this field
                return failed(error)

        try:
            completed = self.complete_value(definition.type, field_nodes, info, path, self.root_value[path.key])
        except Exception as error:  # noqa: BLE001 - it becomes the error of this field
            return failed(error)
        return awaited(completed) if self.is_awaitable(completed) else completed
