"""The revision of the feed on a database in use: what waits gets its place, and down and up again changes nothing."""

import json
from functools import partial
from typing import Any

import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.engine import Connection

from crm.store import feed, migrations
from crm.store.feed import ChangeKind
from tests.store import NORTH, SOUTH, opened

TABLES = {
    "change": "SELECT org, seq, id, patient_id, version, kind, changed, at FROM change ORDER BY org, seq",
    "change_head": "SELECT org, seq FROM change_head ORDER BY org",
    "outbox": "SELECT org, id, patient_id, version, changed, created_at, kind FROM outbox ORDER BY org, id",
}


def moved(url: str, revision: str) -> None:
    """Bring the tables down to a revision, or up to the newest."""
    step = partial(command.downgrade, revision=revision) if revision else partial(command.upgrade, revision="head")
    migrations._run(url, lambda connection: migrations._alembic(connection, step), exclusive=True)


def run(url: str, *statements: str) -> list[Any]:
    """The rows of the last statement."""

    def work(connection: Connection) -> list[Any]:
        answers = [connection.execute(text(statement)) for statement in statements]
        return [tuple(row) for row in answers[-1].fetchall()] if answers[-1].returns_rows else []

    found: list[Any] = migrations._run(url, work, exclusive=True)
    return found


def waiting(org: str, name: str, patient: str, version: int, at: int, *names: str) -> str:
    """The statement by which an older release leaves a change in the outbox."""
    changed = json.dumps(list(names), separators=(",", ":")).replace(":", "\\:")
    return (
        "INSERT INTO outbox (org, id, patient_id, version, changed, created_at) "
        f"VALUES ('{org}', '{name}', '{patient}', {version}, '{changed}', {at})"
    )


@pytest.fixture
def old(database_url: str) -> str:
    """A database of a release without a feed, with two organisations."""
    moved(database_url, "0007")
    run(database_url, *(f"INSERT INTO organisation VALUES ('{org}', 1)" for org in (NORTH, SOUTH)))
    return database_url


async def test_what_an_older_release_left_is_numbered(old: str) -> None:
    """Each organisation on its own, by time, and of one patient by version; the next change comes behind them."""
    run(
        old,
        waiting(NORTH, "c", "p", 3, 20, "names"),
        waiting(NORTH, "a", "p", 2, 20, "religion", "names"),
        waiting(NORTH, "b", "q", 1, 10),
        waiting(NORTH, "e", "s", 1, 40),
        waiting(NORTH, "f", "s", 2, 15),  # by a replica whose clock was behind
        waiting(SOUTH, "d", "r", 1, 5, "active"),
    )
    moved(old, "")
    async with opened(old) as database:
        found = await feed.read(partial(database.fetch, NORTH), NORTH, 0, 10)
        assert [(each.seq, each.id, each.version, each.at) for each in found] == [
            (1, "b", 1, 10), (2, "a", 2, 20), (3, "c", 3, 20), (4, "e", 1, 40), (5, "f", 2, 15),
        ]  # fmt: skip
        assert [each.names for each in found[:3]] == [frozenset(), {"religion", "names"}, {"names"}]
        assert {each.kind for each in found} == {ChangeKind.CHANGED}
        assert await feed.head(partial(database.fetch, SOUTH), SOUTH) == 1
    assert run(old, TABLES["outbox"]) == []
    run(old, waiting(NORTH, "0", "q", 2, 30))
    async with opened(old) as database:
        assert await feed.settle(database, NORTH)
        assert [each.seq for each in await feed.read(partial(database.fetch, NORTH), NORTH, 5, 10)] == [6]


def test_down_and_up_again_leaves_the_feed_as_it_was(database_url: str) -> None:
    """Places, kinds and times, also where the oldest are gone; what waits goes on waiting, now with a place."""
    run(
        database_url,
        *(f"INSERT INTO organisation VALUES ('{org}', 1)" for org in (NORTH, SOUTH)),
        *(
            f"INSERT INTO change VALUES ('{NORTH}', {seq}, 'n{9 - seq}', 'p', {seq}, '{kind}', '[\"names\"]', {at})"
            for seq, kind, at in ((4, "CHANGED", 7), (5, "MERGED", 6), (6, "ERASED", 9))
        ),
        f"INSERT INTO change_head VALUES ('{NORTH}', 6)",
        waiting(NORTH, "z", "q", 1, 1, "active"),
        f"UPDATE outbox SET kind = 'UNMERGED' WHERE org = '{NORTH}'",
    )
    before = {table: run(database_url, question) for table, question in TABLES.items()}
    moved(database_url, "0007")
    assert len(run(database_url, "SELECT id FROM outbox")) == 4
    moved(database_url, "")
    after = {table: run(database_url, question) for table, question in TABLES.items()}
    assert after["change"][:3] == before["change"]
    assert after["change"][3] == (NORTH, 7, "z", "q", 1, "UNMERGED", '["active"]', 1)
    assert (after["change_head"], after["outbox"]) == ([(NORTH, 7)], [])
    moved(database_url, "0007")
    moved(database_url, "")
    assert {table: run(database_url, question) for table, question in TABLES.items()} == after
