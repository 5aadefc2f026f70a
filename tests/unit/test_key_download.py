"""Downloading a key set from a server on this machine that answers in every unfortunate way."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from auth.key_download import download

LIMIT = 1000


@contextmanager
def server(answer: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that sends these octets to whoever connects, and keeps what it was asked."""
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            return  # nobody came, which the test will complain about itself
        with connection:
            asked.append(connection.recv(65_536))
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        thread.join()


def body(octets: bytes, status: str = "200 OK", *more: str) -> bytes:
    """An HTTP answer."""
    head = "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(octets)}", "Connection: close", *more])
    return head.encode() + b"\r\n\r\n" + octets


async def test_good_answer() -> None:
    """The body comes back whole; the request is a plain GET of path and query, with nothing secret in it."""
    with server(body(b"keys")) as (url, asked):
        assert await download(f"{url}/realms/a?b=c", LIMIT) == b"keys"
    assert asked[0].startswith(b"GET /realms/a?b=c HTTP/1.1\r\n")
    assert not any(name in asked[0].lower() for name in (b"cookie", b"authorization"))


async def test_size_limit() -> None:
    """A body of exactly the limit is taken, one octet more is not, whatever length was announced."""
    with server(body(b"x" * LIMIT)) as (url, _):
        assert len(await download(url, LIMIT)) == LIMIT
    endless = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * (LIMIT + 1)
    for answer in (body(b"x" * (LIMIT + 1)), endless):
        with server(answer) as (url, _), pytest.raises(OSError, match="more than"):
            await download(url, LIMIT)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "204 No Content", "404 Not Found", "500 Oops"])
async def test_other_answers(status: str) -> None:
    """Nothing but 200 counts; a redirect is not followed, so that an issuer cannot send us to another address."""
    with (
        server(body(b"stolen")) as (elsewhere, visited),
        server(body(b"", status, f"Location: {elsewhere}/")) as (url, _),
    ):
        with pytest.raises(OSError, match="status"):
            await download(url, LIMIT)
        assert visited == []
        assert await download(elsewhere, LIMIT) == b"stolen"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"])
async def test_broken_answers(answer: bytes) -> None:
    """An answer that is not HTTP, or breaks off, is a failure and not a short key set."""
    with server(answer) as (url, _), pytest.raises(OSError):
        await download(url, LIMIT)


async def test_nobody_answers() -> None:
    """A closed port is a failure like any other."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(OSError):
        await download(f"http://127.0.0.1:{port}/", LIMIT)
