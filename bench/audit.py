"""The access log: the part `audit` of `make bench`. How fast it is beside the obvious way, and what it costs.

The obvious way is one INSERT and COMMIT for each request through SQLAlchemy: no order, no tree, no signature. Both keep
the same rows in the same table, with its indexes, and every commit is durable. On PostgreSQL it has a connection for
each client, which suits it best. Disks differ and disturb each other, so ways are run interleaved and the ratios count;
what one sync of the disk costs at that moment is printed beside them.
"""

import asyncio
import itertools
import os
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import orjson
from sqlalchemy import create_engine, insert
from sqlalchemy.ext.asyncio import create_async_engine

from bench.audit_replica import event
from bench.children import ROOT, environment
from bench.load import Ask, Slice, measure
from commands.house import clock
from crm.audit.checkpoint import Checkpoint
from crm.audit.entry import Draft, Entry, draft, number
from crm.audit.tree import Frontier
from crm.audit.writer import LogWriter
from crm.store.database import Database, connect
from crm.store.log import LogSink
from crm.store.statements import prepare
from crm.store.tables import audit_event
from tests.logs import signer

CLIENTS = 32
BATCHES = (1, 8, 32, 128)
REPLICAS = (1, 2, 4)
STRICT = "log writer: group commit, tree, signature"
CORE = "SQLAlchemy Core: INSERT and COMMIT per request"
POOLED = "… with the pool that SQLAlchemy makes by itself"
ALONE = "the same promises, a transaction per event"
DRIVER = "driver alone: INSERT and COMMIT per request"

_INSERT = prepare(insert(audit_event))


def _sealing(node: str) -> Callable[[Sequence[Draft], int], list[Entry]]:
    counter = itertools.count(1)
    return lambda drafts, _now: [number(each, node, next(counter)) for each in drafts]


_SEQ = itertools.count()


def _rows(org: str) -> Iterator[dict[str, Any]]:
    """Finished rows of the log, numbered by a counter of this process."""
    for seq in _SEQ:
        entry = number(draft(event(), clock()), "bench", seq + 1)
        index = entry.index._asdict()
        yield {"org": org, "seq": seq, "id": entry.id, "leaf": entry.leaf, "leaf_hash": entry.leaf_hash, **index}


@asynccontextmanager
async def _core_postgresql(url: str, **options: Any) -> AsyncIterator[Ask]:
    """SQLAlchemy's asynchronous engine on asyncpg."""
    engine, rows = create_async_engine(url.replace("postgresql", "postgresql+asyncpg", 1), **options), _rows("core")

    async def ask(_: int) -> bytes:
        async with engine.begin() as connection:
            await connection.execute(insert(audit_event), next(rows))
        return b""

    yield ask
    await engine.dispose()


@asynccontextmanager
async def _core_sqlite(url: str) -> AsyncIterator[Ask]:
    """SQLAlchemy's synchronous engine on one thread: there is one writer, and aiosqlite hops for each statement."""
    engine, rows = create_engine(url), _rows("core")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL; the file itself remembers WAL

    def add(row: dict[str, Any]) -> None:
        with engine.begin() as connection:
            connection.execute(insert(audit_event), row)

    with ThreadPoolExecutor(1) as thread:

        async def ask(_: int) -> bytes:
            await asyncio.get_running_loop().run_in_executor(thread, add, next(rows))
            return b""

        yield ask
    engine.dispose()


@asynccontextmanager
async def _ways(database: Database, url: str) -> AsyncIterator[dict[str, Ask]]:
    sink, seal, rows = LogSink(database, signer), _sealing("alone"), _rows("driver")
    writer = LogWriter(LogSink(database, signer), node="bench", clock=clock, deadline=60)
    await writer.start()

    async def strict(_: int) -> bytes:
        await writer.append("strict", [event()])
        return b""

    async def alone(_: int) -> bytes:
        await sink.commit("alone", [draft(event(), clock())], seal)
        return b""

    async def driver(_: int) -> bytes:
        row = next(rows)
        async with database.transaction("driver") as connection:
            await connection.execute(_INSERT, **row)
        return b""

    async with AsyncExitStack() as stack:
        if url.startswith("postgresql"):
            ways = {CORE: await stack.enter_async_context(_core_postgresql(url, pool_size=CLIENTS))}
            ways[POOLED] = await stack.enter_async_context(_core_postgresql(url))
        else:
            ways = {CORE: await stack.enter_async_context(_core_sqlite(url))}
        yield {STRICT: strict, **ways, ALONE: alone, DRIVER: driver}
    await writer.stop()


def disk(folder: Path, times: int = 40) -> float:
    """Median milliseconds of writing 8 KiB and syncing them, where the databases are."""
    taken = []
    with (folder / "floor").open("wb") as file:
        for _ in range(times):
            start = time.perf_counter()
            file.seek(0)
            file.write(os.urandom(8192))
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e3


async def compare(url: str, folder: Path, rounds: int, seconds: float) -> list[str]:
    """Lines: each way with 32 clients, and how many times better the log writer is."""
    database = connect(url, wait_timeout=60)
    await database.open()
    floors: list[float] = []
    async with _ways(database, url) as ways:
        found: dict[str, list[Slice]] = {name: [] for name in ways}
        for turn in range(rounds):
            floors.append(disk(folder))
            names = list(ways)
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                found[name].append(await measure([ways[name]] * CLIENTS, time.process_time, seconds))
    await database.close()
    lines = [f"{'':48}{'events/s':>17}{'p50 ms':>10}{'CPU µs':>8}{'events/s, times':>20}{'p50, times':>20}"]
    for name, slices in found.items():
        rate, p50, cpu = (statistics.median(getattr(each, what) for each in slices) for what in ("rate", "p50", "cpu"))
        span = f"({min(each.rate for each in slices):.0f}-{max(each.rate for each in slices):.0f})"
        line = f"{name:48}{rate:7.0f} {span:>13}{p50:7.1f}{cpu:8.0f}"
        if name != STRICT:
            pairs = list(zip(found[STRICT], slices, strict=True))
            line += f"{_spread([ours.rate / theirs.rate for ours, theirs in pairs]):>20}"
            line += f"{_spread([ours.p50 / theirs.p50 for ours, theirs in pairs], 2):>20}"
        lines.append(line)
    return [*lines, f"8 KiB written and synced meanwhile: {_spread(floors, 2)} ms"]


def _spread(numbers: Sequence[float], digits: int = 1) -> str:
    middle, low, high = (f"{each:.{digits}f}" for each in (statistics.median(numbers), min(numbers), max(numbers)))
    return f"{middle} ({low}-{high})"


@contextmanager
def _replica(url: str, name: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "bench.audit_replica", url, name]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment({}), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("a replica did not start")
        yield process
        process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def replicas(url: str, rounds: int, seconds: float) -> list[str]:
    """Lines: 1, 2 and 4 processes on one log, with 32 clients in each and with 32 clients in all."""
    cases = [(count, CLIENTS) for count in REPLICAS] + [(count, CLIENTS // count) for count in REPLICAS[1:]]
    found: dict[tuple[int, int], list[tuple[float, float, float]]] = {case: [] for case in cases}
    with ExitStack() as stack:
        processes = [stack.enter_context(_replica(url, f"r{place}")) for place in range(max(REPLICAS))]
        for turn in range(rounds):
            for count, clients in cases[turn % len(cases) :] + cases[: turn % len(cases)]:
                told = _told(processes[:count], f"{seconds} {clients}\n")
                p50 = statistics.median(each["p50"] for each in told)
                shared = statistics.mean(each["shared"] for each in told)
                found[count, clients].append((sum(each["rate"] for each in told), p50, shared))
    lines = [f"{'':32}{'events/s':>20}{'p50 ms':>9}{'events to a commit':>20}{'events/s, times one':>24}"]
    for (count, clients), runs in found.items():
        rate, p50, shared = (statistics.median(each) for each in zip(*runs, strict=True))
        span = f"({min(run[0] for run in runs):.0f}-{max(run[0] for run in runs):.0f})"
        ratio = _spread([ours[0] / one[0] for ours, one in zip(runs, found[1, CLIENTS], strict=True)], 2)
        title = f"{count} x {clients} clients"
        lines.append(f"{title:32}{rate:7.0f} {span:>13}{p50:8.1f}{shared:20.1f}{ratio:>24}")
    return lines


def _told(processes: Sequence["subprocess.Popen[str]"], order: str) -> list[dict[str, float]]:
    """All begin at once; what each measured."""
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(order)
        process.stdin.flush()
    answers = []
    for process in processes:
        assert process.stdout is not None
        answers.append(orjson.loads(process.stdout.readline()))
    return answers


def _path(batch: int) -> Callable[[], None]:
    """Everything of the log path but the database: draft, leaf, hash, tree, root, signature, rows for the driver."""
    tree, sign, seal, one = Frontier(), signer("bench", 1), _sealing("bench"), event()

    def path() -> None:
        entries = seal([draft(one, clock()) for _ in range(batch)], 0)
        first = tree.size
        for entry in entries:
            tree.append(entry.leaf_hash)
        sign.sign(Checkpoint(sign.name, tree.size, tree.root()).text())
        tree.octets()
        list(enumerate(((each.id, *each.index, each.leaf, each.leaf_hash) for each in entries), start=first))

    return path


async def _used(work: Callable[[], Awaitable[None]], times: int) -> float:
    start = time.process_time()
    for _ in range(times):
        await work()
    return (time.process_time() - start) / times * 1e6


async def processor(url: str, rounds: int) -> list[str]:
    """Lines: microseconds of this process's processor time for each event, by the size of the batch."""
    database = connect(url)
    await database.open()
    sink, seal = LogSink(database, signer), _sealing("bench")
    found: dict[tuple[str, int], list[float]] = {}
    for _ in range(rounds):
        for batch in BATCHES:
            path = _path(batch)

            async def pure(path: Callable[[], None] = path) -> None:
                path()

            async def stored(batch: int = batch) -> None:
                one = event()
                await sink.commit("cpu", [draft(one, clock()) for _ in range(batch)], seal)

            for name, work, times in (("path", pure, 6400 // batch), ("stored", stored, 64)):
                found.setdefault((name, batch), []).append(await _used(work, times) / batch)
    await database.close()
    titles = {"path": "leaf, hash, tree, signature, rows", "stored": "… and the driver, until it is committed"}
    lines = [f"{'events to a batch':48}" + "".join(f"{batch:>20}" for batch in BATCHES)]
    for name, title in titles.items():
        lines.append(f"{title:48}" + "".join(f"{_spread(found[name, batch]):>20}" for batch in BATCHES))
    return lines
