"""Media types: what a caller sends and wants back (RFC 9110, section 12). Knows nothing else of HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass
from email.message import Message
from functools import lru_cache

__all__ = ["EVENT_STREAM", "GRAPHQL_RESPONSE", "HTML", "JSON", "accepted", "content_type_is_json"]

JSON = "application/json"
GRAPHQL_RESPONSE = "application/graphql-response+json"
HTML = "text/html"
EVENT_STREAM = "text/event-stream"

MAX_LENGTH = 1_000
"""Characters of a header that are looked into; browsers send about 150."""

MAX_ENTRIES = 32
"""Media types that an Accept header may list."""


@dataclass(frozen=True, slots=True)
class _Range:
    """One entry of an Accept header."""

    kind: str
    quality: float
    exactness: int

    def covers(self, media: str) -> bool:
        """Whether the range includes a media type."""
        return self.kind in {"*/*", media} or (self.kind.endswith("/*") and media.startswith(self.kind[:-1]))


def accepted(header: str | None, offered: tuple[str, ...] = (JSON, GRAPHQL_RESPONSE)) -> str | None:
    """The media type to answer in, or None when nothing offered is acceptable (HTTP 406).

    Among equals the one listed first by the caller wins; a wildcard means the first that is offered. Without a header
    the answer is `application/json`, which every client reads and the audits of npm's `graphql-http` ask for. A header
    longer than any honest client's accepts nothing, and is not looked into: anybody may send one.
    """
    if header is None or not header.strip():
        return offered[0]
    if len(header) > MAX_LENGTH or header.count(",") >= MAX_ENTRIES:
        return None
    return _best(header, offered)


@lru_cache(maxsize=256)
def _best(header: str, offered: tuple[str, ...]) -> str | None:
    ranges = _ranges(header)
    weights = {media: _quality(media, ranges) for media in offered}
    best: tuple[float, int] | None = None
    chosen: str | None = None
    for position, entry in enumerate(ranges):
        for media, weight in weights.items():
            rank = (weight, -position)
            if weight > 0 and entry.covers(media) and (best is None or rank > best):
                best, chosen = rank, media
    return chosen


@lru_cache(maxsize=256)
def _ranges(header: str) -> tuple[_Range, ...]:
    return tuple(_range(entry) for entry in header.split(",") if entry.strip())


def _range(entry: str) -> _Range:
    kind, parameters = _parse(entry)
    try:
        quality = float(parameters.get("q", "1"))
    except ValueError:
        quality = 0.0
    if not 0 <= quality <= 1 or parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8"}:
        quality = 0.0
    return _Range(kind, quality, 0 if kind == "*/*" else 1 if kind.endswith("/*") else 2)


def _quality(media: str, ranges: Sequence[_Range]) -> float:
    """The weight of a media type: that of the most exact range which covers it."""
    covering = [entry for entry in ranges if entry.covers(media)]
    if not covering:
        return 0.0
    exactness = max(entry.exactness for entry in covering)
    return max(entry.quality for entry in covering if entry.exactness == exactness)


def content_type_is_json(header: str | None) -> bool:
    """Whether a body is declared as `application/json` in UTF-8, which is also what no charset means."""
    return header is not None and len(header) <= MAX_LENGTH and _is_json(header)


@lru_cache(maxsize=256)
def _is_json(header: str) -> bool:
    kind, parameters = _parse(header)
    return kind == JSON and parameters.get("charset", "utf-8").lower() in {"utf-8", "utf8"}


def _parse(header: str) -> tuple[str, dict[str, str]]:
    message = Message()
    message["content-type"] = header.replace("\r", "").replace("\n", "")
    found = message.get_params(failobj=[("", "")])
    return found[0][0].strip().lower(), {name.lower(): value for name, value in found[1:]}
