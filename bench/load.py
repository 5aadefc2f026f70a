"""Load and its measure: workers that ask one question after another, and what a slice of that came to.

Owns a small keep-alive HTTP/1.1 client, because a general one costs more than the servers it would measure.
"""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import cast

Ask = Callable[[int], Awaitable[bytes]]
"""Asks question number n (any number; they repeat) and returns the body of a good answer."""

_GOOD = b'{"data":{"patient'


@dataclass(frozen=True, slots=True)
class Slice:
    """`rate` requests a second, `p50` milliseconds, `cpu` microseconds of the server's processor time for each."""

    rate: float
    p50: float
    cpu: float


async def measure(asks: Sequence[Ask], cpu: Callable[[], float], seconds: float, stride: int = 97) -> Slice:
    """One worker for each of `asks`, for so many seconds. `cpu` tells the seconds of processor time used so far."""
    await asyncio.gather(*(ask(0) for ask in asks))  # connects, where that is needed, before the clock runs
    waits: list[float] = []
    begun, used = time.perf_counter(), cpu()
    end = begun + seconds

    async def work(place: int, ask: Ask) -> None:
        number = place * stride
        while (start := time.perf_counter()) < end:
            await ask(number)
            waits.append(time.perf_counter() - start)
            number += 1

    await asyncio.gather(*(work(place, ask) for place, ask in enumerate(asks)))
    taken = time.perf_counter() - begun
    return Slice(len(waits) / taken, statistics.median(waits) * 1e3, (cpu() - used) / len(waits) * 1e6)


def post(path: str, body: bytes, headers: str = "") -> bytes:
    """A whole request."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Wire(asyncio.Protocol):
    """A client on one keep-alive connection that sends requests, one at a time.

    A server hangs up on whoever is silent for long; the next request then connects anew.
    """

    def __init__(self, port: int, requests: Sequence[bytes] = ()) -> None:
        self._port = port
        self._requests = requests
        self._transport: asyncio.WriteTransport | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._received = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's is one in all but name

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server hung up"))

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0 or self._answer is None:
            return
        name = self._received.find(b"content-length: ", 0, head)
        length = int(self._received[name + 16 : self._received.find(b"\r\n", name)])
        if len(self._received) - head - 4 < length:
            return
        body, status = bytes(self._received[head + 4 :]), bytes(self._received[9:12])
        self._received.clear()
        if status == b"200" and body.startswith(_GOOD):
            self._answer.set_result(body)
        else:
            self._answer.set_exception(RuntimeError(f"not a good answer: {status.decode()} {body[:200]!r}"))

    async def ask(self, number: int) -> bytes:
        """Sends one of the prepared requests and waits for its answer."""
        return await self.send(self._requests[number % len(self._requests)])

    async def send(self, request: bytes) -> bytes:
        """Sends a whole request and waits for its answer. Raises RuntimeError for one that is not good."""
        loop = asyncio.get_running_loop()
        if self._transport is None:
            await loop.create_connection(lambda: self, "127.0.0.1", self._port)
        assert self._transport is not None
        self._answer = loop.create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        """Hangs up."""
        if self._transport is not None:
            self._transport.close()
