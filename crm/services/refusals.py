"""Attempts without a valid token: the first of each second one by one, the rest in sums. Decides nothing about them.

Events cannot be deleted, and nobody needs a token to cause these. Recorded one by one without end, they would fill the
disk, and push the attempts that matter out of sight.
"""

import asyncio
import logging
from collections import Counter

from auth.actor import Actor
from auth.policy import POLICY_VERSION
from crm.audit.event import Act, Event, Outcome, Who
from crm.errors import AuditUnavailable
from crm.services.request import Request
from crm.store.context import Context
from crm.store.refusing import event
from crm.store.unit import Store

__all__ = ["EACH_SECOND", "NOBODY", "Refusals"]

NOBODY = "_"
"""The log of attempts that belong to no organisation, because their token proved nothing."""

_log = logging.getLogger("heed.audit")

EACH_SECOND = 20
"""Attempts of one second that are recorded one by one in this process."""


class Refusals:
    """Records refused attempts in the log of nobody.

    The sums of a second become durable within the next one: one event for each reason, with the count. When the log
    does not take them they are kept and tried again. A process that is killed loses the sums of its last second.
    """

    def __init__(self, store: Store, each_second: int = EACH_SECOND) -> None:
        self._store = store
        self._each_second = each_second
        self._second = 0
        self._seen = 0
        self._sums: Counter[str] = Counter()
        self._later: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    async def refuse(self, why: str, request: Request, actor: Actor | None = None) -> None:
        """Records one attempt; returns when that is durable, or at once when it is only counted.

        One whose token was good until it was revoked is recorded in the log of the `actor` it named, and summed with
        the others.
        """
        second = self._store.clock() // 1_000_000
        if second != self._second:
            self._second, self._seen = second, 0
        self._seen += 1
        if self._seen <= self._each_second:
            if actor is None:
                await self._append([_refusal(why, request)])
            else:
                denied = event(request.context(actor), act=Act.LOGIN, out=Outcome.DENIED, why=why)
                await self._store.log.append(actor.org, [denied])
        else:
            self._sums[why] += 1
            self._flush_later()

    async def flush(self) -> None:
        """Makes the sums durable. Raises `AuditUnavailable` when the log does not take them; they are kept then."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        sums, self._sums = self._sums, Counter()
        try:
            await self._append([_refusal(why, Request("", ""), count) for why, count in sorted(sums.items())])
        except AuditUnavailable:
            self._sums.update(sums)
            raise

    async def close(self) -> None:
        """Makes the last sums durable; to be called before the log stops. What the log does not take is said aloud."""
        if self._flushing is not None:
            await self._flushing
        try:
            await self.flush()
        except AuditUnavailable:
            _log.error("%d refused attempts were counted and could not be recorded", self._sums.total())
        finally:
            if self._later is not None:
                self._later.cancel()

    async def _append(self, events: list[Event]) -> None:
        await self._store.log.append(NOBODY, events)

    def _flush_later(self) -> None:
        if self._later is None:
            self._later = asyncio.get_running_loop().call_later(1.0, self._start)

    def _start(self) -> None:
        self._later = None
        self._flushing = asyncio.create_task(self._try(), name="refusals")

    async def _try(self) -> None:
        try:
            await self.flush()
        except AuditUnavailable:
            self._flush_later()


def _refusal(why: str, request: Request, count: int | None = None) -> Event:
    nobody = Context(NOBODY, Who(), request.operation, request.id, None, POLICY_VERSION)
    return event(nobody, act=Act.LOGIN, out=Outcome.DENIED, why=why, cnt=count)
