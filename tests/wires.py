"""Keep-alive connections of clients over raw streams: they say exactly what became of each request, and repeat none.

Owns connections and a little HTTP/1.1; what is asked is up to the test. A general client would hide what is looked for
here, by connecting anew and asking again.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Answer", "Balancer", "Dropped", "Wire", "post"]


class Dropped(Exception):
    """A request got no whole answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; `waited` is in seconds, from the first octet sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    waited: float

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def code(self) -> str | None:
        """The code of the first error."""
        errors = self.json().get("errors")
        return errors[0]["extensions"]["code"] if errors else None


def post(token: str, query: str, variables: Mapping[str, Any] | None = None, **headers: str) -> bytes:
    """A whole GraphQL request; `x_request_id="a"` becomes a header."""
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    return (
        f"POST /graphql HTTP/1.1\r\nhost: heed.test\r\ncontent-type: application/json\r\n"
        f"accept: application/graphql-response+json\r\nauthorization: Bearer {token}\r\n{more}"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body


GET = "GET {} HTTP/1.1\r\nhost: heed.test\r\n\r\n"


class Wire:
    """One connection to `127.0.0.1:port`, which connects when it has to and stays open while the server lets it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Answer:
        """The answer to a GET. Raises as `ask` does."""
        return await self.ask(GET.format(path).encode())

    async def ask(self, request: bytes) -> Answer:
        """The answer to a whole request. Raises Dropped where there is none, or only a part of one."""
        try:
            if self._open is not None and self._open[0].at_eof():
                self.close()  # the server had said goodbye before we began
            if self._open is None:
                self._open = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._open
            began = time.perf_counter()
            writer.write(request)
            lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:]) if name
            }
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close()
            raise Dropped(repr(error)) from None
        except BaseException:
            self.close()
            raise
        if headers.get("connection") == "close":
            self.close()
        return Answer(int(lines[0].split()[1]), headers, body, time.perf_counter() - began)

    def close(self) -> None:
        """Hangs up."""
        if self._open is not None:
            self._open[1].close()
            self._open = None


@dataclass(slots=True)
class _Host:
    """One of the servers behind a balancer, and its idle connections."""

    port: int
    ready: bool = False
    idle: list[Wire] = field(default_factory=list)


class Balancer:
    """What stands in front of several hosts: looks at `/readyz`, sends each request once to a host that is ready.

    Keeps connections open as proxies do, and drops those of a host that is not ready any more.
    """

    def __init__(self, *ports: int, every: float = 0.1) -> None:
        self._hosts = [_Host(port) for port in ports]
        self._every = every
        self._turn = 0
        self._looking: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._looking = [asyncio.create_task(self._look(host)) for host in self._hosts]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._looking:
            task.cancel()
        await asyncio.gather(*self._looking, return_exceptions=True)
        for host in self._hosts:
            self._forget(host)

    def ready(self, port: int) -> bool:
        """Whether requests go to that host now."""
        return any(host.ready for host in self._hosts if host.port == port)

    async def forward(self, request: bytes) -> Answer:
        """The answer of one of the hosts. Raises Dropped."""
        ready = [host for host in self._hosts if host.ready]
        if not ready:
            raise Dropped("no host is ready")
        self._turn += 1
        host = ready[self._turn % len(ready)]
        wire = host.idle.pop() if host.idle else Wire(host.port)
        answer = await wire.ask(request)
        if host.ready:
            host.idle.append(wire)
        else:
            wire.close()
        return answer

    async def _look(self, host: _Host) -> None:
        while True:
            probe = Wire(host.port)
            try:
                host.ready = (await asyncio.wait_for(probe.get("/readyz"), 5)).status == 200
            except (Dropped, TimeoutError):
                host.ready = False
            probe.close()
            if not host.ready:
                self._forget(host)
            await asyncio.sleep(self._every)

    def _forget(self, host: _Host) -> None:
        while host.idle:
            with suppress(OSError):
                host.idle.pop().close()
