"""A log recomputed from its leaves and compared with all that was stored beside them. Pure; reads no database.

Whoever reads the log hands it over in stretches of whole tiles, in order. What is wrong is noted and never ends the
recount: a missing leaf is replaced by the hash in its tile, so that what follows can still be judged.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson

from crm.audit.damage import Damages, LogFault
from crm.audit.emergencies import Emergencies
from crm.audit.entry import Index, index_of
from crm.audit.event import MAX_LEAF, Act
from crm.audit.regrowth import Grown, Regrowth
from crm.audit.tiles import WIDTH, Tile
from crm.audit.tree import EMPTY, HASH

__all__ = ["COLUMNS", "RENEWED", "Mark", "Recount", "Renewal", "Seal", "StoredTile"]

COLUMNS: Final = ("seq", "id", "leaf", "leaf_hash", *Index._fields)
"""The columns of a stored event, in the order in which `Recount.events` expects them."""

RENEWED: Final = "RENEWED"
"""Why a `boot` event begins a new epoch: the log was put back to an older state."""

_UNKNOWN: Final = bytes(HASH)
"""Stands for the hash of a leaf that is gone and of which no tile tells. No SHA-256 that anybody will find."""


class StoredTile(NamedTuple):
    """A full tile as it is stored."""

    hashes: bytes
    root: bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """A root that was signed for a size; `part` names it in reports, `note` is the signed note."""

    size: int
    root: bytes
    part: str
    note: str


class Seal(NamedTuple):
    """An event that speaks of sealed words: its number, their id and kind, and their digest."""

    seq: int
    words: tuple[str, str]
    digest: str


class Renewal(NamedTuple):
    """An event that begins a new epoch: its number, and the last checkpoint of the epoch that ended."""

    seq: int
    origin: str
    size: int


@dataclass(slots=True)
class Recount:
    """The recount of one log of which the events from `pruned` on are kept; `damages` is what came of it.

    `org` is whose log it is, None where actors of any organisation may stand in it. `wanted` are sizes at which the
    root is asked for afterwards (`roots`). `prunes` are the minimum indexes that prune events announced, by the events'
    numbers.
    """

    pruned: int
    wanted: frozenset[int] = frozenset()
    damages: Damages = field(default_factory=Damages)
    org: str | None = None
    events: int = 0
    prunes: dict[int, int] = field(default_factory=dict)
    renewals: list[Renewal] = field(default_factory=list)
    roots: dict[int, bytes] = field(default_factory=dict)
    vouched: int = 0
    """The largest size of a checkpoint from outside that fits."""
    emergencies: Emergencies = field(default_factory=Emergencies)
    _tree: Regrowth = field(default_factory=Regrowth)
    _runs: dict[str, int] = field(default_factory=dict)
    _sound: int = 0
    _strange: set[Tile] = field(default_factory=set)
    _hole: int | None = None

    def begin(self, marks: Iterable[Mark]) -> None:
        """Checkpoints of the empty log."""
        if 0 in self.wanted:
            self.roots[0] = EMPTY
        for mark in marks:
            self._judge(mark, EMPTY)

    def stretch(
        self,
        start: int,
        end: int,
        rows: Iterable[Sequence[Any]],
        tiles: Mapping[Tile, StoredTile],
        marks: Iterable[Mark],
    ) -> list[Seal]:
        """The numbers from `start` to before `end`, which ends a tile or the log.

        `rows` are its events (`COLUMNS`, by number), `tiles` those that become full in it, `marks` the checkpoints of
        sizes behind `start` up to `end`, ascending. Returns which events speak of sealed words.
        """
        hashes: list[bytes | None] = [None] * (end - start)
        seals: list[Seal] = []
        for row in rows:
            place = row[0] - start
            if hashes[place] is not None:
                self.damages.add(LogFault.EVENT_REPEATED, row[0])
            hashes[place] = self._event(tuple(row), seals)
        self._missing(start, hashes)
        waiting = iter(marks)
        mark = next(waiting, None)
        for first in range(start, end, WIDTH):
            tile = (0, first // WIDTH)
            stored = tiles.get(tile)
            leaves = _filled(hashes[first - start : first - start + WIDTH], stored)
            for grown in self._tree.add(leaves):
                self._compare(grown, tiles.get(grown.tile))
            while mark is not None and mark.size <= self._tree.size:
                self._judge(mark, self._tree.root_at(mark.size))
                mark = next(waiting, None)
            for size in self.wanted:
                if first < size <= self._tree.size:
                    self.roots[size] = self._tree.root_at(size)
        return seals

    def end(self) -> None:
        """Behind the last event that there is."""
        self._gone(self._tree.size)
        for seq in self.emergencies.unknown(pruned=self.pruned > 0):
            self.damages.add(LogFault.GRANT_UNKNOWN, seq)

    def edge(self, frontier: bytes) -> None:
        """The growing edge that is stored for these events."""
        if self._tree.frontier() != frontier:
            self.damages.add(LogFault.FRONTIER_WRONG)

    @property
    def size(self) -> int:
        """How many leaves were recounted."""
        return self._tree.size

    def root(self) -> bytes:
        """The root over everything so far."""
        return self._tree.root_at(self._tree.size)

    # --- events -------------------------------------------------------------------------------------------------------

    def _event(self, row: tuple[Any, ...], seals: list[Seal]) -> bytes:
        """The hash of a stored event's leaf, after a look at everything that the leaf says of its row."""
        seq, name, leaf, stored = row[:4]
        self.events += 1
        if type(leaf) is not bytes:
            self.damages.add(LogFault.LEAF_MALFORMED, seq)
            return _UNKNOWN
        hashed = hashlib.sha256(b"\x00" + leaf).digest()
        if hashed != stored:
            self.damages.add(LogFault.HASH_WRONG, seq)
        try:
            content = orjson.loads(leaf)
            index = index_of(content)
            source, said = content["src"], content["id"]
            node, n = source["node"], source["n"]
            canonical = len(leaf) <= MAX_LEAF and orjson.dumps(content, option=orjson.OPT_SORT_KEYS) == leaf
            before = self._runs.get(node)
            counts = n == before + 1 if before is not None else n == 1 or 1 < n <= self.pruned + 1
            self.emergencies.note(seq, content)
        except (ValueError, TypeError, KeyError, AttributeError):
            self.damages.add(LogFault.LEAF_MALFORMED, seq)
            return hashed
        self._runs[node] = n
        if not canonical:
            self.damages.add(LogFault.LEAF_MALFORMED, seq)
        if said != name:
            self.damages.add(LogFault.ID_WRONG, seq)
        if index != row[4:]:
            wrong = [column for column, a, b in zip(Index._fields, index, row[4:], strict=True) if a != b]
            self.damages.add(LogFault.INDEX_WRONG, seq, part=", ".join(wrong))
        if not counts:
            self.damages.add(LogFault.RUN_BROKEN, seq)
        if self.org is not None and content.get("who", {}).get("org", self.org) != self.org:
            self.damages.add(LogFault.ORG_WRONG, seq)
        if "sealed" in content:
            seals.append(Seal(seq, (str(content.get("ref", "")), index.act), str(content["sealed"])))
        if index.act in {Act.PRUNE, Act.BOOT}:
            self._turning_point(seq, index.act, content)
        return hashed

    def _turning_point(self, seq: int, act: str, content: Mapping[str, Any]) -> None:
        """An event that says why the log is not what it was: its beginning was pruned, or it began anew."""
        count, old = content.get("cnt"), content.get("old")
        if "for" in content["src"] and (act == Act.PRUNE or content.get("why") == RENEWED):
            self.damages.add(LogFault.WAY_WRONG, seq)
            return
        if act == Act.PRUNE and content["out"] == "ok" and isinstance(count, int):
            self.prunes[seq] = count
        if act == Act.BOOT and content.get("why") == RENEWED and isinstance(old, Mapping):
            lost = old.get("size")
            self.renewals.append(Renewal(seq, str(old.get("origin")), lost if isinstance(lost, int) else 0))

    def _missing(self, start: int, hashes: Sequence[bytes | None]) -> None:
        """Notes holes behind what was pruned; one that goes on in the next stretch is noted once."""
        for place, each in enumerate(hashes):
            if start + place < self.pruned:
                continue
            if each is None and self._hole is None:
                self._hole = start + place
            elif each is not None and self._hole is not None:
                self._gone(start + place)

    def _gone(self, end: int) -> None:
        if self._hole is not None:
            self.damages.add(LogFault.EVENT_MISSING, self._hole, part=f"{end - self._hole} of them")
        self._hole = None

    # --- the tree -----------------------------------------------------------------------------------------------------

    def _compare(self, grown: Grown, stored: StoredTile | None) -> None:
        """A tile that was grown again against the stored one; what only follows from a lower tile is not noted."""
        level, n = grown.tile
        part, leaves = f"tile {level}/{n}", WIDTH**level
        if stored is None:
            self.damages.add(LogFault.TILE_MISSING, n * WIDTH * leaves, part=part)
            return
        if stored == (grown.hashes, grown.root):
            return
        self._strange.add(grown.tile)
        wrong = [
            at for at in range(WIDTH) if stored.hashes[at * HASH :][:HASH] != grown.hashes[at * HASH :][:HASH]
        ]  # fmt: skip
        own = [at for at in wrong if level == 0 or (level - 1, n * WIDTH + at) not in self._strange]
        for at in own:
            self.damages.add(LogFault.TILE_DIFFERS, (n * WIDTH + at) * leaves, part=part)
        if not wrong:
            self.damages.add(LogFault.TILE_DIFFERS, n * WIDTH * leaves, part=f"{part} and its root")

    def _judge(self, mark: Mark, root: bytes) -> None:
        """Whether a checkpoint of the database is over these events."""
        if mark.root == root:
            self._sound = max(self._sound, mark.size)
        else:
            self.contradicted(mark)

    def contradicted(self, mark: Mark) -> None:
        """A checkpoint of the database is not over these events: something that came after the last good one is bad."""
        self._between(LogFault.CHECKPOINT_WRONG, mark, min(self._sound, mark.size))

    def outside(self, mark: Mark, proofs: tuple[str, ...], *, apart: bool) -> None:
        """Compares a checkpoint of a size in `wanted` that was kept outside the database, `apart` from it or not.

        Call it by ascending size. `proofs` are notes that contradict each other if it does not fit, both signed; none
        where what is here is not what was signed last: then it is the events that are wrong, and nobody signed twice.
        """
        if self.roots.get(mark.size) == mark.root:
            self.vouched = max(self.vouched, mark.size if apart else 0)
        elif mark.size > self._tree.size:
            self.damages.add(LogFault.ROLLBACK, self._tree.size, part=mark.part, proofs=proofs)
        else:
            fault = LogFault.FORK if proofs else LogFault.CHECKPOINT_WRONG
            self._between(fault, mark, min(self.vouched, mark.size), proofs)

    def _between(self, fault: LogFault, mark: Mark, sound: int, proofs: tuple[str, ...] = ()) -> None:
        """Something from `sound` to before `mark.size` is not what was signed."""
        self.damages.add(fault, sound, until=max(mark.size, sound + 1), part=mark.part, proofs=proofs)


def _filled(hashes: Sequence[bytes | None], stored: StoredTile | None) -> list[bytes]:
    """The hashes of a tile's leaves; those of leaves that are gone as the stored tile has them."""
    if None not in hashes:
        return list(hashes)  # type: ignore[arg-type]
    octets = stored.hashes if stored is not None and len(stored.hashes) == WIDTH * HASH else b""
    return [
        each if each is not None else octets[at * HASH : (at + 1) * HASH] or _UNKNOWN for at, each in enumerate(hashes)
    ]
