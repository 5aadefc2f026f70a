"""Heed as a subgraph of an Apollo Federation v2 supergraph: what a router asks for, and the SDL that it reads.

Owns what the subgraph specification adds to the schema, and no right of its own: `_entities` is `patients` by another
name, and `_service` is a way to ask for the schema.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import graphene
from graphql import GraphQLError, GraphQLObjectType, GraphQLSchema, ValueNode, print_schema, value_from_ast_untyped

from schema import errors
from schema.context import Context
from schema.parts import needed
from schema.types import Patient

__all__ = ["FederationRoots", "clients_schema", "subgraph_sdl"]

FIELDS = frozenset({"_entities", "_service"})
TYPES = frozenset({"_Any", "_Entity", "_Service"})
DIRECTIVES = {"Patient": '@key(fields: "id")', "PageInfo": "@shareable"}
"""What the subgraph's SDL says of a type. Relay's PageInfo is shareable: other subgraphs have the same one."""

LINK = """\
extend schema @link(url: "https://specs.apollo.dev/federation/v2.0", import: ["@key", "@shareable"])
"""
"""The oldest version that has these directives, so that every router of version 2 can compose it."""


class Representation(graphene.Scalar):
    """An entity as another subgraph knows it: `{"__typename": "Patient", "id": "…"}`. Other members are ignored."""

    class Meta:
        name = "_Any"

    @staticmethod
    def serialize(value: Any) -> Any:
        raise GraphQLError("a representation is never answered")

    @staticmethod
    def parse_value(value: Any) -> str:
        """The patient's id; every other shape is refused, without a word of what was in it."""
        if isinstance(value, dict) and value.get("__typename") == Patient.__name__ and isinstance(value.get("id"), str):
            return str(value["id"])
        raise GraphQLError("not a representation of a patient")

    @staticmethod
    def parse_literal(node: ValueNode, _variables: Any = None) -> str:
        return Representation.parse_value(value_from_ast_untyped(node))


class Entity(graphene.Union):
    """Whatever other subgraphs may refer to by its key."""

    class Meta:
        name = "_Entity"
        types = (Patient,)

    @classmethod
    def resolve_type(cls, instance: Any, info: Any) -> Any:
        """There is one kind of entity."""
        return Patient


class Service(graphene.ObjectType):
    """This subgraph, as a router needs to know it."""

    class Meta:
        name = "_Service"

    sdl = needed(graphene.String, "The schema with the directives of federation, as the schema definition language.")


class FederationRoots:
    """The two root fields of the subgraph specification."""

    service = graphene.Field(
        Service,
        name="_service",
        required=True,
        description="The subgraph's own SDL. For those who may introspect; touches no patient.",
    )
    entities = graphene.List(
        Entity,
        name="_entities",
        required=True,
        representations=graphene.List(
            graphene.NonNull(Representation),
            required=True,
            description="At most 1,000 representations of patients, in a variable.",
        ),
        description="Patients in the order of `representations`, for a router that joins subgraphs. A patient who is "
        "not answered is null beside an error with its place. Rights and records are those of `patients`.",
    )

    @staticmethod
    def resolve_service(_root: Any, info: Any) -> dict[str, str]:
        """The text; no service is asked."""
        return {"sdl": subgraph_sdl(info.schema)}

    @staticmethod
    async def resolve_entities(_root: Any, info: Any, representations: list[str]) -> Sequence[Any]:
        """Profiles in step with the ids; an exception in place of a profile becomes the error at its place."""
        here: Context = info.context
        answers = await here.services.profiles.read_many(here.actor, here.request, representations, here.asked(info))
        return [each if isinstance(each, dict) else errors.Refused(errors.Code(each.code)) for each in answers]


def clients_schema(schema: GraphQLSchema) -> GraphQLSchema:
    """The schema without what is there for routers only: what clients ask, and what a router composes."""
    query = schema.query_type
    assert query is not None
    own: dict[str, Any] = {**query.to_kwargs()}
    own["fields"] = {name: field for name, field in query.fields.items() if name not in FIELDS}
    whole: dict[str, Any] = {**schema.to_kwargs()}
    clients = GraphQLObjectType(**own)
    kinds = [clients if kind is query else kind for kind in whole["types"] if kind.name not in TYPES]
    return GraphQLSchema(**{**whole, "query": clients, "types": kinds})


@lru_cache(maxsize=1)
def subgraph_sdl(schema: GraphQLSchema) -> str:
    """What `_service { sdl }` answers: a valid Federation v2 subgraph, with a newline at the end."""
    text = print_schema(clients_schema(schema))
    for kind, directives in DIRECTIVES.items():
        text = text.replace(f"\ntype {kind} {{", f"\ntype {kind} {directives} {{", 1)
    return f"{LINK}\n{text}\n"
