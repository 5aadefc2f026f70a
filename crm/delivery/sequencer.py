"""The sequencer of a serving process: gives changes their numbers in the feed as soon as they are committed.

Owns when that is done, not how (`crm.store.feed`). Every replica has one, and any of them may number any change: what
one leaves behind that was killed, another finds when it looks round.
"""

import asyncio
import logging
from contextlib import suppress
from functools import partial

from crm.delivery.bell import Bell
from crm.store import feed, organisations
from crm.store.database import Database

__all__ = ["Sequencer"]

_log = logging.getLogger("heed.feed")

BREATH = 0.005
"""Seconds between two transactions that number changes: under load they share one, and nobody alone waits."""


class Sequencer:
    """Numbers the changes of one database, and wakes those who wait for them in this process."""

    def __init__(self, database: Database, bell: Bell) -> None:
        self._database = database
        self._bell = bell
        self._kicked: set[str] = set()
        self._called = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.waiting_since: int | None = None
        """When the oldest change was made that had no number at the last look round (microseconds since 1970)."""

    def start(self) -> None:
        """Numbers from now on what it is told of."""
        self._task = asyncio.create_task(self._work(), name="change feed")

    async def stop(self) -> None:
        """Ends; what is not numbered by then is left to the next who looks round."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    def kick(self, org: str) -> None:
        """A change of this organisation was committed here."""
        self._kicked.add(org)
        self._called.set()

    async def look_round(self) -> None:
        """Numbers what others left; to be done every second or so. Raises StoreUnavailable."""
        found = [
            (since, org)
            for org in await organisations.every(self._database)
            if (since := await feed.waiting_since(partial(self._database.fetch, org), org)) is not None
        ]
        self.waiting_since = min(found)[0] if found else None
        for _, org in found:
            await self._settle(org)

    async def prune(self, before: int) -> None:
        """Takes changes of before a time (microseconds since 1970) out of every feed. Raises StoreUnavailable."""
        for org in await organisations.every(self._database):
            await feed.prune(self._database, org, before)

    async def _work(self) -> None:
        while True:
            await self._called.wait()
            self._called.clear()
            kicked, self._kicked = self._kicked, set()
            for org in kicked:
                try:
                    await self._settle(org)
                except Exception as failure:  # noqa: BLE001 - looking round makes up for it
                    _log.warning("changes wait for their numbers: %s", type(failure).__name__)
            await asyncio.sleep(BREATH)

    async def _settle(self, org: str) -> None:
        if await feed.settle(self._database, org):
            self._bell.wake(feed.TOPIC, org)
