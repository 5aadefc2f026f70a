"""Owns the file of refused records: what was refused, why, and as it stood, so that it can be mended and retried."""

import base64
import json
import os
from pathlib import Path
from typing import IO, Self

from crm.interchange.reader import Record
from crm.interchange.rejects import Reject

__all__ = ["RejectsFile"]


class RejectsFile:
    """One JSON object a line: `file`, `line`, `entry` of a Bundle, `reason`, `path`, and `record`, its text.

    A record that is not UTF-8 is in `record_base64` instead; one that is too large or cannot be unpacked is only named.
    The file holds patient data, so it is readable for its owner only. It is made anew by every run, and not at all by a
    run that refuses nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stream: IO[bytes] | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._stream is not None:
            self._stream.close()

    def add(self, file: Path, record: Record, reject: Reject) -> None:
        """Appends one refused record and hands it to the operating system at once: a killed run keeps it."""
        if self._path is None:
            return
        if self._stream is None:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            self._stream = os.fdopen(handle, "wb")
        line: dict[str, object] = {"file": str(file), "line": record.line}
        if record.entry is not None:
            line["entry"] = record.entry
        line |= {"reason": reject.reason.value, "path": reject.path}
        if record.raw is not None:
            line |= _as_it_stood(record.raw)
        self._stream.write(json.dumps(line).encode() + b"\n")
        self._stream.flush()


def _as_it_stood(raw: bytes) -> dict[str, str]:
    try:
        return {"record": raw.decode()}
    except UnicodeDecodeError:
        return {"record_base64": base64.b64encode(raw).decode()}
