"""The bell: who waits is woken by this process and by others, and looks himself where a ring was missed."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import asyncpg
import pytest

from crm.store.rings import ring
from tests.conftest import Databases
from tests.ringing import LONG, PATIENCE, bell, end_listeners
from tests.store import NORTH, SOUTH, opened


async def listeners(url: str, count: int) -> None:
    """Returns as soon as so many connections listen."""
    counting = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(PATIENCE):
            while await connection.fetchval(counting) != count:  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.02)
    finally:
        await connection.close()


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """A migrated database on PostgreSQL."""
    url = databases.create("postgresql")
    yield url
    databases.drop(url)


async def test_a_ring_wakes_who_waits_for_it(database_url: str) -> None:
    """A ring wakes all who wait for its topic in its organisation, and nobody else."""
    async with (
        bell(database_url) as it,
        it.listening("change", NORTH) as first,
        it.listening("change", NORTH) as second,
        it.listening("change", SOUTH) as elsewhere,
        it.listening("tokens", NORTH) as otherwise,
    ):
        await it.ring("change", NORTH)
        assert await first(PATIENCE)
        assert await second(PATIENCE)
        assert not await elsewhere(0.05)
        assert not await otherwise(0.05)


async def test_a_ring_between_two_looks_is_not_lost(database_url: str) -> None:
    """What rings while somebody looks wakes them at once when they wait; it does so once."""
    async with bell(database_url) as it, it.listening("change", NORTH) as wake:
        it.wake("change", NORTH)
        it.wake("change", NORTH)
        assert await wake(PATIENCE)
        assert not await wake(0.05)


async def test_nobody_sleeps_for_long(database_url: str) -> None:
    """Without any ring whoever waits looks every so often."""
    async with bell(database_url, every=0.05) as it, it.listening("change", NORTH) as wake:
        async with asyncio.timeout(PATIENCE):
            assert not await wake(LONG)


async def test_another_process_hears_a_ring_when_it_is_committed(postgres_url: str) -> None:
    """A ring inside a transaction is heard by other processes when that is committed, and never if it is not."""
    async with bell(postgres_url) as there, opened(postgres_url) as here, there.listening("change", NORTH) as wake:
        with suppress(KeyError):
            async with here.transaction(NORTH) as connection:
                await ring(connection, "change")
                raise KeyError
        assert not await wake(0.3)
        async with here.transaction(NORTH) as connection:
            await ring(connection, "change")
            assert not await wake(0.1)
        assert await wake(PATIENCE)


async def test_a_lost_connection_is_made_anew(postgres_url: str) -> None:
    """Whoever listens through a connection that is ended is woken when there is a new one, and hears rings again."""
    async with bell(postgres_url) as there, bell(postgres_url) as here, there.listening("change", NORTH) as wake:
        assert await end_listeners(postgres_url) == 2
        assert await wake(PATIENCE)  # somebody may have rung meanwhile
        await listeners(postgres_url, 2)
        await wake(0.3)
        await here.ring("change", NORTH)
        assert await wake(PATIENCE)
