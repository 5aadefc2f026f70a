"""What a database is to the rest of the store: scoped reads, transactions, typed failures. Holds no SQL and no driver.

Every call names the organisation it works for. The statement's parameter `org`, where it has one, is always filled with
that scope; on PostgreSQL row-level security repeats the rule below every statement (`docs/decisions/0008`).
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeVar

from crm.errors import CrmError, Erased, KeyDestroyed, Unsafe
from crm.store.statements import Statement
from crm.store.work import Grow, Row, Work

__all__ = ["NO_ORG", "NO_RETURN", "Connection", "Database", "Dialect", "Duplicate", "Fetch", "Row", "bind", "connect"]

Dialect = Literal["sqlite", "postgresql"]

T = TypeVar("T")

NO_ORG = ""
"""The scope of work for no organisation (key rows, the list of organisations): it sees no organisation's rows."""

NO_RETURN: Mapping[str, type[CrmError]] = {
    "cells_need_a_key": Erased,
    "erased_is_not_found": Erased,
    "erased_is_not_known": Erased,
    "shredded_stays": Erased,
    "erased_stays": Erased,
    "epoch_is_gone": KeyDestroyed,
}
"""The rules of the database (revision 0002), by name, and what is raised to a writer who breaks one: who brings back
what an erasure took, or stores a data key under an epoch that was destroyed meanwhile."""


class Fetch(Protocol):
    """How a reader runs its statements: in a transaction, or each as a read of its own."""

    async def __call__(self, statement: Statement, /, **params: Any) -> Sequence[Row]: ...


class Duplicate(CrmError):
    """A row with this key is already there. Names the table; never the key."""

    def __init__(self, table: str) -> None:
        super().__init__(f"already in {table}")
        self.table = table


class Connection(Protocol):
    """The inside of one transaction. One statement at a time; after a failed one the transaction can only be left.

    Values are str, int, bytes, None, and lists of these for `statements.any_of`; they reach the driver as they are.
    Raises Duplicate, Erased, StoreUnavailable, and RuntimeError for a programmer's mistake.
    """

    async def fetch(self, statement: Statement, /, **params: Any) -> Sequence[Row]:
        """All rows of a query, or of a change with RETURNING."""
        ...

    async def fetch_one(self, statement: Statement, /, **params: Any) -> Row | None:
        """The first row, or None."""
        ...

    async def execute(self, statement: Statement, /, **params: Any) -> int:
        """Run a change; how many rows it touched."""
        ...

    async def execute_many(self, statement: Statement, rows: Sequence[Mapping[str, Any]], /) -> None:
        """Run one change for each of `rows`; all or none."""
        ...

    async def perform(self, work: Work[T], /) -> T:
        """Run `work` to its end, with the fewest trips that the engine knows."""
        ...


class Database(Protocol):
    """An opened database. Safe to share between all tasks of one event loop; not between loops or threads."""

    dialect: Dialect

    async def open(self) -> None:
        """Connect and check that what was acknowledged will last. Raises Unsafe, StoreUnavailable."""
        ...

    async def close(self) -> None:
        """Let go of every connection; waits for a running transaction's last statement."""
        ...

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Row]:
        """One read of its own in the scope of `org`, the hot path. Sees every commit acknowledged before it began.

        Look-ups (`statements.prepare`) may share a statement with others that wait, and a list may be taken in parts.
        """
        ...

    def transaction(self, org: str, /) -> AbstractAsyncContextManager[Connection]:
        """All or nothing in the scope of `org`: committed on a clean exit, rolled back on any exception.

        StoreUnavailable or a cancellation out of the commit itself leaves open whether it happened.
        """
        ...

    async def perform(self, org: str, work: Work[T], /) -> T:
        """`work` as a transaction of its own, with the fewest trips that the engine knows.

        StoreUnavailable or a cancellation leaves open whether it was committed.
        """
        ...

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        """One step as a transaction of its own, in one trip on both engines; else as `perform`."""
        ...

    async def scrub(self) -> bool:
        """Overwrite what this engine still keeps of deleted and replaced rows, as far as it can; whether it could.

        Copies that were made before are not within its reach, nor is what PostgreSQL keeps until it vacuums.
        """
        ...

    async def probe(self) -> None:
        """Return when the database answers. Raises StoreUnavailable."""
        ...


def bind(org: str, params: dict[str, Any]) -> dict[str, Any]:
    """`params` with `org` set to the scope; RuntimeError where a caller passed another organisation."""
    if params.setdefault("org", org) != org:
        raise RuntimeError("a statement was given another organisation than its scope")
    return params


def connect(
    url: str,
    *,
    pool_size: int = 10,
    statement_timeout: float = 10.0,
    wait_timeout: float = 5.0,
    durable: bool = True,
) -> Database:
    """The database at `url` (`sqlite:///path` or `postgresql://…`), not yet opened.

    `pool_size` counts PostgreSQL connections. Times are seconds: for one statement, and for a free connection or the
    SQLite writer. `durable=False` accepts a PostgreSQL server that may lose commits, as those of tests do. Raises
    Unsafe for another kind of URL.
    """
    # Each engine's module is imported only where that engine is used.
    scheme = url.partition(":")[0]
    if scheme == "sqlite":
        from crm.store.sqlite import SQLiteDatabase  # noqa: PLC0415

        return SQLiteDatabase(url, wait_timeout=wait_timeout)
    if scheme in {"postgresql", "postgres"}:
        from crm.store.postgres import PostgresDatabase  # noqa: PLC0415

        return PostgresDatabase(
            url, pool_size=pool_size, statement_timeout=statement_timeout, wait_timeout=wait_timeout, durable=durable
        )
    raise Unsafe("the database URL must begin with sqlite:/// or postgresql://")
