"""What a process says while it runs: one line for each event, on standard error, never with the words of an exception.

The words may quote what a driver or a parser was given, which may be a patient's value; types and places may not.
"""

import asyncio
import logging
import re
import sys
import traceback
from typing import Any, TextIO

from crm.settings import LogLevel

_LINE = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_LINKS = 8
_FRAMES = 8
_log = logging.getLogger("heed.process")


def configure(level: LogLevel) -> None:
    """Makes all loggers of this process speak in one form. Libraries speak only of what goes wrong."""
    chosen = level.value.upper()
    logging.basicConfig(
        handlers=[speaker(sys.stderr)], level=max(logging.getLevelName(chosen), logging.WARNING), force=True
    )
    for ours in ("heed", "auth", "crm", "schema"):
        logging.getLogger(ours).setLevel(chosen)


def speaker(stream: TextIO) -> logging.Handler:
    """The one handler of a process: a line for each record, on `stream`."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Plain(_LINE))
    return handler


def plain(text: str) -> str:
    """`text` as one line without control characters."""
    return _CONTROL.sub(" ", text)


def places(error: BaseException) -> str:
    """What went wrong and where, as type and frames of the error and of its causes; none of their words."""
    found: list[str] = []
    link: BaseException | None = error
    while link is not None and len(found) < _LINKS:
        frames = traceback.extract_tb(link.__traceback__)[-_FRAMES:]
        where = " > ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames)
        found.append(f"{type(link).__name__} at {where or 'unknown place'}")
        link = link.__cause__ or link.__context__
    return " <- ".join(found)


def unhandled(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """The handler of an event loop for what nobody awaited: asyncio's own would print the exception's words."""
    error = context.get("exception")
    _log.error("%s: %s", context.get("message", "unhandled"), places(error) if error else "no exception")


class _Plain(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        record.exc_text = None  # another handler's rendering
        return plain(super().format(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return places(ei[1]) if ei and ei[1] else ""
