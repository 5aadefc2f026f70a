"""GraphQL over server-sent events by the text of its protocol (distinct connections), and by its own client.

The text is PROTOCOL.md of the npm package `graphql-sse`. The application is served as it really is, with services that
remember what they were asked.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest
import pytest_asyncio

from auth.actor import Actor
from auth.errors import Unauthenticated
from schema.app import create_app
from schema.settings import Settings
from tests import node
from tests.sockets import PATIENCE, Feed, Listening, listening, schema_with
from tests.speaking import FakeServices, Tokens, code, ready

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = '{ patient(id: "ann") { displayName } }'
ANN = {"data": {"patient": {"displayName": "Ann"}}}
ECHO = "subscription { viewer }"
EVENTS = "text/event-stream"
SETTINGS = Settings(stream_check=0.05, stream_silence=0.05)


class Passing(Tokens):
    """Takes tokens like `Tokens`, until they are `gone`."""

    gone = False

    def verify(self, authorization: str | None, purpose: str | None = None) -> Actor:
        """The actor."""
        if self.gone:
            raise Unauthenticated("expired")
        return super().verify(authorization, purpose)


class Site:
    """The application with subscriptions, and what stands behind it."""

    def __init__(self, settings: Settings) -> None:
        self.feed = Feed()
        self.services = FakeServices()
        self.tokens = Passing()
        self.app = create_app(self.services, self.tokens, settings, ready, schema=schema_with(self.feed))


class Asking:
    """A client of one site."""

    def __init__(self, site: Site, server: Listening, http: httpx.AsyncClient) -> None:
        self.site = site
        self.server = server
        self.http = http

    async def post(self, query: str, role: str | None = "front_desk", accept: str = EVENTS) -> httpx.Response:
        """A whole response."""
        return await self.http.post(self.server.http, json={"query": query}, headers=_headers(role, accept))

    @asynccontextmanager
    async def following(self, query: str, role: str = "front_desk") -> AsyncIterator["Following"]:
        """A response that is read as it comes."""
        headers = _headers(role, EVENTS)
        async with self.http.stream("POST", self.server.http, json={"query": query}, headers=headers) as response:
            yield Following(response)


class Following:
    """The events of a response, and the lines of it that were comments."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.comments = 0
        self._lines = response.aiter_lines()

    async def hear(self) -> tuple[str, Any] | None:
        """The next event; None at the end of the response."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(PATIENCE):
            async for line in self._lines:
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif fields:
                    return fields["event"], json.loads(fields["data"]) if fields["data"] else None
        return None


def _headers(role: str | None, accept: str) -> dict[str, str]:
    return {"accept": accept, **({"authorization": f"Bearer {role}"} if role else {})}


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    """The events of a whole response."""
    found = []
    for block in response.text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"]) if fields["data"] else None))
    return found


@asynccontextmanager
async def asking(settings: Settings = SETTINGS) -> AsyncIterator[Asking]:
    """A client of a site of its own."""
    site = Site(settings)
    async with listening(site.app) as server, httpx.AsyncClient(timeout=PATIENCE) as http:
        yield Asking(site, server, http)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client() -> AsyncIterator[Asking]:
    """A client of the site that all tests share which leave it as it is."""
    async with asking() as it:
        yield it


async def test_a_query_is_answered_in_events(client: Asking) -> None:
    """`next` with the result, then `complete`, which browsers see only if it has a `data` field."""
    response = await client.post(READ)
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert response.headers["cache-control"] == "no-store"
    assert (
        response.text == f"event: next\ndata: {json.dumps(ANN, separators=(',', ':'))}\n\nevent: complete\ndata: \n\n"
    )


async def test_a_mutation_is_answered_in_events(client: Asking) -> None:
    """And is done once."""
    before = len(client.site.services.calls)
    response = await client.post('mutation { registerPatient(input: { preferredName: "Ann" }) { id } }')
    assert events(response) == [("next", {"data": {"registerPatient": {"id": "ann"}}}), ("complete", None)]
    assert [call.name for call in client.site.services.calls[before:]] == ["register"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("query ($id: ID!) { patient(id: $id) { id } }", "VALIDATION_FAILED"),
        ('{ patient(id: "ann") { religion } }', "FORBIDDEN_FIELD"),
        ('subscription { patient(id: "ann") { religion } }', "FORBIDDEN_FIELD"),
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
    ],
)
async def test_what_is_wrong_with_the_document_is_told_in_events(client: Asking, query: str, expected: str) -> None:
    """Validation MUST report errors in `next`, because a status would end some clients without a word."""
    response = await client.post(query)
    assert response.status_code == 200
    told = [event for event in events(response) if event[0] == "next"]
    assert [code(answer) for _, answer in told] == [expected]
    assert "data" not in told[0][1]
    assert events(response)[-1] == ("complete", None)


async def test_field_errors_come_with_the_result(client: Asking) -> None:
    """As over HTTP."""
    [(_, answer), _] = events(await client.post('{ viewer { org } patient(id: "unknown") { id } }'))
    assert (code(answer), answer["data"]["patient"]) == ("NOT_FOUND", None)


@pytest.mark.parametrize(
    ("sent", "status", "expected"),
    [
        ({"headers": {"accept": EVENTS}, "json": {"query": READ}}, 401, "UNAUTHENTICATED"),
        ({"headers": _headers("nobody", EVENTS), "json": {"query": READ}}, 401, "UNAUTHENTICATED"),
        ({"headers": _headers("front_desk", EVENTS), "content": b"{"}, 400, "GRAPHQL_PARSE_FAILED"),
        ({"headers": _headers("front_desk", EVENTS), "json": {}}, 400, "VALIDATION_FAILED"),
        ({"headers": _headers("front_desk", EVENTS), "json": [{"query": READ}]}, 400, "VALIDATION_FAILED"),
        ({"headers": _headers("front_desk", EVENTS), "content": b" " * 102_401}, 413, "QUERY_TOO_COSTLY"),
        ({"headers": _headers("front_desk", EVENTS) | {"content-type": "text/plain"}}, 415, "VALIDATION_FAILED"),
        ({"headers": _headers("front_desk", f"{EVENTS};q=0")}, 406, "VALIDATION_FAILED"),
    ],
)
async def test_what_is_no_graphql_request_has_its_status(
    client: Asking, sent: dict[str, Any], status: int, expected: str
) -> None:
    """As the GraphQL-over-HTTP specification has it, in JSON."""
    headers = {"content-type": "application/json", **sent.pop("headers")}
    response = await client.http.post(client.server.http, headers=headers, **sent)
    assert (response.status_code, code(response.json())) == (status, expected)
    assert response.headers["content-type"].startswith(("application/graphql-response+json", "application/json"))


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
async def test_the_single_connection_mode_is_not_spoken(client: Asking, method: str) -> None:
    """Reservations and operations by other methods are refused."""
    response = await client.http.request(method, client.server.http, headers=_headers("front_desk", EVENTS))
    assert (response.status_code, response.headers["allow"]) == (405, "POST, OPTIONS")


@pytest.mark.parametrize("accept", ["*/*", f"{EVENTS};q=0.5, application/json", "application/*"])
async def test_events_come_only_where_they_are_preferred(client: Asking, accept: str) -> None:
    """Everybody else gets one JSON text."""
    response = await client.post(READ, accept=accept)
    assert response.json() == ANN


@pytest.mark.parametrize("accept", ["application/json", "application/graphql-response+json"])
async def test_a_subscription_needs_events(client: Asking, accept: str) -> None:
    """One JSON text could not hold it; the refusal says what to accept."""
    response = await client.post(ECHO, accept=accept)
    assert (code(response.json()), response.json()["errors"][0]["extensions"]["field"]) == (
        "VALIDATION_FAILED",
        "accept",
    )
    assert not client.site.feed.subscribers


async def test_a_subscription_has_an_event_for_each_result(client: Asking) -> None:
    """Until its source ends; comments in between show that it lives."""
    async with client.following(ECHO) as following:
        assert following.response.headers["x-accel-buffering"] == "no"
        await client.site.feed.listened()
        client.site.feed.tell("a")
        assert await following.hear() == ("next", {"data": {"viewer": "a"}})
        await asyncio.sleep(0.2)
        client.site.feed.tell("line 1\nline 2")
        assert await following.hear() == ("next", {"data": {"viewer": "line 1\nline 2"}})
        assert following.comments > 1
        client.site.feed.tell(None)
        assert await following.hear() == ("complete", None)
        assert await following.hear() is None


async def test_a_subscription_that_fails_says_so(client: Asking) -> None:
    """Without a word of the exception, and then it is complete: asking again would fail again."""
    async with client.following(ECHO) as following:
        await client.site.feed.listened()
        client.site.feed.tell(ValueError("Ann"))
        heard = await following.hear()
        assert heard is not None
        assert code(heard[1]) == "INTERNAL_SERVER_ERROR"
        assert "Ann" not in json.dumps(heard)
        assert await following.hear() == ("complete", None)


async def test_leaving_ends_the_source(client: Asking) -> None:
    """By closing the connection, which is how a client completes."""
    async with client.following(ECHO):
        await client.site.feed.listened()
    await client.site.feed.listened(0)


async def test_a_token_that_ends_ends_the_events() -> None:
    """Without `complete`, so that the client asks anew with a new token; nothing more is told."""
    async with asking() as client, client.following(ECHO) as following:
        await client.site.feed.listened()
        client.site.tokens.gone = True
        assert await following.hear() is None
        await client.site.feed.listened(0)


async def test_an_event_does_not_wait_for_the_next_look_at_the_token() -> None:
    """The token is looked at before each result is told."""
    async with asking(replace(SETTINGS, stream_check=60.0)) as client, client.following(ECHO) as following:
        await client.site.feed.listened()
        client.site.tokens.gone = True
        client.site.feed.tell("secret")
        assert await following.hear() is None


async def test_the_end_of_the_process_ends_the_events() -> None:
    """Without `complete`, so that the client goes to another replica; the server does not wait in vain."""
    async with asking() as client, client.following(ECHO) as following:
        await client.site.feed.listened()
        client.server.stop()
        assert await following.hear() is None


async def test_so_many_streams_for_one_caller() -> None:
    """A quarter of all; one more is 429, and somebody else still has a place."""
    async with asking(replace(SETTINGS, streams=4)) as client, client.following(ECHO):
        await client.site.feed.listened()
        response = await client.post(ECHO)
        assert (response.status_code, code(response.json())) == (429, "RATE_LIMITED")
        async with client.following(ECHO, "front_desk@u-2") as other:
            assert other.response.status_code == 200
            page = (await client.http.get(f"http://{client.server.host}/metrics")).text
            assert 'heed_streams_open{transport="sse"} 2.0' in page
        await client.site.feed.listened(1)


async def test_the_javascript_client_graphql_sse(client: Asking) -> None:
    """Its query, errors, a subscription to the end, one that is left, and what it makes of a bad token."""
    feed = client.site.feed
    playing = asyncio.create_task(feed.play("a", "b", None, "c"))
    try:
        seen = await node.run("events.mjs", client.server.http)
    finally:
        playing.cancel()
    assert seen == {
        "query": [ANN],
        "forbidden": ["FORBIDDEN_FIELD"],
        "followed": [{"data": {"viewer": "a"}}, {"data": {"viewer": "b"}}],
        "left": {"data": {"viewer": "c"}},
        "bad": 401,
    }
    await feed.listened(0)
