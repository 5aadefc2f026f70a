"""An organisation with somebody in its database: what the tests of `keys verify` share."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.stored_key import StoredKey
from crm.services.verification import Verified, verify
from crm.store import keystore
from crm.store import record as records
from crm.store.record import Record
from tests.house import REQUEST, House, actor, house
from tests.intruder import Intruder
from tests.people import WHOLE

__all__ = ["TABLES", "Clinic", "Found", "opened", "whose"]

Found = set[tuple[str, str]]
"""Fault and part, of one patient."""

TABLES = ("patient", "sealed_row", "patient_key", "blind_index", "patient_version", "sealed_version")


@dataclass(frozen=True)
class Clinic:
    """A service, an intruder in its database, and an organisation that no other test uses."""

    it: House
    intruder: Intruder
    org: str

    async def person(self, **more: Any) -> str:
        """The id of a fresh patient with a value in every field."""
        return str((await self.it.register({**WHOLE, **more}, org=self.org))["id"])

    async def change(self, patient_id: str, version: int, role: Role = Role.INTEGRATION, **values: Any) -> None:
        """A change of the service's own, for a role that may make it."""
        clerk = actor(role, org=self.org)
        await self.it.services.changes.update(clerk, REQUEST, patient_id, version, values, frozenset())

    async def erase(self, patient_id: str, *classes: KeyClass) -> None:
        """Erases these classes, or all of the patient."""
        context = REQUEST.context(actor(Role.PRIVACY_OFFICER, org=self.org))
        async with self.it.services.store.writing(context, Act.ERASE) as unit:
            record = (await unit.load_for_change([patient_id]))[patient_id]
            await unit.erase(record, frozenset(classes) or None, "PATIENT_REQUEST")

    async def record(self, patient_id: str) -> Record:
        """What is stored of the patient."""

        async def fetch(statement: Any, /, **params: Any) -> Any:
            return await self.it.database.fetch(self.org, statement, **params)

        return (await records.load(fetch, self.org, [patient_id], BY_NAME))[patient_id]

    async def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The intruder's statement, in which ORG stands for this organisation."""
        return await self.intruder.run(sql.replace("ORG", f"'{self.org}'"), *values)

    async def copy(self, patient_id: str, tables: tuple[str, ...] = TABLES) -> dict[str, list[dict[str, Any]]]:
        """All rows of a patient."""
        found = {}
        for table in tables:
            names = COLUMNS[table]
            rows = await self.run(f"SELECT {', '.join(names)} FROM {table} WHERE {whose(table)} = ?", patient_id)
            found[table] = [dict(zip(names, row, strict=True)) for row in rows]
        return found

    async def put_back(self, patient_id: str, copy: dict[str, list[dict[str, Any]]]) -> None:
        """The rows of a copy in the place of those that are there now."""
        for table, rows in copy.items():
            await self.run(f"DELETE FROM {table} WHERE {whose(table)} = ?", patient_id)
            for row in rows:
                marks = ", ".join("?" for _ in row)
                await self.run(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", *row.values())

    async def verified(self, sample: int | None = None) -> Verified:
        """What `keys verify` finds in this organisation."""
        operator = actor(Role.OPERATOR, org=self.org)
        return await verify(self.it.services.store, self.it.database, operator, REQUEST, sample, _unwatched)

    async def found(self, patient_id: str) -> Found:
        """The faults of this patient; there must be none of any other, but some may concern nobody in particular."""
        findings = (await self.verified()).findings
        assert {each.patient_id for each in findings} <= {patient_id, ""}
        return {(each.fault.value, each.part) for each in findings}


COLUMNS = {
    "patient": (
        "org", "id", "version", "status", "restricted", "audit_subject", "classes", "created_at", "updated_at",
        "merged_into",
    ),
    "sealed_row": ("org", "patient_id", "key_class", "version", "dek_no", "cells", "seal", "provenance"),
    "patient_key": (
        "org", "patient_id", "key_class", "dek_no", "epoch", "wrapped", "state", "created_at", "shredded_at",
    ),
    "blind_index": ("org", "index_code", "key_ver", "value", "patient_id", "row_id"),
    "patient_version": (
        "org", "patient_id", "version", "at", "status", "restricted", "classes", "changed", "act", "issuer", "subject",
        "roles", "channel", "system", "request_id",
    ),
    "sealed_version": ("org", "patient_id", "key_class", "version", "dek_no", "cells", "seal", "provenance"),
}  # fmt: skip


def whose(table: str) -> str:
    """The column that names the patient."""
    return "id" if table == "patient" else "patient_id"


def _unwatched(_done: int, _of: int | None) -> None:
    """Nobody watches."""


@asynccontextmanager
async def opened(url: str, folder: Path) -> AsyncIterator[tuple[House, Intruder]]:
    """A service whose keys are listed in its key store, and an intruder in its database."""
    async with house(url, folder) as it:
        for key_class in KeyClass:
            await keystore.add(it.database, StoredKey("wrap", key_class.value, 1, "active", "test", "r", b"w"), 1)
        yield it, Intruder(url)
