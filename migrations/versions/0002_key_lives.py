"""The lives of keys and their ends: times of each key, replicas that report, the erasure ledger, holds, and no return.

Triggers keep what erasure took: no cells without a live data key, no index rows of an erased patient, no way back.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

ROLE = "heed_app"

ADDED = {
    "patient_key": (("created_at", sa.BigInteger(), "0"), ("shredded_at", sa.BigInteger(), None)),
    "source_record": (("key_ver", sa.SmallInteger(), "1"),),
    "crypto_key": (
        ("wrapped_at", sa.BigInteger(), None),
        ("retired_at", sa.BigInteger(), None),
        ("drained_at", sa.BigInteger(), None),
        ("former_refs", sa.Text(), "[]"),
    ),
}

RIGHTS = {
    "replica": "SELECT, INSERT, UPDATE, DELETE",
    "epoch_floor": "SELECT, UPDATE",
    "erasure_ledger": "SELECT, INSERT",
    "legal_hold": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    postgresql = op.get_context().dialect.name == "postgresql"
    for table, columns in ADDED.items():
        for name, kind, default in columns:
            op.add_column(table, sa.Column(name, kind, nullable=default is None, server_default=default))
    _kinds_of_keys("'wrap', 'index', 'sign'")
    _tables()
    if postgresql:
        _rights_and_walls()
        _no_return_on_postgresql()
    else:
        _no_return_on_sqlite()


def downgrade() -> None:
    postgresql = op.get_context().dialect.name == "postgresql"
    for name, table, events, *_ in RULES:
        if postgresql:
            op.execute(f"DROP TRIGGER {name} ON {table}")
            op.execute(f"DROP FUNCTION heed_{name}()")
        else:
            for event in events:
                op.execute(f"DROP TRIGGER {_sqlite_trigger(name, event)}")
    for table in reversed(RIGHTS):
        op.drop_table(table)
    op.execute("DELETE FROM crypto_key WHERE kind = 'sign'")
    _kinds_of_keys("'wrap', 'index'")
    for table, columns in ADDED.items():
        for name, *_ in columns:
            op.drop_column(table, name)


def _kinds_of_keys(kinds: str) -> None:
    rule = f"kind IN ({kinds})"
    if op.get_context().dialect.name == "postgresql":
        op.drop_constraint(op.f("ck_crypto_key_kind"), "crypto_key", type_="check")
        op.create_check_constraint(op.f("ck_crypto_key_kind"), "crypto_key", rule)
        return
    # SQLite changes a rule only by copying the table; its index is made anew.
    old = op.get_bind().exec_driver_sql("SELECT sql FROM sqlite_schema WHERE name = 'crypto_key'").scalar_one()
    new = old[: old.index("kind IN (")] + rule + old[old.index(")", old.index("kind IN (")) + 1 :]
    op.drop_index("ix_crypto_key_active", "crypto_key")
    op.rename_table("crypto_key", "crypto_key_before")
    op.execute(new)
    op.execute("INSERT INTO crypto_key SELECT * FROM crypto_key_before")
    op.drop_table("crypto_key_before")
    active = sa.text("state = 'active'")
    op.create_index("ix_crypto_key_active", "crypto_key", ["kind", "key_class"], unique=True, sqlite_where=active)


def _key(name: str) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, autoincrement=False)


def _create(name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...]) -> None:
    op.create_table(name, *parts, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))


def _tables() -> None:
    _create(
        "replica", _key("node"), _big("started_at"), _big("seen_at"), _big("max_age"), _text("holds"), key=("node",)
    )
    _create(
        "epoch_floor",
        _key("key_class"),
        sa.Column("no", sa.Integer(), nullable=False, autoincrement=False),
        key=("key_class",),
    )
    for key_class in ("identity", "contact", "preference", "sensitive"):
        op.execute(f"INSERT INTO epoch_floor VALUES ('{key_class}', 0)")  # noqa: S608 - a name of this file
    _create(
        "erasure_ledger",
        _key("org"),
        _big("seq"),
        _key("patient_id"),
        _text("entry"),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint("org <> ''", name=op.f("ck_erasure_ledger_org")),
        key=("org", "seq"),
    )
    op.create_index("ix_erasure_ledger_patient", "erasure_ledger", ["org", "patient_id"])
    _create(
        "legal_hold",
        _key("org"),
        _key("id"),
        _key("patient_id"),
        _text("reason"),
        _text("placed_by"),
        _big("placed_at"),
        _text("lifted_by", nullable=True),
        _big("lifted_at", nullable=True),
        sa.CheckConstraint("org <> ''", name=op.f("ck_legal_hold_org")),
        key=("org", "id"),
    )
    op.create_index("ix_legal_hold_patient", "legal_hold", ["org", "patient_id"])


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        if table not in {"replica", "epoch_floor"}:  # which belong to no organisation
            op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
            op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
            op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")


_KEY_OF_ROW = (
    "org = NEW.org AND patient_id = NEW.patient_id AND key_class = NEW.key_class AND dek_no = NEW.dek_no "
    "AND state = 'live'"
)
_ERASED = "SELECT 1 FROM patient WHERE org = NEW.org AND id = NEW.patient_id AND status = 'erased'"

RULES = (
    # name, table, events, when, forbidden if this query answers (or not)
    ("cells_need_a_key", "sealed_row", ("INSERT", "UPDATE"), "NEW.cells IS NOT NULL",
     f"NOT EXISTS (SELECT 1 FROM patient_key WHERE {_KEY_OF_ROW} FOR SHARE)"),  # noqa: S608 - made of names of this file
    ("erased_is_not_found", "blind_index", ("INSERT",), None, f"EXISTS ({_ERASED} FOR SHARE)"),
    ("erased_is_not_known", "source_record", ("INSERT",), None, f"EXISTS ({_ERASED} FOR SHARE)"),
    ("epoch_is_gone", "patient_key", ("INSERT", "UPDATE"), "NEW.wrapped IS NOT NULL",
     "(SELECT no FROM epoch_floor WHERE key_class = NEW.key_class FOR SHARE) >= NEW.epoch"),
    ("shredded_stays", "patient_key", ("UPDATE",), "OLD.state = 'shredded' AND NEW.state <> 'shredded'", None),
    ("erased_stays", "patient", ("UPDATE",), "OLD.status = 'erased' AND NEW.status <> 'erased'", None),
    ("ledger_grows", "erasure_ledger", ("UPDATE", "DELETE"), None, None),
)  # fmt: skip
"""What the database refuses, whoever asks: writers of older releases, mistakes, and patients that come back.

The share locks wait for an erasure, or the end of an epoch, that is under way in another transaction (PostgreSQL;
SQLite has one writer).
"""


def _no_return_on_postgresql() -> None:
    for name, table, events, when, forbidden in RULES:
        condition = forbidden or "true"
        row = "OLD" if "DELETE" in events else "NEW"
        op.execute(
            f"CREATE FUNCTION heed_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"IF {condition} THEN RAISE EXCEPTION '{name}' USING ERRCODE = 'restrict_violation'; END IF; "
            f"RETURN {row}; END $$"
        )
        op.execute(
            f"CREATE TRIGGER {name} BEFORE {' OR '.join(events)} ON {table} FOR EACH ROW "
            f"{f'WHEN ({when}) ' if when else ''}EXECUTE FUNCTION heed_{name}()"
        )


def _no_return_on_sqlite() -> None:
    for name, table, events, when, forbidden in RULES:
        conditions = " AND ".join(filter(None, (when, forbidden and forbidden.replace(" FOR SHARE", ""))))
        for event in events:
            op.execute(
                f"CREATE TRIGGER {_sqlite_trigger(name, event)} BEFORE {event} ON {table} "
                f"{f'WHEN {conditions} ' if conditions else ''}BEGIN SELECT RAISE(ABORT, '{name}'); END"
            )


def _sqlite_trigger(name: str, event: str) -> str:
    """SQLite has one trigger for each event."""
    return f"{name}_on_{event.lower()}"
