"""Reads from the embedded database: SQLite, in process, with and without the commit of the log.

    python -m bench.embedded [--patients N] [--rounds N]

Processor time of the process, not of the clock: the machine may be busy with other things. The best round is what a
read costs when the machine is quiet; the median says how quiet it was.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from pathlib import Path

import uvloop

from bench import imports
from bench.anatomy import Counting, recording
from bench.contest import QUERIES, TITLES, questions
from bench.load import Ask, measure
from bench.reads import Inside, authorization
from bench.stage import prepare
from commands.house import house
from commands.serving import collect_seldom, transport
from schema.execution import Engine
from schema.sdl import build_schema

_SECONDS = 0.3


async def run(folder: Path, given: argparse.Namespace) -> None:
    """Fills a database, and reads from it in turn with a log that forgets and with the real one."""
    settings = prepare(f"sqlite:///{folder}/heed.db", folder / "data")
    async with house(settings) as it:
        ids, _ = await imports.fill(it, given.patients)
        inside = await Inside.of(it, authorization(settings.data_dir))
        asked = questions(ids)
        async with recording(it, Counting(None)) as forgetful:
            quiet = Inside(Engine(build_schema(), forgetful, transport(settings)), inside.actor)
            collect_seldom()
            for read, query in QUERIES.items():
                variables = asked[read]

                def asking(who: Inside, query: str = query, variables: list[dict[str, object]] = variables) -> Ask:
                    return lambda number: who.ask(query, variables[number % len(variables)])

                await _compare(TITLES[read], {"without the log's commit": asking(quiet), "all": asking(inside)}, given)


async def _compare(title: str, sides: dict[str, Ask], given: argparse.Namespace) -> None:
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(given.rounds + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            burst = await measure([sides[name]], time.process_time, _SECONDS)
            if number:  # the first round warms up
                taken[name].append(burst.cpu)
    for name, times in taken.items():
        best, middle = min(times), statistics.median(times)
        print(f"{title}, SQLite in process, {name:<26} best {best:8.0f} µs CPU, median {middle:8.0f}", flush=True)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.embedded", description=__doc__.splitlines()[0])
    parser.add_argument("--patients", type=int, default=5_000)
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="heed-bench-") as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(run(Path(folder), given))


if __name__ == "__main__":
    main()
