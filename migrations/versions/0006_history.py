"""History: every version of a record, who made it, and the sealed rows that later ones replaced.

A record that is there already gets one row for the version that it has: how it came to be so is not described.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

ROLE = "heed_app"

RIGHTS = {
    "patient_version": "SELECT, INSERT, DELETE",
    "sealed_version": "SELECT, INSERT, UPDATE, DELETE",
}


def upgrade() -> None:
    _tables()
    _present_versions()
    if op.get_context().dialect.name == "postgresql":
        _rights_and_walls()
        _rules_on_postgresql()
    else:
        _rules_on_sqlite()


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
    if op.get_context().dialect.name == "postgresql":
        op.execute("DROP FUNCTION heed_versions_stay()")


def _key(name: str) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def _create(name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...]) -> None:
    whose = sa.ForeignKeyConstraint(["org", "patient_id"], ["patient.org", "patient.id"], name=f"fk_{name}_patient")
    rules = (_check(name, "org", "org <> ''"), whose, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))
    op.create_table(name, _key("org"), _key("patient_id"), *parts, *rules)


def _tables() -> None:
    _create(
        "patient_version",
        _big("version"),
        _big("at"),
        _text("status"),
        sa.Column("restricted", sa.SmallInteger(), nullable=False),
        _text("classes"),
        _text("changed"),
        _text("act", nullable=True),
        _text("issuer", nullable=True),
        _text("subject", nullable=True),
        _text("roles", nullable=True),
        _text("channel", nullable=True),
        _text("system", nullable=True),
        _text("request_id", nullable=True),
        _check("patient_version", "version", "version >= 1"),
        key=("org", "patient_id", "version"),
    )
    _create(
        "sealed_version",
        _key("key_class"),
        _big("version"),
        sa.Column("dek_no", sa.Integer(), nullable=False),
        sa.Column("cells", sa.LargeBinary(), nullable=True),
        sa.Column("seal", sa.LargeBinary(), nullable=True),
        _text("provenance"),
        key=("org", "patient_id", "key_class", "version"),
    )


def _present_versions() -> None:
    """Organisation by organisation: on PostgreSQL not even the owner of a table sees it without a scope."""
    connection = op.get_bind()
    for (org,) in connection.execute(sa.text("SELECT org FROM organisation ORDER BY org")).fetchall():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT set_config('heed.org', :org, true)"), {"org": org})
        connection.execute(
            sa.text(
                "INSERT INTO patient_version (org, patient_id, version, at, status, restricted, classes, changed) "
                "SELECT org, id, version, updated_at, status, restricted, classes, '[]' FROM patient WHERE org = :org"
            ),
            {"org": org},
        )


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")


_LIVES = "EXISTS (SELECT 1 FROM patient WHERE org = OLD.org AND id = OLD.patient_id AND status <> 'erased')"
_NO_KEY = (
    "NOT EXISTS (SELECT 1 FROM patient_key WHERE org = NEW.org AND patient_id = NEW.patient_id "
    "AND key_class = NEW.key_class AND dek_no = NEW.dek_no AND state = 'live')"
)
"""Of a patient who was not erased no version goes, and none is written otherwise; sealed rows need a live data key."""


def _rules_on_postgresql() -> None:
    op.execute(
        "CREATE TRIGGER cells_need_a_key BEFORE INSERT OR UPDATE ON sealed_version FOR EACH ROW "
        "WHEN (NEW.cells IS NOT NULL) EXECUTE FUNCTION heed_cells_need_a_key()"  # of revision 0002
    )
    op.execute(
        "CREATE FUNCTION heed_versions_stay() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"IF TG_OP = 'UPDATE' OR {_LIVES} THEN "
        "RAISE EXCEPTION 'versions_stay' USING ERRCODE = 'restrict_violation'; END IF; RETURN OLD; END $$"
    )
    op.execute(
        "CREATE TRIGGER versions_stay BEFORE UPDATE OR DELETE ON patient_version FOR EACH ROW "
        "EXECUTE FUNCTION heed_versions_stay()"
    )


def _rules_on_sqlite() -> None:
    for event in ("INSERT", "UPDATE"):
        op.execute(
            f"CREATE TRIGGER old_cells_need_a_key_on_{event.lower()} BEFORE {event} ON sealed_version "
            f"WHEN NEW.cells IS NOT NULL AND {_NO_KEY} BEGIN SELECT RAISE(ABORT, 'cells_need_a_key'); END"
        )
    for event, when in (("UPDATE", ""), ("DELETE", f"WHEN {_LIVES} ")):
        op.execute(
            f"CREATE TRIGGER versions_stay_on_{event.lower()} BEFORE {event} ON patient_version "
            f"{when}BEGIN SELECT RAISE(ABORT, 'versions_stay'); END"
        )
