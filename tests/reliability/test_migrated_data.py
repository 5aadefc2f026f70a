"""Migrations of a database that is in use: no row changes its meaning on the way there and back, whatever is killed."""

import asyncio
import hashlib
import multiprocessing
import os
import random
import re
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from sqlalchemy import MetaData, event, select
from sqlalchemy.engine import Connection, Engine

from auth.roles import Role
from crm.store import migrations
from crm.store.migrations import check, current, upgrade
from tests.durable import durable
from tests.house import REQUEST, actor
from tests.people import WHOLE
from tests.premises import Place, opened

OLDER = "0005"
"""The newest revision before records had a history: what an older release left behind."""
KILLS = int(os.environ.get("DRILL_KILLS", "6"))
PATIENTS = int(os.environ.get("DRILL_PATIENTS", "20000"))
Dump = dict[str, str]
_PLACE = re.compile(r'"change/\d*/[A-Z]+",?')


def lowered(url: str, revision: str) -> None:
    """Brings a database back to an older revision."""
    work: Callable[[Connection], None] = lambda connection: migrations._alembic(
        connection, lambda config: command.downgrade(config, revision)
    )
    migrations._run(url, work, exclusive=True)


def dumped(url: str) -> Dump:
    """A digest of each table: of the names of its columns, and of all rows in one order."""

    def work(connection: Connection) -> Dump:
        metadata = MetaData()
        metadata.reflect(connection)
        return {
            table.name: hashlib.sha256(
                repr(
                    (sorted(table.c.keys()), sorted(map(_plain, connection.execute(select(*_sorted(table))))))
                ).encode()
            ).hexdigest()
            for table in metadata.sorted_tables
        }

    found: Dump = migrations._run(url, work, exclusive=True)
    return found


def _sorted(table: Any) -> list[Any]:
    return [table.c[name] for name in sorted(table.c.keys())]


def _plain(row: Any) -> str:
    """A row as text; without the place that a change had in the feed, which an older database keeps for it aside."""
    values = (bytes(value) if isinstance(value, memoryview) else value for value in row)
    return repr(tuple(_PLACE.sub("", value) if isinstance(value, str) else value for value in values))


@pytest.fixture
async def used(database_url: str, tmp_path: Path) -> tuple[Place, list[dict[str, Any]]]:
    """A place at the older revision in which people were registered, changed and erased, and what was read there."""
    place = Place(database_url, tmp_path)
    clerk, officer = actor(Role.INTEGRATION), actor(Role.PRIVACY_OFFICER)
    async with opened(place) as it:
        ids = [(await it.house.register(WHOLE))["id"] for _ in range(3)]
        await it.erase(ids.pop())
        await it.house.services.changes.update(
            clerk, REQUEST, ids[0], 1, {"preferred_name": "Sammy"}, frozenset({"displayName"})
        )
        assert officer.org == clerk.org
        read = [await _read(it.house, patient) for patient in ids]
    await asyncio.to_thread(lowered, database_url, OLDER)
    return place, read


async def _read(house: Any, patient: str) -> dict[str, Any]:
    asked = frozenset({"displayName", "preferredName", "names", "religion", "contactPoints", "languages"})
    found: dict[str, Any] = await house.services.profiles.read(actor(Role.INTEGRATION), REQUEST, patient, asked)
    return found


async def test_up_down_and_up_again(used: tuple[Place, list[dict[str, Any]]]) -> None:
    """Every table is the same, to the octet, each time at the same revision; and people are read as before."""
    place, read = used
    older = dumped(place.url)
    upgrade(place.url)
    newest = dumped(place.url)
    lowered(place.url, OLDER)
    assert dumped(place.url) == older
    upgrade(place.url)
    assert dumped(place.url) == newest
    async with opened(place) as it:
        assert [await _read(it.house, found["id"]) for found in read] == read


@pytest.mark.slow
async def test_every_single_step_back_and_forth(used: tuple[Place, list[dict[str, Any]]]) -> None:
    """Each revision alone is taken back and made again, and leaves every table as it was."""
    place, _ = used
    upgrade(place.url)
    assert current(place.url) is not None
    while (revision := current(place.url)) != OLDER:
        before = dumped(place.url)
        lowered(place.url, "-1")
        below = dumped(place.url)
        migrations._run(place.url, lambda c: migrations._alembic(c, lambda config: command.upgrade(config, "+1")))
        assert (current(place.url), dumped(place.url)) == (revision, before)
        lowered(place.url, "-1")
        assert dumped(place.url) == below


class _Progress:
    """How far a migration came in a process that is killed on the way; after so many statements, and some time."""

    def __init__(self, context: Any, end: int, after: float = 0.0) -> None:
        self._end, self._after = end, after
        self.began, self.done = context.Value("i", 0), context.Value("i", 0)

    def upgrade(self, url: str) -> None:
        """The migration, in a process of its own."""
        event.listen(Engine, "before_cursor_execute", self._begins)
        event.listen(Engine, "after_cursor_execute", self._ends)
        upgrade(url)

    def _begins(self, *_: object) -> None:
        self.began.value += 1
        if self.began.value == self._end and self._after:
            threading.Timer(self._after, os.kill, (os.getpid(), signal.SIGKILL)).start()
        elif self.began.value == self._end:
            os.kill(os.getpid(), signal.SIGKILL)

    def _ends(self, *_: object) -> None:
        self.done.value += 1


@pytest.mark.slow
async def test_killed_in_the_middle(used: tuple[Place, list[dict[str, Any]]]) -> None:
    """After parts of its statements, again and again: the database is as it was, whole; and the next run finishes."""
    place, read = used
    older, context, chance = dumped(place.url), _forking(), random.Random(3)
    upgrade(place.url)
    newest = dumped(place.url)
    lowered(place.url, OLDER)  # on which one statement more is wanted than the first time
    whole = _migrated(context, place.url, 0)
    lowered(place.url, OLDER)
    middle, within = 0, set[int]()
    for turn in range(KILLS):
        end = 2 + (whole.done.value - 2) * (2 * turn + 1) // (2 * KILLS)
        killed = _migrated(context, place.url, end, chance.uniform(0, 0.004) if turn % 2 else 0)
        found = dumped(place.url)  # waits for what PostgreSQL has not noticed yet
        assert found == (older if current(place.url) == OLDER else newest), (turn, killed.done.value)
        if found == older:
            middle += 0 < killed.done.value < whole.done.value
            within.add(killed.done.value)
            assert turn % 2 or killed.done.value == end - 1
        else:
            lowered(place.url, OLDER)
    print(  # noqa: T201 - worth reading
        f"{KILLS} migrations killed, {middle} in the middle: after {sorted(within)} of {whole.done.value} statements"
    )
    assert min(middle, len(within)) >= (KILLS + 1) // 2, "all that did not go on for a while"
    upgrade(place.url)
    async with opened(place) as it:
        assert [await _read(it.house, each["id"]) for each in read] == read


def _forking() -> Any:
    """Processes that need not load everything again."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def _migrated(context: Any, url: str, end: int, after: float = 0.0) -> _Progress:
    """How far a process came that migrates until it is killed, in the middle of statement number `end`; never for 0."""
    progress = _Progress(context, end, after)
    process = context.Process(target=progress.upgrade, args=(url,))
    process.start()
    process.join(60)
    assert process.exitcode in ({-signal.SIGKILL, 0} if end else {0})
    return progress


def test_two_at_once(used: tuple[Place, list[dict[str, Any]]]) -> None:
    """Two hosts of a new release start together: one migrates what is in use, the other waits and finds it done."""
    place, _ = used
    older = dumped(place.url)
    context = _forking()
    both = [context.Process(target=upgrade, args=(place.url,)) for _ in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join(60)
    assert [process.exitcode for process in both] == [0, 0]
    check(place.url)
    lowered(place.url, OLDER)
    assert dumped(place.url) == older


@pytest.mark.slow
async def test_nobody_waits_long_for_a_migration(tmp_path: Path) -> None:
    """PostgreSQL with very many patients: whoever reads or changes records meanwhile waits for less than 5 s."""
    with durable() as server:
        place = Place(server.url, tmp_path)
        async with opened(place) as it:
            await it.house.register(WHOLE)
        await asyncio.to_thread(lowered, server.url, OLDER)
        admin = await asyncpg.connect(server.url)
        await _multiplied(admin, PATIENTS)
        migrating = asyncio.create_task(asyncio.to_thread(upgrade, server.url))
        began, longest = time.monotonic(), {"reading": 0.0, "changing": 0.0}
        change = "UPDATE {} SET version = version WHERE id = 'copy-1'"  # both are locked by every change of a record
        while not migrating.done():
            asked = time.monotonic()
            await admin.fetchval("SELECT count(*) FROM (SELECT 1 FROM patient LIMIT 10) AS ten")
            read = time.monotonic()
            await admin.execute(f"{change.format('patient')}; {change.format('outbox')}")
            longest["reading"] = max(longest["reading"], read - asked)
            longest["changing"] = max(longest["changing"], time.monotonic() - read)
            await asyncio.sleep(0.01)
        await migrating
        await admin.close()
        taken, waits = time.monotonic() - began, {name: round(each, 2) for name, each in longest.items()}
        print(f"migrated {PATIENTS} patients in {taken:.1f} s, longest waits {waits}")  # noqa: T201 - worth reading
        assert max(longest.values()) < 5


async def _multiplied(admin: Any, number: int) -> None:
    """So many copies of the one patient, under ids of their own; nothing of them is opened."""
    asked = "SELECT column_name FROM information_schema.columns WHERE table_name = $1"
    new = {"id": "'copy-' || n", "patient_id": "'copy-' || n", "audit_subject": "md5(n::text)"}
    for table in ("patient", "patient_key", "sealed_row", "outbox"):
        columns = [row["column_name"] for row in await admin.fetch(asked, table)]
        named, values = ", ".join(columns), ", ".join(new.get(name, name) for name in columns)
        await admin.execute(
            f"INSERT INTO {table} ({named}) SELECT {values} FROM {table}, generate_series(1, {number}) AS n"
        )
