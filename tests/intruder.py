"""Somebody with the database's password and no keys: reads and writes rows behind the service's back."""

import re
import sqlite3
from typing import Any

import asyncpg

__all__ = ["Intruder"]


class Intruder:
    """Runs plain SQL with `?` for its values, as the owner of the database at `url`, whom no trigger stops."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """The rows of one statement, committed at once."""
        if self._url.startswith("sqlite:"):
            file = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
            file.execute("BEGIN IMMEDIATE")  # a turn at the writing, or a wait for it, from the start
            for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                file.execute(f"DROP TRIGGER {name}")
            rows = [tuple(row) for row in file.execute(sql, values)]
            file.execute("COMMIT")
            file.close()
            return rows
        count = iter(range(1, 100))
        connection = await asyncpg.connect(self._url)
        await connection.execute("SET session_replication_role = replica")
        rows = [tuple(row) for row in await connection.fetch(re.sub(r"\?", lambda _: f"${next(count)}", sql), *values)]
        await connection.close()
        return rows

    async def row(self, patient_id: str, key_class: str) -> dict[str, Any]:
        """One sealed row with its wrapped key."""
        names = ("version", "dek_no", "cells", "seal", "provenance")
        [row] = await self.run(
            f"SELECT {', '.join(names)} FROM sealed_row WHERE patient_id = ? AND key_class = ?", patient_id, key_class
        )
        [(wrapped,)] = await self.run(
            "SELECT wrapped FROM patient_key WHERE patient_id = ? AND key_class = ?", patient_id, key_class
        )
        return {**dict(zip(names, row, strict=True)), "wrapped": wrapped}

    async def write(self, patient_id: str, key_class: str, **columns: Any) -> None:
        """Overwrite columns of a sealed row, and its wrapped key if that is named."""
        columns = dict(columns)
        if "wrapped" in columns:
            await self.run(
                "UPDATE patient_key SET wrapped = ? WHERE patient_id = ? AND key_class = ?",
                columns.pop("wrapped"), patient_id, key_class,
            )  # fmt: skip
        if columns:
            places = ", ".join(f"{name} = ?" for name in columns)
            await self.run(
                f"UPDATE sealed_row SET {places} WHERE patient_id = ? AND key_class = ?",
                *columns.values(), patient_id, key_class,
            )  # fmt: skip
