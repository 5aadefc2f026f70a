"""Somebody who owns the database and knows how logs are made: takes a log out, changes it, and puts it back.

Without the signing key everything can be made to fit but the signatures; with it, those too. What the forger cannot
reach is what others keep: checkpoints from outside.
"""

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Final

import asyncpg
import orjson

from crm.audit.checkpoint import Checkpoint
from crm.audit.entry import index_of
from crm.audit.event import leaf_hash
from crm.audit.regrowth import Regrowth
from crm.audit.tiles import WIDTH
from tests.logs import signer

__all__ = ["TABLES", "Book", "Forger", "refitted", "relisted"]

TABLES: Final = ("audit_event", "audit_tile", "audit_head", "audit_checkpoint", "audit_detail")

Row = dict[str, Any]
Book = dict[str, list[Row]]
"""Everything stored of one log: rows by table, in the order of their keys."""

_ORDER: Final = {
    "audit_event": "seq",
    "audit_tile": "level, n",
    "audit_head": "size",
    "audit_checkpoint": "epoch, size",
    "audit_detail": "id, kind",
}


class Forger:
    """At the database at `url`, with the rights of its owner: no trigger and no wall is in the way."""

    def __init__(self, url: str, org: str = "north") -> None:
        self._url = url
        self._org = org

    async def read(self) -> Book:
        """The log as it is."""
        questions = {table: f"SELECT * FROM {table} WHERE org = ? ORDER BY {_ORDER[table]}" for table in TABLES}
        if self._url.startswith("sqlite:"):
            with self._file() as file:
                return {
                    table: [dict(row) for row in file.execute(sql, (self._org,))] for table, sql in questions.items()
                }
        connection = await asyncpg.connect(self._url)
        found = {
            table: [dict(row) for row in await connection.fetch(sql.replace("?", "$1"), self._org)]
            for table, sql in questions.items()
        }
        await connection.close()
        return found

    async def write(self, book: Book, tables: Sequence[str] = TABLES) -> None:
        """Puts these tables of the log in place of what is there."""
        if self._url.startswith("sqlite:"):
            with self._file() as file:
                for table in tables:
                    file.execute(f"DELETE FROM {table} WHERE org = ?", (self._org,))
                    for row in book[table]:
                        places = ", ".join("?" * len(row))
                        file.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", tuple(row.values()))
            return
        connection = await asyncpg.connect(self._url)
        async with connection.transaction():
            await connection.execute("SET LOCAL session_replication_role = replica")
            for table in tables:
                await connection.execute(f"DELETE FROM {table} WHERE org = $1", self._org)
                if rows := book[table]:
                    records = [tuple(row.values()) for row in rows]
                    await connection.copy_records_to_table(table, records=records, columns=list(rows[0]))
        await connection.close()

    async def run(self, sql: str, *values: Any) -> None:
        """One statement, with `?` for its values."""
        if self._url.startswith("sqlite:"):
            with self._file() as file:
                file.execute(sql, values)
            return
        count = iter(range(1, 100))
        connection = await asyncpg.connect(self._url)
        await connection.execute("SET session_replication_role = replica")
        await connection.execute(re.sub(r"\?", lambda _: f"${next(count)}", sql), *values)
        await connection.close()

    @contextmanager
    def _file(self) -> Iterator[sqlite3.Connection]:
        file = sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
        file.row_factory = sqlite3.Row
        try:
            file.execute("BEGIN IMMEDIATE")
            for (name,) in file.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
                file.execute(f"DROP TRIGGER {name}")
            yield file
            file.execute("COMMIT")
        finally:
            file.close()


def relisted(book: Book, change: Callable[[list[Row]], None]) -> Book:
    """A copy of the book whose list of events was changed, and counted through again."""
    made = deepcopy(book)
    change(made["audit_event"])
    for seq, row in enumerate(made["audit_event"]):
        row["seq"] = seq
    return made


def refitted(book: Book, *, key: bool) -> Book:
    """A copy in which everything fits the leaves again: columns, hashes, tiles, edge and size.

    With the `key` also the checkpoints do, all signed again, of which none is larger than the log.
    """
    made = deepcopy(book)
    org = made["audit_head"][0]["org"]
    tree = Regrowth()
    roots: dict[int, bytes] = {}
    for row in made["audit_event"]:
        content = orjson.loads(row["leaf"])
        row |= {"id": content["id"], "leaf_hash": leaf_hash(row["leaf"]), **index_of(content)._asdict()}
    hashes = [row["leaf_hash"] for row in made["audit_event"]]
    made["audit_tile"] = []
    for start in range(0, len(hashes), WIDTH):
        for (level, n), octets, root in tree.add(hashes[start : start + WIDTH]):
            made["audit_tile"].append({"org": org, "level": level, "n": n, "hashes": octets, "root": root})
        roots |= {size: tree.root_at(size) for size in range(start, tree.size + 1)}
    [head] = made["audit_head"]
    head |= {"size": len(hashes), "frontier": tree.frontier()}
    if key:
        signs = signer(org, head["epoch"])
        head["checkpoint"] = signs.sign(Checkpoint(signs.name, len(hashes), roots[len(hashes)]).text())
        made["audit_checkpoint"] = [row for row in made["audit_checkpoint"] if row["size"] <= len(hashes)]
        for row in made["audit_checkpoint"]:
            row["note"] = signs.sign(Checkpoint(signs.name, row["size"], roots[row["size"]]).text())
    return made
