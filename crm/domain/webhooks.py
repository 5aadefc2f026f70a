"""Webhooks as rules: which addresses may be registered, when a message is sent again, what an answer means. Pure.

What is told, and how it is signed, is Standard Webhooks 1.0.0 (https://www.standardwebhooks.com); the delays are those
of its example.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

__all__ = [
    "DELAYS",
    "LONGEST_PAUSE",
    "PORTS",
    "Answer",
    "Kind",
    "Verdict",
    "checked_address",
    "delay",
    "message_id",
    "pause",
    "verdict",
]


class Kind(StrEnum):
    """The types of messages: full-stop delimited, as the specification recommends."""

    CHANGED = "patient.changed"
    MERGED = "patient.merged"
    UNMERGED = "patient.unmerged"
    ERASED = "patient.erased"


DELAYS: Final = (5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400)
"""Seconds before the second, third ... attempt: ten attempts within 75 hours and 35 minutes."""

LONGEST_PAUSE: Final = 300
"""Seconds for which an endpoint that fails is left alone at most, unless it asks for longer."""

PORTS: Final = frozenset({443, 8443})
"""Where receivers may listen: the ports of HTTPS, so that no other service of a host is ever spoken to."""

_LONGEST_WAIT = 86_400
_LONGEST_ADDRESS = 2_000
_HOST = re.compile(r"(?=.{4,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_TARGET = re.compile(r"[!-~]*")
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})


class Verdict(StrEnum):
    """What one attempt came to.

    DELIVERED is done. FAILED is tried again in its time. BUSY is too, and the endpoint is left alone meanwhile. GONE
    ends the endpoint.
    """

    DELIVERED = "DELIVERED"
    FAILED = "FAILED"
    BUSY = "BUSY"
    GONE = "GONE"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one attempt: the status, or a word where there was none; `wait` are seconds that were asked for.

    The words are `timeout`, `unreachable`, `tls`, `address` (the name leads where nothing may be sent) and `protocol`.
    """

    status: int | None = None
    word: str = ""
    wait: int = 0

    @property
    def code(self) -> str:
        """How it is shown: `status-500`, or the word."""
        return f"status-{self.status}" if self.status is not None else self.word


def checked_address(url: str, *, development: bool = False) -> str:
    """The address as it may be registered. Raises ValueError, with a short word, for every other one.

    HTTPS to a name, on one of `PORTS`; no user, no fragment. In development also HTTP to this machine, on any port.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("address") from None
    host, target = (parts.hostname or "").lower(), f"{parts.path}?{parts.query}"
    if not host or "@" in parts.netloc or "#" in url or len(url) > _LONGEST_ADDRESS or not _TARGET.fullmatch(target):
        raise ValueError("address")
    shown = f"[{host}]" if ":" in host else host
    if development and parts.scheme == "http" and shown in _LOOPBACK:
        return url
    if parts.scheme != "https":
        raise ValueError("https")
    if shown in _LOOPBACK or host.endswith(".localhost"):
        raise ValueError("not_public")
    if not _HOST.fullmatch(host):
        raise ValueError("host_name")
    if (port or 443) not in PORTS:
        raise ValueError("port")
    return url


def message_id(endpoint_id: str, change_id: str) -> str:
    """The `webhook-id` of a change for an endpoint: the same at each attempt, and when it is replayed.

    Positions are no part of it: after a restore they are used again, for other changes. It holds no full stop, which
    separates what is signed.
    """
    return f"msg_{endpoint_id.replace('-', '')}_{change_id.replace('-', '')}"


def delay(attempts: int, chance: float, wait: int = 0) -> float | None:
    """Seconds until the next attempt after so many; None where there is none any more.

    Up to a fifth is added by `chance` (0 to 1), so that messages which failed together do not come back together.
    `wait` are seconds that the receiver asked for.
    """
    if attempts > len(DELAYS):
        return None
    return max(DELAYS[attempts - 1] * (1 + chance / 5), min(wait, _LONGEST_WAIT))


def pause(failures: int, wait: int = 0) -> int:
    """Seconds for which an endpoint that failed so often in a row, or asked for `wait`, is left alone."""
    return max(min(1 << min(failures, 16), LONGEST_PAUSE), min(wait, _LONGEST_WAIT))


_BUSY = frozenset({408, 429, 502, 503, 504})


def verdict(answer: Answer) -> Verdict:
    """What the specification makes of an answer: any 2xx is success, a redirect is none, 410 means never again."""
    if answer.status is None:
        return Verdict.BUSY
    if 200 <= answer.status <= 299:
        return Verdict.DELIVERED
    if answer.status == 410:
        return Verdict.GONE
    return Verdict.BUSY if answer.status in _BUSY or answer.wait else Verdict.FAILED
