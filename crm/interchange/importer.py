"""Owns an import run: files in, chunks to the import service, refused records to their file, a summary at the end.

It is the only place that sees both the file and the store. It logs nothing and prints nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from crm.errors import Invalid, Unsafe, VersionConflict
from crm.interchange.fhir_in import draft_of
from crm.interchange.identity import incoming_of
from crm.interchange.reader import Record, read
from crm.interchange.rejects import Reason, Reject
from crm.interchange.rejects_file import RejectsFile
from crm.services.imports import Draft, Incoming, Known, Outcome

__all__ = ["CHUNK", "OnReject", "Progress", "Summary", "Target", "run"]

CHUNK = 100
"""Records in one transaction: enough to spread the price of a commit, few enough that a lost one costs little."""

_ATTEMPTS = 3

Progress = Callable[[int, int], None]
"""Called after every chunk with the number of records done, and of all records."""

OnReject = Callable[[Path, int, Reject], None]
"""Called for every reject with its file and line."""


class Target(Protocol):
    """What an import needs of the store: `crm.services.imports.Imports`, or a fake of it."""

    def digest(self, material: bytes) -> bytes: ...

    async def known(self, incoming: Sequence[Incoming]) -> list[Known | None]: ...

    async def apply(self, drafts: Sequence[tuple[Draft, Known | None]]) -> list[Outcome]: ...


@dataclass(slots=True)
class Summary:
    """What became of every record: each is in exactly one of the first four numbers.

    `by_reason` counts the rejects by reason, `not_taken` the records that had an element we do not keep, by its path;
    `seconds` is the time of the whole run.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    not_taken: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    @property
    def records(self) -> int:
        """How many records were read."""
        return sum(self.counts().values())

    def counts(self) -> dict[str, int]:
        """The four numbers by name."""
        return {name: getattr(self, name) for name in ("created", "updated", "unchanged", "rejected")}

    def as_json(self) -> dict[str, Any]:
        """The summary for machines; it holds no value of any record."""
        reasons = dict(sorted(self.by_reason.items()))
        left = dict(sorted(self.not_taken.items(), key=lambda entry: (-entry[1], entry[0])))
        return {**self.counts(), "by_reason": reasons, "not_taken": left, "seconds": round(self.seconds, 3)}


async def run(
    files: Sequence[Path],
    target: Target,
    *,
    org: str,
    source: str,
    region: str | None = None,
    rejects: Path | None = None,
    progress: Progress | None = None,
    on_reject: OnReject | None = None,
) -> Summary:
    """Imports every record of `files` in order. A run that was killed may simply be run again.

    `source` names the sending system in whose name records are known again; `region` is the ISO 3166 region of phone
    numbers without `+`; `rejects` is the file for refused records. Raises `OSError` where a file cannot be read,
    `Unsafe` where `rejects` is one of the files, and whatever `target` raises when the store fails; what was applied
    stays.
    """
    started = time.monotonic()
    _stand_apart(files, rejects)
    with RejectsFile(rejects) as refused:
        work = _Run(target, _Meaning(org, source, region), refused, on_reject)
        total = work.survey(files)
        for file in files:
            for record in read(file):
                if await work.take(file, record) and progress is not None:
                    progress(work.summary.records, total)
        await work.flush()
    if progress is not None:
        progress(work.summary.records, total)
    work.summary.seconds = time.monotonic() - started
    return work.summary


def _stand_apart(files: Sequence[Path], rejects: Path | None) -> None:
    if rejects is not None and rejects.resolve() in {file.resolve() for file in files}:
        raise Unsafe(f"{rejects} is itself imported: name another file for the rejects")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """How the records of this run are to be understood."""

    org: str
    source: str
    region: str | None

    def draft(self, record: Record) -> Draft | Reject:
        if isinstance(record.content, Reject):
            return record.content
        return draft_of(record.content, org=self.org, source=self.source, region=self.region)

    def incoming(self, record: Record) -> Incoming | None:
        """The keys of a record that may be a Patient, without looking whether it is a valid one."""
        if isinstance(record.content, Reject) or record.content.get("resourceType") != "Patient":
            return None
        try:
            return incoming_of(record.content, org=self.org, source=self.source)
        except RecursionError:  # nested so deeply that it will be refused
            return None


@dataclass(frozen=True, slots=True)
class _Waiting:
    file: Path
    record: Record
    draft: Draft


class _Run:
    """The state of one run."""

    def __init__(self, target: Target, meaning: _Meaning, refused: RejectsFile, on_reject: OnReject | None) -> None:
        self.summary = Summary()
        self._target = target
        self._meaning = meaning
        self._refused = refused
        self._on_reject = on_reject
        self._last: dict[int, bytes] = {}
        self._chunk: list[_Waiting] = []
        self._marks: set[str] = set()

    def survey(self, files: Sequence[Path]) -> int:
        """The number of all records, and for `take` what each slot says at its last acceptable occurrence.

        A slot that occurs once is not worth the work of checking it twice, so only a repeated one is looked at closely.
        """
        total = 0
        for record in (record for file in files for record in read(file)):
            total += 1
            incoming = self._meaning.incoming(record)
            if incoming is None:
                continue
            slot, material = hash(incoming.slot), incoming.digest_material
            before = self._last.setdefault(slot, material)
            if before != material and isinstance(self._meaning.draft(record), Draft):
                self._last[slot] = material
        return total

    async def take(self, file: Path, record: Record) -> bool:
        """Puts one record into the chunk, or among the rejects; True when a chunk was applied."""
        draft = self._meaning.draft(record)
        if isinstance(draft, Reject):
            self._reject(file, record, draft)
            return False
        self.summary.not_taken.update(draft.not_taken)
        marks = draft.incoming.marks
        # Two records that may be one patient never meet in a transaction: the second has to find the first.
        full = len(self._chunk) >= CHUNK or not self._marks.isdisjoint(marks)
        if full:
            await self.flush()
        self._chunk.append(_Waiting(file, record, draft))
        self._marks |= marks
        return full

    async def flush(self) -> None:
        """Applies the chunk."""
        chunk, self._chunk, self._marks = self._chunk, [], set()
        if not chunk:
            return
        known = await self._target.known([waiting.draft.incoming for waiting in chunk])
        pairs = list(zip(chunk, known, strict=True))
        news = [pair for pair in pairs if not self._said_already(*pair)]
        self.summary.unchanged += len(pairs) - len(news)
        for batch in _apart(news):
            await self._apply(batch)

    def _said_already(self, waiting: _Waiting, known: Known | None) -> bool:
        """Whether the store holds what this record's slot says at the end of this run."""
        if known is None:
            return False
        incoming = waiting.draft.incoming
        last = self._last.get(hash(incoming.slot), incoming.digest_material)
        return known.digest == self._target.digest(last)

    async def _apply(self, batch: list[tuple[_Waiting, Known | None]]) -> None:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                outcomes = await self._target.apply([(waiting.draft, known) for waiting, known in batch])
            except VersionConflict:
                # Somebody changed one of the patients since `known`: look again.
                if attempt == _ATTEMPTS:
                    raise
                again = await self._target.known([waiting.draft.incoming for waiting, _ in batch])
                batch = [(waiting, known) for (waiting, _), known in zip(batch, again, strict=True)]
            except Invalid as fault:
                if len(batch) > 1:
                    for pair in batch:
                        await self._apply([pair])
                else:
                    waiting = batch[0][0]
                    self._reject(waiting.file, waiting.record, Reject(Reason.NOT_STORABLE, fault.field))
                return
            else:
                for outcome in outcomes:
                    setattr(self.summary, outcome.value, getattr(self.summary, outcome.value) + 1)
                return

    def _reject(self, file: Path, record: Record, reject: Reject) -> None:
        self.summary.rejected += 1
        self.summary.by_reason[reject.reason.value] += 1
        self._refused.add(file, record, reject)
        if self._on_reject is not None:
            self._on_reject(file, record.line, reject)


def _apart(pairs: list[tuple[_Waiting, Known | None]]) -> Iterator[list[tuple[_Waiting, Known | None]]]:
    """`pairs` in batches of which none holds one stored patient twice."""
    batch: list[tuple[_Waiting, Known | None]] = []
    seen: set[str] = set()
    for waiting, known in pairs:
        if known is not None and known.patient_id in seen:
            yield batch
            batch, seen = [], set()
        if known is not None:
            seen.add(known.patient_id)
        batch.append((waiting, known))
    if batch:
        yield batch
