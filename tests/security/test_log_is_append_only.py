"""Nobody changes or removes what was logged: the database refuses the service, and the tables' owner too.

This is a fence, not the evidence: whoever owns the server can pull it down. What that would not survive is the tree.
"""

import sqlite3
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import bindparam, delete, insert, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.elements import ClauseElement

from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_event
from tests.logs import database_at, event, rows_of, writer_on

_MINE = audit_event.c.org == bindparam("org")

CHANGES: dict[str, ClauseElement] = {
    "edit the leaf": update(audit_event).where(_MINE).values(leaf=b"{}"),
    "edit a column": update(audit_event).where(_MINE).values(actor="somebody else"),
    "move a row": update(audit_event).where(_MINE, audit_event.c.seq == 1).values(seq=7),
    "remove a row": delete(audit_event).where(_MINE, audit_event.c.seq == 1),
    "remove all rows": delete(audit_event).where(_MINE),
}

RAW = (
    "UPDATE audit_event SET actor = 'x'",
    "DELETE FROM audit_event",
    "DELETE FROM audit_event WHERE seq = 1",
    "INSERT INTO audit_event SELECT * FROM audit_event WHERE seq = 1 ON CONFLICT (org, seq) DO UPDATE SET actor = 'x'",
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with a log of three events, on each engine."""
    async with database_at(database_url) as made:
        async with writer_on(made) as writer:
            await writer.append("north", [event(label) for label in range(3)])
        yield made


async def contents(database: Database) -> list[tuple[object, ...]]:
    """Every column of every row."""
    rows = await rows_of(database)
    return [tuple(row[column.name] for column in audit_event.c) for row in rows]


@pytest.mark.parametrize("change", CHANGES)
async def test_service_cannot_change_the_log(database: Database, change: str) -> None:
    """The service's own connection may add events and read them; every other statement is refused."""
    before = await contents(database)
    with pytest.raises(RuntimeError):
        async with database.transaction("north") as connection:
            await connection.execute(prepare(CHANGES[change]))
    assert await contents(database) == before
    assert len(before) == 3


async def test_service_cannot_replace_an_event(database: Database) -> None:
    """An insert that overwrites is refused: ON CONFLICT, and SQLite's OR REPLACE, which deletes quietly."""
    before = await contents(database)
    row = dict(zip((column.name for column in audit_event.c), before[1], strict=True))
    overwrite: ClauseElement = insert(audit_event).prefix_with("OR REPLACE")
    if database.dialect == "postgresql":
        overwrite = upsert(audit_event).on_conflict_do_update(index_elements=["org", "seq"], set_={"leaf": b"{}"})
    with pytest.raises(RuntimeError):
        async with database.transaction("north") as connection:
            await connection.execute(prepare(overwrite), **{**row, "leaf": b"{}"})
    assert await contents(database) == before


@pytest.mark.parametrize("statement", RAW)
async def test_owner_meets_the_fence_too(database: Database, database_url: str, statement: str) -> None:
    """A person at the database's own prompt, with all rights, is refused by a trigger."""
    before = await contents(database)
    if database.dialect == "sqlite":
        with sqlite3.connect(database_url.removeprefix("sqlite:///")) as prompt, pytest.raises(sqlite3.IntegrityError):
            prompt.execute(statement)
        prompt.close()
    else:
        owner = await asyncpg.connect(database_url)
        with pytest.raises(asyncpg.RestrictViolationError):
            await owner.execute(statement)
        await owner.close()
    assert await contents(database) == before


@pytest.mark.parametrize("engine", ["postgresql"])
async def test_log_cannot_be_truncated_or_unfenced(database: Database, database_url: str, engine: str) -> None:
    """PostgreSQL's service role may neither truncate the log nor take the trigger or the walls away."""
    login = await asyncpg.connect(database_url)
    with pytest.raises(asyncpg.RestrictViolationError):
        await login.execute("TRUNCATE audit_event")
    await login.execute("SET ROLE heed_app")
    for statement in (
        "TRUNCATE audit_event",
        "DROP TRIGGER append_only ON audit_event",
        "ALTER TABLE audit_event DISABLE TRIGGER append_only",
        "ALTER TABLE audit_event DISABLE ROW LEVEL SECURITY",
        "DROP TABLE audit_event",
        "SET session_replication_role = replica",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await login.execute(statement)
    await login.close()
    assert len(await contents(database)) == 3
