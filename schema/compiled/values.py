"""What compiled functions call for values that are not of the plainest kind. Owns when to give up."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLLeafType,
    GraphQLObjectType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
)

__all__ = ["Field", "GiveUp", "Run", "called", "is_awaitable", "listed", "reader", "typed", "writer"]


class GiveUp(Exception):
    """The response is not one that a compiled function makes."""


def is_awaitable(value: Any) -> bool:
    """Whether a resolver answered a coroutine; the resolvers here make nothing else that is awaitable."""
    return hasattr(value, "__await__")


def _check(value: Any) -> None:
    """Raises GiveUp for what stands in place of a value: nothing, an error, or a promise."""
    if value is None or value is Undefined or isinstance(value, Exception) or is_awaitable(value):
        raise GiveUp


def reader(source: Any) -> Callable[[str, Any], Any]:
    """What graphene's default resolver reads members of `source` with: by key from a dict, by name from all else."""
    _check(source)
    return source.get if isinstance(source, dict) else partial(getattr, source)


def listed(value: Any) -> Any:
    """`value` if it is a tuple. An iterator is left alone: it could be read only once."""
    if value.__class__ is not tuple:
        raise GiveUp
    return value


def writer(kind: GraphQLLeafType) -> Callable[[Any], Any]:
    """What writes values of a scalar or an enum as graphql-core does."""
    serialize = kind.serialize

    def write(value: Any) -> Any:
        _check(value)
        written = serialize(value)
        if written is None or written is Undefined:
            raise GiveUp
        return written

    return write


class Run:
    """The making of one response: for one caller, from one request. `infos` are those that resolvers were told."""

    __slots__ = ("context", "infos", "variables")

    def __init__(self, context: Any, variables: dict[str, Any]) -> None:
        self.context = context
        self.variables = variables
        self.infos: dict[Field, Info] = {}


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """A field below the roots that has a resolver of its own, or a type that depends on the value."""

    schema: GraphQLSchema
    fragments: dict[str, FragmentDefinitionNode]
    operation: OperationDefinitionNode
    parent: GraphQLObjectType
    nodes: list[FieldNode]

    @property
    def definition(self) -> GraphQLField:
        """The field in the schema."""
        return self.parent.fields[self.nodes[0].name.value]

    def info(self, run: Run) -> "Info":
        """What its resolver is told: the same for all values of a response, as nothing of it tells where a value is."""
        found = run.infos.get(self)
        if found is None:
            found = run.infos[self] = Info(self, run)
        return found


class Info:
    """What a resolver is told, by the names of graphql-core's `GraphQLResolveInfo`, in a form that is cheap to make."""

    __slots__ = ("_field", "context", "variable_values")
    root_value = None
    is_awaitable = staticmethod(is_awaitable)

    def __init__(self, about: Field, run: Run) -> None:
        self._field = about
        self.context = run.context
        self.variable_values = run.variables

    field_name = property(lambda self: self._field.nodes[0].name.value)
    field_nodes = property(lambda self: self._field.nodes)
    return_type = property(lambda self: self._field.definition.type)
    parent_type = property(lambda self: self._field.parent)
    schema = property(lambda self: self._field.schema)
    fragments = property(lambda self: self._field.fragments)
    operation = property(lambda self: self._field.operation)

    @property
    def path(self) -> Any:
        """Not known here: whoever asks makes the compiled function give up."""
        raise GiveUp


_NEVER_AWAITABLE = frozenset({bool, str, int, float, dict, list, tuple, type(None)})


def called(about: Field, arguments: Callable[[dict[str, Any]], Mapping[str, Any]]) -> Callable[[Any, Run], Any]:
    """What calls a field's own resolver for one source."""
    resolve: Any = about.definition.resolve
    bare = not about.definition.args

    def call(source: Any, run: Run) -> Any:
        info = run.infos.get(about) or about.info(run)
        found = resolve(source, info) if bare else resolve(source, info, **arguments(run.variables))
        if found.__class__ not in _NEVER_AWAITABLE and is_awaitable(found):
            if inspect.iscoroutine(found):
                found.close()  # graphql-core will call the resolver itself
            raise GiveUp
        return found

    return call


def typed(resolve_type: Callable[[Any, Any], Any], about: Field) -> Callable[[Any, Run], Any]:
    """What tells of which object type a value of a union or an interface is: its name, or graphene's class for it."""

    def tell(source: Any, run: Run) -> Any:
        if source.__class__ is not dict:
            _check(source)
        return resolve_type(source, run.infos.get(about) or about.info(run))

    return tell
