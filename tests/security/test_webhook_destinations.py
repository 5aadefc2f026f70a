"""Where a message may leave for: nothing but the public internet, whatever a name leads to and an answer says."""

import asyncio
import socket
import ssl
import time
from collections.abc import Sequence
from email.utils import formatdate
from pathlib import Path

import pytest

from crm.delivery.destinations import Forbidden, Resolver, admitted, is_public
from crm.delivery.posting import Poster
from crm.domain.webhooks import Answer
from tests.mail_server import certificate
from tests.receiver import receiver

PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:a9fe:a9fe",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::808:808",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2001:10::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "127.1",
    "0x7f000001",
    "2130706433",
    "",
    "localhost",
]
PUBLIC = ["8.8.8.8", "1.1.1.1", "93.184.216.34", "172.15.0.1", "172.32.0.1", "2606:2800:220:1::1", "2a00:1450:4001::1"]

SIGNED = {"webhook-id": "msg_1", "webhook-timestamp": "1", "webhook-signature": "v1,x"}


@pytest.mark.parametrize("address", PRIVATE)
def test_not_for_us(address: str) -> None:
    """Private, special, translated and tunnelled addresses are refused, and what is no address in its usual form."""
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_of_the_internet(address: str) -> None:
    """What anybody may reach."""
    assert is_public(address)


class Names:
    """A name server of the test: what each look-up answers, the last again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """See `Resolve`."""
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_one_bad_address_spoils_the_name() -> None:
    """A name that leads to public and private addresses is refused, whichever comes first."""
    assert list(await admitted(Names(["8.8.8.8", "8.8.8.8", "1.1.1.1"]), "a", 443, is_public)) == ["8.8.8.8", "1.1.1.1"]
    for answer in (["8.8.8.8", "10.0.0.1"], ["10.0.0.1", "8.8.8.8"], ["::ffff:8.8.8.8"]):
        with pytest.raises(Forbidden):
            await admitted(Names(answer), "a", 443, is_public)
    with pytest.raises(OSError, match="without"):
        await admitted(Names([]), "a", 443, is_public)


async def test_this_machine_hears_nothing() -> None:
    """A name that leads here is not connected to: the listener sees nobody, whatever port and scheme."""
    async with receiver() as there:
        for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
            answer = await Poster(Names([address])).post(f"https://rebound.example:{there.port}/", SIGNED, b"{}")
            assert answer == Answer(word="address")
        assert there.most_at_once == 0


async def test_an_open_wire_is_for_development_and_this_machine() -> None:
    """Plain HTTP goes nowhere in production, and in development nowhere but here."""
    async with receiver() as there:
        assert await Poster(Resolver(1)).post(there.url, SIGNED, b"{}") == Answer(word="address")
        assert there.most_at_once == 0
        assert await Poster(Resolver(1), development=True).post(there.url, SIGNED, b"{}") == Answer(204)
        outside = Poster(Names(["93.184.216.34"]), development=True)
        assert await outside.post("http://localhost:80/", SIGNED, b"{}") == Answer(word="address")


async def test_the_name_is_asked_once(tmp_path: Path) -> None:
    """The connection goes to the address that was checked; what the name leads to afterwards changes nothing."""
    made = certificate(tmp_path)
    names = Names(["127.0.0.1"], ["203.0.113.1"])
    async with receiver(made.server()) as there:
        poster = Poster(names, admits=lambda address: address == "127.0.0.1", tls=made.trusted())
        assert await poster.post(there.url, SIGNED, b'{"a":1}') == Answer(204)
        assert names.asked == 1
        [arrived] = there.arrived
        assert (arrived.target, arrived.body) == ("/hooks?of=heed", b'{"a":1}')
        assert arrived.headers["host"] == f"localhost:{there.port}"
        assert arrived.headers["webhook-id"] == "msg_1"
        assert await poster.post(there.url, SIGNED, b"{}") == Answer(word="address")
        assert len(there.arrived) == 1


async def test_the_certificate_is_of_the_name(tmp_path: Path) -> None:
    """A certificate of another name, or of nobody we trust, ends the attempt before anything is said."""
    mine = certificate(tmp_path, "another.example")
    async with receiver(mine.server()) as there:
        for tls in (mine.trusted(), ssl.create_default_context()):
            poster = Poster(Names(["127.0.0.1"]), admits=lambda _: True, tls=tls)
            answer = await poster.post(f"https://hooks.example:{there.port}/", SIGNED, b"{}")
            assert answer == Answer(word="tls")
        assert there.arrived == []
        right = Poster(Names(["127.0.0.1"]), admits=lambda _: True, tls=mine.trusted())
        assert await right.post(f"https://another.example:{there.port}/", SIGNED, b"{}") == Answer(204)


async def test_no_redirect_is_followed() -> None:
    """Where a receiver points to is not asked, and counts as a failure."""
    async with receiver() as first, receiver() as second:
        first.status, first.headers = 307, {"location": second.url}
        assert await Poster(Resolver(1), development=True).post(first.url, SIGNED, b"{}") == Answer(307)
        assert (len(first.arrived), second.arrived) == (1, [])


async def test_a_huge_answer_is_not_read() -> None:
    """Of a body only the beginning is taken off the wire, and the status counts."""
    async with receiver() as there:
        there.status, there.body = 200, b"x" * 20_000_000
        began = time.monotonic()
        assert await Poster(Resolver(1), development=True).post(there.url, SIGNED, b"{}") == Answer(200)
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 100_000, "protocol"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "protocol"),
        (b"", "timeout"),
        (b"HTTP/1.1 200 OK\r\nx: y", "timeout"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, "timeout"),
    ],
)
async def test_an_answer_that_is_none(raw: bytes, word: str) -> None:
    """Endless heads, other protocols and silence end the attempt in its time, with a word."""
    async with receiver() as there:
        there.raw = raw
        assert await Poster(Resolver(1), timeout=0.5, development=True).post(there.url, SIGNED, b"{}") == Answer(
            word=word
        )


async def test_nobody_there() -> None:
    """A port where nobody listens, and a name that nobody knows."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        poster = Poster(Resolver(1), development=True)
        assert await poster.post(f"http://127.0.0.1:{bound.getsockname()[1]}/", SIGNED, b"{}") == Answer(
            word="unreachable"
        )

    async def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    assert await Poster(unknown).post("https://nowhere.example/", SIGNED, b"{}") == Answer(word="unreachable")


async def test_a_name_server_that_does_not_answer() -> None:
    """The time of an attempt begins before the name is looked up."""

    async def silent(host: str, port: int) -> Sequence[str]:
        await asyncio.sleep(60)
        return []

    assert await Poster(silent, timeout=0.1).post("https://slow.example/", SIGNED, b"{}") == Answer(word="timeout")


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("120", 120, 120),
        (600, 500, 600),
        (-600, 0, 0),
        ("soon", 0, 0),
        ("-5", 0, 0),
        ("9" * 40, 999_999_999, 999_999_999),
        ("1e3", 0, 0),
    ],
    ids=["seconds", "date", "past", "word", "negative", "huge", "float"],
)
async def test_retry_after(text: str | int, least: int, most: int) -> None:
    """Seconds or a date (RFC 9110, section 10.2.3), here so many seconds from now; else as if it were not there."""
    if isinstance(text, int):
        text = formatdate(time.time() + text, usegmt=True)
    async with receiver() as there:
        there.status, there.headers = 503, {"retry-after": text}
        answer = await Poster(Resolver(1), development=True).post(there.url, SIGNED, b"{}")
        assert answer.status == 503
        assert least <= answer.wait <= most
