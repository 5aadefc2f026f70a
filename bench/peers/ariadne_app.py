"""ariadne, tuned: documents parsed and validated once, one statement for each root field, orjson. URL PORT."""

import sys
from contextlib import asynccontextmanager
from functools import lru_cache

import orjson
import uvicorn
from ariadne import QueryType, make_executable_schema
from ariadne.asgi import GraphQL
from ariadne.asgi.handlers import GraphQLHTTPHandler
from graphql import parse, validate
from rows import SERVING, Rows
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_TYPES = """
type Query { patient(id: ID!): Patient  patients(ids: [ID!]!): [Patient!]! }
type Patient {
  id: ID! version: Int! restricted: Boolean displayName: String preferredName: String birthDate: String
  pronouns: String interpreterNeeded: String timeZone: String communicationStyle: String
  contactPoints: [ContactPoint!] channelPreferences: [ChannelPreference!]
}
type ContactPoint {
  id: ID! system: String! value: String! use: String rank: Int capabilities: [String!] verified: Boolean
}
type ChannelPreference { purpose: String! channels: [String!]! }
"""
_PATIENT = (
    "id", "version", "restricted", "displayName", "preferredName", "birthDate", "pronouns", "interpreterNeeded",
    "timeZone", "communicationStyle",
)  # fmt: skip
_POINT = ("id", "system", "value", "use", "rank", "capabilities", "verified")
_PREFERENCE = ("purpose", "channels")


def _patient(row) -> dict:
    patient = dict(zip(_PATIENT, row[:10], strict=True))
    patient["contactPoints"] = [dict(zip(_POINT, each, strict=True)) for each in row[10]]
    if len(row) > 11:
        patient["channelPreferences"] = [dict(zip(_PREFERENCE, each, strict=True)) for each in row[11]]
    return patient


class _Handler(GraphQLHTTPHandler):
    async def extract_data_from_json_request(self, request: Request):
        return orjson.loads(await request.body())

    async def create_json_response(self, request: Request, result: dict, success: bool) -> Response:
        return Response(orjson.dumps(result), 200 if success else 400, media_type="application/json")


def main() -> None:
    """Serves the tables at a URL on a loopback port."""
    url, port = sys.argv[1], int(sys.argv[2])
    rows, query = Rows(url), QueryType()

    @query.field("patient")
    async def patient(_, info, id):
        return _patient(await rows.one(id))

    @query.field("patients")
    async def patients(_, info, ids):
        return [_patient(row) for row in await rows.many(ids)]

    schema = make_executable_schema(_TYPES, query)
    parsed = lru_cache(1000)(parse)
    valid: dict[int, list] = {}

    def validated(of, document, *args, **kwargs):
        if id(document) not in valid:  # the cache above keeps the document, so nobody else gets its id
            valid[id(document)] = validate(of, document)
        return valid[id(document)]

    endpoint = GraphQL(
        schema,
        query_parser=lambda context, data: parsed(data["query"]),
        query_validator=validated,
        http_handler=_Handler(),
        explorer=None,
    )

    @asynccontextmanager
    async def lifespan(_):
        await rows.open()
        yield
        await rows.close()

    uvicorn.run(Starlette(routes=[Route("/graphql", endpoint)], lifespan=lifespan), port=port, **SERVING)


if __name__ == "__main__":
    main()
