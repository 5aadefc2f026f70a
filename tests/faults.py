"""Real faults for tests: steps of a transaction at which something happens, and a network that swallows or cuts.

What happens is up to the test: raise, hang, or kill the process. Nothing of the service is patched; these stand in
front of a database, or between its driver and its server.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, TypeVar
from urllib.parse import parse_qs, urlsplit

from crm.store.database import Connection, Database, Dialect, Row
from crm.store.statements import Statement
from crm.store.work import Grow, Work

__all__ = ["Network", "Stepping", "network"]

T = TypeVar("T")


def _nothing(_point: str) -> None:
    """Goes on."""


class Stepping:
    """A database whose batches of the log can be struck at each step.

    `strike` is called with the name of a point: `before 0`, `after 0`, `before 1` ... for the statements of a batch,
    `before the commit` and `after the commit`. On SQLite all but the last are reached on the writer's thread. A batch
    in one statement has the points `at once` and `after the commit`; unless `hasty`, all take the long way.
    """

    def __init__(self, inner: Database, *, hasty: bool = False) -> None:
        self._inner = inner
        self.hasty = hasty
        self.dialect: Dialect = inner.dialect
        self.strike: Callable[[str], None] = _nothing

    def heal(self) -> None:
        """No more faults."""
        self.strike = _nothing

    async def perform(self, org: str, work: Work[T], /) -> T:
        result = await self._inner.perform(org, self._stepped(work))
        self.strike("after the commit")
        return result

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        if not self.hasty:
            return []  # as if somebody else had moved the head
        self.strike("at once")
        rows = await self._inner.grow(org, grow)
        self.strike("after the commit")
        return rows

    def _stepped(self, work: Work[T]) -> Generator[Any, Any, T]:
        number = 0
        try:
            step = next(work)
            while True:
                self.strike(f"before {number}")
                answer = yield step
                self.strike(f"after {number}")
                number += 1
                step = work.send(answer)
        except StopIteration as end:
            self.strike("before the commit")
            result: T = end.value
            return result
        finally:
            work.close()

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def probe(self) -> None:
        await self._inner.probe()

    async def scrub(self) -> bool:
        return await self._inner.scrub()

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Row]:
        return await self._inner.fetch(org, statement, **params)

    def transaction(self, org: str, /) -> AbstractAsyncContextManager[Connection]:
        return self._inner.transaction(org)


class Network:
    """What lies between a driver and a PostgreSQL server, and how it fails."""

    def __init__(self, socket: str, url: str) -> None:
        self._socket = socket
        self.url = url
        self.cuts = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._mark: bytes | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._mute: set[asyncio.StreamWriter] = set()

    def swallow(self) -> None:
        """From now on octets go in and none comes out; connections are accepted and stay silent."""
        self._flowing.clear()

    def flow(self) -> None:
        """Deliver again what was held back."""
        self._flowing.set()

    def cut_after(self, mark: bytes) -> None:
        """The next message to the server in which `mark` stands is delivered, and the connection is reset after it."""
        self._mark = mark

    def cut(self) -> None:
        """Reset every connection now."""
        self.cuts += 1
        for writer in tuple(self._open):
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of a client."""
        try:
            inward, outward = await asyncio.open_unix_connection(self._socket)
        except OSError:
            writer.transport.abort()
            return
        pair = {writer, outward}
        self._open |= pair
        try:
            await asyncio.gather(self._pump(reader, outward, pair, writer), self._pump(inward, writer, pair))
        finally:
            self._open -= pair
            self._mute -= pair
            for each in pair:
                each.transport.abort()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: set[asyncio.StreamWriter],
        back: asyncio.StreamWriter | None = None,
    ) -> None:
        """Carries one direction; `back` is where the answers to it go."""
        with suppress(OSError):
            while octets := await source.read(65536):
                await self._flowing.wait()
                if target in self._mute:
                    continue
                marked = back is not None and self._mark is not None and self._mark in octets
                if back is not None and marked:
                    self._mark = None
                    self._mute.add(back)
                target.write(octets)
                await target.drain()
                if marked:
                    self.cuts += 1
                    await asyncio.sleep(0.1)  # the server reads it, and answers into the void
                    break
        for each in pair:
            each.transport.abort()


@asynccontextmanager
async def network(url: str) -> AsyncIterator[Network]:
    """A way over loopback to the server whose Unix socket `url` names; its own `url` is for clients."""
    parts = urlsplit(url)
    folder = parse_qs(parts.query)["host"][0]
    made = Network(f"{folder}/.s.PGSQL.5432", "")
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    made.url = f"postgresql://{parts.username}@127.0.0.1:{port}{parts.path}"
    try:
        yield made
    finally:
        made.flow()
        made.cut()
        server.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(server.wait_closed(), 5)
