"""Taking in records from other systems: finds the patient a record is about, and applies a chunk in one transaction.

The reader of the foreign format lives in `crm/interchange`; it reaches the store only through here, as a system actor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, NamedTuple

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import Action, Group
from crm.audit.event import Act
from crm.audit.event import Outcome as Ending
from crm.catalogue import FIELDS, INDEXES, Field, KeyClass
from crm.domain import source_records
from crm.domain.precedence import Rule
from crm.domain.restrictions import said_by_source
from crm.domain.times import instant
from crm.errors import Tampered, VersionConflict
from crm.services.consent_imports import Said, Statement, append_all
from crm.services.profiles import groups
from crm.services.recognition import Candidate, Incoming, Known, Obstacle, Person, named, recognise
from crm.services.request import Request
from crm.store import imported
from crm.store.record import Record
from crm.store.refusing import reason
from crm.store.unit import Store, Unit, WritingUnit

__all__ = ["Applied", "Draft", "Imports", "Incoming", "Known", "Outcome"]

_SOURCE_RECORD = next(index for index in INDEXES if index.name == "source_record")
_SEALED = frozenset(row.name for row in FIELDS if row.key_class is not None)
_IDENTITY = ("identifiers", "names", "birth_date", "source_records")
_MOST = 100
"""Patients under one key of a source; a source that gives one id to more people has none."""


class Outcome(StrEnum):
    """What became of one accepted record."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Draft:
    """A record that was understood.

    `values` maps catalogue names to canonical values; a field the record is silent about is absent. `restricted` is
    true when the source marks the record confidential (R or V). `not_taken` are paths of elements left behind.
    """

    incoming: Incoming
    values: Mapping[str, Any] = field(repr=False)
    restricted: bool
    not_taken: frozenset[str] = frozenset()


class Applied(NamedTuple):
    """What became of one record, and the field groups in which a higher source's word was kept instead of its own."""

    patient_id: str
    outcome: Outcome
    kept: frozenset[Group] = frozenset()


class Imports:
    """The use cases of one import run by `actor` into its organisation."""

    def __init__(self, store: Store, actor: Actor, request: Request) -> None:
        self._store = store
        self._actor = actor
        self._context = request.context(actor)

    async def admit(self) -> None:
        """Refuses, and records the refusal, unless the policy lets the actor import every field."""
        paths = frozenset(path for row in FIELDS if row.key_class is not None for path in row.paths)
        try:
            grant = policy.decide_write(self._actor, groups(paths), Action.IMPORT)
        except AuthError as refusal:
            fields = getattr(refusal, "paths", ())
            await self._store.refuse(self._context, Act.IMPORT, [], why=reason(refusal), fields=fields)
            raise
        self._context = replace(self._context, rules=(grant.rule,))

    def digest(self, material: bytes) -> bytes:
        """`material` under the organisation's key: nobody without it can test a guess."""
        return imported.digest(self._store.keys, self._actor.org, material)

    async def said(self, incoming: Sequence[Incoming]) -> list[bytes]:
        """For each record the digest of what its key last said, empty if it never did."""
        async with self._store.reading(self._context, Act.IMPORT) as unit:
            reports = await unit.slots(self._slot(entry) for entry in incoming)
            return [reports.get(self._slot(entry), ("", b""))[1] for entry in incoming]

    async def known(self, incoming: Sequence[Incoming]) -> list[Known | None]:
        """For each record the stored patient it is about, or None; the rule is `docs/decisions/0012`."""
        async with self._store.reading(self._context, Act.IMPORT) as unit:
            reports = await unit.slots(self._slot(entry) for entry in incoming)
            holders = await unit.holders(_SOURCE_RECORD, {_term(entry) for entry in incoming})
            asked = [list(dict.fromkeys(filter(None, [*holders[_term(one)], one.heed_id]))) for one in incoming]
            records = await unit.load({name for names in asked if len(names) <= _MOST for name in names}, _IDENTITY)
            result: list[Known | None] = []
            for each, names in zip(incoming, asked, strict=True):
                reported, digest = reports.get(self._slot(each), ("", b""))
                again = reported if digest == self.digest(each.digest_material) else ""
                # Under the id of a merged record stands its survivor, also for our own export of it.
                mine = {records[name].id: records[name] for name in names if name in records}
                entry = replace(each, heed_id=records[each.heed_id].id) if each.heed_id in records else each
                candidates = [_candidate(unit, entry, one, said=name == again) for name, one in mine.items()]
                found = recognise(entry, candidates) if len(names) <= _MOST else Obstacle.IDENTITY_CONFLICT
                if isinstance(found, Candidate):
                    record = mine[found.patient_id]
                    result.append(Known(record.id, record.version, digest, record.restricted))
                else:
                    result.append(Known("", 0, digest, obstacle=found) if found else None)
            return result

    async def apply(self, drafts: Sequence[tuple[Draft, Known | None]]) -> list[Applied]:
        """Stores one chunk in one transaction: all of it, its digests and one event per patient, or nothing.

        No two drafts of a chunk may be about the same patient; the caller sees to that. Raises `VersionConflict` when a
        patient changed since `known`, `Erased` or `Tampered` when one cannot be opened whole.
        """
        async with self._store.writing(self._context, Act.IMPORT) as unit:
            records = await unit.load_for_change([entry.patient_id for _, entry in drafts if entry])
            applied: list[Applied] = []
            slots: dict[bytes, tuple[str, bytes]] = {}
            for draft, entry in drafts:
                one = _store_one(unit, draft, records.get(entry.patient_id) if entry else None, entry)
                applied.append(one)
                digest = self.digest(draft.incoming.digest_material)
                if entry is None or entry.digest != digest:
                    slots[self._slot(draft.incoming)] = one.patient_id, digest
            await unit.remember(slots)
            return applied

    async def append(self, statements: Sequence[Statement]) -> list[Said]:
        """Appends what consents say about patients who are known; raises what `append_all` raises."""
        known = await self.known([statement.about for statement in statements])
        return await append_all(self._store, self._context, statements, known)

    async def finished(self, counts: Mapping[str, int]) -> None:
        """Records the end of a run: one event with the number of records that were read."""
        async with self._store.reading(self._context, Act.IMPORT) as unit:
            out = Ending.PARTIAL if counts.get("rejected") else Ending.OK
            unit.remark(cnt=sum(counts.values()), out=out)

    def _slot(self, incoming: Incoming) -> bytes:
        return self.digest(_term(incoming))


def _term(incoming: Incoming) -> bytes:
    return source_records.term(incoming.source, incoming.key)


def _candidate(unit: Unit, incoming: Incoming, record: Record, *, said: bool) -> Candidate:
    """What the rule has to know of one stored patient. Damage leaves an event, and costs this record only."""
    if record.status == "erased" or KeyClass.IDENTITY in record.erased:
        return Candidate(record.id, None, obstacle=Obstacle.PATIENT_ERASED)
    try:
        values = unit.current(record, _IDENTITY)
    except Tampered as damage:
        unit.remark(pat=record.audit_subject, out=Ending.ERROR, why=reason(damage))
        return Candidate(record.id, None, obstacle=Obstacle.PATIENT_DAMAGED)
    obstacle = None if record.status == "active" else Obstacle.PATIENT_MERGED
    return Candidate(record.id, Person.of(values), named(values, incoming), said, obstacle)


def _store_one(unit: WritingUnit, draft: Draft, record: Record | None, known: Known | None) -> Applied:
    incoming = draft.incoming
    values = {**draft.values, "restricted": draft.restricted}
    if known is None:
        values["source_records"] = [incoming.source_record]
        if draft.restricted:
            stated = values.get("restrictions") or []
            values["restrictions"] = said_by_source(stated, incoming.source, instant(unit.now))
        return Applied(unit.create(values, incoming.source).id, Outcome.CREATED)
    if record is None or record.version != known.version or record.status != "active":
        raise VersionConflict(record.version if record else 0)
    unit.touch(record)
    current = unit.current(record, _SEALED | {"restricted"})
    weighed = _weighed(unit, record, draft, current)
    changes = weighed.changes | _restriction(current, draft, record.erased, instant(unit.now))
    changed = unit.change(record, changes, incoming.source, overruled=weighed.kept) if changes or weighed.kept else []
    taken = bool(set(changed) - {"provenance"})
    return Applied(record.id, Outcome.UPDATED if taken else Outcome.UNCHANGED, frozenset(weighed.kept))


class _Weighed(NamedTuple):
    """The values to change, and the groups in which what the file says differs but is not taken, with the rule."""

    changes: dict[str, Any]
    kept: dict[Group, Rule]


def _weighed(unit: WritingUnit, record: Record, draft: Draft, current: Mapping[str, Any]) -> _Weighed:
    """What of a record is taken: where this source spoke last, all that it says, silence included; elsewhere by rank.

    Of what another source said it replaces only what it states itself. It does not fill what was erased: that is for a
    person to decide, not for a file that comes every night.
    """
    source = draft.incoming.source
    known, us = unit.notes(record), unit.word(source).system
    verdicts = unit.weigh(record, Group, source)
    changes: dict[str, Any] = {}
    kept: dict[Group, Rule] = {}
    for row in FIELDS:
        if not _imported(row) or row.key_class in record.erased:
            continue
        old, new = current.get(row.name), draft.values.get(row.name)
        if isinstance(new, list) and isinstance(old, list):
            new = _carry_ids(old, new)
        silent = new is None and row.group in known and known[row.group].system != us
        if new == old or silent:
            continue
        verdict = verdicts[row.group]
        if verdict.takes:
            changes[row.name] = new
        else:
            kept[row.group] = verdict.rule
    return _Weighed(changes, kept)


def _imported(row: Field) -> bool:
    """Whether a record of a patient speaks for this field; restrictions have a rule of their own (`_restriction`)."""
    ours = row.append_only or row.name in {"restrictions", "superseded_ids"}
    return row.key_class is not None and bool(row.paths) and not ours


def _restriction(current: Mapping[str, Any], draft: Draft, erased: frozenset[KeyClass], at: str) -> dict[str, Any]:
    """An import can restrict a record, and never lift a restriction: somebody else may have had a reason for it.

    A source that marks the record has a restriction of its own in force, also beside others. The officer who lifts it
    has to see to the source too, or the next import that says more places it again.
    """
    if not draft.restricted:
        return {}
    old = current.get("restrictions") or []
    new = old if KeyClass.PREFERENCE in erased else said_by_source(old, draft.incoming.source, at)
    marks = {} if new == old else {"restrictions": new}
    return marks if current.get("restricted", True) else {**marks, "restricted": True}


_OURS = ("id", "verification", "undeliverable", "capabilities", "text_permitted", "voicemail_ok", "detailed_message_ok")
"""Members of a list entry that Heed adds: they stay when the source repeats the entry."""


def _carry_ids(old: list[Any], new: list[Any]) -> list[Any]:
    """New entries take over what Heed knows of the equal old entry: its id, verification, delivery marks."""
    waiting = [entry for entry in old if isinstance(entry, dict) and "id" in entry]
    result = []
    for entry in new:
        if isinstance(entry, dict) and "id" in entry:
            twin = next((other for other in waiting if _bare(other) == _bare(entry)), None) or next(
                (other for other in waiting if "value" in entry and _place(other) == _place(entry)), None
            )
            if twin is not None:
                waiting.remove(twin)
                entry = {**entry, **{key: twin[key] for key in _OURS if key in twin}}  # noqa: PLW2901
        result.append(entry)
    return result


def _bare(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in _OURS}


def _place(entry: Mapping[str, Any]) -> tuple[Any, Any]:
    return entry.get("system"), entry.get("value")
