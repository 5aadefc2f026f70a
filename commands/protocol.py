"""HTTP/1.1 as uvicorn reads it, with bounds on what it would read forever: octets around bodies, waiting, pipelines.

Neither httptools nor uvicorn bounds the head of a request, so anybody could fill the memory with one header, or hold
connections with heads that never end. Bodies are bounded by the application, which knows whose they are.

An answer of known length is written in one piece (docs/decisions/0036); everything else is uvicorn's business.
"""

import asyncio
import re
from asyncio import BaseTransport, TimerHandle
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

__all__ = ["BoundedHttp"]

SLICE = 4_096
"""Octets that are parsed between two looks at the bounds."""


_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that no header may hold, besides those which end it."""


class _Exchange(RequestResponseCycle):
    """A request and its answer. One of known length waits for its body, and leaves together with it."""

    _head: bytes | None = None
    _length = 0

    async def send(self, message: Any) -> None:
        """As ASGI has it. Flow control is uvicorn's: nothing is written while the transport says that it is full."""
        if message["type"] == "http.response.start" and not self.response_started:
            self._head, self._length = self._written(message)
            if self._head is not None:
                return
        elif self._head is not None:
            head, self._head = self._head, None
            body = message.get("body", b"")
            if message.get("more_body", False) or len(body) != self._length:
                raise RuntimeError("the body of an answer is not as long as was said")
            await self._finish(head, body)
            return
        await super().send(message)

    def _written(self, start: Any) -> tuple[bytes | None, int]:
        """The head of an answer and the length of its body; None where uvicorn shall write it."""
        if self.scope["method"] == "HEAD":
            return None, 0
        lines = [STATUS_LINE[start["status"]][:-2]]
        length = -1
        for name, value in start["headers"]:
            if name == b"content-length":
                length = int(value)
            elif not _is_plain(name):
                return None, 0
            lines.append(name + b": " + value)
        if not self.keep_alive:
            lines.append(b"connection: close")
        head = b"\r\n".join(lines)
        ends = len(lines) - 1
        if length < 1 or head.count(b"\r") != ends or head.count(b"\n") != ends or _CONTROL.search(head):
            return None, 0
        return head, length

    async def _finish(self, head: bytes, body: bytes) -> None:
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(b"".join((head, b"\r\n\r\n", body)))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


@lru_cache(maxsize=256)
def _is_plain(name: bytes) -> bool:
    """Whether a header of an answer is well named, and says nothing about the connection or how the body is sent."""
    return bool(_NAME.fullmatch(name)) and name not in {b"connection", b"transfer-encoding"}


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, closing what goes beyond the bounds: with 431 or 408 where that answers anything."""

    octets = 16_384
    """What one message may hold besides its body: request line, headers, and whatever goes with chunks."""
    patience = 10.0
    """Seconds from a connection, or the first octet of a head, to its end; and for what follows an early answer."""
    unread = 30.0
    """Seconds in which some of what was sent must be taken, once it is more than the system keeps for us."""
    pipelined = 16
    """Requests that may wait behind the one that is being answered."""

    _spent = 0
    _in_head = True
    _timer: TimerHandle | None = None
    _unread: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begins to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._wait_no_more()
        self.resume_writing()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Somebody does not take what was sent: what waits for them does not wait for ever."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.unread, self.transport.abort)

    def resume_writing(self) -> None:
        """They do."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parses the octets piece by piece, as long as they stay within the bounds."""
        for start in range(0, len(data), SLICE):
            piece = data if len(data) <= SLICE else data[start : start + SLICE]
            self._spent += len(piece)
            super().data_received(piece)
            if self._spent > self.octets or len(self.pipeline) > self.pipelined:
                self._end(431)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return  # or it speaks WebSocket now, and a client sends nothing before it was told so
        if self._in_head and self._spent:
            self._wait()

    def on_headers_complete(self) -> None:
        """A whole head: now the application waits for the body. As uvicorn does it, with exchanges of our own."""
        self._in_head = False
        self._wait_no_more()
        if self.parser.should_upgrade():
            super().on_headers_complete()
            return
        version = self.parser.get_http_version()
        self._complete_scope(version)
        before = self.cycle
        self.cycle = _Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if not bool(before) or before.response_complete:  # there is none before the first request
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def _complete_scope(self, version: str) -> None:
        scope: Any = self.scope
        scope["method"] = self.parser.get_method().decode("ascii")
        scope["http_version"] = version
        raw, query = self.url, b""
        if not raw.startswith(b"/") or b"?" in raw or b"#" in raw:
            url = httptools.parse_url(raw)
            raw, query = url.path, url.query or b""
        path = raw.decode("ascii")
        scope["path"] = self.root_path + (unquote(path) if "%" in path else path)
        scope["raw_path"] = self.root_path.encode("ascii") + raw
        scope["query_string"] = query

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps headers, and drops what comes in their shape behind a body."""
        if self._in_head:
            name = name.lower()
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True
            self.headers.append((name, value))

    def on_body(self, body: bytes) -> None:
        """Octets of a body are the application's to count."""
        self._spent -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """What comes now is the next head. Behind an early answer nothing else waits for that one, so this goes on."""
        self._in_head = True
        self._spent = 0
        if bool(self.cycle) and not self.cycle.response_complete:  # a handshake of a WebSocket has no cycle
            self._wait_no_more()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer before the end of the body: what is left of that may not take forever."""
        super().on_response_complete()
        if not self._in_head and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._end, 408)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, status: int) -> None:
        answering = bool(self.cycle) and not self.cycle.response_complete  # there is no cycle before the first head
        if self._in_head and self._spent and not answering and not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
