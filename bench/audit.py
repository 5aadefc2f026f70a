"""What group commit is worth, in ratios: run it as `python bench/audit.py [SECONDS]` from the project's root.

Thirty-two clients on one SQLite log (WAL, synchronous=FULL) record one event each, again and again, in three ways that
are run interleaved: through the log writer, with one transaction for each event under the same rules, and with a bare
INSERT and COMMIT for each event that keeps no order at all. Disks differ and disturb each other: read the ratios.
"""

import asyncio
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sqlalchemy import insert

from crm.audit.entry import Draft, Entry, draft, number
from crm.audit.event import Act, Event, Who
from crm.audit.writer import LogWriter
from crm.store.database import Database, connect
from crm.store.log import LogSink
from crm.store.migrations import upgrade
from crm.store.statements import prepare
from crm.store.tables import audit_event
from tests.logs import signer

CLIENTS, ROUNDS = 32, 5
WHO = Who(iss="https://idp.example", sub="u-0042", roles=("front_desk",), org="org-12", client="desk", jti="t-77")
FIELDS = ("preferredName", "contactPoints", "languages", "displayName", "accessNeeds")
EVENT = Event(
    Act.READ, op="PatientProfile", req="r-1", who=WHO, pou="TREAT", pat="a" * 32, fld=FIELDS, obj=7, pol="sha256:ab"
)
_INSERT = prepare(insert(audit_event))
Way = Callable[[], Awaitable[None]]


def now() -> int:
    """Microseconds since 1970."""
    return time.time_ns() // 1000


def alone(database: Database) -> Way:
    """One transaction for each event, with the head locked and numbers without gaps."""
    sink, counter = LogSink(database, signer), itertools.count(1)

    def seal(drafts: Sequence[Draft], _db_time: int) -> list[Entry]:
        return [number(one, "bench/alone", next(counter)) for one in drafts]

    async def way() -> None:
        await sink.commit("alone", [draft(EVENT, now())], seal)

    return way


def bare(database: Database) -> Way:
    """One INSERT and COMMIT for each event, numbered by a counter of this process."""
    counter = itertools.count()

    async def way() -> None:
        seq = next(counter)
        entry = number(draft(EVENT, now()), "bench/bare", seq + 1)
        row = {"org": "bare", "seq": seq, "id": entry.id, "leaf": entry.leaf, "leaf_hash": entry.leaf_hash}
        async with database.transaction("bare") as connection:
            await connection.execute(_INSERT, **row, **entry.index._asdict())

    return way


async def rate(way: Way, seconds: float) -> tuple[float, float, float]:
    """Events in a second, median milliseconds of one, and microseconds of processor time for each."""
    waits: list[float] = []
    end = time.perf_counter() + seconds

    async def client() -> None:
        while (start := time.perf_counter()) < end:
            await way()
            waits.append(time.perf_counter() - start)

    start, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    taken, used = time.perf_counter() - start, time.process_time() - cpu
    return len(waits) / taken, statistics.median(waits) * 1000, used / len(waits) * 1e6


async def compare(url: str, seconds: float) -> None:
    """Prints one line for each way."""
    database = connect(url, wait_timeout=60)
    await database.open()
    writer = LogWriter(LogSink(database, signer), node="bench", clock=now, deadline=60)
    await writer.start()
    ways: dict[str, Way] = {
        "log writer, group commit": lambda: writer.append("grouped", [EVENT]),
        "one transaction per event": alone(database),
        "bare INSERT and COMMIT": bare(database),
    }
    results: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            results[name].append(await rate(way, seconds))
    await writer.stop()
    await database.close()
    rates = {name: statistics.median(found[0] for found in rounds) for name, rounds in results.items()}
    grouped = next(iter(rates.values()))
    print(f"{CLIENTS} clients, SQLite FULL, median of {ROUNDS} interleaved rounds of {seconds} s")
    print(f"{'':28}{'events/s':>10}{'(min-max)':>16}{'p50 ms':>9}{'CPU µs':>9}{'writer is':>11}")
    for name, rounds in results.items():
        low, high = min(found[0] for found in rounds), max(found[0] for found in rounds)
        wait = statistics.median(found[1] for found in rounds)
        used = statistics.median(found[2] for found in rounds)
        spread = f"{low:.0f}-{high:.0f}"
        print(f"{name:28}{rates[name]:10.0f}{spread:>16}{wait:9.1f}{used:9.0f}{grouped / rates[name]:10.1f}x")


def main() -> None:
    """Makes a database of its own and removes it."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
        url = f"sqlite:///{folder}/heed.db"
        upgrade(url)
        asyncio.run(compare(url, seconds))


if __name__ == "__main__":
    main()
