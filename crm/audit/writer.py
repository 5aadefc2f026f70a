"""The log writer of one process: many waiting events, one transaction. Owns batches, deadlines, refusals; no storage.

No timer: while a batch of an organisation commits, the next one gathers. Whoever appended waits until its events are
durable, or is refused; there is no third way and no switch. Each organisation has a lane of its own, so that one locked
or slow log does not hold up the others.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

from uuid_utils import uuid7

from crm.audit.deadline import Deadline
from crm.audit.entry import Draft, Entry, draft, drafts, number
from crm.audit.event import Event
from crm.errors import AuditUnavailable, StoreUnavailable

__all__ = ["LogWriter", "Seal", "Sink"]

_LOGGER = logging.getLogger("heed.audit")

FAILURES_TO_OPEN = 2
PROBE_EVERY = 0.2
SWEEP_EVERY = 1.0
ORPHAN_AGE = 2_000_000

MOST_SKEW = 1_000_000
"""Microseconds by which the database's clock may lie outside the time that locking the head took."""

Seal = Callable[[Sequence[Draft], int], Sequence[Entry]]
"""Numbers the drafts that really enter the log; called by the sink for a certain head, or again where that had moved.

The second argument is the time by the database's own clock at that moment, in microseconds since 1970."""


class Sink(Protocol):
    """Where a log is kept (`crm.store.log.LogSink`)."""

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        """One durable transaction: lock the head, drop outbox rows, seal, number without gaps, insert, move the head.

        A staged draft whose outbox row is gone was logged before and is left out. No drafts at all is a probe: it locks
        and writes the head all the same. Raises anything when it failed or when nobody can tell.
        """
        ...

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        """Staged drafts older than `before` (microseconds since 1970) by organisation, at most `limit` for each.

        What nobody stamped who holds the key of the log is left out.
        """
        ...

    def stamp(self, org: str, draft: Draft) -> bytes:
        """What `orphans` knows a staged draft by. Raises KeyUnavailable."""
        ...


@dataclass(slots=True)
class _Ticket:
    """Events of one caller, which succeed or fail together."""

    drafts: Sequence[Draft]
    done: asyncio.Future[None]
    orphan: bool = False
    refused: bool = False


@dataclass(slots=True)
class _Run:
    """One unbroken count of recorded events: 1, 2, 3 ... within one log. A removed event leaves a gap in it.

    A batch that failed, or of which nobody knows, ends the run, because its numbers may be in the log or not.
    """

    node: str
    n: int = 0


@dataclass(slots=True)
class _Lane:
    """The queue of one organisation, and the `batch` of it that `task` commits now.

    `open` is its breaker; `stray` a task whose commit outlived its deadline: it has no say in the lane any more.
    """

    org: str
    run: _Run
    tickets: deque[_Ticket] = field(default_factory=deque)
    batch: Sequence[_Ticket] = ()
    task: asyncio.Task[None] | None = None
    failures: int = 0
    open: bool = False
    stray: asyncio.Task[None] | None = None


class LogWriter:
    """Appends access events durably; one for each process.

    deadline    seconds from enqueueing after which a caller is refused
    queue       events that may wait in this process, all organisations together, before another caller is refused
    batch       events in one transaction (a single caller's events are never split)
    clock       microseconds since 1970, UTC
    overdue     whether an organisation's log may take no events, because nobody outside has seen it for too long
    """

    def __init__(
        self,
        sink: Sink,
        *,
        node: str,
        clock: Callable[[], int],
        deadline: float = 2.0,
        queue: int = 16_384,
        batch: int = 512,
        overdue: Callable[[str], bool] = lambda _org: False,
    ) -> None:
        self.appended: Callable[[str], None] = _nobody_waits
        """Told the organisation of each batch that is durable, behind those who waited for it."""
        self._sink = sink
        self._node = node
        self._clock = clock
        self._deadline = deadline
        self._queue = queue
        self._batch = batch
        self._overdue = overdue
        self._lanes: dict[str, _Lane] = {}
        self._waiting = 0
        self._failures = 0
        self._sweeper: asyncio.Task[None] | None = None
        self._swept = False
        self._unanswered = 0
        self._strays: set[asyncio.Task[None]] = set()

    @property
    def healthy(self) -> bool:
        """Whether events can be recorded now, and those that a dead process left behind have been taken in.

        One organisation's locked log does not make the process unhealthy while others still commit.
        """
        away = self._failures >= FAILURES_TO_OPEN and any(lane.open for lane in self._lanes.values())
        return self._sweeper is not None and self._swept and not away and not self._silent

    @property
    def _silent(self) -> bool:
        """Whether the database stopped answering, which requests that wait for rows would find out much later."""
        return self._unanswered >= FAILURES_TO_OPEN

    def accepting(self, org: str) -> bool:
        """Whether an event of `org` would be let in now; where it would not, nothing that needs one may be looked at.

        False while the breaker is open, the queue is full, the database does not answer, the log is overdue, or the
        writer is stopped.
        """
        lane = self._lanes.get(org)
        shut = self._silent or (lane is not None and lane.open) or self._overdue(org)
        return self._sweeper is not None and not shut and self._waiting < self._queue

    async def start(self) -> None:
        """Begin to accept events, and to look for orphans."""
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="audit sweeper")

    async def stop(self) -> None:
        """Accept nothing more, and give what waits one deadline to become durable."""
        sweeper, self._sweeper = self._sweeper, None
        if sweeper is None:
            return
        sweeper.cancel()
        tasks = {lane.task for lane in self._lanes.values() if lane.task}
        if tasks:
            await asyncio.wait(tasks, timeout=self._deadline)
        ending = {sweeper, *self._strays, *(lane.task for lane in self._lanes.values() if lane.task)}
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def append(self, org: str, events: Sequence[Event]) -> None:
        """Return when all events are durable in the log of `org`; all or none.

        Raises AuditUnavailable at once when the log is known to be away or too much waits, else within the deadline. An
        event may then still turn out to be logged: more may be recorded than was answered, never less. A cancelled
        caller's events are logged nevertheless.
        """
        await self._enqueue(org, drafts(events, self._clock()))

    def stage(self, org: str, events: Sequence[Event]) -> list[Draft]:
        """Drafts for the caller to write into `audit_outbox` in the transaction of its change, before `sequence`.

        Raises KeyUnavailable.
        """
        now, node = self._clock(), self._lane(org).run.node
        made = [draft(event, now, staged_by=node) for event in events]
        return [replace(each, stamp=self._sink.stamp(org, each)) for each in made]

    async def sequence(self, org: str, entries: Sequence[Draft]) -> None:
        """After the commit of the change: move staged drafts from the outbox into the log; return when that is durable.

        Raises AuditUnavailable like `append`; the outbox row then stays until a sweeper of any process finds it.
        """
        await self._enqueue(org, entries)

    def _lane(self, org: str) -> _Lane:
        if org not in self._lanes:
            self._lanes[org] = _Lane(org, self._new_run())
        return self._lanes[org]

    def _new_run(self) -> _Run:
        return _Run(f"{self._node}/{uuid7()}")

    async def _enqueue(self, org: str, drafts: Sequence[Draft], *, orphan: bool = False) -> None:
        if not drafts:
            return
        lane = self._lane(org)
        # As `accepting` says it: whoever was told so beforehand is not refused for a part of its events.
        full = self._waiting >= self._queue
        # What committed with its change has to be taken in even now.
        if self._sweeper is None or lane.open or full or (self._overdue(org) and not orphan):
            raise AuditUnavailable
        ticket = _Ticket(drafts, asyncio.get_running_loop().create_future(), orphan)
        lane.tickets.append(ticket)
        self._waiting += len(drafts)
        if lane.task is None:
            self._begin(lane)
        deadline = Deadline(self._deadline, partial(_refuse, ticket))
        try:
            await ticket.done
        finally:
            deadline.cancel()

    def _begin(self, lane: _Lane) -> None:
        lane.task = asyncio.get_running_loop().create_task(self._drain(lane), name="audit lane")

    async def _drain(self, lane: _Lane) -> None:
        """Commit batch after batch until nothing waits; while the breaker is open, probe."""
        me = lane.task
        try:
            if lane.stray is not None and not lane.stray.done():
                await asyncio.wait({lane.stray}, timeout=PROBE_EVERY)
            while lane.task is me and (lane.tickets or lane.open):
                if lane.open:
                    await self._probe(lane)
                elif batch := self._take(lane):
                    lane.batch = batch
                    if await self._attempt(lane):
                        lane.failures, lane.batch = 0, ()
                        for ticket in batch:
                            _settle(ticket)
                        self.appended(lane.org)
        finally:
            if lane.task is me:
                lane.task = None
                if lane.batch:  # cancelled, and it may be in the log
                    lane.run = self._new_run()
                for ticket in (*lane.batch, *self._take(lane, everything=True)):
                    _refuse(ticket)

    async def _probe(self, lane: _Lane) -> None:
        """Try whether the log takes writes again, without anybody's events at stake."""
        await asyncio.sleep(PROBE_EVERY)
        if (lane.stray is None or lane.stray.done()) and await self._attempt(lane):
            # One more failure is enough to open it again: a probe is smaller than a batch.
            lane.open, lane.failures = False, FAILURES_TO_OPEN - 1

    def _take(self, lane: _Lane, *, everything: bool = False) -> list[_Ticket]:
        """The next batch, without those whose callers were refused already; a cancelled caller's events stay in."""
        taken: list[_Ticket] = []
        size = 0
        while lane.tickets and (everything or not taken or size + len(lane.tickets[0].drafts) <= self._batch):
            ticket = lane.tickets.popleft()
            self._waiting -= len(ticket.drafts)
            if not ticket.refused:
                taken.append(ticket)
                size += len(ticket.drafts)
        return taken

    async def _attempt(self, lane: _Lane) -> bool:
        """Commit the batch; False when it failed, or when its outcome was unknown at the deadline."""
        run, me, tickets = lane.run, lane.task, lane.batch
        orphans = {draft.id for ticket in tickets if ticket.orphan for draft in ticket.drafts}
        sealed = 0
        began = self._clock()

        def seal(drafts: Sequence[Draft], db_time: int) -> list[Entry]:
            nonlocal sealed
            sealed = len(drafts)
            skewed = not began - MOST_SKEW <= db_time <= self._clock() + MOST_SKEW
            return [
                number(draft, run.node, run.n + place, orphan=draft.id in orphans, skewed=skewed)
                for place, draft in enumerate(drafts, start=1)
            ]

        drafts = [draft for ticket in tickets for draft in ticket.drafts]
        deadline = Deadline(self._deadline, partial(self._abandon, lane))
        try:
            await self._sink.commit(lane.org, drafts, seal)
        except (Exception, asyncio.CancelledError) as error:
            # One that nobody asked of this task came out of the database, and is a failure like any other.
            if isinstance(error, asyncio.CancelledError) and (me is None or me.cancelling()):
                raise
            # The type only: a driver's message may quote what it was given.
            _LOGGER.warning("audit: a batch failed with %s", type(error).__name__)
            if lane.task is me:
                self._failed(lane)
            return False
        finally:
            deadline.cancel()
        if lane.task is not me:
            return False
        run.n += sealed
        self._failures = 0
        return True

    def _abandon(self, lane: _Lane) -> None:
        """Give up a commit that outlived its deadline, of which nobody knows whether it will happen."""
        _LOGGER.warning("audit: a batch took longer than the deadline")
        stray = lane.stray = lane.task
        if stray is not None:
            self._strays.add(stray)
            stray.add_done_callback(self._strays.discard)
            stray.cancel()
        self._begin(lane)
        self._failed(lane)

    def _failed(self, lane: _Lane) -> None:
        """Refuse the batch, and all that waits where it was one too many; what comes next is counted anew."""
        lane.run = self._new_run()
        self._failures += 1
        refused, lane.batch = [*lane.batch], ()
        lane.failures += 1
        lane.open = lane.open or lane.failures >= FAILURES_TO_OPEN
        if lane.open:
            refused += self._take(lane, everything=True)
        for ticket in refused:
            _refuse(ticket)

    async def _sweep(self) -> None:
        """Take in what was committed with a change but never sequenced, by this process or by one that died."""
        while True:
            try:
                more = await self._take_orphans()
                self._swept |= not more
            except Exception as error:  # noqa: BLE001 - the sweeper outlives whatever ails the database
                _LOGGER.warning("audit: looking for orphans failed with %s", type(error).__name__)
                more = False
            if not more:
                await asyncio.sleep(PROBE_EVERY if self._unanswered else SWEEP_EVERY)

    async def _take_orphans(self) -> bool:
        """Log the oldest of what nobody sequenced; whether there may be more. Also counts looks without an answer."""
        try:
            async with asyncio.timeout(self._deadline):
                found = await self._sink.orphans(self._clock() - ORPHAN_AGE, self._batch)
        except (TimeoutError, StoreUnavailable):
            self._unanswered += 1
            raise
        self._unanswered = 0
        await asyncio.gather(*(self._enqueue(org, drafts, orphan=True) for org, drafts in found.items()))
        return any(len(drafts) >= self._batch for drafts in found.values())


def _nobody_waits(_org: str) -> None:
    """For a log that nobody follows."""


def _settle(ticket: _Ticket) -> None:
    if not ticket.done.done():
        ticket.done.set_result(None)


def _refuse(ticket: _Ticket) -> None:
    """Tell the caller that nothing may be answered; a caller who went away is not told."""
    if not ticket.done.done():
        ticket.refused = True
        ticket.done.set_exception(AuditUnavailable())
