"""HTTP/1.1 as uvicorn reads it, with bounds on what it would read forever: octets around bodies, waiting, pipelines.

Neither httptools nor uvicorn bounds the head of a request, so anybody could fill the memory with one header, or hold
connections with heads that never end. Bodies are bounded by the application, which knows whose they are.
"""

from asyncio import BaseTransport, TimerHandle

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

__all__ = ["BoundedHttp"]

SLICE = 4_096
"""Octets that are parsed between two looks at the bounds."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, closing what goes beyond the bounds: with 431 or 408 where that answers anything."""

    octets = 16_384
    """What one message may hold besides its body: request line, headers, and whatever goes with chunks."""
    patience = 10.0
    """Seconds from a connection, or the first octet of a head, to its end; and for what follows an early answer."""
    pipelined = 16
    """Requests that may wait behind the one that is being answered."""

    _spent = 0
    _in_head = True
    _timer: TimerHandle | None = None

    def connection_made(self, transport: BaseTransport) -> None:
        """Begins to wait for the first head."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing to wait for any more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses the octets piece by piece, as long as they stay within the bounds."""
        if self._in_head:
            self._wait()
        for start in range(0, len(data), SLICE):
            piece = data[start : start + SLICE]
            self._spent += len(piece)
            super().data_received(piece)
            if self._spent > self.octets or len(self.pipeline) > self.pipelined:
                self._end(431)
            if self.transport.is_closing() or self.transport.get_protocol() is not self:
                return  # or it speaks WebSocket now, and a client sends nothing before it was told so

    def on_headers_complete(self) -> None:
        """A whole head: now the application waits for the body."""
        self._in_head = False
        self._wait_no_more()
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps headers, and drops what comes in their shape behind a body."""
        if self._in_head:
            super().on_header(name, value)

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
