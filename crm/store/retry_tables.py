"""The table of retries: which mutations were done, and where what they did is found. `tables` collects it."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from crm.store.columns import Key, metadata, named, org

__all__ = ["retry"]

retry = Table(
    "retry",
    metadata,
    org(),
    Column("slot", LargeBinary, primary_key=True),
    Column("step", SmallInteger, primary_key=True, autoincrement=False),
    Column("payload", LargeBinary, nullable=False),
    Column("kind", Key, nullable=False),
    Column("patient_id", Key),
    Column("version", BigInteger, nullable=False),
    Column("ref", Text, nullable=False),
    Column("done_at", BigInteger, nullable=False),
    named(),
    Index("ix_retry_patient", "org", "patient_id"),
    Index("ix_retry_done_at", "org", "done_at"),
)
"""One row for each root field of a mutation that was done under a client's key. `slot` is a keyed digest of caller and
key, `payload` one of all that was asked; `kind`, `patient_id`, `version` and `ref` say where the effect is found. No
value of a patient is here, and nothing that a client wrote."""
