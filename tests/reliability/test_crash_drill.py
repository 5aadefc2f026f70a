"""Hundreds of crashes: nobody is answered without a durable event, no event is lost, and the log stays whole."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from crm.store.database import connect
from tests.conftest import Databases
from tests.drill import POINTS, Reckoning, Replicas, reckoned
from tests.durable import Durable, durable
from tests.faults import Network, network

FAULTS = 120
"""On each engine, at least; not counting batches that merely failed."""

LONGEST = 110.0
"""Seconds after which a drill ends whatever it has done so far."""


@pytest.mark.slow
async def test_sqlite(databases: Databases, tmp_path: Path) -> None:
    """Three processes write to one file; each is killed or fails at a step of a batch, or at any moment."""
    url = databases.create("sqlite")
    replicas = Replicas(tmp_path, [url], seed=1)

    async def strike(turn: int) -> None:
        if turn % 5 == 4:
            await replicas.hold_one(1.2)
        elif turn % 2:
            replicas.kill_one()

    assert_nothing_was_lost(await drill(url, replicas, strike), replicas.faults)
    databases.drop(url)


@pytest.mark.slow
async def test_postgresql(tmp_path: Path) -> None:
    """The same, and the server is killed and frozen, and connections are reset, some of them just after a COMMIT."""
    with durable() as server:
        async with network(server.url) as between:
            replicas = Replicas(tmp_path, [server.url, between.url], seed=2)
            faults = _of_postgresql(server, between, replicas)
            result = await drill(server.url, replicas, lambda turn: faults[turn % len(faults)]())
        replicas.faults["connections cut"] += between.cuts
        assert_nothing_was_lost(result, replicas.faults)


def _of_postgresql(server: Durable, between: Network, replicas: Replicas) -> list[Callable[[], Awaitable[None]]]:
    async def crash() -> None:
        replicas.faults["server killed"] += 1
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async def freeze() -> None:
        replicas.faults["server frozen"] += 1
        server.freeze()
        try:
            await asyncio.sleep(1.5)
        finally:
            server.thaw()

    async def cut() -> None:
        between.cut()

    async def cut_after_a_commit() -> None:
        between.cut_after(b"COMMIT")
        await asyncio.sleep(0.3)

    async def kill() -> None:
        replicas.kill_one()

    async def hold() -> None:
        await replicas.hold_one(1.2)

    return [cut_after_a_commit, kill, cut, crash, kill, cut_after_a_commit, hold, kill, cut, freeze]


async def drill(url: str, replicas: Replicas, strike: Callable[[int], Awaitable[None]]) -> Reckoning:
    """Strikes until there were faults enough, then looks at what is left."""
    end, turn = time.monotonic() + LONGEST, 0
    try:
        while time.monotonic() < end and (turn < FAULTS // 2 or _deaths(replicas) < FAULTS):
            replicas.keep(3)
            await asyncio.sleep(0.25)
            await strike(turn)
            turn += 1
    finally:
        replicas.end()
    database = connect(url)
    await database.open()
    try:
        return await reckoned(database, replicas.notes)
    finally:
        await database.close()


def _deaths(replicas: Replicas) -> int:
    """Faults so far without the batches that merely failed, of which there are many more."""
    return sum("killed" in file.read_text() for file in replicas.notes) + replicas.faults.total()


def assert_nothing_was_lost(result: Reckoning, faults: Counter[str]) -> None:
    """And enough was done to lose something."""
    at_steps = f"{result.struck['killed']} replicas killed and {result.struck['failed']} batches failed at a step"
    told = f"{at_steps}, {dict(faults)}; {len(result.answered)} answered, {len(result.over)} over"
    print(told)  # noqa: T201 - what a drill did is worth reading
    assert result.unrecorded == set(), told
    assert result.lost == set(), told
    assert result.invented == set(), told
    assert result.repeated == 0, told
    assert result.struck["killed"] + faults.total() >= FAULTS, told
    assert len(result.answered) > FAULTS, told
    assert result.changed, told


async def killed_once(databases: Databases, folder: Path, *, careless: bool, point: str) -> Reckoning:
    """What is left of one replica on SQLite that was killed at a step of its third batch."""
    url = databases.create("sqlite")
    replicas = Replicas(folder, [url], seed=3)
    victim = replicas.start(kill=True, careless=careless, point=point, nth=3)
    await asyncio.to_thread(victim.join)
    database = connect(url)
    await database.open()
    result = await reckoned(database, replicas.notes)
    await database.close()
    databases.drop(url)
    assert result.struck == {"killed": 1}
    return result


async def test_the_drill_sees_a_careless_writer(databases: Databases, tmp_path: Path) -> None:
    """A control: a replica that answers before its event is durable is found out by one kill; an honest one is not."""
    for careless in (False, True):
        folder = tmp_path / str(careless)
        folder.mkdir()
        result = await killed_once(databases, folder, careless=careless, point="before the commit")
        assert bool(result.unrecorded) is careless
        assert result.lost == set()


async def test_a_crash_between_commit_and_answer(databases: Databases, tmp_path: Path) -> None:
    """The record says that it was answered, and the caller got nothing: more is recorded than answered, never less."""
    result = await killed_once(databases, tmp_path, careless=False, point=POINTS[-1])
    assert result.over
    assert result.unrecorded == set()
