"""The tree of a log grown again from the hashes of its leaves, a tile at a time, to compare with what was stored. Pure.

Quicker than `Frontier`, and knows the root at every size on the way.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from crm.audit.tiles import WIDTH, Tile, perfect
from crm.audit.tree import HASH, Frontier, fold

__all__ = ["Grown", "Regrowth"]


class Grown(NamedTuple):
    """A tile that became full: which, its hashes one after the other, and the root over them."""

    tile: Tile
    hashes: bytes
    root: bytes


class Regrowth:
    """A tree of `size` leaves so far. Needs room for one tile of each level."""

    __slots__ = ("_before", "_floors", "_open", "size")

    def __init__(self) -> None:
        self.size = 0
        self._before = Frontier()  # its leaves are the full tiles before the last one
        self._floors: list[list[bytes]] = [[]]  # the nodes of the last tile, by level
        self._open: list[list[bytes]] = []  # of each level above the leaves, the hashes of the tile that is not full

    def add(self, hashes: Sequence[bytes]) -> list[Grown]:
        """The leaves of the next tile; fewer than fill it only at the end. The tiles that became full, lowest first."""
        if self.size % WIDTH or not 0 < len(hashes) <= WIDTH:
            raise RuntimeError("a tree is grown again by whole tiles")
        if self.size:
            self._before.append(self._floors[-1][0])
        self._floors = _floors(hashes)
        self.size += len(hashes)
        return self._full() if len(hashes) == WIDTH else []

    def root_at(self, size: int) -> bytes:
        """The root over the first `size` leaves, of which the last is in the tile that was added last."""
        return fold(self._edge(size))

    def frontier(self) -> bytes:
        """The octets of the `Frontier` of this tree."""
        last = len(self._floors[0])
        if last < WIDTH:
            return b"".join(self._edge(self.size))
        whole = Frontier(self._before.size, self._before.octets())
        whole.append(self._floors[-1][0])
        return whole.octets()

    def _edge(self, size: int) -> list[bytes]:
        """The complete subtrees up to `size`, largest first."""
        start = self._before.size * WIDTH
        if not start <= size <= self.size:
            raise RuntimeError("the root at this size is not known any more, or not yet")
        octets = self._before.octets()
        edge = [octets[at : at + HASH] for at in range(0, len(octets), HASH)]
        place = start
        for level in range((size - start).bit_length() - 1, -1, -1):
            if (size - start) >> level & 1:
                edge.append(self._floors[level][(place - start) >> level])
                place += 1 << level
        return edge

    def _full(self) -> list[Grown]:
        """The tile of leaves that was just filled, and those above that became full with it."""
        n = self.size // WIDTH - 1
        found = [Grown((0, n), b"".join(self._floors[0]), self._floors[-1][0])]
        level = 0
        while True:
            if level == len(self._open):
                self._open.append([])
            row = self._open[level]
            row.append(found[-1].root)
            if len(row) < WIDTH:
                return found
            n //= WIDTH
            level += 1
            found.append(Grown((level, n), b"".join(row), perfect(row)))
            self._open[level - 1] = []


def _floors(hashes: Sequence[bytes]) -> list[list[bytes]]:
    """The complete nodes over the leaves of one tile, by level; the highest level has one."""
    sha256 = hashlib.sha256
    floors = [list(hashes)]
    while len(floors[-1]) > 1:
        each = iter(floors[-1])
        # As `node_hash`, written out: this is most of what growing a tree again costs.
        floors.append([sha256(b"\x01" + left + right).digest() for left, right in zip(each, each, strict=False)])
    return floors
