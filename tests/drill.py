"""A crash drill: replicas that are struck down at every step of their work, and a count of what became of each event.

A replica is a real process. It notes in a file what it asked, what its change committed, what it was answered and
what it was refused; the file outlives the process. `reckoned` compares these notes with the log.
"""

import asyncio
import logging
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path

from crm.audit.event import Act, Event
from crm.audit.writer import LogWriter
from crm.errors import AuditUnavailable, CrmError
from crm.services.log_verification import verify_log
from crm.store.database import Database, connect
from crm.store.log import LogSink, stage_rows
from tests.faults import Stepping
from tests.logs import labels, logged, rows_of, signer, until, verifier_key, writer_on

__all__ = ["POINTS", "Reckoning", "Replicas", "Work", "reckoned"]

ORG = "north"
POINTS = (
    *(f"{side} {number}" for number in range(3) for side in ("before", "after")),
    "before the commit",
    "at once",
    "after the commit",
)
"""Steps of a batch: 0 locks the head, 1 and 2 take staged events, insert, move the head, or store tiles. `at once` is
before a batch in one statement."""

_EACH = 1_000_000
_CLIENTS = 6


@dataclass(frozen=True)
class Work:
    """What a replica does: its number, its database, its notes, and how it is struck.

    `point` and `nth` are where: by `kill` the process ends there, else each `nth` time something is raised there.
    `careless` notes an answer before the event is durable, as a broken writer would.
    """

    number: int
    url: str
    notes: Path
    point: str
    nth: int
    kill: bool
    careless: bool = False
    deadline: float = 1.0


def replica(work: Work) -> None:
    """The life of a replica; it ends by being killed."""
    logging.disable()
    asyncio.run(_Replica(work).live())


class _Replica:
    def __init__(self, work: Work) -> None:
        self._work = work
        self._notes = os.open(work.notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._reached = 0

    async def live(self) -> None:
        work = self._work
        database = connect(work.url, pool_size=4, wait_timeout=1.0, statement_timeout=3.0)
        while True:
            with suppress(CrmError):
                await database.open()
                break
            await asyncio.sleep(0.1)
        steps = Stepping(database, hasty=True)
        steps.strike = self._strike
        writer = LogWriter(LogSink(steps, signer), node=f"r{work.number}", clock=_now, deadline=work.deadline)
        await writer.start()
        self._note("up", 0)
        first = work.number * _EACH
        await asyncio.gather(*(self._client(database, writer, first + place) for place in range(_CLIENTS)))

    def _strike(self, point: str) -> None:
        if point != self._work.point:
            return
        self._reached += 1
        if self._reached % self._work.nth:
            return
        if self._work.kill:
            self._note("killed", 0)
            os.kill(os.getpid(), signal.SIGKILL)
        self._note("failed", 0)
        raise OSError("struck")

    async def _client(self, database: Database, writer: LogWriter, label: int) -> None:
        while True:
            self._note("asked", label)
            try:
                await self._one(database, writer, label)
                self._note("answered", label)
            except (CrmError, RuntimeError):
                self._note("refused", label)
                await asyncio.sleep(0.02)
            label += _CLIENTS

    async def _one(self, database: Database, writer: LogWriter, label: int) -> None:
        """An access, or for every third label a change."""
        event = Event(Act.READ, obj=label)
        if self._work.careless:
            self._note("answered", label)
        if label % 3:
            await writer.append(ORG, [event])
            return
        if not writer.accepting(ORG):
            raise AuditUnavailable
        async with database.transaction(ORG) as connection:
            staged = writer.stage(ORG, [event])
            await stage_rows(connection, ORG, staged)
        self._note("changed", label)
        await writer.sequence(ORG, staged)

    def _note(self, what: str, label: int) -> None:
        os.write(self._notes, f"{what} {label}\n".encode())


def _now() -> int:
    return time.time_ns() // 1000


class Replicas:
    """Several replicas on one database: whoever dies is replaced by one that is struck elsewhere."""

    def __init__(self, folder: Path, urls: Sequence[str], seed: int) -> None:
        self._folder = folder
        self._urls = urls
        self._random = random.Random(seed)
        self._started = 0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["tests.drill"])
        self._running: list[BaseProcess] = []
        self.faults: Counter[str] = Counter()

    @property
    def notes(self) -> list[Path]:
        """What all that ever ran wrote down."""
        return sorted(self._folder.glob("replica-*"))

    def keep(self, number: int) -> None:
        """Start as many as are missing."""
        self._running = [each for each in self._running if each.is_alive()]
        while len(self._running) < number:
            self.start(kill=self._started % 4 != 0)

    def start(self, *, kill: bool, careless: bool = False, point: str = "", nth: int = 0) -> BaseProcess:
        """One more replica, struck at some point."""
        self._started += 1
        work = Work(
            number=self._started,
            url=self._random.choice(self._urls),
            notes=self._folder / f"replica-{self._started:04}",
            point=point or POINTS[self._started % len(POINTS)],
            nth=nth or self._random.randint(3, 25),
            kill=kill,
            careless=careless,
        )
        process = self._context.Process(target=replica, args=(work,), daemon=True)
        process.start()
        self._running.append(process)
        return process

    def kill_one(self) -> None:
        """At a moment of nobody's choosing."""
        with suppress(IndexError):
            victim = self._random.choice(self._running)
            victim.kill()
            victim.join()
            self.faults["replica killed at random"] += 1

    async def hold_one(self, seconds: float) -> None:
        """Stops one in the middle of what it does, maybe with the head of the log locked, and lets it go on."""
        with suppress(IndexError, ProcessLookupError, TypeError):
            victim = self._random.choice(self._running).pid or 0
            os.kill(victim, signal.SIGSTOP)
            self.faults["replica frozen"] += 1
            await asyncio.sleep(seconds)
            os.kill(victim, signal.SIGCONT)

    def end(self) -> None:
        """Kill all of them."""
        for process in self._running:
            process.kill()
            process.join()


@dataclass
class Reckoning:
    """What became of the events: `unrecorded` were answered and `lost` committed with a change, and are not there.

    `over` were refused, or never answered, and are there all the same, which is allowed. `struck` counts replicas that
    were killed at a step of a batch, and batches that failed at one.
    """

    asked: set[int] = field(default_factory=set)
    answered: set[int] = field(default_factory=set)
    changed: set[int] = field(default_factory=set)
    struck: Counter[str] = field(default_factory=Counter)
    found: list[int] = field(default_factory=list)

    @property
    def unrecorded(self) -> set[int]:
        return self.answered - set(self.found)

    @property
    def lost(self) -> set[int]:
        return self.changed - set(self.found)

    @property
    def over(self) -> set[int]:
        return set(self.found) - self.answered

    @property
    def repeated(self) -> int:
        return len(self.found) - len(set(self.found))

    @property
    def invented(self) -> set[int]:
        return set(self.found) - self.asked


async def reckoned(database: Database, notes: Sequence[Path]) -> Reckoning:
    """Takes in the orphans, verifies the log from its leaves to the signature of its head, and counts."""
    await _swept(database)
    found = await verify_log(database, ORG, "heed.test", verifier_key, [], {}, lambda *_: None)
    assert found.sound, found.damages
    assert found.size == len(await rows_of(database, ORG))
    result = Reckoning(found=labels(await logged(database, ORG)))
    for file in notes:
        whole, _, _cut_short = file.read_text().rpartition("\n")
        for line in whole.splitlines():
            what, _, label = line.partition(" ")
            if what in {"killed", "failed"}:
                result.struck[what] += 1
            elif what in {"asked", "answered", "changed"}:
                getattr(result, what).add(int(label))
    return result


async def _swept(database: Database) -> None:
    """A replica that starts when everybody else is gone says that it is ready once the last orphan is in."""
    async with writer_on(database, "sweeper", clock=lambda: _now() + 60_000_000) as writer:
        await until(lambda: writer.healthy)
