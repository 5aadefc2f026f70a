"""Stand-ins that do what they stand before and count it: records that are read, keys and cells that are opened."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, TypeVar

from crm.catalogue import Field, KeyClass
from crm.crypto.data_key import DataKey
from crm.crypto.keyset import KeySet
from crm.store.database import Connection, Database, Dialect, Row
from crm.store.statements import Statement
from crm.store.work import Grow, Work

T = TypeVar("T")


class CountingDatabase:
    """Counts statements and records read outside transactions, and transactions.

    Looking up names for the log reads no record.
    """

    dialect: Dialect

    def __init__(self) -> None:
        self._inner: Database
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.statements = 0
        self.records = 0
        self.transactions = 0

    def around(self, inner: Database) -> Database:
        """Stand before `inner`."""
        self._inner, self.dialect = inner, inner.dialect
        return self

    async def open(self) -> None:
        await self._inner.open()

    async def close(self) -> None:
        await self._inner.close()

    async def probe(self) -> None:
        await self._inner.probe()

    async def scrub(self) -> bool:
        return await self._inner.scrub()

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Row]:
        self.statements += 1
        rows = await self._inner.fetch(org, statement, **params)
        text = statement.sqlite().sql
        if "sealed_row" in text or "blind_index" in text or "patient.version" in text:
            self.records += len({row["id"] if "patient.version" in text else row["patient_id"] for row in rows})
        return rows

    def transaction(self, org: str, /) -> AbstractAsyncContextManager[Connection]:
        self.transactions += 1
        return self._inner.transaction(org)

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        self.transactions += 1
        return await self._inner.grow(org, grow)

    async def perform(self, org: str, work: Work[T], /) -> T:
        self.transactions += 1
        return await self._inner.perform(org, work)


class CountingKeys(KeySet):
    """Counts data keys that are unwrapped, and names the cells that are opened with them."""

    __slots__ = ("_inner", "cells", "opened")

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin to count anew."""
        self.opened = 0
        self.cells: set[str] = set()

    def around(self, inner: KeySet) -> KeySet:
        """Stand before `inner`: everything else of it stays as it is."""
        for name in KeySet.__slots__:
            setattr(self, name, getattr(inner, name))
        return self

    def data_key(self, org: str, patient_id: str, key_class: KeyClass, dek_no: int, wrapped: bytes) -> DataKey:
        """The real key, counted."""
        self.opened += 1
        key = super().data_key(org, patient_id, key_class, dek_no, wrapped)
        return _CountingKey(key, self.cells)


class _CountingKey(DataKey):
    __slots__ = ("_cells",)

    def __init__(self, inner: DataKey, cells: set[str]) -> None:
        for name in DataKey.__slots__:
            setattr(self, name, getattr(inner, name))
        self._cells = cells

    def open(self, field: Field, sealed: bytes) -> bytes:
        """The plaintext, with the field's name noted."""
        self._cells.add(field.name)
        return super().open(field, sealed)


__all__ = ["CountingDatabase", "CountingKeys"]
