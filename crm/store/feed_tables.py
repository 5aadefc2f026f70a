"""The tables of the change feed: what changed in which record, in one order for each organisation.

No value of a patient stands here: ids, versions and the names of fields. `tables` collects them.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text

from crm.store.columns import Key, metadata, named, org

__all__ = ["change", "change_head", "outbox"]

outbox = Table(
    "outbox",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("patient_id", Key, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("changed", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("kind", Text, nullable=False, server_default="CHANGED"),
    named(),
)
"""Changes that wait for their place in the feed, each written in the transaction that made it. `changed` is a JSON list
of field names, never values; `kind` says what happened to the record as a whole."""

change = Table(
    "change",
    metadata,
    org(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Key, nullable=False),
    Column("patient_id", Key, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("changed", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    named(),
    CheckConstraint("kind IN ('CHANGED', 'MERGED', 'UNMERGED', 'ERASED')", name="kind"),
    Index("ix_change_patient", "org", "patient_id", "seq"),
)
"""The feed of an organisation: numbered from 1 without gaps in the order in which changes were committed, and of one
patient in the order of versions. `id` is that of the outbox row; `at` when the change was made."""

change_head = Table(
    "change_head",
    metadata,
    org(),
    Column("seq", BigInteger, nullable=False),
    named(),
)
"""The number that an organisation's last change got. Whoever numbers changes locks it."""
