"""The state of a database's tables: bring them to the newest revision, or say why the service must not start on them.

Runs Alembic's revisions in `migrations/` under one lock and in one transaction. Synchronous: for the command line and
for tests. The only door to Alembic.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import NullPool, create_engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from crm.errors import Unsafe
from crm.store import lanes, sqlite, tables

__all__ = ["as_owner", "check", "current", "matches_metadata", "upgrade"]

FOLDER: Final = Path(__file__).resolve().parents[2] / "migrations"

_LOCK: Final = 0x68656564
"""The number of the advisory lock that upgrades of one PostgreSQL database take turns by ("heed" in ASCII)."""

_one_at_a_time = threading.Lock()
"""Alembic keeps the running upgrade in module globals."""

_T = TypeVar("_T")

_INSUFFICIENT_PRIVILEGE: Final = "42501"
_NOT_ALLOWED: Final = (
    f"the login of the database URL may not migrate: it must own the tables, and create the role {tables.ROLE} or be "
    "a member of it"
)
_UNMIGRATED: Final = "the database has no tables yet: run `python server.py migrate`"
_BEHIND: Final = "the database is older than this program: run `python server.py migrate`"
_AHEAD: Final = "this program is older than the database: run the program that migrated it, or a newer one"


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest revision, all or nothing; a second run changes nothing.

    Several processes may call it at once. Makes the file of a SQLite database (mode 0600) and its folder (0700). On
    PostgreSQL the login must own the database's tables and, the first time, be allowed to create the role `heed_app`.
    Raises Unsafe where the database is newer than this program, StoreUnavailable.
    """

    def work(connection: Connection) -> None:
        if _revision(connection) in {None, *_known()}:
            _alembic(connection, lambda config: command.upgrade(config, "head"))
        else:
            raise Unsafe(_AHEAD)

    with _one_at_a_time:
        _run(url, work, exclusive=True)


def current(url: str) -> str | None:
    """The revision of the database at `url`; None before the first. Raises Unsafe, StoreUnavailable."""
    if url.startswith("sqlite:") and not sqlite.path_of(url).exists():
        return None
    return _run(url, _revision)


def check(url: str) -> None:
    """Return when the tables at `url` are those this program was written for. Raises Unsafe, StoreUnavailable."""
    revision = current(url)
    if revision is None:
        raise Unsafe(_UNMIGRATED)
    if revision not in _known():
        raise Unsafe(_AHEAD)
    if revision != ScriptDirectory(str(FOLDER)).get_current_head():
        raise Unsafe(_BEHIND)


def matches_metadata(url: str) -> bool:
    """Whether the revisions made exactly the tables, columns and indexes of `tables.py`."""

    def work(connection: Connection) -> bool:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return not compare_metadata(context, tables.metadata)

    return _run(url, work)


def as_owner(url: str, work: Callable[[Connection], _T]) -> _T:
    """Do `work` on `url` with the rights of whoever owns the tables: all or nothing, and alone among such.

    For what the service itself must not be able to do. Raises Unsafe, StoreUnavailable.
    """
    return _run(url, work, exclusive=True)


def _known() -> set[str]:
    return {script.revision for script in ScriptDirectory(str(FOLDER)).walk_revisions()}


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _alembic(connection: Connection, order: Callable[[Config], None]) -> None:
    """Give Alembic an order for `connection`, inside the transaction that is open on it."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = tables.metadata
    order(config)


def _run(url: str, work: Callable[[Connection], _T], *, exclusive: bool = False) -> _T:
    """Do `work` in one transaction on `url`; alone when `exclusive`. Works inside a running event loop too."""
    if url.startswith("sqlite:"):
        return _on_sqlite(url, work, exclusive=exclusive)
    with ThreadPoolExecutor(1, thread_name_prefix="migrations") as thread:
        return thread.submit(lambda: asyncio.run(_on_postgresql(url, work, exclusive=exclusive))).result()


def _on_sqlite(url: str, work: Callable[[Connection], _T], *, exclusive: bool) -> _T:
    path = sqlite.path_of(url)
    if exclusive:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)

    def creator() -> sqlite3.Connection:
        opened = sqlite.connection(path, create=exclusive)
        opened.row_factory = None
        return opened

    engine = create_engine("sqlite://", creator=creator, poolclass=NullPool, hide_parameters=True)
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE" if exclusive else "BEGIN")
            return work(connection)
    except DBAPIError as error:
        failure = _failure(error)
    finally:
        engine.dispose()
    raise failure


async def _on_postgresql(url: str, work: Callable[[Connection], _T], *, exclusive: bool) -> _T:
    engine = create_async_engine(
        "postgresql+asyncpg://",
        async_creator=lambda: lanes.connection(url, within=10),
        poolclass=NullPool,
        hide_parameters=True,
    )
    try:
        async with engine.begin() as connection:
            if exclusive:
                await connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            return await connection.run_sync(work)
    except DBAPIError as error:
        failure = _failure(error)
    finally:
        await engine.dispose()
    raise failure


def _failure(error: DBAPIError) -> Exception:
    """Ours for the driver's. Names the statement that failed by its first line, which is the program's own text."""
    if isinstance(error.orig, sqlite3.Error):
        failure = sqlite.translated(error.orig)
    else:
        state = getattr(error.orig, "sqlstate", None) or "08000"
        failure = Unsafe(_NOT_ALLOWED) if state == _INSUFFICIENT_PRIVILEGE else lanes.refusal(state)
    if isinstance(failure, RuntimeError) and error.statement:
        line = error.statement.strip().splitlines()[0]
        return Unsafe(f"migrating failed at `{line}` and changed nothing: {failure}")
    return failure
