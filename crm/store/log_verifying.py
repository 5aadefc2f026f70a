"""What `audit verify` reads: everything stored of a log, in stretches that fit into memory. Judges nothing.

The service goes on writing meanwhile: where a log ends is read first, in one statement, and nothing behind it after.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import BigInteger, and_, bindparam, func, or_, select
from sqlalchemy.sql.selectable import ScalarSelect

from crm.audit.emergencies import StoredGrant
from crm.audit.recount import COLUMNS, StoredTile
from crm.audit.tiles import HEIGHT, Tile, full_tiles
from crm.crypto.note import Signer
from crm.store.database import Fetch
from crm.store.log_outbox import is_ours
from crm.store.statements import any_of, prepare
from crm.store.tables import (
    audit_checkpoint,
    audit_detail,
    audit_event,
    audit_head,
    audit_outbox,
    audit_tile,
    break_glass,
)

__all__ = [
    "Ends",
    "Published",
    "Waiting",
    "details",
    "ends",
    "events",
    "grants",
    "published",
    "repeated_ids",
    "tiles",
    "tiles_beyond",
    "waiting",
    "words",
]

MOST_TWICE: Final = 2
"""A stretch is read up to this many times its length: more rows than that have numbers of each other."""
_STRETCH: Final = 50_000

_E, _C, _T = audit_event.c, audit_checkpoint.c, audit_tile.c
_ORG: Any = bindparam("org")


def _of_head(column: str) -> ScalarSelect[Any]:
    return select(audit_head.c[column]).where(audit_head.c.org == _ORG).scalar_subquery()


def _of_events(function: Any) -> ScalarSelect[Any]:
    return select(function(_E.seq)).where(_E.org == _ORG).scalar_subquery()


_ENDS = prepare(
    select(
        *(_of_head(name).label(name) for name in ("size", "frontier", "checkpoint", "epoch", "pruned")),
        _of_events(func.min).label("first"),
        _of_events(func.max).label("last"),
        select(func.max(_C.size)).where(_C.org == _ORG).scalar_subquery().label("published"),
    )
)
_EVENTS = prepare(
    select(*(_E[name] for name in COLUMNS))
    .where(_E.org == _ORG, _E.seq >= bindparam("start"), _E.seq < bindparam("end"))
    .order_by(_E.seq)
    .limit(bindparam("rows", type_=BigInteger))
)
_TILES = prepare(
    select(_T.n, _T.hashes, _T.root)
    .where(_T.org == _ORG, _T.level == bindparam("at"), _T.n >= bindparam("start"), _T.n < bindparam("end"))
    .order_by(_T.n)
)
_NUMBERED = prepare(
    select(_T.level, func.count().label("tiles"), func.min(_T.n).label("low"), func.max(_T.n).label("high"))
    .where(_T.org == _ORG)
    .group_by(_T.level)
    .order_by(_T.level)
)
_PUBLISHED = prepare(
    select(_C.epoch, _C.size, _C.note, _C.cosignatures, _C.witnessed_at)
    .where(
        _C.org == _ORG,
        _C.size <= bindparam("end"),
        or_(
            _C.size > bindparam("size"),
            and_(_C.size == bindparam("size"), _C.epoch > bindparam("after", type_=BigInteger)),
        ),
    )
    .order_by(_C.size, _C.epoch)
    .limit(bindparam("rows", type_=BigInteger))
)
_STRETCH_OF_IDS = (
    select(_E.id)
    .where(_E.org == _ORG, _E.id >= bindparam("after"))
    .order_by(_E.id)
    .limit(bindparam("rows", type_=BigInteger))
    .subquery()
)
_IDS = prepare(
    select(
        func.count().label("rows"),
        func.count(_STRETCH_OF_IDS.c.id.distinct()).label("ids"),
        func.max(_STRETCH_OF_IDS.c.id).label("last"),
    )
)
_SEVERAL = prepare(select(_STRETCH_OF_IDS.c.id).group_by(_STRETCH_OF_IDS.c.id).having(func.count() > 1))
_NUMBERS = prepare(
    select(func.max(_E.seq).label("seq")).where(_E.org == _ORG, any_of(_E.id, "ids")).group_by(_E.id)
)  # fmt: skip
_WORDS = prepare(
    select(audit_detail.c.id, audit_detail.c.kind)
    .where(audit_detail.c.org == _ORG)
    .order_by(audit_detail.c.id, audit_detail.c.kind)
)
_DETAILS = prepare(
    select(audit_detail.c.id, audit_detail.c.kind, audit_detail.c.octets).where(
        audit_detail.c.org == _ORG, any_of(audit_detail.c.id, "ids")
    )
)
_GRANTS = prepare(
    select(*(break_glass.c[name] for name in StoredGrant._fields))
    .where(break_glass.c.org == _ORG, break_glass.c.id > bindparam("after"))
    .order_by(break_glass.c.id)
    .limit(bindparam("rows", type_=BigInteger))
)
_WAITING = prepare(
    select(audit_outbox.c.id, audit_outbox.c.leaf, audit_outbox.c.created_at, audit_outbox.c.stamp).where(
        audit_outbox.c.org == _ORG
    )
)


class Ends(NamedTuple):
    """Where a log ends by its head (None without one), and by its rows at the same moment.

    `first` and `last` are numbers of events, `published` the largest size of a checkpoint; None without any.
    """

    size: int | None
    frontier: bytes
    checkpoint: str | None
    epoch: int
    pruned: int
    first: int | None
    last: int | None
    published: int | None


class Published(NamedTuple):
    """A checkpoint of the database with the lines of its witnesses; `witnessed_at` is microseconds since 1970."""

    epoch: int
    size: int
    note: str
    cosignatures: str
    witnessed_at: int | None


class Waiting(NamedTuple):
    """An event that waits to be numbered; `created_at` is microseconds since 1970, `ours` says that its stamp fits."""

    leaf: bytes
    created_at: int
    ours: bool

    @property
    def words(self) -> tuple[str, str] | None:
        """Id and kind of the sealed words that it speaks of, if any."""
        return self._about("sealed")

    @property
    def reference(self) -> tuple[str, str] | None:
        """Id of what it is about beside the patient, if anything, and its act."""
        return self._about("ref")

    def _about(self, member: str) -> tuple[str, str] | None:
        try:
            content = orjson.loads(self.leaf)
            return (content["ref"], content["act"]) if member in content else None
        except (ValueError, KeyError, TypeError):
            return None


async def ends(fetch: Fetch) -> Ends:
    """Where the log ends, all at one moment."""
    [row] = await fetch(_ENDS)
    head = row["size"] is not None
    return Ends(
        row["size"],
        bytes(row["frontier"]) if head else b"",
        row["checkpoint"],
        row["epoch"] if head else 1,
        row["pruned"] if head else 0,
        *(row[name] for name in ("first", "last", "published")),
    )


async def events(fetch: Fetch, start: int, end: int) -> Sequence[Sequence[Any]]:
    """The events from number `start` to before `end`, each with the columns of `COLUMNS`."""
    found = await fetch(_EVENTS, start=start, end=end, rows=MOST_TWICE * (end - start))
    return [tuple(row) for row in found]


async def tiles(fetch: Fetch, start: int, end: int) -> dict[Tile, StoredTile]:
    """The stored tiles that become full between `start` and `end` leaves."""
    found: dict[Tile, StoredTile] = {}
    for level, numbers in _by_level(full_tiles(start, end)):
        for row in await fetch(_TILES, at=level, start=numbers[0], end=numbers[-1] + 1):
            found[level, row["n"]] = StoredTile(bytes(row["hashes"]), bytes(row["root"]))
    return found


def _by_level(chosen: Sequence[Tile]) -> Iterator[tuple[int, list[int]]]:
    for level in sorted({level for level, _ in chosen}):
        yield level, [n for each, n in chosen if each == level]


async def tiles_beyond(fetch: Fetch) -> list[int]:
    """The levels on which there are tiles that the tree does not have."""
    numbered = await fetch(_NUMBERED)
    found = await ends(fetch)  # read afterwards, since the log may have grown meanwhile
    size = found.size if found.size is not None else (found.last or -1) + 1
    return [
        row["level"]
        for row in numbered
        if row["level"] < 0 or row["low"] < 0 or row["high"] >= size >> (HEIGHT * (row["level"] + 1))
    ]


async def published(fetch: Fetch, size: int, end: int, page: int = 1_000) -> list[Published]:
    """The checkpoints of the database of sizes behind `size` up to `end`, ascending."""
    found: list[Published] = []
    after = 2**31
    while True:
        rows = [Published(*row) for row in await fetch(_PUBLISHED, size=size, after=after, end=end, rows=page)]
        found += rows
        if len(rows) < page:
            return found
        size, after = rows[-1].size, rows[-1].epoch


async def repeated_ids(fetch: Fetch) -> list[int]:
    """Numbers of events whose id another event has too, which the unique index forbids, if it is still there."""
    found: list[int] = []
    after = ""
    while True:
        [row] = await fetch(_IDS, after=after, rows=_STRETCH)
        if row["rows"] != row["ids"]:
            several = [each["id"] for each in await fetch(_SEVERAL, after=after, rows=_STRETCH)]
            found += [each["seq"] for each in await fetch(_NUMBERS, ids=several)]
        if row["rows"] < _STRETCH or row["last"] == after:
            return sorted(set(found))
        after = row["last"]


async def words(fetch: Fetch) -> set[tuple[str, str]]:
    """Id and kind of all sealed words."""
    return {(row["id"], row["kind"]) for row in await fetch(_WORDS)}


async def details(fetch: Fetch, ids: Sequence[str]) -> Mapping[tuple[str, str], bytes]:
    """Sealed words by id and kind."""
    return {(row["id"], row["kind"]): bytes(row["octets"]) for row in await fetch(_DETAILS, ids=list(ids))}


async def grants(fetch: Fetch, page: int = 1_000) -> list[StoredGrant]:
    """The rows of all break-glass grants."""
    found: list[StoredGrant] = []
    while True:
        after = found[-1].id if found else ""
        rows = [StoredGrant(*row) for row in await fetch(_GRANTS, after=after, rows=page)]
        found += rows
        if len(rows) < page:
            return found


async def waiting(fetch: Fetch, org: str, stamper: Signer | None) -> list[Waiting]:
    """The events that wait to be numbered. Without a `stamper` (`crm/store/log_outbox.py`) all pass for ours."""
    return [
        Waiting(bytes(row["leaf"]), row["created_at"], stamper is None or is_ours(stamper, org, row))
        for row in await fetch(_WAITING)
    ]
