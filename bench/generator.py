"""The load generator: a process of its own that keeps so many connections busy, over raw sockets and epoll.

A general client costs more than the servers that it would measure; this one does nothing but send prepared octets, wait
for the end of each answer, and look at its first octets.
"""

import multiprocessing
import random
import select
import socket
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Burst", "Generator", "Spent", "answered"]

Spent = Mapping[str, Mapping[int, float]]
"""Seconds of processor time so far, by the name of who used it and its process ids."""

_GOOD = (b'{"data":{"patient":{', b'{"data":{"patients":[')
_WARM = 0.15


@dataclass(frozen=True, slots=True)
class Burst:
    """What a slice came to: requests a second, milliseconds at the median and the 99th percentile.

    `cpu` are microseconds of processor time for one request, by the name of who used it; `busy` the share of a
    processor that the generator itself needed.
    """

    rate: float
    p50: float
    p99: float
    cpu: dict[str, float]
    busy: float

    @property
    def spent(self) -> float:
        """Microseconds of processor time of everybody for one request."""
        return sum(self.cpu.values())


class Generator:
    """A running generator. Close it."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        self._taught: dict[int, Sequence[bytes]] = {}

    def burst(
        self, port: int, requests: Sequence[bytes], askers: int, seconds: float, cpu: Callable[[], Spent]
    ) -> Burst:
        """Keeps `askers` connections busy for so many seconds; `cpu` tells what processor time was used so far.

        Raises RuntimeError for an answer that is not a good one.
        """
        if (name := id(requests)) not in self._taught:
            self._taught[name] = requests  # held, so that no others get its name
            self._pipe.send((name, requests))
        self._pipe.send((port, name, askers, seconds))
        self._expect("warm")
        before = cpu()
        self._pipe.send("go")
        waits, taken, busy = self._expect("done")
        after = cpu()
        waits.sort()
        used = {
            name: sum(spent - before[name].get(pid, 0.0) for pid, spent in pids.items()) / len(waits) * 1e6
            for name, pids in after.items()
        }
        tail = waits[int(len(waits) * 0.99)]
        return Burst(len(waits) / taken, statistics.median(waits) * 1e3, tail * 1e3, used, busy / taken)

    def one(self, port: int, request: bytes) -> bytes:
        """The body of one answer. Raises RuntimeError for any but 200."""
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request)
            received = bytearray()
            while answered(received) is None:
                if not (part := connection.recv(1 << 20)):
                    raise RuntimeError("a server hung up")
                received += part
        head, _, body = bytes(received).partition(b"\r\n\r\n")
        if head[9:12] != b"200":
            raise RuntimeError(f"port {port} answered {head[:200]!r} {body[:500]!r}")
        return body

    def close(self) -> None:
        """Ends the process."""
        self._pipe.send(None)
        self._process.join(5)

    def _expect(self, word: str) -> Any:
        told = self._pipe.recv()
        if told[0] != word:
            raise RuntimeError(told[1])
        return told[1:]


def _serve(pipe: "Connection[Any, Any]") -> None:
    """Bursts, one after the other, until it is told None."""
    taught: dict[int, Sequence[bytes]] = {}
    while (told := pipe.recv()) is not None:
        if len(told) == 2:
            taught[told[0]] = told[1]
            continue
        port, name, askers, seconds = told
        requests = taught[name]
        first = random.randrange(len(requests))  # so that a burst does not ask what the one before it asked
        try:
            lines = [_Line(port, first + place * len(requests) // askers) for place in range(askers)]
            try:
                _drive(lines, requests, _WARM)
                pipe.send(("warm",))
                pipe.recv()
                begun, used = time.perf_counter(), time.process_time()
                waits = _drive(lines, requests, seconds)
                taken = time.perf_counter() - begun
                pipe.send(("done", waits, taken, time.process_time() - used))
            finally:
                for line in lines:
                    line.socket.close()
        except (OSError, RuntimeError) as error:
            pipe.send(("failed", f"port {port}: {error}"))


class _Line:
    """One keep-alive connection and the answer that comes over it."""

    def __init__(self, port: int, number: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.number = number
        self.sent = 0.0
        self.received = bytearray()

    def send(self, requests: Sequence[bytes]) -> None:
        self.sent = time.perf_counter()
        self.socket.sendall(requests[self.number % len(requests)])
        self.number += 1

    def receive(self) -> bool:
        """Whether the answer is complete. Raises RuntimeError where it is not a good one."""
        if not (part := self.socket.recv(1 << 18)):
            raise RuntimeError("the server hung up")
        self.received += part
        if (start := answered(self.received)) is None:
            return False
        if self.received[9:12] != b"200" or not self.received.startswith(_GOOD, start):
            raise RuntimeError(f"not a good answer: {bytes(self.received[:600])!r}")
        self.received.clear()
        return True


def _drive(lines: Sequence[_Line], requests: Sequence[bytes], seconds: float) -> list[float]:
    """The waits, in seconds, of all requests that were sent within so many seconds."""
    waits: list[float] = []
    waiting = {line.socket.fileno(): line for line in lines}
    with select.epoll() as poll:
        for descriptor, line in waiting.items():
            poll.register(descriptor, select.EPOLLIN)
            line.send(requests)
        end = time.perf_counter() + seconds
        while waiting:
            for descriptor, _ in poll.poll(60):
                line = waiting[descriptor]
                if not line.receive():
                    continue
                now = time.perf_counter()
                waits.append(now - line.sent)
                if now < end:
                    line.send(requests)
                else:
                    poll.unregister(descriptor)
                    del waiting[descriptor]
    return waits


def answered(received: bytearray) -> int | None:
    """Where the body of an answer begins, once all of it is there. Raises RuntimeError where its length is not told."""
    head = received.find(b"\r\n\r\n")
    if head < 0:
        return None
    names = bytes(received[:head]).lower()
    if (at := names.find(b"content-length:")) < 0:
        raise RuntimeError("an answer does not say how long it is")
    length = int(names[at + 15 :].split(b"\r\n", 1)[0])
    return head + 4 if len(received) >= head + 4 + length else None
