"""Heed as a subgraph, by Apollo's own libraries: composed with another one, planned, and executed as a router does."""

import json
from pathlib import Path

from graphql import build_schema as read_schema
from graphql import print_schema

from schema.app import create_app
from schema.federation import subgraph_sdl
from schema.sdl import build_schema, print_sdl
from schema.settings import Settings
from tests.listening import listening
from tests.node import run
from tests.speaking import ANN, FakeServices, Tokens, ready

PAGE = Path(__file__).resolve().parents[2] / "docs" / "federation.md"
APPOINTMENTS = "{ appointments { at patient { displayName } } }"
FORBIDDEN = "{ appointments { at patient { religion } } }"
ROOMS = "query Rooms($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { displayName room } } }"


def test_the_subgraph_is_the_schema() -> None:
    """Its SDL is what clients read with the directives of federation, and nothing more or less."""
    sdl = subgraph_sdl(build_schema())
    assert sdl.count("@") - print_sdl().count("@") == 5  # @link, which imports two, and one @key and one @shareable
    machinery = """directive @link(url: String!, import: [String!]) on SCHEMA
        directive @key(fields: String!) on OBJECT
        directive @shareable on OBJECT
        """
    plain = sdl.partition("\n")[2].replace(' @key(fields: "id")', "", 1).replace(" @shareable", "", 1)
    assert print_schema(read_schema(plain)) + "\n" == print_sdl()
    assert read_schema(machinery + sdl).get_type("_Entity") is None


async def test_joined_with_another_subgraph() -> None:
    """It composes without a hint, as the guide's example does; a batch is one request and one question in order."""
    services = FakeServices(known={"ann": ANN, "bo": {**ANN, "id": "bo", "display_name": "Bo"}})
    asked = [
        {"query": APPOINTMENTS, "role": "front_desk"},
        {"query": FORBIDDEN, "role": "front_desk"},
        {"query": ROOMS, "variables": {"ids": ["bo", "ann"]}, "role": "front_desk"},
    ]
    example = PAGE.read_text("utf-8").partition("```graphql\n")[2].partition("```")[0]
    example += "type Query { appointments: [Appointment!]! }"
    async with listening(create_app(services, Tokens(), Settings(), ready)) as address:
        found = await run("federation.mjs", f"{address}/graphql", json.dumps(asked), example)
    assert found["hints"] == []
    days, refused, rooms = found["answers"]
    assert [each["patient"] for each in days["data"]["appointments"]] == [
        {"__typename": "Patient", "id": "ann", "displayName": "Ann"},
        {"__typename": "Patient", "id": "nobody"},
        {"__typename": "Patient", "id": "ann", "displayName": "Ann"},
    ]
    assert [(each["path"], each["extensions"]["code"]) for each in days["errors"]] == [(["_entities", 1], "NOT_FOUND")]
    assert [each["extensions"]["code"] for each in refused["errors"]] == ["FORBIDDEN_FIELD"]
    assert [each["room"] for each in rooms["data"]["patients"]] == ["room of bo", "room of ann"]
    assert len(found["sent"]) == 3
    assert [(call.name, call.values) for call in services.calls] == [
        ("read_many", ["ann", "nobody", "ann"]),
        ("read_many", ["bo", "ann"]),
    ]
    assert services.calls[0].asked == {"displayName"}
