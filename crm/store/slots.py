"""Turns at a few things that many want: who came first is served first, and nobody waits for what does not move.

Owns the counting and the waiting; what a slot is for is its user's business.
"""

import asyncio
from collections import deque

from crm.audit.deadline import Deadline
from crm.errors import StoreUnavailable

__all__ = ["Slots"]


class Slots:
    """So many slots, given out in the order in which they are asked for.

    patience    seconds without any slot given back after which all who wait are refused: nothing moves
    longest     seconds that anybody waits at most while the queue does move
    """

    def __init__(self, number: int, *, patience: float, longest: float) -> None:
        self._free = number
        self._patience = patience
        self._longest = longest
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._moved = 0.0
        self._watch: Deadline | None = None

    async def take(self) -> None:
        """Returns with a slot, which is given back by `give`. Raises StoreUnavailable where none comes in time."""
        if self._free and not self._waiting:
            self._free -= 1
            return
        loop = asyncio.get_running_loop()
        mine = loop.create_future()
        if not self._waiting:
            self._moved = loop.time()
            self._look_again(loop)
        self._waiting.append(mine)
        try:
            async with asyncio.timeout(self._longest):
                await mine
        except BaseException as error:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self.give()  # it came at the very moment at which we went
            if isinstance(error, TimeoutError):
                raise StoreUnavailable from None
            raise

    def give(self) -> None:
        """Hands a slot to whoever waits longest, else keeps it free."""
        while self._waiting:
            next_ = self._waiting.popleft()
            if not next_.done():
                self._moved = next_.get_loop().time()
                next_.set_result(None)
                return
        self._free += 1

    def _look_again(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = Deadline(self._moved + self._patience - loop.time(), self._look)

    def _look(self) -> None:
        """Refuses everybody where nothing moved; else looks again when that could be."""
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        if not self._waiting:
            return
        if loop.time() - self._moved < self._patience:
            self._look_again(loop)
            return
        waiting, self._waiting = self._waiting, deque()
        for each in waiting:
            if not each.done():
                each.set_exception(StoreUnavailable())
