"""Proofs from the database: of logs that grew in uneven batches, on both engines, also where tiles are partial."""

from collections.abc import AsyncIterator

import pytest

from crm.audit.checkpoint import parse
from crm.audit.tree import Frontier, verify_consistency, verify_inclusion
from crm.crypto.note import open_note
from crm.errors import Tampered
from crm.store import proofs
from crm.store.database import Database
from tests.logs import database_at, event, rows_of, signer, writer_on


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A log of 600 events that were recorded in uneven batches."""
    async with database_at(database_url) as database, writer_on(database) as writer:
        label = 0
        for size in (1, 2, 250, 3, 1, 255, 87, 1):
            await writer.append("north", [event(label + n) for n in range(size)])
            label += size
        yield database


async def test_every_proof_holds_against_the_signed_checkpoint(database: Database) -> None:
    """Inclusion and consistency at sizes around the tiles' edges, with roots computed from the leaves alone."""
    leaves = [bytes(row["leaf_hash"]) for row in await rows_of(database)]
    tree, roots = Frontier(), [Frontier().root()]
    for leaf in leaves:
        tree.append(leaf)
        roots.append(tree.root())
    head = await proofs.head(database, "north")
    assert head is not None
    assert head.note is not None
    signed = parse(open_note(head.note, signer("north", head.epoch).verifier_key))
    assert (signed.origin, signed.size, signed.root) == ("heed.test/north/1", 600, roots[600])
    assert head.checkpoint == signed
    assert head.frontier == tree.octets()
    for size in (1, 2, 255, 256, 257, 511, 512, 513, 600):
        assert await proofs.root_at(database, "north", size) == roots[size]
        for index in {0, 1, size // 2, size - 2, size - 1} & set(range(size)):
            path = await proofs.inclusion(database, "north", index, size)
            verify_inclusion(leaves[index], index, size, path, roots[size])
        for first in (0, 1, 255, 256, size):
            if first <= size:
                path = await proofs.consistency(database, "north", first, size)
                verify_consistency(first, size, path, roots[first], roots[size])


async def test_what_is_not_there_cannot_be_proved(database: Database) -> None:
    """Beyond the end of the log there is nothing, nor in a log that does not exist."""
    assert await proofs.head(database, "south") is None
    with pytest.raises(ValueError, match="no such leaf"):
        await proofs.inclusion(database, "north", 600, 600)
    with pytest.raises(Tampered):
        await proofs.root_at(database, "north", 601)
