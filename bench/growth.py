"""What a look-up costs as the patients become more: the same server on databases of 1,000 to 1,000,000 patients.

    python -m bench.growth [--data FOLDER] [--rounds N] [--seconds S] [--asking N]

A folder keeps the databases, the contest's among them, for the next time; without one all is made for this time alone.

The smaller and the larger databases are made from the 100,000 patients of the contest: by forgetting all but the first
thousands, and by storing nine copies of the rows of everybody beside them, under other ids. Copies cannot be opened,
since rows are sealed for one patient; nobody asks for them. They fill tables, indexes and caches as others would.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from bench import children, stage
from bench.contest import Contestant, questions, requests
from bench.generator import Burst, Generator
from bench.imports import ORG
from bench.ratios import ratio
from bench.reads import authorization
from bench.stage import Stage

_COPIED = {
    "patient": ("id", "audit_subject"),
    "patient_key": ("patient_id",),
    "sealed_row": ("patient_id",),
}
"""The tables that a look-up reads, and which of their columns name the patient."""

_WARM = """SELECT sum(length(s.cells)) + sum(length(k.wrapped)) FROM unnest($1::text[]) AS asked (id)
    JOIN patient p ON p.org = $2 AND p.id = asked.id
    JOIN sealed_row s ON s.org = p.org AND s.patient_id = p.id
    JOIN patient_key k ON k.org = s.org AND k.patient_id = s.patient_id AND k.key_class = s.key_class"""
"""Reads everybody once, by the primary keys: what is measured is how tables grow, not how a cache is filled."""

_OTHER = "left({0}, -1) || to_hex((('x' || right({0}, 1))::bit(4)::int + copy) % 16)"
"""The id of a copy: the last digit is another, so that copies lie beside their original in every index."""


async def database(it: Stage, size: int) -> str:
    """The name of the database with so many patients, made if it is not there yet."""
    count = len(it.ids)
    if size == count:
        return "heed"
    name = f"heed_{size}"
    maintenance = await asyncpg.connect(urlsplit(it.heed)._replace(path="/postgres").geturl())
    try:
        if await maintenance.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            return name
        await maintenance.execute(f"CREATE DATABASE {name} TEMPLATE heed STRATEGY FILE_COPY")
    finally:
        await maintenance.close()
    connection = await asyncpg.connect(urlsplit(it.heed)._replace(path=f"/{name}").geturl())
    try:
        async with connection.transaction():
            await _resize(connection, it.ids[min(size, count) - 1], max(1, size // count))
        await connection.execute("VACUUM ANALYZE")
        await connection.execute("CHECKPOINT")
    finally:
        await connection.close()
    return name


async def _resize(connection: "asyncpg.Connection[asyncpg.Record]", last: str, copies: int) -> None:
    """Keeps the patients up to an id, each so many times. Rows go in anew, so that copies lie among the others."""
    await connection.execute("SET LOCAL session_replication_role = replica")  # no triggers: they are about single rows
    for table in _COPIED:
        key = "id" if table == "patient" else "patient_id"
        await connection.execute(f"CREATE TEMP TABLE old_{table} ON COMMIT DROP AS SELECT * FROM {table}")
        await connection.execute(f"DELETE FROM old_{table} WHERE {key} > '{last}'")
    await connection.execute(f"TRUNCATE {', '.join(_COPIED)} CASCADE")
    for table, ids in _COPIED.items():
        names = [row[0] for row in await connection.fetch(
            "SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND table_schema = 'public' "
            "ORDER BY ordinal_position", table,
        )]  # fmt: skip
        columns = ", ".join(_OTHER.format(name) if name in ids else f'"{name}"' for name in names)
        await connection.execute(
            f"INSERT INTO {table} SELECT {columns} FROM old_{table}, generate_series(0, {copies - 1}) AS copy"
        )


async def _warm(url: str, ids: Sequence[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for way in ("seqscan", "bitmapscan", "hashjoin", "mergejoin"):
            await connection.execute(f"SET enable_{way} = off")
        await connection.fetchval(_WARM, ids, ORG)
    finally:
        await connection.close()


async def run(folder: Path, given: argparse.Namespace) -> None:
    """Makes the databases, serves each, and asks them in turn."""
    async with stage.opened(folder, given.crowd) as it:
        names = {size: await database(it, size) for size in map(int, given.sizes.split(","))}
        headers = f"Authorization: {authorization(it.folder)}\r\n"
        generator = Generator()
        with ExitStack() as opened:
            opened.callback(generator.close)
            them = []
            for size, name in names.items():
                ids = it.ids[: min(size, len(it.ids))]
                asked = {"one": questions(ids)["one"]}
                url = urlsplit(it.heed)._replace(path=f"/{name}").geturl()
                await _warm(url, ids)
                journal = f"{it.folder}/{name}.ndjson"  # each copy of the log goes on by itself
                child = opened.enter_context(children.heed(url, it.folder, checkpoint_journal=journal))
                them.append(Contestant(f"{size:,}", child.pid, child.port, requests("heed", asked, headers), name))
            _show(_compare(generator, it.postmaster, them, given))


def _compare(
    generator: Generator, postmaster: int, them: Sequence[Contestant], given: argparse.Namespace
) -> list[dict[str, Burst]]:
    for one in them:
        generator.burst(one.port, one.requests["one"], given.asking, 2.0, dict)
    rounds = []
    for number in range(given.rounds):
        turn = number % len(them)
        rounds.append({
            one.name: generator.burst(
                one.port, one.requests["one"], given.asking, given.seconds, partial(one.cpu, postmaster)
            )
            for one in [*them[turn:], *them[:turn]]
        })  # fmt: skip
        print(f"round {number + 1} of {given.rounds}, load average {os.getloadavg()[0]:.1f}", flush=True)
    return rounds


def spent(burst: Burst) -> float:
    """Microseconds of a look-up itself: what the database does behind the connections belongs to nobody here."""
    return burst.cpu["server"] + burst.cpu["database"]


def _show(rounds: Sequence[dict[str, Burst]]) -> None:
    first, *_ = rounds[0]
    head = f"{'patients':<12}{'req/s':>8}{'server µs':>11}{'database µs':>13}{'behind µs':>11}"
    print(f"\n{head}   {'CPU of all, it : first':<28}p50, it : first")
    for size in sorted(rounds[0], key=len):
        bursts, base = [each[size] for each in rounds], [each[first] for each in rounds]
        told = [(each.rate, *each.cpu.values()) for each in bursts]
        rate, server, database, behind = (statistics.median(each) for each in zip(*told, strict=True))
        pairs = list(zip(bursts, base, strict=True))
        cpu = ratio([spent(one) / spent(other) for one, other in pairs])
        p50 = ratio([one.p50 / other.p50 for one, other in pairs])
        print(f"{size:<12}{rate:8.0f}{server:11.0f}{database:13.0f}{behind:11.0f}   {cpu:<28}{p50}")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder that keeps the contest's filled databases")
    parser.add_argument("--crowd", type=int, default=100_000, help="that it holds")
    parser.add_argument("--sizes", default="1000,10000,100000,1000000", help="at most 16 times what the folder holds")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--asking", type=int, default=16)
    given = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
        asyncio.run(run(given.data or Path(folder), given))
    print(f"{time.monotonic() - started:.0f} s in all, load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
