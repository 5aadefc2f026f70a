"""Bringing a database to the newest tables: whole or not at all, once or twice, alone or many at once."""

import asyncio
import multiprocessing
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import MetaData, Table, insert, inspect
from sqlalchemy.engine import Connection

from crm.errors import Unsafe
from crm.store import migrations, tables
from crm.store.database import connect
from crm.store.migrations import check, current, matches_metadata, upgrade
from crm.store.statements import prepare
from tests.conftest import Databases

ROOT = Path(__file__).resolve().parents[2]
HEAD = ScriptDirectory(str(migrations.FOLDER)).get_current_head()


def run(url: str, work: Callable[[Connection], Any]) -> Any:
    """Do something with the database's tables, in one transaction."""
    return migrations._run(url, work, exclusive=True)


def names(url: str) -> set[str]:
    """The tables that are there."""
    return set(run(url, lambda connection: inspect(connection).get_table_names()))


def pretend(revision: str | None) -> Callable[[Connection], None]:
    """Make the database say that it is at another revision."""

    def work(connection: Connection) -> None:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        if revision:
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{revision}')")

    return work


def test_an_empty_database_gets_the_newest_tables(empty_database_url: str) -> None:
    """Before: refused with the command to run. After: every table, and the service may start."""
    assert current(empty_database_url) is None
    with pytest.raises(Unsafe, match=r"no tables yet: run `python server\.py migrate`"):
        check(empty_database_url)

    upgrade(empty_database_url)

    assert current(empty_database_url) == HEAD
    check(empty_database_url)
    assert names(empty_database_url) == {*tables.metadata.tables, "alembic_version"}


def test_a_second_upgrade_changes_nothing(database_url: str) -> None:
    """What is there stays as it is, to the row."""
    add = "INSERT INTO organisation VALUES ('north', 1)"
    run(database_url, lambda connection: connection.exec_driver_sql(add))
    before = run(database_url, schema)

    upgrade(database_url)

    assert run(database_url, schema) == before
    assert run(database_url, lambda c: c.exec_driver_sql("SELECT count(*) FROM organisation").scalar()) == 1


def schema(connection: Connection) -> dict[str, Any]:
    """Columns, keys, indexes and checks of every table, as the database itself tells them."""
    look = inspect(connection)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in look.get_columns(table)],
            look.get_pk_constraint(table),
            sorted(look.get_foreign_keys(table), key=str),
            sorted(look.get_check_constraints(table), key=str),
            sorted(str(_plain(index)) for index in look.get_indexes(table)),
        )
        for table in look.get_table_names()
        if table != "alembic_version"
    }


def _plain(index: Any) -> dict[str, Any]:
    """An index with its predicate as text."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}


def test_the_revisions_make_exactly_the_tables_of_the_program(database_url: str, databases: Databases) -> None:
    """Down to names of constraints and predicates of indexes: the same as creating `tables.metadata` afresh."""
    assert matches_metadata(database_url)
    fresh = databases.create("sqlite" if database_url.startswith("sqlite") else "postgresql", migrated=False)
    run(fresh, tables.metadata.create_all)
    assert run(database_url, schema) == run(fresh, schema)
    databases.drop(fresh)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE patient ADD COLUMN surname TEXT",
        "DROP TABLE outbox",
        "DROP INDEX ix_patient_key_epoch",
        "CREATE TABLE notes (id TEXT PRIMARY KEY)",
    ],
)
def test_a_difference_is_noticed(database_url: str, change: str) -> None:
    """The comparison that `make check` relies on is not blind."""
    run(database_url, lambda connection: connection.exec_driver_sql(change))
    assert not matches_metadata(database_url)


def test_down_and_up_again_ends_where_it_began(database_url: str) -> None:
    """The way back removes everything it made, and the way forth makes the same again."""
    before = run(database_url, schema)
    run(database_url, lambda c: migrations._alembic(c, lambda config: command.downgrade(config, "base")))
    assert names(database_url) <= {"alembic_version"}
    upgrade(database_url)
    assert run(database_url, schema) == before
    check(database_url)


def test_a_newer_database_is_refused(database_url: str) -> None:
    """An older program neither serves nor touches it."""
    run(database_url, pretend("9999"))
    for work in (check, upgrade):
        with pytest.raises(Unsafe, match="this program is older than the database"):
            work(database_url)
    assert current(database_url) == "9999"


def test_a_database_that_lost_its_revision_is_not_built_over(database_url: str) -> None:
    """Tables without a revision are somebody's data: the upgrade fails and leaves them as they are."""
    run(database_url, pretend(None))
    with pytest.raises(Unsafe, match="failed at `CREATE TABLE organisation"):
        upgrade(database_url)
    assert current(database_url) is None
    assert "patient" in names(database_url)


def test_a_failing_upgrade_leaves_no_trace(empty_database_url: str) -> None:
    """The table in the way is the only one afterwards: every table before it was rolled back with the rest."""
    run(empty_database_url, lambda connection: connection.exec_driver_sql("CREATE TABLE audit_outbox (x INTEGER)"))
    with pytest.raises(Unsafe, match="failed at `CREATE TABLE audit_outbox"):
        upgrade(empty_database_url)
    assert names(empty_database_url) == {"audit_outbox"}
    run(empty_database_url, lambda connection: connection.exec_driver_sql("DROP TABLE audit_outbox"))
    upgrade(empty_database_url)
    check(empty_database_url)


async def test_it_works_inside_a_running_event_loop(empty_database_url: str) -> None:
    """Tests and the demo call it from asynchronous code."""
    upgrade(empty_database_url)
    await asyncio.to_thread(check, empty_database_url)


def _upgrade(url: str, go: Any) -> None:
    go.wait()
    upgrade(url)


def test_several_processes_at_once(empty_database_url: str) -> None:
    """Replicas that start together take turns: one makes the tables, the others find them."""
    context = multiprocessing.get_context("spawn")
    go = context.Event()
    replicas = [context.Process(target=_upgrade, args=(empty_database_url, go)) for _ in range(3)]
    for replica in replicas:
        replica.start()
    go.set()
    for replica in replicas:
        replica.join(60)
    assert [replica.exitcode for replica in replicas] == [0, 0, 0]
    check(empty_database_url)


@pytest.mark.parametrize("after", [0.0, 0.01, 0.02, 0.03, 0.05])
def test_a_kill_in_the_middle_is_finished_by_the_next_run(empty_database_url: str, after: float) -> None:
    """Wherever it died, the tables are all there or none is, and running it again finishes the work."""
    program = (
        "import os, sys, threading, time; from crm.store.migrations import upgrade; "
        f"threading.Thread(target=lambda: (time.sleep({after}), os._exit(9)), daemon=True).start(); "
        "upgrade(sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, empty_database_url], cwd=ROOT, check=False, timeout=60
    )

    assert names(empty_database_url) in (set(), {*tables.metadata.tables, "alembic_version"})
    upgrade(empty_database_url)
    check(empty_database_url)


def test_the_two_engines_have_the_same_tables(databases: Databases) -> None:
    """Same tables, columns, nullability, keys and index columns on both."""
    shapes = []
    for engine in ("sqlite", "postgresql"):
        url = databases.create(engine)
        metadata = MetaData()
        run(url, metadata.reflect)
        shapes.append({table.name: _shape(table) for table in metadata.tables.values()})
        databases.drop(url)
    assert shapes[0] == shapes[1]


def _shape(table: Table) -> Any:
    columns = [(column.name, bool(column.nullable), bool(column.primary_key)) for column in table.columns]
    indexes = {(index.name, tuple(index.columns.keys()), bool(index.unique)) for index in table.indexes}
    return columns, indexes


@pytest.fixture
def ordinary(databases: Databases) -> Iterator[str]:
    """An empty PostgreSQL database owned by a login without privileges, as a hosting provider gives it."""
    databases.drop(databases.create("postgresql"))  # so that the role of the service exists on this server
    url = databases.create("postgresql", migrated=False)
    parts, login = urlsplit(url), f"login_{uuid4().hex}"
    databases.postgres.run(f"CREATE ROLE {login} LOGIN", f'ALTER DATABASE "{parts.path[1:]}" OWNER TO {login}')
    yield parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}").geturl()
    databases.drop(url)
    databases.postgres.run(f"DROP ROLE {login}")


async def test_a_login_without_privileges_needs_only_the_role(ordinary: str, databases: Databases) -> None:
    """It may not make itself a member, and is told so; once it is one, it migrates, and the service runs under it."""
    with pytest.raises(Unsafe, match="a member of it"):
        upgrade(ordinary)
    assert current(ordinary) is None

    databases.postgres.run(f"GRANT {tables.ROLE} TO {urlsplit(ordinary).username}")
    upgrade(ordinary)
    check(ordinary)

    database = connect(ordinary, durable=False)
    await database.open()
    async with database.transaction("north") as connection:
        await connection.execute(prepare(insert(tables.organisation)), created_at=1)
    await database.close()


def test_current_does_not_create_a_file(tmp_path: Path) -> None:
    """Asking where a database stands leaves nothing behind."""
    assert current(f"sqlite:///{tmp_path / 'absent' / 'heed.db'}") is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    """A text file, and a SQLite database that is not ours and has a table in our way."""
    (tmp_path / "text.db").write_text("canary " * 1000)
    for work in (upgrade, current, check):
        with pytest.raises(Unsafe, match="not a SQLite database") as caught:
            work(f"sqlite:///{tmp_path / 'text.db'}")
        assert "canary" not in str(caught.value)
    foreign = sqlite3.connect(tmp_path / "foreign.db")
    foreign.execute("CREATE TABLE patient (name TEXT)")
    foreign.close()
    with pytest.raises(Unsafe, match="failed at `CREATE TABLE patient"):
        upgrade(f"sqlite:///{tmp_path / 'foreign.db'}")
