"""Contact: messages that came in and wait, numbers to leave alone, one-time codes, and an index of needs not met."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

ROLE = "heed_app"

RIGHTS = {
    "inbound_message": "SELECT, INSERT",
    "waiting_message": "SELECT, INSERT, UPDATE, DELETE",
    "suppression": "SELECT, INSERT, DELETE",
    "contact_verification": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    _tables()
    unmet = sa.text("(flags & 8192) <> 0")
    op.create_index(
        "ix_audit_event_unmet", "audit_event", ["org", "ts", "seq", "pat"], sqlite_where=unmet, postgresql_where=unmet
    )
    if op.get_context().dialect.name == "postgresql":
        _rights_and_walls()


def downgrade() -> None:
    op.drop_index("ix_audit_event_unmet", "audit_event")
    for table in reversed(RIGHTS):
        op.drop_table(table)


def _key(name: str) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _octets(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _create(name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...]) -> None:
    named = sa.CheckConstraint("org <> ''", name=op.f(f"ck_{name}_org"))
    op.create_table(name, _key("org"), *parts, named, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))


def _of_patient(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"], name=f"fk_{name}_patient")


def _tables() -> None:
    _create(
        "inbound_message",
        _key("gateway"),
        _key("message_id"),
        _octets("digest"),
        _big("received_at"),
        sa.Column("answer", sa.Text(), nullable=False),
        key=("org", "gateway", "message_id"),
    )
    _create(
        "waiting_message",
        _key("id"),
        _key("patient_id"),
        _key("kind"),
        _big("received_at"),
        _big("resolved_at", nullable=True),
        _of_patient("waiting_message"),
        key=("org", "id"),
    )
    waiting = sa.text("resolved_at IS NULL")
    op.create_index(
        "ix_waiting_message_queue", "waiting_message", ["org", "id"], sqlite_where=waiting, postgresql_where=waiting
    )
    _create(
        "suppression",
        _octets("value"),
        _key("channel"),
        _big("since"),
        _key("why"),
        key=("org", "value", "channel"),
    )
    _create(
        "contact_verification",
        _key("id"),
        _key("patient_id"),
        _key("contact_point_id"),
        _octets("code"),
        _big("created_at"),
        _big("expires_at"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        _big("closed_at", nullable=True),
        _of_patient("contact_verification"),
        key=("org", "id"),
    )
    op.create_index(
        "ix_contact_verification_patient",
        "contact_verification",
        ["org", "patient_id", "contact_point_id", "created_at"],
    )


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")
