"""`kill -9` of whoever sends webhooks, in the middle of it: nothing that was acknowledged is lost to the receiver."""

import asyncio
import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from signal import SIGKILL
from typing import Any

import httpx
import pytest

from auth.development import DevelopmentIssuer
from auth.purposes import Purpose
from auth.roles import Role
from commands import endpoints
from crm.settings import load
from crm.store.database import connect
from crm.store.log_reading import EventFilter
from crm.store.log_reading import events as logged
from tests.conftest import Databases
from tests.durable import durable
from tests.processes import Serving, founded, serving
from tests.receiver import Receiver, receiver

REGISTER = 'mutation R { registerPatient(input: {preferredName: "Sam"}) { id version } }'
RENAME = """mutation U($id: ID!, $version: Int!, $name: String!) {
  updatePreferences(input: {patientId: $id, expectedVersion: $version, preferredName: $name}) { version } }"""
KILLS = 2
PEOPLE = 20


class Writers:
    """Register people and rename them, through whichever process answers; what was acknowledged is remembered."""

    def __init__(self, token: str) -> None:
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self.acknowledged: dict[str, int] = {}

    async def write(self, running: list[Serving], people: int) -> None:
        """Writes, several at a time, until so many more are there."""
        enough = len(self.acknowledged) + people
        async with httpx.AsyncClient(headers=self._headers, timeout=5) as http, asyncio.timeout(60):
            turns = itertools.cycle(running)
            work = asyncio.gather(*(self._go(http, turns) for _ in range(4)))
            while len(self.acknowledged) < enough:  # noqa: ASYNC110 - which of them makes it enough is open
                await asyncio.sleep(0.01)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def _go(self, http: httpx.AsyncClient, turns: Iterator[Serving]) -> None:
        while True:
            one = await self._ask(http, next(turns), REGISTER)
            if one is None:
                continue
            self.acknowledged[one["id"]] = version = one["version"]
            for name in "ABC":
                variables = {"id": one["id"], "version": version, "name": name}
                changed = await self._ask(http, next(turns), RENAME, **variables)
                if changed is None:
                    break
                self.acknowledged[one["id"]] = version = changed["version"]

    async def _ask(self, http: httpx.AsyncClient, where: Serving, query: str, **variables: Any) -> Any:
        try:
            answer = await http.post(f"{where.address}/graphql", json={"query": query, "variables": variables})
            data = answer.json()["data"]
        except (httpx.HTTPError, ValueError, KeyError):
            await asyncio.sleep(0.05)
            return None
        return next(iter(data.values())) if data else None


async def drill(settings: dict[str, Any], there: Receiver, processes: int) -> None:
    """Kills a sender again and again while people write and some answers are failures, then counts."""
    who: dict[str, Any] = {"role": Role.INTEGRATION, "purpose": Purpose.RECORDMGT}
    await endpoints.add(load(**settings), there.url, org="demo", kinds=(), fields=(), **who)
    data = Path(str(settings["data_dir"]))
    token = DevelopmentIssuer(data).sign(Role.INTEGRATION, "feed-1", org="demo", purpose=Purpose.RECORDMGT, ttl=3_600)
    turn = itertools.count()
    # One in seventeen is refused when it comes for the first time; a second refusal would cost five minutes.
    there.only = lambda each: 503 if next(turn) % 17 == 5 and each.id not in there.ids(-1) else None
    writers = Writers(token)
    with crew(settings, processes) as running:
        for kill in range(KILLS):
            await writers.write(running, PEOPLE)
            victim = running.pop(0)
            await asyncio.to_thread(victim.stop, SIGKILL)
            if kill < KILLS - 1 or not running:
                running.append(await asyncio.to_thread(hired, settings))
        there.only = lambda _: None
        await all_told(there, writers.acknowledged)
    await judge(str(settings["database_url"]), there, writers.acknowledged)


_HIRED: list[ExitStack] = []


def hired(settings: dict[str, Any]) -> Serving:
    """One more serving process, which ends with its crew."""
    return _HIRED[-1].enter_context(serving("serve", **settings))


@contextmanager
def crew(settings: dict[str, Any], processes: int) -> Iterator[list[Serving]]:
    """So many serving processes; all that were ever hired end with the block."""
    with ExitStack() as stack:
        _HIRED.append(stack)
        yield [hired(settings) for _ in range(processes)]
    _HIRED.pop()


async def all_told(there: Receiver, acknowledged: dict[str, int]) -> None:
    """Returns when the newest acknowledged version of everybody arrived. Raises TimeoutError."""
    async with asyncio.timeout(60):
        while True:
            arrived = {(each.data["id"], each.data["version"]) for each in there.arrived}
            if all((name, version) in arrived for name, version in acknowledged.items()):
                return
            await asyncio.sleep(0.1)


async def judge(url: str, there: Receiver, acknowledged: dict[str, int]) -> None:
    """Every version arrived, of each patient first in their order, each under one id and with its event."""
    assert len(acknowledged) >= KILLS * PEOPLE
    ids: dict[tuple[str, int], set[str]] = {}
    for each in there.arrived:
        ids.setdefault((each.data["id"], each.data["version"]), set()).add(each.id)
    missing = [
        (name, version)
        for name, last in acknowledged.items()
        for version in range(1, last + 1)
        if (name, version) not in ids
    ]
    assert missing == []
    assert all(len(names) == 1 for names in ids.values())
    for name in acknowledged:
        first = list(dict.fromkeys(there.versions(name)))
        assert first == sorted(first)
    database = connect(url)
    await database.open()
    try:
        events = [entry.content for entry in await logged(database, "demo", EventFilter(), 100_000)]
    finally:
        await database.close()
    told = {each["req"] for each in events if each["op"] == "webhook"}
    assert {each.id for each in there.arrived} <= told
    print(f"{len(acknowledged)} people, {len(ids)} changes, {len(there.arrived)} arrivals, {KILLS} kills")  # noqa: T201 - what a drill did is worth reading


@pytest.mark.slow
async def test_sqlite(databases: Databases, tmp_path: Path) -> None:
    """One process at a time; the next one finds a lease without a beat."""
    url = databases.create("sqlite")
    async with receiver() as there:
        await drill({**founded(tmp_path, url), "webhook_timeout": 1}, there, 1)
    databases.drop(url)


@pytest.mark.slow
async def test_postgresql(tmp_path: Path) -> None:
    """Two processes; the one that is left takes over."""
    with durable() as server:
        async with receiver() as there:
            await drill({**founded(tmp_path, server.url), "webhook_timeout": 1}, there, 2)
