"""Nobody makes the server take octets for a request that were sent as something else, or answer out of order."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from commands.protocol import SLICE
from schema.app import create_app
from schema.settings import Settings
from tests.sockets import Listening, listening
from tests.speaking import FakeServices, Tokens, ready

pytestmark = pytest.mark.asyncio(loop_scope="module")

LOOK = b'{"query": "{ patient(id: \\"ann\\") { displayName } }"}'
HEAD = (
    b"POST /graphql HTTP/1.1\r\nhost: heed.test\r\nauthorization: Bearer front_desk\r\n"
    b"content-type: application/json\r\n"
)
SMUGGLED = HEAD + b"content-length: %d\r\n\r\n" % len(LOOK) + LOOK
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: heed.test\r\n\r\n"
LAST = HEALTH[:-2] + b"connection: close\r\n\r\n"
HANDSHAKE = (
    b"GET /graphql HTTP/1.1\r\nhost: heed.test\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
    b"sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    b"sec-websocket-protocol: graphql-transport-ws\r\n\r\n"
)
OFFERS = (
    b"connection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAEAAEAA\r\nupgrade: h2c\r\n",
    b"connection: upgrade\r\nconnection: keep-alive\r\nupgrade: foo\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\n",
)
HOLE = b"\0pause\0"
"""Where a test waits until what was sent before is read."""


class Site:
    """The application as it is really served, whose look-ups wait for `gate`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.services = FakeServices(before=self._wait)
        self.app = create_app(self.services, Tokens(), Settings(), ready)
        self.server: Listening

    async def _wait(self) -> None:
        await self.gate.wait()

    async def said(self, octets: bytes, answers: int, opens: asyncio.Event | None = None) -> tuple[list[int], bytes]:
        """The statuses of what is answered to octets with holes in them, and all of it.

        Returns when there are so many answers and a moment longer, or when the connection is closed.
        """
        reader, writer = await asyncio.open_connection(*self.server.host.split(":"))
        for piece in octets.split(HOLE):
            writer.write(piece)
            await asyncio.sleep(0.02)
        if opens is not None:
            opens.set()
        heard = b""
        try:
            while True:
                enough = heard.count(b"HTTP/1.1 ") >= answers
                async with asyncio.timeout(0.1 if enough else 5):
                    piece = await reader.read(65_536)
                if not piece:
                    break
                heard += piece
        except (OSError, TimeoutError):
            pass
        writer.close()
        return [int(status) for status in re.findall(rb"HTTP/1.1 (\d+) ", heard)], heard


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    """One whose look-ups do not wait."""
    it = Site()
    it.gate.set()
    async with listening(it.app) as it.server:
        yield it


def chunked(body: bytes) -> bytes:
    """A body in two chunks, and what ends it."""
    return b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (9, body[:9], len(body) - 9, body[9:])


def to_a_slice(head: bytes, body: bytes) -> bytes:
    """The request with spaces before the body, which begins a slice of the parser's."""
    length = len(body) + SLICE
    head += b"content-length: %d\r\n\r\n" % length
    blank = (-len(head)) % SLICE
    return head + b" " * blank + body + b" " * (SLICE - blank)


BODIES = {
    "at once": lambda head, body: head + b"content-length: %d\r\n\r\n%b" % (len(body), body),
    "later": lambda head, body: head + b"content-length: %d\r\n\r\n%b%b" % (len(body), HOLE, body),
    "in pieces": lambda head, body: head + b"content-length: %d\r\n\r\n%b%b%b" % (len(body), body[:7], HOLE, body[7:]),
    "behind half a head": lambda head, body: (
        head[:60] + HOLE + head[60:] + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    ),
    "in chunks": lambda head, body: head + b"transfer-encoding: chunked\r\n\r\n" + chunked(body),
    "in chunks later": lambda head, body: (
        head + b"transfer-encoding: chunked\r\n\r\n" + chunked(body)[:8] + HOLE + chunked(body)[8:]
    ),
    "on a slice": to_a_slice,
}


@pytest.mark.parametrize("how", BODIES)
@pytest.mark.parametrize("offer", OFFERS, ids=["h2c", "foo", "websocket"])
async def test_an_offer_to_upgrade_is_passed_over(site: Site, offer: bytes, how: str) -> None:
    """The request is answered like one without it, its body is its body, and what stands behind it comes next."""
    statuses, heard = await site.said(BODIES[how](HEAD + offer, LOOK) + LAST, 2)
    assert statuses == [200, 200]
    assert heard.count(b'"displayName":"Ann"') == 1
    before = len(site.services.calls)
    statuses, heard = await site.said(BODIES[how](HEAD + offer, SMUGGLED) + LAST, 2)
    assert statuses == [400, 200]
    assert len(site.services.calls) == before


async def test_offers_do_not_widen_the_bounds(site: Site) -> None:
    """Neither a body of any length nor a head of any length comes in behind an offer, and many of them are fine."""
    offer = HEAD + OFFERS[0]
    statuses, _ = await site.said(BODIES["at once"](offer, b" " * 110_000), 1)
    assert statuses == [413]
    statuses, _ = await site.said(offer + b"x-a: " + b"a" * 30_000 + b"\r\n\r\n", 1)
    assert statuses == [431]
    statuses, _ = await site.said(offer + b"transfer-encoding: chunked\r\n\r\n1;a=" + b"a" * 20_000, 1)
    assert statuses == [431]
    statuses, _ = await site.said(BODIES["at once"](offer, LOOK) * 12, 12)
    assert statuses == [200] * 12


async def test_a_handshake_has_no_body(site: Site) -> None:
    """What a handshake brings along would be frames for us and a body for a proxy: then it is an ordinary request."""
    more = b"\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED)
    before = len(site.services.calls)
    statuses, _ = await site.said(HANDSHAKE[:-2] + more[2:] + SMUGGLED + LAST, 2)
    assert statuses == [405, 200]
    statuses, _ = await site.said(HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 1)
    assert statuses == [405]
    statuses, _ = await site.said(HANDSHAKE, 1)
    assert statuses == [101]
    assert len(site.services.calls) == before


@pytest.mark.parametrize("hole", [b"", HOLE])
async def test_a_handshake_does_not_overtake(hole: bytes) -> None:
    """Behind a request that is still being answered it is an ordinary request, and answered second."""
    site = Site()
    async with listening(site.app) as site.server:
        statuses, heard = await site.said(SMUGGLED + hole + HANDSHAKE, 2, site.gate)
    assert statuses == [200, 405]
    assert heard.index(b'"displayName":"Ann"') < heard.index(b"HTTP/1.1 405")


@pytest.mark.parametrize("hole", [b"", HOLE])
@pytest.mark.parametrize(
    ("rest", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (HEALTH.replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
        (b"GET /" + b"a" * 30_000, 431),
        (HEAD + b"transfer-encoding: chunked\r\n\r\nnonsense\r\n", 400),
        (HEAD + b"transfer-encoding: chunked\r\n\r\n1;a=" + b"a" * 30_000, 431),
    ],
    ids=["nonsense", "no host", "another version", "a long head", "a bad chunk", "a long chunk's head"],
)
async def test_a_refusal_does_not_overtake(rest: bytes, status: int, hole: bytes) -> None:
    """What cannot be read is refused behind the answers that are owed, and nothing behind it is read."""
    site = Site()
    async with listening(site.app) as site.server:
        statuses, heard = await site.said(SMUGGLED + HEALTH + hole + rest + HEALTH, 3, site.gate)
    assert statuses == [200, 200, status]
    assert heard.count(b'"displayName":"Ann"') == 1
    assert heard.endswith(b"content-length: 0\r\nconnection: close\r\n\r\n")


async def test_a_long_pipeline_is_answered_first() -> None:
    """Requests that wait are too many: those that were read are answered in their order, then 431 and the end."""
    site = Site()
    async with listening(site.app) as site.server:
        statuses, heard = await site.said(SMUGGLED * 30 + HEALTH, 31, site.gate)
    assert set(statuses[:-1]) == {200}
    assert statuses[-1] == 431
    assert 17 <= heard.count(b'"displayName":"Ann"') == len(site.services.calls) < 30


async def test_a_body_that_breaks_off_its_rules(site: Site) -> None:
    """It gets one answer, whoever gives it."""
    chunks = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    assert (await site.said(chunks + b"nonsense\r\n" + HEALTH, 1))[0] == [400]
    answered = HEALTH[:-2] + b"transfer-encoding: chunked\r\n\r\n"
    assert (await site.said(answered + HOLE + b"nonsense\r\n" + HEALTH, 1))[0] == [200]


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (HEALTH.replace(b"host", b"Host: heed.test\r\nhost"), 400),
        (HEALTH.replace(b"heed.test", b"heed.test/a b"), 400),
        (HEALTH.replace(b"heed.test", b"u@heed.test"), 400),
        (HANDSHAKE.replace(b"host: heed.test\r\n", b""), 400),
        (HEALTH.replace(b"HTTP/1.1", b"HTTP/2.0"), 505),
        (HEALTH.replace(b"HTTP/1.1", b"HTTP/0.9"), 505),
        (b"CONNECT heed.test:443 HTTP/1.1\r\nhost: heed.test:443\r\n\r\n", 501),
        (b"CONNECT heed.test:443 HTTP/1.1\r\nhost: heed.test:443\r\n" + OFFERS[2] + b"\r\n", 501),
        (LAST.replace(b"heed.test", b"[::1]:8000"), 200),
        (LAST.replace(b"heed.test", b""), 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
    ],
)
async def test_heads_are_whole(
    site: Site, head: bytes, status: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """One host, a version that is spoken here, no tunnel (RFC 9112, 2.3 and 3.2); refusals are not logged."""
    with caplog.at_level(logging.INFO):
        statuses, heard = await site.said(head, 1)
    assert statuses == [status]
    assert b"\r\ndate: " in heard
    assert caplog.records == []
    assert capfd.readouterr().err == ""
