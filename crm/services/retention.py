"""The end of an event's time in the log: which may go, that nobody needs them, and that the log itself says so.

The order is what keeps the evidence: first the events are given out and checked by a stranger's program, then an event
says that they go, and only then are they taken away. The hashes of the tree stay, so that no proof ever breaks.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from auth.actor import Actor
from crm.audit.event import Act
from crm.audit.tiles import WIDTH
from crm.errors import LegalHold, Unsafe
from crm.services.request import Request
from crm.store import proofs, pruning
from crm.store.refusing import event
from crm.store.unit import Store

__all__ = ["Advance", "Plan", "Retention"]

DAY: Final = 86_400_000_000

Advance = Callable[[int, int | None], None]
"""Called with how many events are gone, and of how many."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What may go: the events from `start`, the oldest that is kept, to before `minimum`, which ends a tile."""

    org: str
    start: int
    minimum: int

    @property
    def events(self) -> int:
        """How many events that is."""
        return self.minimum - self.start


class Retention:
    """The retention of the log of the actor's organisation, whose events are kept for `days` at least.

    `url` is the database, to be opened by the owner of its tables.
    """

    def __init__(self, store: Store, url: str, actor: Actor, request: Request, *, days: int) -> None:
        self._store = store
        self._url = url
        self._actor = actor
        self._request = request
        self._days = days

    async def plan(self, now: int, before: int | None = None) -> Plan:
        """What may go: everything older than `before`, by default than the retention; times in microseconds since 1970.

        Raises Unsafe for a later time than the retention allows and for a log without events, LegalHold where a patient
        under a hold has events among them.
        """
        latest = now - self._days * DAY
        if before is not None and before > latest:
            raise Unsafe(f"events are kept for {self._days} days (HEED_AUDIT_DAYS): --before must be earlier than that")
        org, fetch = self._actor.org, partial(self._store.database.fetch, self._actor.org)
        head = await proofs.head(self._store.database, org)
        if head is None:
            raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        first = await pruning.first_since(fetch, latest if before is None else before, head.pruned, head.size)
        plan = Plan(org, head.pruned, max(head.pruned, first // WIDTH * WIDTH))
        if plan.events and await pruning.held(fetch, plan.minimum):
            raise LegalHold
        return plan

    async def announce(self, plan: Plan) -> None:
        """Says in the log that everything before the plan's minimum goes. Raises AuditUnavailable."""
        context = self._request.context(self._actor)
        await self._store.log.append(plan.org, [event(context, act=Act.PRUNE, cnt=plan.minimum)])

    async def carry_out(self, plan: Plan, advance: Advance) -> None:
        """Takes the events away, a slice at a time; one that was interrupted is planned and announced again.

        Raises LegalHold where a hold was placed meanwhile, Tampered, Unsafe, StoreUnavailable.
        """
        fetch = partial(self._store.database.fetch, plan.org)
        for start in range(plan.start, plan.minimum, pruning.SLICE):
            if await pruning.held(fetch, plan.minimum):
                raise LegalHold
            end = min(start + pruning.SLICE, plan.minimum)
            await asyncio.to_thread(pruning.take_away, self._url, plan.org, start, end)
            advance(end - plan.start, plan.events)
