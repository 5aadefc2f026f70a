"""Work on both databases: a transaction whose body awaits nothing is as whole as one that does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import BigInteger, bindparam, select, update

from crm.errors import StoreUnavailable
from crm.store.database import Database, Duplicate
from crm.store.statements import prepare, prepare_growth
from crm.store.tables import audit_tile, patient
from crm.store.work import Grow, Work, alone, step
from tests.store import ADD, ALL, NORTH, ONE, RAISE, SOUTH, ids, opened, record

_T = audit_tile.c
_TILES = prepare(select(_T.n, _T.hashes).where(_T.org == bindparam("org")).order_by(_T.n))
_GROW = prepare_growth(
    update(patient)
    .where(patient.c.org == bindparam("org"), patient.c.version == bindparam("expected"))
    .values(version=patient.c.version + bindparam("by", type_=BigInteger))
    .returning(patient.c.version),
    audit_tile,
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database of each engine, opened."""
    async with opened(database_url) as made:
        yield made


def adding(*names: str) -> Work[list[str]]:
    """Adds patients one by one; who is there then."""
    for name in names:
        assert list((yield step(ADD, **record(name)))) == []
    return [row["id"] for row in (yield step(ALL))]


def grow(rows: list[tuple[Any, ...]], expected: int, by: int) -> Grow:
    """Raises the version of the patient who has this one, and adds tiles."""
    return Grow(_GROW, {"expected": expected, "by": by}, rows)


async def test_work_is_a_transaction_and_has_a_result(database: Database) -> None:
    """Each statement is answered with its rows, later ones see what earlier ones did, and everything is committed."""
    assert await database.perform(NORTH, adding("a", "b")) == ["a", "b"]
    assert await database.perform(SOUTH, adding("c")) == ["c"]
    assert (await ids(database), await ids(database, SOUTH)) == (["a", "b"], ["c"])


async def test_work_inside_a_transaction_is_committed_with_it(database: Database) -> None:
    """It sees what the transaction did before, and goes with it when that is rolled back."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the failure comes after the changes
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("a"))
            assert await connection.perform(adding("b")) == ["a", "b"]
            raise ZeroDivisionError
    assert await ids(database) == []


async def test_work_whose_statement_fails_is_closed_and_leaves_nothing(database: Database) -> None:
    """The error is typed as ever, nothing hangs on it, and the database goes on."""
    ended: list[str] = []

    def work() -> Work[None]:
        try:
            yield step(ADD, **record("canary"))
            yield step(ADD, **record("canary"))
        finally:
            ended.append("closed")

    with pytest.raises(Duplicate) as caught:
        await database.perform(NORTH, work())
    assert caught.value.__context__ is None
    assert (ended, await ids(database)) == (["closed"], [])
    assert await database.perform(NORTH, adding("b")) == ["b"]


async def test_work_that_fails_by_itself_leaves_nothing(database: Database) -> None:
    """Its own error comes out as it is."""

    def work() -> Work[None]:
        yield step(ADD, **record("a"))
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await database.perform(NORTH, work())
    assert await ids(database) == []


async def test_work_knows_one_organisation(database: Database) -> None:
    """Naming another is refused before the driver is asked."""

    def work() -> Work[None]:
        yield step(ONE, org=SOUTH, id="a")

    with pytest.raises(RuntimeError, match="another organisation"):
        await database.perform(NORTH, work())


async def test_work_that_was_cancelled_while_it_waited_changes_nothing(database: Database, database_url: str) -> None:
    """A stranger's lock ends after the caller went away: what waited for it is not done late."""
    await database.perform(NORTH, adding("a"))

    def work() -> Work[None]:
        yield step(RAISE, key="a", expected=1)
        yield step(ADD, **record("b"))

    async with opened(database_url) as stranger:
        async with stranger.transaction(NORTH) as connection:
            await connection.fetch(RAISE, key="a", expected=0)
            await connection.fetch(RAISE, key="a", expected=1)
            late = asyncio.create_task(database.perform(NORTH, work()))
            await asyncio.sleep(0.05)
            late.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await late
    assert await ids(database) == ["a"]
    assert await database.perform(NORTH, adding("c")) == ["a", "c"]


@pytest.mark.parametrize("inside", [True, False])
async def test_a_change_and_rows_in_one_step(database: Database, inside: bool) -> None:
    """The change answers, every row is added, octets and all; where the change finds nothing, nothing is added."""

    async def run(step: Grow) -> list[int]:
        found = await (database.perform(NORTH, alone(step)) if inside else database.grow(NORTH, step))
        return [row["version"] for row in found]

    await database.perform(NORTH, adding("a"))
    rows = [(0, number, bytes([number]) * 3, b"") for number in range(200)]
    assert await run(grow(rows, 1, 5)) == [6]
    assert await run(grow([(0, 999, b"", b"")], 1, 5)) == []
    assert await run(grow([], 6, 2)) == [8]
    assert [tuple(row) for row in await database.fetch(NORTH, _TILES)] == [(row[1], row[2]) for row in rows]
    assert (await database.fetch(NORTH, ONE, id="a"))[0]["version"] == 8


async def test_a_change_and_rows_are_done_together_or_not_at_all(database: Database) -> None:
    """A row that is there already takes the change back."""
    await database.perform(NORTH, adding("a"))
    twice = [(0, 1, b"", b""), (0, 1, b"", b"")]
    with pytest.raises(Duplicate):
        await database.grow(NORTH, grow(twice, 1, 5))
    with pytest.raises(Duplicate):
        await database.perform(NORTH, alone(grow(twice, 1, 5)))
    assert list(await database.fetch(NORTH, _TILES)) == []
    assert (await database.fetch(NORTH, ONE, id="a"))[0]["version"] == 1


async def test_a_closed_database_refuses_work(database_url: str) -> None:
    """Nothing is begun."""
    async with opened(database_url) as database:
        await database.close()
        with pytest.raises(StoreUnavailable):
            await database.perform(NORTH, adding("a"))
