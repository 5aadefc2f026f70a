"""The tree cut into tiles of 256 hashes (C2SP tlog-tiles): which tile holds a node, and under which path it is found.

Pure. Tile (level, n) holds the nodes (8 * level, 256 * n) and following; one that is not yet full is partial.
"""

from collections.abc import Callable
from typing import Final

from crm.audit.tree import HASH, Node, fold

__all__ = ["WIDTH", "Tile", "entries_path", "full_tiles", "hash_in", "path_of", "tile_of", "width_of"]

WIDTH: Final = 256
"""Hashes in a full tile."""

HEIGHT: Final = 8

Tile = tuple[int, int]
"""Level and number."""


def tile_of(node: Node) -> Tile:
    """The tile from whose hashes a node's hash can be computed."""
    level, n = node
    above = level % HEIGHT
    return level // HEIGHT, (n << above) // WIDTH


def hash_in(hashes: bytes, node: Node) -> bytes:
    """A node's hash from the hashes of its tile. Raises IndexError where the tile does not reach so far."""
    level, n = node
    count = 1 << level % HEIGHT
    first = (n * count) % WIDTH
    if len(hashes) < (first + count) * HASH:
        raise IndexError("the tile does not reach so far")
    return perfect([hashes[at * HASH : (at + 1) * HASH] for at in range(first, first + count)])


def perfect(hashes: list[bytes]) -> bytes:
    """The root over 2^k hashes."""
    while len(hashes) > 1:
        hashes = [fold(hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
    return hashes[0]


def width_of(tile: Tile, size: int) -> int:
    """How many hashes a tile has in a tree of `size` leaves; 0 where it does not exist."""
    level, n = tile
    return max(0, min(WIDTH, (size >> (HEIGHT * level)) - n * WIDTH))


def full_tiles(before: int, after: int) -> list[Tile]:
    """The tiles that become full when a tree grows from `before` leaves to `after`, lower levels first."""
    found: list[Tile] = []
    level = 0
    while after >> (HEIGHT * (level + 1)):
        shift = HEIGHT * (level + 1)
        found += [(level, n) for n in range(before >> shift, after >> shift)]
        level += 1
    return found


def path_of(tile: Tile, width: int = WIDTH) -> str:
    """Where a tile is found: `tile/0/x001/234`, and `tile/0/x001/235.p/17` for a partial one."""
    return f"tile/{tile[0]}/{_number(tile[1])}{_partial(width)}"


def entries_path(n: int, width: int = WIDTH) -> str:
    """Where the leaves under tile (0, n) are found: `tile/entries/x001/234`."""
    return f"tile/entries/{_number(n)}{_partial(width)}"


def _number(n: int) -> str:
    groups = [f"{n % 1000:03}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03}")
    return "/".join(groups)


def _partial(width: int) -> str:
    return "" if width == WIDTH else f".p/{width}"


def nodes_from(tiles: Callable[[Tile], bytes]) -> Callable[[int, int], bytes]:
    """Looks nodes up in tiles; for `tree.hashed`."""
    return lambda level, n: hash_in(tiles(tile_of((level, n))), (level, n))
