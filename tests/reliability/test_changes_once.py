"""Many who change one record at once: no acknowledged change is lost, and what is asked twice is done once."""

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from auth.development import DevelopmentIssuer
from auth.roles import Role
from crm.audit.event import Act
from crm.domain.retries import Retry
from crm.errors import RequestInProgress
from crm.services.request import Request
from crm.store.context import Context
from crm.store.retries import Repeated
from schema.settings import Settings
from tests.client import Client, client
from tests.conftest import Databases
from tests.durable import durable
from tests.house import ORG, actor
from tests.processes import PATIENCE, founded, serving

PREFER = "mutation U($i: UpdatePreferencesInput!) { updatePreferences(input: $i) { id version instructions } }"
ROOM = Settings(in_flight=100_000, deadline=60, body_deadline=60)
"""For tests of who comes first, not of how many may come."""

MANY = int(os.environ.get("CHANGES", "400"))


@asynccontextmanager
async def replicas(url: str, folder: Path, number: int) -> AsyncIterator[list[Client]]:
    """Services with one database and one key set, of which none knows what another is doing."""
    async with contextlib.AsyncExitStack() as opened:
        found: list[Client] = []
        for place in range(number):
            own = folder / str(place)
            own.mkdir()
            shared: dict[str, Any] = {"keys": lambda _: found[0].house.services.store.keys} if found else {}
            found.append(await opened.enter_async_context(client(url, own, ROOM, deadline=30.0, **shared)))
        yield found


@dataclass
class Tally:
    """What writers were told: by version what they were told was stored, and how often they were refused."""

    stored: dict[int, str]
    refused: int = 0


async def contest(writers: list[Client], patient: str, changes: int, at_once: int) -> Tally:
    """As many changes as that, each tried once from the version that its writer knew last."""
    tally, known, left = Tally({}), 1, iter(range(changes))

    async def write(it: Client) -> None:
        nonlocal known
        for number in left:
            text = f"Change {number}."
            values = {"i": {"patientId": patient, "expectedVersion": known, "instructions": text}}
            answer = (await it.ask(PREFER, variables=values)).json()
            if "errors" in answer:
                told = answer["errors"][0]["extensions"]
                assert (told["code"], told["changedFields"]) == ("VERSION_CONFLICT", ["instructions"])
                tally.refused += 1
                known = max(known, told["currentVersion"])
            else:
                done = answer["data"]["updatePreferences"]
                assert done["version"] not in tally.stored, "one version, acknowledged twice"
                tally.stored[done["version"]] = text
                known = max(known, done["version"])

    await asyncio.gather(*(write(writers[place % len(writers)]) for place in range(at_once)))
    return tally


async def assert_nothing_was_lost(it: Client, patient: str, tally: Tally, changes: int) -> None:
    """Every acknowledged change is the version that its writer was told, and there is no other."""
    newest = (await it.data(f'{{ patient(id: "{patient}") {{ version }} }}'))["patient"]["version"]
    assert sorted(tally.stored) == list(range(2, newest + 1))
    assert len(tally.stored) + tally.refused == changes
    assert tally.refused, "nobody was in anybody's way: that was no contest"
    looks = sorted(tally.stored)[:: max(1, len(tally.stored) // 50)]
    for version in looks:
        query = f'{{ patient(id: "{patient}", asOfVersion: {version}) {{ version instructions }} }}'
        then = (await it.data(query, Role.CLINICIAN))["patient"]
        assert then == {"version": version, "instructions": tally.stored[version]}


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_conflicting_changes(databases: Databases, tmp_path: Path, engine: str) -> None:
    """Some changes by sixteen writers, on PostgreSQL of two replicas: none that was acknowledged is lost."""
    await _contested(databases, tmp_path, engine, 60)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_very_many_conflicting_changes(databases: Databases, tmp_path: Path, engine: str) -> None:
    """The same for longer: as many changes as the variable CHANGES says."""
    await _contested(databases, tmp_path, engine, MANY)


async def _contested(databases: Databases, folder: Path, engine: str, changes: int) -> None:
    url = databases.create(engine)
    async with replicas(url, folder, 2 if engine == "postgresql" else 1) as them:
        patient = str((await them[0].house.register({"preferred_name": "Ada"}))["id"])
        tally = await contest(them, patient, changes, 16)
        await assert_nothing_was_lost(them[-1], patient, tally, changes)
    databases.drop(url)


def sorted_out(answers: list[dict[str, Any]]) -> Counter[str]:
    """How many were answered `done`, all alike, and how many were refused by which code."""
    done = [answer["data"]["updatePreferences"] for answer in answers if "errors" not in answer]
    assert all(each == done[0] for each in done)
    refused = [answer["errors"][0]["extensions"]["code"] for answer in answers if "errors" in answer]
    return Counter([*("done" for _ in done), *refused])


@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_many_duplicates(databases: Databases, tmp_path: Path, engine: str) -> None:
    """Two hundred at once, on PostgreSQL to two replicas: one effect, and one answer or the word that it is being done.

    A service that is started afterwards on the same database gives that answer, too.
    """
    await _duplicated(databases, tmp_path, engine, 200)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_a_thousand_duplicates(databases: Databases, tmp_path: Path, engine: str) -> None:
    """The same of a thousand."""
    await _duplicated(databases, tmp_path, engine, 1_000)


async def _duplicated(databases: Databases, tmp_path: Path, engine: str, number: int) -> None:
    url = databases.create(engine)
    async with replicas(url, tmp_path, 2 if engine == "postgresql" else 1) as them:
        keys = them[0].house.services.store.keys
        patient = str((await them[0].house.register({"preferred_name": "Ada"}))["id"])
        values = {"i": {"patientId": patient, "expectedVersion": 1, "instructions": "Once."}}
        under = {"idempotency-key": uuid4().hex}
        asked = (them[place % len(them)].ask(PREFER, variables=values, headers=under) for place in range(number))
        answers = [answer.json() for answer in await asyncio.gather(*asked)]
        told = sorted_out(answers)
        assert told.keys() <= {"done", "REQUEST_IN_PROGRESS", "OVERLOADED"}  # a busy pool says so, and does nothing
        assert told["done"]
        changes = [entry for entry in await them[0].house.leaves(act="update") if entry["out"] == "ok"]
        assert len(changes) == 1
    (tmp_path / "later").mkdir()
    async with client(url, tmp_path / "later", keys=lambda _: keys) as later:
        again = (await later.ask(PREFER, variables=values, headers=under)).json()
    assert again == {"data": {"updatePreferences": {"id": patient, "version": 2, "instructions": "Once."}}}
    databases.drop(url)


async def test_another_replica_is_not_waited_for(databases: Databases, tmp_path: Path) -> None:
    """While one replica does it, another refuses the same at once; afterwards it is known there."""
    url = databases.create("postgresql")
    async with replicas(url, tmp_path, 2) as (one, other):
        context = Request("r-1", "Test", Retry("idempotency-key", "k-1", b"asked")).context(actor(Role.INTEGRATION))
        async with one.house.services.store.writing(context, Act.CREATE) as unit:
            unit.create({"preferred_name": "Ada"}, "test")
            async with asyncio.timeout(5):
                with pytest.raises(RequestInProgress):
                    await _written(other, context)
        with pytest.raises(Repeated):
            await _written(other, context)
    databases.drop(url)


async def _written(it: Client, context: Context) -> None:
    async with it.house.services.store.writing(context, Act.CREATE) as unit:
        unit.create({"preferred_name": "Ada"}, "test")


@pytest.mark.slow
async def test_duplicates_at_two_processes(tmp_path: Path) -> None:
    """Three requests, each sent twenty times at once to two processes: three effects, three answers."""
    with durable() as server:
        place = founded(tmp_path, server.url)
        with serving("serve", "--workers", 2, until="/readyz", **place) as running:
            token = DevelopmentIssuer(tmp_path).sign(Role.FRONT_DESK, "desk", org=ORG)
            async with httpx.AsyncClient(base_url=running.address, timeout=PATIENCE) as http:
                await asyncio.gather(*(_twenty_times(http, token) for _ in range(3)))


async def _twenty_times(http: httpx.AsyncClient, token: str) -> None:
    bearer = {"authorization": f"Bearer {token}"}
    new = 'mutation { registerPatient(input: {preferredName: "Ada"}) { id } }'
    registered = (await _until_done(http, {"query": new}, {**bearer, "idempotency-key": uuid4().hex}))["data"]
    patient = registered["registerPatient"]["id"]
    body = {
        "query": PREFER,
        "variables": {"i": {"patientId": patient, "expectedVersion": 1, "instructions": "Once."}},
    }
    headers = {**bearer, "idempotency-key": uuid4().hex}
    answers = await asyncio.gather(*(_until_done(http, body, headers) for _ in range(20)))
    assert sorted_out(answers) == {"done": 20}
    assert answers[0]["data"]["updatePreferences"]["version"] == 2


async def _until_done(http: httpx.AsyncClient, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
    """The answer, as a client gets it who comes again when told to."""
    while True:
        with contextlib.suppress(httpx.TransportError):  # an answer that was lost on its way
            answer = await http.post("/graphql", json=body, headers=headers)
            if answer.status_code not in {409, 429, 503}:
                found: dict[str, Any] = answer.json()
                return found
        await asyncio.sleep(0.1)
