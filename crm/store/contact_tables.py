"""The tables around contact: messages that came in, what waits for staff, numbers to leave alone, one-time codes.

No value of a patient stands in any of them: what people wrote is sealed in the record, numbers and codes are keyed
hashes. `tables` collects them.
"""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Integer, LargeBinary, Table, Text, text

from crm.store.columns import Key, metadata, named, org

__all__ = ["contact_verification", "inbound_message", "suppression", "waiting_message"]

inbound_message = Table(
    "inbound_message",
    metadata,
    org(),
    Column("gateway", Key, primary_key=True),
    Column("message_id", Key, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("answer", Text, nullable=False),
    named(),
)
"""Each message that a gateway brought, once: a keyed digest of what it said, and how it was answered (JSON: codes and
times), so that a repetition is answered alike and does nothing."""

waiting_message = Table(
    "waiting_message",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("patient_id", Key, nullable=False),
    Column("kind", Key, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("resolved_at", BigInteger),
    named(),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
    Index(
        "ix_waiting_message_queue",
        "org",
        "id",
        sqlite_where=text("resolved_at IS NULL"),
        postgresql_where=text("resolved_at IS NULL"),
    ),
)
"""The queue of messages that staff have to read; `id` is that of the suspension in the record, which has the words."""

suppression = Table(
    "suppression",
    metadata,
    org(),
    Column("value", LargeBinary, primary_key=True),
    Column("channel", Key, primary_key=True),
    Column("since", BigInteger, nullable=False),
    Column("why", Key, nullable=False),
    named(),
)
"""Keyed hashes of numbers and mailboxes that are left alone, on whosever record, by channel; `why` is a code."""

contact_verification = Table(
    "contact_verification",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("patient_id", Key, nullable=False),
    Column("contact_point_id", Key, nullable=False),
    Column("code", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("closed_at", BigInteger),
    named(),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
    Index("ix_contact_verification_patient", "org", "patient_id", "contact_point_id", "created_at"),
)
"""One-time codes that were sent: a keyed hash of the code bound to the value it was sent to, and how often it was
tried."""
