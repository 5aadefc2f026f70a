"""The tables of history: who made each version of a record, and the sealed rows that later versions replaced.

No value of a patient stands here in clear: names of fields, who changed them, and sealed cells. `tables` collects them.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
)

from crm.store.columns import Key, metadata, named, org

__all__ = ["patient_version", "sealed_version"]

patient_version = Table(
    "patient_version",
    metadata,
    org(),
    Column("patient_id", Key, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("restricted", SmallInteger, nullable=False),
    Column("classes", Text, nullable=False),
    Column("changed", Text, nullable=False),
    Column("act", Text),
    Column("issuer", Text),
    Column("subject", Text),
    Column("roles", Text),
    Column("channel", Text),
    Column("system", Text),
    Column("request_id", Text),
    named(),
    CheckConstraint("version >= 1", name="version"),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
)
"""Each version of a record: since when it was the newest, the clear row as it was then, and what was changed by whom.

`changed` (catalogue names) and `roles` are JSON lists. `act` is NULL, and with it everything about who, in the one row
of a record that was there before its versions were kept: how it came to be so is not described."""

sealed_version = Table(
    "sealed_version",
    metadata,
    org(),
    Column("patient_id", Key, primary_key=True),
    Column("key_class", Key, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("dek_no", Integer, nullable=False),
    Column("cells", LargeBinary),
    Column("seal", LargeBinary),
    Column("provenance", Text, nullable=False),
    named(),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
)
"""Rows of `sealed_row` that a change replaced: the one of `version` held from that version on until the next."""
