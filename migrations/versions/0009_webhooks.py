"""Webhooks: registered endpoints, and what waits to be delivered to them."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ROLE = "heed_app"

RIGHTS = {
    "webhook_endpoint": "SELECT, INSERT, UPDATE",
    "webhook_message": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    _endpoints()
    _messages()
    if op.get_context().dialect.name == "postgresql":
        _rights_and_walls()


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)


def _key(name: str, *, nullable: bool = False) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=nullable)


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, autoincrement=False)


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False)


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def _endpoints() -> None:
    name = "webhook_endpoint"
    op.create_table(
        name,
        _key("org"),
        _key("id"),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        _text("state"),
        _text("why"),
        _big("position"),
        _count("failures"),
        _big("failing_since", nullable=True),
        _big("paused_until"),
        _key("lease_by", nullable=True),
        _big("beat"),
        _big("created_at"),
        _big("changed_at"),
        _check(name, "org", "org <> ''"),
        _check(name, "state", "state IN ('active', 'disabled')"),
        _check(name, "position", "position >= 0"),
        sa.PrimaryKeyConstraint("org", "id", name=f"pk_{name}"),
    )


def _messages() -> None:
    name = "webhook_message"
    op.create_table(
        name,
        _key("org"),
        _key("endpoint_id"),
        _big("position"),
        _key("change_id"),
        _key("patient_id"),
        _big("version"),
        _text("kind"),
        _text("changed"),
        _big("at"),
        _text("state"),
        _count("attempts"),
        _big("next_at"),
        _text("answer"),
        _check(name, "org", "org <> ''"),
        _check(name, "state", "state IN ('waiting', 'dead')"),
        sa.ForeignKeyConstraint(
            ["org", "endpoint_id"], ["webhook_endpoint.org", "webhook_endpoint.id"], name=f"fk_{name}_webhook_endpoint"
        ),
        sa.PrimaryKeyConstraint("org", "endpoint_id", "position", name=f"pk_{name}"),
    )
    op.create_index("ix_webhook_message_due", name, ["org", "endpoint_id", "state", "next_at"])
    op.create_index("ix_webhook_message_patient", name, ["org", "endpoint_id", "patient_id", "position"])


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")
