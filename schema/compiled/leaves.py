"""How compiled functions write scalars and enums: by an expression for the usual values, and a call for all others."""

from contextlib import suppress
from enum import Enum
from typing import Any

from graphql import GraphQLEnumType, GraphQLError, GraphQLInt, GraphQLLeafType

from schema.scalars import taken_as_is

__all__ = ["condition", "names_of"]


def condition(kind: GraphQLLeafType, value: str) -> str | None:
    """The Python expression that is true of those values (in the variable `value`) that are written as they are.

    None for a type of which every value has to be looked at.
    """
    plain = taken_as_is(kind)
    if plain is not None:
        return f"{value}.__class__ is {plain.__name__}"
    if kind is GraphQLInt:
        return f"{value}.__class__ is int and -2147483648 <= {value} <= 2147483647"
    return None


def names_of(kind: GraphQLEnumType) -> tuple[dict[Any, str], frozenset[type]]:
    """What an enum writes for the usual values, and the classes of those values: strings, and members that are strings.

    Members of other enums are not among them, even those that are equal to one of these strings.
    """
    members = [member.value for member in kind.values.values()]
    usual: dict[Any, str] = {}
    for text in (*kind.values, *(member.value if isinstance(member, Enum) else member for member in members)):
        if type(text) is str:
            with suppress(GraphQLError):  # a name that is no value of an enum whose values are others
                usual[text] = kind.serialize(text)
    classes = {type(member) for member in members if isinstance(member, Enum) and isinstance(member, str)}
    alike = all(usual.get(member) == kind.serialize(member) for member in members)
    return usual, frozenset({str, *classes} if alike else {str})
