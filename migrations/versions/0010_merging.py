"""Merging: pairs of records that may be one person, what people said of them, and what was merged."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ROLE = "heed_app"

RIGHTS = {"record_merge": "SELECT, INSERT, UPDATE", "possible_duplicate": "SELECT, INSERT, UPDATE, DELETE"}


def upgrade() -> None:
    merged = sa.text("merged_into IS NOT NULL")
    op.create_index(
        "ix_patient_merged_into", "patient", ["org", "merged_into"], sqlite_where=merged, postgresql_where=merged
    )
    _merges()
    _possible_duplicates()
    if op.get_context().dialect.name == "postgresql":
        _rights_and_walls()


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
    op.drop_index("ix_patient_merged_into", "patient")


def _key(name: str) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def _merges() -> None:
    op.create_table(
        "record_merge",
        _key("org"),
        _key("id"),
        _key("survivor_id"),
        _big("survivor_version"),
        _key("duplicate_id"),
        _big("duplicate_version"),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("merged_by", sa.Text(), nullable=False),
        _big("merged_at"),
        sa.Column("choices", sa.Text(), nullable=False),
        sa.Column("holds", sa.Text(), nullable=False),
        sa.Column("undone_by", sa.Text(), nullable=True),
        _big("undone_at", nullable=True),
        _big("undone_version", nullable=True),
        sa.Column("to_review", sa.Text(), nullable=True),
        _check("record_merge", "org", "org <> ''"),
        _check("record_merge", "two", "survivor_id <> duplicate_id"),
        _check("record_merge", "undone", "(undone_at IS NULL) = (undone_by IS NULL)"),
        _check("record_merge", "parted", "(undone_at IS NULL) = (undone_version IS NULL)"),
        sa.PrimaryKeyConstraint("org", "id", name="pk_record_merge"),
        *(
            sa.ForeignKeyConstraint(
                ["org", f"{side}_id"], ["patient.org", "patient.id"], name=f"fk_record_merge_{side}_patient"
            )
            for side in ("survivor", "duplicate")
        ),
    )
    for side in ("duplicate", "survivor"):
        op.create_index(f"ix_record_merge_{side}", "record_merge", ["org", f"{side}_id"])


def _possible_duplicates() -> None:
    table = "possible_duplicate"
    together = ("identities", "reviewer", "reviewer_issuer", "reviewed_at")
    op.create_table(
        table,
        _key("org"),
        _key("first_id"),
        _key("second_id"),
        _key("id"),
        _big("found_at"),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("identities", sa.LargeBinary(), nullable=True),
        sa.Column("reviewer_issuer", sa.Text(), nullable=True),
        sa.Column("reviewer", sa.Text(), nullable=True),
        _big("reviewed_at", nullable=True),
        _check(table, "org", "org <> ''"),
        _check(table, "order", "first_id < second_id"),
        _check(table, "verdict", "verdict IN ('NOT_DUPLICATE', 'UNDECIDED')"),
        _check(table, "reviewed", " AND ".join(f"(verdict IS NULL) = ({name} IS NULL)" for name in together)),
        sa.PrimaryKeyConstraint("org", "first_id", "second_id", name=f"pk_{table}"),
        *(
            sa.ForeignKeyConstraint(["org", f"{side}_id"], ["patient.org", "patient.id"], name=f"fk_{table}_{side}")
            for side in ("first", "second")
        ),
    )
    op.create_index(f"ix_{table}_id", table, ["org", "id"], unique=True)
    op.create_index(f"ix_{table}_second", table, ["org", "second_id"])


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")
