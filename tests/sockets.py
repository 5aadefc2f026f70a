"""Connections that last, for tests: the application as it is really served, on loopback, and sockets of raw frames."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import graphene
import websockets
from graphql import GraphQLSchema
from starlette.applications import Starlette
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from commands import serving
from commands.protocol import Connections
from schema.mutations import Mutation
from schema.queries import Query
from schema.types import Patient

SUBPROTOCOL = Subprotocol("graphql-transport-ws")
PATIENCE = 20.0
"""Seconds after which something that should have come counts as never coming. Nothing is judged by it."""


class Feed:
    """Where a test's subscriptions get their events from: `tell` wakes every subscriber; None ends them."""

    def __init__(self) -> None:
        self.subscribers: set[asyncio.Queue[Any]] = set()
        self.ended = 0
        self._changed = asyncio.Event()

    def tell(self, event: Any) -> None:
        """An event for all who listen."""
        for each in self.subscribers:
            each.put_nowait(event)

    async def events(self) -> AsyncIterator[Any]:
        """What is told from now on. An exception that is told is raised."""
        queue: asyncio.Queue[Any] = asyncio.Queue()
        self.subscribers.add(queue)
        self._changed.set()
        try:
            while (event := await queue.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
        finally:
            self.subscribers.discard(queue)
            self.ended += 1
            self._changed.set()

    async def listened(self, count: int = 1) -> None:
        """Returns once so many listen."""
        async with asyncio.timeout(PATIENCE):
            while len(self.subscribers) != count:
                self._changed.clear()
                await self._changed.wait()

    async def play(self, *events: Any) -> None:
        """Tells each event as soon as somebody listens; behind a None, who listened has ended."""
        for event in events:
            await self.listened()
            self.tell(event)
            if event is None:
                await self.listened(0)


def schema_with(feed: Feed) -> GraphQLSchema:
    """The product's schema, and subscriptions to a feed: `patient` reads the record anew for each event."""

    class Subscription(graphene.ObjectType):  # type: ignore[misc]  # graphene has no types
        """What is told as it happens."""

        patient = graphene.Field(Patient, id=graphene.ID(required=True))
        viewer = graphene.String()
        """The event itself."""

        @staticmethod
        def subscribe_patient(_: Any, info: Any, id: str) -> AsyncIterator[Any]:
            return feed.events()

        @staticmethod
        async def resolve_patient(_: Any, info: Any, id: str) -> Any:
            asked = info.context
            return await asked.services.profiles.read(asked.actor, asked.request, id, asked.asked(info))

        @staticmethod
        def subscribe_viewer(_: Any, info: Any) -> AsyncIterator[Any]:
            return feed.events()

    schema = graphene.Schema(query=Query, mutation=Mutation, subscription=Subscription)
    built: GraphQLSchema = schema.graphql_schema
    return built


@dataclass
class Line:
    """One socket, with short ways to what tests say and hear."""

    socket: ClientConnection

    async def say(self, **message: Any) -> None:
        """Sends a message."""
        await self.socket.send(json.dumps(message))

    async def hear(self) -> dict[str, Any]:
        """The next message."""
        async with asyncio.timeout(PATIENCE):
            heard: dict[str, Any] = json.loads(await self.socket.recv())
            return heard

    async def start(self, token: str | None = "front_desk", **payload: Any) -> "Line":
        """Says who it is, and hears that it is let in."""
        if token is not None:
            payload["authorization"] = f"Bearer {token}"
        await self.say(type="connection_init", payload=payload)
        assert (await self.hear())["type"] == "connection_ack"
        return self

    async def ask(self, query: str, id: str = "1", **more: Any) -> None:
        """Begins an operation."""
        await self.say(id=id, type="subscribe", payload={"query": query, **more})

    async def closed(self) -> tuple[int, str]:
        """Code and reason of the close, whatever was said before it."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await self.socket.recv()
            except websockets.ConnectionClosed:
                return self.socket.close_code or 0, self.socket.close_reason or ""


class Listening:
    """A server of one application, as it is really served."""

    def __init__(self, server: serving._Server, address: tuple[str, int]) -> None:
        self.server = server
        self.host = f"{address[0]}:{address[1]}"
        self.http = f"http://{self.host}/graphql"
        self.ws = f"ws://{self.host}/graphql"

    @asynccontextmanager
    async def line(self, subprotocol: str | None = SUBPROTOCOL, **more: Any) -> AsyncIterator[Line]:
        """A socket, closed with the block."""
        protocols = [Subprotocol(subprotocol)] if subprotocol else None
        async with connect(self.ws, subprotocols=protocols, compression=None, **more) as opened:
            yield Line(opened)

    def stop(self) -> None:
        """Tells the server to end, as a signal does."""
        self.server.should_exit = True


@asynccontextmanager
async def listening(
    app: Starlette, config: Callable[[Any], None] = lambda _: None, message_octets: int = 102_400
) -> AsyncIterator[Listening]:
    """The application on a free port of loopback, until the block ends."""
    made = serving._config(app, message_octets)
    config(made)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened = asyncio.Event()
        told = serving._Told(opened.set, app.state.streams.stop)
        server = serving._Server(made, Connections(), (), told, drain=0)
        task = asyncio.create_task(server._serve([listener]))
        try:
            await opened.wait()
            yield Listening(server, listener.getsockname())
        finally:
            server.should_exit = True
            await task
