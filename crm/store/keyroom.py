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

import orjson
from sqlalchemy import bindparam, delete
from sqlalchemy.dialects.postgresql import insert

from crm.crypto.keyset import KeySet
from crm.crypto.provider import KeyProvider
from crm.errors import CrmError
from crm.store.database import NO_ORG, Database
from crm.store.keystore import stored_keys
from crm.store.statements import prepare
from crm.store.tables import replica

__all__ = ["KeyRoom"]

BETWEEN_LOOKS: Final = 1.0
"""Seconds that an unknown epoch waits at most once: octets that name a wrong one must not keep the key store busy."""

_log = logging.getLogger("heed.keys")

_NEW: Final = insert(replica)
_REPORT: Final = prepare(
    _NEW.on_conflict_do_update(
        index_elements=["node"], set_={"seen_at": _NEW.excluded.seen_at, "holds": _NEW.excluded.holds}
    )
)
_LEAVE: Final = prepare(delete(replica).where(replica.c.node == bindparam("node")))


class KeyRoom:
    """Keeps `keys` as new as the key store in `database`, from `start` to `stop`.

    `node` names this process among the replicas. `refresh` and `max_age` are seconds: between two looks, and without a
    successful one until the process changes no record any more.
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
        self._database = database
        self._provider = provider
        self._env = env
        self._node = node
        self._clock = clock
        self._started = clock()
        self._refresh = refresh
        self._max_age = max_age
        self._looking = asyncio.Lock()
        self._looked = -BETWEEN_LOOKS
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """The first look and report, then one every `refresh` seconds. Raises Unsafe, StoreUnavailable."""
        await self.look()
        self._task = asyncio.create_task(self._keep_looking(), name="key room")

    async def stop(self) -> None:
        """Ends the looking; others need not wait for this process any more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        with suppress(CrmError):  # silence says the same, a little later
            async with self._database.transaction(NO_ORG) as connection:
                await connection.execute(_LEAVE, node=self._node)

    async def renew(self) -> None:
        """A look out of turn, which reports nothing, since the caller may hold the one writer of a SQLite file.

        Callers within `BETWEEN_LOOKS` seconds share one. A failure is left to the next look.
        """
        asked = time.monotonic()
        async with self._looking:
            if self._looked > asked or asked - self._looked < BETWEEN_LOOKS:
                return
            try:
                await self._learn()
            except CrmError as failure:
                _log.warning("the key store could not be looked at: %s", type(failure).__name__)

    async def look(self) -> None:
        """Adopts what the key store lists now, and reports it. Raises Unsafe, StoreUnavailable, ProviderUnavailable."""
        async with self._looking:
            await self._learn()
        # Said only now: whoever reads it may rely on these keys being used here.
        async with self._database.transaction(NO_ORG) as connection:
            await connection.execute(
                _REPORT,
                node=self._node,
                started_at=self._started,
                seen_at=self._clock(),
                holds=orjson.dumps(self.keys.states(), option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode(),
            )

    async def _learn(self) -> None:
        self._looked = begun = time.monotonic()
        rows = await stored_keys(self._database)
        self.keys.adopt(await asyncio.to_thread(self.keys.renewed, self._provider, self._env, rows))
        self.keys.good_until = begun + self._max_age

    async def _keep_looking(self) -> None:
        while True:
            await asyncio.sleep(self._refresh)
            try:
                await self.look()
            except Exception as failure:  # noqa: BLE001 - the next look may succeed, and max_age sees to the rest
                _log.warning("the key store could not be looked at: %s", type(failure).__name__)
