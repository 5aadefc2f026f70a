"""Limits on a document, counted on its syntax tree before it is validated; owns the counting, not the numbers.

Validation itself can be attacked (a query of 1.5 KB with spreads of spreads keeps it busy for minutes), so nothing of
graphql-core's `validate` runs on a document that did not pass here. Work is linear in the size of the document: each
definition is looked at once, and a spread adds the numbers of its fragment instead of walking it again.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLSyntaxError,
    InlineFragmentNode,
    OperationDefinitionNode,
    SelectionSetNode,
    StringValueNode,
    ValueNode,
    parse,
)
from graphql.language import ListValueNode, ObjectValueNode

from schema.errors import Code, Refused
from schema.settings import Limits

__all__ = ["Size", "TooCostly", "check", "parse_within"]

INTROSPECTION = frozenset({"__schema", "__type"})
"""Root fields below which the depth budget of introspection holds. That lists do not nest there, which would multiply
the answer, is `MaxIntrospectionDepthRule`, one of graphql-core's own rules of validation."""


_TEXTS: Mapping[str, str] = {
    "source": "The document has too many characters.",
    "tokens": "The document has too many tokens.",
    "comments": "The document has too many comments.",
    "operations": "The document holds too many operations.",
    "root_fields": "The operation has too many root fields.",
    "fields": "The document selects too many fields.",
    "depth": "The document is nested too deeply.",
    "introspection_depth": "The introspection is nested too deeply.",
    "aliases": "The document has too many aliases.",
    "directives": "The document has too many directives.",
}


class TooCostly(Refused):
    """A document or operation that is more than a limit allows; `name` is that of the limit, as `Limits` has it."""

    def __init__(self, name: str, limits: Limits) -> None:
        super().__init__(Code.QUERY_TOO_COSTLY, _TEXTS[name], limit=getattr(limits, name))
        self.name = name


def parse_within(text: str, limits: Limits) -> DocumentNode:
    """The document of `text`. Raises Refused: GRAPHQL_PARSE_FAILED with the place, QUERY_TOO_COSTLY for its size."""
    if len(text) > limits.source:
        raise TooCostly("source", limits)
    try:
        return parse(text, max_lexical_tokens=limits.tokens, max_comments=limits.comments)
    except GraphQLSyntaxError as error:
        locations = [(place.line, place.column) for place in error.locations or ()]
        reason = error.message
    if not reason.endswith(" Parsing aborted."):
        raise Refused(Code.GRAPHQL_PARSE_FAILED, "The document has a syntax error.", locations=locations)
    for name in ("tokens", "comments"):
        if f" {name}." in reason:
            raise TooCostly(name, limits)
    raise Refused(Code.QUERY_TOO_COSTLY, "The document is nested too deeply to be parsed.")


@dataclass(slots=True)
class _Tally:
    """Numbers of one definition: first its own, then with everything it spreads."""

    fields: int = 0
    aliases: int = 0
    directives: int = 0
    depth: int = 0
    introspection_depth: int = 0
    spreads: list[tuple[str, int, bool]] = field(default_factory=list)

    def add(self, other: "_Tally", depth: int, introspecting: bool) -> None:
        """Count a spread of `other` that stands below `depth` fields."""
        self.fields += other.fields
        self.aliases += other.aliases
        self.directives += other.directives
        if introspecting:
            inner = max(other.depth, other.introspection_depth)
            self.introspection_depth = max(self.introspection_depth, depth + inner)
        else:
            self.depth = max(self.depth, depth + other.depth)
            if other.introspection_depth:
                self.introspection_depth = max(self.introspection_depth, depth + other.introspection_depth)


@dataclass(frozen=True, slots=True)
class Size:
    """What one operation holds, through fragments; `introspection_depth` counts the levels below `__schema`."""

    fields: int
    aliases: int
    directives: int
    depth: int
    introspection_depth: int


def check(document: DocumentNode, limits: Limits) -> list[Size]:
    """The sizes of the operations in their order.

    Raises Refused: QUERY_TOO_COSTLY; GRAPHQL_VALIDATION_FAILED for a cycle; VALIDATION_FAILED for NUL.
    """
    operations: list[_Tally] = []
    fragments: dict[str, _Tally] = {}
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            if len(definition.selection_set.selections) > limits.fields:
                raise TooCostly("fields", limits)
            tally = _own(definition.selection_set, limits)
            tally.directives += len(definition.directives)
            tally.directives += sum(len(variable.directives) for variable in definition.variable_definitions)
            for variable in definition.variable_definitions:
                if variable.default_value:
                    _check_literal(variable.default_value)
            operations.append(tally)
        elif isinstance(definition, FragmentDefinitionNode):
            tally = _own(definition.selection_set, _anywhere(limits))
            tally.directives += len(definition.directives)
            fragments.setdefault(definition.name.value, tally)
        else:
            raise Refused(Code.GRAPHQL_VALIDATION_FAILED, "Only operations and fragments can be executed.")
    if len(operations) > limits.operations:
        raise TooCostly("operations", limits)
    _include_spreads(fragments, _anywhere(limits))
    for tally in operations:
        _include(tally, fragments, limits)
    _compare_document(operations, limits)
    return [
        Size(each.fields, each.aliases, each.directives, each.depth, each.introspection_depth) for each in operations
    ]


def _anywhere(limits: Limits) -> Limits:
    """The limits of a fragment by itself: it may be meant for introspection, where more depth is allowed."""
    return replace(limits, depth=max(limits.depth, limits.introspection_depth))


def _own(selection_set: SelectionSetNode, limits: Limits) -> _Tally:
    """The numbers of one definition without its spreads; stops as soon as one is too high."""
    tally = _Tally()
    stack = [(selection_set, 1, False)]
    while stack:
        current, depth, introspecting = stack.pop()
        for selection in current.selections:
            tally.directives += len(selection.directives)
            _check_arguments(selection)
            if isinstance(selection, FieldNode):
                inside = introspecting or selection.name.value in INTROSPECTION
                tally.fields += 1
                tally.aliases += selection.alias is not None
                if inside:
                    tally.introspection_depth = max(tally.introspection_depth, depth)
                else:
                    tally.depth = max(tally.depth, depth)
                if selection.selection_set:
                    stack.append((selection.selection_set, depth + 1, inside))
            elif isinstance(selection, InlineFragmentNode):
                stack.append((selection.selection_set, depth, introspecting))
            elif isinstance(selection, FragmentSpreadNode):
                tally.spreads.append((selection.name.value, depth - 1, introspecting))
        _compare(tally, limits)
    return tally


def _include(tally: _Tally, fragments: dict[str, _Tally], limits: Limits) -> None:
    """Add what one definition spreads; unknown fragments count nothing here and are refused by validation."""
    for name, depth, introspecting in tally.spreads:
        if name in fragments:
            tally.add(fragments[name], depth, introspecting)
            _compare(tally, limits)


def _include_spreads(fragments: dict[str, _Tally], limits: Limits) -> None:
    """Add to each fragment what it spreads, innermost first, without recursion. Raises Refused for a cycle."""
    done: set[str] = set()
    for root, tally in fragments.items():
        path: list[str] = [] if root in done else [root]
        pending: list[Iterator[tuple[str, int, bool]]] = [iter(tally.spreads)]
        while path:
            name = path[-1]
            for spread, *_ in pending[-1]:
                if spread in path:
                    raise Refused(Code.GRAPHQL_VALIDATION_FAILED, "Fragments must not spread themselves.")
                if spread in fragments and spread not in done:
                    path.append(spread)
                    pending.append(iter(fragments[spread].spreads))
                    break
            else:
                _include(fragments[name], fragments, limits)
                done.add(name)
                path.pop()
                pending.pop()


def _compare(tally: _Tally, limits: Limits) -> None:
    """Raise Refused as soon as one definition alone is too much."""
    if tally.fields > limits.fields:
        raise TooCostly("fields", limits)
    if tally.aliases > limits.aliases:
        raise TooCostly("aliases", limits)
    if tally.directives > limits.directives:
        raise TooCostly("directives", limits)
    if tally.depth > limits.depth:
        raise TooCostly("depth", limits)
    if tally.introspection_depth > limits.introspection_depth:
        raise TooCostly("introspection_depth", limits)


def _compare_document(operations: list[_Tally], limits: Limits) -> None:
    """Raise Refused when the operations of a document are too much together."""
    whole = _Tally()
    for tally in operations:
        whole.fields += tally.fields
        whole.aliases += tally.aliases
        whole.directives += tally.directives
        _compare(tally, limits)
    _compare(whole, limits)


def _check_arguments(selection: FieldNode | FragmentSpreadNode | InlineFragmentNode | object) -> None:
    for argument in getattr(selection, "arguments", None) or ():
        _check_literal(argument.value)


def _check_literal(value: ValueNode) -> None:
    """Refuse NUL in a literal: PostgreSQL cannot store it and SQLite can, so neither is asked to."""
    stack: list[ValueNode] = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, StringValueNode):
            if "\0" in node.value:
                raise Refused(Code.VALIDATION_FAILED, "Text must not contain the character NUL.")
        elif isinstance(node, ListValueNode):
            stack.extend(node.values)
        elif isinstance(node, ObjectValueNode):
            stack.extend(item.value for item in node.fields)
