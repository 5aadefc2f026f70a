"""An hour of load, and what memory the serving process takes meanwhile.

    python -m bench.soak [--minutes N] [--rate N] [--crowd N] [--data FOLDER]

A steady mix over keep-alive connections: look-ups and lists by the same few documents, documents that nobody sent
before, unknown patients, and what is no GraphQL at all. Each minute says what the process holds.
"""

import argparse
import asyncio
import http.client
import random
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from bench import children, stage
from bench.contest import questions
from bench.reads import authorization
from bench.stage import MANY, ONE

_LINES = 4
_MINUTE = 60.0
_MIB = 1024.0


def bodies(ids: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Endlessly: the kind of a request, and its body."""
    dice, asked = random.Random(2), questions(ids)
    one = f"query PatientCard($id: ID!) {{ patient(id: $id) {ONE} }}"
    many = f"query PatientCards($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {MANY} }} }}"
    number = 0
    while True:
        number += 1
        kind = dice.choices(("one", "many", "new", "unknown", "broken"), (88, 4, 4, 3, 1))[0]
        if kind == "many":
            yield kind, orjson.dumps({"query": many, "variables": asked["many"][number % len(asked["many"])]})
        elif kind == "new":
            yield (
                kind,
                orjson.dumps({"query": one.replace("PatientCard", f"Card{number}"), "variables": asked["one"][0]}),
            )
        elif kind == "unknown":
            variables = {"id": f"0199c0de-0000-7000-8000-{number:012d}"}
            yield kind, orjson.dumps({"query": one, "variables": variables})
        elif kind == "broken":
            yield kind, orjson.dumps({"query": f"{{ patient(id: {number}"})
        else:
            yield kind, orjson.dumps({"query": one, "variables": asked["one"][number % len(asked["one"])]})


def resident(pid: int) -> tuple[float, float]:
    """MiB that a process holds in memory, and those of them that are its own alone."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    private = sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", rollup, re.MULTILINE))
    shown = re.search(r"^Rss:\s+(\d+) kB", rollup, re.MULTILINE)
    assert shown
    return int(shown[1]) / _MIB, private / _MIB


def drive(port: int, pid: int, headers: dict[str, str], ids: Sequence[str], minutes: int, rate: int) -> list[float]:
    """Asks for so many minutes, `rate` times a second at most; the private MiB at the end of each minute."""
    lines = [http.client.HTTPConnection("127.0.0.1", port, timeout=60) for _ in range(_LINES)]
    asked, told, held = bodies(ids), Counter[str](), list[float]()
    begun = time.monotonic()
    for minute in range(1, minutes + 1):
        end, count = begun + minute * _MINUTE, 0
        while (now := time.monotonic()) < end:
            kind, body = next(asked)
            line = lines[count % _LINES]
            line.request("POST", "/graphql", body, headers)
            answer = line.getresponse()
            answer.read()
            told[f"{kind} {answer.status}"] += 1
            count += 1
            time.sleep(max(0.0, end - _MINUTE + count / rate - now) if rate else 0.0)
        whole, private = resident(pid)
        held.append(private)
        print(
            f"minute {minute:3}: {count:6} requests, {whole:6.1f} MiB resident, {private:6.1f} MiB its own", flush=True
        )
    for line in lines:
        line.close()
    print("answers:", ", ".join(f"{name}: {number:,}" for name, number in sorted(told.items())))
    return held


def show(held: Sequence[float]) -> None:
    """How memory went, by the medians of sixths of the time."""
    size = -(-len(held) // 6)
    parts = [statistics.median(held[start : start + size]) for start in range(0, len(held), size)]
    print("its own MiB, medians of the parts of the time:", " ".join(f"{each:.1f}" for each in parts))
    half = held[len(held) // 2 :]
    if len(half) > 1:
        slope = statistics.linear_regression(range(len(half)), half).slope * 60
        print(f"second half: {min(half):.1f} to {max(half):.1f} MiB, {slope:+.1f} MiB an hour")


async def run(folder: Path, given: argparse.Namespace) -> None:
    """Opens the stage and one server on it, and loads that."""
    async with stage.opened(folder, given.crowd) as it:
        with children.heed(it.heed, it.folder) as child:
            headers = {
                "Authorization": authorization(it.folder), "Content-Type": "application/json",
                "Accept": "application/graphql-response+json",
            }  # fmt: skip
            show(drive(child.port, child.pid, headers, it.ids, given.minutes, given.rate))


def main() -> None:
    """Loads and prints."""
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder that keeps the filled databases")
    parser.add_argument("--crowd", type=int, default=5_000)
    parser.add_argument("--minutes", type=int, default=60)
    parser.add_argument("--rate", type=int, default=150, help="requests a second at most; 0 for as many as it takes")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers end too
    with tempfile.TemporaryDirectory(prefix="heed-bench-") as folder:
        asyncio.run(run(given.data or Path(folder), given))


if __name__ == "__main__":
    main()
