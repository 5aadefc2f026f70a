"""Both databases keep the one promise: what was acknowledged is there, what was not is not, and failures say which."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import insert, select

from crm.errors import StoreUnavailable, Unsafe
from crm.store.database import NO_ORG, Database, Duplicate, connect
from crm.store.statements import prepare
from crm.store.tables import organisation
from tests.store import (
    ADD,
    ADD_INDEX,
    ADD_ROW,
    ALL,
    BY_INDEX,
    CLEAR_INDEX,
    NORTH,
    ONE,
    RAISE,
    RAISE_ALL,
    SOME,
    SOUTH,
    ids,
    opened,
    record,
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database of each engine, opened."""
    async with opened(database_url) as made:
        yield made


async def test_what_was_committed_is_seen_by_the_next_read(database: Database) -> None:
    """A read that begins after a commit returned sees it, every time; rows answer by name and by position."""
    for number in range(30):
        async with database.transaction(NORTH) as connection:
            assert await connection.execute(ADD, **record(f"p{number:02}")) == 1
        row = (await database.fetch(NORTH, ONE, id=f"p{number:02}"))[0]
        assert (row["id"], row[1]) == (f"p{number:02}", 1)


async def test_nothing_of_a_failed_transaction_remains(database: Database) -> None:
    """An exception inside the block rolls everything back, and leaves the block as it was."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the failure comes after the changes
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("a"))
            assert await connection.fetch_one(ONE, id="a") is not None
            raise ZeroDivisionError
    assert await ids(database) == []


async def test_nobody_sees_a_change_before_its_commit(database: Database) -> None:
    """Readers see the state before or the state after."""
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))
        assert await ids(database) == []
    assert await ids(database) == ["a"]


async def test_a_duplicate_is_typed_and_names_the_table_only(database: Database) -> None:
    """The key that is taken may be a value; it is in no message, and no driver's error hangs on ours."""
    with pytest.raises(Duplicate) as caught:
        async with database.transaction(NORTH) as connection:
            await connection.execute_many(ADD, [record("canary-1"), record("canary-1")])

    assert caught.value.table == "patient"
    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None
    assert await ids(database) == []


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"status": "canary-status"}, id="check"),
        pytest.param({"audit_subject": None, "status": "active", "merged_into": "canary-merged"}, id="not null"),
        pytest.param({"audit_subject": "canary-\ud800"}, id="lone surrogate"),
        pytest.param({"version": 2**70}, id="huge integer"),
        pytest.param({"version": ["canary"]}, id="wrong type"),
    ],
)
async def test_what_the_tables_refuse_is_our_mistake_and_quotes_nothing(
    database: Database, changes: dict[str, Any]
) -> None:
    """Values were validated long before, so this is a defect; even then no value is in the message or its context."""
    with pytest.raises(RuntimeError) as caught:
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("canary-id", **changes))

    assert "canary" not in str(caught.value)
    assert caught.value.__context__ is None
    assert await ids(database) == []
    await database.probe()


async def test_a_row_needs_its_patient(database: Database) -> None:
    """Sealed rows hang on a patient of the same organisation."""
    row = {"key_class": "identity", "version": 1, "dek_no": 1, "cells": None, "seal": None, "provenance": "[]"}
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))
        await connection.execute(ADD_ROW, patient_id="a", **row)
    with pytest.raises(RuntimeError):
        async with database.transaction(SOUTH) as connection:
            await connection.execute(ADD_ROW, patient_id="a", **row)


async def test_a_transaction_in_which_a_statement_failed_cannot_be_committed(database: Database) -> None:
    """Catching the error does not help: PostgreSQL would answer the commit with a silent rollback."""
    with pytest.raises(RuntimeError, match="cannot be committed"):  # noqa: PT012 - refused at the block's end
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("a"))
            with pytest.raises(Duplicate):
                await connection.execute(ADD, **record("a"))
            with pytest.raises(RuntimeError, match="over"):
                await connection.fetch(ALL)
    assert await ids(database) == []


async def test_a_connection_ends_with_its_transaction(database: Database) -> None:
    """Nobody can keep one to write later, outside any transaction."""
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))
    with pytest.raises(RuntimeError, match="over"):
        await connection.execute(ADD, **record("b"))


async def test_lists_of_text_and_of_octets(database: Database) -> None:
    """`any_of` finds exactly the members of the list, an empty list finds nothing, and every octet survives."""
    values = [bytes([octet]) * 3 for octet in range(256)] + [b"", "naïve 🩺'\"%".encode()]
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))
        await connection.execute(ADD, **record('b"\\ü'))
        await connection.execute_many(
            ADD_INDEX,
            [
                {"index_code": 1, "key_ver": 1, "value": value, "patient_id": "a", "row_id": str(number)}
                for number, value in enumerate(values)
            ],
        )
    assert [row[0] for row in await database.fetch(NORTH, SOME, ids=["a", 'b"\\ü', "c"])] == ["a", 'b"\\ü']
    assert await database.fetch(NORTH, SOME, ids=[]) == []
    for value in values:
        assert len(await database.fetch(NORTH, BY_INDEX, values=[value, b"absent"])) == 1
    async with database.transaction(NORTH) as connection:
        assert await connection.execute(CLEAR_INDEX) == len(values)


async def test_the_scope_fills_the_organisation_and_nothing_else_can(database: Database) -> None:
    """The statement's `org` is the scope's; naming another is refused before the driver is asked."""
    for org in (NORTH, SOUTH):
        async with database.transaction(org) as connection:
            await connection.execute(ADD, **record(f"of-{org}"))
    assert await ids(database, NORTH) == ["of-north"]
    assert await ids(database, SOUTH) == ["of-south"]
    assert await database.fetch(SOUTH, ONE, id="of-north") == []
    with pytest.raises(RuntimeError, match="another organisation"):
        await database.fetch(NORTH, ONE, org=SOUTH, id="of-south")
    async with database.transaction(NORTH) as connection:
        assert await connection.execute(RAISE, key="of-south", expected=1) == 0
    with pytest.raises(RuntimeError, match="another organisation"):
        async with database.transaction(NORTH) as connection:
            await connection.execute_many(ADD, [{**record("x"), "org": SOUTH}])


async def test_no_row_belongs_to_nobody(database: Database) -> None:
    """The scope without an organisation can hold no patient."""
    with pytest.raises(RuntimeError):
        async with database.transaction(NO_ORG) as connection:
            await connection.execute(ADD, **record("a"))


async def test_writers_of_one_version_do_not_both_win(database: Database) -> None:
    """Forty writers expect version 1: one raises it, the others touch no row."""
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))

    async def write() -> int:
        async with database.transaction(NORTH) as connection:
            return await connection.execute(RAISE, key="a", expected=1)

    assert sorted(await asyncio.gather(*(write() for _ in range(40)))) == [0] * 39 + [1]


async def test_returning_answers_with_the_new_row(database: Database) -> None:
    """A change can say what it left behind, in the same statement."""
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))
        row = await connection.fetch_one(RAISE, key="a", expected=1)
        assert row is not None
        assert row["version"] == 2
        assert await connection.fetch_one(RAISE, key="a", expected=1) is None


@pytest.mark.parametrize("after", range(6))
async def test_a_cancelled_transaction_leaves_nothing_and_blocks_nobody(database: Database, after: int) -> None:
    """Wherever the client goes away, nothing is half done and the next transaction finds the way free."""

    async def write() -> None:
        async with database.transaction(NORTH) as connection:
            await connection.execute(ADD, **record("a"))
            await connection.execute(ADD, **record("b"))

    task = asyncio.create_task(write())
    for _ in range(after):
        await asyncio.sleep(0.0005)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)

    async with database.transaction(NORTH) as connection:
        await connection.execute(RAISE_ALL)
    assert await ids(database) in ([], ["a", "b"])
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("c"))
    assert "c" in await ids(database)


async def test_a_thousand_cancellations_use_up_no_lane(database_url: str) -> None:
    """A storm of clients that go away leaves as many connections as before."""
    async with opened(database_url, pool_size=2) as database:
        for number in range(100):
            tasks = [asyncio.create_task(ids(database)) for _ in range(10)]
            await asyncio.sleep(0.0001 * (number % 4))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        assert await asyncio.gather(*(ids(database) for _ in range(10))) == [[]] * 10


async def test_an_uncommitted_writer_makes_others_wait_and_then_refuse(database_url: str) -> None:
    """Waiting has an end: the error says to try again, and the reads go on meanwhile."""
    async with opened(database_url, pool_size=1, wait_timeout=0.05) as database, database.transaction(NORTH):
        with pytest.raises(StoreUnavailable):
            async with database.transaction(NORTH):
                pytest.fail("two writers at once")
    async with opened(database_url) as database:
        assert await ids(database) == []


async def test_a_closed_database_refuses(database_url: str) -> None:
    """After `close` every call is refused; nothing opens a connection again by itself."""
    database = connect(database_url, durable=False)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await database.fetch(NORTH, ALL)
        with pytest.raises(StoreUnavailable):
            await database.probe()
        with pytest.raises(StoreUnavailable):
            async with database.transaction(NORTH):
                pytest.fail("not open")
        await database.open()
        await database.close()


async def test_two_processes_see_each_others_commits(database_url: str) -> None:
    """Two databases on one URL, as two replicas have them."""
    async with opened(database_url) as here, opened(database_url) as there:
        for number in range(10):
            writer, reader = (here, there) if number % 2 else (there, here)
            async with writer.transaction(NORTH) as connection:
                await connection.execute(ADD, **record(f"p{number}"))
            assert f"p{number}" in await ids(reader)


async def test_the_list_of_organisations_is_seen_from_every_scope(database: Database) -> None:
    """A sweeper must find each organisation that has a log."""
    for org in (NORTH, SOUTH):
        async with database.transaction(org) as connection:
            await connection.execute(prepare(insert(organisation)), created_at=1)
    every = prepare(select(organisation.c.org).order_by(organisation.c.org))
    for org in (NORTH, SOUTH, NO_ORG):
        assert [row["org"] for row in await database.fetch(org, every)] == [NORTH, SOUTH]


@pytest.mark.parametrize(
    "url", ["mysql://localhost/heed", "", "heed.db", "sqlite://", "sqlite:///", "sqlite:///:memory:"]
)
def test_other_urls_are_refused_with_a_reason(url: str) -> None:
    """No default engine, and no database that vanishes with the process."""
    with pytest.raises(Unsafe, match="URL"):
        connect(url)
