"""The schema as an object and as text: `schema/schema.graphql` is what `print_sdl` returns, and a test says so.

The text is what clients read. What is there for routers only (`_service`, `_entities`) is in the object, and a router's
text is `schema.federation.subgraph_sdl`.
"""

from functools import cache
from typing import cast

import graphene
from graphql import GraphQLScalarType, GraphQLSchema, print_schema

from schema.federation import clients_schema
from schema.live import Subscription
from schema.mutations import Mutation
from schema.queries import Query
from schema.scalars import SPECIFIED_BY

__all__ = ["build_schema", "print_sdl"]


@cache
def build_schema() -> GraphQLSchema:
    """The executable schema. It is never changed, so a process needs one, whose making takes some 50 ms."""
    schema: GraphQLSchema = graphene.Schema(query=Query, mutation=Mutation, subscription=Subscription).graphql_schema
    if schema.query_type:
        schema.query_type.description = Query.__doc__
    for name, url in SPECIFIED_BY.items():
        cast(GraphQLScalarType, schema.type_map[name]).specified_by_url = url  # graphene has no word for it
    return schema


def print_sdl() -> str:
    """What clients may ask, as SDL in the order of declaration, with a newline at the end."""
    return print_schema(clients_schema(build_schema())) + "\n"
