"""One truth at every touchpoint: clients of several processes see one record, whatever is killed meanwhile.

`DRILL_OPERATIONS` and `DRILL_KILLS` make a run as long as wanted; docs/operating.md tells what long ones came to.
"""

import asyncio
import math
import os
import random
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from auth.development import DevelopmentIssuer
from auth.roles import Role
from crm.store.database import Database, Row
from crm.store.statements import Statement
from tests.client import client
from tests.conftest import Databases
from tests.durable import Durable, durable
from tests.house import ORG
from tests.linearizability import Operation, Write, violations
from tests.listening import listening
from tests.processes import Serving, call, done, environment, founded, free_port, started
from tests.touchpoints import Tokens, Touchpoints

OPERATIONS = int(os.environ.get("DRILL_OPERATIONS", "500"))
KILLS = int(os.environ.get("DRILL_KILLS", "2"))
"""In each run, one process at a time."""
SECONDS = float(os.environ.get("DRILL_SECONDS", "inf"))
"""After which a run does no more operations, however few there were."""
PLACES = [("sqlite", 1), ("postgresql", 2)]
"""Engine and processes."""
MORE = [("postgresql", 1), ("postgresql", 4)]
"""Of a run whose length was asked for."""
RECORDS = 10
CLIENTS = 12
_CHANGES = "act = 'update' AND out = 0"


def tokens(folder: Path, org: str = "north") -> Tokens:
    """Three members of staff, and a system."""
    issuer = DevelopmentIssuer(folder)
    staff = [issuer.sign(Role.CLINICIAN, f"dr-{number}", org=org, ttl=20_000) for number in range(3)]
    return Tokens(staff, issuer.sign(Role.INTEGRATION, "feed", org=org, ttl=20_000))


@dataclass
class Place:
    """Where the records are: the settings of its processes, and a way to count rows of its database."""

    settings: dict[str, Any]
    server: Durable | None = None

    def count(self, table: str, where: str) -> int:
        """How many rows fulfil a condition."""
        if self.server is not None:
            return self.server.count(table, where)
        path = self.settings["database_url"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path)) as file:
            found: int = file.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]
            return found


@contextmanager
def place_on(engine: str, databases: Databases, folder: Path) -> Iterator[Place]:
    """A place in order."""
    if engine == "postgresql":
        with durable() as server:
            yield Place(founded(folder, server.url), server)
        return
    url = databases.create(engine)
    yield Place(founded(folder, url))
    databases.drop(url)


@dataclass
class Fleet:
    """Processes on ports of their own, each of which is started again whenever it was killed."""

    place: Place
    ports: list[int]
    """Where one is ready now."""
    opened: ExitStack
    """Ends them all, whatever becomes of the test."""
    running: dict[int, Serving] = field(default_factory=dict)
    kills: int = 0

    async def start(self, number: int) -> None:
        """So many processes."""
        await asyncio.gather(*(self._hire(free_port()) for _ in range(number)))

    async def kill_one(self, chance: random.Random) -> None:
        """In the middle of whatever it does; returns when there is another one in its place."""
        port = chance.choice(list(self.running))
        self.running.pop(port).stop(signal.SIGKILL)
        self.ports.remove(port)
        self.kills += 1
        await self._hire(port)

    async def _hire(self, port: int) -> None:
        words = call("serve", "--port", port)
        it = self.opened.enter_context(started(words, environment(**self.place.settings), f"http://127.0.0.1:{port}"))
        self.running[port] = it
        while await asyncio.to_thread(self._unready, it):
            assert it.process.poll() is None, it.said
            await asyncio.sleep(0.05)
        self.ports.append(port)

    @staticmethod
    def _unready(it: Serving) -> bool:
        with suppress(OSError, Exception):
            return it.get("/readyz").status_code != 200
        return True

    def end(self) -> None:
        """All of them, in order."""
        for it in self.running.values():
            assert it.stop() == 0, it.said
            assert "Traceback" not in it.said


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "processes"), PLACES + (MORE if "DRILL_OPERATIONS" in os.environ else []), ids=str)
@pytest.mark.timeout(max(180, OPERATIONS // 20 + 10 * KILLS))
async def test_one_truth(engine: str, processes: int, databases: Databases, tmp_path: Path) -> None:
    """Linearizable, nothing acknowledged is lost, nothing torn, nothing done twice; feed and log tell each change."""
    with place_on(engine, databases, tmp_path) as place, ExitStack() as opened:
        touch = Touchpoints(tokens(tmp_path), [])
        fleet = Fleet(place, touch.ports, opened)
        await fleet.start(processes)
        ids = await touch.register(RECORDS)
        began = time.monotonic()
        each = OPERATIONS // (2 * processes)
        enough: Callable[[], bool] = lambda: fleet.kills >= KILLS and fewest(touch, fleet) >= each
        await _struck(fleet, touch.work(ids, OPERATIONS, CLIENTS, enough, SECONDS), touch)
        spent = time.monotonic() - began
        await _told_everywhere(touch, place, ids)
        assert violations(touch.history) == []
        assert touch.odd == []
        assert fewest(touch, fleet) > 0
        fleet.end()
        writes = sum(isinstance(each, Write) for each in touch.history)
        for words in (("audit", "verify", "--org", "north"), ("keys", "verify")):
            done(*words, **place.settings)
        print(  # noqa: T201 - worth reading
            f"{engine}, {processes} processes: {len(touch.history)} operations in {spent:.0f} s, {writes} writes "
            f"acknowledged, {fleet.kills} kills; {touch.repeated} changes sent again, hurdles {dict(touch.hurdles)}: "
            "0 violations, 0 lost, 0 torn, 0 doubled, 0 events missing"
        )


def fewest(touch: Touchpoints, fleet: Fleet) -> int:
    """How many answers the process gave that gave fewest: a killed one leaves the work to the others."""
    return min((touch.answered[port] for port in fleet.running), default=0)


async def _struck(fleet: Fleet, work: Any, touch: Touchpoints) -> None:
    """Does the work, and kills a process whenever a part of it is done."""
    chance = random.Random(11)
    task = asyncio.create_task(work)
    while not task.done():
        if fleet.kills < KILLS and len(touch.history) >= OPERATIONS * (fleet.kills + 0.5) / KILLS:
            await fleet.kill_one(chance)
            await asyncio.sleep(0.2)
        await asyncio.sleep(0.01)
    await task
    assert fleet.kills >= min(KILLS, 1)


async def _told_everywhere(touch: Touchpoints, place: Place, ids: Sequence[str]) -> None:
    """What was acknowledged is what is stored, what the feed tells in order, and what the log says, no more or less."""
    stored = await touch.look(ids)
    told = await touch.feed()
    for patient in ids:
        versions = list(range(1, stored[patient] + 1))
        assert sorted(touch.acknowledged[patient]) == versions, "lost, or done twice"
        assert list(dict.fromkeys(told[patient])) == versions, "the feed left one out, or told it out of order"
    writes = sum(stored.values()) - len(stored)
    # What a killed process left behind is taken into the log by another one within seconds.
    while (logged := await asyncio.to_thread(place.count, "audit_event", _CHANGES)) < writes:  # noqa: ASYNC110
        await asyncio.sleep(0.2)
    assert logged == writes
    assert await asyncio.to_thread(place.count, "audit_outbox", "true") == 0


class _Stale:
    """A database whose look-ups are answered out of a cache for so many seconds of `clock`, as ours never are."""

    def __init__(self, inner: Database, seconds: float, clock: Callable[[], float]) -> None:
        self._inner = inner
        self._seconds = seconds
        self._clock = clock
        self._kept: dict[Any, tuple[float, Sequence[Row]]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Row]:
        """The rows, or those of a moment ago."""
        asked = (org, statement, str(sorted(params.items())))
        at, rows = self._kept.get(asked, (-math.inf, ()))
        if self._clock() - at > self._seconds:
            rows = await self._inner.fetch(org, statement, **params)
            self._kept[asked] = (self._clock(), rows)
        return rows


@asynccontextmanager
async def touching(database_url: str, folder: Path, **parts: Any) -> AsyncIterator[Touchpoints]:
    """Touchpoints of a service in this process."""
    async with client(database_url, folder, **parts) as it, listening(it.app) as address:
        yield Touchpoints(tokens(folder, ORG), [int(address.rpartition(":")[2])])


async def test_one_process_for_a_moment(database_url: str, tmp_path: Path) -> None:
    """The same, small: no violation, and every answer one that a client expects."""
    async with touching(database_url, tmp_path) as touch:
        ids = await touch.register(2)
        await touch.work(ids, 200, 8)
        await touch.look(ids)
    assert violations(touch.history) == []
    assert touch.odd == []
    assert {type(each).__name__ for each in touch.history} >= {"Read", "Write"}


async def test_a_cache_of_50_ms_is_found_out(database_url: str, tmp_path: Path) -> None:
    """A control: the same house with a cache in front of its database shows what one record would not have shown.

    The cache's clock moves on by a millisecond with each operation, because on a busy machine 50 ms are soon over.
    """
    done: list[Operation] = []
    stale: Callable[[Database], Any] = lambda real: _Stale(real, 0.05, lambda: len(done) / 1000)
    async with touching(database_url, tmp_path, database=stale) as touch:
        touch.history = done
        ids = await touch.register(1)
        await touch.work(ids, 200, 8)
    assert any("had been seen" in line for line in violations(done))
