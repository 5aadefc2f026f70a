"""What a root field asks of a patient: catalogue paths, found by following fragments. Decides nothing about them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLDirective,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    NamedTypeNode,
    SelectionSetNode,
    get_directive_values,
    get_named_type,
)

from crm.catalogue import BY_PATH
from schema.errors import Code, Refused
from schema.types import CLEAR

__all__ = ["asked", "fields_of", "selected"]

PATIENT = "Patient"
SPLIT: Mapping[str, str] = {"culturalNeeds": "culturalNeeds.id"}
"""Fields whose parts have rights of their own, with the part that naming the field alone already asks for."""


class _Walk:
    """One operation's fragments and variables, for deciding what is really selected."""

    def __init__(
        self, schema: GraphQLSchema, fragments: Mapping[str, FragmentDefinitionNode], variables: Mapping[str, Any]
    ) -> None:
        self.schema = schema
        self.fragments = fragments
        self.variables = dict(variables)

    def included(self, node: Any) -> bool:
        """Whether @skip and @include leave the selection in (GraphQL specification, section 3.13)."""
        if not node.directives:
            return True
        skip = self._values(GraphQLSkipDirective, node)
        if skip and skip["if"]:
            return False
        include = self._values(GraphQLIncludeDirective, node)
        return not include or bool(include["if"])

    def _values(self, directive: GraphQLDirective, node: Any) -> dict[str, Any] | None:
        """A directive's arguments. A variable with a default may still be null, which validation cannot see."""
        try:
            return get_directive_values(directive, node, self.variables)
        except GraphQLError:
            raise Refused(Code.VALIDATION_FAILED, "A condition must be true or false.", field=directive.name) from None

    def fields(
        self, selection_set: SelectionSetNode, parent: GraphQLNamedType | None
    ) -> Iterator[tuple[GraphQLNamedType | None, FieldNode]]:
        """Every field that is selected, with the type it is selected on, in the order of CollectFields (6.3.2)."""
        seen: set[str] = set()
        stack: list[tuple[Iterator[Any], GraphQLNamedType | None]] = [(iter(selection_set.selections), parent)]
        while stack:
            selections, on = stack[-1]
            for node in selections:
                if not self.included(node):
                    continue
                if isinstance(node, FieldNode):
                    yield on, node
                elif isinstance(node, InlineFragmentNode):
                    condition: NamedTypeNode | None = node.type_condition
                    inside = on if condition is None else self.schema.get_type(condition.name.value)
                    stack.append((iter(node.selection_set.selections), inside))
                    break
                elif isinstance(node, FragmentSpreadNode) and node.name.value not in seen:
                    seen.add(node.name.value)
                    fragment = self.fragments[node.name.value]
                    inside = self.schema.get_type(fragment.type_condition.name.value)
                    stack.append((iter(fragment.selection_set.selections), inside))
                    break
            else:
                stack.pop()


def fields_of(
    schema: GraphQLSchema,
    selection_set: SelectionSetNode,
    parent: GraphQLObjectType,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
) -> dict[str, list[FieldNode]]:
    """The selected fields of an operation's root by response key. For validated documents only."""
    found: dict[str, list[FieldNode]] = {}
    for _, node in _Walk(schema, fragments, variables).fields(selection_set, parent):
        found.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
    return found


def asked(
    schema: GraphQLSchema,
    nodes: Sequence[FieldNode],
    returns: GraphQLNamedType,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
) -> frozenset[str]:
    """Catalogue paths that the field `nodes` ask for, wherever in their answer a `Patient` stands."""
    walk = _Walk(schema, fragments, variables)
    paths: set[str] = set()
    stack = [(node.selection_set, returns) for node in nodes if node.selection_set]
    while stack:
        selection_set, parent = stack.pop()
        for on, node in walk.fields(selection_set, parent):
            name = node.name.value
            if name.startswith("__"):
                continue
            if on is not None and on.name == PATIENT:
                paths |= _paths(walk, node)
            elif node.selection_set and isinstance(on, GraphQLObjectType):
                stack.append((node.selection_set, get_named_type(on.fields[name].type)))
    return frozenset(paths)


def selected(
    schema: GraphQLSchema,
    nodes: Sequence[FieldNode],
    returns: GraphQLNamedType,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
    kind: str,
) -> frozenset[str]:
    """The fields of the type `kind` that the field `nodes` select, wherever in their answer."""
    walk = _Walk(schema, fragments, variables)
    names: set[str] = set()
    stack = [(node.selection_set, returns) for node in nodes if node.selection_set]
    while stack:
        selection_set, parent = stack.pop()
        for on, node in walk.fields(selection_set, parent):
            name = node.name.value
            if name.startswith("__") or not isinstance(on, GraphQLObjectType):
                continue
            if on.name == kind:
                names.add(name)
            elif node.selection_set:
                stack.append((node.selection_set, get_named_type(on.fields[name].type)))
    return frozenset(names)


def _paths(walk: _Walk, node: FieldNode) -> set[str]:
    """The paths that one field of `Patient` asks for."""
    name = node.name.value
    if name in CLEAR:
        return set()
    if name not in SPLIT:
        if name not in BY_PATH:
            raise RuntimeError(f"Patient.{name} is not in the catalogue")
        return {name}
    if node.selection_set is None:
        raise RuntimeError(f"Patient.{name} has no parts")
    parts = {f"{name}.{part.name.value}" for _, part in walk.fields(node.selection_set, None)}
    return {path for path in parts if path in BY_PATH} or {SPLIT[name]}
