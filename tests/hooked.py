"""A service with a registered endpoint and a receiver behind it, couriers with a quick pace, a clock to put forward.

The receiver is a real HTTP server on this machine, the couriers are those of the product.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from auth.purposes import Purpose
from auth.roles import Role
from crm.delivery.bell import Bell
from crm.delivery.destinations import Resolver
from crm.delivery.posting import Poster
from crm.delivery.webhooks import Couriers, Pace
from crm.services.webhooks import Endpoint, Webhooks
from crm.store import feed, webhook_messages, webhooks
from crm.store.unit import Store
from crm.store.webhook_messages import Message
from crm.store.webhooks import StoredEndpoint
from tests.house import ORG, REQUEST, House, actor, house, now
from tests.receiver import Receiver, receiver

__all__ = ["OPERATOR", "PACE", "Clock", "Hooked", "eventually", "hooked"]

OPERATOR = actor(Role.OPERATOR, subject="operator-1")

PACE = Pace(look=0.05, beat=0.2, lease=17.0, due=0.02)
"""A lease here outlasts an attempt, as it has to, and no more."""

SECOND = 1_000_000


async def eventually(happened: Callable[[], Awaitable[bool]], within: float = 20.0) -> None:
    """Returns when it happened. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while True:
            if await happened():
                return
            await asyncio.sleep(0.02)


@dataclass
class Clock:
    """Microseconds since 1970, as many seconds ahead as it was put forward."""

    ahead: float = 0.0

    def __call__(self) -> int:
        return now() + round(self.ahead * SECOND)


@dataclass
class Hooked:
    """What a test asks of webhooks."""

    house: House
    receiver: Receiver
    store: Store
    bell: Bell
    clock: Clock
    hooks: Webhooks
    endpoint: Endpoint
    secret: str
    running: list[Couriers] = field(default_factory=list)

    def couriers(self, *, pace: Pace = PACE, days: float = 5.0, start: bool = True) -> Couriers:
        """More couriers, as of another process."""
        poster = Poster(Resolver(2), timeout=5.0, development=True)
        made = Couriers(self.store, self.hooks, poster, self.bell, pace=pace, days=days)
        self.running.append(made)
        if start:
            made.start()
        return made

    async def change(self, patient: dict[str, Any] | str, *names: str) -> None:
        """Changes a patient once for each name, as the system of record, and numbers that."""
        found = patient if isinstance(patient, str) else patient["id"]
        clerk = actor(Role.INTEGRATION)
        for name in names:
            known = await self.house.services.profiles.read(clerk, REQUEST, found, frozenset({"displayName"}))
            await self.house.services.changes.update(
                clerk, REQUEST, found, known["version"], {"preferred_name": name}, frozenset({"displayName"})
            )
        await self.number()

    async def number(self, org: str = ORG) -> None:
        """Gives changes their numbers, and rings."""
        await feed.settle(self.house.database, org)
        self.bell.wake(feed.TOPIC, org)

    async def stored(self, org: str = ORG) -> StoredEndpoint:
        """The endpoint as it is now."""
        found = await webhooks.find(partial(self.house.database.fetch, org), org, self.endpoint.id)
        assert found is not None
        return found

    async def waiting(self) -> list[Message]:
        """The messages that wait, as far as the oldest of each patient."""
        return await webhook_messages.due(partial(self.house.database.fetch, ORG), ORG, self.endpoint.id, 1_000)

    async def counts(self) -> tuple[int, int]:
        """How many messages wait, and how many were given up."""
        found = await webhook_messages.counts(partial(self.house.database.fetch, ORG), ORG)
        return found.get((self.endpoint.id, "waiting"), 0), found.get((self.endpoint.id, "dead"), 0)

    async def quiet(self) -> None:
        """Returns when every change was looked at and nothing waits. Raises TimeoutError."""

        async def all_told() -> bool:
            head = await feed.head(partial(self.house.database.fetch, ORG), ORG)
            return (await self.stored()).position == head and (await self.counts())[0] == 0

        await eventually(all_told)

    async def until_state(self, why: str) -> None:
        """Returns when the endpoint's state came about like that. Raises TimeoutError."""

        async def is_so() -> bool:
            return (await self.stored()).why == why

        await eventually(is_so)

    async def tried(self, attempts: int) -> Message:
        """A message that waits, once it was tried so often. Raises TimeoutError."""
        found: list[Message] = []

        async def was_tried() -> bool:
            found[:] = [each for each in await self.waiting() if each.attempts >= attempts]
            return bool(found)

        await eventually(was_tried)
        return found[0]

    async def told(self) -> list[dict[str, Any]]:
        """The events of what was told to endpoints, oldest first."""
        return [leaf for leaf in await self.house.leaves() if leaf["op"] == "webhook"]


@asynccontextmanager
async def hooked(
    url: str,
    folder: Path,
    *,
    role: Role = Role.INTEGRATION,
    purpose: Purpose = Purpose.RECORDMGT,
    start: bool = True,
    **asked: Any,
) -> AsyncIterator[Hooked]:
    """Everything running, with one endpoint of `ORG` that is told of what changes from now on."""
    async with AsyncExitStack() as stack:
        opened = await stack.enter_async_context(house(url, folder))
        there = await stack.enter_async_context(receiver())
        clock = Clock()
        store = Store(opened.database, opened.services.store.keys, opened.log, clock)
        hooks = Webhooks(store, development=True)
        endpoint, secret = await hooks.add(OPERATOR, REQUEST, url=there.url, role=role, purpose=purpose, **asked)
        made = Hooked(opened, there, store, Bell(opened.database, url), clock, hooks, endpoint, secret)
        if start:
            made.couriers()
        try:
            yield made
        finally:
            if there.hold is not None:
                there.hold.set()
            for each in made.running:
                await each.stop()
