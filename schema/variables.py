"""Variables and arguments as GraphQL coerces them, made ready once for an operation. Owns no limit and no plan.

graphql-core's own functions are the rule. What is done here without them is only what they do with the plainest of
values, such as a string for an `ID`; everything else goes to them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    GraphQLEnumType,
    GraphQLError,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    VariableNode,
    get_argument_values,
    get_named_type,
    is_required_input_field,
    type_from_ast,
    value_from_ast,
)
from graphql.utilities import coerce_input_value

from schema.errors import Code, Refused
from schema.scalars import taken_as_is

__all__ = ["Variables", "arguments_of"]

Arguments = dict[str, Any]
Check = Callable[[Any], Any]
"""Gives the coerced value of a plain one, or `Undefined` where graphql-core has to look at it."""


@dataclass(frozen=True, slots=True)
class _Variable:
    """One variable of an operation. `default` gives a new value each time, or is None where there is none."""

    name: str
    kind: Any
    required: bool
    default: Callable[[], Any] | None
    plain: Check


class Variables:
    """The variables that one operation declares."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._variables = [_variable(schema, definition) for definition in operation.variable_definitions]

    def coerced(self, submitted: Mapping[str, Any]) -> dict[str, Any]:
        """Values as the GraphQL specification coerces them (6.1.2). Raises Refused with a path, never with a value."""
        values: dict[str, Any] = {}
        for variable in self._variables:
            name = variable.name
            if name not in submitted:
                if variable.default is not None:
                    values[name] = variable.default()
                elif variable.required:
                    raise Refused(Code.VALIDATION_FAILED, "A required variable is missing.", field=name)
                continue
            value = submitted[name]
            if value is None and variable.required:
                raise Refused(Code.VALIDATION_FAILED, "A required variable is null.", field=name)
            found = variable.plain(value)
            values[name] = _coerced(name, value, variable.kind) if found is Undefined else found
        return values


def _variable(schema: GraphQLSchema, definition: Any) -> _Variable:
    kind: Any = type_from_ast(schema, definition.type)
    literal = definition.default_value
    default = (lambda: value_from_ast(literal, kind)) if literal else None
    return _Variable(definition.variable.name.value, kind, isinstance(kind, GraphQLNonNull), default, _plain(kind))


def _plain(kind: Any) -> Check:
    """The short way for values of a type."""
    if isinstance(kind, GraphQLNonNull):
        return _plain(kind.of_type)
    if isinstance(kind, GraphQLList):
        return _plain_list(kind.of_type)
    if isinstance(kind, GraphQLEnumType):
        members = {name: kind.parse_value(name) for name in kind.values}
        return lambda value: members.get(value, Undefined) if value.__class__ is str else Undefined
    plain = taken_as_is(kind)
    if plain is None:
        return lambda _: Undefined
    return lambda value: value if value.__class__ is plain else Undefined


def _plain_list(of: Any) -> Check:
    """Lists of plain scalars without nulls, such as a thousand ids."""
    plain = taken_as_is(of.of_type if isinstance(of, GraphQLNonNull) else of)
    if plain is None:
        return lambda _: Undefined
    classes = {plain}
    return lambda value: list(value) if value.__class__ is list and set(map(type, value)) <= classes else Undefined


class _Misfit(Exception):
    """A value that does not fit its type, at this path below the variable; `missing` is a member it has not."""

    def __init__(self, path: list[str | int], missing: str | None) -> None:
        super().__init__()
        self.path = path
        self.missing = missing


def _missing(kind: Any, path: Sequence[str | int], value: Any) -> str | None:
    """The first required member that the value at a path below a variable of this type does not have."""
    named: Any = get_named_type(kind)
    for step in path:
        if isinstance(step, str):  # numbers are places in lists, which a named type does not see
            named = get_named_type(named.fields[step].type)
    if not (isinstance(named, GraphQLInputObjectType) and isinstance(value, dict)):
        return None
    return next(
        (name for name, each in named.fields.items() if is_required_input_field(each) and name not in value), None
    )


def _coerced(name: str, value: Any, kind: Any) -> Any:
    def refuse(path: list[str | int], value: Any, _error: GraphQLError) -> None:
        raise _Misfit(path, _missing(kind, path, value))

    try:
        coerced = coerce_input_value(value, kind, refuse)
    except _Misfit as misfit:
        missing = () if misfit.missing is None else (misfit.missing,)
        place = ".".join(str(step) for step in (name, *misfit.path, *missing))
        said = "A required member of a variable is missing." if missing else "A variable does not fit its type."
    else:
        return None if coerced is Undefined else coerced
    raise Refused(Code.VALIDATION_FAILED, said, field=place)


def arguments_of(definition: GraphQLField, nodes: Sequence[FieldNode]) -> Callable[[dict[str, Any]], Arguments]:
    """What makes a field's arguments, under the names that resolvers know, from coerced variables.

    Raises Refused for a null variable where null is not allowed, which validation cannot see.
    """
    node = nodes[0]

    def by_the_rule(variables: dict[str, Any]) -> Arguments:
        try:
            return get_argument_values(definition, node, variables)
        except GraphQLError:
            raise Refused(Code.VALIDATION_FAILED, field=node.name.value) from None

    given = {argument.name.value: argument.value for argument in node.arguments}
    if not all(isinstance(value, VariableNode) for value in given.values()):
        return by_the_rule
    names: list[tuple[str, str]] = []
    for name, argument in definition.args.items():
        value = given.get(name)
        if isinstance(value, VariableNode):
            names.append((argument.out_name or name, value.name.value))
        elif argument.default_value is not Undefined or isinstance(argument.type, GraphQLNonNull):
            return by_the_rule

    def of_variables(variables: dict[str, Any]) -> Arguments:
        arguments = {name: variables.get(variable) for name, variable in names}
        return by_the_rule(variables) if None in arguments.values() else arguments

    return of_variables
