"""A cable between clients and a server on loopback, which a test may cut as often as it likes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Cable", "cable"]


class Cable:
    """Passes octets on to `127.0.0.1:port`, from the address `host`. `cuts` counts how often it was cut."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ends: set[asyncio.StreamWriter] = set()
        self._told = asyncio.Event()
        self.host = ""
        self.cuts = 0

    async def told(self) -> None:
        """Returns once the server has answered something since the cable was cut."""
        await self._told.wait()

    def cut(self) -> None:
        """Breaks every connection that there is now, without a word to either side."""
        self.cuts += 1
        self._told.clear()
        for end in self._ends:
            end.transport.abort()

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection."""
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        ends = {writer, back}
        self._ends |= ends
        try:
            await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        finally:
            self._ends -= ends
            for end in ends:
                end.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while octets := await reader.read(65_536):
                writer.write(octets)
                await writer.drain()
                if b'"data":{' in octets:
                    self._told.set()
        writer.close()


@asynccontextmanager
async def cable(port: int) -> AsyncIterator[Cable]:
    """A cable to a port, until the block ends."""
    made = Cable(port)
    async with await asyncio.start_server(made.join, "127.0.0.1", 0) as server:
        made.host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield made
        made.cut()
