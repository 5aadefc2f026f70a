"""A database that is away for long below a serving process under load: typed refusals in time, and back by itself.

The process is the real one with its default settings, and so is the server. `DRILL_OUTAGE` says for how many seconds
it is away (30 for the figures of docs/operating.md); shorter ones in time are in `test_outages.py`.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from auth.development import DevelopmentIssuer
from auth.roles import Role
from tests.durable import Durable, durable
from tests.processes import PATIENCE, Serving, founded, serving
from tests.wires import Answer, Wire, post

OUTAGE = float(os.environ.get("DRILL_OUTAGE", "8"))
RECOVERY = 5.0
"""Seconds after which the service answers again. Twice as long on a machine that is busy with other tests."""
READ = "query($id: ID!) { patient(id: $id) { displayName } }"
ADD = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"
UNAVAILABLE = {"AUDIT_UNAVAILABLE", "OVERLOADED"}


@pytest.fixture(scope="module")
def server() -> Iterator[Durable]:
    """A PostgreSQL that may be stopped."""
    with durable() as made:
        yield made


@pytest.fixture(scope="module")
def place(server: Durable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of a place in order on that server."""
    return founded(tmp_path_factory.mktemp("place"), server.url)


@dataclass
class Watch:
    """What clients of one process were told, and when."""

    host: Serving
    token: str
    patients: list[str] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    """When each whole answer came."""
    refused: list[tuple[float, float]] = field(default_factory=list)
    """When each refused request was sent, and how long it took."""
    codes: Counter[str] = field(default_factory=Counter)
    slowest_health: float = 0.0
    _wires: list[Wire] = field(default_factory=list)

    def wire(self) -> Wire:
        """A new connection to it."""
        self._wires += [Wire(int(self.host.address.rpartition(":")[2]))]
        return self._wires[-1]

    def hang_up(self) -> None:
        """Closes all of them."""
        for wire in self._wires:
            wire.close()

    async def register(self, wire: Wire, name: str) -> Answer:
        """Registers somebody; keeps the id of whoever was stored for sure."""
        identifiers = [{"system": "urn:example:mrn", "value": name}]
        names = [{"use": "OFFICIAL", "family": "Okafor", "given": ["Ada"]}]
        answer = await self._note(wire, post(self.token, ADD, {"input": {"names": names, "identifiers": identifiers}}))
        if answer.status == 200:
            self.patients.append(answer.json()["data"]["registerPatient"]["id"])
        return answer

    async def read(self, wire: Wire, id: str) -> Answer:
        """Looks one up."""
        return await self._note(wire, post(self.token, READ, {"id": id}))

    async def _note(self, wire: Wire, request: bytes) -> Answer:
        sent = time.monotonic()
        answer = await wire.ask(request)
        if answer.status == 200:
            assert answer.code is None, answer.body
            self.good.append(time.monotonic())
            return answer
        assert (answer.status, "data" in answer.json()) == (503, False), answer.body
        assert int(answer.headers["retry-after"]) >= 1
        self.codes[str(answer.code)] += 1
        self.refused.append((sent, answer.waited))
        return answer

    async def reader(self) -> None:
        """Asks for ever, and waits a little where it is refused."""
        wire = self.wire()
        while True:
            if (await self.read(wire, self.patients[0])).status != 200:
                await asyncio.sleep(0.05)

    async def writer(self, number: int) -> None:
        """Registers for ever."""
        wire, made = self.wire(), 0
        while True:
            made += 1
            if (await self.register(wire, f"{id(self)}-{number}-{made}")).status != 200:
                await asyncio.sleep(0.05)

    async def health(self) -> None:
        """Looks whether it is alive, for ever."""
        wire = self.wire()
        while True:
            answer = await wire.get("/healthz")
            assert answer.status == 200
            self.slowest_health = max(self.slowest_health, answer.waited)
            await asyncio.sleep(0.05)

    async def ready(self) -> dict[str, bool] | None:
        """What readiness says; None where it is 200."""
        answer = await self.wire().get("/readyz")
        assert answer.status in {200, 503}
        assert answer.waited < PATIENCE / 10
        found: dict[str, bool] = answer.json()
        return None if answer.status == 200 else found


@asynccontextmanager
async def watched(place: dict[str, Any]) -> AsyncIterator[Watch]:
    """A process with somebody in its database, and eight clients and a probe that never stop asking."""
    with serving("serve", until="/readyz", **place) as host:
        it = Watch(
            host, DevelopmentIssuer(Path(place["data_dir"])).sign(Role.INTEGRATION, "feed", org="north", ttl=3600)
        )
        await it.register(it.wire(), f"first-{id(it)}")
        tasks = [asyncio.create_task(each) for each in (*(it.reader() for _ in range(6)), it.writer(1), it.writer(2))]
        tasks.append(asyncio.create_task(it.health()))
        try:
            await asyncio.sleep(0.5)
            yield it
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            it.hang_up()
        assert all(isinstance(each, asyncio.CancelledError) for each in ended), ended
        assert "Traceback" not in host.said


@pytest.mark.slow
@pytest.mark.parametrize("how", ["stopped", "frozen"])
async def test_postgresql_is_away_for_long(server: Durable, place: dict[str, Any], how: str) -> None:
    """Alive, not ready, every answer a typed 503 in time; back within seconds without a restart, and nothing lost."""
    async with watched(place) as it:
        assert await it.ready() is None
        away = time.monotonic()
        await asyncio.to_thread(server.stop if how == "stopped" else server.freeze)
        gone = time.monotonic()
        newcomers = []
        while time.monotonic() - gone < OUTAGE:
            newcomers.append(asyncio.create_task(it.read(it.wire(), it.patients[0])))
            said = await it.ready()
            assert time.monotonic() - gone < 3 or (said is not None and not said["database"])
            await asyncio.sleep(0.2)
        told = len(it.good)
        await asyncio.to_thread(server.start if how == "stopped" else server.thaw)
        back = time.monotonic()
        while len(it.good) == told or await it.ready() is not None:
            assert time.monotonic() - back < PATIENCE, it.codes
            await asyncio.sleep(0.02)
        recovered = time.monotonic() - back
        await asyncio.gather(*newcomers)
        assert recovered < 2 * RECOVERY, recovered
        assert [at for at in it.good if gone + 0.5 < at < back] == []
        assert it.codes.keys() <= UNAVAILABLE
        assert max(waited for _, waited in it.refused) < 15, "longer than a request may take"
        settled = [waited for sent, waited in it.refused if gone + 6 < sent < back]
        assert settled
        assert sorted(settled)[len(settled) // 2] < 0.5
        await _nothing_is_lost(it)
        print(  # noqa: T201 - worth reading
            f"{how} for {back - away:.0f} s: answered again after {recovered:.2f} s; {len(it.refused)} refused "
            f"{dict(it.codes)}, at first after {max(w for _, w in it.refused):.1f} s at most, from the sixth second "
            f"on {1000 * max(settled):.0f} ms; /healthz {1000 * it.slowest_health:.0f} ms at most"
        )


async def _nothing_is_lost(it: Watch) -> None:
    """Whoever was registered can be read."""
    wire = it.wire()
    for patient in it.patients[-200:]:
        assert (await it.read(wire, patient)).status == 200


@pytest.mark.slow
async def test_every_connection_is_stuck(server: Durable, place: dict[str, Any]) -> None:
    """A lock that somebody sits on holds all connections of the process: whoever comes then is refused within 1 s."""
    async with watched(place) as it:
        admin = await asyncpg.connect(server.url)
        async with admin.transaction():
            await admin.execute("LOCK TABLE patient IN ACCESS EXCLUSIVE MODE")
            stuck = [asyncio.create_task(it.register(it.wire(), f"{id(it)}-stuck-{number}")) for number in range(20)]
            await asyncio.sleep(1.5)
            late = [asyncio.create_task(it.read(it.wire(), it.patients[0])) for _ in range(20)]
            waits = sorted(answer.waited for answer in await asyncio.gather(*late))
            assert len(it.refused) >= 20
        await admin.close()
        await asyncio.gather(*stuck)
        while await it.ready() is not None:  # noqa: ASYNC110 - its own time
            await asyncio.sleep(0.05)
        assert (await it.read(it.wire(), it.patients[0])).status == 200
        assert it.codes.keys() <= UNAVAILABLE
        print(f"every connection stuck: refused after {waits[0]:.2f} to {waits[-1]:.2f} s")  # noqa: T201 - worth reading
        assert waits[len(waits) // 2] < 1.5, waits
