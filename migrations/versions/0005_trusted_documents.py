"""Trusted documents: the GraphQL documents that a deployment's clients may send, by the SHA-256 of their text."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

ROLE = "heed_app"
TABLE = "trusted_document"


def upgrade() -> None:
    op.create_table(
        TABLE,
        _key("sha256"),
        _key("client"),
        _text("name"),
        _text("text"),
        sa.Column("registered_at", sa.BigInteger(), nullable=False),
        _text("registered_by"),
        sa.Column("retired_at", sa.BigInteger()),
        _text("retired_by", nullable=True),
        sa.PrimaryKeyConstraint("sha256", "client", name=f"pk_{TABLE}"),
        sa.CheckConstraint("length(sha256) = 64", name=op.f(f"ck_{TABLE}_sha256")),
        sa.CheckConstraint("(retired_at IS NULL) = (retired_by IS NULL)", name=op.f(f"ck_{TABLE}_retired")),
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"REVOKE ALL ON {TABLE} FROM PUBLIC")
        op.execute(f"GRANT SELECT, INSERT, UPDATE ON {TABLE} TO {ROLE}")


def downgrade() -> None:
    op.drop_table(TABLE)


def _key(name: str) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)
