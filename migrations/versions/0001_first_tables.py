"""The first tables: patients, keys, blind indexes, the log, the outboxes; and on PostgreSQL who may do what with them.

A frozen copy of `crm/store/tables.py` as it was: a revision never changes once released.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ROLE = "heed_app"

TABLES = (
    "organisation",
    "patient",
    "sealed_row",
    "patient_key",
    "blind_index",
    "crypto_key",
    "outbox",
    "audit_head",
    "audit_event",
    "audit_outbox",
    "source_record",
)

RIGHTS = {
    "organisation": "SELECT, INSERT",
    "patient": "SELECT, INSERT, UPDATE",
    "sealed_row": "SELECT, INSERT, UPDATE, DELETE",
    "patient_key": "SELECT, INSERT, UPDATE",
    "blind_index": "SELECT, INSERT, UPDATE, DELETE",
    "crypto_key": "SELECT, INSERT, UPDATE",
    "outbox": "SELECT, INSERT, DELETE",
    "audit_head": "SELECT, INSERT, UPDATE",
    "audit_event": "SELECT, INSERT",
    "audit_outbox": "SELECT, INSERT, DELETE",
    "source_record": "SELECT, INSERT, UPDATE, DELETE",
    "alembic_version": "SELECT",
}


def upgrade() -> None:
    _patients()
    _keys()
    _outbox_and_sources()
    _log()
    if op.get_context().dialect.name == "postgresql":
        _role()
        _walls()
        _append_only_on_postgresql()
    else:
        _append_only_on_sqlite()


def downgrade() -> None:
    # The role stays: it belongs to the whole server, where another database may use it.
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION heed_append_only()")
        op.execute(f"REVOKE ALL ON alembic_version FROM {ROLE}")
        op.execute(f"REVOKE ALL ON SCHEMA public FROM {ROLE}")


def _key(name: str, *, nullable: bool = False) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, autoincrement=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, autoincrement=False)


def _small(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.SmallInteger(), nullable=False, autoincrement=False)


def _octets(name: str, *, nullable: bool = False) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=nullable)


def _create(name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...], **options: Any) -> None:
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"), **options)


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def _named(table: str) -> sa.CheckConstraint:
    return _check(table, "org", "org <> ''")


def _of_patient(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"], name=f"fk_{table}_patient")


def _partial(name: str, table: str, *columns: str, where: str, unique: bool = False) -> None:
    rule = sa.text(where)
    op.create_index(name, table, list(columns), unique=unique, sqlite_where=rule, postgresql_where=rule)


def _patients() -> None:
    _create("organisation", _key("org"), _big("created_at"), _named("organisation"), key=("org",))
    _create(
        "patient",
        _key("org"),
        _key("id"),
        _big("version"),
        _text("status"),
        _small("restricted"),
        _key("audit_subject"),
        _text("classes"),
        _big("created_at"),
        _big("updated_at"),
        _key("merged_into", nullable=True),
        _named("patient"),
        _check("patient", "version", "version >= 1"),
        _check("patient", "status", "status IN ('active', 'merged', 'erased')"),
        _check("patient", "restricted", "restricted IN (0, 1)"),
        key=("org", "id"),
    )
    op.create_index("ix_patient_audit_subject", "patient", ["org", "audit_subject"], unique=True)
    _create(
        "sealed_row",
        _key("org"),
        _key("patient_id"),
        _key("key_class"),
        _big("version"),
        _integer("dek_no"),
        _octets("cells", nullable=True),
        _octets("seal", nullable=True),
        _text("provenance"),
        _named("sealed_row"),
        _of_patient("sealed_row"),
        key=("org", "patient_id", "key_class"),
    )


def _keys() -> None:
    _create(
        "patient_key",
        _key("org"),
        _key("patient_id"),
        _key("key_class"),
        _integer("dek_no"),
        _integer("epoch"),
        _octets("wrapped", nullable=True),
        _text("state"),
        _named("patient_key"),
        _check("patient_key", "state", "state IN ('live', 'shredded')"),
        _check("patient_key", "wrapped", "(state = 'live') = (wrapped IS NOT NULL)"),
        key=("org", "patient_id", "key_class", "dek_no"),
    )
    op.create_index("ix_patient_key_epoch", "patient_key", ["epoch", "key_class", "org"])
    _create(
        "blind_index",
        _key("org"),
        _small("index_code"),
        _small("key_ver"),
        _octets("value"),
        _key("patient_id"),
        _key("row_id"),
        _named("blind_index"),
        _of_patient("blind_index"),
        key=("org", "index_code", "key_ver", "value", "patient_id", "row_id"),
    )
    op.create_index("ix_blind_index_patient", "blind_index", ["org", "patient_id"])
    _create(
        "crypto_key",
        _key("kind"),
        _key("key_class"),
        _integer("no"),
        _text("state"),
        _text("provider"),
        _text("key_ref"),
        _octets("wrapped", nullable=True),
        _big("created_at"),
        _big("activated_at", nullable=True),
        _big("destroyed_at", nullable=True),
        _check("crypto_key", "kind", "kind IN ('wrap', 'index')"),
        _check("crypto_key", "state", "state IN ('pending', 'active', 'retiring', 'destroyed')"),
        key=("kind", "key_class", "no"),
    )
    _partial("ix_crypto_key_active", "crypto_key", "kind", "key_class", where="state = 'active'", unique=True)


def _outbox_and_sources() -> None:
    _create(
        "outbox",
        _key("org"),
        _key("id"),
        _key("patient_id"),
        _big("version"),
        _text("changed"),
        _big("created_at"),
        _named("outbox"),
        key=("org", "id"),
    )
    _create(
        "source_record",
        _key("org"),
        _octets("slot"),
        _key("patient_id"),
        _octets("digest"),
        _named("source_record"),
        _of_patient("source_record"),
        key=("org", "slot"),
    )
    op.create_index("ix_source_record_patient", "source_record", ["org", "patient_id"])


def _log() -> None:
    _create(
        "audit_head",
        _key("org"),
        _big("size"),
        _octets("frontier"),
        _text("checkpoint", nullable=True),
        _big("db_time"),
        _named("audit_head"),
        key=("org",),
        postgresql_with={"fillfactor": "20"},
    )
    _create(
        "audit_event",
        _key("org"),
        _big("seq"),
        _key("id"),
        _big("ts"),
        _key("pat", nullable=True),
        _key("actor"),
        _text("role"),
        _text("pou", nullable=True),
        _text("act"),
        _small("out"),
        _integer("flags"),
        _small("disc"),
        _key("req"),
        _octets("leaf"),
        _octets("leaf_hash"),
        _named("audit_event"),
        key=("org", "seq"),
    )
    op.create_index("ix_audit_event_id", "audit_event", ["org", "id"], unique=True)
    op.create_index("ix_audit_event_time", "audit_event", ["org", "ts", "seq"])
    op.create_index("ix_audit_event_patient", "audit_event", ["org", "pat", "ts", "seq"])
    op.create_index("ix_audit_event_actor", "audit_event", ["org", "actor", "ts", "seq"])
    op.create_index("ix_audit_event_request", "audit_event", ["org", "req"])
    _partial("ix_audit_event_refused", "audit_event", "org", "ts", "seq", where="out <> 0")
    _partial("ix_audit_event_flagged", "audit_event", "org", "ts", "seq", where="flags <> 0")
    _partial("ix_audit_event_break_glass", "audit_event", "org", "ts", "seq", where="(flags & 1) = 1")
    _partial("ix_audit_event_disclosed", "audit_event", "org", "pat", "ts", "seq", where="disc <> 0")
    _create(
        "audit_outbox",
        _key("org"),
        _key("id"),
        _octets("leaf"),
        _big("created_at"),
        _named("audit_outbox"),
        key=("org", "id"),
    )


def _role() -> None:
    """The role that the service takes on; it belongs to the whole server, so another database may be making it now."""
    op.execute(
        f"""
        DO $$ BEGIN
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{ROLE}') THEN
                BEGIN
                    CREATE ROLE {ROLE} NOLOGIN;
                EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
                END;
            END IF;
            IF NOT pg_has_role(current_user, '{ROLE}', 'SET') THEN
                EXECUTE format('GRANT {ROLE} TO %I', current_user);
            END IF;
        END $$
        """
    )
    op.execute(f"GRANT USAGE ON SCHEMA public TO {ROLE}")
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")


def _walls() -> None:
    """Row-level security, for the tables' owner too. Without a scope no row is visible and none can be written."""
    mine = "org = current_setting('heed.org', true)"
    for table in TABLES:
        if table == "crypto_key":
            continue  # belongs to no organisation
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        if table == "organisation":
            # The list itself is visible, so that a sweeper can visit each; a row is added only in its own scope.
            op.execute(f"CREATE POLICY listed ON {table} FOR SELECT USING (true)")
            op.execute(f"CREATE POLICY own ON {table} FOR INSERT WITH CHECK ({mine})")
        else:
            op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")


def _append_only_on_postgresql() -> None:
    op.execute(
        """
        CREATE FUNCTION heed_append_only() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the log is append-only' USING ERRCODE = 'restrict_violation'; END $$
        """
    )
    op.execute(
        "CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION heed_append_only()"
    )


def _append_only_on_sqlite() -> None:
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_event_no_{event.lower()} BEFORE {event} ON audit_event "
            "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
        )
    # INSERT OR REPLACE deletes without asking the trigger above, unless the connection wishes for it.
    op.execute(
        "CREATE TRIGGER audit_event_no_replace BEFORE INSERT ON audit_event "
        "WHEN EXISTS (SELECT 1 FROM audit_event WHERE org = NEW.org AND (seq = NEW.seq OR id = NEW.id)) "
        "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    )
