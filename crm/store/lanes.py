"""Lanes: single PostgreSQL connections that remember their organisation, and what the driver's failures mean.

A lane carries no session state but its role, its organisation and its prepared statements. The only door to asyncpg.
"""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Final, TypeVar

import asyncpg
from asyncpg.prepared_stmt import PreparedStatement

from crm.errors import StoreUnavailable, Unsafe
from crm.store.database import NO_RETURN, Duplicate
from crm.store.statements import Statement

__all__ = ["Lane", "connection", "refusal"]

_AWAY: Final = ("08", "40", "53", "55", "57", "58", "25006", "XX")
"""SQLSTATE classes after which a later try may succeed: connection, rollback, resources, locks, operator, system."""

_LOST: Final = ("08", "57P", "XX")
"""SQLSTATE classes after which the connection itself is not trusted any more."""

_T = TypeVar("_T")


def _translated(error: Exception) -> Exception:
    """One of our errors for one of the driver's, whose words may quote a row."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return Duplicate(error.table_name or "")
    if isinstance(error, asyncpg.RestrictViolationError) and str(error) in NO_RETURN:
        return NO_RETURN[str(error)]()
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


class Lane:
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
