"""What only a file has: pragmas, permissions, locks of other processes, full disks, and kills."""

import asyncio
import os
import sqlite3
import stat
from pathlib import Path

import pytest

from crm.errors import StoreUnavailable, Unsafe
from crm.store import sqlite
from crm.store.database import connect
from crm.store.migrations import upgrade
from tests.store import ADD, NORTH, ids, opened, record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a database with the newest tables."""
    path = tmp_path / "data" / "heed.db"
    upgrade(f"sqlite:///{path}")
    return path


def test_every_pragma_took(path: Path) -> None:
    """Durable, overwriting what is deleted, and trusting no schema of others."""
    opened = sqlite.connection(path)
    answers = {name: opened.execute(f"PRAGMA {name}").fetchone()[0] for name in sqlite.PRAGMAS}
    opened.close()
    assert answers == sqlite.PRAGMAS
    assert (answers["journal_mode"], answers["synchronous"], answers["secure_delete"]) == ("wal", 2, 1)


def test_only_the_owner_may_read_the_file(path: Path) -> None:
    """The database, its WAL and the folder are closed to others."""
    opened = sqlite.connection(path)
    opened.execute("CREATE TABLE t (x)")
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    opened.close()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "heed.db-wal" in modes
    assert set(modes.values()) == {0o600}


def test_a_missing_file_is_not_created(tmp_path: Path) -> None:
    """A wrong path must not look like an empty clinic."""
    with pytest.raises(Unsafe, match=r"python server\.py migrate"):
        asyncio.run(connect(f"sqlite:///{tmp_path / 'absent.db'}").open())
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """And its contents are not quoted."""
    (tmp_path / "heed.db").write_text("canary " * 1000)
    with pytest.raises(Unsafe, match="not a SQLite database") as caught:
        asyncio.run(connect(f"sqlite:///{tmp_path / 'heed.db'}").open())
    assert "canary" not in str(caught.value)


async def test_the_reader_cannot_write(path: Path) -> None:
    """`fetch` is for reads; a change passed to it is refused."""
    async with opened(f"sqlite:///{path}") as database:
        with pytest.raises((RuntimeError, StoreUnavailable)):
            await database.fetch(NORTH, ADD, **record("a"))
        assert await ids(database) == []


async def test_a_file_locked_by_another_process_is_unavailable_not_lost(path: Path) -> None:
    """Reads go on; the writer gives up after its time and works again when the lock is gone."""
    async with opened(f"sqlite:///{path}") as database:
        assert isinstance(database, sqlite.SQLiteDatabase)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        assert database._writer is not None
        database._writer.execute("PRAGMA busy_timeout = 10")
        with pytest.raises(StoreUnavailable):
            async with database.transaction(NORTH):
                pytest.fail("two writers at once")
        assert await ids(database) == []
        other.execute("ROLLBACK")
        other.close()
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("a"))


async def test_a_full_disk_refuses_the_change_whole(path: Path) -> None:
    """Nothing of the transaction remains, what was there before does, and with room the next one succeeds."""
    async with opened(f"sqlite:///{path}") as database:
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("before"))
        assert isinstance(database, sqlite.SQLiteDatabase)
        assert database._writer is not None
        pages = database._writer.execute("PRAGMA page_count").fetchone()[0]
        database._writer.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StoreUnavailable):
            async with database.transaction(NORTH) as connection:
                await connection.execute_many(ADD, [record(f"p{number}") for number in range(2000)])
        assert await ids(database) == ["before"]
        database._writer.execute("PRAGMA max_page_count = 1000000")
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("after"))
        assert await ids(database) == ["after", "before"]


async def test_a_vanished_file_is_noticed_by_the_probe(path: Path) -> None:
    """Readiness must not answer from a file that was unlinked."""
    async with opened(f"sqlite:///{path}") as database:
        await database.probe()
        path.rename(path.with_suffix(".moved"))  # noqa: ASYNC240 - nothing else runs
        with pytest.raises(StoreUnavailable):
            await database.probe()


def test_a_kill_in_the_middle_of_a_transaction_loses_only_that(path: Path) -> None:
    """A child commits one patient, begins the next and dies without cleaning up."""
    child = os.fork()
    if child == 0:  # pragma: no cover - the child
        opened = sqlite.connection(path)
        values = record("{}").values()
        sql = f"INSERT INTO patient ({', '.join(record(''))}, org) VALUES ({', '.join('?' * len(values))}, 'north')"
        opened.execute(sql, tuple(record("kept").values()))
        opened.execute("BEGIN IMMEDIATE")
        opened.execute(sql, tuple(record("lost").values()))
        os.kill(os.getpid(), 9)
    os.waitpid(child, 0)

    opened = sqlite.connection(path)
    assert [row["id"] for row in opened.execute("SELECT id FROM patient")] == ["kept"]
    assert opened.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    opened.close()
