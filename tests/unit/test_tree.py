"""The Merkle tree of a log against its definition, RFC 6962: roots, frontiers, both kinds of proof, tiles."""

from collections.abc import Callable

import pytest

from crm.audit.checkpoint import Checkpoint, origin_of, parse
from crm.audit.event import leaf_hash
from crm.audit.tiles import WIDTH, Tile, entries_path, full_tiles, nodes_from, path_of, tile_of, width_of
from crm.audit.tree import (
    EMPTY,
    Frontier,
    consistency_ranges,
    hashed,
    inclusion_ranges,
    node_hash,
    verify_consistency,
    verify_inclusion,
)
from crm.errors import Tampered

LEAVES = [leaf_hash(b"%d" % n) for n in range(1200)]


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if len(leaves) < 2:
        return leaves[0] if leaves else EMPTY
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


def tiles_at(size: int) -> Callable[[Tile], bytes]:
    """Every tile of the tree over the first `size` leaves, computed from the definition."""

    def tile(place: Tile) -> bytes:
        level, n = place
        span = 256**level
        return b"".join(
            root_of(LEAVES[at * span : (at + 1) * span]) for at in range(n * WIDTH, n * WIDTH + width_of(place, size))
        )

    return tile


SIZES = [*range(131), 256, 257, 511, 512, 513, 1000, 1200]
ROOTS = {size: root_of(LEAVES[:size]) for size in SIZES}


def test_a_frontier_has_the_root_of_the_definition() -> None:
    """Leaf by leaf, also when the frontier was stored and read in between."""
    tree = Frontier()
    for size, leaf in enumerate(LEAVES[:131]):
        assert tree.root() == ROOTS.get(size, root_of(LEAVES[:size]))
        tree = Frontier(tree.size, tree.octets())
        tree.append(leaf)


@pytest.mark.parametrize(("size", "octets"), [(-1, b""), (1, b""), (2, b"x" * 64), (3, b"x" * 63)])
def test_a_frontier_that_does_not_fit_is_refused(size: int, octets: bytes) -> None:
    """A stored frontier has one hash for each bit of the size."""
    with pytest.raises(Tampered):
        Frontier(size, octets)


@pytest.mark.parametrize("size", [size for size in SIZES if size])
def test_every_proof_of_inclusion_holds(size: int) -> None:
    """Made from tiles for each leaf of each size (some, of the large ones), and for no other leaf or root."""
    node = nodes_from(tiles_at(size))
    for index in range(0, size, 1 if size < 131 else 7):
        proof = [hashed(leaves, node) for leaves in inclusion_ranges(index, size)]
        verify_inclusion(LEAVES[index], index, size, proof, ROOTS[size])
        other = LEAVES[index - 1] if size > 1 else EMPTY
        for leaf, at, path, root in (
            (other, index, proof, ROOTS[size]),
            (LEAVES[index], index + size, proof, ROOTS[size]),
            (LEAVES[index], index, [*proof, EMPTY], ROOTS[size]),
            (LEAVES[index], index, proof, EMPTY),
        ):
            with pytest.raises(Tampered):
                verify_inclusion(leaf, at, size, path, root)


@pytest.mark.parametrize("size", SIZES)
def test_every_proof_of_consistency_holds(size: int) -> None:
    """Made from tiles for each smaller size, and for no other roots."""
    node = nodes_from(tiles_at(size))
    for first in (known for known in SIZES if known <= size):
        proof = [hashed(leaves, node) for leaves in consistency_ranges(first, size)]
        verify_consistency(first, size, proof, ROOTS[first], ROOTS[size])
        with pytest.raises(Tampered):
            verify_consistency(first, size, proof, b"\0" * 32, ROOTS[size])
        if first:
            with pytest.raises(Tampered):
                verify_consistency(first, size, proof, ROOTS[first], b"\0" * 32)


def test_tiles_and_their_paths() -> None:
    """Where a node is found, which tiles a growth completes, and how the specification spells their paths."""
    assert tile_of((0, 300)) == (0, 1)
    assert tile_of((7, 3)) == (0, 1)
    assert tile_of((8, 3)) == (1, 0)
    assert full_tiles(250, 520) == [(0, 0), (0, 1)]
    assert full_tiles(65_535, 65_536) == [(0, 255), (1, 0)]
    assert path_of((0, 1_234_067)) == "tile/0/x001/x234/067"
    assert path_of((1, 5), 17) == "tile/1/005.p/17"
    assert entries_path(1_000) == "tile/entries/x001/000"


def test_a_checkpoint_is_three_lines() -> None:
    """What is written is read again; everything else is refused."""
    known = Checkpoint(origin_of("heed.example", "north clinic+1", 2), 70_003, ROOTS[5])
    assert known.origin == "heed.example/north%20clinic%2B1/2"
    assert parse(known.text()) == known
    origin, size, root, _ = known.text().split("\n")
    for wrong in (
        "",
        f"{origin}\n{size}\n{root}",
        f"{origin}\n{size}\n{root}\nmore\n",
        f"\n{size}\n{root}\n",
        f"{origin}\n0{size}\n{root}\n",
        f"{origin}\n-1\n{root}\n",
        f"{origin}\n{size}\n{root[:-4]}\n",
        f"{origin}\n{size}\n{root[:-2]}9=\n",
    ):
        with pytest.raises(Tampered):
            parse(wrong)
