"""Every table of Heed as SQLAlchemy metadata, and what the service's database role may do with each. Runs no statement.

Column types are only those that both drivers pass through unchanged: text, integers, octets. Times are microseconds
since 1970-01-01 UTC, ids are text, truth values are 0 and 1. Everything that belongs to an organisation carries `org`
first in its key. A change here needs a revision in `migrations/versions`; a test compares the two.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)

from crm.store.columns import Key, metadata, named, org
from crm.store.contact_tables import contact_verification, inbound_message, suppression, waiting_message
from crm.store.duplicate_tables import possible_duplicate
from crm.store.feed_tables import change, change_head, outbox
from crm.store.history_tables import patient_version, sealed_version
from crm.store.log_tables import (
    audit_actor_day,
    audit_checkpoint,
    audit_detail,
    audit_event,
    audit_head,
    audit_outbox,
    audit_rollup,
    audit_tile,
    break_glass,
)
from crm.store.merge_tables import record_merge
from crm.store.retry_tables import retry
from crm.store.token_tables import revoked_token
from crm.store.webhook_tables import webhook_endpoint, webhook_message

__all__ = [
    "APPEND_ONLY",
    "RIGHTS",
    "ROLE",
    "SCOPED",
    "audit_actor_day",
    "audit_checkpoint",
    "audit_detail",
    "audit_event",
    "audit_head",
    "audit_outbox",
    "audit_rollup",
    "audit_tile",
    "blind_index",
    "break_glass",
    "change",
    "change_head",
    "contact_verification",
    "crypto_key",
    "epoch_floor",
    "erasure_ledger",
    "inbound_message",
    "legal_hold",
    "metadata",
    "organisation",
    "outbox",
    "patient",
    "patient_key",
    "patient_version",
    "possible_duplicate",
    "record_merge",
    "replica",
    "retry",
    "revoked_token",
    "sealed_row",
    "sealed_version",
    "source_record",
    "suppression",
    "trusted_document",
    "waiting_message",
    "webhook_endpoint",
    "webhook_message",
]

ROLE: Final = "heed_app"
"""The PostgreSQL role every connection of the service takes on: it owns nothing and cannot pass row-level security."""

organisation = Table(
    "organisation",
    metadata,
    org(),
    Column("created_at", BigInteger, nullable=False),
    named(),
)
"""The organisations that have a log; the one list visible from every scope, so that a sweeper can visit each."""

patient = Table(
    "patient",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("restricted", SmallInteger, nullable=False),
    Column("audit_subject", Key, nullable=False),
    Column("classes", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("merged_into", Key),
    named(),
    CheckConstraint("version >= 1", name="version"),
    CheckConstraint("status IN ('active', 'merged', 'erased')", name="status"),
    CheckConstraint("restricted IN (0, 1)", name="restricted"),
    Index("ix_patient_audit_subject", "org", "audit_subject", unique=True),
    Index(
        "ix_patient_merged_into",
        "org",
        "merged_into",
        sqlite_where=text("merged_into IS NOT NULL"),
        postgresql_where=text("merged_into IS NOT NULL"),
    ),
)
"""The clear part of a record: nothing here tells who the person is. `audit_subject` is the patient's random name in the
log."""

sealed_row = Table(
    "sealed_row",
    metadata,
    org(),
    Column("patient_id", Key, primary_key=True),
    Column("key_class", Key, primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("dek_no", Integer, nullable=False),
    Column("cells", LargeBinary),
    Column("seal", LargeBinary),
    Column("provenance", Text, nullable=False),
    named(),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
)
"""The sealed fields of one patient and key class; `cells` and `seal` are NULL once shredded."""

patient_key = Table(
    "patient_key",
    metadata,
    org(),
    Column("patient_id", Key, primary_key=True),
    Column("key_class", Key, primary_key=True),
    Column("dek_no", Integer, primary_key=True, autoincrement=False),
    Column("epoch", Integer, nullable=False),
    Column("wrapped", LargeBinary),
    Column("state", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False, server_default="0"),
    Column("shredded_at", BigInteger),
    named(),
    CheckConstraint("state IN ('live', 'shredded')", name="state"),
    CheckConstraint("(state = 'live') = (wrapped IS NOT NULL)", name="wrapped"),
    Index("ix_patient_key_epoch", "epoch", "key_class", "org"),
)
"""Data keys, wrapped. A `shredded` one is gone for good: `wrapped` is NULL, and a trigger keeps it so."""

blind_index = Table(
    "blind_index",
    metadata,
    org(),
    Column("index_code", SmallInteger, primary_key=True, autoincrement=False),
    Column("key_ver", SmallInteger, primary_key=True, autoincrement=False),
    Column("value", LargeBinary, primary_key=True),
    Column("patient_id", Key, primary_key=True),
    Column("row_id", Key, primary_key=True),
    named(),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
    Index("ix_blind_index_patient", "org", "patient_id"),
)
"""Keyed hashes to search by; the key is ordered for the look-up, the index for rewriting one patient's values."""

crypto_key = Table(
    "crypto_key",
    metadata,
    Column("kind", Key, primary_key=True),
    Column("key_class", Key, primary_key=True),
    Column("no", Integer, primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("key_ref", Text, nullable=False),
    Column("wrapped", LargeBinary),
    Column("created_at", BigInteger, nullable=False),
    Column("activated_at", BigInteger),
    Column("destroyed_at", BigInteger),
    Column("wrapped_at", BigInteger),
    Column("retired_at", BigInteger),
    Column("drained_at", BigInteger),
    Column("former_refs", Text, nullable=False, server_default="[]"),
    CheckConstraint("kind IN ('wrap', 'index', 'sign')", name="kind"),
    CheckConstraint("state IN ('pending', 'active', 'retiring', 'destroyed')", name="state"),
    Index(
        "ix_crypto_key_active",
        "kind",
        "key_class",
        unique=True,
        sqlite_where=text("state = 'active'"),
        postgresql_where=text("state = 'active'"),
    ),
)
"""Epoch, index and signing keys, wrapped by the provider's root key; one active for each kind and class. Belongs to no
organisation. `wrapped_at` is when a root key last wrapped it (NULL: when it was created), `drained_at` when nothing
needed a retiring key any more, `destroyed_at` from when on nobody can use it (which may lie ahead). `former_refs` is a
JSON list of the root keys that wrapped it before `key_ref`: old copies of this table have it under those."""

replica = Table(
    "replica",
    metadata,
    Column("node", Key, primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("max_age", BigInteger, nullable=False),
    Column("holds", Text, nullable=False),
)
"""The running processes and the keys that each holds (JSON: use, number, state), as they last said in the key store.
`max_age`, in microseconds: how long one goes on changing records without a look at the key store."""

epoch_floor = Table(
    "epoch_floor",
    metadata,
    Column("key_class", Key, primary_key=True),
    Column("no", Integer, nullable=False),
)
"""Up to which epoch of each class no data key may be stored any more, whoever still knows it: raised before an epoch is
destroyed, and guarded by a trigger. Beside the records, wherever the key store is."""

erasure_ledger = Table(
    "erasure_ledger",
    metadata,
    org(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("patient_id", Key, nullable=False),
    Column("entry", Text, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    named(),
    Index("ix_erasure_ledger_patient", "org", "patient_id"),
)
"""What was erased, in order, each entry chained to the one before it: `hash` covers `entry` (JSON) and the hash of
`seq` - 1. Numbered from 1."""

legal_hold = Table(
    "legal_hold",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("patient_id", Key, nullable=False),
    Column("reason", Text, nullable=False),
    Column("placed_by", Text, nullable=False),
    Column("placed_at", BigInteger, nullable=False),
    Column("lifted_by", Text),
    Column("lifted_at", BigInteger),
    named(),
    Index("ix_legal_hold_patient", "org", "patient_id"),
)
"""Reasons why a patient must not be erased now; a hold that was lifted stays as a fact."""

source_record = Table(
    "source_record",
    metadata,
    org(),
    Column("slot", LargeBinary, primary_key=True),
    Column("patient_id", Key, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("key_ver", SmallInteger, nullable=False, server_default="1"),
    named(),
    ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"]),
    Index("ix_source_record_patient", "org", "patient_id"),
)
"""What a source system last reported in one slot (`crm/store/imported.py`), as keyed digests: how an import knows a
record again, and that nothing changed."""

trusted_document = Table(
    "trusted_document",
    metadata,
    Column("sha256", Key, primary_key=True),
    Column("client", Key, primary_key=True),
    Column("name", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("registered_at", BigInteger, nullable=False),
    Column("registered_by", Text, nullable=False),
    Column("retired_at", BigInteger),
    Column("retired_by", Text),
    CheckConstraint("length(sha256) = 64", name="sha256"),
    CheckConstraint("(retired_at IS NULL) = (retired_by IS NULL)", name="retired"),
)
"""GraphQL documents that may be executed by name, each once for every client that has it. `sha256` is the hex digest of
`text`; `name` are its operations. Belongs to no organisation: clients are programs of the deployment. A retired one
stays as a fact."""

_WRITE = ("SELECT", "INSERT", "UPDATE", "DELETE")

RIGHTS: Final[dict[Table, tuple[str, ...]]] = {
    organisation: ("SELECT", "INSERT"),
    patient: ("SELECT", "INSERT", "UPDATE"),
    sealed_row: _WRITE,
    patient_key: ("SELECT", "INSERT", "UPDATE"),
    blind_index: _WRITE,
    crypto_key: ("SELECT", "INSERT", "UPDATE"),
    outbox: ("SELECT", "INSERT", "DELETE"),
    change: ("SELECT", "INSERT", "DELETE"),
    change_head: ("SELECT", "INSERT", "UPDATE"),
    audit_head: ("SELECT", "INSERT", "UPDATE"),
    audit_event: ("SELECT", "INSERT"),
    audit_outbox: ("SELECT", "INSERT", "DELETE"),
    source_record: _WRITE,
    replica: _WRITE,
    epoch_floor: ("SELECT", "UPDATE"),
    erasure_ledger: ("SELECT", "INSERT"),
    legal_hold: ("SELECT", "INSERT", "UPDATE"),
    audit_tile: ("SELECT", "INSERT"),
    audit_checkpoint: ("SELECT", "INSERT", "UPDATE"),
    audit_detail: ("SELECT", "INSERT"),
    break_glass: ("SELECT", "INSERT", "UPDATE"),
    audit_actor_day: _WRITE,
    audit_rollup: ("SELECT", "INSERT", "UPDATE"),
    inbound_message: ("SELECT", "INSERT"),
    waiting_message: _WRITE,
    suppression: ("SELECT", "INSERT", "DELETE"),
    contact_verification: _WRITE,
    possible_duplicate: _WRITE,
    trusted_document: ("SELECT", "INSERT", "UPDATE"),
    retry: _WRITE,
    revoked_token: ("SELECT", "INSERT"),
    patient_version: ("SELECT", "INSERT", "DELETE"),
    sealed_version: _WRITE,
    webhook_endpoint: ("SELECT", "INSERT", "UPDATE"),
    record_merge: ("SELECT", "INSERT", "UPDATE"),
    webhook_message: _WRITE,
}
"""What `ROLE` may do; everything else is refused by PostgreSQL."""

APPEND_ONLY: Final = (audit_event, audit_tile, audit_detail, erasure_ledger, revoked_token)
"""Tables whose rows are never changed or removed: triggers refuse it on both engines, whoever asks."""

SCOPED: Final = frozenset(table for table in metadata.tables.values() if "org" in table.c) - {organisation}
"""Tables of which a statement sees one organisation's rows only."""
