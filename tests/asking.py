"""Questions generated from the schema itself, so that a new field is asked for without anybody thinking of it."""

from functools import cache

from graphql import GraphQLEnumType, GraphQLObjectType, GraphQLScalarType, get_named_type

from crm.catalogue import BY_PATH, FIELDS
from schema.sdl import build_schema

__all__ = [
    "EVERYTHING",
    "FIELDS_OF_PATIENT",
    "MUTATIONS",
    "OTHER_MUTATIONS",
    "PARTS",
    "READABLE",
    "paths_of",
    "question",
    "whole",
]


@cache
def _patient() -> GraphQLObjectType:
    kind = build_schema().get_type("Patient")
    assert isinstance(kind, GraphQLObjectType)
    return kind


def whole(field: str) -> str:
    """The selection of one field of `Patient` with everything below it."""
    return _selected(_patient(), field)


def _selected(parent: GraphQLObjectType, field: str) -> str:
    kind = get_named_type(parent.fields[field].type)
    if isinstance(kind, GraphQLScalarType | GraphQLEnumType):
        return field
    assert isinstance(kind, GraphQLObjectType)
    return f"{field} {{ {' '.join(_selected(kind, part) for part in kind.fields)} }}"


def paths_of(field: str) -> frozenset[str]:
    """The catalogue paths that `whole(field)` asks for; none for `id` and `version`."""
    return frozenset(path for path in BY_PATH if path == field or path.startswith(f"{field}."))


def question(selection: str, operation: str = "Asked") -> str:
    """A query for one patient."""
    return f"query {operation}($id: ID!) {{ patient(id: $id) {{ {selection} }} }}"


FIELDS_OF_PATIENT: tuple[str, ...] = tuple(_patient().fields)
"""The fields of `Patient` in the order of the SDL."""

READABLE: tuple[str, ...] = tuple(field for field in FIELDS_OF_PATIENT if paths_of(field))
"""Those that stand in the catalogue: all but `id` and `version`, which every answer may hold."""

PARTS: tuple[str, ...] = tuple(path for row in FIELDS for path in row.paths if "." in path)
"""Paths with rights of their own below a field."""

EVERYTHING = " ".join(whole(field) for field in FIELDS_OF_PATIENT)
"""All that can be asked of a patient."""


@cache
def _mutations() -> dict[str, str]:
    """What each mutation answers."""
    kind = build_schema().mutation_type
    assert kind is not None
    return {name: str(field.type) for name, field in kind.fields.items()}


_OF_TWO = frozenset({"mergePatients", "unmergePatients"})

MUTATIONS: tuple[str, ...] = tuple(
    name for name, answer in _mutations().items() if answer == "Patient" and name not in _OF_TWO
)
"""The mutations that change a patient's profile, in the order of the SDL."""

OTHER_MUTATIONS: tuple[str, ...] = tuple(name for name in _mutations() if name not in MUTATIONS)
"""Those that end or keep a record, and answer something else than a profile, or are about two of them."""
