"""A process that is asked for far more than it can do: it goes on to do what it can, and says no to the rest at once.

What is compared is work for the same processor time, because the tests share their machine with others.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from auth.development import DevelopmentIssuer
from auth.roles import Role
from tests.conftest import Databases
from tests.durable import durable
from tests.overload import Outcome, crowd, within
from tests.processes import Serving, founded, serving
from tests.wires import Answer, Wire, post

READ = "query($id: ID!) { patient(id: $id) { displayName contactPoints { value } } }"
ADD = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"
CLIENTS = 16
"""Clients with which one process is as busy as it can usefully be: more of them only wait for each other."""
CALLERS = 16
"""Members of staff that share those clients; one may have a quarter of all places."""


@dataclass
class Desk:
    """A serving process, what its clients ask, and a look at its health that never ends."""

    host: Serving
    requests: list[bytes]
    looks: int = 0
    slowest: float = 0.0

    @property
    def port(self) -> int:
        return int(self.host.address.rpartition(":")[2])

    async def crowd(self, clients: int, seconds: float, *, rude: bool = False) -> tuple[Outcome, float]:
        """What a crowd was told, and how many good answers one second of the process's processor time made."""
        before = self._processor()
        found = await asyncio.to_thread(crowd, self.port, self.requests, clients, seconds, rude=rude)
        # The crowd is there a little longer than it counts; what is compared is there as long.
        return found, len(found.served) / (self._processor() - before)

    async def health(self) -> None:
        """Asks again and again whether the process is alive."""
        wire = Wire(self.port)
        try:
            while True:
                answer = await wire.get("/healthz")
                assert answer.status == 200
                self.looks += 1
                self.slowest = max(self.slowest, answer.waited)
                await asyncio.sleep(0.05)
        finally:
            wire.close()

    async def one(self) -> Answer:
        """The answer to one question."""
        wire = Wire(self.port)
        try:
            return await wire.ask(self.requests[0])
        finally:
            wire.close()

    def _processor(self) -> float:
        times = psutil.Process(self.host.process.pid).cpu_times()
        return float(times.user + times.system)


@contextmanager
def place_on(engine: str, databases: Databases, folder: Path) -> Iterator[dict[str, Any]]:
    """The settings of a place in order."""
    if engine == "postgresql":
        with durable() as server:
            yield founded(folder, server.url)
        return
    url = databases.create(engine)
    yield founded(folder, url)
    databases.drop(url)


@pytest.mark.slow
async def test_64_times_as_many_clients(engine: str, databases: Databases, tmp_path: Path) -> None:
    """At least 70 % of the best is still served, the rest is told OVERLOADED and when to come, and health answers.

    Whether those who are refused come back when they are told to, or at once and for ever.
    """
    with place_on(engine, databases, tmp_path) as place, serving("serve", until="/readyz", **place) as host:
        desk = Desk(host, questions(host, tmp_path))
        health = asyncio.create_task(desk.health())
        try:
            await desk.crowd(CLIENTS, 1)
            calm, best = await desk.crowd(CLIENTS, 3)
            assert not calm.refused
            assert not calm.odd
            for rude in (False, True):
                found, rate = await desk.crowd(64 * CLIENTS, 4, rude=rude)
                began = time.monotonic()
                while (await desk.one()).status != 200:  # noqa: ASYNC110 - its own time
                    await asyncio.sleep(0.02)
                normal = time.monotonic() - began
                assert normal < 10, "a second, and patience with a busy machine"
                tell(engine, found, rate / best, desk, normal, rude=rude)
                assert not found.odd
                assert found.codes.keys() == {"OVERLOADED"}
                assert rate >= 0.7 * best
                if not rude:
                    assert within(found.refused, 0.5) < within(found.served, 0.5), "who is refused waits for less"
            assert desk.looks > 20
            assert not health.done(), "it failed"
        finally:
            health.cancel()
            await asyncio.gather(health, return_exceptions=True)


def questions(host: Serving, folder: Path) -> list[bytes]:
    """Requests of many members of staff for many patients."""
    issuer = DevelopmentIssuer(folder)
    feed = issuer.sign(Role.INTEGRATION, "feed", org="north")
    patients = []
    for number in range(20):
        names = [{"use": "OFFICIAL", "family": "Okafor", "given": ["Ada"]}]
        identifiers = [{"system": "urn:example:mrn", "value": str(number)}]
        answer = host.ask(feed, ADD, input={"names": names, "identifiers": identifiers}).json()
        patients.append(answer["data"]["registerPatient"]["id"])
    tokens = [issuer.sign(Role.FRONT_DESK, f"desk-{number}", org="north") for number in range(CALLERS)]
    return [post(tokens[n % CALLERS], READ, {"id": patients[n % 20]}) for n in range(CALLERS * 20)]


def tell(engine: str, found: Outcome, part: float, desk: Desk, normal: float, *, rude: bool) -> None:
    """What a run came to is worth reading."""
    milliseconds = [f"{1000 * within(found.refused, share):.0f}" for share in (0.5, 0.99)]
    print(  # noqa: T201
        f"{engine}, {'rude' if rude else 'polite'}: {found.goodput:.0f}/s, {100 * part:.0f} % of the best for the same "
        f"processor time; {len(found.refused) / found.seconds:.0f}/s refused, p50 and p99 {' and '.join(milliseconds)} "
        f"ms; /healthz {1000 * desk.slowest:.0f} ms at most; normal after {1000 * normal:.0f} ms"
    )
