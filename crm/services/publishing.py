"""Publishing the checkpoints of all logs: into their table, into the journal outside, and to the witnesses.

Several processes may do this over one database: whoever comes second finds it done. A checkpoint that waits too long
for a first witness closes its log, so that what nobody outside can vouch for does not grow without end.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from crm.audit.checkpoint import Checkpoint, parse
from crm.crypto.cosignature import COSIGNATURE
from crm.crypto.note import open_note, verifier_key
from crm.errors import CrmError, Tampered
from crm.services.witnesses import Conflict, Refused, Witness
from crm.store import checkpoints, organisations, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.checkpoints import Published
from crm.store.database import Database

__all__ = ["LogState", "Publisher"]

KeyOf = Callable[[str], str]
"""The verifier key of the log of a name. Raises KeyUnavailable."""

_TRIES = 3
_SECOND = 1_000_000
_log = logging.getLogger("heed.checkpoints")


@dataclass(slots=True)
class LogState:
    """What is known of one log outside; times are microseconds since 1970, 0 for never.

    `waiting_since` is when the oldest checkpoint was published that no witness has cosigned, None where there is none.
    `seen` has for each witness, by name, the size and time of what it cosigned last.
    """

    origin: str
    size: int = 0
    published_at: int = 0
    waiting_since: int | None = None
    seen: dict[str, tuple[int, int]] = field(default_factory=dict)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    put_back: bool = False


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
        self.logs: dict[str, LogState] = {}
        """By organisation; for whoever counts and warns."""

    def overdue(self, org: str) -> bool:
        """Whether the log of `org` may take no events: no witness for too long, or a proof that it was put back."""
        state = self.logs.get(org)
        if state is None:
            return False
        waiting = self._witnesses and state.waiting_since is not None
        return state.put_back or bool(waiting and self._clock() - (state.waiting_since or 0) > self._max_age)

    async def publish(self) -> None:
        """Publishes every log that grew. Raises StoreUnavailable, Unsafe for a journal of others, and OSError."""
        notes = {}
        for org in await organisations.every(self._database):
            head = await proofs.head(self._database, org)
            if head is None or head.note is None or head.checkpoint is None:
                continue
            notes[org] = head.note
            now = self._clock()
            last = next(iter(await checkpoints.newest(self._database, org)), None)
            state = self._state(org, head.checkpoint)
            # Another process may have just done it; the next round brings what is left.
            fresh = last is not None and last.epoch == head.epoch and _just(now - last.published_at, self._every)
            if last is None or ((last.epoch, last.size) < (head.epoch, head.size) and not fresh):
                await checkpoints.publish(self._database, org, head.epoch, head.size, head.note, now)
                last = Published(head.epoch, head.size, head.note, now, "", None)
            state.published_at = last.published_at
        await asyncio.to_thread(self._journal.follow, notes)

    async def visit(self) -> None:
        """Brings the newest published checkpoint of every log to every witness. Raises StoreUnavailable."""
        for org in await organisations.every(self._database):
            published = await checkpoints.newest(self._database, org)
            if not published:
                continue
            newest = published[0]
            state = self._state(org, newest.checkpoint)
            known = await checkpoints.newest(self._database, org, witnessed=True)
            await asyncio.gather(
                *(
                    self._bring(org, state, each, newest, _last_of(known, each, newest.epoch))
                    for each in self._witnesses
                )
            )
            covered = next(iter(await checkpoints.newest(self._database, org, witnessed=True)), None)
            state.waiting_since = await checkpoints.waiting_since(self._database, org, covered)

    async def _bring(
        self, org: str, state: LogState, witness: Witness, newest: Published, last: Published | None
    ) -> None:
        """Asks one witness to cosign; what it or its absence does wrong is said and counted, and stops nobody else."""
        now = self._clock()
        if last is not None and last.witnessed_at is not None:
            state.seen[witness.name] = (last.size, last.witnessed_at)
            if last.size == newest.size or _just(now - last.witnessed_at, self._witness_every):
                return
        try:
            lines = await self._cosigned(org, witness, newest, last.size if last else 0)
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

    def _state(self, org: str, checkpoint: Checkpoint) -> LogState:
        state = self.logs.get(org)
        if state is None or state.origin != checkpoint.origin:
            state = self.logs[org] = LogState(checkpoint.origin)
        state.size = checkpoint.size
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


def _last_of(known: Sequence[Published], witness: Witness, epoch: int) -> Published | None:
    """The newest of these checkpoints that the witness cosigned, in the epoch."""
    key = verifier_key(witness.key, COSIGNATURE)
    mark = f"\u2014 {key.name} "
    for each in known:
        if each.epoch == epoch and any(line.startswith(mark) for line in each.cosignatures.splitlines()):
            return each
    return None
