"""WebSocket as uvicorn reads it, with bounds on what it would keep forever: pings, fragments, ends nobody waits for.

The size of a message is bounded by uvicorn (`ws_max_size`), what messages mean by the application.
"""

import asyncio
import logging
from asyncio import TimerHandle
from typing import Any, Final

from uvicorn._types import ASGIReceiveEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

__all__ = ["BoundedWebSocket"]

_QUIET: Final = logging.getLogger("heed.websocket")
"""uvicorn and websockets would log addresses, query strings and, at debug, every frame with tokens and values in it."""
_QUIET.setLevel(logging.WARNING)


class BoundedWebSocket(WebSocketsSansIOProtocol):
    """uvicorn's protocol, closing what goes beyond the bounds."""

    fragments = 64
    """Frames that one message may come in."""
    patience = 5.0
    """Seconds for the other side to take what was sent, and to close, once the application is done."""

    _timer: TimerHandle | None = None

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.logger = self.conn.logger = _QUIET
        self.close_timeout = self.patience

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads frames. The head of the handshake comes first and whole: now or never it is understood."""
        super().data_received(data)
        if not self.handshake_initiated:
            self.transport.write(STATUS_LINE[431] + b"content-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def pause_writing(self) -> None:
        """Who does not take our answers is not read from either: every ping would make one more."""
        super().pause_writing()
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Reads on, unless the application has a message that it did not take yet."""
        super().resume_writing()
        if not self.read_paused:
            self.transport.resume_reading()

    async def receive(self) -> ASGIReceiveEvent:
        """The next message; what comes behind it waits until our answers are taken."""
        message = await super().receive()
        if not self.writable.is_set():
            self.transport.pause_reading()
        return message

    def handle_cont(self, event: Frame) -> None:
        """A message in too many pieces is not put together: empty ones would not count for its size."""
        super().handle_cont(event)
        if len(self.frames) > self.fragments:
            self.conn.fail(1009, "too many fragments")
            self.handle_parser_exception()

    def send_receive_event_to_app(self) -> None:
        """A text that is no UTF-8 ends the socket (RFC 6455, 8.1). uvicorn would log a traceback for each, unasked."""
        if self.curr_msg_data_type == "text":
            try:
                b"".join(self.frames).decode()
            except UnicodeDecodeError:
                self.frames = []
                self.conn.fail(1007, "not UTF-8")
                self.handle_parser_exception()
                return
        super().send_receive_event_to_app()

    def shutdown(self) -> None:
        """When the process ends: the application says goodbye itself, after what is being answered."""
        if not self.handshake_complete or self.close_sent:
            super().shutdown()

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """The application is done: what is left to send has so long, and no longer."""
        super().on_task_complete(task)
        if not self.disconnected:
            self._timer = self.loop.call_later(self.patience, self.transport.abort)
