"""Floods over sockets: what anybody can send without a token, or much of with one, costs little and starves nobody."""

import asyncio
import json
import logging
import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import httpx
import pytest

from commands.protocol import BoundedHttp
from commands.sockets import BoundedWebSocket
from schema.app import create_app
from schema.settings import Settings
from tests.sockets import PATIENCE, SUBPROTOCOL, Feed, Listening, listening, schema_with
from tests.speaking import FakeServices, Tokens, ready

READ = '{ patient(id: "ann") { displayName } }'
ECHO = "subscription { viewer }"
TEXT, BINARY, CONTINUED, PING = 0x1, 0x2, 0x0, 0x9
HANDSHAKE = (
    "GET /graphql HTTP/1.1\r\nhost: {host}\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    "sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    f"sec-websocket-protocol: {SUBPROTOCOL}\r\n{{more}}\r\n"
)


def frame(kind: int, octets: bytes = b"", *, last: bool = True) -> bytes:
    """A masked frame, as clients send it (RFC 6455, 5.2)."""
    size = len(octets)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack("!H", size)
    return bytes([(0x80 if last else 0) | kind]) + length + bytes(4) + octets


class Site:
    """The application with subscriptions, as it is really served, and what stands behind it."""

    def __init__(self, settings: Settings) -> None:
        self.feed = Feed()
        self.services = FakeServices()
        self.app = create_app(self.services, Tokens(), settings, ready, schema=schema_with(self.feed))
        self.server: Listening
        self._opened: list[asyncio.StreamWriter] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection over which nothing was said."""
        reader, writer = await asyncio.open_connection(*self.server.host.split(":"))
        self._opened.append(writer)
        return reader, writer

    async def close(self) -> None:
        """Ends all connections, whatever is still to be sent over them."""
        for writer in self._opened:
            writer.transport.abort()
            with suppress(OSError):
                await writer.wait_closed()

    async def raw(self, more: str = "") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that was upgraded; what follows is frames."""
        reader, writer = await self.connect()
        writer.write(HANDSHAKE.format(host=self.server.host, more=more).encode())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        return reader, writer

    async def answers(self, token: str = "front_desk@u-9") -> bool:
        """Whether somebody else is answered."""
        headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        async with httpx.AsyncClient(timeout=PATIENCE) as http:
            response = await http.post(self.server.http, json={"query": READ}, headers=headers)
        return response.text == '{"data":{"patient":{"displayName":"Ann"}}}'

    def hold(self) -> asyncio.Event:
        """Lets the services wait until the event that this gives is set; then they do not wait any more."""
        go = asyncio.Event()

        async def wait() -> None:
            await go.wait()

        self.services.before = wait
        return go


@asynccontextmanager
async def site(settings: Settings | None = None, **bounds: float) -> AsyncIterator[Site]:
    """A site of its own; `bounds` replace those of the protocol."""
    made = Site(settings or Settings())

    def bounded(config: Any) -> None:
        config.ws = type("Bounded", (BoundedWebSocket,), bounds)
        config.http = type("Bounded", (BoundedHttp,), {"unread": 0.5})

    async with listening(made.app, bounded) as made.server:
        try:
            yield made
        finally:
            await made.close()


async def everything(reader: asyncio.StreamReader) -> bytes:
    """All octets up to the end of the connection, however it ends."""
    octets = b""
    with suppress(OSError):
        async with asyncio.timeout(PATIENCE):
            while piece := await reader.read(65_536):
                octets += piece
    return octets


async def test_an_event_for_many_leaves_places_to_others() -> None:
    """Answers are made a few at a time, whoever listens; all come, and other requests are answered meanwhile."""
    async with site(Settings(in_flight=8)) as it, it.server.line() as line:
        await line.start()
        for number in range(6):
            await line.ask('subscription { patient(id: "ann") { displayName } }', id=str(number))
        await it.feed.listened(6)
        go, waiting, most = asyncio.Event(), 0, 0

        async def wait() -> None:
            nonlocal waiting, most
            waiting += 1
            most = max(most, waiting)
            await go.wait()
            waiting -= 1

        it.services.before = wait
        it.feed.tell({})
        while waiting < 2:  # noqa: ASYNC110 - until as many are at work as may be
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        it.services.before = None
        assert await it.answers()
        it.services.before = wait
        go.set()
        heard = [await line.hear() for _ in range(6)]
    assert {each["id"] for each in heard} == {str(number) for number in range(6)}
    assert all(each["payload"] == {"data": {"patient": {"displayName": "Ann"}}} for each in heard)
    assert most == 2


# --- before anybody says who they are --------------------------------------------------------------------------------


async def test_strangers_have_few_sockets_and_not_for_long() -> None:
    """Where the doorstep is full, who stood there longest must go; whoever has a token comes through."""
    async with site(Settings(in_flight=4, stream_init=300), patience=0.2) as it:
        strangers = [await it.raw() for _ in range(8)]
        async with it.server.line() as line:
            await (await line.start()).ask(READ)
            assert (await line.hear())["type"] == "next"
        assert struct.pack("!H", 4408) in await everything(strangers[0][0])


@pytest.mark.parametrize("octets", [PING, CONTINUED], ids=["pings", "fragments"])
async def test_what_nobody_reads_is_not_kept(octets: int) -> None:
    """Pings of somebody who reads nothing are not answered without end, nor are endless fragments put together."""
    async with site(Settings(stream_init=PATIENCE), patience=0.2) as it:
        reader, writer = await it.raw()
        if octets == CONTINUED:
            writer.write(frame(TEXT, b"{", last=False) + frame(CONTINUED, last=False) * 1_000)
            assert struct.pack("!H", 1009) in await everything(reader)
        else:
            stuck = await _pour(writer, frame(PING, os.urandom(125)) * 4_096)
            assert stuck, "the server goes on reading"
        assert await it.answers()


async def _pour(writer: asyncio.StreamWriter, octets: bytes, times: int = 64) -> bool:
    """Whether the other side stops reading before it was sent so much so often."""
    for _ in range(times):
        writer.write(octets)
        try:
            async with asyncio.timeout(0.5):
                await writer.drain()
        except TimeoutError:
            return True
    return False


async def test_octets_behind_a_handshake_are_no_second_one() -> None:
    """A client says nothing before it was answered; what comes too early opens nothing and breaks nothing."""
    async with site() as it:
        host = it.server.host
        reader, writer = await it.connect()
        head = HANDSHAKE.format(host=host, more=f"x-more: {'a' * 6_000}\r\n").encode()
        writer.write(head + head)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101")
        writer.write(frame(0x8, struct.pack("!H", 1000)))
        assert b"HTTP/1.1" not in await everything(reader)
        assert await it.answers()


async def test_an_endless_handshake_is_not_read() -> None:
    """Its head is bounded like every other."""
    async with site() as it:
        reader, writer = await it.connect()
        writer.write(HANDSHAKE.format(host=it.server.host, more=f"x-more: {'a' * 20_000}\r\n").encode())
        assert (await everything(reader)).startswith(b"HTTP/1.1 431")
        assert await it.answers()


async def test_compression_is_not_spoken() -> None:
    """Lengths of compressed answers would tell of what is in them, and small messages could become large ones."""
    offer = {"sec-websocket-extensions": "permessage-deflate"}
    async with site() as it, it.server.line(additional_headers=offer) as line:
        assert line.socket.response is not None
        assert "sec-websocket-extensions" not in line.socket.response.headers


# --- with a token ----------------------------------------------------------------------------------------------------


async def test_so_many_sockets_for_one_caller() -> None:
    """A quarter of all; one more is told to come later, and somebody else is let in."""
    async with site(Settings(streams=4)) as it, it.server.line() as line:
        await line.start()
        async with it.server.line() as second:
            await second.say(type="connection_init", payload={"authorization": "Bearer front_desk"})
            assert await second.closed() == (1013, "RATE_LIMITED")
        async with it.server.line() as other:
            await other.start("front_desk@u-2")


@pytest.mark.parametrize("first", ["socket", "request"])
async def test_places_are_shared_by_all_transports(first: str) -> None:
    """One caller has a quarter of all places, however they are taken."""
    async with site(Settings(in_flight=4)) as it, it.server.line() as line, httpx.AsyncClient() as http:
        await line.start()
        go = it.hold()
        asked = http.post(it.server.http, json={"query": READ}, headers={"authorization": "Bearer front_desk"})
        if first == "socket":
            await line.ask(READ)
            await _until(lambda: it.services.calls)
            assert (await asked).status_code == 429
        else:
            asking = asyncio.create_task(asked)
            await _until(lambda: it.services.calls)
            await line.ask(READ)
            assert (await line.hear())["payload"][0]["extensions"]["code"] == "RATE_LIMITED"
            go.set()
            assert (await asking).status_code == 200
        go.set()


async def _until(happened: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not happened():  # noqa: ASYNC110 - the fakes tell nobody
            await asyncio.sleep(0.01)


async def test_an_operation_does_not_take_forever() -> None:
    """Its deadline is that of a request; the socket serves on."""
    async with site(Settings(deadline=0.2)) as it, it.server.line() as line:
        await line.start()
        it.hold()
        await line.ask(READ)
        assert (await line.hear())["payload"][0]["extensions"]["code"] == "OVERLOADED"
        it.services.before = None
        await line.ask(READ)
        assert (await line.hear())["type"] == "next"


async def test_who_does_not_read_loses_the_socket() -> None:
    """Answers that nobody takes are not kept: the socket, its operations and its place are gone after the deadline."""
    async with site(Settings(deadline=0.3, streams=4), patience=0.2) as it:
        reader, writer = await it.raw("authorization: Bearer front_desk\r\n")
        writer.write(frame(TEXT, b'{"type": "connection_init"}'))
        writer.write(frame(TEXT, b'{"type": "subscribe", "id": "1", "payload": {"query": "%s"}}' % ECHO.encode()))
        await it.feed.listened()
        for _ in range(100):
            it.feed.tell("x" * 100_000)
        await it.feed.listened(0)
        await _until(lambda: not it.server.server.server_state.connections)
        assert len(await everything(reader)) < 10_000_000
        async with it.server.line() as again:
            await again.start()


async def test_who_does_not_read_events_loses_the_connection() -> None:
    """As over a socket; also the connection is gone, and not only the stream on it."""
    async with site(Settings(deadline=0.3)) as it:
        _, writer = await it.connect()
        body = b'{"query": "%s"}' % ECHO.encode()
        head = (
            f"POST /graphql HTTP/1.1\r\nhost: {it.server.host}\r\nauthorization: Bearer front_desk\r\n"
            f"accept: text/event-stream\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        await it.feed.listened()
        for _ in range(100):
            it.feed.tell("x" * 100_000)
        await it.feed.listened(0)
        await _until(lambda: not it.server.server.server_state.connections)


async def test_a_flood_of_messages_keeps_nobody_waiting() -> None:
    """Whoever sends without a pause takes turns with everybody else, however much of it is here already."""
    taken = 0
    start = [{"type": "connection_init", "payload": {"authorization": "Bearer front_desk"}}]

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        if taken == 1:
            return {"type": "websocket.connect"}
        if taken > 10_000:
            return {"type": "websocket.disconnect"}
        return {"type": "websocket.receive", "text": json.dumps(start.pop() if start else {"type": "ping"})}

    async def send(_: Any) -> None:
        """Takes everything at once."""

    scope = {"type": "websocket", "path": "/graphql", "headers": [], "subprotocols": [SUBPROTOCOL]}
    flooding = asyncio.create_task(Site(Settings()).app(scope, receive, send))
    for _ in range(100):
        await asyncio.sleep(0)
    assert 1 < taken < 1_000
    await flooding


# --- what the process says, and how it ends --------------------------------------------------------------------------


async def test_nothing_of_a_frame_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither tokens nor values, addresses nor query strings, not even at debug."""
    caplog.set_level(logging.DEBUG)
    async with site() as it:
        it.server.ws += "?secret=canary-1"
        async with it.server.line() as line:
            await line.start("front_desk@canary-2")
            await line.ask('{ patient(id: "ann") { displayName } }', "canary-3")
            assert (await line.hear())["type"] == "next"
            await line.socket.send(b"canary-4")
            await line.closed()
    ours = [record for record in caplog.records if not record.name.startswith("websockets.client")]
    assert "canary" not in " ".join(record.getMessage() for record in ours)
    assert ours


async def test_the_end_of_the_process_waits_for_answers() -> None:
    """What is being answered is still answered; subscriptions just end, and the client is told to come again."""
    async with site() as it, it.server.line() as line:
        await line.start()
        await line.ask(ECHO, "events")
        await it.feed.listened()
        go = it.hold()
        await line.ask(READ, "slow")
        await _until(lambda: it.services.calls)
        it.server.stop()
        await it.feed.listened(0)
        await line.ask(READ, "late")
        heard = await line.hear()
        assert (heard["id"], heard["payload"][0]["extensions"]["code"]) == ("late", "OVERLOADED")
        go.set()
        assert [(await line.hear())["type"] for _ in range(2)] == ["next", "complete"]
        assert await line.closed() == (1012, "Service restart")


async def test_numbers_of_sockets() -> None:
    """How many are open, and what they were answered; never by whom."""
    async with site(replace(Settings(), stream_operations=1)) as it, it.server.line() as line:
        await line.start()
        await line.ask(READ)
        assert [(await line.hear())["type"] for _ in range(2)] == ["next", "complete"]
        await line.ask('{ patient(id: "ann") { religion } }')
        assert (await line.hear())["type"] == "error"
        async with httpx.AsyncClient() as http:
            page = (await http.get(f"http://{it.server.host}/metrics")).text
    assert 'heed_streams_open{transport="websocket"} 1.0' in page
    assert 'heed_stream_answers_total{code="none",transport="websocket"} 1.0' in page
    assert 'heed_stream_answers_total{code="FORBIDDEN_FIELD",transport="websocket"} 1.0' in page
