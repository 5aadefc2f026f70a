"""GraphQL over server-sent events, in distinct connections: a response for each operation. Owns how events are written.

The text is PROTOCOL.md of the npm package `graphql-sse`; what it leaves open is in docs/transports.md.
"""

import asyncio
from contextlib import ExitStack, aclosing, suppress

from starlette.types import Receive, Send

from crm.services.request import Request
from schema.execution import Answer, Parameters
from schema.settings import Settings
from schema.streams import Caller, Ended, Left, Streams, written

__all__ = ["HEADERS", "EventStream", "events"]

HEADERS = {"x-accel-buffering": "no"}
"""Asks proxies that would keep events back not to (nginx)."""

_COMPLETE = b"event: complete\ndata: \n\n"
"""Browsers pass an event on only if it has a `data` field."""
_ALIVE = b":\n\n"


def _next(answer: Answer) -> bytes:
    return b"event: next\ndata: " + written(answer)[1] + b"\n\n"


def events(answer: Answer) -> bytes:
    """The whole body for an operation that has one answer."""
    return _next(answer) + _COMPLETE


class EventStream:
    """The response to a subscription. Counted as open from when it is made until it was sent."""

    status = 200
    code = "none"

    def __init__(
        self, streams: Streams, settings: Settings, caller: Caller, request: Request, parameters: Parameters
    ) -> None:
        self._streams = streams
        self._settings = settings
        self._caller = caller
        self._request = request
        self._parameters = parameters
        self._place = ExitStack()
        self._place.enter_context(streams.opened("sse", caller))

    async def send(self, receive: Receive, send: Send) -> None:
        """Writes events until the last, or until the client, the token or this process is gone.

        Only a subscription that came to its own end is completed; clients take any other end for a reason to ask anew.
        """
        with self._place:
            headers = {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-store",
                "x-content-type-options": "nosniff",
                "x-request-id": self._request.id,
                **HEADERS,
            }
            raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": 200, "headers": raw})
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(_left(receive))
                    tasks.create_task(self._streams.watch(self._caller))
                    tasks.create_task(self._pulse(send))
                    await self._follow(send)
                    raise Ended
            except* Ended:
                pass
            with suppress(Left):
                await self._write(send, b"", more=False)

    async def _follow(self, send: Send) -> None:
        async with aclosing(self._streams.answers(self._caller, self._request, self._parameters)) as answers:
            async for answer in answers:
                self._streams.told("sse", answer)
                await self._write(send, _next(answer))
        await self._write(send, _COMPLETE)

    async def _pulse(self, send: Send) -> None:
        """A comment now and then, so that neither side nor a proxy takes silence for an end."""
        while True:
            await self._write(send, _ALIVE)
            await asyncio.sleep(self._settings.stream_silence)

    async def _write(self, send: Send, octets: bytes, *, more: bool = True) -> None:
        """Who takes nothing for as long as a request may last is not waited for."""
        try:
            async with asyncio.timeout(self._settings.deadline):
                await send({"type": "http.response.body", "body": octets, "more_body": more})
        except (TimeoutError, OSError):
            raise Left from None


async def _left(receive: Receive) -> None:
    """Raises as soon as the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    raise Left
