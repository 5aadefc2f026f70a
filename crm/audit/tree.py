"""The Merkle tree over the leaves of a log (RFC 6962, section 2.1, SHA-256): its growing edge, proofs, and their check.

Pure. A *node* (level, n) is the complete subtree over the leaves n * 2^level to (n + 1) * 2^level - 1. Where nodes are
kept is no matter of this module: whoever needs a proof asks for the ranges of leaves that it covers.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence

from crm.errors import Tampered

__all__ = [
    "EMPTY",
    "HASH",
    "Frontier",
    "Node",
    "Range",
    "consistency_ranges",
    "fold",
    "inclusion_ranges",
    "node_hash",
    "nodes_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH = 32
EMPTY = hashlib.sha256().digest()
"""The root of a tree without leaves."""

Node = tuple[int, int]
Range = tuple[int, int]
"""From a leaf, inclusive, to another, exclusive; counted from 0."""


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """The root over complete subtrees that stand side by side, each smaller than the one before it."""
    if not hashes:
        return EMPTY
    *before, root = hashes
    for left in reversed(before):
        root = node_hash(left, root)
    return root


class Frontier:
    """The right edge of a tree: the roots of its complete subtrees, largest first. All that appending needs.

    There is one for each bit of `size` that is set.
    """

    __slots__ = ("_hashes", "size")

    def __init__(self, size: int = 0, octets: bytes = b"") -> None:
        """`octets` is what `octets()` gave. Raises Tampered when it does not fit the size."""
        if size < 0 or len(octets) != HASH * size.bit_count():
            raise Tampered("the frontier of a log")
        self.size = size
        self._hashes = [octets[at : at + HASH] for at in range(0, len(octets), HASH)]

    def append(self, leaf_hash: bytes) -> None:
        """One more leaf."""
        size, root, hashes = self.size, leaf_hash, self._hashes
        while size & 1:
            root = node_hash(hashes.pop(), root)
            size >>= 1
        hashes.append(root)
        self.size += 1

    def root(self) -> bytes:
        """The root of the whole tree."""
        return fold(self._hashes)

    def octets(self) -> bytes:
        """The hashes one after the other."""
        return b"".join(self._hashes)


def nodes_of(leaves: Range) -> list[Node]:
    """The fewest nodes that cover a range, from left to right; `fold` of their hashes is that of the range.

    The range is one of a proof: it begins where a subtree of its size may begin.
    """
    start, end = leaves
    found = []
    while start < end:
        level = (end - start).bit_length() - 1
        found.append((level, start >> level))
        start += 1 << level
    return found


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """What the audit path of a leaf consists of, in the order of the path: from its neighbour up to the root.

    Raises ValueError unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise ValueError("no such leaf")
    path = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start = middle
    return path[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """What the proof consists of that a tree of size `first` is the beginning of one of size `second`.

    Empty where they are equal or the first is. Raises ValueError unless 0 <= first <= second.
    """
    if not 0 <= first <= second:
        raise ValueError("no such sizes")
    if first in (0, second):
        return []
    path = []
    start, end, whole = 0, second, True
    while first != end:
        middle = start + _split(end - start)
        if first <= middle:
            path.append((middle, end))
            end = middle
        else:
            path.append((start, middle))
            start, whole = middle, False
    if not whole:
        path.append((start, end))
    return path[::-1]


def _split(size: int) -> int:
    """The largest power of two smaller than `size`, which is at least 2."""
    return 1 << ((size - 1).bit_length() - 1)


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raises Tampered unless the leaf stands at `index` of the tree of this size and root (RFC 9162, 2.1.3.2)."""
    _well_formed([leaf_hash, root, *proof])
    if not 0 <= index < size:
        raise Tampered("a proof of inclusion: its index")
    node, last, found = index, size - 1, leaf_hash
    for step in proof:
        if last == 0:
            raise Tampered("a proof of inclusion: too long")
        if node & 1 or node == last:
            found = node_hash(step, found)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            found = node_hash(found, step)
        node, last = node >> 1, last >> 1
    if last != 0 or found != root:
        raise Tampered("a proof of inclusion")


def verify_consistency(first: int, second: int, proof: Sequence[bytes], first_root: bytes, second_root: bytes) -> None:
    """Raises Tampered unless the first tree is the beginning of the second (RFC 9162, 2.1.4.2)."""
    _well_formed([first_root, second_root, *proof])
    if not 0 <= first <= second:
        raise Tampered("a proof of consistency: its sizes")
    if first in (0, second):
        if proof or (first == second and first_root != second_root) or (first == 0 and first_root != EMPTY):
            raise Tampered("a proof of consistency")
        return
    # Where the first tree is one complete subtree, its root is known and the proof leaves it out.
    path = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not path:
        raise Tampered("a proof of consistency: too short")
    node, last = first - 1, second - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    older = newer = path[0]
    for step in path[1:]:
        if last == 0:
            raise Tampered("a proof of consistency: too long")
        if node & 1 or node == last:
            older, newer = node_hash(step, older), node_hash(step, newer)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            newer = node_hash(newer, step)
        node, last = node >> 1, last >> 1
    if last != 0 or older != first_root or newer != second_root:
        raise Tampered("a proof of consistency")


def _well_formed(hashes: Iterable[bytes]) -> None:
    if any(len(each) != HASH for each in hashes):
        raise Tampered("a hash of another length")


def hashed(leaves: Range, node: Callable[[int, int], bytes]) -> bytes:
    """The hash of a range of a proof, from those of its nodes."""
    return fold([node(level, n) for level, n in nodes_of(leaves)])
