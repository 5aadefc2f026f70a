"""One row by its key through `crm.store`, beside the bare drivers: medians of interleaved rounds, in microseconds.

    python -m bench.store [ROUNDS]

Owns nothing but its own temporary databases.
"""

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from sqlalchemy import bindparam, insert, select

from crm.store.database import Database, connect
from crm.store.migrations import upgrade
from crm.store.statements import any_of, prepare
from crm.store.tables import patient
from tests.postgres import running

ROWS = 1000
READS = 300
ORG = "org-1"

_C = patient.c
_ADD = prepare(insert(patient))
_ONE = prepare(select(_C.id, _C.version, _C.status).where(_C.org == bindparam("org"), _C.id == bindparam("id")))
_MANY = prepare(select(_C.id, _C.version, _C.status).where(_C.org == bindparam("org"), any_of(_C.id, "ids")))

Read = Callable[[str], Awaitable[object]]


def _id(number: int) -> str:
    return f"0199c0de-0000-7000-8000-{number:012d}"


async def _fill(database: Database) -> None:
    rows = [
        {
            "id": _id(number),
            "version": 1,
            "status": "active",
            "restricted": 0,
            "classes": "[]",
            "audit_subject": str(number),
            "created_at": 0,
            "updated_at": 0,
            "merged_into": None,
        }
        for number in range(ROWS)
    ]
    async with database.transaction(ORG) as connection:
        await connection.execute_many(_ADD, rows)


async def _round(read: Read) -> float:
    """Microseconds of one read, on average over a run of them."""
    begun = time.perf_counter()
    for number in range(READS):
        await read(_id(number))
    return (time.perf_counter() - begun) / READS * 1e6


async def _compare(title: str, rounds: int, bare: Read, contenders: dict[str, Read]) -> None:
    reads = {"bare driver": bare, **contenders}
    times: dict[str, list[float]] = {name: [] for name in reads}
    for read in reads.values():
        await _round(read)
    for _ in range(rounds):
        for name, read in reads.items():
            times[name].append(await _round(read))
    floor = statistics.median(times["bare driver"])
    for name, taken in times.items():
        median = statistics.median(taken)
        print(f"{title:<11} {name:<34} {median:8.1f} µs   {median / floor:5.2f} x bare   (best {min(taken):.1f} µs)")


def _contenders(database: Database) -> dict[str, Read]:
    hundred = [_id(number) for number in range(100)]
    turn = ["org-1", "org-2"]

    async def alternating(id: str) -> object:
        turn.reverse()
        return await database.fetch(turn[0], _ONE, id=id)

    async def in_transaction(id: str) -> object:
        async with database.transaction(ORG) as connection:
            return await connection.fetch(_ONE, id=id)

    return {
        "Database.fetch": lambda key: database.fetch(ORG, _ONE, id=key),
        "… the organisation changes each time": alternating,
        "… 100 rows by key": lambda _: database.fetch(ORG, _MANY, ids=hundred),
        "Database.transaction, one read": in_transaction,
    }


async def _sqlite(folder: Path, rounds: int) -> None:
    path = folder / "heed.db"
    url = f"sqlite:///{path}"
    upgrade(url)
    database = connect(url)
    await database.open()
    await _fill(database)
    bare = sqlite3.connect(path, isolation_level=None)
    sql = _ONE.sqlite().sql

    async def read(id: str) -> object:
        return bare.execute(sql, (ORG, id)).fetchall()

    await _compare("SQLite", rounds, read, _contenders(database))
    bare.close()
    await database.close()


async def _postgresql(url: str, rounds: int) -> None:
    upgrade(url)
    database = connect(url, pool_size=1, durable=False)
    await database.open()
    await _fill(database)
    bare = await asyncpg.connect(url)
    await bare.execute("ANALYZE")
    prepared = await bare.prepare(_ONE.postgresql().sql)
    await _compare("PostgreSQL", rounds, lambda key: prepared.fetch(ORG, key), _contenders(database))
    await bare.close()
    await database.close()


def main() -> None:
    """Print the table."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_sqlite(Path(folder), rounds))
    with running() as postgres:
        asyncio.run(_postgresql(postgres.create(), rounds))


if __name__ == "__main__":
    main()
