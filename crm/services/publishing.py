"""Publishing the checkpoints of all logs: into their table, into the journal outside, and to the witnesses.

Several processes may do this over one database: whoever comes second finds it done. A checkpoint that waits too long
for a first witness closes its log, so that what nobody outside can vouch for does not grow without end. So does a log
that is not what the journal remembers of it, and the journal then stays as it is.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from crm.audit.checkpoint import Checkpoint, epoch_of, parse
from crm.audit.tree import EMPTY
from crm.crypto.note import open_note
from crm.errors import CrmError, Tampered, Unsafe
from crm.services.believing import Believing, believing
from crm.services.witnesses import Conflict, Refused, Witness
from crm.store import checkpoints, organisations, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.checkpoints import Published
from crm.store.database import Database
from crm.store.proofs import LogHead

__all__ = ["LogState", "Publisher"]

KeyOf = Callable[[str], str]
"""The verifier key of the log of a name. Raises KeyUnavailable."""

_TRIES = 3
_MOST_FORGED = 1_000
_RECENT = 16
"""Rows among which a witness's newest cosignature is looked for: after so many without one it is asked anew."""

_SECOND = 1_000_000
_log = logging.getLogger("heed.checkpoints")


@dataclass(slots=True)
class LogState:
    """What is known of one log outside; times are microseconds since 1970, 0 for never.

    `waiting_since` is when the oldest checkpoint was published that no witness has cosigned, None where there is none.
    `seen` has for each witness, by name, the size and time of what it cosigned last. `published` and `covered` are the
    sizes of the newest published checkpoint and of the newest that a witness cosigned. `forged` has epoch and size of
    rows that are not believed. `put_back` is whether the log was found to contradict what is known outside.
    """

    origin: str
    size: int = 0
    published_at: int = 0
    waiting_since: int | None = None
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    put_back: bool = False
    published: int = 0
    covered: int = 0
    forged: set[tuple[int, int]] = field(default_factory=set)


class Publisher:
    """Publishes the logs in `database`.

    every, witness_every    seconds between two publications, and between two visits to the witnesses
    max_age                 seconds that a checkpoint may wait for a witness before its log takes no more events
    clock                   microseconds since 1970, UTC
    """

    def __init__(
        self,
        database: Database,
        journal: CheckpointJournal,
        witnesses: Sequence[Witness],
        key_of: KeyOf,
        *,
        clock: Callable[[], int],
        every: float = 10.0,
        witness_every: float = 30.0,
        max_age: float = 86_400.0,
    ) -> None:
        self._database = database
        self._journal = journal
        self._witnesses = tuple(witnesses)
        self._key_of = key_of
        self._clock = clock
        self._every = int(every * _SECOND)
        self._witness_every = int(witness_every * _SECOND)
        self._max_age = int(max_age * _SECOND)
        self._unsigned: dict[str, str] = {}
        self.logs: dict[str, LogState] = {}
        """By organisation; for whoever counts and warns."""

    def overdue(self, org: str) -> bool:
        """Whether the log of `org` may take no events: no witness for too long, or proved to be put back."""
        state = self.logs.get(org)
        if state is None:
            return False
        waiting = self._witnesses and state.waiting_since is not None
        return state.put_back or bool(waiting and self._clock() - (state.waiting_since or 0) > self._max_age)

    async def publish(self) -> None:
        """Publishes every log that grew. Raises StoreUnavailable, Unsafe for a journal of others, and OSError."""
        held, unread = {}, None
        try:
            # Before the heads are read: what another process publishes meanwhile is no rollback.
            held = await self._remembered()
        except (Unsafe, OSError) as failure:
            unread = failure
        notes = {}
        for org in sorted({*await organisations.every(self._database), *held}):
            head = await proofs.head(self._database, org)
            if org in held and not await self._continues(org, held[org], head):
                continue
            known = self._believing(org, head)
            if head is None or head.note is None or known is None or self.logs[org].put_back:
                continue
            notes[org] = head.note
            await self._publish(org, head.note, known)
        if unread is not None:
            raise unread
        await asyncio.to_thread(self._journal.follow, notes)

    async def _publish(self, org: str, note: str, known: Believing) -> None:
        state, now = self.logs[org], self._clock()
        await self._look_beyond(org, known)
        last = await _first(known.newest())
        # Another process may have just done it; the next round brings what is left. A time that anybody may have
        # written keeps us from it once for each size.
        fresh = last is not None and last.size > state.published and _just(now - last.published_at, self._every)
        if last is None or (last.size < known.size and not fresh):
            await checkpoints.publish(self._database, org, known.epoch, known.size, note, now)
            last = Published(known.epoch, known.size, note, now, "", None)
        state.published, state.published_at = last.size, min(last.published_at, now)

    async def _remembered(self) -> dict[str, Checkpoint]:
        """What the journal has. Raises Unsafe where it has what our keys did not sign, and OSError."""
        found = {}
        for org, note in (await asyncio.to_thread(self._journal.notes)).items():
            try:
                found[org] = parse(open_note(note, self._key_of(note.partition("\n")[0])))
            except (Tampered, RuntimeError):
                raise Unsafe(f"{self._journal} holds a checkpoint of {org} that no key of ours has signed") from None
        return found

    async def _continues(self, org: str, was: Checkpoint, head: LogHead | None) -> bool:
        """Whether the log grew out of what the journal remembers. Where it did not, it is said, and the log closes."""
        then, (epoch, size) = epoch_of(was.origin), (head.epoch, head.size) if head else (0, 0)
        if then < epoch:
            return True
        signed = head.note.partition("\n")[0] if head and head.note else was.origin
        state = self._state(org, was.origin if then == epoch else signed, size)
        if then > epoch or was.size > size:
            found = f"ROLLBACK DETECTED: {was.origin} has {size} events, {self._journal} knows {was.size}"
        elif was.root != await self._root(org, was.size):
            found = f"FORK DETECTED: the first {was.size} events of {was.origin} are not those {self._journal} knows"
        else:
            return True
        if not state.put_back:
            _log.error("%s", found)
        state.put_back = True
        return False

    async def _root(self, org: str, size: int) -> bytes | None:
        try:
            return await proofs.root_at(self._database, org, size) if size else EMPTY
        except Tampered:
            return None

    def _believing(self, org: str, head: LogHead | None) -> Believing | None:
        """What to believe of a log, which is in `logs` then; what is not signed by our key is said once."""
        known = believing(self._database, org, head, self._key_of, lambda row: self._pass(org, row))
        if known is not None:
            self._state(org, known.origin, known.size)
        elif head is not None and head.note is not None and self._unsigned.get(org) != head.note:
            self._unsigned[org] = head.note
            _log.error("FORGED: the end of the log of %s is not one that its key signed under its name", org)
            if org in self.logs:
                self.logs[org].forged.add((head.epoch, head.size))
        return known

    def _pass(self, org: str, row: Published) -> None:
        """Counts a row that is not believed; the first of a log is said."""
        state = self.logs[org]
        if not state.forged:
            told = "FORGED: audit_checkpoint holds a row of %s over %d events that the log's key did not sign"
            _log.error(told, state.origin, row.size)
        if len(state.forged) < _MOST_FORGED:
            state.forged.add((row.epoch, row.size))

    async def _look_beyond(self, org: str, known: Believing) -> None:
        """Finds rows over more events than there are: such as would be the newest for ever."""

        def beyond(rows: Sequence[Published], epoch: int, size: int) -> list[Published]:
            return [each for each in rows if (each.epoch, each.size) > (epoch, size)]

        found = beyond(await checkpoints.newest(self._database, org), known.epoch, known.size)
        if found and (head := await proofs.head(self._database, org)):  # which may have grown, and been published
            for row in beyond(found, head.epoch, head.size):
                self._pass(org, row)

    async def visit(self) -> None:
        """Brings the newest published checkpoint of every log to every witness. Raises StoreUnavailable."""
        for org in await organisations.every(self._database):
            known = self._believing(org, await proofs.head(self._database, org))
            newest = None if known is None else await _first(known.newest())
            if known is None or newest is None or self.logs[org].put_back:
                continue
            state = self.logs[org]
            seen = await _seen(known, self._witnesses)
            await asyncio.gather(
                *(self._bring(org, state, each, newest, seen.get(each.key)) for each in self._witnesses)
            )
            await self._wait(known, state)

    async def _wait(self, known: Believing, state: LogState) -> None:
        """Finds since when a checkpoint waits. What was found before is not forgotten while no witness came further."""
        covered = max((size for size, _ in (await _seen(known, self._witnesses)).values()), default=0)
        first = await known.first_after(covered)
        since = None if first is None else min(first.published_at, self._clock())
        if since is not None and state.waiting_since is not None and state.covered == covered:
            since = min(since, state.waiting_since)
        state.waiting_since, state.covered = since, covered

    async def _bring(
        self, org: str, state: LogState, witness: Witness, newest: Published, last: tuple[int, int] | None
    ) -> None:
        """Asks one witness to cosign; what it or its absence does wrong is said and counted, and stops nobody else."""
        now = self._clock()
        if last is not None:
            state.seen[witness.name] = last
            if last[0] == newest.size or _just(now - last[1], self._witness_every):
                return
        try:
            lines = await self._cosigned(org, witness, newest, last[0] if last else 0)
            await checkpoints.cosign(self._database, org, newest.epoch, newest.size, lines, self._clock())
            state.seen[witness.name] = (newest.size, self._clock())
        except Conflict as conflict:
            head = await proofs.head(self._database, org)
            if newest.size < conflict.size <= (head.size if head else 0):
                return  # another process was there with a later one
            self._fault(state, witness, "fork" if conflict.size == newest.size else "larger")
            state.put_back = state.put_back or await self._proves(witness, state.origin, newest, org)
        except Refused as refusal:
            if refusal.status == 422:
                state.put_back = state.put_back or await self._proves(witness, state.origin, newest, org)
            self._fault(
                state, witness, {422: "inconsistent", 404: "unknown", 403: "unsigned"}.get(refusal.status, "no")
            )
        except (Tampered, OSError):
            self._fault(state, witness, "away")

    async def _cosigned(self, org: str, witness: Witness, newest: Published, old: int) -> str:
        """The witness's lines, once it is told what it had seen before. Raises what `Witness.cosigned` raises."""
        for _ in range(_TRIES):
            try:
                proof = await proofs.consistency(self._database, org, old, newest.size)
                return await witness.cosigned(old, proof, newest.note)
            except Conflict as conflict:
                if conflict.size == old or conflict.size > newest.size:
                    raise
                old = conflict.size
        raise Refused(409)

    async def _proves(self, witness: Witness, origin: str, newest: Published, org: str) -> bool:
        """Whether the witness can show a checkpoint that our own key signed, and that this log has not grown out of."""
        try:
            note = await witness.latest(origin)
            if note is None:
                return False
            seen = parse(open_note(note, self._key_of(origin)))
            head = await proofs.head(self._database, org)
            if seen.origin != origin or head is None or head.epoch != newest.epoch:
                return False
            if seen.size > head.size:
                _log.error("ROLLBACK DETECTED: %s has %d events, %s saw %d", origin, head.size, witness.name, seen.size)
                return True
            if seen.root != await proofs.root_at(self._database, org, seen.size):
                _log.error("FORK DETECTED: %s saw another tree of %d events of %s", witness.name, seen.size, origin)
                return True
        except (CrmError, OSError):
            pass
        return False

    def _fault(self, state: LogState, witness: Witness, reason: str) -> None:
        state.failures[witness.name, reason] += 1
        loud = logging.WARNING if reason in {"away", "no"} else logging.ERROR
        _log.log(loud, "witness %s did not cosign %s: %s", witness.name, state.origin, _REASONS[reason])

    def _state(self, org: str, origin: str, size: int) -> LogState:
        state = self.logs.get(org)
        if state is None or state.origin != origin:
            state = self.logs[org] = LogState(origin)
        state.size = size
        return state


_REASONS = {
    "fork": "it saw another tree of the same size",
    "larger": "it saw a larger tree than we have",
    "inconsistent": "it holds that what it saw is not the beginning of what we have",
    "unknown": "it does not know this log: start it with --log and the key that `audit checkpoint` prints",
    "unsigned": "it knows this log under another key",
    "away": "it is away, or what answers is not the witness",
    "no": "it refused",
}


def _just(ago: int, every: int) -> bool:
    """Whether another process did it just now; one whose clock is ahead of ours does not keep us from it."""
    return 0 <= ago < every // 2


async def _first(rows: AsyncIterator[Published]) -> Published | None:
    async for row in rows:
        return row
    return None


async def _seen(known: Believing, witnesses: Sequence[Witness]) -> dict[str, tuple[int, int]]:
    """Size and time, in microseconds, of what each witness cosigned last, by its key; the time is the one it signed."""
    found: dict[str, tuple[int, int]] = {}
    looked = 0
    async for row in known.newest(witnessed=True):
        for witness in witnesses:
            if witness.key not in found and (lines := known.cosigned(row, witness.key)):
                found[witness.key] = (row.size, max(lines.values()) * _SECOND)
        looked += 1
        if len(found) == len(witnesses) or looked == _RECENT:
            break
    return found
