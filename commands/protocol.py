"""HTTP/1.1 as uvicorn reads it, with bounds on what it would read forever: octets around bodies, waiting, pipelines.

Neither httptools nor uvicorn bounds the head of a request, so anybody could fill the memory with one header, or hold
connections with heads that never end. Bodies are bounded by the application, which knows whose they are.

An answer of known length is written in one piece (docs/decisions/0036); everything else is uvicorn's business.
Whatever is refused here is answered behind what is owed to earlier requests, never in place of it.
"""

import asyncio
import re
from asyncio import BaseTransport, TimerHandle
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

__all__ = ["BoundedHttp", "Connections"]

SLICE = 4_096
"""Octets that are parsed between two looks at the bounds."""


_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""Characters that no header may hold, besides those which end it."""


class Connections(ServerState):
    """The connections of one server. Once it is `leaving`, each answer is the last one of its connection."""

    leaving = False


class _Exchange(RequestResponseCycle):
    """A request and its answer. One of known length waits for its body, and leaves together with it."""

    status = 0
    """Of the answer, once it has begun."""
    _head: bytes | None = None
    _length = 0

    async def send(self, message: Any) -> None:
        """As ASGI has it. Flow control is uvicorn's: nothing is written while the transport says that it is full."""
        if message["type"] == "http.response.start" and not self.response_started:
            self.status = message["status"]
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
        for name, value in self.default_headers:  # the date, of this second
            lines.append(name + b": " + value)
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


@lru_cache(maxsize=256)
def _is_host(value: bytes) -> bool:
    """Whether a value of the header Host may be the name of a host and a port."""
    return bool(_HOST.fullmatch(value))


class _Unfit(Exception):
    """A head that is refused with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, closing what goes beyond the bounds: with 431, 408 or 400 where that answers anything."""

    octets = 16_384
    """What one message may hold besides its body: request line, headers, and whatever goes with chunks."""
    patience = 10.0
    """Seconds from a connection, or the first octet of a head, to its end; and for what follows an early answer."""
    unread = 30.0
    """Seconds in which some of what was sent must be taken, once it is more than the system keeps for us."""
    pipelined = 16
    """Requests that may wait behind the one that is being answered."""
    pause = 0.05
    """Seconds in which nothing is read behind a refusal for now (429, 503); twice as long behind each further one."""
    longest_pause = 1.0
    """Seconds that such a pause lasts at most, as Retry-After says."""

    _spent = 0
    _in_head = True
    _before: Any = None
    """The exchange before the one whose request is being read, if it has no answer yet."""
    _last: int | None = None
    """The status of the last answer, which waits for others; nothing is read any more."""
    _timer: TimerHandle | None = None
    _unread: TimerHandle | None = None
    _refusals = 0
    """Refusals for now, one behind the other."""
    _resting: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begins to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._wait_no_more()
        self.resume_writing()
        if self._resting is not None:
            self._resting.cancel()
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
        self._unset_keepalive_if_required()
        if self._last is not None:
            return
        for start in range(0, len(data), SLICE):
            piece = data if len(data) <= SLICE else data[start : start + SLICE]
            self._spent += len(piece)
            self._parse(piece)
            if self._is_over():
                return
            if self._spent > self.octets or len(self.pipeline) > self.pipelined:
                self._end(431)
                return
        if self._in_head and self._spent:
            self._wait()

    def _is_over(self) -> bool:
        """Whether nothing is read any more. Or it speaks WebSocket now: a client sends nothing before it is told so."""
        return self._last is not None or self.transport.is_closing() or self.transport.get_protocol() is not self

    def _parse(self, piece: bytes) -> None:
        """Feeds the parser. It takes what stands behind any offer to upgrade for another protocol, and is told anew."""
        while piece:
            try:
                self.parser.feed_data(piece)
                return
            except httptools.HttpParserUpgrade as upgrade:
                if self._should_upgrade():
                    self.handle_websocket_upgrade()
                    return
                piece = self._without_offer() + piece[upgrade.args[0] :]
            except httptools.HttpParserError as error:  # uvicorn would log each, with no word on who or what
                unfit = error.__context__
                self._end(unfit.status if isinstance(unfit, _Unfit) else 400)
                return

    def _should_upgrade(self) -> bool:
        """Whether a head is a handshake that is taken: one without a body, and behind no request without an answer.

        Any other offer is passed over, and the request answered like one without (RFC 9110, 7.8).
        """
        bare = all(
            name != b"transfer-encoding" and (name != b"content-length" or value == b"0")
            for name, value in self.headers
        )
        plain = self.parser.get_method() == b"GET" and self.parser.get_http_version() == "1.1"
        return plain and bare and not self._answering() and super()._should_upgrade()

    def _without_offer(self) -> bytes:
        """The head that was read, for a parser that begins with it and meets no offer in it."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn has it
        lines = [b"%b %b HTTP/%b" % (method, self.url, version)]
        lines += [b"%b: %b" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _answering(self) -> bool:
        """Whether a request was read that has no whole answer yet; there is none before the first."""
        return bool(self.cycle) and not self.cycle.response_complete

    def on_headers_complete(self) -> None:
        """A whole head: now the application waits for the body. As uvicorn does it, with exchanges of our own.

        Raises _Unfit.
        """
        version = self.parser.get_http_version()
        self._check(version)
        if self.parser.should_upgrade():
            if self._should_upgrade():
                self._in_head = False
                self._wait_no_more()
                super().on_headers_complete()
            return
        self._complete_scope(version)
        waiting = self._answering()
        self._before = self.cycle if waiting else None
        self._in_head = False
        self._wait_no_more()
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
            keep_alive=version != "1.0" and self.parser.should_keep_alive() and not self._leaving(),
            on_response=self.on_response_complete,
        )
        if waiting:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start_asgi_task(self.cycle, self.app)

    def _leaving(self) -> bool:
        """Whether this is the last answer here. Requests that wait behind another one are still answered in turn."""
        leaving = isinstance(self.server_state, Connections) and self.server_state.leaving
        return leaving and not self._answering()

    def _check(self, version: str) -> None:
        """Raises _Unfit for a version or host that RFC 9112 does not allow (2.3, 3.2). Nobody is connected through."""
        if version not in {"1.0", "1.1"}:
            raise _Unfit(505)
        if self.parser.get_method() == b"CONNECT":
            raise _Unfit(501)
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) != 1 and (hosts or version == "1.1"):
            raise _Unfit(400)
        if hosts and not _is_host(hosts[0]):
            raise _Unfit(400)

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
        if self._in_head:
            return  # it offers an upgrade, and comes again without
        self._in_head = True
        self._spent = 0
        if self._answering():  # a handshake of a WebSocket has no cycle
            self._wait_no_more()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The next answer may come. One before the end of the body: what is left of that may not take forever."""
        super().on_response_complete()
        if self._last is not None and not self._answering():
            self._end(self._last)
        elif not self._in_head and not self.transport.is_closing():
            self._wait()
        elif not self._answering() and isinstance(self.cycle, _Exchange):
            self._rest(self.cycle.status)

    def _rest(self, status: int) -> None:
        """Reads nothing for a while behind a refusal: who comes back too soon waits at no cost."""
        if status not in {429, 503}:
            self._refusals = 0
        elif not self.transport.is_closing():
            pause = min(self.pause * 2**self._refusals, self.longest_pause)
            self._refusals += 1
            self.flow.pause_reading()
            self._resting = self.loop.call_later(pause, self._rested)

    def _rested(self) -> None:
        self._resting = None
        if not self.transport.is_closing():
            self.flow.resume_reading()

    def _wait(self) -> None:
        if self._timer is None:
            self._timer = self.loop.call_later(self.patience, self._late)

    def _wait_no_more(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _late(self) -> None:
        self._end(408 if self._spent else 0)

    def _end(self, status: int) -> None:
        """Reads no more. `status` answers what is being read, if it has no answer; 0 says nothing."""
        self._wait_no_more()
        if self.pipeline and not self._in_head:  # nobody began to answer the one that will not come whole
            self.pipeline.popleft()
            self.cycle, self._in_head = self._before, True
        if self._in_head and self._answering():
            self._last = status
            return
        if not self._in_head:
            status = 0 if self.cycle.response_started else status
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if status and not self.transport.is_closing():
            lines = [name + b": " + value + b"\r\n" for name, value in self.server_state.default_headers]
            end = b"content-length: 0\r\nconnection: close\r\n\r\n"
            self.transport.write(b"".join([STATUS_LINE[status], *lines, end]))
        self.transport.close()
