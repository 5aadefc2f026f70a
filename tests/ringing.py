"""Bells of processes of their own, that hear each other, and a way to deafen them all."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from crm.delivery.bell import Bell
from crm.store.database import Database
from tests.store import NORTH, opened

__all__ = ["LONG", "PATIENCE", "bell", "bell_with", "end_listeners"]

LONG = 60.0
"""Seconds between two looks: so that nothing but a ring wakes anybody in time."""

PATIENCE = 20.0
"""Seconds that a test waits for what has to come."""


@asynccontextmanager
async def bell(url: str, *, every: float = LONG) -> AsyncIterator[Bell]:
    """The bell of a process of its own, which hears the others."""
    async with bell_with(url, every=every) as (made, _):
        yield made


@asynccontextmanager
async def bell_with(url: str, *, every: float = LONG) -> AsyncIterator[tuple[Bell, Database]]:
    """The same, and the process's way to the database."""
    async with opened(url) as database:
        made = Bell(database, url, every=every)
        async with made.listening("", NORTH) as wake:
            made.start()
            while database.dialect == "postgresql" and not await wake(PATIENCE):
                pass
        try:
            yield made, database
        finally:
            await made.stop()


async def end_listeners(url: str) -> int:
    """Ends every connection that listens to the database at `url`, as a failover does; how many there were."""
    connection = await asyncpg.connect(url)
    try:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'heed-bell' AND datname = current_database()"
        )
    finally:
        await connection.close()
    return len(ended)
