"""The bell: wakes whoever waits for something to happen in an organisation, in this process and in all others.

Owns who waits, and the connection that hears other processes. It carries no news: whoever wakes goes and looks. A ring
may be missed, so nobody sleeps longer than `every` seconds, and whoever was woken may find nothing.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from crm.store.database import Database
from crm.store.rings import hearing, ring

__all__ = ["Bell", "Wake"]

Wake = Callable[[float], Awaitable[bool]]
"""Waits for a ring, at most so many seconds, and no longer than the bell lets anybody sleep; whether it rang.

A ring that came before is not lost: then it returns at once.
"""

_log = logging.getLogger("heed.bell")

_AGAIN = 0.5
"""Seconds before a lost connection is made anew; meanwhile everybody looks for himself."""


class Bell:
    """The bell of one process. `url` is that of `database`; only PostgreSQL tells other processes."""

    def __init__(self, database: Database, url: str, *, every: float = 1.0) -> None:
        self._database = database
        self._url = url
        self._every = every
        self._waiting: defaultdict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)
        self._hearing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Hears the other processes from now on. Without it they are heard of by looking, every so often."""
        if self._database.dialect == "postgresql":
            self._hearing = asyncio.create_task(self._hear(), name="bell")

    async def stop(self) -> None:
        """Lets the connection go."""
        if self._hearing is not None:
            self._hearing.cancel()
            with suppress(asyncio.CancelledError):
                await self._hearing
            self._hearing = None

    async def ring(self, topic: str, org: str) -> None:
        """Wakes everybody, in a transaction of its own; inside another one use `crm.store.rings`.

        Raises StoreUnavailable; who waits then notices a little later.
        """
        async with self._database.transaction(org) as connection:
            await ring(connection, topic)
        self.wake(topic, org)

    def wake(self, topic: str, org: str) -> None:
        """Wakes those who wait in this process, as for a change of its own that is committed."""
        for event in self._waiting.get((topic, org), ()):
            event.set()

    @asynccontextmanager
    async def listening(self, topic: str, org: str) -> AsyncIterator[Wake]:
        """Rings of this topic and organisation are not missed from here on: look, wait for `wake`, and look again."""
        rung = asyncio.Event()
        key = (topic, org)
        self._waiting[key].add(rung)

        async def wake(seconds: float) -> bool:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(seconds, self._every)):
                    await rung.wait()
            heard = rung.is_set()
            rung.clear()
            return heard

        try:
            yield wake
        finally:
            self._waiting[key].discard(rung)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _hear(self) -> None:
        told = False
        while True:
            try:
                async with hearing(self._url, self.wake) as lost:
                    self._wake_all()  # somebody may have rung while nobody here heard it
                    told = False
                    await lost.wait()
            except Exception as failure:  # noqa: BLE001 - the next try may succeed
                if not told:
                    _log.warning("other processes are not heard (%s); looking instead", type(failure).__name__)
                told = True
            await asyncio.sleep(_AGAIN)

    def _wake_all(self) -> None:
        for topic, org in list(self._waiting):
            self.wake(topic, org)
