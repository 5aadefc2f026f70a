"""A crowd: very many generated patients, sealed like any others, put into PostgreSQL by COPY.

Goes past policy, import and log, because it is not what is measured; what is stored can be read like what was imported.
"""

import time
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import asyncpg
from uuid_utils import uuid7

from bench import imports
from bench.bare import refresh_statistics
from commands.house import House
from crm.audit.event import rfc3339
from crm.domain.precedence import Note, Voice
from crm.services.changes import canonical
from crm.store import changing
from crm.store.changing import Writes
from crm.store.history import Maker
from crm.store.provenance import Source

ORG = imports.ORG
MAKER = Maker("create", "bench", "bench", ("integration",), "bench", "import", "bench")
CHUNK = 500
"""Few enough that the look at the key store gets its turn between them."""

_TABLES = (
    ("patient", "patients"),
    ("patient_key", "keys"),
    ("sealed_row", "sealed"),
    ("blind_index", "terms"),
    ("patient_version", "described"),
)
"""Tables in the order that their foreign keys allow, and where `Writes` holds their rows."""


async def fill(house: House, url: str, count: int) -> list[str]:
    """Stores so many generated people in the PostgreSQL database at `url`, a superuser's; their ids by number."""
    await imports.fill(house, 20)  # founds the organisation's log
    connection = await asyncpg.connect(url)
    ids: list[str] = []
    try:
        while len(ids) < count:
            writes = Writes()
            numbers = range(len(ids), min(len(ids) + CHUNK, count))
            ids += [_sealed(house, writes, number) for number in numbers]
            for table, name in _TABLES:
                await _copy(connection, table, getattr(writes, name))
    finally:
        await connection.close()
    await refresh_statistics(url)
    return ids


def _sealed(house: House, writes: Writes, number: int) -> str:
    """Puts the rows of one person into `writes`; the id."""
    now = time.time_ns() // 1000
    record = changing.new_record(ORG, str(uuid7()), uuid4().hex, now)
    values = {**canonical(imports.person(number), region="GB"), "restricted": False}
    source = Source(Note(Voice.SYSTEM, "import", "bench", rfc3339(now)), "bench", now, MAKER)
    changing.apply(house.services.store.keys, writes, record, values, source)
    return record.id


async def _copy(connection: Any, table: str, rows: Sequence[dict[str, Any]]) -> None:
    columns = list(rows[0])
    records = [tuple(row.values()) for row in rows]
    await connection.copy_records_to_table(table, records=records, columns=columns)
