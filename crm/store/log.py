"""The log in the database: the writer's sink, which also grows and signs the tree, and the outbox rows of changes.

The head row is locked first, so batches of all replicas are ordered without a leader; numbers come from the locked
head, never from a sequence (which leaves gaps) nor from `max(seq)` (which scans).
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, ColumnElement, bindparam, delete, exists, insert, select, update
from sqlalchemy.dialects.postgresql import insert as insert_unless
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from crm.audit.checkpoint import Checkpoint, epoch_of, origin_of, parse
from crm.audit.entry import Draft, Entry, Index
from crm.audit.event import Act
from crm.audit.recount import RENEWED
from crm.audit.tiles import WIDTH, full_tiles, perfect
from crm.audit.tree import HASH, Frontier
from crm.audit.writer import Seal
from crm.crypto.keyset import KeySet
from crm.crypto.note import Signer
from crm.errors import Tampered
from crm.store import log_outbox
from crm.store.database import NO_ORG, Connection, Database
from crm.store.statements import any_of, prepare, prepare_growth
from crm.store.tables import audit_checkpoint, audit_event, audit_head, audit_outbox, audit_tile, organisation
from crm.store.work import Grow, Work, step

__all__ = ["LEAF_HASHES", "TILE_ROOTS", "Head", "LogSink", "SignerOf", "lock_head", "signer_of", "stage_rows"]

_LOGGER = logging.getLogger("heed.audit")

SignerOf = Callable[[str, int], Signer]
"""Who signs the checkpoints of an organisation's log in one of its epochs, and stamps what waits for it in none
(`log_outbox.NO_EPOCH`). Raises KeyUnavailable."""


def signer_of(keys: KeySet, base: str) -> SignerOf:
    """Signs under names that begin with `base`, with the keys that this process holds at that moment."""
    return lambda org, epoch: keys.log_signer(origin_of(base, org, epoch))


class _DatabaseTime(ColumnElement[int]):
    """The database's own clock at this moment, in microseconds since 1970 (milliseconds' precision on SQLite)."""

    inherit_cache = True
    type = BigInteger()


@compiles(_DatabaseTime, "postgresql")
def _time_postgresql(_element: _DatabaseTime, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "(extract(epoch from clock_timestamp()) * 1000000)::bigint"


@compiles(_DatabaseTime, "sqlite")
def _time_sqlite(_element: _DatabaseTime, _compiler: SQLCompiler, **_kw: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000"


_LOCK_HEAD = prepare(
    select(
        audit_head.c.size,
        audit_head.c.frontier,
        audit_head.c.epoch,
        audit_head.c.checkpoint,
        _DatabaseTime().label("now"),
        exists().where(organisation.c.org == bindparam("org")).label("listed"),
    )
    .where(audit_head.c.org == bindparam("org"))
    .with_for_update()
)
# The PostgreSQL construct; both engines spell ON CONFLICT DO NOTHING alike.
_ADD_ORGANISATION = prepare(
    insert_unless(organisation)
    .values(org=bindparam("org"), created_at=_DatabaseTime())
    .on_conflict_do_nothing(index_elements=["org"])
)
_ADD_HEAD = prepare(
    insert_unless(audit_head)
    .values(org=bindparam("org"), size=0, frontier=bindparam("frontier"), db_time=_DatabaseTime())
    .on_conflict_do_nothing(index_elements=["org"])
)
_PUBLISHED = prepare(select(audit_checkpoint.c.size).where(audit_checkpoint.c.org == bindparam("org")).limit(1))
_GROW = prepare_growth(
    update(audit_head)
    .where(
        audit_head.c.org == bindparam("org"),
        audit_head.c.size == bindparam("old_size"),
        audit_head.c.epoch == bindparam("old_epoch"),
        audit_head.c.frontier == bindparam("old_frontier"),
        audit_head.c.checkpoint.is_not_distinct_from(bindparam("old_checkpoint")),
    )
    .values(
        size=bindparam("new_size"),
        frontier=bindparam("new_frontier"),
        checkpoint=bindparam("new_checkpoint"),
        db_time=_DatabaseTime(),
    )
    .returning(audit_head.c.db_time),
    audit_event,
)
if _GROW.columns != ("seq", "id", *Index._fields, "leaf", "leaf_hash"):
    raise RuntimeError("the columns of the log are not in the order in which its rows are made")
LEAF_HASHES = prepare(
    select(audit_event.c.leaf_hash)
    .where(
        audit_event.c.org == bindparam("org"),
        audit_event.c.seq >= bindparam("start"),
        audit_event.c.seq < bindparam("end"),
    )
    .order_by(audit_event.c.seq)
)
TILE_ROOTS = prepare(
    select(audit_tile.c.root)
    .where(
        audit_tile.c.org == bindparam("org"),
        audit_tile.c.level == bindparam("below"),
        audit_tile.c.n >= bindparam("start"),
        audit_tile.c.n < bindparam("end"),
    )
    .order_by(audit_tile.c.n)
)
_INSERT_TILE = prepare(insert(audit_tile))
_TAKE_STAGED = prepare(
    delete(audit_outbox)
    .where(audit_outbox.c.org == bindparam("org"), any_of(audit_outbox.c.id, "ids"))
    .returning(audit_outbox.c.id)
)
_INSERT_STAGED = prepare(insert(audit_outbox))
_ORGANISATIONS = prepare(select(organisation.c.org).order_by(organisation.c.org))


TRUST = 10.0
"""Seconds for which what the database's clock said is carried on by this process's monotonic one."""


class Head(NamedTuple):
    """The end of a log: its events so far, the tree over them, its epoch, and what time the database has.

    `note` is the signed checkpoint that stands beside it, of which nothing is believed yet.
    """

    size: int
    tree: Frontier
    epoch: int
    now: int
    note: str | None


class _Left(NamedTuple):
    """How this process left the end of a log, and when by its monotonic clock; whether it was `alone` there."""

    size: int
    frontier: bytes
    epoch: int
    note: str
    now: int
    at: float
    alone: bool

    def head(self) -> Head:
        """The end as it must be if nobody has moved it since."""
        passed = int((time.monotonic() - self.at) * 1e6)
        return Head(self.size, Frontier(self.size, self.frontier), self.epoch, self.now + passed, self.note)


class LogSink:
    """Keeps the logs of all organisations in `database`; the `Sink` of a `LogWriter`."""

    def __init__(self, database: Database, signer: SignerOf) -> None:
        self._database = database
        self._signer = signer
        self._left: dict[str, _Left] = {}
        self._strangers: dict[str, int] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # epoch and size, as they were after the last batch that succeeded

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        """See `crm.audit.writer.Sink`. The first event of an organisation also founds its log.

        Events, tree and signed checkpoint are one transaction: nothing is acknowledged that the checkpoint lacks.
        While nobody else writes into a log, its head is where this process left it, and one statement, which adds
        nothing if it is not, saves the round trips that lock and read it first. A head that somebody else left is built
        on only if this log has signed it; else this raises Tampered, again and again.
        """
        left = self._left.pop(org, None)  # it comes back when what happens now is known to have happened
        after = await self._at_once(org, left, drafts, seal) if left and left.alone and drafts else None
        if after is None:
            after = await self._database.perform(org, self._batch(org, left, drafts, seal))
        self._left[org] = after
        self._seen[org] = max((after.epoch, after.size), self._seen.get(org, _NOTHING))

    async def _at_once(self, org: str, left: _Left, drafts: Sequence[Draft], seal: Seal) -> _Left | None:
        """Grows the log from where it was left; None, and nothing done, where that takes more than one statement."""
        more = any(draft.staged for draft in drafts) or full_tiles(left.size, left.size + len(drafts))
        if more or time.monotonic() - left.at > TRUST:
            return None
        head = left.head()
        grow = self._growth(org, head, seal(drafts, head.now))
        found = await self._database.grow(org, grow)
        return _left(head, grow, found[0]["db_time"], alone=True) if found else None

    def _batch(self, org: str, left: _Left | None, drafts: Sequence[Draft], seal: Seal) -> Work[_Left]:
        head = yield from _lock_head()
        if left is None or left[:4] != (head.size, head.tree.octets(), head.epoch, head.note):
            yield from self._trusted(org, head, renewing=_renews(drafts))
        entries = seal((yield from _still_to_log(drafts)), head.now)
        grow = self._growth(org, head, entries)
        if not (yield grow):
            raise RuntimeError("the head of the log moved while it was locked")
        yield from _complete_tiles(head.size, head.tree.size)
        return _left(head, grow, head.now, alone=left is not None and left.size == head.size)

    def _trusted(self, org: str, head: Head, *, renewing: bool) -> Work[None]:
        """Returns where a head that this process did not leave may be built on, and signed with what is built.

        It must not be older than one that this process left, and the log itself must have signed it: as it is, and in
        its epoch, or, when this batch begins a new one, in an earlier. Nothing is signed in a new log, nor in one that
        a release without signatures wrote; that is believed only while nobody published anything of it.

        Raises Tampered.
        """
        seen = self._seen.get(org)
        if seen is not None and (head.epoch, head.size) < seen:
            raise Tampered("the end of a log: it was further")
        if head.note is None:
            if seen is not None or (head.epoch > 1 and not renewing) or (yield step(_PUBLISHED)):
                raise Tampered("the end of a log: its signature is gone")
            return
        named = epoch_of(head.note.partition("\n")[0])
        signer = self._signer(org, min(named, head.epoch) if renewing else head.epoch)
        said = parse(signer.opened(head.note))
        if said != Checkpoint(signer.name, head.size, head.tree.root()):
            raise Tampered("the end of a log: it is not what was signed")

    def _growth(self, org: str, head: Head, entries: Sequence[Entry]) -> Grow:
        """Appends the entries to the tree of `head`, and says how the database follows."""
        signer = self._signer(org, head.epoch)
        old = {
            "old_size": head.size,
            "old_epoch": head.epoch,
            "old_frontier": head.tree.octets(),
            "old_checkpoint": head.note,
        }
        for entry in entries:
            head.tree.append(entry.leaf_hash)
        checkpoint = Checkpoint(signer.name, head.tree.size, head.tree.root())
        new = {
            "new_size": head.tree.size,
            "new_frontier": head.tree.octets(),
            "new_checkpoint": signer.sign(checkpoint.text()),
        }
        rows = [
            (seq, entry.id, *entry.index, entry.leaf, entry.leaf_hash)
            for seq, entry in enumerate(entries, start=head.size)
        ]
        return Grow(_GROW, {**old, **new}, rows)

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        """See `crm.audit.writer.Sink`."""
        found: dict[str, Sequence[Draft]] = {}
        for row in await self._database.fetch(NO_ORG, _ORGANISATIONS):
            org = row["org"]
            stamper = partial(self._signer, org, log_outbox.NO_EPOCH)
            drafts, strangers = await log_outbox.find(self._database, org, before, limit, stamper)
            if drafts:
                found[org] = drafts
            if strangers != self._strangers.get(org, 0):
                self._strangers[org] = strangers
                _LOGGER.error(
                    "audit: %d rows in audit_outbox of %s were not put there by this service: run `audit verify`",
                    strangers,
                    org,
                )
        return found

    def stamp(self, org: str, draft: Draft) -> bytes:
        """See `crm.audit.writer.Sink`."""
        return log_outbox.stamp(self._signer(org, log_outbox.NO_EPOCH), org, draft.id, draft.octets())


_NOTHING = (0, 0)


def _renews(drafts: Sequence[Draft]) -> bool:
    """Whether a batch begins with the event that begins an epoch, which only `audit renew` writes, and never stages."""
    content = drafts[0].content if drafts and not drafts[0].staged else {}
    return content.get("act") == Act.BOOT and content.get("why") == RENEWED


def _left(head: Head, grow: Grow, now: int, *, alone: bool) -> _Left:
    """How a log is left whose tree has grown from `head`."""
    new = grow.params
    return _Left(
        new["new_size"], new["new_frontier"], head.epoch, new["new_checkpoint"], now, time.monotonic(), alone
    )  # fmt: skip


async def lock_head(connection: Connection) -> Head:
    """The end of the log, which nobody else moves until the transaction ends. Raises Tampered."""
    return await connection.perform(_lock_head())


def _lock_head() -> Work[Head]:
    found = yield step(_LOCK_HEAD)
    if not found or not found[0]["listed"]:  # whoever is not on the list is swept, published and verified by nobody
        yield step(_ADD_ORGANISATION)
    if not found:
        yield step(_ADD_HEAD, frontier=b"")
        found = yield step(_LOCK_HEAD)
    if not found:
        raise RuntimeError("the head of the log cannot be seen in its own scope")
    [head] = found
    tree = Frontier(head["size"], bytes(head["frontier"]))
    return Head(head["size"], tree, head["epoch"], head["now"], head["checkpoint"])


def _complete_tiles(before: int, after: int) -> Work[None]:
    """Stores the tiles that became full when the log grew; its events are stored already."""
    for level, n in full_tiles(before, after):
        start, end = n * WIDTH, (n + 1) * WIDTH
        if level == 0:
            found = yield step(LEAF_HASHES, start=start, end=end)
        else:
            found = yield step(TILE_ROOTS, below=level - 1, start=start, end=end)
        hashes = [bytes(row[0]) for row in found]
        if len(hashes) != WIDTH or any(len(each) != HASH for each in hashes):
            raise Tampered("the tiles of a log")
        yield step(_INSERT_TILE, level=level, n=n, hashes=b"".join(hashes), root=perfect(hashes))


def _still_to_log(drafts: Sequence[Draft]) -> Work[list[Draft]]:
    """The drafts without those that another transaction logged before: their outbox rows are gone."""
    ids = [draft.id for draft in drafts if draft.staged]
    if not ids:
        return list(drafts)
    taken = {row["id"] for row in (yield step(_TAKE_STAGED, ids=ids))}
    result = []
    for draft in drafts:
        if not draft.staged:
            result.append(draft)
        elif draft.id in taken:
            taken.remove(draft.id)  # its owner and the sweeper may both have brought it
            result.append(draft)
    return result


async def stage_rows(connection: Connection, org: str, drafts: Sequence[Draft]) -> None:
    """Write staged drafts into the outbox, in the transaction of the change they describe."""
    if not drafts:
        return
    # A sweeper visits the organisations it knows of, and this may be the first that is heard of this one.
    await connection.execute(_ADD_ORGANISATION)
    await connection.execute_many(
        _INSERT_STAGED,
        [
            {
                "org": org,
                "id": draft.id,
                "leaf": draft.octets(),
                "created_at": draft.created_at,
                "stamp": draft.stamp or None,
            }
            for draft in drafts
        ],
    )
