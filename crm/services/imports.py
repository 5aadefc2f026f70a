"""Taking in records from other systems: finds the patient a record is about, and applies a chunk in one transaction.

The reader of the foreign format lives in `crm/interchange`; it reaches the store only through here, as a system actor.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import Action
from crm.audit.event import Act
from crm.audit.event import Outcome as Ending
from crm.catalogue import FIELDS, INDEXES, Index
from crm.domain import search_terms, source_records
from crm.errors import VersionConflict
from crm.services.profiles import groups
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, Unit, WritingUnit, reason

Pair = tuple[str, str]
"""An identifier: the system that gives it out, and its value."""

_BY_NAME = {index.name: index for index in INDEXES}
_SOURCE_RECORD = _BY_NAME["source_record"]
_IDENTIFIER = _BY_NAME["identifier"]
_SEALED = frozenset(row.name for row in FIELDS if row.key_class is not None)
_IDENTITY = ("identifiers", "source_records")


class Outcome(StrEnum):
    """What became of one accepted record."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Incoming:
    """Everything by which a record from elsewhere may be recognised.

    `source` names the system that sent it; `heed_id` is set when it is our own export; `source_id` is its id there;
    `identifiers` are its business identifiers (system, value), the primary one first; `digest_material` is the SHA-256
    of its content in canonical form, stored only under a keyed digest.
    """

    source: str
    heed_id: str | None
    source_id: str | None
    identifiers: tuple[Pair, ...]
    digest_material: bytes = field(repr=False)

    @property
    def slot(self) -> str:
        """The line of reports this record belongs to: two reports in one slot are news of the same thing."""
        primary = "|".join(self.identifiers[0]) if self.identifiers else ""
        if self.source_id is not None:
            return f"id:{self.source_id}|{primary}"
        return f"identifier:{primary}" if primary else f"content:{self.digest_material.hex()}"

    @property
    def marks(self) -> frozenset[str]:
        """What this record may share with another record of the same person."""
        ids = (f"id:{self.source_id}",) if self.source_id is not None else ()
        return frozenset([self.slot, *ids, *("identifier:" + "|".join(pair) for pair in self.identifiers)])


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


@dataclass(frozen=True, slots=True)
class Known:
    """The stored patient that an incoming record is; `digest` is what its slot last said, empty if it never did."""

    patient_id: str
    version: int
    digest: bytes = field(repr=False)


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
        return self._store.keys.digest(self._actor.org, "import", material)

    async def known(self, incoming: Sequence[Incoming]) -> list[Known | None]:
        """For each record the stored patient it is about, or None; the rule is `docs/decisions/0012`."""
        async with self._store.reading(self._context, Act.IMPORT) as unit:
            slots = await unit.slots(self._slot(entry) for entry in incoming)
            holders = await self._holders(unit, [entry for entry in incoming if self._slot(entry) not in slots])
            candidates = {patient_id for patient_ids in holders.values() for patient_id in patient_ids}
            candidates |= {patient_id for patient_id, _ in slots.values()}
            candidates |= {entry.heed_id for entry in incoming if entry.heed_id}
            records = await unit.load(candidates, _IDENTITY)
            result: list[Known | None] = []
            for entry in incoming:
                patient_id, digest = slots.get(self._slot(entry), (None, b""))
                named = [patient_id] if patient_id else [entry.heed_id, *holders.get(_term(entry)[1], ())]
                found = [records[name] for name in named if name in records]
                record = found[0] if patient_id and found else _nearest(unit, entry, found)
                result.append(Known(record.id, record.version, digest) if record else None)
            return result

    async def apply(self, drafts: Sequence[tuple[Draft, Known | None]]) -> list[Outcome]:
        """Stores one chunk in one transaction: all of it, its digests and one event per patient, or nothing.

        No two drafts of a chunk may be about the same patient; the caller sees to that. Raises `VersionConflict` when a
        patient changed since `known`.
        """
        async with self._store.writing(self._context, Act.IMPORT) as unit:
            records = await unit.load_for_change([entry.patient_id for _, entry in drafts if entry])
            outcomes: list[Outcome] = []
            slots: dict[bytes, tuple[str, bytes]] = {}
            for draft, entry in drafts:
                record, outcome = _store_one(unit, draft, records.get(entry.patient_id) if entry else None, entry)
                outcomes.append(outcome)
                digest = self.digest(draft.incoming.digest_material)
                if entry is None or entry.digest != digest:
                    slots[self._slot(draft.incoming)] = record.id, digest
            await unit.remember(slots)
            return outcomes

    async def finished(self, counts: Mapping[str, int]) -> None:
        """Records the end of a run: one event with the number of records that were read."""
        async with self._store.reading(self._context, Act.IMPORT) as unit:
            out = Ending.PARTIAL if counts.get("rejected") else Ending.OK
            unit.remark(cnt=sum(counts.values()), out=out)

    def _slot(self, incoming: Incoming) -> bytes:
        return self.digest(f"{incoming.source}\n{incoming.slot}".encode())

    async def _holders(self, unit: Unit, incoming: Sequence[Incoming]) -> dict[bytes, list[str]]:
        """Candidates for records that come in a new slot, by the term under which they may be stored."""
        found: dict[bytes, list[str]] = {}
        for index in (_SOURCE_RECORD, _IDENTIFIER):
            terms = {term for chosen, term in map(_term, incoming) if chosen is index}
            found |= await unit.holders(index, terms)
        return found


def _nearest(unit: Unit, incoming: Incoming, candidates: Sequence[Record]) -> Record | None:
    """The same patient among the candidates; sharing an identifier counts more than only bearing the foreign id."""
    kin = [(_kinship(unit, incoming, record), record) for record in candidates if record.status == "active"]
    degree, record = max(kin, key=lambda pair: pair[0], default=(0, None))
    return record if degree else None


def _kinship(unit: Unit, incoming: Incoming, record: Record) -> int:
    """0: another person, or unknown; 1: bears the foreign id, uncontradicted; 2: shares an identifier; 3: our own."""
    if record.id == incoming.heed_id:
        return 3
    values = unit.current(record, _IDENTITY)
    mine = [search_terms.identifier(*pair) for pair in incoming.identifiers]
    theirs = search_terms.identifiers(values)
    if incoming.source_id is None:
        return 2 if mine and mine[0] in theirs else 0
    if {"source": incoming.source, "id": incoming.source_id} not in values.get("source_records", ()):
        return 0
    if theirs.isdisjoint(mine):
        return 0 if mine and theirs else 1
    return 2


def _term(incoming: Incoming) -> tuple[Index | None, bytes]:
    """The blind index, and the term in it, under which an incoming record's patient may be stored."""
    if incoming.source_id is not None:
        return _SOURCE_RECORD, source_records.term(incoming.source, incoming.source_id)
    if incoming.identifiers:
        return _IDENTIFIER, search_terms.identifier(*incoming.identifiers[0])
    return None, b""


def _store_one(unit: WritingUnit, draft: Draft, record: Record | None, known: Known | None) -> tuple[Record, Outcome]:
    incoming = draft.incoming
    values = {**draft.values, "restricted": draft.restricted}
    if known is None:
        if incoming.source_id is not None and incoming.heed_id is None:
            values["source_records"] = [{"source": incoming.source, "id": incoming.source_id}]
        return unit.create(values, incoming.source), Outcome.CREATED
    if record is None or record.version != known.version:
        raise VersionConflict(record.version if record else 0)
    unit.touch(record)
    current = unit.current(record, _SEALED | {"restricted"})
    changes = _differences(current, values, unit.sources(record), incoming.source)
    changed = unit.change(record, changes, incoming.source) if changes else []
    return record, Outcome.UPDATED if changed else Outcome.UNCHANGED


def _differences(
    current: Mapping[str, Any], incoming: Mapping[str, Any], sources: Mapping[str, str], source: str
) -> dict[str, Any]:
    """The values to change: this source speaks only for groups that it filled itself, or that nobody filled yet.

    An import can restrict a record, and never lift a restriction: somebody else may have had a reason for it.
    """
    changes: dict[str, Any] = {}
    if incoming["restricted"] and not current["restricted"]:
        changes["restricted"] = True
    for row in FIELDS:
        if row.key_class is None or not row.paths or sources.get(row.group.value, source) != source:
            continue
        old, new = current.get(row.name), incoming.get(row.name)
        if isinstance(new, list) and isinstance(old, list):
            new = _carry_ids(old, new)
        if new != old:
            changes[row.name] = new
    return changes


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
