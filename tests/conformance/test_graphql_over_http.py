"""The MUST and SHOULD of the GraphQL-over-HTTP specification (working draft), spoken to the real ASGI application.

With Node, the audits of the npm package `graphql-http` run against a listening server too.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest

from schema.app import create_app
from schema.settings import Settings
from tests import node
from tests.listening import listening
from tests.speaking import FakeServices, Speaker, Tokens, code, ready, speaking

JSON = "application/json"
RESPONSE = "application/graphql-response+json"
OPEN = Settings(open_introspection=True)
HELLO = {"query": "{ __typename }"}


@pytest.fixture
async def speaker() -> AsyncIterator[Speaker]:
    """A client of the application with introspection open and GET off."""
    async with speaking(OPEN) as client:
        yield client


@pytest.mark.parametrize("media", [JSON, RESPONSE])
async def test_both_media_types_are_spoken(speaker: Speaker, media: str) -> None:
    """A server MUST answer in either media type, and say which, in UTF-8."""
    response = await speaker.post(HELLO, accept=media)
    assert (response.status_code, response.headers["content-type"]) == (200, f"{media}; charset=utf-8")
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", JSON),
        ("application/*", JSON),
        (f"{RESPONSE}, {JSON}", RESPONSE),
        (f"{JSON}, {RESPONSE}", JSON),
        (f"{JSON};q=0.5, {RESPONSE}", RESPONSE),
        (f"{RESPONSE}; charset=utf-8, {JSON}; charset=utf-8", RESPONSE),
        (f"text/html, */*;q=0.1, {RESPONSE};q=0.9", RESPONSE),
        (f"{JSON};q=0, */*", RESPONSE),
        ("", JSON),
    ],
)
async def test_the_accept_header_is_respected(speaker: Speaker, accept: str, media: str) -> None:
    """The highest priority media type that is supported MUST be attempted."""
    response = await speaker.post(HELLO, accept=accept)
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, media)


async def test_without_an_accept_header_the_answer_is_json(speaker: Speaker) -> None:
    """The audits of `graphql-http` ask for it; decision 0011 says why we follow them."""
    del speaker.http.headers["accept"]
    response = await speaker.post(HELLO)
    assert (response.status_code, response.headers["content-type"].split(";")[0]) == (200, JSON)


@pytest.mark.parametrize("accept", ["text/html", "image/*", f"{JSON};q=0", f"{JSON}; charset=utf-16", f"{JSON};q=x"])
async def test_what_cannot_be_accepted_is_406(speaker: Speaker, accept: str) -> None:
    """RECOMMENDED: say so, and stop."""
    response = await speaker.post(HELLO, accept=accept)
    assert response.status_code == 406
    assert speaker.services.calls == []


@pytest.mark.parametrize("kind", [JSON, f"{JSON}; charset=utf-8", f'{JSON}; charset="UTF-8"', "Application/JSON"])
async def test_utf_8_json_is_accepted(speaker: Speaker, kind: str) -> None:
    """UTF-8 MUST be assumed, and MUST be accepted by name."""
    query = '{ __type(name: "Run🏃Swim🏊") { name } }'
    response = await speaker.post(json.dumps({"query": query}, ensure_ascii=False).encode(), content_type=kind)
    assert (response.status_code, response.json()) == (200, {"data": {"__type": None}})


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", f"{JSON}; charset=utf-16", "json", ""],
)
async def test_other_bodies_are_415(speaker: Speaker, kind: str) -> None:
    """SHOULD reject what is not declared as JSON; simple forms of other sites end here."""
    response = await speaker.post(json.dumps(HELLO).encode(), content_type=kind)
    assert response.status_code == 415


@pytest.mark.parametrize("media", [JSON, RESPONSE])
@pytest.mark.parametrize(
    "body",
    [
        {"qeury": "{ __typename }"},
        {"query": {"obj": "ect"}},
        {"query": 0},
        {"query": False},
        {"query": ["array"]},
        {"query": None},
        {**HELLO, "operationName": {"obj": "ect"}},
        {**HELLO, "operationName": 0},
        {**HELLO, "operationName": ["array"]},
        {**HELLO, "variables": "string"},
        {**HELLO, "variables": 0},
        {**HELLO, "variables": [7]},
        {**HELLO, "extensions": "string"},
        {**HELLO, "extensions": ["array"]},
        [HELLO],
        [],
        "{ __typename }",
        None,
    ],
    ids=repr,
)
async def test_what_is_no_request_is_400(speaker: Speaker, body: Any, media: str) -> None:
    """SHOULD use 400 for what is not a well-formed request, in either media type."""
    response = await speaker.post(json.dumps(body).encode(), accept=media)
    assert response.status_code == 400
    assert code(response.json()) == "VALIDATION_FAILED"
    assert "data" not in response.json()


@pytest.mark.parametrize("media", [JSON, RESPONSE])
@pytest.mark.parametrize("body", [b"", b"NONSENSE", b'{"query":', b'{ "not a JSON', b"\xff\xfe"])
async def test_unreadable_json_is_400(speaker: Speaker, body: bytes, media: str) -> None:
    """SHOULD use 400 for a body that cannot be interpreted."""
    response = await speaker.post(body, accept=media)
    assert (response.status_code, code(response.json())) == (400, "GRAPHQL_PARSE_FAILED")


@pytest.mark.parametrize("media", [JSON, RESPONSE])
@pytest.mark.parametrize("name", ["variables", "operationName", "extensions"])
async def test_null_means_not_given(speaker: Speaker, name: str, media: str) -> None:
    """MUST treat null for an optional parameter like its absence."""
    response = await speaker.post({**HELLO, name: None}, accept=media)
    assert (response.status_code, response.json()) == (200, {"data": {"__typename": "Query"}})


@pytest.mark.parametrize("media", [JSON, RESPONSE])
async def test_all_parameters_are_understood(speaker: Speaker, media: str) -> None:
    """MUST accept operation names, maps of variables and extensions; other names are reserved, and ignored."""
    body = {
        "query": "query Type($name: String!) { __type(name: $name) { name } } query Other { __typename }",
        "operationName": "Type",
        "variables": {"name": "Patient"},
        "extensions": {"some": "value"},
        "reserved": 1,
    }
    response = await speaker.post(body, accept=media)
    assert (response.status_code, response.json()) == (200, {"data": {"__type": {"name": "Patient"}}})


@pytest.mark.parametrize(("media", "status"), [(JSON, 200), (RESPONSE, 400)])
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"query": "{"}, "GRAPHQL_PARSE_FAILED"),
        ({"query": "{ nope }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query A { __typename } query B { __typename }"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query A { __typename }", "operationName": "B"}, "GRAPHQL_VALIDATION_FAILED"),
        ({"query": "query ($id: ID!) { patient(id: $id) { id } }"}, "VALIDATION_FAILED"),
        ({"query": "query ($id: ID!) { patient(id: $id) { id } }", "variables": {"id": None}}, "VALIDATION_FAILED"),
    ],
)
async def test_request_errors(speaker: Speaker, body: Any, expected: str, media: str, status: int) -> None:
    """SHOULD be 200 in application/json and 400 in application/graphql-response+json, and have no `data` entry."""
    response = await speaker.post(body, accept=media)
    assert (response.status_code, code(response.json())) == (status, expected)
    assert "data" not in response.json()


@pytest.mark.parametrize("media", [JSON, RESPONSE])
async def test_partial_answers_are_200(speaker: Speaker, media: str) -> None:
    """MUST be 2xx when there is data, and SHOULD be 200, whatever failed in a field; errors come first."""
    response = await speaker.post({"query": '{ viewer { org } patient(id: "unknown") { id } }'}, accept=media)
    assert response.status_code == 200
    assert response.json()["data"] == {"viewer": {"org": "north-clinic"}, "patient": None}
    assert list(response.json()) == ["errors", "data"]


@pytest.mark.parametrize(("media", "status"), [(JSON, 200), (RESPONSE, 403)])
async def test_forbidden_requests(speaker: Speaker, media: str, status: int) -> None:
    """SHOULD be 403 when the client is not permitted to issue the request."""
    response = await speaker.post({"query": '{ patient(id: "ann") { religion } }'}, accept=media)
    assert (response.status_code, code(response.json())) == (status, "FORBIDDEN_FIELD")
    assert "data" not in response.json()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "BREW"])
async def test_other_methods_are_405(speaker: Speaker, method: str) -> None:
    """POST alone is on by default, and Allow says so."""
    headers = {"authorization": "Bearer operator"}
    response = await speaker.http.request(method, "/graphql", params=HELLO, headers=headers)
    assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")


async def test_options_allows_nothing_to_other_origins(speaker: Speaker) -> None:
    """A preflight is answered without any permission."""
    response = await speaker.http.options("/graphql", headers={"origin": "https://elsewhere.test"})
    assert (response.status_code, response.headers["allow"]) == (204, "POST, OPTIONS")
    assert not [name for name in response.headers if name.startswith("access-control")]


class TestGet:
    """Queries by GET, which a setting turns on."""

    @pytest.fixture
    async def reader(self) -> AsyncIterator[Speaker]:
        """A client of the application with GET on."""
        async with speaking(Settings(open_introspection=True, graphql_get=True)) as client:
            client.http.headers["authorization"] = "Bearer front_desk"
            yield client

    async def test_event_streams_go_by_post(self, reader: Speaker) -> None:
        """Who asks for one by GET is told so, and not to accept what was just refused."""
        response = await reader.http.get("/graphql", params=HELLO, headers={"accept": "text/event-stream"})
        (problem,) = response.json()["errors"]
        assert (response.status_code, problem["extensions"]["field"]) == (406, "accept")
        assert problem["message"].endswith("; event streams go by POST only.")

    @pytest.mark.parametrize("media", [JSON, RESPONSE])
    async def test_queries(self, reader: Speaker, media: str) -> None:
        """Parameters are form-encoded; variables are JSON in a string."""
        parameters = {
            "query": "query Type($name: String!) { __type(name: $name) { name } }",
            "variables": json.dumps({"name": "Patient"}),
            "operationName": "",
        }
        response = await reader.http.get(f"/graphql?{urlencode(parameters)}", headers={"accept": media})
        assert (response.status_code, response.json()) == (200, {"data": {"__type": {"name": "Patient"}}})

    async def test_mutations_are_405(self, reader: Speaker) -> None:
        """GET MUST NOT execute a mutation."""
        query = 'mutation { registerPatient(input: { preferredName: "x" }) { id } }'
        response = await reader.http.get("/graphql", params={"query": query})
        assert response.status_code == 405
        assert reader.services.calls == []

    @pytest.mark.parametrize(
        "query",
        [
            "variables=x&query={__typename}",
            "variables=[1]&query={__typename}",
            "operationName=A",
            "query=a&query=b",
            "query=%ff",
        ],
    )
    async def test_malformed_parameters_are_400(self, reader: Speaker, query: str) -> None:
        """Each is no GraphQL request at all."""
        response = await reader.http.get(f"/graphql?{query}")
        assert response.status_code == 400


@pytest.mark.parametrize("get", [False, True], ids=["post", "get"])
async def test_the_audits_of_graphql_http(get: bool) -> None:
    """All of its 61 audits pass with GET on; with GET off, all but the three that need it, which are MAY."""
    app = create_app(FakeServices(), Tokens(), Settings(open_introspection=True, graphql_get=get), ready)
    async with listening(app) as address:
        results = await node.run("audits.mjs", f"{address}/graphql")
    failed = {result["name"]: result["reason"] for result in results if result["status"] != "ok"}
    assert len(results) == 61
    if get:
        assert failed == {}
    assert [name for name in failed if not name.startswith("MAY")] == []
    assert len(failed) <= 3
