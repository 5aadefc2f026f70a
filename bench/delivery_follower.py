"""One who follows, in a process of their own: `python -m bench.delivery_follower KIND URL [TOKEN QUERY]`.

KIND is `websocket`, `events`, or `listen` for a bare LISTEN on the PostgreSQL database URL. Prints a line for whatever
it is told, with the time on the clock that all processes of a machine share; the first, `0`, when it listens. Ends when
it is told nothing more.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable

import asyncpg
import httpx
import orjson
import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

CHANNEL = "bench"
"""What the bare LISTEN listens to."""


def told(moment: float) -> None:
    """Prints a time for whoever started this process."""
    print(moment, flush=True)


async def _over_websocket(url: str, token: str, query: str) -> AsyncIterator[bytes]:
    address = url.replace("http", "ws", 1)
    async with connect(address, subprotocols=[Subprotocol("graphql-transport-ws")], compression=None) as socket:
        hello = {"type": "connection_init", "payload": {"authorization": f"Bearer {token}"}}
        for message in (hello, {"type": "subscribe", "id": "1", "payload": {"query": query}}):
            await socket.send(orjson.dumps(message).decode())
        try:
            await socket.recv()  # that it is let in
            while True:
                yield str(await socket.recv()).encode()
        except ConnectionClosed:
            yield b"closed"


async def _in_events(url: str, token: str, query: str) -> AsyncIterator[bytes]:
    headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
    asked = httpx.AsyncClient(timeout=None).stream("POST", url, json={"query": query}, headers=headers)
    async with asked as response:
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                yield line.encode()
    yield b"closed"


async def _listening(url: str) -> AsyncIterator[bytes]:
    heard: asyncio.Queue[bytes] = asyncio.Queue()
    connection = await asyncpg.connect(url)
    await connection.add_listener(CHANNEL, lambda *said: heard.put_nowait(str(said[3]).encode()))
    told(0)
    while True:
        yield await heard.get()


_WAYS: dict[str, Callable[..., AsyncIterator[bytes]]] = {
    "websocket": _over_websocket,
    "events": _in_events,
    "listen": _listening,
}


async def _follow(kind: str, *where: str) -> None:
    ways: dict[str, Callable[..., AsyncIterator[bytes]]] = {
        "websocket": _over_websocket,
        "events": _in_events,
        "listen": _listening,
    }
    async for _ in ways[kind](*where):
        told(time.monotonic())


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_follow(*sys.argv[1:]))
