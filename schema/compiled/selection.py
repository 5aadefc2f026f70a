"""From a selection to the source of a Python function, and to that function. Owns what can be compiled.

The source holds names of the schema and response keys, which GraphQL limits to letters, digits and `_`, each written
by `repr`; and nothing else of a document, such as a literal, and nothing of a request. All other things are handed to
it as objects, under names that are made here.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from graphene.types.definitions import GrapheneObjectType
from graphene.types.resolver import dict_or_attr_resolver
from graphene.types.schema import TypeMap
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    OperationDefinitionNode,
    default_type_resolver,
)
from graphql.execution.collect_fields import collect_sub_fields

from schema.compiled import leaves
from schema.compiled.values import Field, GiveUp, Run, called, listed, reader, typed, writer
from schema.variables import arguments_of

__all__ = ["Completion", "Uncompilable"]


class Uncompilable(Exception):
    """The selection holds something that is left to graphql-core."""


class Completion:
    """The function of one operation under certain conditions. `size` is that of its source in characters."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        conditions: dict[str, Any],
        parent: GraphQLObjectType,
        fields: Mapping[str, list[FieldNode]],
    ) -> None:
        """Compiles the root `fields`. Raises Uncompilable."""
        text = _Text(schema, operation, fragments, conditions)
        text.root(parent, fields)
        source = "\n".join(text.lines)
        # Only names of the schema and of GraphQL are in it, see above.
        exec(compile(source, "<compiled operation>", "exec"), text.names)  # noqa: S102
        self.size = len(source)
        self._respond = text.names["respond"]

    def respond(self, outcomes: Mapping[str, Any], context: Any, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The `data` of the response, or None for one that is graphql-core's to make."""
        try:
            data: dict[str, Any] = self._respond(outcomes, Run(context, variables))
        except Exception:  # noqa: BLE001 - graphql-core will meet the same, and tell it as it has to be told
            return None
        return data


class _Text:
    """The text of the functions, and the objects that it names."""

    def __init__(
        self,
        schema: GraphQLSchema,
        operation: OperationDefinitionNode,
        fragments: dict[str, FragmentDefinitionNode],
        conditions: dict[str, Any],
    ) -> None:
        self._schema = schema
        self._operation = operation
        self._fragments = fragments
        self._conditions = conditions
        self.lines: list[str] = []
        self.names: dict[str, Any] = {"reader": reader, "listed": listed, "GiveUp": GiveUp}
        self._leaves: dict[str, str] = {}

    def _name(self, thing: Any) -> str:
        """A new name for an object."""
        name = f"n{len(self.names)}"
        self.names[name] = thing
        return name

    def root(self, parent: GraphQLObjectType, fields: Mapping[str, list[FieldNode]]) -> None:
        """Writes the function `respond(outcomes, run)`."""
        entries: list[str] = []
        reads: list[str] = []
        for number, (key, nodes) in enumerate(fields.items()):
            name = nodes[0].name.value
            if name == "__typename":
                entries.append(f"{key!r}: {parent.name!r}")
            elif name.startswith("__"):
                raise Uncompilable
            else:
                reads.append(f"    v{number} = outcomes[{key!r}]")
                entries.append(f"{key!r}: {self._value(parent.fields[name].type, parent, nodes, f'v{number}')}")
        self._function("respond(outcomes, run)", reads, entries)

    def _function(self, head: str, reads: list[str], entries: list[str]) -> None:
        self.lines += [f"def {head}:", *reads, "    return {", *(f"        {entry}," for entry in entries), "    }"]

    def _object(self, kind: GraphQLObjectType, nodes: list[FieldNode]) -> str:
        """The name of the function that makes one object of this type."""
        if kind.is_type_of is not None:
            raise Uncompilable
        reads = ["    get = source.get if source.__class__ is dict else reader(source)"]
        entries: list[str] = []
        selected = collect_sub_fields(self._schema, self._fragments, self._conditions, kind, nodes)
        for number, (key, below) in enumerate(selected.items()):
            name = below[0].name.value
            if name == "__typename":
                entries.append(f"{key!r}: {kind.name!r}")
                continue
            definition = kind.fields[name]
            reads.append(f"    v{number} = {self._read(definition, kind, below)}")
            entries.append(f"{key!r}: {self._value(definition.type, kind, below, f'v{number}')}")
        function = self._name(None)
        self._function(f"{function}(source, run)", reads, entries)
        return function

    def _read(self, definition: GraphQLField, parent: GraphQLObjectType, nodes: list[FieldNode]) -> str:
        """The expression that resolves a field."""
        resolve = definition.resolve
        if isinstance(resolve, partial) and resolve.func is dict_or_attr_resolver and not resolve.keywords:
            attribute, default = resolve.args
            return f"get({attribute!r}, {'None' if default is None else self._name(default)})"
        if resolve is None or inspect.iscoroutinefunction(inspect.unwrap(resolve)):
            raise Uncompilable
        return f"{self._name(called(self._field(parent, nodes), arguments_of(definition, nodes)))}(source, run)"

    def _field(self, parent: GraphQLObjectType, nodes: list[FieldNode]) -> Field:
        return Field(self._schema, self._fragments, self._operation, parent, nodes)

    def _value(self, kind: Any, parent: GraphQLObjectType, nodes: list[FieldNode], value: str) -> str:
        """The expression that completes what stands in the variable `value`, which may be null if the type says so."""
        if isinstance(kind, GraphQLNonNull):
            return self._present(kind.of_type, parent, nodes, value)
        return f"None if {value} is None else {self._present(kind, parent, nodes, value)}"

    def _present(self, kind: Any, parent: GraphQLObjectType, nodes: list[FieldNode], value: str) -> str:
        """The same where null is not a value: what completes it gives up at null."""
        if isinstance(kind, GraphQLList):
            item = f"{value}_"
            items = self._value(kind.of_type, parent, nodes, item)
            return f"[{items} for {item} in ({value} if {value}.__class__ is list else listed({value}))]"
        if isinstance(kind, GraphQLScalarType | GraphQLEnumType):
            return self._leaf(kind, value)
        if isinstance(kind, GraphQLObjectType):
            return f"{self._object(kind, nodes)}({value}, run)"
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            return f"{self._abstract(kind, parent, nodes)}({value}, run)"
        raise Uncompilable

    def _leaf(self, kind: GraphQLScalarType | GraphQLEnumType, value: str) -> str:
        if kind.name not in self._leaves:
            self._leaves[kind.name] = self._name(writer(kind))
            if isinstance(kind, GraphQLEnumType):
                usual, classes = leaves.names_of(kind)
                self.names[f"{self._leaves[kind.name]}_name"] = usual.get
                self.names[f"{self._leaves[kind.name]}_classes"] = classes
        write = self._leaves[kind.name]
        if isinstance(kind, GraphQLEnumType):
            return f"({write}_name({value}) if {value}.__class__ in {write}_classes else None) or {write}({value})"
        plain = leaves.condition(kind, value)
        return f"{write}({value})" if plain is None else f"{value} if {plain} else {write}({value})"

    def _abstract(
        self, kind: GraphQLUnionType | GraphQLInterfaceType, parent: GraphQLObjectType, nodes: list[FieldNode]
    ) -> str:
        """The name of the function that makes an object of whichever type of a union or an interface a value is."""
        function = self._name(None)
        tell = self._name(typed(_resolve_type(kind), self._field(parent, nodes)))
        makers: list[str] = []
        for each in self._schema.get_possible_types(kind):
            maker = self._object(each, nodes)
            makers += [f"{each.name!r}: {maker}"]
            if isinstance(each, GrapheneObjectType):
                makers += [f"{self._name(each.graphene_type)}: {maker}"]
        self.lines += [
            f"{function}_makers = {{{', '.join(makers)}}}",
            f"def {function}(source, run):",
            f"    return {function}_makers[{tell}(source, run)](source, run)",
        ]
        return function


def _resolve_type(kind: GraphQLUnionType | GraphQLInterfaceType) -> Callable[[Any, Any], Any]:
    """What tells the type of a value; of graphene's types their own method, without what turns a class into a name."""
    resolve = kind.resolve_type
    if isinstance(resolve, partial) and getattr(resolve.func, "__func__", None) is TypeMap.resolve_type:
        own: Callable[[Any, Any], Any] = resolve.args[0]
        return own
    return lambda source, info: (resolve or default_type_resolver)(source, info, kind)
