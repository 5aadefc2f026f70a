"""The change feed: changes of records in one order, to be read from a position.

Changes that wait in the outbox already get their places here. Going down puts the feed back into the outbox, where each
change is marked with its place and kind, so that going up again gives it the same.
"""

import json
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ROLE = "heed_app"

RIGHTS = {
    "change": "SELECT, INSERT, DELETE",
    "change_head": "SELECT, INSERT, UPDATE",
}

KINDS = ("CHANGED", "MERGED", "UNMERGED", "ERASED")
MARK = "change"
"""How the first entry of a marked list of names begins: `change/12/ERASED`."""

PAGE = 5_000


def upgrade() -> None:
    kind = sa.Column("kind", sa.Text(), nullable=False, server_default="CHANGED")
    op.add_column("outbox", kind)
    _tables()
    for org in _organisations():
        _sequence(org)
    if op.get_context().dialect.name == "postgresql":
        _rights_and_walls()


def downgrade() -> None:
    for org in _organisations():
        _put_back(org)
    for table in reversed(RIGHTS):
        op.drop_table(table)
    op.drop_column("outbox", "kind")


def _key(name: str) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=False)


def _big(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)


def _check(table: str, name: str, rule: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(rule, name=op.f(f"ck_{table}_{name}"))


def _create(name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...]) -> None:
    rules = (_check(name, "org", "org <> ''"), sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))
    op.create_table(name, _key("org"), *parts, *rules)


def _tables() -> None:
    _create(
        "change",
        _big("seq"),
        _key("id"),
        _key("patient_id"),
        _big("version"),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("changed", sa.Text(), nullable=False),
        _big("at"),
        _check("change", "kind", f"kind IN ({', '.join(repr(kind) for kind in KINDS)})"),
        key=("org", "seq"),
    )
    op.create_index("ix_change_patient", "change", ["org", "patient_id", "seq"])
    _create("change_head", _big("seq"), key=("org",))


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")


def _organisations() -> Iterator[str]:
    """One after the other in its own scope: on PostgreSQL not even the owner of a table sees it without one."""
    connection = op.get_bind()
    for (org,) in connection.execute(sa.text("SELECT org FROM organisation ORDER BY org")).fetchall():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT set_config('heed.org', :org, true)"), {"org": org})
        yield org


def _pages(question: str, org: str, start: tuple[Any, ...]) -> Iterator[list[Any]]:
    """The rows of an ordered question a page at a time; `start` lies before the first, in the order of its columns."""
    connection = op.get_bind()
    while rows := connection.execute(
        sa.text(question), {"org": org, "rows": PAGE, **{f"after_{n}": each for n, each in enumerate(start)}}
    ).fetchall():
        yield list(rows)
        start = tuple(rows[-1][: len(start)])


_ADD = sa.text(
    "INSERT INTO change (org, seq, id, patient_id, version, kind, changed, at) "
    "VALUES (:org, :seq, :id, :patient_id, :version, :kind, :changed, :at)"
)


_MARKED = f"changed LIKE '[\"{MARK}/%'"


def _sequence(org: str) -> None:
    """What is marked goes to the place that it had, the rest behind that: of one patient in the order of versions.

    The rest in one statement, because whoever wants to change a record waits for the end of this.
    """
    _unmark_waiting(org)
    seq = _places_again(org)
    # Older releases let a patient's times go back where clocks did.
    placed = (
        "INSERT INTO change (org, seq, id, patient_id, version, kind, changed, at) "  # noqa: S608 - our own words
        "SELECT org, :seq + row_number() OVER (ORDER BY turn, version, id), id, patient_id, version, kind, changed, "
        "created_at FROM (SELECT *, max(created_at) OVER (PARTITION BY patient_id ORDER BY version) AS turn "
        f"FROM outbox WHERE org = :org AND NOT {_MARKED}) AS waiting"
    )
    connection = op.get_bind()
    connection.execute(sa.text(placed).bindparams(sa.bindparam("seq", type_=sa.BigInteger())), {"org": org, "seq": seq})
    connection.execute(sa.text("DELETE FROM outbox WHERE org = :org"), {"org": org})
    head = "INSERT INTO change_head (org, seq) SELECT org, max(seq) FROM change WHERE org = :org GROUP BY org"
    connection.execute(sa.text(head), {"org": org})


def _places_again(org: str) -> int:
    """Puts what has a place there, and returns the last one, 0 without any."""
    last = 0
    question = (
        "SELECT id, version, patient_id, changed, created_at FROM outbox "  # noqa: S608 - our own words
        f"WHERE org = :org AND {_MARKED} AND id > :after_0 ORDER BY id LIMIT :rows"
    )
    for rows in _pages(question, org, ("",)):
        found = []
        for name, version, patient_id, changed, at in rows:
            seq, kind, plain = _unmarked(changed)
            assert seq is not None, "what has none lost its mark"
            last = max(last, seq)
            found.append(
                {
                    "org": org,
                    "seq": seq,
                    "id": name,
                    "patient_id": patient_id,
                    "version": version,
                    "kind": kind,
                    "changed": plain,
                    "at": at,
                }
            )
        op.get_bind().execute(_ADD, found)
    return last


def _unmark_waiting(org: str) -> None:
    """Takes the marks without a place away again: `_mark_waiting` made them."""
    question = f"SELECT id, changed FROM outbox WHERE org = :org AND changed LIKE '[\"{MARK}//%'"  # noqa: S608
    for name, changed in op.get_bind().execute(sa.text(question), {"org": org}).fetchall():
        _, kind, plain = _unmarked(changed)
        op.get_bind().execute(
            sa.text("UPDATE outbox SET kind = :kind, changed = :changed WHERE org = :org AND id = :id"),
            {"org": org, "id": name, "kind": kind, "changed": plain},
        )


def _unmarked(changed: str) -> tuple[int | None, str, str]:
    """Place and kind of a marked list of names, and the list without the mark."""
    names = json.loads(changed)
    if not names or not names[0].startswith(f"{MARK}/"):
        return None, KINDS[0], changed
    _, place, kind = names[0].split("/")
    return int(place) if place else None, kind, _listed(names[1:])


def _put_back(org: str) -> None:
    _mark_waiting(org)
    question = (
        "SELECT seq, id, patient_id, version, kind, changed, at FROM change "
        "WHERE org = :org AND seq > :after_0 ORDER BY seq LIMIT :rows"
    )
    add = sa.text(
        "INSERT INTO outbox (org, id, patient_id, version, changed, created_at) "
        "VALUES (:org, :id, :patient_id, :version, :changed, :created_at)"
    )
    for rows in _pages(question, org, (0,)):
        found = [
            {
                "org": org,
                "id": name,
                "patient_id": patient_id,
                "version": version,
                "changed": _listed([f"{MARK}/{seq}/{kind}", *json.loads(changed)]),
                "created_at": at,
            }
            for seq, name, patient_id, version, kind, changed, at in rows
        ]
        op.get_bind().execute(add, found)


def _mark_waiting(org: str) -> None:
    """What has no place yet keeps its kind, too."""
    connection = op.get_bind()
    question = "SELECT id, kind, changed FROM outbox WHERE org = :org AND kind <> :plain"
    for name, kind, changed in connection.execute(sa.text(question), {"org": org, "plain": KINDS[0]}).fetchall():
        marked = _listed([f"{MARK}//{kind}", *json.loads(changed)])
        connection.execute(
            sa.text("UPDATE outbox SET changed = :changed WHERE org = :org AND id = :id"),
            {"org": org, "id": name, "changed": marked},
        )


def _listed(names: list[str]) -> str:
    """A list of names as the service writes it."""
    return json.dumps(names, separators=(",", ":"))
