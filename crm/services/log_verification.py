"""The verification of a log: everything recomputed from its leaves, and held against what others kept of it.

It runs beside the service, which goes on writing, and needs no key: those who verify need not be able to forge. What is
found is counted and named, and never ends the run. Records against the log is `verification`, which is another matter.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from crm.audit.checkpoint import Checkpoint, epoch_of, origin_of, parse
from crm.audit.damage import Damages, LogFault
from crm.audit.recount import Mark, Recount, Seal
from crm.audit.tiles import WIDTH
from crm.crypto.cosignature import cosigned_at
from crm.crypto.note import Signer, open_note, parsed
from crm.errors import Tampered
from crm.services.refusals import NOBODY
from crm.store import log_verifying as stored
from crm.store.database import Database, Fetch
from crm.store.log_days import differing

__all__ = ["Advance", "KeyOf", "Outside", "VerifiedLog", "verify_log"]

BEFORE_ALL: Final = -(2**63)
STRETCH: Final = 16 * WIDTH
"""Events that are held in memory together."""

Advance = Callable[[int, int | None], None]
"""Called with how many events are done, and of how many."""

KeyOf = Callable[[str], str]
"""The verifier key of the log of a name. Raises KeyUnavailable."""


@dataclass(frozen=True, slots=True)
class Outside:
    """A signed checkpoint that was kept outside the database; `part` says where.

    One that is not `apart`, such as the journal of this machine, may have been put back together with the database: it
    is compared, and vouches for nothing.
    """

    part: str
    note: str
    apart: bool = True


@dataclass(slots=True)
class VerifiedLog:
    """What came of one log.

    It has `size` events, those before `pruned` are gone as announced by event number `pruned_by`. `root` is the one
    that was recomputed. `outside` are the checkpoints from outside that were compared, `vouched` is the largest size of
    those that fit, None without any. `waiting` events are not numbered yet, the oldest since `oldest` (microseconds
    since 1970). `strangers` are witnesses whose lines were not looked at, for want of their keys. `lost` says which
    checkpoints of earlier epochs reach beyond what the log has kept of them.
    """

    org: str
    origin: str
    size: int = 0
    pruned: int = 0
    pruned_by: int | None = None
    epoch: int = 1
    events: int = 0
    root: bytes = b""
    damages: Damages = field(default_factory=Damages)
    outside: list[tuple[str, int]] = field(default_factory=list)
    vouched: int | None = None
    waiting: int = 0
    oldest: int | None = None
    strangers: set[str] = field(default_factory=set)
    lost: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether nothing was found to be wrong."""
        return not self.damages.counts


async def verify_log(
    database: Database,
    org: str,
    base: str,
    key_of: KeyOf,
    outside: Sequence[Outside],
    witnesses: Mapping[str, str],
    advance: Advance,
    stamper: Signer | None = None,
) -> VerifiedLog:
    """Verifies the log of an organisation; `base` is what the names of logs begin with.

    `outside` are checkpoints of this log, in any of its epochs. `witnesses` are verifier keys of those whose
    cosignatures the database keeps, by their names. `stamper` knows the rows of the outbox that are ours
    (`crm/store/log_outbox.py`); without it they are believed. Raises KeyUnavailable, StoreUnavailable.
    """
    begun = time.monotonic()
    visit = _Visit(partial(database.fetch, org), org, base, key_of, witnesses, stamper)
    await visit.begin()
    await visit.walk(outside, advance)
    await visit.end()
    visit.found.seconds = time.monotonic() - begun
    return visit.found


class _Visit:
    """One run over one log."""

    def __init__(
        self,
        fetch: Fetch,
        org: str,
        base: str,
        key_of: KeyOf,
        witnesses: Mapping[str, str],
        stamper: Signer | None,
    ) -> None:
        self.found = VerifiedLog(org, origin_of(base, org, 1))
        self._damages = self.found.damages
        self._fetch = fetch
        self._origin = partial(origin_of, base, org)
        self._key_of = key_of
        self._witnesses = witnesses
        self._stamper = stamper
        self._spoken: set[tuple[str, str]] = set()
        self._signed_over = False

    async def begin(self) -> None:
        """Where the log ends, and what waits outside it.

        Words and grants come first: an event is never younger than they are.
        """
        found = self.found
        self._words = await stored.words(self._fetch)
        self._grants = await stored.grants(self._fetch)
        rows = await stored.waiting(self._fetch, found.org, self._stamper)
        waiting = [each for each in rows if each.ours]
        if strangers := len(rows) - len(waiting):
            self._damages.add(LogFault.STRANGERS_WAIT, part=f"{strangers} of them")
        self._promised = {words for each in waiting if (words := each.words) is not None}
        self._coming = {reference for each in waiting if (reference := each.reference) is not None}
        found.waiting, found.oldest = len(waiting), min((each.created_at for each in waiting), default=None)
        self._ends = ends = await stored.ends(self._fetch)
        behind = 0 if ends.last is None else ends.last + 1
        if ends.size is None and (behind or ends.published):
            self._damages.add(LogFault.HEAD_MISSING, behind)
        found.size = behind if ends.size is None else max(0, ends.size)
        found.epoch, found.origin = ends.epoch, self._origin(ends.epoch)
        if behind > found.size:
            self._damages.add(LogFault.EVENT_BEYOND, found.size, part=f"up to {behind - 1}")
        if (ends.published or 0) > found.size:
            self._damages.add(LogFault.CHECKPOINT_WRONG, found.size, part=f"one over {ends.published} events")
        found.pruned = self._kept_from(ends)

    def _kept_from(self, ends: stored.Ends) -> int:
        """The number of the oldest event that is kept, as far as the head can be believed."""
        if ends.first is not None and ends.first < ends.pruned:
            self._damages.add(LogFault.EVENT_UNPRUNED, ends.first)
            return 0
        if not 0 <= ends.pruned <= self.found.size or ends.pruned % WIDTH:
            self._damages.add(LogFault.PRUNE_UNEXPLAINED, 0)
            return 0
        return ends.pruned

    async def walk(self, outside: Sequence[Outside], advance: Advance) -> None:
        """Everything from the first number to the last."""
        found, ends = self.found, self._ends
        marks = self._outside(outside)
        wanted = frozenset(mark.size for mark, _, _ in marks)
        own = None if found.org == NOBODY else found.org
        self._recount = recount = Recount(found.pruned, wanted, self._damages, own)
        recount.begin(await self._published(BEFORE_ALL, 0))
        # A head may claim any size; behind the last event there is nothing to walk over.
        behind = max(found.pruned, min(found.size, 0 if ends.last is None else ends.last + 1))
        for start in range(0, behind, STRETCH):
            end = min(start + STRETCH, behind)
            tiles = await stored.tiles(self._fetch, start, end)
            rows = await stored.events(self._fetch, start, end) if end > found.pruned else []
            sealed = recount.stretch(start, end, rows, tiles, await self._published(start, end))
            await self._details(sealed)
            advance(end, found.size)
            await asyncio.sleep(0)  # SQLite answers at once, and others may have to do
        recount.end()
        if behind < found.size:
            self._damages.add(LogFault.EVENT_MISSING, behind, part=f"{found.size - behind} of them")
        found.root = recount.root()
        self._head()
        for mark, epoch, apart in marks:
            self._compare(mark, epoch, apart)
        found.vouched = recount.vouched or None  # a checkpoint of nothing vouches for nothing

    async def end(self) -> None:
        """What only a look at the whole shows."""
        found, recount = self.found, self._recount
        found.events = recount.events
        for seq in await stored.repeated_ids(self._fetch):
            self._damages.add(LogFault.ID_REPEATED, seq)
        for level in await stored.tiles_beyond(self._fetch):
            self._damages.add(LogFault.TILE_BEYOND, part=f"level {level}")
        for name, kind in sorted(self._words - self._spoken - self._promised):
            self._damages.add(LogFault.DETAIL_BEYOND, part=f"{kind} {name}")
        now = await stored.grants(self._fetch)  # afterwards: a row is never younger than its events
        recount.emergencies.compare(self._grants, now, self._coming, self._damages, pruned=found.pruned > 0)
        found.pruned_by = min((seq for seq, least in recount.prunes.items() if least >= found.pruned), default=None)
        if found.pruned and found.pruned_by is None:
            self._damages.add(LogFault.PRUNE_UNEXPLAINED, 0)
        self._epochs()
        if found.sound:  # else nobody knows what to count, and the sums are the least trouble
            for day, actor in await differing(self._fetch):
                self._damages.add(LogFault.DERIVED_WRONG, part=f"day {day}, {actor}")

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def _head(self) -> None:
        """The end of the log: its edge, and the checkpoint over all of it."""
        found, ends = self.found, self._ends
        if ends.size is None:
            return
        if self._recount.size == found.size:  # else events are gone, and the edge cannot fit
            self._recount.edge(ends.frontier)
        if ends.checkpoint is None:
            self._damages.add(LogFault.CHECKPOINT_MISSING)
            return
        said = self._opened(ends.checkpoint, found.origin, "head")
        if said is not None and said.size != found.size:
            self._damages.add(LogFault.CHECKPOINT_WRONG, min(said.size, found.size), part=f"head over {said.size}")
        elif said is not None and said.root != found.root:
            self._recount.contradicted(Mark(said.size, said.root, "head", ends.checkpoint))
        else:
            self._signed_over = said is not None

    async def _published(self, start: int, end: int) -> list[Mark]:
        """The checkpoints that the database keeps of sizes behind `start` up to `end`, if the log signed them."""
        marks = []
        for each in await stored.published(self._fetch, start, end):
            part = f"checkpoint {each.epoch}/{each.size}"
            said = self._opened(each.note, self._origin(each.epoch), part)
            if said is None:
                continue
            if said.size != each.size:
                self._damages.add(LogFault.CHECKPOINT_WRONG, part=part)
                continue
            marks.append(Mark(each.size, said.root, part, each.note))
            self._cosigned(each, part)
        return marks

    def _opened(self, note: str, origin: str, part: str) -> Checkpoint | None:
        """What a note says, if the log of this name signed it."""
        try:
            said = parse(open_note(note, self._key_of(origin)))
        except Tampered:
            said = None
        if said is None or said.origin != origin:
            self._damages.add(LogFault.SIGNATURE_WRONG, part=part)
            return None
        return said

    def _cosigned(self, each: stored.Published, part: str) -> None:
        """The lines of witnesses, as far as their keys are known."""
        if bool(each.cosignatures) != (each.witnessed_at is not None):
            self._damages.add(LogFault.COSIGNATURE_WRONG, part=part)
        if not each.cosignatures:
            return
        note = each.note + each.cosignatures
        try:
            names = {line.name for line in parsed(note).signatures} - {each.note.partition("\n")[0]}
            for name in names & self._witnesses.keys():
                cosigned_at(note, self._witnesses[name])
        except Tampered:
            self._damages.add(LogFault.COSIGNATURE_WRONG, part=part)
        else:
            self.found.strangers |= names - self._witnesses.keys()

    def _outside(self, given: Sequence[Outside]) -> list[tuple[Mark, int, bool]]:
        """Checkpoints from outside by size, with their epochs, and whether they were kept apart.

        Those that the log did not sign prove nothing of it.
        """
        origins = {self._origin(epoch): epoch for epoch in range(1, self.found.epoch + 1)}
        marks = []
        for each in given:
            name = each.note.partition("\n")[0]
            said = self._opened(each.note, name, each.part)
            if said is None:
                continue
            self.found.outside.append((each.part, said.size))
            if name not in origins:  # of an epoch that the log does not know of any more
                self._damages.add(LogFault.ROLLBACK, self.found.size, part=each.part, proofs=self._both(each.note))
                continue
            marks.append((Mark(said.size, said.root, each.part, each.note), origins[name], each.apart))
        return sorted(marks, key=lambda mark: mark[0].size)

    def _compare(self, mark: Mark, epoch: int, apart: bool) -> None:
        """A checkpoint from outside. What an earlier epoch lost is explained as far as the event that ended it says."""
        for renewal in self._recount.renewals:
            if epoch <= _epoch(renewal.origin) and renewal.seq < mark.size <= renewal.size:
                told = f"as event {renewal.seq} says"
                self.found.lost.append(f"{mark.part}: of {mark.size} events {renewal.seq} were kept, {told}")
                return
        # Two histories were signed only if the log that is here is the one that its own checkpoint is over.
        proofs = self._both(mark.note) if self._signed_over else ()
        self._recount.outside(mark, proofs, apart=apart)

    def _both(self, note: str) -> tuple[str, ...]:
        return (note, self._ends.checkpoint) if self._ends.checkpoint else (note,)

    # --- what stands beside the events --------------------------------------------------------------------------------

    async def _details(self, sealed: Sequence[Seal]) -> None:
        """The sealed words that events of a stretch speak of, against the digests in their leaves."""
        if not sealed:
            return
        there = await stored.details(self._fetch, sorted({each.words[0] for each in sealed}))
        for seq, words, digest in sealed:
            self._spoken.add(words)
            part = " ".join(reversed(words))
            if words not in there:
                self._damages.add(LogFault.DETAIL_MISSING, seq, part=part)
            elif f"sha256:{hashlib.sha256(there[words]).hexdigest()}" != digest:
                self._damages.add(LogFault.DETAIL_WRONG, seq, part=part)

    def _epochs(self) -> None:
        """Whether the epoch began with an event that says which checkpoint of which epoch was lost.

        An epoch that was itself lost left no event. Of a log whose beginning was pruned the event may be gone.
        """
        told = [_epoch(renewal.origin) for renewal in self._recount.renewals]
        last = told[-1] if told else (self.found.epoch - 1 if self.found.pruned else 0)
        if told != sorted(set(told)) or last != self.found.epoch - 1:
            self._damages.add(LogFault.EPOCH_UNEXPLAINED, part=f"epoch {self.found.epoch}")


def _epoch(origin: str) -> int:
    """The epoch in the name of a log; 0 for what is none."""
    try:
        return epoch_of(origin)
    except Tampered:
        return 0
