"""The tree grown again by tiles is the tree that grew leaf by leaf."""

import hashlib

import pytest

from crm.audit.regrowth import Regrowth
from crm.audit.tiles import WIDTH, perfect
from crm.audit.tree import EMPTY, Frontier

HASHES = [hashlib.sha256(b"%d" % number).digest() for number in range(3 * WIDTH + 100)]


def test_every_size() -> None:
    """Root at each size, and the growing edge after each tile, as `Frontier` has them."""
    grown, tree = Regrowth(), Frontier()
    assert (grown.root_at(0), grown.frontier()) == (EMPTY, b"")
    for start in range(0, len(HASHES), WIDTH):
        tiles = grown.add(HASHES[start : start + WIDTH])
        for leaf in HASHES[start : start + WIDTH]:
            tree.append(leaf)
            assert grown.root_at(tree.size) == tree.root()
        assert (grown.size, grown.frontier()) == (tree.size, tree.octets())
        full = len(HASHES[start : start + WIDTH]) == WIDTH
        assert [each.tile for each in tiles] == ([(0, start // WIDTH)] if full else [])


def test_tiles_above() -> None:
    """A tile of the next level becomes full with its last one below, and holds their roots."""
    grown, found = Regrowth(), []
    for _ in range(WIDTH):
        found += grown.add(HASHES[:WIDTH])
    root = perfect(HASHES[:WIDTH])
    assert [each.tile for each in found] == [*((0, n) for n in range(WIDTH)), (1, 0)]
    assert found[-1].hashes == root * WIDTH
    assert found[-1].root == perfect([root] * WIDTH) == grown.root_at(WIDTH * WIDTH)


def test_only_whole_tiles() -> None:
    """Behind a tile that is not full nothing is added, and no root is known before the last tile."""
    grown = Regrowth()
    grown.add(HASHES[:WIDTH])
    grown.add(HASHES[WIDTH : WIDTH + 5])
    with pytest.raises(RuntimeError):
        grown.add(HASHES[:5])
    with pytest.raises(RuntimeError):
        grown.root_at(WIDTH - 1)
    with pytest.raises(RuntimeError):
        grown.root_at(WIDTH + 6)
