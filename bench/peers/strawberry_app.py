"""strawberry, tuned: documents parsed and validated once, one statement for each root field, orjson. URL PORT."""

import dataclasses
import sys
from contextlib import asynccontextmanager

import orjson
import strawberry
import uvicorn
from rows import SERVING, Rows
from starlette.applications import Starlette
from starlette.routing import Route
from strawberry.asgi import GraphQL
from strawberry.extensions import ParserCache, ValidationCache


@strawberry.type
class ContactPoint:
    """A row of contact_point."""

    id: strawberry.ID
    system: str
    value: str
    use: str | None
    rank: int | None
    capabilities: list[str] | None
    verified: bool | None


@strawberry.type
class ChannelPreference:
    """A row of channel_preference."""

    purpose: str
    channels: list[str]


@strawberry.type
class Patient:
    """A row of patient, with its children."""

    id: strawberry.ID
    version: int
    restricted: bool | None
    display_name: str | None
    preferred_name: str | None
    birth_date: str | None
    pronouns: str | None
    interpreter_needed: str | None
    time_zone: str | None
    communication_style: str | None
    contact_points: list[ContactPoint] | None
    channel_preferences: list[ChannelPreference] | None


_SCALARS, _POINT, _PREFERENCE = (
    tuple(field.name for field in dataclasses.fields(kind)) for kind in (Patient, ContactPoint, ChannelPreference)
)


def _patient(row) -> Patient:
    points = [ContactPoint(**dict(zip(_POINT, each, strict=True))) for each in row[10]]
    preferences = None
    if len(row) > 11:
        preferences = [ChannelPreference(**dict(zip(_PREFERENCE, each, strict=True))) for each in row[11]]
    return Patient(**dict(zip(_SCALARS, [*row[:10], points, preferences], strict=True)))


class _Endpoint(GraphQL):
    def decode_json(self, data):
        return orjson.loads(data)

    def encode_json(self, data):
        return orjson.dumps(data)


def main() -> None:
    """Serves the tables at a URL on a loopback port."""
    rows, port = Rows(sys.argv[1]), int(sys.argv[2])

    @strawberry.type
    class Query:
        @strawberry.field
        async def patient(self, id: strawberry.ID) -> Patient | None:
            return _patient(await rows.one(id))

        @strawberry.field
        async def patients(self, ids: list[strawberry.ID]) -> list[Patient]:
            return [_patient(row) for row in await rows.many(ids)]

    schema = strawberry.Schema(
        Query, extensions=[lambda: ParserCache(maxsize=1000), lambda: ValidationCache(maxsize=1000)]
    )
    endpoint = _Endpoint(schema, graphql_ide=None)

    @asynccontextmanager
    async def lifespan(_):
        await rows.open()
        yield
        await rows.close()

    uvicorn.run(Starlette(routes=[Route("/graphql", endpoint)], lifespan=lifespan), port=port, **SERVING)


if __name__ == "__main__":
    main()
