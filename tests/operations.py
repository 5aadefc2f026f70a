"""Operations and outcomes drawn at random from a schema: valid ones of every shape, and values of every kind."""

import random
from collections.abc import Callable
from typing import Any

from graphene.types.resolver import dict_or_attr_resolver
from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    Undefined,
    get_named_type,
)

from crm.errors import Erased

__all__ = ["Make", "Operations", "Values"]

_INPUT = {"ID": '"x"', "String": '"x"', "Int": "1", "Boolean": "true", "Float": "0.5", "LogIndex": "1", "_Any": '"x"'}


class Operations:
    """Draws operations. `$yes` and `$no` are their variables, as far as they are used."""

    def __init__(self, schema: GraphQLSchema, dice: random.Random) -> None:
        self._schema = schema
        self._dice = dice
        self._fragments: dict[str, str] = {}
        self._left = 0

    def draw(self, kind: str, parent: GraphQLObjectType, without: frozenset[str] = frozenset()) -> str:
        """The text of one operation of `kind` on its root type `parent`, which asks for no root field of `without`."""
        self._fragments = {}
        self._left = 60
        names = [name for name in parent.fields if name not in without]
        roots = self._dice.sample(names, 1 if kind == "subscription" else self._dice.choice([1, 1, 1, 2, 3]))
        # The root field of a subscription has no condition (graphql-core refuses one that holds a variable).
        chosen = [self._field(parent, name, 0, 0.0 if kind == "subscription" else 0.1) for name in roots]
        if kind != "subscription" and self._chance(0.2):
            chosen.append("__typename")
        body = " ".join(chosen) + "".join(f"\n{text}" for text in self._fragments.values())
        uses = [f"${name}: {of}" for name, of in VARIABLES.items() if f"${name}" in body]
        head = f"{kind} Drawn({', '.join(uses)})" if uses else f"{kind} Drawn"
        return f"{head} {{ {' '.join(chosen)} }}\n" + "\n".join(self._fragments.values())

    def _chance(self, share: float) -> bool:
        return self._dice.random() < share

    def _field(self, parent: Any, name: str, depth: int, conditional: float = 0.1) -> str:
        """One field, which merges with whatever else this draws under the same response key."""
        self._left -= 1
        field = parent.fields[name]
        alias = f"{name.strip('_')}_{parent.name}: " if self._chance(0.15) else ""
        required = {each: kind for each, kind in field.args.items() if isinstance(kind.type, GraphQLNonNull)}
        given = ", ".join(f"{each}: {self._literal(kind.type)}" for each, kind in required.items())
        arguments = f"({given})" if given else ""
        below = get_named_type(field.type)
        selection = self._selection(below, depth + 1) if hasattr(below, "fields") or hasattr(below, "types") else ""
        return f"{alias}{name}{arguments}{self._condition(conditional)}{selection}"

    def _condition(self, share: float) -> str:
        if not self._chance(share):
            return ""
        return self._dice.choice(CONDITIONS)

    def _selection(self, kind: Any, depth: int) -> str:
        parts: list[str] = []
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            parts += [
                f"... on {each.name}{self._condition(0.1)}{self._selection(each, depth)}"
                for each in self._schema.get_possible_types(kind)
            ]
        if not isinstance(kind, GraphQLUnionType):
            parts += [self._part(kind, depth) for _ in range(self._dice.choice([1, 2, 3, 5]))]
        if self._chance(0.15):
            parts.append("__typename" if self._chance(0.7) else "itsType: __typename")
        return f" {{ {' '.join(parts)} }}"

    def _part(self, kind: Any, depth: int) -> str:
        names = list(kind.fields)
        if depth > 5 or self._left < 0:  # only what needs no selection of its own
            names = [name for name in names if not _composite(kind.fields[name].type)] or ["__typename"]
        name = str(self._dice.choice(names))
        if name == "__typename":
            return name
        text = self._field(kind, name, depth)
        if self._chance(0.12):
            on = f" on {kind.name}" if self._chance(0.5) else ""
            return f"...{on}{self._condition(0.2)} {{ {text} }}"
        if self._chance(0.1):
            spread = f"F{len(self._fragments)}"
            self._fragments[spread] = f"fragment {spread} on {kind.name} {{ {text} }}"
            return f"...{spread}{self._condition(0.2)}" + (f" ...{spread}" if self._chance(0.3) else "")
        return text

    def _literal(self, kind: Any) -> str:
        if isinstance(kind, GraphQLNonNull):
            return self._literal(kind.of_type)
        if isinstance(kind, GraphQLList):
            return f"[{self._literal(kind.of_type)}]"
        if isinstance(kind, GraphQLEnumType):
            return str(self._dice.choice(list(kind.values)))
        if isinstance(kind, GraphQLInputObjectType):
            needed = {name: each.type for name, each in kind.fields.items() if isinstance(each.type, GraphQLNonNull)}
            return "{ " + ", ".join(f"{name}: {self._literal(each)}" for name, each in needed.items()) + " }"
        if kind.name == "_Any":
            return '{ __typename: "Patient", id: "x" }'
        return _INPUT.get(str(kind.name), '"x"')


CONDITIONS = [
    " @include(if: $yes)", " @include(if: $no)", " @skip(if: $no)", " @skip(if: true)", " @include(if: true)",
]  # fmt: skip
VARIABLES = {"yes": "Boolean!", "no": "Boolean! = false"}
"""The variables of all operations that are drawn, with their types."""


def _composite(kind: Any) -> bool:
    named = get_named_type(kind)
    return hasattr(named, "fields") or hasattr(named, "types")


Make = Callable[["Values"], Any]


class Values:
    """Draws what resolvers answer. A share of `odd` of all values is not what the type says, or not plain.

    `made` makes objects of types whose own resolvers need more than the members that the schema names.
    """

    def __init__(self, schema: GraphQLSchema, dice: random.Random, odd: float, made: dict[str, Make]) -> None:
        self._schema = schema
        self._dice = dice
        self._odd = odd
        self._made = made
        self._pool: dict[str, list[Any]] = {}

    def draw(self, kind: Any) -> Any:
        """A value for a field of this type."""
        if isinstance(kind, GraphQLNonNull):
            return self.either(self._present(kind.of_type))
        return self.either(None if self._dice.random() < 0.2 else self._present(kind))

    def either(self, plain: Any) -> Any:
        """This value, or an odd one."""
        return self._dice.choice(ODD)() if self._odd and self._dice.random() < self._odd else plain

    def _present(self, kind: Any) -> Any:
        if isinstance(kind, GraphQLList):
            items = [self.draw(kind.of_type) for _ in range(self._dice.choice([0, 1, 1, 2, 3]))]
            return tuple(items) if self._dice.random() < 0.3 else items
        if isinstance(kind, GraphQLUnionType | GraphQLInterfaceType):
            return self._present(self._dice.choice(self._schema.get_possible_types(kind)))
        if isinstance(kind, GraphQLObjectType):
            return self._object(kind)
        if isinstance(kind, GraphQLEnumType):
            member = self._dice.choice(list(kind.values.values())).value
            return self._dice.choice([member, getattr(member, "value", member)])
        return self._dice.choice(SCALARS.get(kind.name, SCALARS["String"]))

    def _object(self, kind: GraphQLObjectType) -> Any:
        """One of a dozen objects of each type: to make one each time would take longer than all else."""
        pool = self._pool.setdefault(kind.name, [])
        if len(pool) < 12:
            pool.append(self._made[kind.name](self) if kind.name in self._made else self.members(kind))
        return self._dice.choice(pool)

    def members(self, kind: GraphQLObjectType) -> dict[str, Any]:
        """A dict with most members that graphene's default resolver reads for this type."""
        found: dict[str, Any] = {}
        for field in kind.fields.values():
            resolve: Any = field.resolve
            if getattr(resolve, "func", None) is dict_or_attr_resolver:
                value = self.draw(field.type)
                if value is not None or self._dice.random() < 0.5:
                    found[resolve.args[0]] = value
        return found


SCALARS: dict[str, list[Any]] = {
    "String": ["", "Zoë", "\u2028 \\ \" '", "+447700900123", "x" * 300],
    "ID": ["0193", "a", 7],
    "Int": [0, 1, -5, 2**31 - 1, -(2**31)],
    "Boolean": [True, False],
    "Float": [0.5, 1.0, -2.25, 3],
    "LogIndex": [0, 2**53 - 1],
}


class _Word(str):
    """A text of a class of its own."""

    __slots__ = ()


ODD: list[Callable[[], Any]] = [
    lambda: None,
    Erased,
    lambda: Undefined,
    lambda: ValueError("x"),
    lambda: "NO_SUCH_WORD",
    lambda: _Word("PHONE"),
    lambda: 2**31,
    lambda: 1.5,
    lambda: float("nan"),
    lambda: True,
    list,
    dict,
    lambda: ["x", None],
    lambda: {"id": 1},
    lambda: object,
    lambda: iter(["x"]),
]
"""Values that some or all types do not allow, or write otherwise than they are."""
