"""A receiver of webhooks on the loopback interface: a real HTTP server in the loop of the test, polite or not."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import h11
from standardwebhooks import Webhook

__all__ = ["Arrived", "Receiver", "receiver"]


@dataclass(frozen=True)
class Arrived:
    """One request: its headers in lower case, its octets, and what is in them."""

    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The `webhook-id`."""
        return self.headers["webhook-id"]

    @property
    def type(self) -> str:
        """The type of the message."""
        return str(json.loads(self.body)["type"])

    @property
    def data(self) -> dict[str, Any]:
        """What the message is about."""
        content: dict[str, Any] = json.loads(self.body)["data"]
        return content

    def verified(self, secret: str) -> bool:
        """Whether the library that receivers use finds the signature right."""
        try:
            Webhook(secret).verify(self.body, self.headers)
        except Exception:  # noqa: BLE001 - whatever it finds wrong
            return False
        return True


@dataclass
class Receiver:
    """What arrived, and how it is answered: the statuses of `script` one after the other, then `status`."""

    arrived: list[Arrived] = field(default_factory=list)
    status: int = 204
    script: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    only: Callable[[Arrived], int | None] = lambda _: None
    """The status of a particular message; None leaves it to the others."""
    hold: asyncio.Event | None = None
    """Nothing is answered until this is set."""
    raw: bytes | None = None
    """Sent instead of an HTTP answer; then the connection stays open."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when something arrives, and replaced."""
    at_once: int = 0
    most_at_once: int = 0
    port: int = 0
    secure: bool = False

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.secure else 'http'}://localhost:{self.port}/hooks?of=heed"

    def versions(self, patient_id: str) -> list[int]:
        """Versions of a patient, in the order in which they arrived."""
        return [each.data["version"] for each in self.arrived if each.data.get("id") == patient_id]

    def ids(self, end: int | None = None) -> set[str]:
        """Ids of what arrived, up to a place in the order."""
        return {each.id for each in self.arrived[:end]}

    async def until(self, number: int, within: float = 10.0) -> list[Arrived]:
        """Everything that arrived, as soon as there are so many. Raises TimeoutError."""
        async with asyncio.timeout(within):
            while len(self.arrived) < number:
                await self.news.wait()
        return self.arrived

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with one request."""
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            with suppress(OSError, h11.RemoteProtocolError):
                await self._served(reader, writer)
        finally:
            self.at_once -= 1
            writer.close()

    async def _served(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = h11.Connection(h11.SERVER)
        request, body = None, b""
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                connection.receive_data(await reader.read(65_536))
            elif isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                break
        if request is None:
            return
        headers = {name.decode(): value.decode() for name, value in request.headers}
        arrived = Arrived(request.target.decode(), headers, body)
        self.arrived.append(arrived)
        self.news.set()
        self.news = asyncio.Event()
        if self.raw is not None:
            writer.write(self.raw)
            await reader.read()
            return
        if self.hold is not None:
            await self.hold.wait()
        status = self.only(arrived) or (self.script.pop(0) if self.script else self.status)
        head = {"content-length": str(len(self.body)), "connection": "close", **self.headers}
        response = h11.Response(status_code=status, headers=list(head.items()))
        writer.write(connection.send(response) or b"")
        if self.body and status != 204:
            writer.write(connection.send(h11.Data(data=self.body)) or b"")
        await writer.drain()


@asynccontextmanager
async def receiver(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A running receiver; with `tls` over HTTPS."""
    one = Receiver(secure=tls is not None)
    running = await asyncio.start_server(one.serve, "127.0.0.1", 0, ssl=tls)
    async with running:
        one.port = running.sockets[0].getsockname()[1]
        yield one
        if one.hold is not None:
            one.hold.set()
