"""The log as evidence: the tree and its tiles, checkpoints, sealed details, break-glass, and what officers count by.

Logs that are there already get the tree over their leaves here; their first checkpoint is signed with the next batch.
Events that wait to be numbered are known by a stamp from here on. Those of an older release have none and could not be
told from forged ones, so it has to take them in itself: this refuses while any waits.
"""

import hashlib
from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

from crm.errors import Unsafe

revision = "0003"
down_revision = "0002"

ROLE = "heed_app"

RIGHTS = {
    "audit_tile": "SELECT, INSERT",
    "audit_checkpoint": "SELECT, INSERT, UPDATE",
    "audit_detail": "SELECT, INSERT",
    "break_glass": "SELECT, INSERT, UPDATE",
    "audit_actor_day": "SELECT, INSERT, UPDATE, DELETE",
    "audit_rollup": "SELECT, INSERT, UPDATE",
}

APPEND_ONLY = ("audit_tile", "audit_detail")

HEAD = (("epoch", sa.Integer(), "1"), ("pruned", sa.BigInteger(), "0"))

WIDER = ("patient", "actor", "flagged")
"""Indexes of revision 0001 that get more columns."""

WIDTH = 256


def upgrade() -> None:
    for name, kind, default in HEAD:
        op.add_column("audit_head", sa.Column(name, kind, nullable=False, server_default=default))
    op.add_column("audit_outbox", sa.Column("stamp", sa.LargeBinary()))
    _tables()
    for name in WIDER:
        op.drop_index(f"ix_audit_event_{name}", "audit_event")
    op.create_index("ix_audit_event_patient", "audit_event", ["org", "pat", "ts", "seq", "actor", "out"])
    op.create_index("ix_audit_event_actor", "audit_event", ["org", "actor", "ts", "seq", "pat", "out"])
    _partial("ix_audit_event_flagged", "flags", "actor", where="flags <> 0")
    _partial("ix_audit_event_kin", where="(flags & 2060) <> 0")
    _partial("ix_audit_event_notable", "flags", where="(flags & 5040) <> 0")
    postgresql = op.get_context().dialect.name == "postgresql"
    _grow_trees(postgresql=postgresql)
    if postgresql:
        _rights_and_walls()
    for table in APPEND_ONLY:
        _append_only(table, postgresql=postgresql)


def downgrade() -> None:
    for table in reversed(RIGHTS):
        op.drop_table(table)
    for name in (*WIDER, "kin", "notable"):
        op.drop_index(f"ix_audit_event_{name}", "audit_event")
    op.create_index("ix_audit_event_patient", "audit_event", ["org", "pat", "ts", "seq"])
    op.create_index("ix_audit_event_actor", "audit_event", ["org", "actor", "ts", "seq"])
    _partial("ix_audit_event_flagged", where="flags <> 0")
    op.drop_column("audit_outbox", "stamp")
    op.execute("UPDATE audit_head SET frontier = ''")
    for name, *_ in HEAD:
        op.drop_column("audit_head", name)


def _key(name: str, *, nullable: bool = False) -> sa.Column[str]:
    """Text in the order of its octets."""
    return sa.Column(name, sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=nullable)


def _big(name: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=nullable, autoincrement=False)


def _integer(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, autoincrement=False)


def _octets(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _create(name: str, *parts: sa.schema.SchemaItem, key: tuple[str, ...]) -> None:
    named = sa.CheckConstraint("org <> ''", name=op.f(f"ck_{name}_org"))
    op.create_table(name, _key("org"), *parts, named, sa.PrimaryKeyConstraint(*key, name=f"pk_{name}"))


def _partial(name: str, *more: str, where: str) -> None:
    rule = sa.text(where)
    op.create_index(name, "audit_event", ["org", "ts", "seq", *more], sqlite_where=rule, postgresql_where=rule)


def _tables() -> None:
    level = sa.Column("level", sa.SmallInteger(), nullable=False, autoincrement=False)
    _create("audit_tile", level, _big("n"), _octets("hashes"), _octets("root"), key=("org", "level", "n"))
    _create(
        "audit_checkpoint",
        _integer("epoch"),
        _big("size"),
        _text("note"),
        _big("published_at"),
        sa.Column("cosignatures", sa.Text(), nullable=False, server_default=""),
        _big("witnessed_at", nullable=True),
        key=("org", "epoch", "size"),
    )
    seen = sa.text("witnessed_at IS NOT NULL")
    columns = ["org", "epoch", "size"]
    op.create_index(
        "ix_audit_checkpoint_witnessed", "audit_checkpoint", columns, sqlite_where=seen, postgresql_where=seen
    )
    _create("audit_detail", _key("id"), _key("kind"), _octets("octets"), key=("org", "id", "kind"))
    _create(
        "break_glass",
        _key("id"),
        _key("subject"),
        _text("issuer"),
        _key("actor"),
        _text("role"),
        _text("reason"),
        _big("requested_at"),
        _big("expires_at"),
        _text("reviewer_issuer", nullable=True),
        _text("reviewer", nullable=True),
        _big("reviewed_at", nullable=True),
        _text("verdict", nullable=True),
        key=("org", "id"),
    )
    op.create_index("ix_break_glass_actor", "break_glass", ["org", "actor", "subject", "expires_at"])
    waiting = sa.text("reviewed_at IS NULL")
    op.create_index(
        "ix_break_glass_waiting", "break_glass", ["org", "id"], sqlite_where=waiting, postgresql_where=waiting
    )
    _create(
        "audit_actor_day",
        _integer("day"),
        _key("actor"),
        _big("events"),
        _big("patients"),
        _big("refused"),
        key=("org", "day", "actor"),
    )
    op.create_index("ix_audit_actor_day_actor", "audit_actor_day", ["org", "actor", "day", "patients"])
    _create("audit_rollup", _big("seq"), key=("org",))


def _rights_and_walls() -> None:
    mine = "org = current_setting('heed.org', true)"
    for table, rights in RIGHTS.items():
        op.execute(f"REVOKE ALL ON {table} FROM PUBLIC")
        op.execute(f"GRANT {rights} ON {table} TO {ROLE}")
        op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
        op.execute(f"CREATE POLICY own ON {table} USING ({mine}) WITH CHECK ({mine})")


def _append_only(table: str, *, postgresql: bool) -> None:
    if postgresql:
        op.execute(
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION heed_append_only()"
        )
        return
    for event in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER {table}_no_{event.lower()} BEFORE {event} ON {table} "
            "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
        )


# --- the tree over logs that are there already (RFC 6962, section 2.1) ------------------------------------------------


def _grow_trees(*, postgresql: bool) -> None:
    connection = op.get_bind()
    for (org,) in connection.execute(sa.text("SELECT org FROM organisation ORDER BY org")).fetchall():
        if postgresql:
            # Row-level security binds the owner of the tables too.
            connection.execute(sa.text("SELECT set_config('heed.org', :org, true)"), {"org": org})
        if connection.execute(sa.text("SELECT 1 FROM audit_outbox WHERE org = :org LIMIT 1"), {"org": org}).first():
            raise Unsafe(
                f"events of {org} wait to be numbered: start the older release once more, wait until it is ready, "
                "stop it, and migrate then"
            )
        _grow(connection, org)


def _grow(connection: sa.Connection, org: str) -> None:
    rows: list[dict[str, object]] = []
    edge: list[list[bytes]] = [[]]  # of each level the hashes of the tile that is not full yet
    numbers = [0]
    frontier: list[tuple[int, bytes]] = []
    for leaf in _leaves(connection, org):
        _append(frontier, leaf)
        level, entry = 0, leaf
        while True:
            if level == len(edge):
                edge.append([])
                numbers.append(0)
            edge[level].append(entry)
            if len(edge[level]) < WIDTH:
                break
            entry = _root(edge[level])
            octets = b"".join(edge[level])
            rows.append({"org": org, "level": level, "n": numbers[level], "hashes": octets, "root": entry})
            edge[level] = []
            numbers[level] += 1
            level += 1
    if rows:
        connection.execute(
            sa.text("INSERT INTO audit_tile VALUES (:org, :level, :n, :hashes, :root)").bindparams(
                sa.bindparam("hashes", type_=sa.LargeBinary()), sa.bindparam("root", type_=sa.LargeBinary())
            ),
            rows,
        )
    connection.execute(
        sa.text("UPDATE audit_head SET frontier = :frontier WHERE org = :org").bindparams(
            sa.bindparam("frontier", type_=sa.LargeBinary())
        ),
        {"org": org, "frontier": b"".join(root for _, root in frontier)},
    )


def _leaves(connection: sa.Connection, org: str, page: int = 8_192) -> Iterator[bytes]:
    question = "SELECT leaf_hash FROM audit_event WHERE org = :org AND seq >= :start AND seq < :end ORDER BY seq"
    start = 0
    while True:
        rows = connection.execute(sa.text(question), {"org": org, "start": start, "end": start + page}).fetchall()
        yield from (bytes(leaf_hash) for (leaf_hash,) in rows)
        if len(rows) < page:
            return
        start += page


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _append(frontier: list[tuple[int, bytes]], leaf: bytes) -> None:
    """`frontier` holds leaves covered and root of each complete subtree, largest first."""
    frontier.append((1, leaf))
    while len(frontier) > 1 and frontier[-1][0] == frontier[-2][0]:
        (count, left), (_, right) = frontier[-2:]
        frontier[-2:] = [(2 * count, _node(left, right))]


def _root(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [_node(hashes[at], hashes[at + 1]) for at in range(0, len(hashes), 2)]
    return hashes[0]
