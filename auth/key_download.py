"""Download of a key set from its issuer: one plain GET, without redirects, proxies, cookies or credentials.

Which addresses are allowed, and when to ask them, is decided in `auth.issuers`.
"""

import asyncio
import ssl
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

__all__ = ["download"]

TIMEOUT = 5.0
"""Seconds for connecting, and for each reading."""


async def download(url: str, limit: int) -> bytes:
    """The body at `url`, at most `limit` octets; raises OSError for any other outcome than a complete 200."""
    return await asyncio.to_thread(_get, url, limit)


def _get(url: str, limit: int) -> bytes:
    parts = urlsplit(url)
    host = parts.hostname or ""
    connection: HTTPConnection
    if parts.scheme == "https":
        connection = HTTPSConnection(host, parts.port, timeout=TIMEOUT, context=ssl.create_default_context())
    else:
        connection = HTTPConnection(host, parts.port, timeout=TIMEOUT)
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"Accept": "application/jwk-set+json, application/json"})
        response = connection.getresponse()
        if response.status != 200:
            raise OSError(f"the issuer answered with status {response.status}")
        octets = response.read(limit + 1)
        if len(octets) > limit:
            raise OSError(f"the issuer answered with more than {limit} octets")
        if response.length:
            raise OSError("the issuer's answer broke off")
        return octets
    except HTTPException as error:
        raise OSError("the issuer's answer is not HTTP") from error
    finally:
        connection.close()
