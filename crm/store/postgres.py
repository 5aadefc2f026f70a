"""PostgreSQL through asyncpg: lanes, each a connection that remembers its organisation. The only door to asyncpg.

A lane takes on the role `heed_app` when it connects and tells the server its organisation only when that changes, so
row-level security holds under every statement without a round trip for it. Lanes carry no other session state.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from crm.errors import CrmError, StoreUnavailable, Unsafe
from crm.store import tables
from crm.store.database import NO_ORG, Dialect, Duplicate, bind
from crm.store.statements import Statement

__all__ = ["PostgresDatabase", "connection", "refusal"]

_AWAY: Final = ("08", "40", "53", "55", "57", "58", "25006", "XX")
"""SQLSTATE classes after which a later try may succeed: connection, rollback, resources, locks, operator, system."""

_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")

_ROLE_IS_FENCED: Final = """
SELECT rolsuper OR rolbypassrls OR rolcanlogin OR EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid)
FROM pg_roles WHERE rolname = current_user
"""


_LOST: Final = ("08", "57P", "XX")
"""SQLSTATE classes after which the connection itself is not trusted any more."""

_T = TypeVar("_T")


def _translated(error: Exception) -> Exception:
    """One of our errors for one of the driver's, whose words may quote a row."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Duplicate(error.table_name or "")
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return StoreUnavailable()  # the tables changed under a prepared statement; a new lane prepares it anew
    if isinstance(error, asyncpg.PostgresError):
        return refusal(error.sqlstate or "XX000")
    if isinstance(error, ValueError):
        return RuntimeError("a value is not one that PostgreSQL can hold")
    if isinstance(error, OSError | TimeoutError | asyncpg.InternalClientError | asyncpg.InterfaceError):
        return StoreUnavailable()
    return RuntimeError(f"the driver failed: {type(error).__name__}")


def refusal(state: str) -> Exception:
    """The error for an SQLSTATE of the server."""
    if state.startswith(_AWAY):
        return StoreUnavailable()
    return RuntimeError(f"PostgreSQL refused a statement: {state}")


def _spoils(error: Exception) -> bool:
    """Whether a connection that raised `error` may be in any state: only one whose server answered in order is kept."""
    if isinstance(error, asyncpg.PostgresError):
        lost = (error.sqlstate or "XX000").startswith(_LOST)
        return lost or isinstance(error, asyncpg.InvalidCachedStatementError)
    return not isinstance(error, ValueError)


async def connection(url: str, *, within: float, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Connect to `url` within so many seconds. Raises Unsafe where trying again cannot help, else StoreUnavailable."""
    failure: Exception
    try:
        return await asyncpg.connect(url, timeout=within, **options)
    except asyncpg.InvalidAuthorizationSpecificationError:
        failure = Unsafe("PostgreSQL refused the login of the database URL")
    except asyncpg.InvalidCatalogNameError:
        failure = Unsafe("PostgreSQL has no database of that name")
    except (ValueError, asyncpg.ClientConfigurationError):
        failure = Unsafe("the database URL is not one that PostgreSQL's driver understands")
    except Exception as error:  # noqa: BLE001 - whatever it is, its words stay here
        failure = _translated(error)
    raise failure


class _Lane:
    """One connection, its organisation, and the statements prepared on it."""

    __slots__ = ("_connection", "_prepared", "org", "sound")

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self._prepared: dict[Statement, PreparedStatement[asyncpg.Record]] = {}
        self.org: str | None = None
        self.sound = True

    @property
    def usable(self) -> bool:
        return self.sound and not self._connection.is_closed()

    async def enter(self, org: str) -> None:
        """Make `org` the scope of what follows. Outside any transaction: a rollback would take it back."""
        self.org = None
        await self.command("SELECT set_config('heed.org', $1, false)", org)
        self.org = org

    async def command(self, sql: str, *arguments: Any) -> None:
        """Run a text of this module."""
        await self._do(self._connection.execute(sql, *arguments))

    async def value(self, sql: str, *arguments: Any) -> Any:
        """The first column of the first row of a text of this module."""
        return await self._do(self._connection.fetchval(sql, *arguments))

    async def fetch(self, statement: Statement, params: Mapping[str, Any]) -> list[asyncpg.Record]:
        arguments = statement.postgresql().arguments(params)
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        return await self._do(prepared.fetch(*arguments))

    async def execute(self, statement: Statement, params: Mapping[str, Any]) -> int:
        await self.fetch(statement, params)
        return int(self._prepared[statement].get_statusmsg().rpartition(" ")[2])

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]]) -> None:
        form = statement.postgresql()
        arguments = [form.arguments(row) for row in rows]
        prepared = self._prepared.get(statement) or await self._prepare(statement)
        await self._do(prepared.executemany(arguments))

    async def _prepare(self, statement: Statement) -> "PreparedStatement[asyncpg.Record]":
        # Without a name of its own the server would parse and plan it anew each time.
        name = f"heed_{len(self._prepared)}"
        prepared = await self._do(self._connection.prepare(statement.postgresql().sql, name=name))
        self._prepared[statement] = prepared
        return prepared

    async def _do(self, work: Awaitable[_T]) -> _T:
        failure: Exception
        try:
            return await work
        except Exception as error:  # noqa: BLE001 - whatever it is, its words stay here
            self.sound = self.sound and not _spoils(error)
            failure = _translated(error)
        except BaseException:
            # Cancelled: what the server does now is not known, so the lane ends and the server rolls back.
            self.sound = False
            raise
        raise failure

    def drop(self) -> None:
        self.sound = False
        self._connection.terminate()

    async def close(self, within: float) -> None:
        try:
            await self._connection.close(timeout=within)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._connection.terminate()


class PostgresDatabase:
    """Up to `pool_size` lanes to one PostgreSQL database; the last used is used first."""

    dialect: Dialect = "postgresql"

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = 10,
        statement_timeout: float = 10.0,
        wait_timeout: float = 5.0,
        durable: bool = True,
    ) -> None:
        self._url = url
        self._durable = durable
        self._statement_timeout = statement_timeout
        self._wait = wait_timeout
        self._slots = asyncio.Semaphore(pool_size)
        self._idle: list[_Lane] = []
        self._open = False
        self._checked = False

    async def open(self) -> None:
        """See `Database.open`."""
        self._open = True
        try:
            lane = await self._acquire(NO_ORG)
            try:
                await self._check(lane)
            finally:
                self._release(lane)
        except BaseException:
            await self.close()
            raise
        self._checked = True

    async def close(self) -> None:
        """See `Database.close`."""
        self._open = False
        idle, self._idle = self._idle, []
        for lane in idle:
            await lane.close(self._wait)

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[asyncpg.Record]:
        """See `Database.fetch`."""
        bind(org, params)
        lane = await self._acquire(org)
        try:
            return await lane.fetch(statement, params)
        finally:
            self._release(lane)

    async def probe(self) -> None:
        """See `Database.probe`."""
        lane = await self._acquire(NO_ORG)
        try:
            await lane.command("SELECT 1")
        finally:
            self._release(lane)

    @asynccontextmanager
    async def transaction(self, org: str, /) -> AsyncIterator["PostgresTransaction"]:
        """See `Database.transaction`."""
        lane = await self._acquire(org)
        try:
            await lane.command("BEGIN")
            transaction = PostgresTransaction(lane, org)
            try:
                yield transaction
                transaction.leave()
            except BaseException:
                transaction.close()
                if lane.usable:
                    await lane.command("ROLLBACK")
                raise
            await lane.command("COMMIT")
        finally:
            self._release(lane)

    async def _acquire(self, org: str) -> _Lane:
        if not self._open:
            raise StoreUnavailable
        if not self._slots.locked():
            await self._slots.acquire()
        else:
            await self._wait_for_slot()
        try:
            lane = self._pick(org) or await self._connect()
            if lane.org != org:
                try:
                    await lane.enter(org)
                except BaseException:
                    lane.drop()
                    raise
        except BaseException:
            self._slots.release()
            raise
        return lane

    async def _wait_for_slot(self) -> None:
        try:
            async with asyncio.timeout(self._wait):
                await self._slots.acquire()
        except TimeoutError:
            raise StoreUnavailable from None

    def _pick(self, org: str) -> _Lane | None:
        """An idle lane, rather one that is already in `org`; lanes whose server went away are forgotten."""
        idle = self._idle
        for at in range(len(idle) - 1, -1, -1):
            if not idle[at].usable:
                del idle[at]
            elif idle[at].org == org:
                return idle.pop(at)
        return idle.pop() if idle else None

    def _release(self, lane: _Lane) -> None:
        if lane.usable and self._open:
            self._idle.append(lane)
        else:
            lane.drop()
        self._slots.release()

    async def _connect(self) -> _Lane:
        try:
            opened = await connection(
                self._url,
                within=self._wait,
                command_timeout=self._statement_timeout,
                statement_cache_size=0,  # each lane keeps its own prepared statements, for good
                server_settings=self._session(),
            )
            return await self._become_app(_Lane(opened))
        except Unsafe:
            if not self._checked:
                raise
        # Refusing to start helps nobody once the service runs: a rotated password is then an outage like any other.
        raise StoreUnavailable

    def _session(self) -> dict[str, str]:
        """What the server itself enforces, should this process hang or vanish (milliseconds), and how it plans.

        One plan for each statement, made once: their shapes are fixed, and every one finds its rows by an index. Left
        to itself the server plans list look-ups anew each time (measured: twice the cost).
        """
        limit = str(int(self._statement_timeout * 1000))
        return {
            "application_name": "heed",
            "plan_cache_mode": "force_generic_plan",
            "statement_timeout": limit,
            "lock_timeout": limit,
            "idle_in_transaction_session_timeout": str(int(self._statement_timeout * 3000)),
            "client_connection_check_interval": "1000",
        }

    async def _become_app(self, lane: _Lane) -> _Lane:
        failure: CrmError
        try:
            await lane.command(f"SET ROLE {tables.ROLE}")
        except RuntimeError:
            failure = Unsafe(
                f"the login of the database URL may not take on the role {tables.ROLE}: run `python server.py migrate`"
            )
        except BaseException:
            lane.drop()
            raise
        else:
            return lane
        lane.drop()
        raise failure

    async def _check(self, lane: _Lane) -> None:
        """Refuse a server that may lose what it acknowledged, or a role that row-level security does not bind."""
        for setting in _DURABLE if self._durable else ():
            value = await lane.value("SELECT current_setting($1)", setting)
            if value == "off":
                raise Unsafe(f"PostgreSQL runs with {setting}=off and may lose what it acknowledged")
        if await lane.value(_ROLE_IS_FENCED):
            raise Unsafe(f"the role {tables.ROLE} must own nothing and must not log in or bypass row-level security")


class PostgresTransaction:
    """The `Connection` of a PostgreSQL transaction."""

    def __init__(self, lane: _Lane, org: str) -> None:
        self._lane = lane
        self._org = org
        self._usable = True

    async def fetch(self, statement: Statement, /, **params: Any) -> Sequence[asyncpg.Record]:
        """See `Connection.fetch`."""
        self._begin()
        rows = await self._lane.fetch(statement, bind(self._org, params))
        self._usable = True
        return rows

    async def fetch_one(self, statement: Statement, /, **params: Any) -> asyncpg.Record | None:
        """See `Connection.fetch_one`."""
        rows = await self.fetch(statement, **params)
        return rows[0] if rows else None

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        """See `Connection.execute`."""
        self._begin()
        count = await self._lane.execute(statement, bind(self._org, params))
        self._usable = True
        return count

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]], /) -> None:
        """See `Connection.execute_many`."""
        self._begin()
        await self._lane.execute_many(statement, [bind(self._org, dict(row)) for row in rows])
        self._usable = True

    def leave(self) -> None:
        """Before the commit: PostgreSQL would answer COMMIT after a failed statement with a silent rollback."""
        if not self._usable:
            raise RuntimeError("a statement of this transaction failed; it cannot be committed")
        self._usable = False

    def close(self) -> None:
        """No statement may run any more."""
        self._usable = False

    def _begin(self) -> None:
        if not self._usable:
            raise RuntimeError("this transaction is over, or busy with another statement")
        self._usable = False
