"""Tokens that are not believed any more before they expire."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

ROLE = "heed_app"
TABLE = "revoked_token"


def upgrade() -> None:
    op.create_table(
        TABLE,
        sa.Column("seq", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("id", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False),
        _text("issuer"),
        _text("token_id", nullable=True),
        _text("subject", nullable=True),
        _time("issued_until"),
        _time("ends_at"),
        _time("revoked_at"),
        _text("revoked_by"),
        sa.PrimaryKeyConstraint("seq", name=f"pk_{TABLE}"),
        sa.CheckConstraint("(token_id IS NULL) <> (subject IS NULL)", name=op.f(f"ck_{TABLE}_one_of_two")),
    )
    op.create_index(f"ix_{TABLE}_id", TABLE, ["id"], unique=True)
    if op.get_context().dialect.name == "postgresql":
        op.execute(f"REVOKE ALL ON {TABLE} FROM PUBLIC")
        op.execute(f"GRANT SELECT, INSERT ON {TABLE} TO {ROLE}")
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {TABLE} "
            "FOR EACH STATEMENT EXECUTE FUNCTION heed_append_only()"
        )
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {TABLE}_no_{event.lower()} BEFORE {event} ON {TABLE} "
            "BEGIN SELECT RAISE(ABORT, 'revocations are append-only'); END"
        )


def downgrade() -> None:
    op.drop_table(TABLE)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _time(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)
