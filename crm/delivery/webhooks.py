"""Sending webhooks: which process sends for which endpoint. How one endpoint is sent to is the matter of `courier`.

An endpoint is sent to by one process at a time, which holds its lease and shows that it lives by its beat. Whoever
finds a lease without a beat takes the endpoint over, and repeats at most what was on its way, under the ids that it
had.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from uuid_utils import uuid7

from crm.catalogue import KeyClass
from crm.delivery.bell import Bell
from crm.delivery.courier import Courier, Means, Pace
from crm.delivery.posting import Poster
from crm.services.webhook_notices import Notices
from crm.services.webhooks import Webhooks
from crm.store import feed, organisations, webhook_messages, webhooks
from crm.store.unit import Store
from crm.store.webhook_messages import DEAD, WAITING
from crm.store.webhooks import ACTIVE, StoredEndpoint

__all__ = ["Couriers", "EndpointState", "Pace"]

_log = logging.getLogger("heed.webhooks")

_LAST = 5.0
"""Seconds for attempts that are on their way when the process ends; what is cut off is sent again by another."""

_Key = tuple[str, str]
"""Organisation and id of an endpoint."""


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What operators may know of one endpoint, as of the last look.

    Messages that wait and that were given up, changes that were not looked at yet, and since when (microseconds since
    1970) nothing was delivered; None while it fares well.
    """

    org: str
    id: str
    active: bool
    waiting: int
    dead: int
    behind: int
    failing_since: int | None


@dataclass(slots=True)
class _Seen:
    """The beat of a lease, and since when it has not gone on, by this process's own clock."""

    beat: int
    since: float


class Couriers:
    """The couriers of one process, one for each endpoint whose lease it holds.

    `days` without any success disable an endpoint.
    """

    def __init__(
        self,
        store: Store,
        hooks: Webhooks,
        poster: Poster,
        bell: Bell,
        *,
        pace: Pace = Pace(),  # noqa: B008 - frozen
        days: float = 5.0,
    ) -> None:
        self.states: dict[_Key, EndpointState] = {}
        """For whoever counts and warns."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Attempts of this process, by endpoint and how they ended."""
        node = str(uuid7())
        self._means = Means(store, hooks, Notices(store), poster, bell, pace, days, node, self.outcomes)
        self._database = store.database
        self._seen: dict[_Key, _Seen] = {}
        self._held: dict[_Key, tuple[Courier, asyncio.Task[None]]] = {}
        self._looking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Sends from now on."""
        self._looking = asyncio.create_task(self._look_on(), name="webhook endpoints")

    async def stop(self) -> None:
        """Lets attempts end that are on their way, gives the leases back, and ends."""
        if self._looking is None:
            return
        self._looking.cancel()
        await asyncio.gather(self._looking, return_exceptions=True)
        self._looking = None
        for courier, _ in self._held.values():
            courier.leaving.set()
        if tasks := [task for _, task in self._held.values()]:
            _, late = await asyncio.wait(tasks, timeout=_LAST)
            for task in late:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look_on(self) -> None:
        while True:
            try:
                await self.look()
            except Exception as failure:  # noqa: BLE001 - the next look may succeed
                _log.warning("webhook endpoints cannot be read: %s", type(failure).__name__)
            await asyncio.sleep(self._means.pace.look)

    async def look(self) -> None:
        """Takes on every endpoint that nobody sends to. Raises StoreUnavailable.

        None where this process was not given every class of keys: it could not tell whether a record is restricted.
        """
        able = self._means.store.keys.held >= frozenset(KeyClass)
        known: set[_Key] = set()
        for org in await organisations.every(self._database):
            found = await webhooks.every(partial(self._database.fetch, org), org)
            known |= {(org, each.id) for each in found}
            if found:
                await self._note(org, found)
            for each in found:
                open_to_us = able and each.state == ACTIVE and (org, each.id) not in self._held
                if open_to_us and self._is_free(org, each):
                    await self._take(org, each)
        for gone in self.states.keys() - known:
            del self.states[gone]

    async def _note(self, org: str, found: Sequence[StoredEndpoint]) -> None:
        fetch = partial(self._database.fetch, org)
        counts, head = await webhook_messages.counts(fetch, org), await feed.head(fetch, org)
        for each in found:
            waiting, dead = (counts.get((each.id, state), 0) for state in (WAITING, DEAD))
            behind = max(0, head - each.position)
            self.states[org, each.id] = EndpointState(
                org, each.id, each.state == ACTIVE, waiting, dead, behind, each.failing_since
            )

    def _is_free(self, org: str, stored: StoredEndpoint) -> bool:
        """Whether nobody holds the lease, or its beat has not gone on for too long."""
        if stored.lease_by is None:
            return True
        seen = self._seen.get((org, stored.id))
        if seen is None or seen.beat != stored.beat:
            self._seen[org, stored.id] = _Seen(stored.beat, time.monotonic())
            return False
        return time.monotonic() - seen.since >= self._means.pace.lease

    async def _take(self, org: str, stored: StoredEndpoint) -> None:
        async with self._database.transaction(org) as connection:
            if not await webhooks.lease(connection, org, stored.id, self._means.node, stored.beat):
                return
        key = (org, stored.id)
        self._seen.pop(key, None)
        courier = Courier(self._means, org, stored.id)
        task = asyncio.create_task(courier.run(), name="webhook endpoint")
        self._held[key] = (courier, task)
        task.add_done_callback(partial(self._ended, key))

    def _ended(self, key: _Key, task: asyncio.Task[None]) -> None:
        """The next look takes the endpoint on again, whatever ended this courier."""
        del self._held[key]
        if not task.cancelled() and (failure := task.exception()) is not None:
            _log.error("the courier of webhook endpoint %s ended with %s", key[1], type(failure).__name__)
