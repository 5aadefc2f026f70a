"""Witnesses as they are reached over HTTP (C2SP tlog-witness): brings them checkpoints, asks for what they saw.

Plain requests without redirects, proxies, cookies or credentials, each with a deadline of its own. What a witness
answers is believed as far as its key has signed it.
"""

import asyncio
import base64
import ssl
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import quote, urlsplit

from crm.crypto.cosignature import COSIGNATURE, cosigned_at, lines_of
from crm.crypto.note import verifier_key, with_signatures
from crm.errors import CrmError, Tampered

__all__ = ["Conflict", "Refused", "Witness"]

DEADLINE = 10.0
"""Seconds for one request, from the connection to the last octet."""

_LIMIT = 65_536


class Conflict(CrmError):
    """The witness last saw another size of this log than the one that was named."""

    def __init__(self, size: int) -> None:
        super().__init__("the witness saw another size")
        self.size = size


class Refused(CrmError):
    """The witness did not cosign, for a reason of its own: an HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the witness answered with status {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Witness:
    """A witness at `url`, whose cosignatures verify under `key`."""

    url: str
    key: str

    @property
    def name(self) -> str:
        """The name that it signs under."""
        return verifier_key(self.key, COSIGNATURE).name

    async def cosigned(self, old: int, proof: Sequence[bytes], note: str) -> str:
        """The witness's lines for the checkpoint `note`; `proof` shows that its first `old` leaves are what it was.

        Raises Conflict, Refused, Tampered for an answer that its key did not sign, and OSError where it is away.
        """
        steps = "".join(f"{base64.b64encode(step).decode()}\n" for step in proof)
        status, body = await self._asked("POST", "/add-checkpoint", f"old {old}\n{steps}\n{note}".encode())
        if status == 409 and body.strip().isdigit() and len(body) < 24:
            raise Conflict(int(body))
        if status != 200:
            raise Refused(status)
        try:
            answered = with_signatures(note, lines_of(with_signatures(note, body.decode()), self.key))
        except UnicodeDecodeError:
            raise Tampered("a witness's answer") from None
        cosigned_at(answered, self.key)
        return lines_of(answered, self.key)

    async def latest(self, origin: str) -> str | None:
        """The newest checkpoint of a log that it has, cosigned; None where it has none.

        Raises Refused, Tampered and OSError, as `cosigned` does.
        """
        status, body = await self._asked("GET", f"/checkpoint/{quote(origin, safe='')}", None)
        if status == 404:
            return None
        if status != 200:
            raise Refused(status)
        try:
            note = body.decode()
        except UnicodeDecodeError:
            raise Tampered("a witness's answer") from None
        cosigned_at(note, self.key)
        return note

    async def _asked(self, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
        return await asyncio.to_thread(_request, self.url, method, target, body)


def _request(url: str, method: str, target: str, body: bytes | None) -> tuple[int, bytes]:
    """Status and body of an answer. Raises OSError for anything that is no complete answer within the deadline."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(host, parts.port, timeout=DEADLINE, context=ssl.create_default_context())
    else:
        connection = HTTPConnection(host, parts.port, timeout=DEADLINE)
    # A socket's own timeout begins anew with every octet; this one does not.
    guard = threading.Timer(DEADLINE, _cut, [connection])
    guard.daemon = True
    guard.start()
    try:
        connection.request(method, parts.path + target, body, {"Content-Type": "text/plain"} if body else {})
        response = connection.getresponse()
        octets = response.read(_LIMIT + 1)
        if len(octets) > _LIMIT or response.length:
            raise OSError("the witness's answer is too large, or broke off")
        return response.status, octets
    except (HTTPException, ValueError) as error:
        raise OSError("the witness's answer is not HTTP") from error
    finally:
        guard.cancel()
        connection.close()


def _cut(connection: HTTPConnection) -> None:
    """Ends a request that takes too long, whatever it waits for."""
    open_socket = connection.sock
    if open_socket is not None:
        open_socket.close() if isinstance(open_socket, ssl.SSLSocket) else open_socket.shutdown(2)
