"""What can be proved of a log: its head, its tiles, and the hashes of proofs, read from the database. Writes nothing.

Full tiles are stored and outlive the events; one that is not full yet is put together from what lies below it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import bindparam, select

from crm.audit.checkpoint import Checkpoint, parse
from crm.audit.tiles import WIDTH, Tile, nodes_from, tile_of, width_of
from crm.audit.tree import HASH, Range, consistency_ranges, hashed, inclusion_ranges, nodes_of
from crm.errors import Tampered
from crm.store.database import Database
from crm.store.log import LEAF_HASHES, TILE_ROOTS
from crm.store.statements import prepare
from crm.store.tables import audit_head, audit_tile

__all__ = ["LogHead", "consistency", "head", "inclusion", "inclusions", "root_at", "tile"]

_HEAD = prepare(
    select(
        audit_head.c.size,
        audit_head.c.epoch,
        audit_head.c.pruned,
        audit_head.c.checkpoint,
        audit_head.c.frontier,
        audit_head.c.db_time,
    ).where(audit_head.c.org == bindparam("org"))
)
_TILE = prepare(
    select(audit_tile.c.hashes).where(
        audit_tile.c.org == bindparam("org"),
        audit_tile.c.level == bindparam("at"),
        audit_tile.c.n == bindparam("number"),
    )
)


@dataclass(frozen=True, slots=True)
class LogHead:
    """The end of a log as it is stored: events so far, the oldest that is kept, the epoch, the signed note over all.

    `note` is None for a log that was never signed; `db_time` is when it last grew, in microseconds since 1970.
    """

    size: int
    epoch: int
    pruned: int
    note: str | None
    frontier: bytes
    db_time: int

    @property
    def checkpoint(self) -> Checkpoint | None:
        """What the note says; its signature is not looked at. Raises Tampered."""
        return None if self.note is None else parse(self.note.partition("\n\n")[0] + "\n")


async def head(database: Database, org: str) -> LogHead | None:
    """The end of an organisation's log; None where there is no log."""
    rows = await database.fetch(org, _HEAD)
    if not rows:
        return None
    row = rows[0]
    return LogHead(
        row["size"], row["epoch"], row["pruned"], row["checkpoint"], bytes(row["frontier"]), row["db_time"]
    )  # fmt: skip


async def tile(database: Database, org: str, place: Tile, size: int) -> bytes:
    """The hashes of a tile in the tree over the first `size` events. Raises Tampered where they are not all there."""
    width = width_of(place, size)
    level, n = place
    if width == WIDTH:
        rows = await database.fetch(org, _TILE, at=level, number=n)
    elif level == 0:
        rows = await database.fetch(org, LEAF_HASHES, start=n * WIDTH, end=n * WIDTH + width)
    else:
        rows = await database.fetch(org, TILE_ROOTS, below=level - 1, start=n * WIDTH, end=n * WIDTH + width)
    hashes = b"".join(bytes(row[0]) for row in rows)
    if level == 0 and not hashes:
        # Its events were pruned, and the tile has become full since: its first hashes are what it was then.
        rows = await database.fetch(org, _TILE, at=level, number=n)
        hashes = b"".join(bytes(row[0]) for row in rows)[: width * HASH]
    if len(hashes) != width * HASH:
        raise Tampered("the tiles of a log")
    return hashes


async def inclusion(database: Database, org: str, index: int, size: int) -> list[bytes]:
    """The audit path of event `index` in the tree over the first `size` events. Raises ValueError, Tampered."""
    return await _hashes(database, org, inclusion_ranges(index, size), size)


async def inclusions(database: Database, org: str, indexes: Iterable[int], size: int) -> dict[int, list[bytes]]:
    """The audit paths of several events at once: a tile that several need is read once. Raises ValueError, Tampered."""
    ranges = {index: inclusion_ranges(index, size) for index in indexes}
    distinct = list({leaves for path in ranges.values() for leaves in path})
    hashes = dict(zip(distinct, await _hashes(database, org, distinct, size), strict=True))
    return {index: [hashes[leaves] for leaves in path] for index, path in ranges.items()}


async def consistency(database: Database, org: str, first: int, second: int) -> list[bytes]:
    """The proof that the tree over `first` events is the beginning of that over `second`. Raises ValueError, Tampered.

    `second` is at most the size of the log.
    """
    return await _hashes(database, org, consistency_ranges(first, second), second)


async def root_at(database: Database, org: str, size: int) -> bytes:
    """The root of the tree over the first `size` events. Raises Tampered."""
    return (await _hashes(database, org, [(0, size)], size))[0]


async def _hashes(database: Database, org: str, ranges: Iterable[Range], size: int) -> list[bytes]:
    ranges = list(ranges)
    needed = {tile_of(node) for leaves in ranges for node in nodes_of(leaves)}
    tiles: Mapping[Tile, bytes] = {place: await tile(database, org, place, size) for place in sorted(needed)}
    node = nodes_from(tiles.__getitem__)
    return [hashed(leaves, node) for leaves in ranges]
