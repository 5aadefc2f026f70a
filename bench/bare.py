"""The bare read: the same JSON, stored in the clear, found by one statement and served. No GraphQL, no privacy.

It is the floor of every comparison, so it is written to be fast: prepared statements on held connections, the stored
text copied into the answer. As a process: `python -m bench.bare URL PORT`.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import asyncpg
import orjson
import uvicorn
from asyncpg.prepared_stmt import PreparedStatement
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

CONNECTIONS = 10

_CREATE = "CREATE TABLE bare (org TEXT, id TEXT, one TEXT, many TEXT, PRIMARY KEY (org, id))"
_Row = tuple[str, str, str, str]
_Statements = tuple["PreparedStatement[asyncpg.Record]", "PreparedStatement[asyncpg.Record]"]


class Bare(Protocol):
    """A table of finished JSON; `one` and `many` are what the two reads answer about a patient."""

    async def fill(self, rows: Sequence[_Row]) -> None: ...

    async def one(self, org: str, patient_id: str) -> str: ...

    async def many(self, org: str, ids: Sequence[str]) -> list[str]: ...


class BareSQLite:
    """The table in a SQLite file, read in the event loop."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = wal")

    async def fill(self, rows: Sequence[_Row]) -> None:
        self._connection.execute(_CREATE)
        self._connection.execute("BEGIN")
        self._connection.executemany("INSERT INTO bare VALUES (?, ?, ?, ?)", rows)
        self._connection.execute("COMMIT")

    async def one(self, org: str, patient_id: str) -> str:
        found = self._connection.execute("SELECT one FROM bare WHERE org = ? AND id = ?", (org, patient_id))
        text: str = found.fetchone()[0]
        return text

    async def many(self, org: str, ids: Sequence[str]) -> list[str]:
        sql = "SELECT id, many FROM bare WHERE org = ? AND id IN (SELECT value FROM json_each(?))"
        found = dict(self._connection.execute(sql, (org, orjson.dumps(ids).decode())).fetchall())
        return [found[patient_id] for patient_id in ids]


class BarePostgres:
    """The table in a PostgreSQL database, read over held connections; the last used is used first."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: asyncio.LifoQueue[_Statements] = asyncio.LifoQueue()
        self._connections: list[Any] = []

    async def fill(self, rows: Sequence[_Row]) -> None:
        connection = await asyncpg.connect(self._url)
        await connection.execute(_CREATE)
        await connection.copy_records_to_table("bare", records=rows)
        await connection.execute("ANALYZE bare")
        await connection.close()

    async def open(self) -> None:
        """Connects and prepares."""
        for _ in range(CONNECTIONS):
            # As Heed's own connections: one generic plan, else lists are planned anew each time.
            connection = await asyncpg.connect(self._url, server_settings={"plan_cache_mode": "force_generic_plan"})
            self._connections.append(connection)
            one = await connection.prepare("SELECT one FROM bare WHERE org = $1 AND id = $2", name="one")
            many = await connection.prepare("SELECT id, many FROM bare WHERE org = $1 AND id = ANY($2)", name="many")
            self._idle.put_nowait((one, many))

    async def close(self) -> None:
        for connection in self._connections:
            await connection.close()

    async def one(self, org: str, patient_id: str) -> str:
        statements = await self._idle.get()
        try:
            text: str = await statements[0].fetchval(org, patient_id)
        finally:
            self._idle.put_nowait(statements)
        return text

    async def many(self, org: str, ids: Sequence[str]) -> list[str]:
        statements = await self._idle.get()
        try:
            found = dict(await statements[1].fetch(org, ids))
        finally:
            self._idle.put_nowait(statements)
        return [found[patient_id] for patient_id in ids]


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Bare]:
    """The bare table at `url`."""
    if url.startswith("sqlite:///"):
        yield BareSQLite(url.removeprefix("sqlite:///"))
        return
    database = BarePostgres(url)
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def filled(url: str, rows: Sequence[_Row]) -> None:
    """Creates and fills the bare table at `url`."""
    sqlite = url.startswith("sqlite:///")
    database: Bare = BareSQLite(url.removeprefix("sqlite:///")) if sqlite else BarePostgres(url)
    await database.fill(rows)


async def refresh_statistics(url: str) -> None:
    """What autovacuum does by itself within a minute or so: until then PostgreSQL plans for empty tables."""
    if not url.startswith("sqlite:///"):
        connection = await asyncpg.connect(url)
        await connection.execute("ANALYZE")
        await connection.close()


async def answer(table: Bare, asked: dict[str, Any]) -> bytes:
    """The body for `{"org", "id"}` or `{"org", "ids"}`, in the envelope in which GraphQL would have answered."""
    if "id" in asked:
        return b'{"data":{"patient":' + (await table.one(asked["org"], asked["id"])).encode() + b"}}"
    found = ",".join(await table.many(asked["org"], asked["ids"]))
    return b'{"data":{"patients":[' + found.encode() + b"]}}"


class _Endpoint:
    """An ASGI application behind a route, as Heed's own is."""

    table: Bare

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = orjson.loads(await Request(scope, receive).body())
        body = await answer(self.table, asked)
        await Response(body, media_type="application/json")(scope, receive, send)


def main() -> None:
    """Serves the table at a URL on a loopback port, with the same server stack as Heed's."""
    url, port = sys.argv[1], int(sys.argv[2])
    endpoint = _Endpoint()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with opened(url) as table:
            endpoint.table = table
            yield

    async def readyz(_: Request) -> Response:
        return Response(b"{}")

    app = Starlette(routes=[Route("/bare", endpoint), Route("/readyz", readyz)], lifespan=lifespan)
    uvicorn.run(
        app, port=port, loop="uvloop", http="httptools", log_level="warning",
        access_log=False, server_header=False, date_header=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
