"""Far more clients than a process can serve, from a process of their own: what each was told, and how soon.

Owns sockets and the counting. A client asks for one patient again and again; one that is refused either comes back when
it was told to, or asks again at once (`rude`), as the worst ones do.
"""

import multiprocessing
import re
import select
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from multiprocessing.connection import Connection
from typing import Any

__all__ = ["Outcome", "crowd", "within"]

_GOOD = b'{"data":{"patient":{'
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n")
_ADVICE = re.compile(rb"\r\nretry-after: (\d+)\r\n")
_CODE = re.compile(rb'"code":"([A-Z_]+)"')
WARM = 0.5
"""Seconds before anything is counted."""


@dataclass(slots=True)
class Outcome:
    """What a crowd was told in so many `seconds`; waits are in seconds, one for each answer."""

    seconds: float = 0.0
    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    """What was neither a good answer nor a refusal with advice when to come back."""

    @property
    def goodput(self) -> float:
        """Good answers a second."""
        return len(self.served) / self.seconds


def within(waits: Sequence[float], part: float) -> float:
    """The wait that this part of all does not exceed; 0 where there are none."""
    return sorted(waits)[int(len(waits) * part)] if waits else 0.0


def crowd(port: int, requests: Sequence[bytes], clients: int, seconds: float, *, rude: bool = False) -> Outcome:
    """So many clients at once for so long; client n sends `requests[n % len(requests)]`."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    work = (theirs, port, list(requests), clients, seconds, rude)
    process = spawn.Process(target=_drive, args=work, daemon=True)
    process.start()
    try:
        found: Outcome = ours.recv()
    finally:
        process.join(60)
    return found


@dataclass(slots=True)
class _Client:
    """One keep-alive connection, its request, and what it has heard of the answer."""

    socket: socket.socket
    request: bytes
    received: bytearray = field(default_factory=bytearray)
    sent: float = 0.0

    def send(self) -> None:
        self.sent = time.perf_counter()
        self.received.clear()
        self.socket.sendall(self.request)

    def receive(self) -> bytes | None:
        """The whole answer once it is there. Raises ConnectionError where there will be none."""
        if not (part := self.socket.recv(1 << 16)):
            raise ConnectionError
        self.received += part
        head = self.received.find(b"\r\n\r\n")
        length = _LENGTH.search(self.received) if head >= 0 else None
        if length is None or len(self.received) < head + 4 + int(length[1]):
            return None
        return bytes(self.received)


def _connected(port: int) -> socket.socket:
    opened = socket.create_connection(("127.0.0.1", port))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def _drive(
    pipe: "Connection[Any, Any]", port: int, requests: list[bytes], clients: int, seconds: float, rude: bool
) -> None:
    found, poll = Outcome(), select.epoll()
    open_: dict[int, _Client] = {}
    later: list[tuple[float, int]] = []
    for number in range(clients):
        client = _Client(_connected(port), requests[number % len(requests)])
        open_[client.socket.fileno()] = client
        poll.register(client.socket, select.EPOLLIN)
        client.send()
    begun = time.perf_counter() + WARM
    end = begun + seconds
    while (now := time.perf_counter()) < end:
        while later and later[0][0] <= now:
            open_[heappop(later)[1]].send()
        for descriptor, _ in poll.poll(0.01):
            client = open_[descriptor]
            try:
                answer = client.receive()
            except OSError:
                found.odd["connection ended"] += 1
                poll.unregister(descriptor)
                continue
            if answer is not None:
                wait = _judge(found if client.sent > begun else Outcome(), answer, time.perf_counter() - client.sent)
                if wait and not rude:
                    heappush(later, (time.perf_counter() + wait, descriptor))
                else:
                    client.send()
    found.seconds = seconds
    for client in open_.values():
        client.socket.close()
    pipe.send(found)


def _judge(found: Outcome, answer: bytes, waited: float) -> int:
    """Counts an answer; the seconds that its client is told to stay away, 0 for a good one."""
    advice = _ADVICE.search(answer)
    if answer.startswith(b"HTTP/1.1 200 ") and _GOOD in answer:
        found.served.append(waited)
        return 0
    code = _CODE.search(answer)
    if advice is None or code is None:
        found.odd[answer[:40].decode("latin-1")] += 1
        return 1
    found.refused.append(waited)
    found.codes[code[1].decode()] += 1
    return int(advice[1])
