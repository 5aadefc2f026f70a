"""How fast officers are answered: each of their questions put to a log of two million events over six years.

    python -m bench.officers [--events N] [--rounds N] [--only sqlite|postgresql]

Leaves, hashes, tree and index columns are as the service writes them; the rows are put in by bulk, and nobody recorded
them. Times are of one process with a warm cache: in the database alone, and of the whole answer over HTTP in the same
process, which includes making the event of the look durable.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from auth.roles import Role
from crm.store.log_rollup import roll_up
from crm.store.migrations import upgrade
from tests.client import Client, client
from tests.house import ORG, now
from tests.officers import Watched, fill, plan, questions, scanned
from tests.postgres import running

HEADER = f"{'question':42}{'database ms':>22}{'answer ms':>22}  plan"


async def measure(url: str, folder: Path, given: argparse.Namespace) -> None:
    """Fills the database, prints one line for each question."""
    begun = time.monotonic()
    known = await fill(url, events=given.events, patients=100_000, staff=2_000, end=now() - 60_000_000)
    print(
        f"{known.events} events in {time.monotonic() - begun:.0f} s; the hottest patient has {known.views}", flush=True
    )
    watched: list[Watched] = []

    def watch(database: Any) -> Any:
        watched.append(Watched(database))
        return watched[0]

    async with client(url, folder, database=watch) as served:
        begun = time.monotonic()
        while not await roll_up(served.house.database, ORG):
            pass
        rate = known.events / (time.monotonic() - begun)
        print(f"the days of each actor counted: {rate:.0f} events/s\n{HEADER}", flush=True)
        for what, query in questions(known).items():
            print(await _line(what, query, served, watched[0], url, given.rounds), flush=True)


async def _line(what: str, query: str, served: Client, database: Watched, url: str, rounds: int) -> str:
    inside: list[float] = []
    whole: list[float] = []
    for turn in range(rounds + 1):
        database.asked.clear()
        database.seconds = 0.0
        begun = time.perf_counter()
        await served.data(query, Role.COMPLIANCE_OFFICER)
        if turn:  # the first warms statements and pages
            inside.append(database.seconds * 1000)
            whole.append((time.perf_counter() - begun) * 1000)
    plans = [await plan(url, statement, params) for statement, params in database.asked]
    verdict = "SCANS" if any(map(scanned, plans)) else "by index"
    return f"{what:42}{_range(inside):>22}{_range(whole):>22}  {verdict}"


def _range(times: list[float]) -> str:
    return f"{statistics.median(times):.1f} ({min(times):.1f}-{max(times):.1f})"


def main() -> None:
    """Makes databases of its own and removes them."""
    parser = argparse.ArgumentParser(prog="python -m bench.officers", description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    given = parser.parse_args()
    for engine in (given.only,) if given.only else ("postgresql", "sqlite"):
        with tempfile.TemporaryDirectory(prefix="heed-bench-") as name:
            folder = Path(name)
            print(f"\n{engine}, medians of {given.rounds} (fastest-slowest)")
            if engine == "sqlite":
                url = f"sqlite:///{folder}/heed.db"
                upgrade(url)
                asyncio.run(measure(url, folder, given))
            else:
                with running() as postgres:
                    url = postgres.create()
                    upgrade(url)
                    asyncio.run(measure(url, folder, given))
    if hasattr(os, "getloadavg"):
        print(f"\nload average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
