"""GraphQL over WebSocket by the text of its protocol, frame by frame, and by the clients that people use.

The text is PROTOCOL.md of the npm package `graphql-ws`. The application is served as it really is, with services that
remember what they were asked.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from gql import Client as GqlClient
from gql import gql
from gql.transport.websockets import WebsocketsTransport
from websockets.exceptions import InvalidStatus

from auth.actor import Actor
from schema.app import create_app
from schema.settings import Settings
from tests import node
from tests.sockets import SUBPROTOCOL, Feed, Line, Listening, listening, schema_with
from tests.speaking import FakeServices, Tokens, ready

pytestmark = pytest.mark.asyncio(loop_scope="module")

READ = '{ patient(id: "ann") { displayName } }'
ANN = {"data": {"patient": {"displayName": "Ann"}}}
FOLLOW = 'subscription { patient(id: "ann") { displayName } }'
ECHO = "subscription { viewer }"


class Failing(Tokens):
    """Takes tokens like `Tokens`, and fails for `Bearer broken` as nothing should."""

    def verify(self, authorization: str | None, purpose: str | None = None) -> Actor:
        """The actor."""
        if authorization == "Bearer broken":
            raise RuntimeError("Ann")
        return super().verify(authorization, purpose)


@pytest.fixture(scope="module")
def feed() -> Feed:
    """Where the subscriptions get their events from."""
    return Feed()


@pytest.fixture(scope="module")
def services() -> FakeServices:
    """What the application asks."""
    return FakeServices()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(feed: Feed, services: FakeServices) -> AsyncIterator[Listening]:
    """The application with subscriptions, which waits a moment only for `connection_init`."""
    settings = Settings(stream_init=0.3, stream_operations=3)
    async with listening(create_app(services, Failing(), settings, ready, schema=schema_with(feed))) as it:
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def line(server: Listening) -> AsyncIterator[Line]:
    """A socket that was let in."""
    async with server.line() as opened:
        yield await opened.start()


def code(message: dict[str, Any]) -> str:
    """The first code of an `error`."""
    return str(message["payload"][0]["extensions"]["code"])


# --- the connection --------------------------------------------------------------------------------------------------


async def test_a_connection_is_acknowledged(server: Listening) -> None:
    """Its payload names the connection, as the access log does."""
    async with server.line(additional_headers={"x-request-id": "line-7"}) as line:
        assert line.socket.subprotocol == SUBPROTOCOL
        await line.say(type="connection_init", payload={"authorization": "Bearer front_desk"})
        assert await line.hear() == {"type": "connection_ack", "payload": {"requestId": "line-7"}}


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {}}])
async def test_the_token_may_come_with_the_handshake(server: Listening, payload: dict[str, Any]) -> None:
    """Programs can set headers; then the payload may be missing, null or empty."""
    async with server.line(additional_headers={"authorization": "Bearer front_desk"}) as line:
        await line.say(type="connection_init", **payload)
        assert (await line.hear())["type"] == "connection_ack"
        await line.ask(READ)
        assert (await line.hear())["payload"] == ANN


async def test_the_purpose_is_stated_like_the_token(server: Listening) -> None:
    """In the payload, in whatever case, for clients that cannot set headers."""
    religion = '{ patient(id: "ann") { religion } }'
    said = {"Authorization": "Bearer clinician", "X-Purpose-Of-Use": "PATADMIN"}
    async with server.line() as line:
        await (await line.start(None, **said)).ask(religion)
        assert code(await line.hear()) == "PURPOSE_NOT_PERMITTED"


@pytest.mark.parametrize(
    ("headers", "payload", "reason"),
    [
        ({}, {}, "UNAUTHENTICATED"),
        ({}, {"authorization": "Bearer nobody"}, "UNAUTHENTICATED"),
        ({}, {"authorization": "Bearer front_desk", "Authorization": "Bearer front_desk"}, "UNAUTHENTICATED"),
        ({"authorization": "Bearer front_desk"}, {"authorization": "Bearer front_desk"}, "UNAUTHENTICATED"),
        ({}, {"authorization": "Bearer front_desk", "x-purpose-of-use": "FUN"}, "PURPOSE_NOT_PERMITTED"),
    ],
    ids=["none", "bad", "twice", "twice in two places", "purpose"],
)
async def test_4403_forbidden(
    server: Listening, services: FakeServices, headers: dict[str, str], payload: dict[str, str], reason: str
) -> None:
    """Whoever proves nothing is not let in, which is on record first."""
    before = len(services.refusals)
    async with server.line(additional_headers=headers) as line:
        await line.say(type="connection_init", payload=payload)
        assert await line.closed() == (4403, f"Forbidden: {reason}")
    assert [operation for _, operation, _ in services.refusals[before:]] == ["websocket"]


async def test_4401_without_an_acknowledgement(server: Listening, services: FakeServices) -> None:
    """Operations before it end the socket, and are not executed."""
    before = len(services.calls)
    async with server.line(additional_headers={"authorization": "Bearer front_desk"}) as line:
        await line.ask(READ)
        assert await line.closed() == (4401, "Unauthorized")
    assert services.calls[before:] == []


@pytest.mark.parametrize("subprotocol", [None, "graphql-ws", "mqtt"])
async def test_4406_other_subprotocols(server: Listening, subprotocol: str | None) -> None:
    """The legacy protocol is none of ours either."""
    async with server.line(subprotocol) as line:
        assert await line.closed() == (4406, "Subprotocol not acceptable")


async def test_4408_without_an_init(server: Listening) -> None:
    """Pings do not prolong the time to say who one is."""
    async with server.line() as line:
        await line.say(type="ping")
        assert await line.hear() == {"type": "pong"}
        assert await line.closed() == (4408, "Connection initialisation timeout")


async def test_4429_after_a_second_init(line: Line) -> None:
    """One is enough."""
    await line.say(type="connection_init")
    assert await line.closed() == (4429, "Too many initialisation requests")


async def test_4500_for_a_failure_of_ours(server: Listening) -> None:
    """Its reason has no word of the exception."""
    async with server.line() as line:
        await line.say(type="connection_init", payload={"authorization": "Bearer broken"})
        assert await line.closed() == (4500, "Internal server error: INTERNAL_SERVER_ERROR")


@pytest.mark.parametrize(
    ("origins", "status"),
    [
        (["https://elsewhere.test"], 403),
        (["null"], 403),
        (["http://[bad"], 403),
        (["http://{host}", "https://elsewhere.test"], 400),
        (["http://{host}"], 101),
        (["https://{host}"], 101),
    ],
)
async def test_pages_of_other_origins_are_refused(server: Listening, origins: list[str], status: int) -> None:
    """Before the handshake; behind a proxy that speaks TLS the scheme may differ from what is seen here."""
    headers = [("origin", origin.format(host=server.host)) for origin in origins]
    try:
        async with server.line(additional_headers=headers) as line:
            await line.start()
        assert status == 101
    except InvalidStatus as refused:
        assert refused.response.status_code == status


# --- messages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [{}, {"payload": None}, {"payload": {"n": 1}}])
async def test_a_ping_is_answered_with_its_payload(line: Line, payload: dict[str, Any]) -> None:
    """At any time; a pong that nobody asked for is no matter."""
    await line.say(type="pong", **payload)
    await line.say(type="ping", **payload)
    heard = await line.hear()
    assert heard == {"type": "pong", **{name: value for name, value in payload.items() if value is not None}}


DEEP = '{"a":' * 20 + "1" + "}" * 20


@pytest.mark.parametrize(
    "message",
    [
        "",
        "{",
        "[]",
        "1",
        '"subscribe"',
        "{}",
        '{"type": 1}',
        '{"type": "start", "id": "1", "payload": {"query": "{ __typename }"}}',
        '{"type": "connection_ack"}',
        '{"type": "ping", "payload": "x"}',
        '{"type": "pong", "payload": []}',
        '{"type": "subscribe", "payload": {"query": "{ __typename }"}}',
        '{"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}',
        '{"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}',
        '{"type": "subscribe", "id": "%s", "payload": {"query": "{ __typename }"}}' % ("x" * 129),
        '{"type": "subscribe", "id": "1"}',
        '{"type": "subscribe", "id": "1", "payload": "{ __typename }"}',
        '{"type": "subscribe", "id": "1", "payload": {}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": 1}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": []}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "operationName": 1}}',
        '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "extensions": 1}}',
        '{"type": "complete"}',
        '{"type": "ping", "type": "ping"}',
        '{"type": "ping", "payload": {"a": NaN}}',
        '{"type": "ping", "payload": {"a": "\\ud800"}}',
        '{"type": "ping", "payload": {"a": "\\u0000"}}',
        f'{{"type": "ping", "payload": {DEEP}}}',
        b'{"type": "ping"}',
    ],
)
async def test_4400_for_what_is_no_message(line: Line, message: str | bytes) -> None:
    """Whatever the protocol does not know ends the socket at once, also what JSON readers take in two ways."""
    await line.socket.send(message)
    status, reason = await line.closed()
    assert status == 4400
    assert reason
    assert "body" not in reason  # there is none here


# --- operations ------------------------------------------------------------------------------------------------------


async def test_a_query_has_one_result(line: Line) -> None:
    """`next`, then `complete`; then its id is free again."""
    for _ in range(2):
        await line.ask(READ)
        assert await line.hear() == {"id": "1", "type": "next", "payload": ANN}
        assert await line.hear() == {"id": "1", "type": "complete"}


async def test_a_mutation_has_one_result(line: Line, services: FakeServices) -> None:
    """And is done once."""
    before = len(services.calls)
    await line.ask('mutation { registerPatient(input: { preferredName: "Ann" }) { id } }')
    assert (await line.hear())["payload"] == {"data": {"registerPatient": {"id": "ann"}}}
    assert (await line.hear())["type"] == "complete"
    assert [call.name for call in services.calls[before:]] == ["register"]


async def test_all_parameters_are_understood(line: Line) -> None:
    """Operation name, variables and extensions, as over HTTP; null is as good as nothing."""
    query = "query Asked($id: ID!) { patient(id: $id) { displayName } } query Other { __typename }"
    await line.ask(query, operationName="Asked", variables={"id": "ann"}, extensions={"a": 1})
    assert (await line.hear())["payload"] == ANN
    assert (await line.hear())["type"] == "complete"
    await line.ask(READ, operationName=None, variables=None, extensions=None)
    assert (await line.hear())["payload"] == ANN


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{", "GRAPHQL_PARSE_FAILED"),
        ("{ nope }", "GRAPHQL_VALIDATION_FAILED"),
        ('{ patient(id: "ann") { religion } }', "FORBIDDEN_FIELD"),
        ("query ($id: ID!) { patient(id: $id) { id } }", "VALIDATION_FAILED"),
        ("subscription { nope }", "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"),
        ('subscription { patient(id: "ann") { religion } }', "FORBIDDEN_FIELD"),
    ],
)
async def test_request_errors_end_the_operation(line: Line, query: str, expected: str) -> None:
    """`error` and no `complete`; the id is free, and the socket serves on."""
    await line.ask(query)
    heard = await line.hear()
    assert (heard["id"], heard["type"], code(heard)) == ("1", "error", expected)
    await line.ask("{ __typename }")
    assert (await line.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_field_errors_come_with_the_result(line: Line) -> None:
    """In the payload of `next`."""
    await line.ask('{ viewer { org } patient(id: "unknown") { id } }')
    payload = (await line.hear())["payload"]
    assert payload["data"] == {"viewer": {"org": "north-clinic"}, "patient": None}
    assert payload["errors"][0]["extensions"]["code"] == "NOT_FOUND"
    assert (await line.hear())["type"] == "complete"


async def test_a_subscription_has_a_result_for_each_event(line: Line, feed: Feed) -> None:
    """Until its source ends."""
    await line.ask(ECHO)
    await feed.listened()
    for event in ("a", "b", None):
        feed.tell(event)
    assert [(await line.hear()).get("payload") for _ in range(3)] == [
        {"data": {"viewer": "a"}},
        {"data": {"viewer": "b"}},
        None,
    ]


async def test_each_event_is_asked_anew(line: Line, feed: Feed, services: FakeServices) -> None:
    """What an answer tells of a patient is read by the service when it is told, with what was asked."""
    before = len(services.calls)
    await line.ask(FOLLOW)
    await feed.listened()
    feed.tell(1)
    feed.tell(2)
    assert [(await line.hear())["payload"] for _ in range(2)] == [ANN, ANN]
    feed.tell(None)
    assert (await line.hear())["type"] == "complete"
    assert [(call.name, set(call.asked)) for call in services.calls[before:]] == [("read", {"displayName"})] * 2


async def test_a_subscription_that_fails_ends_with_an_error(line: Line, feed: Feed) -> None:
    """Without a word of the exception."""
    await line.ask(ECHO)
    await feed.listened()
    feed.tell(ValueError("Ann"))
    heard = await line.hear()
    assert (heard["type"], code(heard)) == ("error", "INTERNAL_SERVER_ERROR")
    assert "Ann" not in json.dumps(heard)
    await feed.listened(0)


async def test_complete_ends_a_subscription(line: Line, feed: Feed) -> None:
    """Nothing more is heard of it, its source ends, and its id is free."""
    ended = feed.ended
    await line.ask(ECHO)
    await feed.listened()
    await line.say(id="1", type="complete")
    await feed.listened(0)
    assert feed.ended == ended + 1
    await line.ask("{ __typename }")
    assert (await line.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_complete_ends_a_query(line: Line, services: FakeServices) -> None:
    """Its answer is not sent, however far it was; unknown ids are no matter, they may have ended meanwhile."""
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    services.before = wait
    await line.ask(READ)
    await begun.wait()
    services.before = None
    await line.say(id="1", type="complete")
    await line.say(id="2", type="complete")
    await line.ask("{ __typename }")
    assert (await line.hear())["payload"] == {"data": {"__typename": "Query"}}


async def test_leaving_ends_subscriptions(server: Listening, feed: Feed) -> None:
    """Whether with or without a close frame."""
    for leave in ("close", "abort"):
        async with server.line() as line:
            await line.start()
            await line.ask(ECHO, "1")
            await line.ask(ECHO, "2")
            await feed.listened(2)
            if leave == "abort":
                line.socket.transport.abort()
        await feed.listened(0)


async def test_operations_run_side_by_side(line: Line, feed: Feed, services: FakeServices) -> None:
    """A query that waits keeps nobody waiting; messages name their operation."""
    go = asyncio.Event()

    async def wait() -> None:
        await go.wait()

    await line.ask(ECHO, "events")
    await feed.listened()
    services.before = wait
    await line.ask(READ, "slow")
    await line.ask("{ __typename }", "fast")
    assert (await line.hear())["id"] == "fast"
    assert await line.hear() == {"id": "fast", "type": "complete"}
    feed.tell("a")
    assert (await line.hear())["id"] == "events"
    services.before = None
    go.set()
    assert (await line.hear())["id"] == "slow"


@pytest.mark.parametrize("name", ["1", "ü" * 100])
async def test_4409_for_an_id_in_use(line: Line, feed: Feed, name: str) -> None:
    """By a query as by a subscription; the reason fits into a close frame."""
    await line.ask(ECHO, name)
    await feed.listened()
    await line.ask(READ, name)
    status, reason = await line.closed()
    assert status == 4409
    assert reason == (f"Subscriber for {name} already exists" if name == "1" else "Subscriber already exists")
    await feed.listened(0)


async def test_so_many_operations_and_no_more(line: Line, feed: Feed) -> None:
    """One more is refused, and the others go on."""
    for name in ("1", "2", "3"):
        await line.ask(ECHO, name)
    await feed.listened(3)
    await line.ask(READ, "4")
    heard = await line.hear()
    assert (heard["id"], heard["type"], code(heard)) == ("4", "error", "RATE_LIMITED")
    await line.say(id="1", type="complete")
    await feed.listened(2)
    await line.ask(READ, "4")
    assert (await line.hear())["payload"] == ANN


# --- clients that people use -----------------------------------------------------------------------------------------


async def test_the_python_client_gql(server: Listening, feed: Feed) -> None:
    """Queries, errors and subscriptions by its own transport."""
    transport = WebsocketsTransport(server.ws, init_payload={"authorization": "Bearer front_desk"})
    async with GqlClient(transport=transport) as session:
        assert await session.execute(gql(READ)) == ANN["data"]
        with pytest.raises(Exception, match="FORBIDDEN_FIELD"):
            await session.execute(gql('{ patient(id: "ann") { religion } }'))

        async def follow() -> list[Any]:
            return [result async for result in session.subscribe(gql(ECHO))]

        following = asyncio.create_task(follow())
        await feed.listened()
        for event in ("a", "b", None):
            feed.tell(event)
        assert await following == [{"viewer": "a"}, {"viewer": "b"}]


async def test_the_javascript_client_graphql_ws(server: Listening, feed: Feed) -> None:
    """Its query, errors, a subscription to the end, one that is left, and what it makes of a bad token."""
    playing = asyncio.create_task(feed.play("a", "b", None, "c"))
    try:
        seen = await node.run("websockets.mjs", server.ws)
    finally:
        playing.cancel()
    assert seen == {
        "query": [ANN],
        "forbidden": ["FORBIDDEN_FIELD"],
        "followed": [{"data": {"viewer": "a"}}, {"data": {"viewer": "b"}}],
        "left": {"data": {"viewer": "c"}},
        "bad": [4403, "Forbidden: UNAUTHENTICATED"],
    }
    await feed.listened(0)
