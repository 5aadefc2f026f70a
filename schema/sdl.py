"""The schema as an object and as text: `schema/schema.graphql` is what `print_sdl` returns, and a test says so.

The text is what clients read. What is there for routers only (`_service`, `_entities`) is in the object, and a router's
text is `schema.federation.subgraph_sdl`.
"""

import graphene
from graphql import GraphQLSchema, print_schema

from schema.federation import clients_schema
from schema.mutations import Mutation
from schema.queries import Query

__all__ = ["build_schema", "print_sdl"]


def build_schema() -> GraphQLSchema:
    """The executable schema; building it takes some milliseconds, so an application does it once."""
    schema: GraphQLSchema = graphene.Schema(query=Query, mutation=Mutation).graphql_schema
    if schema.query_type:
        schema.query_type.description = Query.__doc__
    return schema


def print_sdl() -> str:
    """What clients may ask, as SDL in the order of declaration, with a newline at the end."""
    return print_schema(clients_schema(build_schema())) + "\n"
