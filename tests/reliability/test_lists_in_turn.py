"""A long list holds up nobody: others have turns between its parts, and nothing that was opened goes unrecorded."""

import asyncio
from pathlib import Path
from typing import Any, Self

import pytest

from auth.roles import Role
from crm.domain.codes import CommunicationPurpose
from crm.services.contact import Inquiry
from crm.services.profiles import AT_A_STRETCH
from crm.store import sqlite
from crm.store.database import Database
from tests.house import REQUEST, House, actor, house
from tests.store import ADD, LOOK_UP, NORTH, opened, record

SEVERAL = 3 * AT_A_STRETCH


class Turns:
    """Counts how often somebody else has a turn, for as long as the block lasts."""

    async def __aenter__(self) -> Self:
        self.count = 0
        self._task = asyncio.create_task(self._counting())
        await asyncio.sleep(0)
        self.count = 0
        return self

    async def _counting(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()


async def test_a_list_is_looked_up_in_parts_on_sqlite(databases: Any) -> None:
    """Every id is found, in whichever part it was, and between the parts somebody else had a turn."""
    url = databases.create("sqlite")
    count = 5 * sqlite.PART + 1
    names = [f"p{number:04}" for number in range(count)]
    async with opened(url) as database:
        async with database.transaction(NORTH) as connection:
            await connection.execute_many(ADD, [record(each) for each in names])
        assert LOOK_UP.many is not None
        async with Turns() as others:
            rows = await database.fetch(NORTH, LOOK_UP.many, ids=[*names, "nobody"])
            assert others.count >= 5
        assert sorted(row["id"] for row in rows) == names
        await _closed_meanwhile(database, names)
    databases.drop(url)


async def _closed_meanwhile(database: Database, names: list[str]) -> None:
    """A database that is let go between two parts refuses the rest."""
    assert LOOK_UP.many is not None
    reading: asyncio.Task[Any] = asyncio.create_task(database.fetch(NORTH, LOOK_UP.many, ids=names))
    await asyncio.sleep(0)
    await database.close()
    assert [type(each).__name__ for each in await asyncio.gather(reading, return_exceptions=True)] == [
        "StoreUnavailable"
    ]


async def _read(it: House, ids: list[str]) -> None:
    await it.services.profiles.read_many(actor(Role.FRONT_DESK), REQUEST, ids, frozenset({"displayName"}))


async def _decide(it: House, ids: list[str]) -> None:
    inquiry = Inquiry(CommunicationPurpose.APPOINTMENT_REMINDER)
    await it.services.contact.decide_many(actor(Role.FRONT_DESK), REQUEST, ids, inquiry)


@pytest.mark.parametrize("way", [_read, _decide])
async def test_who_asks_for_many_is_recorded_even_when_cancelled_between_two(
    databases: Any, tmp_path: Path, way: Any
) -> None:
    """Others have their turns, and of a list that is given up on the way, whatever was opened stands in the log."""
    url = databases.create("sqlite")
    async with house(url, tmp_path) as it:
        ids = [await it.store({"preferred_name": f"Sam {number}"}) for number in range(SEVERAL)]
        before = len(await it.leaves())
        async with Turns() as others:
            await way(it, ids)
            assert others.count >= SEVERAL // AT_A_STRETCH
        assert len(await it.leaves()) == before + SEVERAL

        task = asyncio.create_task(way(it, ids))
        await asyncio.sleep(0)
        assert not task.done()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        given_up = (await it.leaves())[before + SEVERAL :]
        assert 0 < len(given_up) < SEVERAL
        assert {leaf["act"] for leaf in given_up} <= {"read", "decide"}
        assert all(leaf["pat"] for leaf in given_up)
    databases.drop(url)


async def test_a_cancelled_list_of_a_log_that_is_away_is_cancelled(databases: Any, tmp_path: Path) -> None:
    """Nobody is answered and nobody waits for ever: where the log takes nothing, the cancellation still arrives."""
    url = databases.create("sqlite")
    async with house(url, tmp_path) as it:
        ids = [await it.store({"preferred_name": f"Sam {number}"}) for number in range(SEVERAL)]
        task = asyncio.create_task(_read(it, ids))
        await asyncio.sleep(0)
        it.log._overdue = lambda org: True
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    databases.drop(url)
