"""A PostgreSQL database as a few lanes, each given out for one read or one transaction at a time.

A lane takes on the role `heed_app` when it connects and tells the server its organisation only when that changes, so
row-level security holds under every statement without a round trip for it (`docs/decisions/0008`).
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from crm.errors import CrmError, StoreUnavailable, Unsafe
from crm.store import tables
from crm.store.database import NO_ORG, Dialect, Row, bind
from crm.store.lanes import Lane, connection
from crm.store.sharing import Sharing
from crm.store.slots import Slots
from crm.store.statements import Statement
from crm.store.work import Grow, Step, Work

__all__ = ["PostgresDatabase"]

_T = TypeVar("_T")

PATIENCE: Final = 0.75
"""Seconds in which not one of the lanes comes back, after which whoever waits for one is refused."""

_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")

_ROLE_IS_FENCED: Final = """
SELECT rolsuper OR rolbypassrls OR rolcanlogin OR EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid)
FROM pg_roles WHERE rolname = current_user
"""


class PostgresDatabase:
    """Up to `pool_size` lanes to one PostgreSQL database; the last used of an organisation is used first."""

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
        self._size = pool_size
        self._slots = Slots(pool_size, patience=min(PATIENCE, wait_timeout), longest=wait_timeout)
        self._busy = 0
        self._idle: list[Lane] = []
        self._sharing = Sharing(self._fetch)
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
        await self._sharing.close()
        idle, self._idle = self._idle, []
        for lane in idle:
            await lane.close(self._wait)

    async def fetch(self, org: str, statement: Statement, /, **params: Any) -> Sequence[Row]:
        """See `Database.fetch`. Look-ups that wait at the same time share a statement."""
        bind(org, params)
        if statement.many is not None:
            return await self._sharing.look_up(org, statement, params["id"])
        return await self._fetch(org, statement, params)

    async def _fetch(self, org: str, statement: Statement, params: dict[str, Any]) -> Sequence[Row]:
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

    async def scrub(self) -> bool:
        """See `Database.scrub`: nothing to do from here; old rows go with the server's own vacuum."""
        return True

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

    async def perform(self, org: str, work: Work[_T], /) -> _T:
        """See `Database.perform`."""
        async with self.transaction(org) as connection:
            return await connection.perform(work)

    async def grow(self, org: str, grow: Grow, /) -> Sequence[Row]:
        """See `Database.grow`: one round trip, in a transaction that the server begins and ends by itself."""
        return await self._fetch(org, grow.growth.together, bind(org, _arrays(grow)))

    async def _acquire(self, org: str) -> Lane:
        if not self._open:
            raise StoreUnavailable
        await self._slots.take()
        self._busy += 1
        try:
            lane = self._pick(org) or await self._connect()
            if lane.org != org:
                try:
                    await lane.enter(org)
                except BaseException:
                    lane.drop()
                    raise
        except BaseException:
            self._busy -= 1
            self._slots.give()
            raise
        return lane

    def _pick(self, org: str) -> Lane | None:
        """An idle lane of `org`; else none while there is room for a new one; else the one that idles longest.

        Lanes whose server went away are forgotten.
        """
        idle = self._idle
        for at in range(len(idle) - 1, -1, -1):
            if not idle[at].usable:
                del idle[at]
            elif idle[at].org == org:
                return idle.pop(at)
        return idle.pop(0) if self._busy + len(idle) > self._size else None

    def _release(self, lane: Lane) -> None:
        if lane.usable and self._open:
            self._idle.append(lane)
        else:
            lane.drop()
        self._busy -= 1
        self._slots.give()

    async def _connect(self) -> Lane:
        try:
            opened = await connection(
                self._url,
                within=self._wait,
                command_timeout=self._statement_timeout,
                statement_cache_size=0,  # each lane keeps its own prepared statements, for good
                server_settings=self._session(),
            )
            return await self._become_app(Lane(opened))
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

    async def _become_app(self, lane: Lane) -> Lane:
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

    async def _check(self, lane: Lane) -> None:
        """Refuse a server that may lose what it acknowledged, or a role that row-level security does not bind."""
        for setting in _DURABLE if self._durable else ():
            value = await lane.value("SELECT current_setting($1)", setting)
            if value == "off":
                raise Unsafe(f"PostgreSQL runs with {setting}=off and may lose what it acknowledged")
        if await lane.value(_ROLE_IS_FENCED):
            raise Unsafe(f"the role {tables.ROLE} must own nothing and must not log in or bypass row-level security")


def _arrays(grow: Grow) -> dict[str, Any]:
    """The parameters of `Growth.together`: those of the change, and each column of the rows as one list."""
    names = grow.growth.columns
    columns = zip(*grow.rows, strict=True) if grow.rows else [() for _ in names]
    return {**grow.params, **dict(zip(names, columns, strict=True))}


class PostgresTransaction:
    """The `Connection` of a PostgreSQL transaction."""

    def __init__(self, lane: Lane, org: str) -> None:
        self._lane = lane
        self._org = org
        self._usable = True

    async def fetch(self, statement: Statement, /, **params: Any) -> Sequence[Row]:
        """See `Connection.fetch`."""
        self._begin()
        rows = await self._lane.fetch(statement, bind(self._org, params))
        self._usable = True
        return rows

    async def fetch_one(self, statement: Statement, /, **params: Any) -> Row | None:
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

    async def perform(self, work: Work[_T], /) -> _T:
        """See `Connection.perform`."""
        try:
            step = next(work)
            while True:
                step = work.send(await self._take(step))
        except StopIteration as end:
            result: _T = end.value
            return result
        finally:
            work.close()

    async def _take(self, step: Step | Grow) -> Sequence[Row]:
        if isinstance(step, Step):
            return await self.fetch(step.statement, **step.params)
        return await self.fetch(step.growth.together, **_arrays(step))

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
