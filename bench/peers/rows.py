"""One statement for a patient with their children, over asyncpg without anything in between; for the Python peers.

Children come as arrays of rows, which is cheaper to decode than JSON and than a statement for each table. The pool
resets nothing: no request leaves anything behind on its connection.
"""

from typing import Any
from uuid import UUID

import asyncpg

__all__ = ["SERVING", "Rows"]

SERVING = {"loop": "uvloop", "http": "httptools", "log_level": "warning", "access_log": False, "date_header": False}
"""How uvicorn serves each of them."""

_SCALARS = """p.id::text, p.version, p.restricted, p.display_name, p.preferred_name, p.birth_date, p.pronouns,
    p.interpreter_needed, p.time_zone, p.communication_style"""
_POINTS = """ARRAY(SELECT ROW(c.id, c.system, c.value, c."use", c.rank, c.capabilities, c.verified)
    FROM contact_point c WHERE c.patient_id = p.id ORDER BY c.place)"""
_PREFERENCES = """ARRAY(SELECT ROW(c.purpose, c.channels)
    FROM channel_preference c WHERE c.patient_id = p.id ORDER BY c.place)"""
_ONE = f"SELECT {_SCALARS}, {_POINTS}, {_PREFERENCES} FROM patient p WHERE p.id = $1"
_MANY = f"SELECT {_SCALARS}, {_POINTS} FROM patient p WHERE p.id = ANY($1)"


class Rows:
    """The plain tables at a URL, over at most ten connections."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: Any = None

    async def open(self) -> None:
        """Connects."""

        async def nothing(_: object) -> None: ...

        self._pool = await asyncpg.create_pool(self._url, min_size=10, max_size=10, reset=nothing)

    async def close(self) -> None:
        """Hangs up."""
        await self._pool.close()

    async def one(self, patient_id: str) -> Any:
        """The row of a patient: ten columns, contact points, channel preferences."""
        async with self._pool.acquire() as connection:
            return await connection.fetchrow(_ONE, UUID(patient_id))

    async def many(self, ids: list[str]) -> list[Any]:
        """The rows of patients in that order, without channel preferences."""
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(_MANY, [UUID(patient_id) for patient_id in ids])
        found = {row[0]: row for row in rows}
        return [found[patient_id] for patient_id in ids]
