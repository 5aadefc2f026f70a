"""An import service in memory: stores what it is given and recognises records by the rule of docs/decisions/0012."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from crm.errors import VersionConflict
from crm.services.imports import Draft, Incoming, Known, Outcome


def bare(values: dict[str, Any]) -> dict[str, Any]:
    """`values` without the ids that every reading makes up anew."""
    return {
        name: [{key: part for key, part in entry.items() if key != "id"} for entry in value]
        if name in {"contact_points", "addresses"}
        else value
        for name, value in values.items()
    }


class Patient:
    """One stored patient."""

    def __init__(self, number: int) -> None:
        self.id = f"p{number}"
        self.version = 0
        self.values: dict[str, Any] = {}
        self.restricted = False
        self.source_ids: set[tuple[str, str]] = set()

    @property
    def identifiers(self) -> set[tuple[str, str]]:
        entries = self.values.get("identifiers", ())
        return {(entry["system"], entry["value"]) for entry in entries if "system" in entry}


class MemoryTarget:
    """Keeps patients in a dict. `before_apply` lets a test act between looking and storing."""

    def __init__(self) -> None:
        self.patients: dict[str, Patient] = {}
        self.slots: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.chunks: list[int] = []
        self.before_apply: Callable[[Sequence[Draft]], None] = lambda drafts: None

    def digest(self, material: bytes) -> bytes:
        return hashlib.sha256(b"test key" + material).digest()

    async def known(self, incoming: Sequence[Incoming]) -> list[Known | None]:
        return [self._known(entry) for entry in incoming]

    async def apply(self, drafts: Sequence[tuple[Draft, Known | None]]) -> list[Outcome]:
        self.before_apply([draft for draft, _ in drafts])
        ids = [known.patient_id for _, known in drafts if known]
        assert len(ids) == len(set(ids)), "one patient twice in a transaction"
        for _, known in drafts:
            if known and self.patients[known.patient_id].version != known.version:
                raise VersionConflict(self.patients[known.patient_id].version)
        self.chunks.append(len(drafts))
        return [self._store(draft, known) for draft, known in drafts]

    def _known(self, entry: Incoming) -> Known | None:
        slot = self.slots.get((entry.source, entry.slot))
        if slot is not None:
            return Known(slot[0], self.patients[slot[0]].version, slot[1])
        found = next((patient for patient in self.patients.values() if self._same(entry, patient)), None)
        return Known(found.id, found.version, b"") if found else None

    def _same(self, entry: Incoming, patient: Patient) -> bool:
        if entry.heed_id == patient.id:
            return True
        mine, theirs = set(entry.identifiers), patient.identifiers
        if entry.source_id is None:
            return bool(mine) and entry.identifiers[0] in theirs
        named = (entry.source, entry.source_id) in patient.source_ids
        return named and (not mine or not theirs or bool(mine & theirs))

    def _store(self, draft: Draft, known: Known | None) -> Outcome:
        entry = draft.incoming
        patient = self.patients[known.patient_id] if known else Patient(len(self.patients))
        self.patients[patient.id] = patient
        if entry.source_id is not None:
            patient.source_ids.add((entry.source, entry.source_id))
        self.slots[entry.source, entry.slot] = patient.id, self.digest(entry.digest_material)
        values = dict(draft.values)
        if known and bare(patient.values) == bare(values) and patient.restricted == draft.restricted:
            return Outcome.UNCHANGED
        patient.values, patient.restricted = values, draft.restricted
        patient.version += 1
        return Outcome.UPDATED if known else Outcome.CREATED
