"""SQLite through the standard driver: one reader in the event loop, one writer on a thread of its own.

Look-ups run in the loop because one costs less than a hop to a thread; a list of them is taken in parts, between which
everybody else has a turn (`docs/decisions/0038`). The only door to sqlite3.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from crm.errors import CrmError, StoreUnavailable, Unsafe
from crm.store.database import NO_RETURN, Dialect, Duplicate, bind
from crm.store.statements import UNHEX, Statement
from crm.store.work import Grow, Row, Step, Work, alone

__all__ = ["SQLiteDatabase", "connection", "path_of", "translated"]

PRAGMAS: Final = {
    "journal_mode": "wal",
    "synchronous": 2,  # FULL: a commit is on the disk before it is acknowledged
    "secure_delete": 1,  # what is deleted is overwritten, which erasure relies on
    "foreign_keys": 1,
    "recursive_triggers": 1,  # else INSERT OR REPLACE would pass by the triggers that keep the log append-only
    "busy_timeout": 5000,
    "trusted_schema": 0,
}
"""What each connection runs under, and what SQLite must answer when asked for it afterwards."""

PART: Final = 32
"""Ids of a list that are looked up at a stretch: half a millisecond or so, for which nobody else has a turn."""

_PATIENCE: Final = 500
"""Milliseconds that `scrub` waits for other processes to end their reads."""

_T = TypeVar("_T")

_DUPLICATE: Final = frozenset({sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY})
_AWAY: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_INTERRUPT,
    }
)


def path_of(url: str) -> Path:
    """The file named by `sqlite:///relative` or `sqlite:////absolute`. Raises Unsafe for anything else."""
    prefix, _, name = url.partition("///")
    if prefix != "sqlite:" or not name or name == ":memory:" or "?" in name:
        raise Unsafe("a SQLite URL is sqlite:///PATH, and the path is that of a file")
    return Path(name)


def connection(path: Path, *, create: bool = False) -> sqlite3.Connection:
    """Open `path` under `PRAGMAS`; the file is made (mode 0600) only when `create`. Raises Unsafe, StoreUnavailable."""
    if create:
        path.touch(mode=0o600)
    elif not path.exists():
        raise Unsafe(f"no database at {path}: run `python server.py migrate`")
    opened = _guarded(
        lambda: sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
    )
    try:
        _guarded(lambda: _prepare(opened))
    except CrmError:
        opened.close()
        raise
    return opened


def _prepare(opened: sqlite3.Connection) -> None:
    opened.row_factory = sqlite3.Row
    opened.create_function(UNHEX, 1, bytes.fromhex, deterministic=True)
    # The time to wait comes first: changing the journal mode may have to wait for another process.
    for name, value in sorted(PRAGMAS.items(), key=lambda item: item[0] != "busy_timeout"):
        opened.execute(f"PRAGMA {name} = {value}")
    for name, value in PRAGMAS.items():
        answer = opened.execute(f"PRAGMA {name}").fetchone()[0]
        if answer != value:
            raise Unsafe(f"SQLite runs with {name}={answer} where {value} is needed to keep what it acknowledges")


def _guarded(work: Callable[[], _T]) -> _T:
    """Run `work`; what the driver raises leaves as one of ours, without its words, which may quote a value."""
    failure: Exception
    try:
        return work()
    except sqlite3.Error as error:
        failure = translated(error)
    except (UnicodeError, OverflowError):
        failure = RuntimeError("a value is not one that SQLite can hold")
    raise failure


def translated(error: sqlite3.Error) -> Exception:
    """One of our errors for one of the driver's."""
    code = getattr(error, "sqlite_errorcode", None)
    if code in _DUPLICATE:
        # "UNIQUE constraint failed: table.column, table.column": names only.
        return Duplicate(str(error).rpartition("failed: ")[2].partition(".")[0])
    if code == sqlite3.SQLITE_CONSTRAINT_TRIGGER and str(error) in NO_RETURN:
        return NO_RETURN[str(error)]()
    if code is not None and code & 0xFF in _AWAY:
        return StoreUnavailable()
    if code == sqlite3.SQLITE_NOTADB:
        return Unsafe("the database file is not a SQLite database")
    return RuntimeError(f"SQLite refused a statement: {getattr(error, 'sqlite_errorname', type(error).__name__)}")


def _fetch(opened: sqlite3.Connection, statement: Statement, params: dict[str, Any]) -> list[sqlite3.Row]:
    form = statement.sqlite()
    arguments = form.arguments(params)
    return _guarded(lambda: opened.execute(form.sql, arguments).fetchall())


def _count(cursor: sqlite3.Cursor) -> int:
    """How many rows a change touched; with RETURNING the driver's own count is not kept."""
    return cursor.rowcount if cursor.description is None else len(cursor.fetchall())


class SQLiteDatabase:
    """A SQLite file. Transactions of this process queue for the one writer; other processes wait on the file's lock."""

    dialect: Dialect = "sqlite"

    def __init__(self, url: str, *, wait_timeout: float = 5.0) -> None:
        self._path = path_of(url)
        self._wait = wait_timeout
        self._turn = asyncio.Lock()
        self._thread: ThreadPoolExecutor | None = None
        self._reader: sqlite3.Connection | None = None
        self._writer: sqlite3.Connection | None = None

    async def open(self) -> None:
        """See `Database.open`."""
        self._reader = connection(self._path)
        self._reader.execute("PRAGMA query_only = ON")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sqlite-writer")
        self._writer = await self._run(lambda: connection(self._path))

    async def close(self) -> None:
        """See `Database.close`."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
        if self._thread is not None:
            if (writer := self._writer) is not None:
                await self._run(writer.close)
            self._thread.shutdown()
        self._writer = self._thread = None

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[sqlite3.Row]:
        """See `Database.fetch`. Runs in the loop; the parts of a list may see different commits, one record never."""
        bind(org, params)
        if statement.by_ids and len(ids := params["ids"]) > PART:
            found: list[sqlite3.Row] = []
            for start in range(0, len(ids), PART):
                if start:
                    await asyncio.sleep(0)
                found += self._read(statement, {"org": org, "ids": ids[start : start + PART]})
            return found
        return self._read(statement, params)

    def _read(self, statement: Statement, params: dict[str, Any]) -> list[sqlite3.Row]:
        if self._reader is None:
            raise StoreUnavailable
        return _fetch(self._reader, statement, params)

    async def probe(self) -> None:
        """See `Database.probe`."""
        if (reader := self._reader) is None or not self._path.exists():
            raise StoreUnavailable
        _guarded(lambda: reader.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall())

    async def scrub(self) -> bool:
        """See `Database.scrub`: moves the write-ahead log into the file, whose free space is zeroed, and empties it.

        False where another process reads an older state just now, or the writer is not free in time.
        """
        try:
            await self._take_turn()
        except StoreUnavailable:
            return False
        try:
            if (writer := self._writer) is None:
                return False
            return await self._run(lambda: _checkpointed(writer))
        except StoreUnavailable:
            return False
        finally:
            self._turn.release()

    @asynccontextmanager
    async def transaction(self, org: str, /) -> AsyncIterator["SQLiteTransaction"]:
        """See `Database.transaction`."""
        await self._take_turn()
        try:
            if (writer := self._writer) is None:
                raise StoreUnavailable
            transaction = SQLiteTransaction(self._run, writer, org)
            try:
                await self._run(lambda: _begin(writer))
                yield transaction
                transaction.leave()
                await self._run(lambda: _commit(writer))
            except BaseException:
                transaction.close()
                await asyncio.shield(self._run(lambda: _roll_back(writer)))
                raise
        finally:
            self._turn.release()

    async def perform(self, org: str, work: Work[_T], /) -> _T:
        """See `Database.perform`: one visit to the writer's thread. Cancelled before its commit, it changes nothing."""
        await self._take_turn()
        try:
            if (writer := self._writer) is None:
                raise StoreUnavailable
            visit = _Visit(writer, org, work)
            try:
                return await self._run(visit)
            except BaseException:
                visit.cancelled = True
                await asyncio.shield(self._run(lambda: _roll_back(writer)))
                raise
        finally:
            self._turn.release()

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        """See `Database.grow`."""
        return await self.perform(org, alone(grow))

    async def _take_turn(self) -> None:
        if not self._turn.locked():
            await self._turn.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await self._turn.acquire()
        except TimeoutError:
            raise StoreUnavailable from None

    def _run(self, work: Callable[[], _T]) -> "asyncio.Future[_T]":
        """Do `work` on the writer's thread."""
        if self._thread is None:
            raise StoreUnavailable
        return asyncio.get_running_loop().run_in_executor(self._thread, _guarded, work)


def _checkpointed(writer: sqlite3.Connection) -> bool:
    """Whether the write-ahead log is empty now; waits little for readers, since writers wait for this."""
    writer.execute(f"PRAGMA busy_timeout = {_PATIENCE}")
    try:
        busy: int = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    finally:
        writer.execute(f"PRAGMA busy_timeout = {PRAGMAS['busy_timeout']}")
    return busy == 0


def _begin(writer: sqlite3.Connection) -> None:
    _roll_back(writer)
    writer.execute("BEGIN IMMEDIATE")


def _commit(writer: sqlite3.Connection) -> None:
    try:
        writer.execute("COMMIT")
    except BaseException:
        _roll_back(writer)
        raise


def _roll_back(writer: sqlite3.Connection) -> None:
    # After a full disk SQLite may have rolled back by itself already.
    if writer.in_transaction:
        writer.execute("ROLLBACK")


class _Visit(Generic[_T]):
    """One whole transaction on the writer's thread. `cancelled` is set from the loop, and looked at before the commit.

    After a failure the transaction is left open, for the loop to roll back.
    """

    def __init__(self, writer: sqlite3.Connection, org: str, work: Work[_T]) -> None:
        self._writer = writer
        self._org = org
        self._work = work
        self.cancelled = False

    def __call__(self) -> _T:
        _begin(self._writer)
        result = _performed(self._writer, self._org, self._work)
        if self.cancelled:
            raise StoreUnavailable
        _commit(self._writer)
        return result


def _performed(writer: sqlite3.Connection, org: str, work: Work[_T]) -> _T:
    try:
        step = next(work)
        while True:
            step = work.send(_taken(writer, org, step))
    except StopIteration as end:
        result: _T = end.value
        return result
    finally:
        work.close()


def _taken(writer: sqlite3.Connection, org: str, step: Step | Grow) -> list[sqlite3.Row]:
    if isinstance(step, Step):
        return _fetch(writer, step.statement, bind(org, dict(step.params)))
    if changed := _fetch(writer, step.growth.change, bind(org, dict(step.params))):
        writer.executemany(step.growth.insert.sqlite().sql, [(org, *row) for row in step.rows])
    return changed


class SQLiteTransaction:
    """The `Connection` of a SQLite transaction."""

    def __init__(
        self, run: Callable[[Callable[[], Any]], "asyncio.Future[Any]"], writer: sqlite3.Connection, org: str
    ) -> None:
        self._run = run
        self._writer = writer
        self._org = org
        self._usable = True

    async def fetch(self, statement: Statement, /, **params: Any) -> Sequence[sqlite3.Row]:
        """See `Connection.fetch`."""
        bound = bind(self._org, params)
        rows: list[sqlite3.Row] = await self._do(lambda: _fetch(self._writer, statement, bound))
        return rows

    async def fetch_one(self, statement: Statement, /, **params: Any) -> sqlite3.Row | None:
        """See `Connection.fetch_one`."""
        rows = await self.fetch(statement, **params)
        return rows[0] if rows else None

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        """See `Connection.execute`."""
        form = statement.sqlite()
        arguments = form.arguments(bind(self._org, params))
        count: int = await self._do(lambda: _count(self._writer.execute(form.sql, arguments)))
        return count

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]], /) -> None:
        """See `Connection.execute_many`."""
        form = statement.sqlite()
        arguments = [form.arguments(bind(self._org, dict(row))) for row in rows]
        await self._do(lambda: self._writer.executemany(form.sql, arguments))

    async def perform(self, work: Work[_T], /) -> _T:
        """See `Connection.perform`."""
        result: _T = await self._do(lambda: _performed(self._writer, self._org, work))
        return result

    def leave(self) -> None:
        """Before the commit: a transaction in which a statement failed is not committed in part."""
        if not self._usable:
            raise RuntimeError("a statement of this transaction failed; it cannot be committed")
        self._usable = False

    def close(self) -> None:
        """No statement may run any more."""
        self._usable = False

    async def _do(self, work: Callable[[], Any]) -> Any:
        if not self._usable:
            raise RuntimeError("this transaction is over, or busy with another statement")
        self._usable = False
        answer = await self._run(work)
        self._usable = True
        return answer
