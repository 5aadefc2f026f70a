"""Look-ups by id that wait at the same time, gathered into one statement for all of them. Knows no driver.

Only what is asked of the same organisation by the same statement is gathered, and everybody gets the rows of their own
id and no others. Nobody waits for company: where no statement is under way, one is sent at the end of the same turn of
the event loop, for whoever asked in that turn. One that is under way is never joined: who asks later must see what was
committed by then (`docs/decisions/0037`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from copy import copy
from functools import partial
from typing import Any, Final, NamedTuple

from crm.errors import StoreUnavailable
from crm.store.statements import Statement
from crm.store.work import Row

__all__ = ["MOST", "PATIENCE", "Sharing"]

MOST: Final = 64
"""Ids that one statement looks up: more would hold up the first of them while the last are read."""

PATIENCE: Final = 0.1
"""Seconds that somebody waits behind a statement of others before another one is sent beside it."""

Run = Callable[[str, Statement, dict[str, Any]], Awaitable[Sequence[Row]]]
"""Sends one statement for an organisation."""


class _Waiter(NamedTuple):
    id: str
    rows: "asyncio.Future[Sequence[Row]]"


class _Line:
    """Who waits for one statement of one organisation, since when the first of them, and how many are under way."""

    __slots__ = ("org", "since", "statement", "timer", "under_way", "waiting")

    def __init__(self, org: str, statement: Statement) -> None:
        self.org = org
        self.statement = statement
        self.waiting: list[_Waiter] = []
        self.since = 0.0
        self.under_way = 0
        self.timer: asyncio.TimerHandle | None = None


class Sharing:
    """Answers look-ups of one database; `run` sends a statement.

    What a shared statement fails with reaches everybody who waits for it. An id that a database may refuse shares none,
    so that nobody can spoil the look-ups of strangers. Whoever is cancelled takes nobody along.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lines: dict[tuple[str, Statement], _Line] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def look_up(self, org: str, statement: Statement, id: str) -> Sequence[Row]:
        """The rows of `id` by a statement that has a form for `many`. Raises what the database raises."""
        if not (id.isascii() and id.isprintable()):  # NUL and lone surrogates are refused, and nothing else is odd
            return await self._run(org, statement, {"org": org, "id": id})
        line = self._lines.get((org, statement))
        if line is not None:
            return await self._join(line, id)
        line = self._lines[org, statement] = _Line(org, statement)
        try:
            await asyncio.sleep(0)
            if not line.waiting:  # nobody else asked in this turn of the loop
                line.under_way += 1
                try:
                    return await self._run(org, statement, {"org": org, "id": id})
                finally:
                    line.under_way -= 1
            rows = self._join(line, id)
        finally:
            self._send(line)
        return await rows

    def _join(self, line: _Line, id: str) -> "asyncio.Future[Sequence[Row]]":
        """The rows of `id` by the next statement of a line."""
        loop = asyncio.get_running_loop()
        if line.under_way and line.timer is None:
            line.timer = loop.call_later(PATIENCE, self._look_after, line)
        if not line.waiting:
            line.since = loop.time()
        rows: asyncio.Future[Sequence[Row]] = loop.create_future()
        line.waiting.append(_Waiter(id, rows))
        return rows

    async def close(self) -> None:
        """Ends what is under way; whoever waits is told that the store is unavailable."""
        for line in self._lines.values():
            _refuse(line.waiting)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look_after(self, line: _Line) -> None:
        """Sends another statement beside one that takes too long: its connection may never answer."""
        line.timer = None
        if not line.waiting:
            return
        loop = asyncio.get_running_loop()
        left = line.since + PATIENCE - loop.time()
        if left > 0:
            line.timer = loop.call_later(left, self._look_after, line)
        else:
            self._send(line)

    def _send(self, line: _Line) -> None:
        """Sends statements for everybody who waits and was not cancelled; forgets a line in which there is nobody."""
        waiting, line.waiting = [each for each in line.waiting if not each.rows.done()], []
        for start in range(0, len(waiting), MOST):
            line.under_way += 1
            batch = waiting[start : start + MOST]
            task = asyncio.create_task(self._answer(line, batch))
            self._tasks.add(task)
            task.add_done_callback(partial(self._ended, line, batch))
        if not line.under_way:
            del self._lines[line.org, line.statement]
            if line.timer is not None:
                line.timer.cancel()

    def _ended(self, line: _Line, batch: Sequence[_Waiter], task: "asyncio.Task[None]") -> None:
        """However it ended, even before it began, nobody of its batch is left waiting."""
        self._tasks.discard(task)
        _refuse(batch)
        line.under_way -= 1
        self._send(line)

    async def _answer(self, line: _Line, batch: Sequence[_Waiter]) -> None:
        """The rows to everybody of `batch`, or why there are none."""
        try:
            found = await self._together(line, batch)
        except StoreUnavailable:
            _refuse(batch)
        except Exception as error:  # noqa: BLE001 - whoever asked hears of it
            for waiter in batch:
                if not waiter.rows.done():
                    waiter.rows.set_exception(copy(error))
        else:
            for waiter in batch:
                if not waiter.rows.done():
                    waiter.rows.set_result(found[waiter.id])

    async def _together(self, line: _Line, batch: Sequence[_Waiter]) -> dict[str, list[Row]]:
        """The rows of each id. One is looked up as one: for PostgreSQL that is cheaper than a list of one."""
        ids = list(dict.fromkeys(waiter.id for waiter in batch))
        if len(ids) == 1:
            return {ids[0]: [*await self._run(line.org, line.statement, {"org": line.org, "id": ids[0]})]}
        assert line.statement.many is not None
        found: dict[str, list[Row]] = {each: [] for each in ids}
        for row in await self._run(line.org, line.statement.many, {"org": line.org, "ids": ids}):
            found[row[0]].append(row)
        return found


def _refuse(batch: Sequence[_Waiter]) -> None:
    for waiter in batch:
        if not waiter.rows.done():
            waiter.rows.set_exception(StoreUnavailable())
