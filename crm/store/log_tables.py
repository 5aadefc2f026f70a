"""The tables of the log: events, tree, checkpoints, details, break-glass, and what is counted by. Runs no statement.

Part of `crm.store.tables`, where everybody imports them from.
"""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, SmallInteger, Table, Text, text

from crm.store.columns import Key, metadata, named, org

__all__ = [
    "audit_actor_day",
    "audit_checkpoint",
    "audit_detail",
    "audit_event",
    "audit_head",
    "audit_outbox",
    "audit_rollup",
    "audit_tile",
    "break_glass",
]

audit_head = Table(
    "audit_head",
    metadata,
    org(),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("checkpoint", Text),
    Column("db_time", BigInteger, nullable=False),
    Column("epoch", Integer, nullable=False, server_default="1"),
    Column("pruned", BigInteger, nullable=False, server_default="0"),
    named(),
    # One hot row for each organisation: room on its page keeps every update in place.
    postgresql_with={"fillfactor": "20"},
)
"""The end of an organisation's log: the row that a batch locks to number its events. `frontier` is the growing edge of
the tree (`crm/audit/tree.py`), `checkpoint` the signed note over all `size` leaves, `epoch` how often the log had to
begin anew, and `pruned` the number of the oldest event that is still kept."""

audit_event = Table(
    "audit_event",
    metadata,
    org(),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("id", Key, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("pat", Key),
    Column("actor", Key, nullable=False),
    Column("role", Text, nullable=False),
    Column("pou", Text),
    Column("act", Text, nullable=False),
    Column("out", SmallInteger, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("disc", SmallInteger, nullable=False),
    Column("req", Key, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    named(),
)
"""The log. `leaf` is the evidence; the other columns are derived from it so that it can be searched. `out` is the FHIR
AuditEvent outcome (0 ok, 4 partial, 8 denied, 12 error)."""


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(
        name, *(audit_event.c[column] for column in columns), sqlite_where=text(where), postgresql_where=text(where)
    )


Index("ix_audit_event_id", audit_event.c.org, audit_event.c.id, unique=True)
Index("ix_audit_event_time", audit_event.c.org, audit_event.c.ts, audit_event.c.seq)
# What officers sum up of one patient and of one actor is read from the index alone: hence its last columns.
Index(
    "ix_audit_event_patient",
    *(audit_event.c[column] for column in ("org", "pat", "ts", "seq", "actor", "out")),
)
Index(
    "ix_audit_event_actor",
    *(audit_event.c[column] for column in ("org", "actor", "ts", "seq", "pat", "out")),
)
Index("ix_audit_event_request", audit_event.c.org, audit_event.c.req)
_partial("ix_audit_event_refused", "org", "ts", "seq", where="out <> 0")
# Circumstances by how often they come: a rare one is not looked for among the frequent ones (`FLAGS` has the bits).
_partial("ix_audit_event_flagged", "org", "ts", "seq", "flags", "actor", where="flags <> 0")
_partial("ix_audit_event_break_glass", "org", "ts", "seq", where="(flags & 1) = 1")
_partial("ix_audit_event_kin", "org", "ts", "seq", where="(flags & 2060) <> 0")
_partial("ix_audit_event_notable", "org", "ts", "seq", "flags", where="(flags & 5040) <> 0")
_partial("ix_audit_event_unmet", "org", "ts", "seq", "pat", where="(flags & 8192) <> 0")
_partial("ix_audit_event_disclosed", "org", "pat", "ts", "seq", where="disc <> 0")

audit_outbox = Table(
    "audit_outbox",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("leaf", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("stamp", LargeBinary),
    named(),
)
"""Events that committed together with a change and wait to be numbered into the log. Without the right `stamp`
(`crm/store/log_outbox.py`) a row is nobody's, and never taken in."""

audit_tile = Table(
    "audit_tile",
    metadata,
    org(),
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    named(),
)
"""The full tiles of the tree (`crm/audit/tiles.py`): 256 hashes each, and the root over them, which is an entry of the
tile above. They outlive the events, so that no proof ever breaks."""

audit_checkpoint = Table(
    "audit_checkpoint",
    metadata,
    org(),
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("note", Text, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("cosignatures", Text, nullable=False, server_default=""),
    Column("witnessed_at", BigInteger),
    named(),
    Index(
        "ix_audit_checkpoint_witnessed",
        "org",
        "epoch",
        "size",
        sqlite_where=text("witnessed_at IS NOT NULL"),
        postgresql_where=text("witnessed_at IS NOT NULL"),
    ),
)
"""Checkpoints that were published, with the lines by which witnesses cosigned them. An epoch is one life of a log."""

audit_detail = Table(
    "audit_detail",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("kind", Key, primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    named(),
)
"""What people wrote about an event, sealed under a key of the patient. The leaf that has its digest as `sealed` has its
`id` as `ref` and its `kind` as `act`."""

break_glass = Table(
    "break_glass",
    metadata,
    org(),
    Column("id", Key, primary_key=True),
    Column("subject", Key, nullable=False),
    Column("issuer", Text, nullable=False),
    Column("actor", Key, nullable=False),
    Column("role", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("requested_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("reviewer_issuer", Text),
    Column("reviewer", Text),
    Column("reviewed_at", BigInteger),
    Column("verdict", Text),
    named(),
    Index("ix_break_glass_actor", "org", "actor", "subject", "expires_at"),
    Index(
        "ix_break_glass_waiting",
        "org",
        "id",
        sqlite_where=text("reviewed_at IS NULL"),
        postgresql_where=text("reviewed_at IS NULL"),
    ),
)
"""Who may see one patient's restricted record for a while, because they said why; and who judged it afterwards.
`subject` is the patient's random name in the log."""

audit_actor_day = Table(
    "audit_actor_day",
    metadata,
    org(),
    Column("day", Integer, primary_key=True, autoincrement=False),
    Column("actor", Key, primary_key=True),
    Column("events", BigInteger, nullable=False),
    Column("patients", BigInteger, nullable=False),
    Column("refused", BigInteger, nullable=False),
    named(),
    Index("ix_audit_actor_day_actor", "org", "actor", "day", "patients"),
)
"""How much each actor did on each day (days since 1970, UTC): derived from the log, and can be computed again."""

audit_rollup = Table(
    "audit_rollup",
    metadata,
    org(),
    Column("seq", BigInteger, nullable=False),
    named(),
)
"""Up to which event, exclusive, `audit_actor_day` has counted."""
