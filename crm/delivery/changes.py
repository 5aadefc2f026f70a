"""Following the change feed: one reader for each organisation, from which every subscriber takes at their own pace.

Owns the newest changes that this process remembers, and nothing of a subscriber but where they are: who is slow just
lags and reads the table, so that nothing queues up. Who may be told of a change is not decided here.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import suppress
from functools import partial

from crm.delivery.bell import Bell
from crm.errors import PositionExpired
from crm.store import feed
from crm.store.database import Database
from crm.store.feed import Change

__all__ = ["Changes"]

_log = logging.getLogger("heed.feed")

Chosen = Callable[[], Collection[str] | None]
"""Whose changes are wanted now, as patients' ids; None for everybody's."""

REMEMBERED = 1_000
"""Changes of an organisation that are remembered while somebody follows it."""

AT_ONCE = 200
"""Changes that are read in one statement."""

LOOK = 1.0
"""Seconds between two looks, where no ring comes."""


def _all() -> None:
    """Everybody's."""


class Changes:
    """The changes of all organisations that somebody follows in this process."""

    def __init__(self, database: Database, bell: Bell, *, remembered: int = REMEMBERED) -> None:
        self._database = database
        self._bell = bell
        self._remembered = remembered
        self._readers: dict[str, _Reader] = {}

    async def follow(self, org: str, after: int, of: Chosen = _all) -> AsyncGenerator[Change, None]:
        """Every change behind number `after` in order, those that come later too: of all patients, or of these.

        `of` is asked again behind each change that was given. To be closed by who stops. Raises StoreUnavailable where
        a subscriber has to catch up and the database does not answer, and PositionExpired where what comes next is not
        kept any more.
        """
        reader = self._readers.get(org) or await self._begun(org)
        reader.followers += 1
        try:
            while True:
                chosen = of()
                found, end = reader.remembered(after), after
                if found is None:
                    found, end = await self._catch_up(org, after, chosen)
                for change in found:
                    after = change.seq
                    if chosen is None or change.patient_id in chosen:
                        yield change
                        if of() != chosen:
                            break
                else:
                    after = max(after, end)
                    if not found:
                        await reader.more(after)
                await asyncio.sleep(0)  # SQLite answers without letting anybody else have a turn
        finally:
            reader.followers -= 1
            if not reader.followers:
                del self._readers[org]
                await reader.close()

    def followers(self, org: str) -> int:
        """How many follow an organisation now."""
        reader = self._readers.get(org)
        return 0 if reader is None else reader.followers

    async def _begun(self, org: str) -> "_Reader":
        last = await feed.head(partial(self._database.fetch, org), org)
        if org not in self._readers:  # nobody else began meanwhile
            self._readers[org] = _Reader(self._database, self._bell, org, last, self._remembered)
        return self._readers[org]

    async def _catch_up(self, org: str, after: int, chosen: Collection[str] | None) -> tuple[list[Change], int]:
        """Some changes of the chosen patients behind a number, and the number up to which there are no others."""
        fetch = partial(self._database.fetch, org)
        newest = await feed.head(fetch, org)
        found = await feed.read(fetch, org, after, AT_ONCE, None if chosen is None else sorted(chosen))
        oldest = await feed.oldest(fetch, org)  # after reading: nothing was taken away between the two unseen
        if oldest is not None and oldest > after + 1:
            raise PositionExpired
        return found, newest if len(found) < AT_ONCE else after


class _Reader:
    """Reads the feed of one organisation once for all who follow it, from when the first of them came."""

    def __init__(self, database: Database, bell: Bell, org: str, last: int, remembered: int) -> None:
        self.followers = 0
        self._database = database
        self._bell = bell
        self._org = org
        self._last = last
        self._newest: deque[Change] = deque(maxlen=remembered)
        self._news = asyncio.Event()
        self._task = asyncio.create_task(self._read(), name="following changes")

    def remembered(self, after: int) -> list[Change] | None:
        """Some of what comes behind number `after`, nothing where that is all; None where it is not remembered."""
        if after >= self._last:
            return []
        if not self._newest or after < self._newest[0].seq - 1:
            return None
        start = after - self._newest[0].seq + 1
        return [self._newest[at] for at in range(start, min(start + AT_ONCE, len(self._newest)))]

    async def more(self, after: int) -> None:
        """Returns when there may be something behind number `after`."""
        while self._last <= after:
            await self._news.wait()

    async def close(self) -> None:
        """Nobody follows any more."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _read(self) -> None:
        """Looks, tells those who wait, and waits for a ring; what fails is tried again."""
        fetch = partial(self._database.fetch, self._org)
        async with self._bell.listening(feed.TOPIC, self._org) as wake:
            while True:
                try:
                    found = await feed.read(fetch, self._org, self._last, AT_ONCE)
                except Exception as failure:  # noqa: BLE001 - the next look may succeed
                    _log.warning("the change feed cannot be read: %s", type(failure).__name__)
                    found = []
                if found:
                    if found[0].seq > self._last + 1:  # away for longer than changes are kept
                        self._newest.clear()
                    self._newest.extend(found)
                    self._last = found[-1].seq
                    self._news.set()
                    self._news = asyncio.Event()
                    await asyncio.sleep(0)
                else:
                    await wake(LOOK)
