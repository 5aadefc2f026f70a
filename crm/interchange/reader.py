"""Owns how a file becomes records: NDJSON, a Bundle, one resource, and gzip of each; knows one element, `resourceType`.

NDJSON is streamed. A record that cannot be read is a record too, with a `Reject` in the place of its content.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any

from crm.interchange.rejects import Reason, Refused, Reject

__all__ = ["Limits", "Record", "decode", "read"]

_BOM = b"\xef\xbb\xbf"
_GZIP = b"\x1f\x8b"
_WHITE = b" \t\r\n"
_Stream = gzip.GzipFile | BufferedReader


@dataclass(frozen=True, slots=True)
class Limits:
    """How many octets are read at once: of a line, and of a JSON text over many lines or a Bundle on a single one.

    A Patient with a photograph is far below the first; the second is what a process may well hold in memory.
    """

    line: int = 4 * 1024 * 1024
    document: int = 256 * 1024 * 1024


_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    `line` counts from 1. `entry` is its place in a Bundle, from 0, else None. `content` is the parsed object, or why
    there is none. `raw` is the record as it stood, for the rejects file; None where it is too large or unreadable.
    """

    line: int
    entry: int | None
    content: dict[str, Any] | Reject
    raw: bytes | None


def read(path: Path, limits: Limits = _LIMITS) -> Iterator[Record]:
    """The records of `path` in order. Raises `OSError` where the file itself cannot be opened or read."""
    with path.open("rb") as probe:
        packed = probe.read(2) == _GZIP
    line = 0
    try:
        with gzip.open(path, "rb") if packed else path.open("rb") as stream:
            for record in _Text(stream, limits).records():
                line = record.line
                yield record
    except (gzip.BadGzipFile, EOFError, zlib.error):
        # What came before the damage was good and stays good.
        yield Record(line + 1, None, Reject(Reason.BAD_GZIP), None)


def decode(raw: bytes) -> Any:
    """The JSON value of `raw`, strictly: UTF-8, no duplicate keys, no NaN. Raises `Refused`."""
    try:
        return json.loads(raw.decode(), object_pairs_hook=_object, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Refused(Reason.NOT_UTF8) from None
    except RecursionError:
        raise Refused(Reason.TOO_DEEP) from None
    except ValueError:
        raise Refused(Reason.NOT_JSON) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refused(Reason.DUPLICATE_KEY)
    return members


def _no_constant(_: str) -> None:
    raise Refused(Reason.NOT_JSON)


class _Text:
    """A file's text being cut into records."""

    def __init__(self, stream: _Stream, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits

    def records(self) -> Iterator[Record]:
        number, line = 1, self._line().removeprefix(_BOM)
        while line and not line.strip(_WHITE):
            number, line = number + 1, self._line()
        if not self._cut(line) and not _complete(line):
            # The first line is no JSON text by itself: one text over several lines, or NDJSON that begins badly.
            yield from self._document(number, line)
            return
        while line:
            yield from self._of_line(number, line)
            number, line = number + 1, self._line()

    def _line(self) -> bytes:
        """The next line, empty at the end; one above its limit is cut off just above it."""
        line = self._stream.readline(self._limits.line + 1)
        if not self._cut(line):
            return line
        if _is_bundle(line):
            line += self._stream.readline(self._limits.document + 1 - len(line))
        if self._cut(line) and not line.endswith(b"\n"):
            while (rest := self._stream.readline(self._limits.line)) and not rest.endswith(b"\n"):
                pass
        return line

    def _cut(self, line: bytes) -> bool:
        """Whether `line` is above its limit; a Bundle on one line may be as long as a document."""
        return len(line) > self._limits.line and not (_is_bundle(line) and len(line) <= self._limits.document)

    def _document(self, number: int, first: bytes) -> Iterator[Record]:
        text = first + self._stream.read(self._limits.document + 1 - len(first))
        if len(text) > self._limits.document:
            yield Record(number, None, Reject(Reason.TOO_LARGE), None)
            return
        lines = text.split(b"\n")
        if not _complete(text) and any(_is_resource(line) for line in lines):
            for place, line in enumerate(lines, number):
                yield from self._of_line(place, line)
        elif text.strip(_WHITE):
            yield from _of_text(number, text)

    def _of_line(self, number: int, line: bytes) -> Iterator[Record]:
        if self._cut(line):
            yield Record(number, None, Reject(Reason.TOO_LARGE), None)
        elif line.strip(_WHITE):
            yield from _of_text(number, line)


def _is_bundle(line: bytes) -> bool:
    """Whether a long line looks like a Bundle: its type stands near the front."""
    return b'"Bundle"' in line[:4096]


def _complete(line: bytes) -> bool:
    """Whether `line` is blank or a JSON text; what it holds is judged later."""
    if not line.strip(_WHITE):
        return False
    try:
        json.loads(line)
    except RecursionError:
        return True
    except ValueError:
        return False
    return True


def _is_resource(line: bytes) -> bool:
    if b'"resourceType"' not in line:
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _of_text(number: int, text: bytes) -> Iterator[Record]:
    raw = text.strip(_WHITE)
    try:
        value = decode(raw)
    except Refused as refused:
        yield Record(number, None, refused.reject, raw)
        return
    if not isinstance(value, dict):
        yield Record(number, None, Reject(Reason.NOT_AN_OBJECT), raw)
    elif value.get("resourceType") == "Bundle":
        yield from _of_bundle(number, value)
    else:
        yield Record(number, None, value, raw)


def _of_bundle(number: int, bundle: Mapping[str, Any]) -> Iterator[Record]:
    """The entries of a Bundle of any type; what a transaction asks to do with a resource is not looked at.

    A history stands newest first (FHIR 4.0.1, http.html#history) and is read from its end, so that the newest counts.
    """
    entries = bundle.get("entry", [])
    if not isinstance(entries, list):
        yield Record(number, None, Reject(Reason.BAD_TYPE, "entry"), _compact(bundle))
        return
    numbered = list(enumerate(entries))
    for place, entry in reversed(numbered) if bundle.get("type") == "history" else numbered:
        resource = entry.get("resource") if isinstance(entry, dict) else None
        if isinstance(resource, dict):
            yield Record(number, place, resource, _compact(resource))
        else:
            yield Record(number, place, Reject(Reason.NO_RESOURCE, f"entry[{place}]"), _compact(entry))


def _compact(value: object) -> bytes:
    # ASCII with escapes, so that even a lone surrogate comes back as it stood.
    return json.dumps(value, separators=(",", ":")).encode()
