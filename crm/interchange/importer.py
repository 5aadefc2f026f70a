"""Owns an import run: files in, chunks to the import service, refused records to their file, a summary at the end.

It is the only place that sees both the file and the store. It logs nothing and prints nothing.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from crm.errors import Erased, Invalid, Tampered, Unsafe, VersionConflict
from crm.interchange.consent_in import statement_of
from crm.interchange.fhir_in import draft_of
from crm.interchange.histories import Histories
from crm.interchange.identity import incoming_of
from crm.interchange.reader import Record, read
from crm.interchange.rejects import Reason, Reject
from crm.interchange.rejects_file import RejectsFile
from crm.services.consent_imports import Said, Statement
from crm.services.imports import Applied, Draft, Incoming, Known
from crm.services.recognition import Obstacle

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

    async def said(self, incoming: Sequence[Incoming]) -> list[bytes]: ...

    async def known(self, incoming: Sequence[Incoming]) -> list[Known | None]: ...

    async def apply(self, drafts: Sequence[tuple[Draft, Known | None]]) -> list[Applied]: ...

    async def append(self, statements: Sequence[Statement]) -> list[Said]: ...


@dataclass(slots=True)
class Summary:
    """What became of every record: each is in exactly one of the first four numbers.

    `by_reason` counts the rejects by reason, `not_taken` the records that had an element we do not keep, by its path;
    `kept` the records of which the word of a higher source was kept instead, by field group; `seconds` is the time of
    the whole run.
    """

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: int = 0
    by_reason: Counter[str] = field(default_factory=Counter)
    not_taken: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
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
        kept, seconds = dict(sorted(self.kept.items())), round(self.seconds, 3)
        return {**self.counts(), "by_reason": reasons, "not_taken": left, "kept": kept, "seconds": seconds}


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
        for file, record in work.of_kind(files, consents=False):
            if await work.take(file, record) and progress is not None:
                progress(work.summary.records, total)
        await work.flush()
        for file, record in work.of_kind(files, consents=True):  # now that whom they are about is stored
            if await work.hear(file, record) and progress is not None:
                progress(work.summary.records, total)
        await work.append()
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

    def statement(self, record: Record) -> Statement | Reject:
        if isinstance(record.content, Reject):
            return record.content
        return statement_of(record.content, org=self.org, source=self.source)

    def accepts(self, record: Record) -> bool:
        return isinstance(self.draft(record), Draft)

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
    """A record to apply. `content` is the digest of it alone; its draft's covers what the run said before, too."""

    file: Path
    record: Record
    draft: Draft
    content: bytes = field(repr=False)


_Pair = tuple[_Waiting, Known | None]
_Heard = tuple[Path, Record, Statement]


class _Run:
    """The state of one run."""

    def __init__(self, target: Target, meaning: _Meaning, refused: RejectsFile, on_reject: OnReject | None) -> None:
        self.summary = Summary()
        self._target = target
        self._meaning = meaning
        self._refused = refused
        self._on_reject = on_reject
        self._histories = Histories()
        self._chunk: list[_Waiting] = []
        self._keys: set[str] = set()
        self._heard: list[_Heard] = []
        self._consents = False

    def survey(self, files: Sequence[Path]) -> int:
        """The number of all records; notes for `take` what each key will have said at the end."""
        total = 0
        for record in (record for file in files for record in read(file)):
            total += 1
            self._consents = self._consents or _is_consent(record)
            incoming = self._meaning.incoming(record)
            if incoming is not None:
                acceptable = partial(self._meaning.accepts, record)
                self._histories.survey(incoming.key, incoming.digest_material, acceptable)
        return total

    def of_kind(self, files: Sequence[Path], *, consents: bool) -> Iterator[tuple[Path, Record]]:
        """The records that are consents, or all others; files without consents are not read again for them."""
        for file in files if self._consents or not consents else ():
            for record in read(file):
                if _is_consent(record) == consents:
                    yield file, record

    async def hear(self, file: Path, record: Record) -> bool:
        """Puts one consent into the chunk, or among the rejects; True when a chunk was appended."""
        statement = self._meaning.statement(record)
        if isinstance(statement, Reject):
            self._reject(file, record, statement)
            return False
        self.summary.not_taken.update(statement.not_taken)
        self._heard.append((file, record, statement))
        if len(self._heard) < CHUNK:
            return False
        await self.append()
        return True

    async def append(self) -> None:
        """Appends the chunk of consents; where one patient stands in the way of that, each consent by itself."""
        chunk, self._heard = self._heard, []
        if chunk:
            await self._append(chunk)

    async def _append(self, chunk: list[_Heard]) -> None:
        try:
            outcomes = await self._target.append([statement for _, _, statement in chunk])
        except (Erased, Tampered) as fault:
            if len(chunk) == 1:
                self._reject(*chunk[0][:2], _refusal(fault))
                return
            for one in chunk:
                await self._append([one])
            return
        for (file, record, _), outcome in zip(chunk, outcomes, strict=True):
            match outcome:
                case bool():
                    self.summary.updated += outcome
                    self.summary.unchanged += not outcome
                case Obstacle():
                    self._reject(file, record, Reject(Reason(outcome.value)))
                case Invalid():
                    self._reject(file, record, _refusal(outcome))
                case None:
                    self._reject(file, record, Reject(Reason.UNKNOWN_PATIENT, "patient"))

    async def take(self, file: Path, record: Record) -> bool:
        """Puts one record into the chunk, or among the rejects; True when a chunk was applied."""
        draft = self._meaning.draft(record)
        if isinstance(draft, Reject):
            refused = self._meaning.incoming(record)
            if refused is not None:
                self._histories.take(refused.key, refused.digest_material, acceptable=False)
            self._reject(file, record, draft)
            return False
        self.summary.not_taken.update(draft.not_taken)
        key, content = draft.incoming.key, draft.incoming.digest_material
        # Two records that may be one patient never meet in a transaction: the second has to find the first.
        full = len(self._chunk) >= CHUNK or key in self._keys
        if full:
            await self.flush()
        said = self._histories.take(key, content, acceptable=True)
        draft = replace(draft, incoming=replace(draft.incoming, digest_material=said)) if said != content else draft
        self._chunk.append(_Waiting(file, record, draft, content))
        self._keys.add(key)
        return full

    async def flush(self) -> None:
        """Applies the chunk, without what the store already holds."""
        chunk, self._chunk, self._keys = self._chunk, [], set()
        if not chunk:
            return
        said = await self._target.said([waiting.draft.incoming for waiting in chunk])
        # What the whole run says was said before; only a restriction may be missing since then.
        news = [one for one, last in zip(chunk, said, strict=True) if one.draft.restricted or not self._says(one, last)]
        known = await self._target.known([waiting.draft.incoming for waiting in news]) if news else []
        pairs = [
            (waiting, found)
            for waiting, found in zip(news, known, strict=True)
            if not (found and found.restricted and self._says(waiting, found.digest))
        ]
        self.summary.unchanged += len(chunk) - len(pairs)
        for batch in _apart(pairs):
            await self._apply(batch)

    def _says(self, waiting: _Waiting, said: bytes) -> bool:
        """Whether `said` is what this record's key says at the end of this run."""
        return said == self._target.digest(self._histories.whole(waiting.draft.incoming.key, waiting.content))

    async def _apply(self, batch: list[_Pair]) -> None:
        """Stores a batch in one transaction; where one record stands in the way of that, each in one of its own."""
        reject = Reject(Reason.PATIENT_BUSY)
        for _ in range(_ATTEMPTS):
            batch = self._without_obstacles(batch)
            if not batch:
                return
            try:
                applied = await self._target.apply([(waiting.draft, known) for waiting, known in batch])
            except VersionConflict:
                # Somebody changed one of the patients since `known`: look again.
                waiting = [one for one, _ in batch]
                batch = list(
                    zip(waiting, await self._target.known([one.draft.incoming for one in waiting]), strict=True)
                )
            except (Invalid, Erased, Tampered) as fault:
                reject = _refusal(fault)
                break
            else:
                for one in applied:
                    name = one.outcome.value
                    setattr(self.summary, name, getattr(self.summary, name) + 1)
                    self.summary.kept.update(group.value for group in one.kept)
                return
        if len(batch) == 1:
            self._reject(batch[0][0].file, batch[0][0].record, reject)
            return
        for pair in batch:
            await self._apply([pair])

    def _without_obstacles(self, batch: list[_Pair]) -> list[_Pair]:
        free = []
        for waiting, known in batch:
            if known is not None and known.obstacle is not None:
                self._reject(waiting.file, waiting.record, Reject(Reason(known.obstacle.value)))
            else:
                free.append((waiting, known))
        return free

    def _reject(self, file: Path, record: Record, reject: Reject) -> None:
        self.summary.rejected += 1
        self.summary.by_reason[reject.reason.value] += 1
        self._refused.add(file, record, reject)
        if self._on_reject is not None:
            self._on_reject(file, record.line, reject)


def _is_consent(record: Record) -> bool:
    return not isinstance(record.content, Reject) and record.content.get("resourceType") == "Consent"


def _refusal(fault: Invalid | Erased | Tampered) -> Reject:
    match fault:
        case Invalid():
            return Reject(Reason.NOT_STORABLE, fault.field)
        case Erased():
            return Reject(Reason.PATIENT_ERASED)
        case Tampered():
            return Reject(Reason.PATIENT_DAMAGED)


def _apart(pairs: list[_Pair]) -> Iterator[list[_Pair]]:
    """`pairs` in batches of which none holds one stored patient twice."""
    batch: list[_Pair] = []
    seen: set[str] = set()
    for waiting, known in pairs:
        if known is not None and known.patient_id in seen:
            yield batch
            batch, seen = [], set()
        if known is not None and known.patient_id:
            seen.add(known.patient_id)
        batch.append((waiting, known))
    if batch:
        yield batch
