"""The living key set of one process: looks at the key store now and then, and says there which keys it holds.

The provider is asked only for keys that are new, on a thread of its own and never while somebody's answer is made,
except once for a record that names an epoch which others have begun since the last look.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from crm.crypto.keyset import KeySet
from crm.crypto.provider import KeyProvider
from crm.errors import CrmError, ProviderUnavailable, StoreUnavailable
from crm.store.database import Database
from crm.store.keystore import stored_keys
from crm.store.replicas import Holds, forget, leave, report

__all__ = ["SILENT", "KeyRoom"]

BETWEEN_LOOKS: Final = 1.0
"""Seconds between two looks out of turn: octets that name a wrong epoch must not keep the key store busy."""

SILENT: Final = 1.25
"""A process that was silent for so many times `max_age` counts as gone. It stopped changing records after one: the rest
is for clocks that differ and for what it had begun."""

_FORGOTTEN: Final = 7 * 86_400 * 1_000_000

_log = logging.getLogger("heed.keys")


class KeyRoom:
    """Keeps `keys` as new as the key store in `database`, from `start` to `stop`.

    `node` names this process among the replicas; `clock` gives microseconds since 1970. `refresh` and `max_age` are
    seconds: between two looks, and without a successful one until the process changes no record any more.
    """

    def __init__(
        self,
        database: Database,
        provider: KeyProvider,
        env: str,
        keys: KeySet,
        *,
        node: str,
        clock: Callable[[], int],
        refresh: float,
        max_age: float,
    ) -> None:
        self.keys = keys
        self.node = node
        self._database = database
        self._provider = provider
        self._env = env
        self._clock = clock
        self._started = clock()
        self._refresh = refresh
        self._max_age = max_age
        self._looking = asyncio.Lock()
        self._looked = -BETWEEN_LOOKS
        self._renewed = -BETWEEN_LOOKS
        self._seen = False
        self._failure: CrmError | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The first look and report, then one every `refresh` seconds. Raises what `look` raises."""
        await forget(self._database, self._clock() - _FORGOTTEN)
        # Before the first look: a key that is published later waits for this process to say that it has it.
        await self._report(None)
        try:
            await self.look()
        except CrmError:
            await self.stop()
            raise
        self._task = asyncio.create_task(self._keep_looking(), name="key room")

    async def stop(self) -> None:
        """Ends the looking; others need not wait for this process any more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(CrmError):  # silence says the same, a little later
            await leave(self._database, self.node)

    async def renew(self) -> None:
        """A look out of turn, which reports nothing, since the caller may hold the one writer of a SQLite file.

        Callers share one that began after they asked, and `BETWEEN_LOOKS` seconds pass between two. While the last look
        failed nobody can say that a key does not exist: raises StoreUnavailable, or ProviderUnavailable.
        """
        asked = time.monotonic()
        async with self._looking:
            if self._looked <= asked and asked - self._renewed >= BETWEEN_LOOKS:
                self._renewed = time.monotonic()
                with suppress(CrmError):
                    await self._learn()
            match self._failure:
                case None:
                    return
                case StoreUnavailable():
                    raise StoreUnavailable
                case _:
                    raise ProviderUnavailable("a key that is stored could not be had when it was last tried")

    async def look(self) -> None:
        """Adopts what the key store lists now, and reports it. Raises Unsafe, StoreUnavailable, ProviderUnavailable.

        What is held is reported even where something new could not be had: whoever rotates keys has to wait for it.
        """
        failure: CrmError | None = None
        async with self._looking:
            try:
                await self._learn()
            except CrmError as error:
                failure = error
        # Only after the adoption, since whoever reads it may rely on it; and without the lock, since whoever waits for
        # that may hold the one writer of a SQLite file.
        await self._report(self.keys.states() if self._seen else None)
        if failure is not None:
            raise failure

    async def _report(self, holds: Holds | None) -> None:
        max_age = int(self._max_age * 1_000_000)
        await report(self._database, self.node, self._started, self._clock(), holds, max_age)

    async def _learn(self) -> None:
        self._looked = begun = time.monotonic()
        try:
            rows = await stored_keys(self._database)
            self.keys.adopt(await asyncio.to_thread(self.keys.renewed, self._provider, self._env, rows))
        except CrmError as failure:
            self._failure = failure
            raise
        self._failure, self._seen = None, True
        self.keys.good_until = begun + self._max_age

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._refresh)
            try:
                await self.look()
            except Exception as failure:  # noqa: BLE001 - the next look may succeed, and max_age sees to the rest
                _log.warning("the key store could not be looked at: %s", _words(failure))


def _words(failure: Exception) -> str:
    """What our own errors say is never a value; other errors are only named."""
    said = str(failure) if isinstance(failure, CrmError) else ""
    return f"{type(failure).__name__}: {said}" if said else type(failure).__name__
