"""What can be wrong with a log, in words that stay: codes for programs, sentences for people. Finds nothing itself."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

__all__ = ["MEANINGS", "Damage", "Damages", "LogFault"]

KEPT: Final = 1_000
"""Damages of one log that are named; the others are counted."""


class LogFault(StrEnum):
    """One kind of thing that is wrong; reports say it by this word."""

    EVENT_MISSING = "event_missing"
    EVENT_REPEATED = "event_repeated"
    EVENT_BEYOND = "event_beyond"
    EVENT_UNPRUNED = "event_unpruned"
    LEAF_MALFORMED = "leaf_malformed"
    ORG_WRONG = "org_wrong"
    WAY_WRONG = "way_wrong"
    STRANGERS_WAIT = "strangers_wait"
    HASH_WRONG = "hash_wrong"
    ID_WRONG = "id_wrong"
    ID_REPEATED = "id_repeated"
    INDEX_WRONG = "index_wrong"
    RUN_BROKEN = "run_broken"
    TILE_DIFFERS = "tile_differs"
    TILE_MISSING = "tile_missing"
    TILE_BEYOND = "tile_beyond"
    HEAD_MISSING = "head_missing"
    FRONTIER_WRONG = "frontier_wrong"
    CHECKPOINT_MISSING = "checkpoint_missing"
    CHECKPOINT_WRONG = "checkpoint_wrong"
    SIGNATURE_WRONG = "signature_wrong"
    COSIGNATURE_WRONG = "cosignature_wrong"
    PRUNE_UNEXPLAINED = "prune_unexplained"
    EPOCH_UNEXPLAINED = "epoch_unexplained"
    DETAIL_MISSING = "detail_missing"
    DETAIL_WRONG = "detail_wrong"
    DETAIL_BEYOND = "detail_beyond"
    GRANT_UNKNOWN = "grant_unknown"
    GRANT_WRONG = "grant_wrong"
    REVIEW_WRONG = "review_wrong"
    DERIVED_WRONG = "derived_wrong"
    ROLLBACK = "rollback"
    FORK = "fork"


MEANINGS: Final[Mapping[LogFault, str]] = {
    LogFault.EVENT_MISSING: "events are gone",
    LogFault.EVENT_REPEATED: "two events have the same number",
    LogFault.EVENT_BEYOND: "events stand behind the end of the log",
    LogFault.EVENT_UNPRUNED: "events stand where everything was pruned",
    LogFault.LEAF_MALFORMED: "the leaf is none that the log writes",
    LogFault.ORG_WRONG: "the event is one of another organisation",
    LogFault.WAY_WRONG: "the event was taken from the outbox, where events of its kind never wait",
    LogFault.STRANGERS_WAIT: "rows wait to be numbered that the service did not write; they never are",
    LogFault.HASH_WRONG: "the stored hash is not that of the leaf",
    LogFault.ID_WRONG: "the id is not that of the leaf",
    LogFault.ID_REPEATED: "two events have the same id",
    LogFault.INDEX_WRONG: "columns that are searched do not say what the leaf says",
    LogFault.RUN_BROKEN: "the count of the process that recorded it jumps: an event before it was removed or moved",
    LogFault.TILE_DIFFERS: "the event and the stored tile of the tree do not belong together",
    LogFault.TILE_MISSING: "a stored tile of the tree is gone",
    LogFault.TILE_BEYOND: "tiles that the tree does not have",
    LogFault.HEAD_MISSING: "the row that says where the log ends is gone",
    LogFault.FRONTIER_WRONG: "the growing edge of the tree is not that of its events",
    LogFault.CHECKPOINT_MISSING: "the end of the log is not signed; after a migration the first event signs it",
    LogFault.CHECKPOINT_WRONG: "a checkpoint of the database does not fit the events",
    LogFault.SIGNATURE_WRONG: "a checkpoint of the database is not signed by this log",
    LogFault.COSIGNATURE_WRONG: "a witness's line under a checkpoint is not that witness's",
    LogFault.PRUNE_UNEXPLAINED: "the log says that its beginning was pruned, and no prune event says the same",
    LogFault.EPOCH_UNEXPLAINED: "the log says that it began anew, and its boot events do not say the same",
    LogFault.DETAIL_MISSING: "the sealed words that the event speaks of are gone",
    LogFault.DETAIL_WRONG: "the sealed words are not those that the event speaks of",
    LogFault.DETAIL_BEYOND: "sealed words that no event speaks of",
    LogFault.GRANT_UNKNOWN: "a look under a break-glass grant that was not given to this person for this patient then",
    LogFault.GRANT_WRONG: "a stored break-glass grant is not as the event says by which it was given",
    LogFault.REVIEW_WRONG: "a stored review of a break-glass grant is not as its event says",
    LogFault.DERIVED_WRONG: "the sums of a person's day are not those of the events; `audit recount` counts them anew",
    LogFault.ROLLBACK: "ROLLBACK: the log is smaller than it was when it signed a checkpoint",
    LogFault.FORK: "FORK: the log signed a checkpoint over other events than these",
}


@dataclass(frozen=True, slots=True)
class Damage:
    """One thing that is wrong.

    `seq` is the first number it concerns, None where no event is concerned. With `until` it is known only that the
    first number lies from `seq` to before `until`; without, it is `seq` itself. `part` names columns, a tile, a
    checkpoint or a detail. `proofs` are signed notes that contradict the log.
    """

    fault: LogFault
    seq: int | None = None
    until: int | None = None
    part: str = ""
    proofs: tuple[str, ...] = ()


@dataclass(slots=True)
class Damages:
    """All that is wrong with one log: the first `KEPT` by name, and everything counted."""

    named: list[Damage] = field(default_factory=list)
    counts: Counter[LogFault] = field(default_factory=Counter)
    _exact: int | None = None
    _range: tuple[int, int] | None = None

    def add(
        self,
        fault: LogFault,
        seq: int | None = None,
        *,
        until: int | None = None,
        part: str = "",
        proofs: tuple[str, ...] = (),
    ) -> None:
        """One more."""
        self.counts[fault] += 1
        if len(self.named) < KEPT:
            self.named.append(Damage(fault, seq, until, part, proofs))
        if seq is None:
            return
        if until is None:
            self._exact = seq if self._exact is None else min(self._exact, seq)
        else:
            self._range = min(self._range or (seq, until), (seq, until), key=lambda each: (each[1], -each[0]))

    @property
    def first(self) -> tuple[int, int] | None:
        """Where the first bad number lies: from one, inclusive, to another, exclusive. None if no event is bad."""
        if self._exact is not None and (self._range is None or self._exact < self._range[1]):
            return self._exact, self._exact + 1
        return self._range
