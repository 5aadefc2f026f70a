"""Where the time of a read goes: the same read with one layer more each time, what recording costs, and a profile.

The ladder is the honest part: every step is really run, interleaved with the others. The profile slows what has many
small calls more than what has few, so it is good for order, not for shares.
"""

import cProfile
import pstats
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import bare
from bench.load import Ask, measure
from bench.reads import ORG, QUERIES, Inside, bare_asking
from commands.house import House, clock
from commands.serving import transport
from crm.audit.entry import Draft
from crm.audit.writer import LogWriter, Seal, Sink
from crm.catalogue import BY_PATH
from crm.services import Services, services
from crm.services.request import Request
from crm.store import opening
from crm.store import record as records
from crm.store.log import LogSink, signer_of
from crm.store.unit import Store
from schema.execution import Engine
from schema.sdl import build_schema

ROOT = Path(__file__).resolve().parents[1]


class Counting:
    """A sink that counts events and commits; without one behind it, it finishes the leaves and forgets them."""

    def __init__(self, behind: Sink | None) -> None:
        self._behind = behind
        self.events = 0
        self.commits = 0

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        """See `Sink.commit`."""
        self.events += len(drafts)
        self.commits += 1
        if self._behind is None:
            seal(drafts, time.time_ns() // 1000)
        else:
            await self._behind.commit(org, drafts, seal)

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        """None: the house's own writer looks for them."""
        return {}

    def stamp(self, org: str, draft: Draft) -> bytes:
        """See `Sink.stamp`."""
        return b"" if self._behind is None else self._behind.stamp(org, draft)


@asynccontextmanager
async def recording(house: House, sink: Counting) -> AsyncIterator[Services]:
    """The use cases of a house, recording into another sink."""
    log = LogWriter(sink, node="bench", clock=clock, deadline=30)
    await log.start()
    try:
        yield services(Store(house.database, house.services.store.keys, log, clock), region="GB")
    finally:
        await log.stop()


def _engine(house: House, use_cases: Services, inside: Inside) -> Inside:
    return Inside(Engine(build_schema(), use_cases, transport(house.settings)), inside.actor)


async def ladder(
    house: House, inside: Inside, table: bare.Bare, asked: dict[str, list[dict[str, Any]]], rounds: int, seconds: float
) -> list[str]:
    """Lines: for each step of a read median µs of wall and processor time, and the ratio to the bare read."""
    lines: list[str] = []
    async with recording(house, Counting(None)) as forgetful:
        for read, variables in asked.items():
            steps = _steps(house, inside, forgetful, table, read, variables)
            taken: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
            for number in range(rounds + 1):
                for name in sorted(steps, reverse=bool(number % 2)):
                    slice_ = await measure([steps[name]], time.process_time, seconds)
                    if number:  # the first round warms up
                        taken[name].append((1e6 / slice_.rate, slice_.cpu))
            floor = statistics.median(wall for wall, _ in taken[min(steps)])
            for name in steps:
                wall, cpu = (statistics.median(each) for each in zip(*taken[name], strict=True))
                lines.append(f"{read:<5} {name:<58}{wall:10.0f} µs {cpu:10.0f} µs CPU {wall / floor:8.1f} x")
    return lines


def _steps(
    house: House, inside: Inside, forgetful: Services, table: bare.Bare, read: str, asked: list[dict[str, Any]]
) -> dict[str, Ask]:
    store, actor, request = house.services.store, inside.actor, Request("bench", "Bench")
    document = inside.engine.documents.get(QUERIES[read])
    paths = inside.engine.operations.prepared(inside.engine.operations.get(document, None), {}).roots[0].asked
    names = frozenset(BY_PATH[path].name for path in paths)
    fetch = partial(house.database.fetch, ORG)

    def ids(number: int) -> list[str]:
        variables = asked[number % len(asked)]
        return variables["ids"] if "ids" in variables else [variables["id"]]

    async def loaded(number: int) -> bytes:
        await records.load(fetch, ORG, ids(number), names)
        return b""

    async def opened(number: int) -> bytes:
        for record in (await records.load(fetch, ORG, ids(number), names)).values():
            opening.reveal(store.keys, record, names, "2026-01-01")
        return b""

    def service(use_cases: Services) -> Ask:
        async def ask(number: int) -> bytes:
            if read == "one":
                await use_cases.profiles.read(actor, request, ids(number)[0], paths)
            else:
                await use_cases.profiles.read_many(actor, request, ids(number), paths)
            return b""

        return ask

    return {
        "1 bare: one statement, stored JSON": bare_asking(table, asked),
        "2 sealed records loaded": loaded,
        "3 … and opened": opened,
        "4 … with policy, unit of work, leaves; nothing stored": service(forgetful),
        "5 … and the events durable": service(house.services),
        "6 step 4 through GraphQL": _engine(house, forgetful, inside).asking(read, asked),
        "7 everything: step 5 through GraphQL": inside.asking(read, asked),
    }


async def group_commit(
    house: House, inside: Inside, asked: list[dict[str, Any]], rounds: int, seconds: float
) -> list[str]:
    """Lines: reads of one patient with and without durable events, and how many events shared a commit."""
    lines = []
    durable, nowhere = (
        Counting(LogSink(house.database, signer_of(house.services.store.keys, house.settings.log_origin))),
        Counting(None),
    )
    async with recording(house, durable) as kept, recording(house, nowhere) as forgetful:
        sides = [_engine(house, each, inside).asking("one", asked) for each in (kept, forgetful)]
        for count in (1, 16, 64):
            rates: list[tuple[float, float]] = []
            waits: list[tuple[float, float]] = []
            shared: list[float] = []
            for _ in range(rounds):
                events, commits = durable.events, durable.commits
                with_log = await measure([sides[0]] * count, time.process_time, seconds)
                shared.append((durable.events - events) / (durable.commits - commits))
                without = await measure([sides[1]] * count, time.process_time, seconds)
                rates.append((with_log.rate, without.rate))
                waits.append((with_log.p50, without.p50))
            ratio = statistics.median(recorded / lost for recorded, lost in rates)
            recorded, lost = (statistics.median(each) for each in zip(*rates, strict=True))
            added = statistics.median(recorded - lost for recorded, lost in waits)
            lines.append(
                f"{count:3} askers: {recorded:7.0f}/s recorded, {lost:7.0f}/s not recorded: {ratio:.2f} x; "
                f"p50 {added:+.2f} ms; {statistics.median(shared):.1f} events to a commit"
            )
    return lines


async def profile(house: House, inside: Inside, asked: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Lines for each read: shares of the time by room, then the functions that take most themselves."""
    lines: list[str] = []
    async with recording(house, Counting(None)) as forgetful:
        for read, count in (("one", 1500), ("many", 60)):
            ask = _engine(house, forgetful, inside).asking(read, asked[read])
            lines += [f"{read:<5}{line}" for line in await _profile(ask, count)]
    return lines


async def _profile(ask: Ask, count: int) -> list[str]:
    for number in range(10):
        await ask(number)
    profiler = cProfile.Profile()
    profiler.enable()
    for number in range(count):
        await ask(number)
    profiler.disable()
    found: Any = pstats.Stats(profiler)
    rooms: Counter[str] = Counter()
    for (file, _, name), (_, _, own, _, _) in found.stats.items():
        rooms[_room(file, name)] += own
    lines = [f"{own / rooms.total():6.1%}  {room}" for room, own in rooms.most_common(14)]
    by_own = sorted(found.stats.items(), key=lambda each: -each[1][2])
    for (file, line, name), (_, calls, own, _, _) in by_own[:25]:
        place = f"{_short(file)}:{line} {name}"
        lines.append(f"{own / count * 1e6:8.1f} µs {calls / count:8.1f} calls  {place}")
    return lines


def _room(file: str, name: str) -> str:
    if file == "~":
        return f"C: {name.strip('<>')[:60]}"
    path = Path(file)
    if path.is_relative_to(ROOT) and ".venv" not in path.parts:
        parts = path.relative_to(ROOT).parts
        return "/".join(parts[:2]) if parts[0] == "crm" else parts[0]
    return path.parts[path.parts.index("site-packages") + 1] if "site-packages" in path.parts else "standard library"


def _short(file: str) -> str:
    return "/".join(Path(file).parts[-3:]) if file != "~" else "C"
