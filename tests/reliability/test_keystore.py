"""The service's own keys in the database: made once, whoever starts first, and read back octet for octet."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import pytest

from crm.crypto.stored_key import StoredKey
from crm.store.database import Database, connect
from crm.store.keystore import bootstrap, stored_keys

NOW = 1_795_287_303_000_000


@pytest.fixture
async def replicas(database_url: str) -> AsyncIterator[list[Database]]:
    """Four replicas on one database."""
    made = [connect(database_url, durable=False) for _ in range(4)]
    for database in made:
        await database.open()
    yield made
    for database in made:
        await database.close()


def keys(mark: bytes) -> list[StoredKey]:
    """A first set of keys that tells who made it."""
    uses = [("index", ""), ("wrap", "contact"), ("wrap", "identity")]
    return [StoredKey(kind, use, 1, "active", "keyring", "root-1", mark + b"\x00\xff") for kind, use in uses]


async def test_an_empty_keystore_is_filled_once(replicas: list[Database]) -> None:
    """The first start stores a set; later starts get the same and make nothing."""
    first = replicas[0]
    assert await stored_keys(first) == []
    assert await bootstrap(first, lambda: keys(b"first"), NOW) == keys(b"first")

    def never() -> list[StoredKey]:
        pytest.fail("keys were made although there are some")

    assert await bootstrap(replicas[1], never, NOW) == keys(b"first")
    assert await stored_keys(replicas[2]) == keys(b"first")


@pytest.mark.parametrize("attempt", range(5))
async def test_replicas_that_start_at_once_end_with_one_set(replicas: list[Database], attempt: int) -> None:
    """All of them get the same keys, and all keys are from one maker."""
    sets = await asyncio.gather(
        *(bootstrap(database, partial(keys, b"%d" % n), NOW) for n, database in enumerate(replicas))
    )
    assert all(found == sets[0] for found in sets)
    assert sets[0] in [keys(b"%d" % number) for number in range(len(replicas))]
