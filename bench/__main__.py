"""The tables of `make bench`: Heed with sealing, policy and recording on, beside the same work done bare.

    python -m bench [contest] [crypto] [reads] [fhir] [audit] [decisions] [delivery] [keys] [leakage] [--patients N]
                    [--rounds N] [--seconds S] [--only sqlite|postgresql] [--deep] [--rotated N] [--reindexed N]
                    [--counted N] [--changes N]

Without a part the first seven; `contest` only where its peers are (`make peers`), with the options of `bench.contest`.
`keys` rotates the keys of 100,000 patients under load, `leakage` counts 200,000 people: both take many minutes.
Everything happens in temporary folders and databases, with durable commits. `--deep` adds where the time goes.
"""

import argparse
import asyncio
import os
import platform
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench import anatomy, audit, bare, contest, crypto, decisions, delivery, imports, leakage, reads, rotation
from commands.house import house
from commands.serving import collect_seldom
from crm.crypto.keyring import KeyRing
from crm.settings import Environment, LogLevel, Settings, load
from crm.store import migrations
from tests.postgres import running

PARTS = ("contest", "crypto", "reads", "fhir", "audit", "decisions", "delivery", "keys", "leakage")
CONCURRENCIES = (1, 16)
_LOSSY = ("fsync", "synchronous_commit", "full_page_writes")


@contextmanager
def databases(engine: str, folder: Path) -> Iterator[tuple[str, str]]:
    """Two empty databases of an engine, Heed's and the bare one's, in which a commit is durable."""
    if engine == "sqlite":
        yield f"sqlite:///{folder}/heed.db", f"sqlite:///{folder}/bare.db"
        return
    with running() as postgres:
        if "HEED_TEST_POSTGRES_URL" not in os.environ:
            # The tests' server forgets on purpose; here its commits must cost what commits cost.
            postgres.run(*(f"ALTER SYSTEM RESET {name}" for name in _LOSSY), "SELECT pg_reload_conf()", "CHECKPOINT")
            time.sleep(1)
        yield postgres.create(), postgres.create()


def settings(url: str, folder: Path) -> Settings:
    """Settings of a house on `url`, with keys of its own in `folder`."""
    folder.mkdir(mode=0o700, exist_ok=True)
    made = load(
        env=Environment.DEVELOPMENT, data_dir=folder, database_url=url, keystore_url=url,
        keyring=folder / "keyring.json", default_region="GB", log_level=LogLevel.WARNING, audit_deadline=30,
    )  # fmt: skip
    KeyRing.create(made.keyring)
    migrations.upgrade(url)
    return made


async def _engine(engine: str, folder: Path, given: argparse.Namespace) -> None:
    with databases(engine, folder) as (url, bare_url):
        here = settings(url, folder / "data")
        header = reads.authorization(here.data_dir)
        async with house(here) as it:
            ids, rate = await imports.fill(it, given.patients)
            print(f"\n{engine}: {len(ids)} generated patients through the import service, {rate:.0f}/s")
            inside = await reads.Inside.of(it, header)
            rows = await reads.bare_rows(inside, ids)
        reads.check_truth(rows)
        await bare.filled(bare_url, rows)
        asked = reads.questions(ids)
        one, many = (sum(len(row[at].encode()) for row in rows) / len(rows) for at in (2, 3))
        print(f"answers: about {one:.0f} octets for one patient, {many * reads.BATCH / 1000:.0f} kB for {reads.BATCH}")
        print(reads.HEADER)
        async with reads.over_http(asked, url, bare_url, here.data_dir, CONCURRENCIES) as cases:
            _show(await reads.compare(cases, given.rounds, given.seconds))
        async with house(here) as it, bare.opened(bare_url) as table:
            inside = await reads.Inside.of(it, header)
            cases = reads.in_process(asked, inside, table)
            _show(await reads.compare(cases, given.rounds, given.seconds / 2))
            print("\nwhat recording costs, one patient by id in process:")
            print(*await anatomy.group_commit(it, inside, asked["one"], given.rounds, given.seconds / 2), sep="\n")
            if given.deep:
                print("\nthe same read with one layer more each time, one asker, in process:")
                print(*await anatomy.ladder(it, inside, table, asked, given.rounds, given.seconds / 2), sep="\n")
                print("\nprofile in process, with a log that forgets (cProfile: good for order, not for shares):")
                print(*await anatomy.profile(it, inside, asked), sep="\n")


def _show(results: dict[tuple[str, str, int], list[reads.Pair]]) -> None:
    for (read, way, count), pairs in results.items():
        print(reads.row(f"{reads.TITLES[read]}, {way}, {count} at once", pairs), flush=True)


async def _keys(engine: str, folder: Path, given: argparse.Namespace) -> None:
    for what, patients in (("wrap", given.rotated), ("index", given.reindexed)):
        place = folder / what
        place.mkdir()
        with databases(engine, place) as (url, _):
            here = settings(url, place / "data")
            async with house(here) as it:
                ids = await rotation.fill(it, patients)
            print(f"\n{engine}: {len(ids)} patients, with keys of two classes each", flush=True)
            await rotation.under_load(url, here.data_dir, ids, what)


async def _audit(engine: str, folder: Path, given: argparse.Namespace) -> None:
    with databases(engine, folder) as (url, house_url):
        migrations.upgrade(url)
        print(f"\n{engine}, {audit.CLIENTS} clients that record one event each, again and again:")
        print(*await audit.compare(url, folder, given.rounds, given.seconds), sep="\n", flush=True)
        if engine == "postgresql":
            print("\nprocesses that write into one log:")
            print(*await asyncio.to_thread(audit.replicas, url, given.rounds, given.seconds), sep="\n", flush=True)
        print("\nprocessor time of one event, µs (for PostgreSQL without that of its server):")
        print(*await audit.processor(url, given.rounds), sep="\n", flush=True)
        here = settings(house_url, folder / "data")
        async with house(here) as it:
            ids, _ = await imports.fill(it, min(given.patients, 500))
            inside = await reads.Inside.of(it, reads.authorization(here.data_dir))
            asked = reads.questions(ids)["one"]
            print("\nwhat recording adds to a look-up, one patient by id in process:")
            print(*await anatomy.group_commit(it, inside, asked, given.rounds, given.seconds / 2), sep="\n")


async def _decisions(engine: str, folder: Path, given: argparse.Namespace) -> None:
    with databases(engine, folder) as (url, bare_url):
        async with house(settings(url, folder / "data")) as it:
            ids = await decisions.fill(it)
            collect_seldom()  # as every process that serves
            print(f"\n{engine}:", *await decisions.compare(it, bare_url, ids, given.rounds, given.seconds), sep="\n")
            print("where the time of one goes (open: keys, seals and cells; record: events, and what the log takes):")
            print(*await decisions.steps(it, ids, given.rounds), sep="\n", flush=True)


async def _delivery(engine: str, folder: Path, given: argparse.Namespace) -> None:
    with databases(engine, folder) as (url, bare_url):
        print(f"\n{engine}, from a commit to a subscriber of another process:", delivery.HEADER, sep="\n", flush=True)
        async for line in delivery.compare(engine, url, bare_url, settings(url, folder / "data"), given.changes):
            print(line, flush=True)


def _contest(given: argparse.Namespace) -> None:
    if not contest.PEERS.joinpath(".venv").exists() and not given.parts:
        print("\nthe contest is left out, since its peers are not here: run `make peers`")
        return
    with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
        asyncio.run(contest.run(given.data or Path(folder), given))


async def _fhir(folder: Path) -> None:
    if not imports.SYNTHEA.exists():
        print("\nimport fhir: no sample file beside the project, not measured")
        return
    here = settings(f"sqlite:///{folder}/fhir.db", folder / "fhir")
    async with house(here) as it:
        results = [await imports.fhir(it, imports.SYNTHEA, f"clinic-{number}") for number in range(3)]
    count, new, known = sorted(results, key=lambda each: each[1])[1]
    print(f"\nimport fhir, SQLite: {count} Synthea patients, {new:.0f}/s new, {known:.0f}/s known (median of 3 runs)")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="the first seven without any")
    parser.add_argument("--patients", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of one slice over HTTP; half of it in process")
    parser.add_argument("--only", choices=("sqlite", "postgresql"))
    parser.add_argument("--deep", action="store_true", help="also where the time goes")
    parser.add_argument("--rotated", type=int, default=100_000, help="patients whose data keys are moved")
    parser.add_argument("--reindexed", type=int, default=10_000, help="patients whose index values are replaced")
    parser.add_argument("--counted", type=int, default=200_000, help="people whose index values a thief counts")
    parser.add_argument("--changes", type=int, default=200, help="changes of which subscribers are told")
    contest.options(parser)
    given = parser.parse_args()
    parts = given.parts or PARTS[:7]
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {os.cpu_count()} processors.\n"
        f"Ratios are Heed : bare, the median of {given.rounds} interleaved rounds and their range.\n"
        "Of rates more is better; of p50 and CPU, which is the server process's for one request, less is."
    )
    started = time.monotonic()
    if "contest" in parts:
        _contest(given)
    if "crypto" in parts:
        crypto.show()
    engines = (given.only,) if given.only else ("sqlite", "postgresql")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measures = {"reads": _engine, "audit": _audit, "decisions": _decisions, "delivery": _delivery, "keys": _keys}
        for part, measure in measures.items():
            for engine in engines if part in parts else ():
                with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
                    runner.run(measure(engine, Path(folder), given))
        if "fhir" in parts:
            with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
                runner.run(_fhir(Path(folder)))
    if "leakage" in parts:
        leakage.show(given.counted)
    busy = f", load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    print(f"\n{time.monotonic() - started:.0f} s in all{busy}")


if __name__ == "__main__":
    main()
