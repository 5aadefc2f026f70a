"""Retries: which mutations were done, so that asking again does not do them twice."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ROLE = "heed_app"
TABLE = "retry"


def upgrade() -> None:
    op.create_table(
        TABLE,
        _key("org"),
        sa.Column("slot", sa.LargeBinary(), nullable=False),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        _key("kind"),
        _key("patient_id", nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("ref", sa.Text(), nullable=False),
        sa.Column("done_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("org <> ''", name=op.f(f"ck_{TABLE}_org")),
        sa.PrimaryKeyConstraint("org", "slot", "step", name=f"pk_{TABLE}"),
    )
    op.create_index("ix_retry_patient", TABLE, ["org", "patient_id"])
    op.create_index("ix_retry_done_at", TABLE, ["org", "done_at"])
    if op.get_context().dialect.name == "postgresql":
        mine = "org = current_setting('heed.org', true)"
        op.execute(f"REVOKE ALL ON {TABLE} FROM PUBLIC")
        op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {TABLE} TO {ROLE}")
        op.execute(f"ALTER TABLE {TABLE} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {TABLE} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {TABLE} USING ({mine}) WITH CHECK ({mine})")


def downgrade() -> None:
    op.drop_table(TABLE)


def _key(name: str, *, nullable: bool = False) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=nullable)
