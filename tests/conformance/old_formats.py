"""Makes the fixture of the present stored format: one patient as every table holds it, with the key ring that opens it.

Run once for each release whose formats differ from the one before, and never again for that release:

    python -m tests.conformance.old_formats > tests/conformance/vectors/format-N.json
"""

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from auth.roles import Role
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.store.keystore import bootstrap
from crm.store.migrations import upgrade
from tests.asking import EVERYTHING, question
from tests.client import client
from tests.house import now
from tests.intruder import Intruder
from tests.logs import database_at
from tests.people import WHOLE

ENV = "production"
TABLES = ("organisation", "crypto_key", "patient", "patient_key", "sealed_row", "blind_index")
SOURCES = [{"source": "urn:example:ward", "id": "77"}]


async def made(folder: Path) -> dict[str, Any]:
    """The fixture: key ring, rows by table (octets in hexadecimal), selection, and what the API answers to it."""
    url = f"sqlite:///{folder / 'heed.db'}"
    upgrade(url)
    ring = KeyRing.create(folder / "ring.json")
    async with database_at(url) as database:
        keys = KeySet.load(ring, ENV, await bootstrap(database, lambda: KeySet.bootstrap(ring, ENV), now()))
    (folder / "client").mkdir()
    async with client(url, folder / "client", keys=lambda _: keys) as it:
        patient_id = await it.house.store(WHOLE, raw={"source_records": SOURCES})
        answer = await it.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient_id})
    intruder, rows = Intruder(url), {}
    for table in TABLES:
        columns = [name for _, name, *_ in await intruder.run(f"PRAGMA table_info({table})")]
        found = await intruder.run(f"SELECT {', '.join(columns)} FROM {table} ORDER BY 1, 2")
        rows[table] = [dict(zip(columns, map(_written, row), strict=True)) for row in found]
    return {
        "comment": "Made by tests/conformance/old_formats.py; its keys are known to everybody and protect nothing.",
        "env": ENV,
        "keyring": json.loads((folder / "ring.json").read_bytes()),
        "rows": rows,
        "patient": patient_id,
        "selection": EVERYTHING,
        "answer": answer["patient"],
    }


def _written(value: Any) -> Any:
    return {"hex": value.hex()} if isinstance(value, bytes) else value


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        json.dump(asyncio.run(made(Path(place))), sys.stdout, indent=1, ensure_ascii=False)
        sys.stdout.write("\n")
