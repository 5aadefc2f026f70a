"""An import service in memory: stores what it is given and recognises records by the house's own rule."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crm.errors import VersionConflict
from crm.services.consent_imports import Said, Statement
from crm.services.imports import Applied, Draft, Incoming, Known, Outcome
from crm.services.recognition import Candidate, Person, named, recognise


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
        self.consents: list[Mapping[str, Any]] = []
        self.restricted = False


class MemoryTarget:
    """Keeps patients in a dict. `before_apply` lets a test act between looking and storing."""

    def __init__(self) -> None:
        self.patients: dict[str, Patient] = {}
        self.slots: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.chunks: list[int] = []
        self.before_apply: Callable[[Sequence[Draft]], None] = lambda drafts: None

    def digest(self, material: bytes) -> bytes:
        return hashlib.sha256(b"test key" + material).digest()

    async def said(self, incoming: Sequence[Incoming]) -> list[bytes]:
        return [self.slots.get((entry.source, entry.key), ("", b""))[1] for entry in incoming]

    async def known(self, incoming: Sequence[Incoming]) -> list[Known | None]:
        return [self._known(entry) for entry in incoming]

    async def apply(self, drafts: Sequence[tuple[Draft, Known | None]]) -> list[Applied]:
        self.before_apply([draft for draft, _ in drafts])
        ids = [known.patient_id for _, known in drafts if known]
        assert len(ids) == len(set(ids)), "one patient twice in a transaction"
        for _, known in drafts:
            if known and self.patients[known.patient_id].version != known.version:
                raise VersionConflict(self.patients[known.patient_id].version)
        self.chunks.append(len(drafts))
        return [self._store(draft, known) for draft, known in drafts]

    async def append(self, statements: Sequence[Statement]) -> list[Said]:
        return [self._append(statement) for statement in statements]

    def _append(self, statement: Statement) -> Said:
        known = self._known(statement.about)
        if known is None or known.obstacle:
            return known.obstacle if known else None
        history = self.patients[known.patient_id].consents
        if any(entry["id"] == statement.directive["id"] for entry in history):
            return False
        history.append(statement.directive)
        return True

    def _known(self, entry: Incoming) -> Known | None:
        reported, digest = self.slots.get((entry.source, entry.key), ("", b""))
        again = reported if digest == self.digest(entry.digest_material) else ""
        candidates = [
            Candidate(one.id, Person.of(one.values), named(one.values, entry), one.id == again)
            for one in self.patients.values()
        ]
        found = recognise(entry, candidates)
        if not isinstance(found, Candidate):
            return Known("", 0, digest, obstacle=found) if found else None
        patient = self.patients[found.patient_id]
        return Known(patient.id, patient.version, digest, patient.restricted)

    def _store(self, draft: Draft, known: Known | None) -> Applied:
        entry = draft.incoming
        patient = self.patients[known.patient_id] if known else Patient(len(self.patients))
        self.patients[patient.id] = patient
        self.slots[entry.source, entry.key] = patient.id, self.digest(entry.digest_material)
        values = dict(draft.values)
        values["source_records"] = patient.values["source_records"] if known else [entry.source_record]
        restricted = draft.restricted or patient.restricted
        if known and bare(patient.values) == bare(values) and patient.restricted == restricted:
            return Applied(str(patient.id), Outcome.UNCHANGED)
        patient.values, patient.restricted = values, restricted
        patient.version += 1
        return Applied(str(patient.id), Outcome.UPDATED if known else Outcome.CREATED)
