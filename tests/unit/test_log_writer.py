"""The log writer against a simulated log: batching, order, deadlines, refusals, cancellation, orphans."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress

import pytest

from crm.audit.entry import Draft, Entry
from crm.audit.event import Act, Event
from crm.audit.writer import LogWriter, Seal
from crm.errors import AuditUnavailable
from crm.settings.variables import Settings


class Log:
    """A simulated log: what committed by organisation, an outbox, and every fault a database can show."""

    def __init__(self) -> None:
        self.entries: dict[str, list[Entry]] = {}
        self.outbox: dict[str, dict[str, Draft]] = {}
        self.batches: list[int] = []
        self.failing = False
        self.hanging: set[str] = set()
        self.gate = asyncio.Event()
        self.gate.set()
        self.commit_then_fail = False
        self.silent = False

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        await self.gate.wait()
        if org in self.hanging:
            await asyncio.Event().wait()
        if self.failing:
            raise OSError("the disk is full")
        outbox = self.outbox.get(org, {})
        live = [draft for draft in drafts if not draft.staged or outbox.pop(draft.id, None) is not None]
        self.batches.append(len(live))
        self.entries.setdefault(org, []).extend(seal(live, Clock.now))
        if self.commit_then_fail:
            raise OSError("the connection broke during COMMIT")

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        if self.failing:
            raise OSError("away")
        if self.silent:
            await asyncio.Event().wait()
        found = {
            org: [draft for draft in waiting.values() if draft.created_at < before][:limit]
            for org, waiting in self.outbox.items()
        }
        return {org: drafts for org, drafts in found.items() if drafts}

    def stamp(self, org: str, draft: Draft) -> bytes:
        return f"{org} {draft.id}".encode()

    def hold(self, org: str, drafts: Sequence[Draft]) -> None:
        """What a change's transaction does."""
        self.outbox.setdefault(org, {}).update({draft.id: draft for draft in drafts})

    def places(self, org: str = "north") -> list[tuple[str, int]]:
        """Node and count of every logged event, in order."""
        sources = [json.loads(entry.leaf)["src"] for entry in self.entries.get(org, [])]
        return [(source["node"], source["n"]) for source in sources]

    def versions(self, org: str = "north") -> list[int]:
        """The record version each logged event names: here, its label."""
        return [json.loads(entry.leaf)["obj"][0]["ver"] for entry in self.entries.get(org, [])]


class Clock:
    """Microseconds since 1970, moved by hand."""

    now = 1_795_287_303_000_000

    def __call__(self) -> int:
        return self.now


def event(label: int = 0) -> Event:
    """An event that can be told from others."""
    return Event(Act.READ, obj=label)


@asynccontextmanager
async def running(log: Log, **settings: float) -> AsyncIterator[LogWriter]:
    """A started writer that is stopped in the end."""
    writer = LogWriter(log, node="ra-1", clock=settings.pop("clock", Clock()), **settings)  # type: ignore[arg-type]
    await writer.start()
    try:
        yield writer
    finally:
        await writer.stop()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the writer does in its own time; the test's own limit ends a wait in vain."""
    while not condition():  # noqa: ASYNC110 - the writer has no event for every state a test may ask for
        await asyncio.sleep(0.01)


async def test_append_returns_when_durable() -> None:
    """After `append` the events are in the log, in order, under one count."""
    log = Log()
    async with running(log) as writer:
        await writer.append("north", [event(1), event(2)])
        await writer.append("north", [event(3)])
    assert log.versions() == [1, 2, 3]
    assert [n for _, n in log.places()] == [1, 2, 3]
    assert len({node for node, _ in log.places()}) == 1
    assert log.places()[0][0].startswith("ra-1/")


async def test_nothing_to_append() -> None:
    """No events, no transaction."""
    log = Log()
    async with running(log) as writer:
        await writer.append("north", [])
    assert log.batches == []


async def test_waiting_events_share_a_commit() -> None:
    """While one batch commits the others gather, and are committed together: no timer, no transaction for each."""
    log = Log()
    async with running(log) as writer:
        log.gate.clear()
        calls = [asyncio.create_task(writer.append("north", [event(n)])) for n in range(101)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        log.gate.set()
        await asyncio.gather(*calls)
    assert sum(log.batches) == 101
    assert len(log.batches) <= 2
    assert [n for _, n in log.places()] == list(range(1, 102))


async def test_batches_are_bounded_and_callers_whole() -> None:
    """A batch holds at most its limit, except for one caller who brings more: that caller's events stay together."""
    log = Log()
    async with running(log, batch=4) as writer:
        log.gate.clear()
        sizes = (3, 3, 9, 1, 1, 1)
        calls = [asyncio.create_task(writer.append("north", [event()] * size)) for size in sizes]
        await asyncio.sleep(0.01)
        log.gate.set()
        await asyncio.gather(*calls)
    assert log.batches == [3, 3, 9, 3]


async def test_organisations_have_logs_of_their_own() -> None:
    """A log that hangs does not hold up another organisation's, nor make the process unhealthy."""
    log = Log()
    log.hanging = {"south"}
    async with running(log, deadline=0.05) as writer:
        slow = asyncio.create_task(writer.append("south", [event()]))
        await writer.append("north", [event()])
        with pytest.raises(AuditUnavailable):
            await slow
        with pytest.raises(AuditUnavailable):
            await writer.append("south", [event()])
        await writer.append("north", [event()])
        assert writer.healthy
    assert [n for _, n in log.places("north")] == [1, 2]
    assert "south" not in log.entries


async def test_failed_batch_refuses_every_waiter() -> None:
    """A batch that cannot be written refuses all of its callers, and its events are not logged later."""
    log = Log()
    log.failing = True
    async with running(log) as writer:
        results = await asyncio.gather(*(writer.append("north", [event()]) for _ in range(5)), return_exceptions=True)
        assert [type(result) for result in results] == [AuditUnavailable] * 5
        log.failing = False
        await writer.append("north", [event(7)])
    assert log.versions() == [7]


async def test_count_has_no_gap_after_a_failure() -> None:
    """A failure ends the count and begins another at 1, so that a gap inside a count can only be a removed event."""
    log = Log()
    async with running(log) as writer:
        await writer.append("north", [event(), event()])
        log.failing = True
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event()])
        log.failing = False
        await writer.append("north", [event(), event()])
    assert [n for _, n in log.places()] == [1, 2, 1, 2]
    assert len({node for node, _ in log.places()}) == 2


async def test_unknown_outcome_is_a_refusal() -> None:
    """When nobody knows whether a commit happened the caller is refused; the event may be logged, but never twice."""
    log = Log()
    log.commit_then_fail = True
    async with running(log) as writer:
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(1)])
        log.commit_then_fail = False
        await writer.append("north", [event(2)])
    assert log.versions() == [1, 2]


async def test_hanging_log_refuses_at_the_deadline() -> None:
    """A log that neither answers nor fails refuses its callers at the deadline, also those who still queue."""
    log = Log()
    log.hanging = {"north"}
    async with running(log, deadline=0.05) as writer:
        calls = [asyncio.create_task(writer.append("north", [event()])) for _ in range(3)]
        await asyncio.sleep(0.01)
        calls.append(asyncio.create_task(writer.append("north", [event()])))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(result) for result in results] == [AuditUnavailable] * 4
        log.hanging = set()
        await asyncio.sleep(0)


class Stubborn(Log):
    """A log whose commits go on when they are cancelled."""

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        while not self.gate.is_set():
            with suppress(asyncio.CancelledError):
                await self.gate.wait()
        await super().commit(org, drafts, seal)


async def test_a_commit_that_goes_on_has_no_say_any_more() -> None:
    """One that outlived its deadline may still happen: nobody is told so, and what comes later is counted apart."""
    log = Stubborn()
    async with running(log, deadline=0.05) as writer:
        log.gate.clear()
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(1)])
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(2)])  # waits for the first to end, and is refused meanwhile
        log.gate.set()
        await until(lambda: log.versions() == [1])
        await writer.append("north", [event(3)])
    assert log.versions() == [1, 3]
    assert [n for _, n in log.places()] == [1, 1]
    assert len({node for node, _ in log.places()}) == 2


class Gated(Log):
    """A log whose first two commits go on although they are cancelled, and of which one fails; each when it is let."""

    def __init__(self, failing: int) -> None:
        super().__init__()
        self.gates = [asyncio.Event(), asyncio.Event()]
        self.commits = 0
        self.bad = failing

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        self.commits += 1
        number = self.commits
        while number <= 2 and not self.gates[number - 1].is_set():
            with suppress(asyncio.CancelledError):
                await self.gates[number - 1].wait()
        if number == self.bad:
            raise OSError("the disk is full")
        await super().commit(org, drafts, seal)


async def test_one_that_ends_late_meddles_with_no_other() -> None:
    """It takes nothing from the queue, and whoever shares a batch that fails later is refused as soon as it does."""
    log = Gated(failing=2)
    async with running(log, deadline=0.05) as writer:
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(1)])
        writer._deadline = 30.0
        second = asyncio.create_task(writer.append("north", [event(2)]))
        await until(lambda: log.commits == 2)
        third = asyncio.create_task(writer.append("north", [event(3)]))
        log.gates[0].set()
        await until(lambda: log.versions() == [1])
        await asyncio.sleep(0.01)
        assert log.commits == 2  # the third waits for the second, although the first is done
        log.gates[1].set()
        results = await asyncio.wait_for(asyncio.gather(second, third, return_exceptions=True), 5)
        assert [type(each) for each in results] == [AuditUnavailable] * 2


async def test_one_that_fails_late_meddles_with_no_other() -> None:
    """Its failure is not that of the batch which commits by then: whose callers are answered, whose count goes on."""
    log = Gated(failing=1)
    async with running(log, deadline=0.05) as writer:
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(1)])
        writer._deadline = 30.0
        second = asyncio.create_task(writer.append("north", [event(2)]))
        await until(lambda: log.commits == 2)
        log.gates[0].set()
        await until(lambda: not writer._strays)
        assert not second.done()
        log.gates[1].set()
        await second
        await writer.append("north", [event(3)])
    assert log.versions() == [2, 3]
    assert [n for _, n in log.places()] == [1, 2]
    assert len({node for node, _ in log.places()}) == 1


class Cancelling(Log):
    """A log out of which, when its commit is done, comes a cancellation that nobody asked for, so many times."""

    def __init__(self) -> None:
        super().__init__()
        self.left = 0

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        await super().commit(org, drafts, seal)
        if self.left > 0:
            self.left -= 1
            raise asyncio.CancelledError


async def test_a_cancellation_out_of_the_database_is_a_failure() -> None:
    """The batch is refused though it may be in the log, and no number of its count comes twice."""
    log = Cancelling()
    async with running(log) as writer:
        await writer.append("north", [event(1)])
        log.left = 1
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event(2)])
        await writer.append("north", [event(3)])
    assert log.versions() == [1, 2, 3]
    assert len(set(log.places())) == 3


async def test_a_probe_cancelled_by_the_database_is_not_the_last() -> None:
    """However often that happens, the log is tried again, and takes events as soon as it can."""
    log = Cancelling()
    async with running(log) as writer:
        log.left = 4
        for _ in range(2):
            with pytest.raises(AuditUnavailable):
                await writer.append("north", [event(1)])
        assert not writer.accepting("north")
        await until(lambda: writer.accepting("north"))
        assert log.left == 0
        await writer.append("north", [event(2)])
    assert log.versions() == [1, 1, 2]
    assert len(set(log.places())) == 3


class Hung(Log):
    """A log whose commit happens, of which nobody is ever told while it hangs."""

    hung = False

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        await super().commit(org, drafts, seal)
        while self.hung:
            await asyncio.Event().wait()


async def test_a_batch_cut_short_by_the_end_ends_its_count() -> None:
    """Of what was cancelled when the writer stopped nobody knows; started again, it counts anew."""
    log = Hung()
    async with running(log) as writer:
        await writer.append("north", [event(1)])
        log.hung = True
        second = asyncio.create_task(writer.append("north", [event(2)]))
        await until(lambda: log.versions() == [1, 2])
        writer._deadline = 0.01
        await writer.stop()
        with pytest.raises(AuditUnavailable):
            await second
        log.hung = False
        writer._deadline = 30.0
        await writer.start()
        await writer.append("north", [event(3)])
    assert log.versions() == [1, 2, 3]
    assert len(set(log.places())) == 3


async def test_a_loop_that_stood_still_is_not_the_logs_fault() -> None:
    """A commit that ended before its deadline is no failure only because nobody could look; one that hangs is."""

    class Threaded(Log):
        async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
            await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.01)
            await super().commit(org, drafts, seal)

    log = Threaded()
    async with running(log, deadline=0.1) as writer:
        for label in range(3):
            call = asyncio.create_task(writer.append("north", [event(label)]))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.3)  # noqa: ASYNC251 - what is tested
            await call
        assert [n for _, n in log.places()] == [1, 2, 3]
        log.hanging = {"north"}
        call = asyncio.create_task(writer.append("north", [event()]))
        await asyncio.sleep(0.05)
        time.sleep(0.3)  # noqa: ASYNC251 - what is tested
        with pytest.raises(AuditUnavailable):
            await asyncio.wait_for(call, 1)
    assert log.versions() == [0, 1, 2]


async def test_breaker_opens_and_closes_by_itself() -> None:
    """After two failed batches callers are refused at once; a probe, not a caller, finds out that the log is back."""
    log = Log()
    async with running(log) as writer:
        await until(lambda: writer.healthy)
        log.failing = True
        for _ in range(2):
            with pytest.raises(AuditUnavailable):
                await writer.append("north", [event()])
        assert not writer.healthy
        log.gate.clear()  # nothing could answer now; the refusal does not even ask
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event()])
        log.failing = False
        log.gate.set()
        await until(lambda: writer.healthy)
        await writer.append("north", [event(9)])
    assert log.versions() == [9]


async def test_full_queue_refuses_at_once() -> None:
    """More waiting events than the queue holds are refused without waiting; those within it are logged."""
    log = Log()
    async with running(log, queue=10) as writer:
        log.gate.clear()
        calls = [asyncio.create_task(writer.append("north", [event()]))]
        await asyncio.sleep(0.01)  # now that one is being committed, and no longer waits
        calls += [asyncio.create_task(writer.append(org, [event()] * 5)) for org in ("north", "north")]
        await asyncio.sleep(0.01)
        for org in ("north", "south"):
            with pytest.raises(AuditUnavailable):
                await writer.append(org, [event()])
        log.gate.set()
        await asyncio.gather(*calls)
        await writer.append("north", [event()] * 11)  # when nobody waits, even more than the queue holds is let in
    assert log.batches == [1, 10, 11]


async def test_the_queue_takes_in_whoever_was_told_so() -> None:
    """Where there was room for one, a caller who read rows relying on it is not refused for how many they were."""
    log = Log()
    async with running(log, queue=10) as writer:
        log.gate.clear()
        calls = [asyncio.create_task(writer.append("north", [event()]))]
        await asyncio.sleep(0.01)
        calls.append(asyncio.create_task(writer.append("north", [event()] * 9)))
        await asyncio.sleep(0)
        assert writer.accepting("north")
        calls.append(asyncio.create_task(writer.append("north", [event()] * 5)))
        await asyncio.sleep(0)
        assert not writer.accepting("north")
        log.gate.set()
        await asyncio.gather(*calls)
    assert sum(log.batches) == 15


async def test_the_queue_holds_what_one_caller_may_ask_for_at_once() -> None:
    """A quarter of the places, and a list of a hundred at each: nothing is wrong, so nobody is refused."""
    fields = Settings.model_fields
    queue, lists = fields["audit_queue"].default, fields["request_concurrency"].default // 4
    log = Log()
    async with running(log, queue=queue, deadline=30) as writer:
        log.gate.clear()
        calls = [asyncio.create_task(writer.append("north", [event()] * 100)) for _ in range(lists)]
        await asyncio.sleep(0.01)
        assert writer.accepting("north")
        log.gate.set()
        await asyncio.gather(*calls)
    assert sum(log.batches) == lists * 100


async def test_accepting_says_beforehand_what_append_would_do() -> None:
    """Before it starts, when its queue is full, while an organisation's breaker is open, and after it stopped: no."""
    log = Log()
    writer = LogWriter(log, node="ra-1", clock=Clock(), queue=2, deadline=0.05)
    assert not writer.accepting("north")
    await writer.start()
    assert writer.accepting("north")
    log.gate.clear()
    calls = [asyncio.create_task(writer.append("north", [event()]))]
    await asyncio.sleep(0.01)
    calls.append(asyncio.create_task(writer.append("north", [event()] * 2)))
    await asyncio.sleep(0)
    assert [writer.accepting(org) for org in ("north", "south")] == [False, False]
    log.gate.set()
    await asyncio.gather(*calls)
    assert writer.accepting("north")
    log.hanging = {"north"}
    for _ in range(2):
        with pytest.raises(AuditUnavailable):
            await writer.append("north", [event()])
    await until(lambda: not writer.accepting("north"))
    assert writer.accepting("south")
    await writer.stop()
    assert not writer.accepting("south")


async def test_a_database_that_says_nothing_is_noticed_without_callers() -> None:
    """Requests that wait for rows append nothing; the sweeper finds out, and finds out when it is over."""
    log = Log()
    async with running(log, deadline=0.05) as writer:
        await until(lambda: writer.healthy)
        log.silent = True
        await until(lambda: not writer.accepting("north"))
        assert not writer.healthy
        log.silent = False
        await until(lambda: writer.accepting("north"))
        await writer.append("north", [event(3)])
    assert log.versions() == [3]


async def test_cancelled_caller_is_still_recorded() -> None:
    """A client that goes away while its event waits or commits leaves the event behind."""
    log = Log()
    async with running(log) as writer:
        log.gate.clear()
        first = asyncio.create_task(writer.append("north", [event(1)]))
        await asyncio.sleep(0.01)
        second = asyncio.create_task(writer.append("north", [event(2)]))
        await asyncio.sleep(0.01)
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        assert first.cancelled()
        assert second.cancelled()
        log.gate.set()
        await until(lambda: log.versions() == [1, 2])


async def test_stop_lets_the_waiting_finish() -> None:
    """Stopping accepts nothing more and commits what waits."""
    log = Log()
    writer = LogWriter(log, node="ra-1", clock=Clock())
    with pytest.raises(AuditUnavailable):
        await writer.append("north", [event()])
    await writer.start()
    waiting = asyncio.create_task(writer.append("north", [event(1)]))
    await asyncio.sleep(0)
    await writer.stop()
    await waiting
    with pytest.raises(AuditUnavailable):
        await writer.append("north", [event()])
    await writer.stop()
    assert log.versions() == [1]
    assert not writer.healthy


async def test_stop_ends_while_the_log_hangs() -> None:
    """Stopping does not wait for a log that hangs; the waiting caller is refused."""
    log = Log()
    log.hanging = {"north"}
    writer = LogWriter(log, node="ra-1", clock=Clock(), deadline=0.05)
    await writer.start()
    waiting = asyncio.create_task(writer.append("north", [event(1)]))
    await asyncio.sleep(0)
    await writer.stop()
    with pytest.raises(AuditUnavailable):
        await waiting


async def test_staged_event_is_sequenced_once() -> None:
    """A change's event is logged when the change committed, with the outbox emptied, and not a second time."""
    log = Log()
    async with running(log) as writer:
        staged = writer.stage("north", [event(1)])
        log.hold("north", staged)
        await writer.sequence("north", staged)
        await writer.sequence("north", staged)
    assert log.versions() == [1]
    assert log.outbox == {"north": {}}
    assert [n for _, n in log.places()] == [1]


async def test_rolled_back_change_leaves_no_trace_in_the_count() -> None:
    """A staged event whose change was rolled back is never logged, and the count stays whole."""
    log = Log()
    async with running(log) as writer:
        writer.stage("north", [event(1)])
        await writer.append("north", [event(2)])
    assert log.versions() == [2]
    assert [n for _, n in log.places()] == [1]


async def test_orphan_is_taken_in_by_another_process() -> None:
    """What a process committed but did not live to sequence is logged by another, which says whose it was."""
    log, clock = Log(), Clock()
    dead = LogWriter(log, node="ra-2", clock=clock)
    log.hold("north", dead.stage("north", [event(5)]))
    clock.now += 3_000_000
    async with running(log, clock=clock) as writer:  # type: ignore[arg-type]
        await until(lambda: writer.healthy)
    assert log.versions() == [5]
    source = json.loads(log.entries["north"][0].leaf)["src"]
    assert source["node"].startswith("ra-1/")
    assert source["for"].startswith("ra-2/")


async def test_not_healthy_before_the_last_orphan_is_in() -> None:
    """More orphans than one batch holds are all taken in before the process says that it is ready."""
    log, clock = Log(), Clock()
    dead = LogWriter(log, node="ra-2", clock=clock)
    log.hold("north", dead.stage("north", [event(label) for label in range(11)]))
    clock.now += 3_000_000
    async with running(log, clock=clock, batch=4) as writer:  # type: ignore[arg-type]
        await until(lambda: writer.healthy)
        assert sorted(log.versions()) == list(range(11))


async def test_young_outbox_rows_are_left_to_their_owner() -> None:
    """A sweeper does not take what its owner is about to sequence."""
    log, clock = Log(), Clock()
    owner = LogWriter(log, node="ra-2", clock=clock)
    log.hold("north", owner.stage("north", [event(5)]))
    clock.now += 1_000_000
    async with running(log, clock=clock) as writer:  # type: ignore[arg-type]
        await until(lambda: writer.healthy)
    assert log.versions() == []


async def test_not_healthy_before_orphans_were_looked_for() -> None:
    """A process is not ready while it cannot know whether a dead one left events behind."""
    log = Log()
    log.failing = True
    async with running(log) as writer:
        await asyncio.sleep(0.01)
        assert not writer.healthy
