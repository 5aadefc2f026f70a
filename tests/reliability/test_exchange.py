"""Answers in one piece, on a simulated connection: what is written, when, and what never is."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from commands.protocol import BoundedHttp

Send = Callable[[dict[str, Any]], Any]

ASKED = b"POST /graphql HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n{}"


class Line(asyncio.Transport):
    """A connection that remembers each write, and can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.closed = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_protocol(self) -> asyncio.BaseProtocol:
        assert self.protocol is not None
        return self.protocol

    def pause_reading(self) -> None:
        """Nobody sends more than was asked for here."""

    def resume_reading(self) -> None:
        """See `pause_reading`."""


def started(answer: Callable[[Send], Any]) -> tuple[BoundedHttp, Line]:
    """A connection to an application that answers every request by `answer`."""

    async def application(_scope: Any, receive: Any, send: Send) -> None:
        await receive()
        await answer(send)

    config = uvicorn.Config(application, http=BoundedHttp, ws="none", lifespan="off", log_config=None, access_log=False)
    config.load()
    state = ServerState()
    line = Line()
    protocol = BoundedHttp(config, state, {}, asyncio.get_running_loop())
    line.protocol = protocol
    protocol.connection_made(line)
    return protocol, line


async def settled() -> None:
    """Whatever can happen without anybody's help has happened."""
    for _ in range(10):
        await asyncio.sleep(0)


def head(*headers: tuple[bytes, bytes], status: int = 200) -> dict[str, Any]:
    """The beginning of an answer."""
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


def body(octets: bytes, *, more: bool = False) -> dict[str, Any]:
    """A part of its body."""
    return {"type": "http.response.body", "body": octets, "more_body": more}


def saying(*messages: dict[str, Any]) -> Callable[[Send], Any]:
    """Answers with these messages."""

    async def answer(send: Send) -> None:
        for message in messages:
            await send(message)

    return answer


async def test_an_answer_of_known_length_is_one_write() -> None:
    """Status, headers and body leave together, and the next request on the connection is answered like the first."""
    protocol, line = started(saying(head((b"content-length", b"4"), (b"x-request-id", b"r-1")), body(b"{ok}")))
    protocol.data_received(ASKED)
    await settled()
    protocol.data_received(ASKED)
    await settled()
    whole = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nx-request-id: r-1\r\n\r\n{ok}"
    assert line.writes == [whole, whole]
    assert not line.closed


async def test_a_stream_begins_at_once() -> None:
    """An answer whose length nobody knows is written piece by piece, the head before the first of them."""
    gate = asyncio.Event()

    async def answer(send: Send) -> None:
        await send(head((b"content-type", b"text/event-stream")))
        await gate.wait()
        await send(body(b"data", more=True))
        await send(body(b""))

    protocol, line = started(answer)
    protocol.data_received(ASKED)
    await settled()
    assert b"".join(line.writes).endswith(b"transfer-encoding: chunked\r\n\r\n")
    gate.set()
    await settled()
    assert b"".join(line.writes).endswith(b"\r\n\r\n4\r\ndata\r\n0\r\n\r\n")


async def test_a_connection_that_is_to_end_says_so() -> None:
    """After an answer to a client that wants no more the connection is closed, and the answer tells it."""
    protocol, line = started(saying(head((b"content-length", b"2")), body(b"ok")))
    protocol.data_received(ASKED.replace(b"here", b"here\r\nconnection: close"))
    await settled()
    assert b"".join(line.writes) == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
    assert line.closed


async def test_head_has_no_body() -> None:
    """The answer to HEAD tells the length of what GET would have given, and nothing else."""
    protocol, line = started(saying(head((b"content-length", b"4")), body(b"")))
    protocol.data_received(b"HEAD /healthz HTTP/1.1\r\nhost: here\r\n\r\n")
    await settled()
    assert b"".join(line.writes) == b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n"


async def test_nothing_is_written_to_a_full_line() -> None:
    """Who does not read gets nothing more: the answer waits, and nobody's memory fills with it."""
    protocol, line = started(saying(head((b"content-length", b"2")), body(b"ok")))
    protocol.pause_writing()
    protocol.data_received(ASKED)
    await settled()
    assert line.writes == []
    protocol.resume_writing()
    await settled()
    assert len(line.writes) == 1


async def test_nothing_is_written_to_who_is_gone() -> None:
    """A client that hung up while its answer waited for room is not written to."""
    protocol, line = started(saying(head((b"content-length", b"2")), body(b"ok")))
    protocol.pause_writing()
    protocol.data_received(ASKED)
    await settled()
    protocol.connection_lost(None)
    await settled()
    assert line.writes == []


@pytest.mark.parametrize("value", [b"a\r\nset-cookie: x", b"a\nb", b"a\rb", b"a\0b", b"a\x7fb"])
async def test_a_header_cannot_bring_another(value: bytes) -> None:
    """A value with the end of a line in it, or another control, ends the request, and nothing of it is written."""
    protocol, line = started(saying(head((b"content-length", b"2"), (b"x-odd", value)), body(b"ok")))
    protocol.data_received(ASKED)
    await settled()
    said = b"".join(line.writes)
    assert b"x-odd" not in said
    assert b"set-cookie" not in said
    assert line.closed


@pytest.mark.parametrize("octets", [b"", b"o", b"oks"])
async def test_a_body_of_another_length_is_not_written(octets: bytes) -> None:
    """An answer that is not as long as it says would be taken for the next one by whoever reads it."""
    protocol, line = started(saying(head((b"content-length", b"2")), body(octets)))
    protocol.data_received(ASKED)
    await settled()
    assert b"".join(line.writes).startswith(b"HTTP/1.1 500 ")
    assert line.closed


async def test_an_application_that_gives_up_is_a_500() -> None:
    """As long as nothing was written, a failure behind the head is still an answer of its own."""

    async def answer(send: Send) -> None:
        await send(head((b"content-length", b"2")))
        raise OSError

    protocol, line = started(answer)
    protocol.data_received(ASKED)
    await settled()
    assert b"".join(line.writes).startswith(b"HTTP/1.1 500 ")
    assert line.closed


async def test_an_address_is_read_as_uvicorn_reads_it() -> None:
    """Path, query and whole addresses, with and without octets in percent."""
    seen: list[tuple[str, bytes, bytes]] = []

    async def application(scope: Any, _receive: Any, send: Send) -> None:
        seen.append((scope["path"], scope["raw_path"], scope["query_string"]))
        await saying(head((b"content-length", b"2")), body(b"ok"))(send)

    protocol, _ = started(saying())
    protocol.app = application
    for target in (b"/graphql", b"/a%20b?x=%20", b"/a?", b"http://here/graphql?q=1"):
        protocol.data_received(b"GET %b HTTP/1.1\r\nhost: here\r\n\r\n" % target)
        await settled()
    assert seen == [
        ("/graphql", b"/graphql", b""),
        ("/a b", b"/a%20b", b"x=%20"),
        ("/a", b"/a", b""),
        ("/graphql", b"/graphql", b"q=1"),
    ]
