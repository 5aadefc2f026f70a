"""One POST to an address that strangers chose: checked, pinned, bounded. Knows nothing of what is sent.

No redirects, proxies, cookies or credentials; a connection for each message. The certificate is verified for the host
name while the connection goes to the very address that was checked. Of an answer only the status and Retry-After count.
"""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import SplitResult, urlsplit

import h11

from crm.delivery.destinations import Forbidden, Resolve, admitted, is_loopback, is_public
from crm.domain.webhooks import Answer

__all__ = ["AGENT", "Poster"]

AGENT: Final = "heed-webhooks/1"

_HEAD = 16_384
"""Octets that the head of an answer may have."""

_BODY = 65_536
"""Octets of a body that are read, and thrown away, so that an honest receiver can finish what it says."""

_LINGER = 1.0
"""Seconds for that."""

_CHUNK = 8_192
_TRIED = 3


class Poster:
    """Sends messages. With `development`, plain HTTP may go to this machine, and nowhere else.

    timeout     seconds for one attempt, from the look-up of the name to the status of the answer
    resolve     looks names up
    admits      which addresses HTTPS may go to
    tls         by what certificates are verified
    """

    def __init__(
        self,
        resolve: Resolve,
        *,
        timeout: float = 15.0,
        development: bool = False,
        admits: Callable[[str], bool] = is_public,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._resolve = resolve
        self._timeout = timeout
        self._development = development
        self._admits = admits
        self._tls = tls or ssl.create_default_context()

    @property
    def timeout(self) -> float:
        """Seconds that one attempt may take."""
        return self._timeout

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """What became of it. Raises nothing but a cancellation."""
        try:
            async with asyncio.timeout(self._timeout):
                return await self._posted(urlsplit(url), headers, body)
        except Forbidden:
            return Answer(word="address")
        except TimeoutError:
            return Answer(word="timeout")
        except ssl.SSLError:
            return Answer(word="tls")
        except (OSError, UnicodeError):  # the latter from names that no name server could be asked for
            return Answer(word="unreachable")
        except (h11.ProtocolError, ValueError):
            return Answer(word="protocol")

    async def _posted(self, parts: SplitResult, headers: Mapping[str, str], body: bytes) -> Answer:
        reader, writer = await self._connected(parts)
        try:
            connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_HEAD)
            for event in (_request(parts, headers, body), h11.Data(data=body), h11.EndOfMessage()):
                writer.write(connection.send(event) or b"")
            await writer.drain()
            response = await _response(reader, connection)
            with contextlib.suppress(OSError, TimeoutError, h11.ProtocolError):
                async with asyncio.timeout(_LINGER):
                    await _drained(reader, connection)
            return Answer(response.status_code, wait=_wait(response))
        finally:
            writer.transport.abort()

    async def _connected(self, parts: SplitResult) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, open_wire = parts.hostname or "", parts.scheme == "http"
        if open_wire and not self._development:
            raise Forbidden("an open wire")
        port = parts.port or (80 if open_wire else 443)
        addresses = await admitted(self._resolve, host, port, is_loopback if open_wire else self._admits)
        failure: OSError = OSError("no address answered")
        for address in addresses[:_TRIED]:
            try:
                if open_wire:
                    return await asyncio.open_connection(address, port)
                return await asyncio.open_connection(address, port, ssl=self._tls, server_hostname=host)
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
        raise failure


def _request(parts: SplitResult, headers: Mapping[str, str], body: bytes) -> h11.Request:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fixed = {
        "host": parts.netloc,
        "user-agent": AGENT,
        "content-type": "application/json",
        "content-length": str(len(body)),
        "connection": "close",
    }
    return h11.Request(method="POST", target=target, headers=list({**fixed, **headers}.items()))


async def _response(reader: asyncio.StreamReader, connection: h11.Connection) -> h11.Response:
    """The final status; those before it are passed over."""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(_CHUNK))
        elif isinstance(event, h11.Response):
            return event
        elif not isinstance(event, h11.InformationalResponse):
            raise OSError("the connection ended without an answer")


async def _drained(reader: asyncio.StreamReader, connection: h11.Connection) -> None:
    taken = 0
    while taken < _BODY:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            octets = await reader.read(_CHUNK)
            taken += len(octets)
            connection.receive_data(octets)
        elif not isinstance(event, h11.Data):
            return


def _wait(response: h11.Response) -> int:
    """The seconds of a Retry-After, in either of its forms (RFC 9110, section 10.2.3); 0 without a sound one."""
    text = next((value for name, value in response.headers if name == b"retry-after"), b"").decode("latin-1").strip()
    if text.isascii() and text.isdigit():
        return int(text[:9])
    try:
        return max(0, round(parsedate_to_datetime(text).timestamp() - time.time()))
    except (ValueError, TypeError, OverflowError):
        return 0
