"""One courier: sends the changes of the feed to one endpoint, of each patient in their order, and what failed again.

The queue is the feed itself. A change that was delivered leaves nothing but the endpoint's position; one that was not
becomes a message, and what is newer of the same patient waits behind it. Every attempt is in the log before it leaves.
"""

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from auth.errors import AuthError
from crm.delivery.bell import Bell
from crm.delivery.posting import Poster
from crm.domain.webhooks import Answer, Verdict, delay, message_id, pause, verdict
from crm.errors import AuditUnavailable, CrmError, KeyUnavailable, StoreUnavailable
from crm.services.request import Request
from crm.services.webhook_notices import Notices, headers
from crm.services.webhooks import Endpoint, Webhooks, opened
from crm.store import feed, webhook_messages, webhooks
from crm.store.feed import Change
from crm.store.unit import Store
from crm.store.webhook_messages import DEAD, Message
from crm.store.webhooks import ACTIVE, Health

__all__ = ["Courier", "Means", "Pace"]

IN_FLIGHT: Final = 8
"""Attempts at an endpoint at a time, each for another patient."""

BATCH: Final = 64
"""Changes that are read from the feed in one round: so many may be repeated after a process was killed."""

MOST_WAITING: Final = 10_000
"""Messages that wait for an endpoint before no more is read from the feed for it."""

STRIKES: Final = 5
"""Failures in a row after which an endpoint is left alone for a while, whatever it answers."""

_SECOND: Final = 1_000_000
_TROUBLE: Final = 5 * _SECOND
"""Microseconds before a message is tried again that could not even leave: the log, the database or a key was away."""

_log = logging.getLogger("heed.webhooks")


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two looks at all endpoints, between two beats of a lease, until it is over, between two rounds.

    A lease is over when its beat has not gone on for so long, and outlasts a beat and an attempt together: who holds
    one knows in time that it is about to be lost. A round that finds nothing to do waits for a change.
    """

    look: float = 2.0
    beat: float = 5.0
    lease: float = 45.0
    due: float = 1.0


@dataclass(frozen=True, slots=True)
class Means:
    """What all couriers of a process share. `days` of failure without a success disable an endpoint."""

    store: Store
    hooks: Webhooks
    notices: Notices
    poster: Poster
    bell: Bell
    pace: Pace
    days: float
    node: str
    outcomes: Counter[tuple[str, str]]


class _Lost(Exception):
    """The lease is not ours any more, or the endpoint is disabled."""


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one message; `verdict` is None where it was not tried, and did not have to be with `done`."""

    message: Message
    verdict: Verdict | None = None
    answer: Answer | None = None
    code: str = ""
    done: bool = False


class Courier:
    """Sends to one endpoint as long as its lease is this process's, until `leaving` is set."""

    def __init__(self, means: Means, org: str, endpoint_id: str) -> None:
        self._means = means
        self._org = org
        self._id = endpoint_id
        self._beaten = time.monotonic()
        self._said = ""
        self._database = means.store.database
        self._fetch = partial(self._database.fetch, org)
        self.leaving = asyncio.Event()

    async def run(self) -> None:
        """Ends when the lease is lost or the process leaves; the lease is given back."""
        beating = asyncio.create_task(self._beat(), name="webhook lease")
        try:
            async with self._means.bell.listening(feed.TOPIC, self._org) as wake:
                while not self.leaving.is_set() and not beating.done():
                    if not await self._round_safely():
                        await wake(self._means.pace.due)
        except _Lost:
            pass
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)
            with suppress(CrmError):
                async with self._database.transaction(self._org) as connection:
                    await webhooks.release(connection, self._org, self._id, self._means.node)

    async def _beat(self) -> None:
        """Says again and again that the lease is still ours; returns when it is not."""
        while True:
            await asyncio.sleep(self._means.pace.beat)
            with suppress(StoreUnavailable):
                began = time.monotonic()
                async with self._database.transaction(self._org) as connection:
                    if not await webhooks.beat(connection, self._org, self._id, self._means.node):
                        return
                self._beaten = began

    @property
    def _sure(self) -> bool:
        """Whether an attempt that begins now ends while the lease is surely ours."""
        left = self._beaten + self._means.pace.lease - time.monotonic()
        return left > self._means.poster.timeout + self._means.pace.beat

    async def _round_safely(self) -> bool:
        try:
            more = await self._round()
            self._said = ""
            return more
        except CrmError as failure:
            name = type(failure).__name__
            if name != self._said:
                _log.warning("webhook endpoint %s: nothing is sent, %s", self._id, name)
            self._said = name
            return False

    async def _round(self) -> bool:
        """Sends what is due and what is new; whether there may be more at once. Raises _Lost."""
        stored = await webhooks.find(self._fetch, self._org, self._id)
        if stored is None or stored.state != ACTIVE or stored.lease_by != self._means.node:
            raise _Lost
        now = self._means.store.clock()
        if stored.paused_until > now or not self._sure:
            return False
        endpoint = opened(self._means.store, self._org, stored)
        # An endpoint that failed is asked with one message first.
        width, size = (1, 1) if stored.failures else (IN_FLIGHT, BATCH)
        waiting = await webhook_messages.due(self._fetch, self._org, self._id, width)
        if due := [each for each in waiting if each.next_at <= now]:
            sent = await self._send([[each] for each in due], endpoint, width)
            await self._settle(endpoint, sent, stored.position)
            return all(each.done for each in sent)
        if await self._full():
            return False
        changes = await feed.read(self._fetch, self._org, stored.position, size)
        if not changes:
            return False
        if changes[0].seq != stored.position + 1:
            await self._end("EXPIRED", endpoint)
        sent = await self._send_new(changes, endpoint, width)
        await self._settle(endpoint, sent, changes[-1].seq)
        return True

    async def _full(self) -> bool:
        counts = await webhook_messages.counts(self._fetch, self._org)
        return counts.get((self._id, webhook_messages.WAITING), 0) >= MOST_WAITING

    async def _send_new(self, changes: Sequence[Change], endpoint: Endpoint, width: int) -> list[_Outcome]:
        """One chain of messages for each patient; behind what waits already nothing is sent."""
        chains: dict[str, list[Message]] = {}
        for each in changes:
            message = Message(each.seq, each.id, each.patient_id, each.version, each.kind, each.names, each.at)
            chains.setdefault(each.patient_id, []).append(message)
        stuck = await webhook_messages.behind(self._fetch, self._org, self._id, chains.keys())
        waiting = [_Outcome(each) for name in stuck for each in chains.pop(name)]
        return waiting + await self._send(list(chains.values()), endpoint, width)

    async def _send(self, chains: Sequence[Sequence[Message]], endpoint: Endpoint, width: int) -> list[_Outcome]:
        """All chains, `width` at a time; none begins another attempt once the endpoint has had enough."""
        gate, enough = asyncio.Semaphore(width), asyncio.Event()

        async def go(chain: Sequence[Message]) -> list[_Outcome]:
            outcomes: list[_Outcome] = []
            async with gate:
                for each in chain:
                    if enough.is_set() or self.leaving.is_set() or (outcomes and not outcomes[-1].done):
                        outcomes.append(_Outcome(each))
                        continue
                    outcomes.append(await self._attempt(each, endpoint))
                    if outcomes[-1].verdict in {Verdict.BUSY, Verdict.GONE}:
                        enough.set()
            return outcomes

        return [outcome for chain in await asyncio.gather(*map(go, chains)) for outcome in chain]

    async def _attempt(self, message: Message, endpoint: Endpoint) -> _Outcome:
        """One message: recorded, signed, sent. What keeps it from leaving is no failure of the endpoint."""
        if not self._sure:
            return _Outcome(message)
        try:
            notice = await self._means.notices.tell(endpoint, message)
        except AuthError:  # recorded, and nothing to be told
            return _Outcome(message, done=True)
        except (AuditUnavailable, StoreUnavailable, KeyUnavailable) as failure:
            return _Outcome(message, code=type(failure).__name__)
        except CrmError as failure:
            return _Outcome(message, Verdict.FAILED, code=type(failure).__name__)
        if notice is None:
            return _Outcome(message, done=True)
        signed = headers(endpoint, notice, self._means.store.clock())
        answer = await self._means.poster.post(endpoint.registration.url, signed, notice.body)
        found = verdict(answer)
        self._means.outcomes[self._id, found.value] += 1
        return _Outcome(message, found, answer, answer.code, done=found is Verdict.DELIVERED)

    async def _settle(self, endpoint: Endpoint, sent: Sequence[_Outcome], position: int) -> None:
        """Stores what became of a round, in one transaction. Raises _Lost where the lease is not ours any more."""
        now, stored = self._means.store.clock(), endpoint.stored
        health = _health(stored.failures, stored.failing_since, sent, now)
        kept = [self._kept(each, now) for each in sent if not each.done]
        async with self._database.transaction(self._org) as connection:
            mine = await webhooks.keep(
                connection, self._org, self._id, self._means.node, health, stored.position, position
            )
            if not mine:
                raise _Lost
            done = [each.message.position for each in sent if each.done]
            await webhook_messages.drop(connection, self._org, self._id, done)
            await webhook_messages.put(connection, self._org, self._id, kept)
        if any(each.verdict is Verdict.GONE for each in sent):
            await self._end("GONE", endpoint)
        if health.failing_since is not None and now - health.failing_since > self._means.days * 86_400 * _SECOND:
            await self._end("FAILING", endpoint)

    def _kept(self, outcome: _Outcome, now: int) -> Message:
        """The message as it goes on waiting, or is given up."""
        message = outcome.message
        if outcome.verdict is None:
            return replace(message, next_at=now + _TROUBLE, answer=outcome.code) if outcome.code else message
        attempts = message.attempts + 1
        # Jitter needs no secrecy.
        seconds = delay(attempts, random.random(), outcome.answer.wait if outcome.answer else 0)  # noqa: S311
        if seconds is None:
            _log.error(
                "webhook endpoint %s: %s is given up after %d attempts: %s",
                self._id, message_id(self._id, message.change_id), attempts, outcome.code,
            )  # fmt: skip
            return replace(message, state=DEAD, attempts=attempts, answer=outcome.code)
        return replace(message, attempts=attempts, next_at=now + round(seconds * _SECOND), answer=outcome.code)

    async def _end(self, why: str, endpoint: Endpoint) -> None:
        """Disables the endpoint, on record, and leaves it."""
        _log.error("webhook endpoint %s is disabled: %s", self._id, _REASONS[why])
        await self._means.hooks.disable(endpoint.actor, Request(self._id, "webhook"), self._id, why)
        raise _Lost


_REASONS = {
    "GONE": "it answered 410, and wants nothing any more",
    "FAILING": "nothing was delivered for days",
    "EXPIRED": "what it was not told of yet is not kept any more",
}


def _health(failures: int, since: int | None, sent: Sequence[_Outcome], now: int) -> Health:
    """How an endpoint fares after a round: any success is a new beginning, and who is busy is left alone."""
    tried = [each for each in sent if each.answer is not None]
    failed = [each for each in tried if not each.done]
    if len(failed) < len(tried):
        failures, since = 0, None
    busy = [each.answer.wait for each in failed if each.verdict is Verdict.BUSY and each.answer is not None]
    if not failed:
        return Health(failures, since)
    failures += 1
    alone = pause(failures, max(busy)) if busy else pause(failures) if failures >= STRIKES else 0
    return Health(failures, since or now, now + alone * _SECOND)
