"""Requests of whom nobody knows yet who sent them: few at once, and not for long. Verifies nobody, and reads nothing.

Everybody may come here, so nobody is turned away for somebody else: where it is full, who has waited longest must go,
and of one address no more wait than half. A body that is sent in one piece is through before its turn comes; one that
trickles in keeps no place from others.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["Doorstep"]


class Doorstep:
    """So many places, each for `seconds` at most."""

    def __init__(self, number: int, seconds: float) -> None:
        self._number = max(1, number)
        self._each = max(1, number // 2)
        self._seconds = seconds
        self._there: dict[asyncio.Timeout, str | None] = {}

    @asynccontextmanager
    async def standing(self, peer: str | None) -> AsyncIterator[None]:
        """A place while the block runs, for a caller at the address `peer`, where that is known.

        Raises `TimeoutError` once its time is over, or others needed the place.
        """
        if peer is not None:
            self._push_out([each for each, whose in self._there.items() if whose == peer], self._each)
        self._push_out(list(self._there), self._number)
        async with asyncio.timeout(self._seconds) as time:
            self._there[time] = peer
            try:
                yield
            finally:
                self._there.pop(time, None)

    def _push_out(self, some: list[asyncio.Timeout], most: int) -> None:
        """Ends the time of the first to have come, so that one of so many places is free."""
        for oldest in some[: max(0, len(some) - most + 1)]:
            del self._there[oldest]
            if not oldest.expired():
                oldest.reschedule(0)
