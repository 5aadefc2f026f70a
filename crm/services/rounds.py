"""Periodic work of a serving process: each chore in its own time, again and again, whatever ails it once."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["Chore", "Rounds"]

_log = logging.getLogger("heed.rounds")


@dataclass(frozen=True, slots=True)
class Chore:
    """Work to be done every so many seconds, counted from the end of the last time."""

    name: str
    every: float
    work: Callable[[], Awaitable[None]]


class Rounds:
    """The chores of one process."""

    def __init__(self, *chores: Chore) -> None:
        self._chores = chores
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Does every chore for the first time, and then in its turns."""
        self._tasks = [asyncio.create_task(_again(chore), name=chore.name) for chore in self._chores]

    async def stop(self) -> None:
        """Ends them, in the middle if need be, and does each a last time, in order, for a moment at most."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._tasks:
            self._tasks = []
            with suppress(TimeoutError):
                async with asyncio.timeout(_LAST):
                    for chore in self._chores:
                        await _once(chore)


_LAST = 2.0
"""Seconds for what is done at the end: how far it comes is no more than good to have."""


async def _again(chore: Chore) -> None:
    while True:
        await _once(chore)
        await asyncio.sleep(chore.every)


async def _once(chore: Chore) -> None:
    try:
        await chore.work()
    except Exception as failure:  # noqa: BLE001 - the next round may succeed
        # The type only: a driver's message may quote what it was given.
        _log.warning("%s failed with %s", chore.name, type(failure).__name__)
