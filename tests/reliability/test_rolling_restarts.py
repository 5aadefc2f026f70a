"""Processes that come and go under load: what is in flight is finished, and nobody's request meets a closed door."""

import asyncio
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth.development import DevelopmentIssuer
from auth.roles import Role
from tests.conftest import Databases
from tests.durable import durable
from tests.processes import PATIENCE, Serving, call, environment, founded, free_port, serving, started, wait_until
from tests.wires import Balancer, Dropped, Wire, post

ADD = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id version } }"
READ = "query($id: ID!) { patient(id: $id) { id version preferredName } }"
RENAME = """mutation($id: ID!, $version: Int!, $name: String!) {
  updatePreferences(input: {patientId: $id, expectedVersion: $version, preferredName: $name}) { version } }"""
DRAIN = 1.5


def token(place: dict[str, Any]) -> str:
    """A token of a role that may register and change people."""
    return DevelopmentIssuer(Path(str(place["data_dir"]))).sign(Role.INTEGRATION, "feed", org="north", ttl=900)


def registered(number: int) -> dict[str, Any]:
    """The variables that register somebody."""
    identifiers = [{"system": "urn:example:mrn", "value": f"R-{number}"}]
    return {"input": {"names": [{"use": "OFFICIAL", "family": "Roll", "given": ["Ada"]}], "identifiers": identifiers}}


@dataclass
class Load:
    """Clients that read and change, one person each, through a balancer; everything but a good answer is noted."""

    balancer: Balancer
    token: str
    good: int = 0
    bad: list[str] = field(default_factory=list)

    async def person(self, number: int) -> None:
        """Registers somebody, then reads and renames them until anything goes wrong; each version follows the last."""
        made = await self._ask(ADD, registered(number))
        if made is None:
            return
        patient, version = made["registerPatient"]["id"], made["registerPatient"]["version"]
        while not self.bad:  # a host that is gone refuses at once, and would leave nobody else a turn
            name = f"Ada {version}"
            changed = await self._ask(RENAME, {"id": patient, "version": version, "name": name})
            if changed is not None:
                version = changed["updatePreferences"]["version"]
            read = await self._ask(READ, {"id": patient})
            if changed is not None and read is not None:
                seen = read["patient"]
                if (seen["version"], seen["preferredName"]) != (version, name):
                    self.bad.append(f"stored version {version}, read {seen['version']}")

    async def _ask(self, query: str, variables: dict[str, Any]) -> Any:
        try:
            answer = await self.balancer.forward(post(self.token, query, variables))
        except Dropped as drop:
            self.bad.append(str(drop))
            return None
        if answer.status != 200 or answer.code:
            self.bad.append(f"{answer.status} {answer.code}")
            return None
        self.good += 1
        return answer.json()["data"]


@asynccontextmanager
async def load(place: dict[str, Any], *hosts: Serving, clients: int = 8) -> AsyncIterator[Load]:
    """So many clients of these hosts for as long as the block lasts."""
    async with Balancer(*map(port_of, hosts)) as balancer:
        for host in hosts:
            await _until_ready(balancer, host)
        made = Load(balancer, token(place))
        tasks = [asyncio.create_task(made.person(number)) for number in range(clients)]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(each is None or isinstance(each, asyncio.CancelledError) for each in ended), ended


def port_of(host: Serving) -> int:
    """Where it listens."""
    return int(host.address.rpartition(":")[2])


async def _until_ready(balancer: Balancer, host: Serving) -> None:
    """Returns when requests go there; fails when the process ended."""
    while not balancer.ready(port_of(host)):
        assert host.process.poll() is None, host.said
        await asyncio.sleep(0.05)


@pytest.mark.slow
async def test_a_rolling_restart_drops_nothing(tmp_path: Path) -> None:
    """Two hosts, one of them with two workers, are restarted one after the other under load: 0 requests dropped."""
    ports = [free_port(), free_port()]
    more: list[tuple[object, ...]] = [("--workers", 2), ()]
    with ExitStack() as hosts:
        place = {**founded(tmp_path, hosts.enter_context(durable()).url), "drain": DRAIN}

        def start(at: int) -> Serving:
            words = call("serve", "--port", ports[at], *more[at])
            return hosts.enter_context(started(words, environment(**place), f"http://127.0.0.1:{ports[at]}"))

        running = [start(0), start(1)]
        async with load(place, *running) as crowd:
            await _more(crowd, 100)
            for at in (0, 1):
                ended = running[at]
                began = time.monotonic()
                assert await asyncio.to_thread(ended.stop) == 0, ended.said
                assert time.monotonic() - began >= DRAIN
                assert "Traceback" not in ended.said
                running[at] = start(at)
                await _until_ready(crowd.balancer, running[at])
                await _more(crowd, 100)
        assert crowd.bad == []
        print(f"{crowd.good} requests answered over two restarts, none dropped")  # noqa: T201 - worth reading


async def _more(crowd: Load, number: int) -> None:
    """Returns when so many more requests were answered, or one was not."""
    end = crowd.good + number
    while crowd.good < end and not crowd.bad:  # noqa: ASYNC110 - the clients know nothing of the test
        await asyncio.sleep(0.02)


async def test_the_balancer_sees_a_host_that_leaves_without_a_word(databases: Databases, tmp_path: Path) -> None:
    """A control: the same load on a host that is killed loses requests, and the drill notices."""
    url = databases.create("sqlite")
    place = founded(tmp_path, url)
    port = free_port()
    with started(call("serve", "--port", port), environment(**place), f"http://127.0.0.1:{port}") as host:
        async with load(place, host, clients=3) as crowd:
            await _more(crowd, 20)
            assert crowd.bad == []
            await asyncio.to_thread(host.stop, signal.SIGKILL)
            while not crowd.bad:  # noqa: ASYNC110 - the clients know nothing of the test
                await asyncio.sleep(0.02)
    databases.drop(url)


@pytest.mark.slow
async def test_what_a_leaving_process_says(databases: Databases, tmp_path: Path) -> None:
    """From SIGTERM on: alive, not ready, every request still answered, each time as the last one of its connection."""
    url = databases.create("sqlite")
    place = {**founded(tmp_path, url), "drain": 30}
    with serving("serve", until="/readyz", **place) as host:
        ask = post(token(place), ADD, registered(1))
        old, new = Wire(port_of(host)), Wire(port_of(host))
        assert (await old.ask(ask)).headers.get("connection") is None
        host.process.send_signal(signal.SIGTERM)
        while (ready := await asyncio.to_thread(host.get, "/readyz")).status_code == 200:  # noqa: ASYNC110 - its own time
            await asyncio.sleep(0.02)
        assert ready.json() == {"database": True, "keys": True, "log": True, "issuers": True, "staying": False}
        assert host.get("/healthz").status_code == 200
        for wire, number in ((old, 2), (new, 3)):
            answer = await wire.ask(post(token(place), ADD, registered(number)))
            assert (answer.status, answer.code) == (200, None)
            assert answer.headers["connection"] == "close"
        host.process.send_signal(signal.SIGTERM)  # nobody has to wait for half a minute
        began = time.monotonic()
        assert await asyncio.to_thread(host.process.wait, PATIENCE) == 0
        assert time.monotonic() - began < 30
    databases.drop(url)


def test_what_is_in_flight_is_finished(databases: Databases, tmp_path: Path) -> None:
    """A change waits for the disk while the process is told to end, without any drain: it is answered, and stored."""
    url = databases.create("sqlite")
    place = {**founded(tmp_path, url), "audit_deadline": 30}
    with (
        serving("serve", until="/readyz", **place) as host,
        closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other,
    ):
        answers: list[httpx.Response] = []
        other.execute("BEGIN IMMEDIATE")
        asking = threading.Thread(target=lambda: answers.append(host.ask(token(place), ADD, **registered(1))))
        asking.start()
        wait_until(lambda: b"heed_http_in_flight 1.0" in host.get("/metrics").content, host)
        host.process.send_signal(signal.SIGTERM)
        wait_until(lambda: _refuses(host))
        assert host.process.poll() is None
        other.execute("ROLLBACK")
        asking.join(PATIENCE)
        assert host.process.wait(PATIENCE) == 0
        assert [answer.status_code for answer in answers] == [200]
        assert "errors" not in answers[0].json()
        assert other.execute("SELECT count(*) FROM patient").fetchone() == (1,)
    databases.drop(url)


def _refuses(host: Serving) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port_of(host))) != 0
