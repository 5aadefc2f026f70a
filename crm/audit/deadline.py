"""A deadline that does not blame others for the time in which the event loop itself stood still. Owns no waiting."""

import asyncio
from collections.abc import Callable
from typing import Final

__all__ = ["LATE", "Deadline"]

LATE: Final = 0.05
"""Seconds by which a deadline has to be noticed late to be put off, and by which it is then put off, once."""


class Deadline:
    """Calls `missed` after so many seconds, unless `cancel` came first.

    Where the loop stood still at that moment, an answer may have arrived meanwhile of which nobody could hear: it has
    its turn before `missed` is called.
    """

    __slots__ = ("_due", "_handle", "_missed")

    def __init__(self, seconds: float, missed: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        self._missed = missed
        self._due = loop.time() + seconds
        self._handle = loop.call_at(self._due, self._ring, loop)

    def cancel(self) -> None:
        """Too late it does nothing."""
        self._handle.cancel()

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop.time() - self._due > LATE:
            self._handle = loop.call_later(LATE, self._missed)
        else:
            self._missed()
