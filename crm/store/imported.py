"""What other systems last reported, as keyed digests: how an import knows a record again, and that nothing changed.

A slot is all that one source says under one key (`crm.services.recognition.Incoming.key`), known here by its keyed
digest only. The patient is the one whom the last of it was about. When the index key is rotated the digests of the old
one are forgotten; then an import finds the patient through the record itself and compares values.
"""

from collections.abc import Collection, Mapping

from sqlalchemy import bindparam, delete, insert, select

from crm.crypto.keyset import KeySet
from crm.domain import source_records
from crm.store.database import Connection, Fetch
from crm.store.statements import any_of, prepare
from crm.store.tables import source_record

_LOAD = prepare(
    select(source_record.c.slot, source_record.c.patient_id, source_record.c.digest).where(
        source_record.c.org == bindparam("org"), any_of(source_record.c.slot, "slots")
    )
)
_DELETE = prepare(
    delete(source_record).where(source_record.c.org == bindparam("org"), source_record.c.slot == bindparam("slot"))
)
_INSERT = prepare(insert(source_record))


def slot(keys: KeySet, org: str, entry: Mapping[str, str]) -> bytes:
    """The slot of a source's record, as a patient's record names it (`crm.domain.source_records`)."""
    return digest(keys, org, source_records.term(entry["source"], entry["id"]))


def digest(keys: KeySet, org: str, material: bytes) -> bytes:
    """`material` under the organisation's key: nobody without it can test a guess."""
    return keys.digest(org, "import", material)


async def load(fetch: Fetch, org: str, slots: Collection[bytes]) -> dict[bytes, tuple[str, bytes]]:
    """Patient id and digest by slot; unknown slots are absent."""
    rows = await fetch(_LOAD, org=org, slots=sorted(slots)) if slots else []
    return {bytes(row["slot"]): (row["patient_id"], bytes(row["digest"])) for row in rows}


async def store(connection: Connection, org: str, reports: Mapping[bytes, tuple[str, bytes]], key_version: int) -> None:
    """Replaces what is known of these slots, in the caller's transaction; `key_version` made the digests."""
    if not reports:
        return
    await connection.execute_many(_DELETE, [{"org": org, "slot": slot} for slot in reports])
    rows = [
        {"org": org, "slot": slot, "patient_id": patient_id, "digest": digest, "key_ver": key_version}
        for slot, (patient_id, digest) in reports.items()
    ]
    await connection.execute_many(_INSERT, rows)
