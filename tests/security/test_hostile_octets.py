"""Octets on the wire with mistakes in them, requests and frames alike: no fault of ours, and the server goes on."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
import uvicorn

from commands.protocol import BoundedHttp
from schema.settings import Settings
from tests.sockets import PATIENCE, Listening, listening
from tests.speaking import speaking

pytestmark = pytest.mark.asyncio(loop_scope="module")

BODY = json.dumps({"query": 'query Q { viewer { org } patient(id: "ann") { displayName } }', "variables": {}}).encode()
REQUEST = (
    b"POST /graphql HTTP/1.1\r\nHost: heed.test\r\nAuthorization: Bearer front_desk\r\nAccept: application/json\r\n"
    b"Content-Type: application/json; charset=utf-8\r\nX-Purpose-Of-Use: PATADMIN\r\nX-Request-Id: a-1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nHost: heed.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)


def frame(text: bytes) -> bytes:
    """A masked text frame of less than 64 KiB (RFC 6455, section 5.2); the mask is zero."""
    length = bytes([0x80 | len(text)]) if len(text) < 126 else bytes([0x80 | 126]) + len(text).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + text


INIT = frame(b'{"type":"connection_init","payload":{"authorization":"Bearer front_desk"}}')
ASK = frame(b'{"id":"1","type":"subscribe","payload":%b}' % BODY)
PIECES = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"\r\n\r\n",
    b":",
    b" ",
    b"\t",
    b"%00",
    b"0",
    b"-1",
    b"chunked",
    b"\xc3\x28",
    b"\\ud800",
)


def spoiled(octets: bytes, dice: random.Random) -> bytes:
    """The same with one to eight mistakes."""
    made = bytearray(octets)
    for _ in range(dice.choice((1, 1, 2, 8))):
        place = dice.randrange(len(made))
        match dice.randrange(4):
            case 0:
                made[place] = dice.randrange(256)
            case 1:
                del made[place : place + dice.randrange(1, 9)]
            case 2:
                made[place:place] = made[max(0, place - 20) : place]
            case _:
                made[place:place] = dice.choice(PIECES)
    return bytes(made)


def impatient(config: uvicorn.Config) -> None:
    """Waits a moment only for what does not come."""
    config.http = type("Impatient", (BoundedHttp,), {"patience": 0.3})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Listening]:
    """The application as it is really served."""
    async with speaking(Settings(body_deadline=0.3)) as speaker, listening(speaker.app, impatient) as it:
        yield it


async def said(server: Listening, octets: bytes, silence: float, before: bytes = b"") -> bytes:
    """All that the server says to these octets, until it hangs up or has said nothing for so many seconds.

    What comes `before` is sent first, and its answer waited for.
    """
    host, _, port = server.host.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    answer = b""
    with suppress(OSError, TimeoutError):
        if before:
            writer.write(before)
            answer = await reader.readuntil(b"\r\n\r\n")
        writer.write(octets)
        while piece := await asyncio.wait_for(reader.read(65_536), silence):
            answer += piece
    writer.close()
    return answer


async def conversations(server: Listening, octets: list[bytes], silence: float, before: bytes = b"") -> list[bytes]:
    """What the server says in many of them, fifty at a time."""
    return [
        answer
        for some in (octets[start : start + 50] for start in range(0, len(octets), 50))
        for answer in await asyncio.gather(*(said(server, each, silence, before) for each in some))
    ]


async def test_spoiled_requests(server: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """Three hundred: an answer, a refusal or a closed connection, never a 500, and no failure in the log."""
    dice = random.Random(11)
    with caplog.at_level(logging.ERROR):
        answers = await conversations(server, [spoiled(REQUEST, dice) for _ in range(300)], 1)
        answers.append(await said(server, REQUEST, PATIENCE))
    assert caplog.records == []
    statuses = [answer[9:12].decode() for answer in answers]
    assert {status[:1] for status in statuses if status != "505"} <= {"", "2", "4"}  # a version that nobody speaks
    assert {"400", "401"} <= set(statuses)
    assert statuses[-1] == "200"


async def test_spoiled_frames(server: Listening, caplog: pytest.LogCaptureFixture) -> None:
    """Two hundred conversations over WebSocket with mistakes in them: answered or closed, and no failure in the log."""
    dice = random.Random(12)
    with caplog.at_level(logging.ERROR):
        answers = await conversations(server, [spoiled(INIT + ASK, dice) for _ in range(200)], 0.5, UPGRADE)
        async with server.line() as line:
            await (await line.start()).ask("{ viewer { org } }")
            assert (await line.hear())["payload"] == {"data": {"viewer": {"org": "north-clinic"}}}
    assert caplog.records == []
    assert all(answer.startswith(b"HTTP/1.1 101 ") and b"INTERNAL" not in answer for answer in answers)
    assert any(b'"displayName":"Ann"' in answer for answer in answers)
    assert any(b"\x88" in answer for answer in answers)
