"""A PostgreSQL that dies, freezes, fills up or is cut off below a whole service: refused in time, and nothing is lost.

Its server, the faults and the network in between are real. How it is stopped in order is in `test_outages.py`.
"""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from crm.errors import AuditUnavailable, StoreUnavailable
from tests.asking import question
from tests.client import Client, client
from tests.durable import Durable, durable
from tests.faults import Network, network
from tests.house import ORG, now
from tests.logs import database_at, event, logged, until, writer_on

NAME = question("displayName")
DEADLINE = 1.0


@pytest.fixture(scope="module")
def server() -> Iterator[Durable]:
    """A PostgreSQL of this module's own, that keeps what it acknowledged."""
    with durable() as made:
        yield made


class Callers:
    """A few callers who ask for one patient, again and again, and note what they were told."""

    def __init__(self, it: Client, patient_id: str) -> None:
        self._it = it
        self.log = it.house.log
        self._patient_id = patient_id
        self._number = 0
        self.told: set[str] = set()
        self.refused: set[str] = set()
        self.waits: list[float] = []

    async def ask(self) -> bool:
        """One request; whether it was answered. Fails where the answer is neither whole nor a refusal without data."""
        self._number += 1
        name, began = f"{id(self)}-{self._number}", time.monotonic()
        answer = await self._it.ask(NAME, variables={"id": self._patient_id}, headers={"x-request-id": name})
        if answer.status_code == 200:
            assert answer.json()["data"]["patient"]["displayName"] == "Sam"
            self.told.add(name)
            return True
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1"), answer.text
        assert answer.json().keys() == {"errors"}
        assert answer.json()["errors"][0]["extensions"]["code"] in {"AUDIT_UNAVAILABLE", "OVERLOADED"}
        self.refused.add(name)
        self.waits.append(time.monotonic() - began)
        return False

    async def _again(self) -> None:
        while True:
            if not await self.ask():
                await asyncio.sleep(0.02)

    @asynccontextmanager
    async def asking(self, number: int = 6) -> AsyncIterator[None]:
        """So many of them, all the while."""
        tasks = [asyncio.create_task(self._again()) for _ in range(number)]
        try:
            await until(lambda: len(self.told) >= number)
            yield
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended

    async def more(self, *, told: int = 0, refused: int = 0) -> None:
        """Returns when so many more were answered, and so many more refused."""
        told, refused = told + len(self.told), refused + len(self.refused)
        await until(lambda: len(self.told) >= told and len(self.refused) >= refused)

    async def settle(self) -> None:
        """Returns when one is answered again."""
        while not await self.ask():  # noqa: ASYNC110 - it comes back by itself
            await asyncio.sleep(0.05)

    async def check(self, url: str) -> int:
        """Whoever was answered is in the log, once, and the log is whole; how many were refused and are there too."""
        async with database_at(url) as other:
            leaves = [leaf for leaf in await logged(other, ORG) if leaf.get("req", "").startswith(f"{id(self)}-")]
        found = [leaf["req"] for leaf in leaves]
        assert len(found) == len(set(found)), "one answer, two events"
        assert self.told <= set(found), "answered without a record"
        assert all(leaf["out"] == "ok" for leaf in leaves if leaf["req"] in self.told)
        return len(set(found) & self.refused)


@asynccontextmanager
async def clinic(url: str, folder: Path, **parts: Any) -> AsyncIterator[Callers]:
    """A service over the database at `url`, and callers of it."""
    async with client(url, folder, **{"deadline": DEADLINE, **parts}) as it:
        while True:
            with suppress(AuditUnavailable, StoreUnavailable):  # on a busy machine the first batch may be late
                patient = await it.house.register()
                break
        yield Callers(it, str(patient["id"]))


@asynccontextmanager
async def afar(server: Durable, folder: Path) -> AsyncIterator[tuple[Callers, Network]]:
    """A service that reaches its database over a network that can fail."""
    async with network(server.url) as between, clinic(between.url, folder) as callers:
        yield callers, between


async def test_killed_and_started_again(server: Durable, tmp_path: Path) -> None:
    """Every process of the server is killed (-9) in full flight: what was answered outlives the recovery."""
    async with clinic(server.url, tmp_path) as callers:
        async with callers.asking():
            server.kill()
            await callers.more(refused=12)
            await asyncio.to_thread(server.start)
            await callers.more(told=6)
        await callers.check(server.url)


async def test_frozen_and_thawed(server: Durable, tmp_path: Path) -> None:
    """SIGSTOP: no request hangs for longer than its own deadlines; soon all are refused at once; then all is well."""
    async with clinic(server.url, tmp_path) as callers:
        async with callers.asking():
            server.freeze()
            try:
                # Who waits for rows appends nothing; the sweeper finds out that nobody answers.
                await until(lambda: not callers.log.accepting(ORG))
                told, callers.waits = set(callers.told), []
                for _ in range(5):
                    assert not await callers.ask()
                assert callers.told == told
                assert sorted(callers.waits)[2] < DEADLINE
            finally:
                server.thaw()
            await callers.more(told=6)
        await callers.check(server.url)


async def test_a_network_that_swallows(server: Durable, tmp_path: Path) -> None:
    """A firewall that drops: connections stay open and silent. Refused, and answered when octets flow again."""
    async with afar(server, tmp_path) as (callers, between):
        async with callers.asking():
            between.swallow()
            await until(lambda: not callers.log.accepting(ORG))
            assert not await callers.ask()
            between.flow()
            await callers.more(told=6)
        await callers.check(server.url)


@pytest.mark.parametrize("mark", [b"COMMIT", b'"act":"read"'], ids=["COMMIT", "one statement"])
async def test_cut_during_the_commit(server: Durable, tmp_path: Path, mark: bytes) -> None:
    """The commit was sent, and the connection reset before its answer: refused, although recorded, and recorded once.

    A replica that wrote last commits its next batch in one statement; one that did not needs a COMMIT of its own.
    """
    async with (
        afar(server, tmp_path) as (callers, between),
        database_at(server.url) as near,
        writer_on(near, "other", clock=now) as other,
    ):
        for round_ in range(5):
            for _ in range(3):
                await callers.settle()
            if mark == b"COMMIT":
                await other.append(ORG, [event()])
            between.cut_after(mark)
            assert not await callers.ask()
            assert between.cuts == round_ + 1
        await callers.settle()
        assert await callers.check(server.url) == 5, "the server got the commit, so the event must be there"


async def test_cut_at_any_moment(server: Durable, tmp_path: Path) -> None:
    """All connections are reset again and again while callers ask."""
    async with afar(server, tmp_path) as (callers, between):
        async with callers.asking():
            for _ in range(15):
                await asyncio.sleep(0.05)
                between.cut()
        await callers.settle()
        assert callers.refused
        await callers.check(server.url)


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own with a fixed size; skips where none can be mounted."""
    folder.mkdir(parents=True)
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "heed-test", str(folder)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_the_disk_is_full(server: Durable, tmp_path: Path) -> None:
    """The log's table lies on a disk without any room left: nothing is answered until there is some; no restart."""
    with small_disk(server.folder.parent / "small", 24) as disk:
        owner = server.folder.stat()
        os.chown(disk, owner.st_uid, owner.st_gid)
        operator = await asyncpg.connect(server.url)
        await operator.execute(f"CREATE TABLESPACE small LOCATION '{disk}'")
        await operator.execute("ALTER TABLE audit_event SET TABLESPACE small")
        ballast = disk / "ballast"
        async with clinic(server.url, tmp_path) as callers:
            async with callers.asking():
                fill(ballast)
                await callers.more(refused=20)
                await asyncio.sleep(0.3)
                told = len(callers.told)
                await asyncio.sleep(0.5)
                assert len(callers.told) == told, "answered while nothing could be written"
                ballast.unlink()
                await callers.more(told=6)
            await callers.check(server.url)
        await operator.execute("ALTER TABLE audit_event SET TABLESPACE pg_default")
        await operator.execute("DROP TABLESPACE small")
        await operator.close()


def fill(ballast: Path) -> None:
    """Takes all the room that is left."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(65536))
        except OSError:
            pass


@pytest.mark.slow
async def test_the_write_ahead_log_is_full(tmp_path: Path) -> None:
    """PostgreSQL cannot write its own log and ends itself: refused until there is room and somebody starts it again."""
    with durable() as server, small_disk(server.folder.parent / "wal", 96) as disk:
        await asyncio.to_thread(server.stop)
        moved(server.folder / "pg_wal", disk / "pg_wal")
        await asyncio.to_thread(server.start)
        ballast = disk / "ballast"
        async with clinic(server.url, tmp_path) as callers:
            async with callers.asking():
                fill(ballast)
                with suppress(asyncpg.PostgresError, OSError):
                    operator = await asyncpg.connect(server.url)
                    while True:  # soon no segment is left
                        await operator.execute("SELECT pg_logical_emit_message(true, 'heed', repeat('x', 4000000))")
                await callers.more(refused=20)
                assert "PANIC" in (server.folder / "log").read_text()
                told = len(callers.told)
                await asyncio.sleep(0.5)
                assert len(callers.told) == told, "answered while nothing could be written"
                ballast.unlink()
                await asyncio.to_thread(server.start)
                await callers.more(told=6)
            await callers.check(server.url)
        await asyncio.to_thread(server.stop)


def moved(folder: Path, place: Path) -> None:
    """Moves a folder of a server that is stopped to another disk, and leaves a link."""
    owner = folder.stat()
    shutil.move(folder, place)
    folder.symlink_to(place)
    for each in (place.parent, place, *place.rglob("*")):
        os.chown(each, owner.st_uid, owner.st_gid)


async def test_a_client_that_hangs_up(server: Durable, tmp_path: Path) -> None:
    """Callers go away while the log is held up; their events are recorded nevertheless, since records were opened."""
    async with clinic(server.url, tmp_path, deadline=20.0) as callers:
        operator = await asyncpg.connect(server.url)
        async with operator.transaction():
            await operator.execute(f"SELECT 1 FROM audit_head WHERE org = '{ORG}' FOR UPDATE")
            gone = [asyncio.create_task(callers.ask()) for _ in range(4)]
            await asyncio.sleep(0.5)
            for each in gone:
                each.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
        await operator.close()
        await callers.settle()
        async with database_at(server.url) as other:
            found = [
                leaf["req"] for leaf in await logged(other, ORG) if leaf.get("req", "").startswith(f"{id(callers)}-")
            ]
        assert len(found) == 5
