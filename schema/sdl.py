"""The schema as an object and as text: `schema/schema.graphql` is what `print_sdl` returns, and a test says so."""

import graphene
from graphql import GraphQLSchema, print_schema

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
    """The schema in the schema definition language, in the order of declaration, with a newline at the end."""
    return print_schema(build_schema()) + "\n"
