"""The tables of webhooks: registered endpoints, and the messages that did not arrive at the first attempt.

No value of a patient stands in them: a message is the id of a patient, a version and the names of fields. `tables`
collects them.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
)

from crm.store.columns import Key, metadata, named, org

__all__ = ["webhook_endpoint", "webhook_message"]

webhook_endpoint = Table(
    "webhook_endpoint",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("position", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("failing_since", BigInteger),
    Column("paused_until", BigInteger, nullable=False),
    Column("lease_by", Key),
    Column("beat", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
    named(),
    CheckConstraint("state IN ('active', 'disabled')", name="state"),
    CheckConstraint("position >= 0", name="position"),
)
"""Who is told of changes. `sealed` is the registration: address, kinds, fields, role, purpose, secrets.

All changes up to `position` of the feed were delivered or have a message. `lease_by` is the process that sends, `beat`
its sign of life; `failures` counts those in a row, and until `paused_until` nothing is sent. `why` is a code: how the
state came about."""

webhook_message = Table(
    "webhook_message",
    metadata,
    org(),
    Column("endpoint_id", Key, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("change_id", Key, nullable=False),
    Column("patient_id", Key, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("changed", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", BigInteger, nullable=False),
    Column("answer", Text, nullable=False),
    named(),
    CheckConstraint("state IN ('waiting', 'dead')", name="state"),
    ForeignKeyConstraint(["org", "endpoint_id"], ["webhook_endpoint.org", "webhook_endpoint.id"]),
    Index("ix_webhook_message_due", "org", "endpoint_id", "state", "next_at"),
    Index("ix_webhook_message_patient", "org", "endpoint_id", "patient_id", "position"),
)
"""Changes that an endpoint has not taken yet (`waiting`), and those that were given up (`dead`).

`answer` is the code of the last attempt; `next_at` when the next one is due. One that was delivered has no row."""
