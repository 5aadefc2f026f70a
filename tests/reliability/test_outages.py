"""A serving process and real faults below it: typed answers without data, recovery by itself, and nothing lost."""

import json
import os
import resource
import signal
import socket
import sqlite3
import struct
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Databases
from tests.durable import Durable, durable
from tests.processes import Serving, done, founded, serving, wait_until

READ = "query($id: ID!) { patient(id: $id) { displayName contactPoints { value } } }"
ADD = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"
FAMILY = "CanaryOkafor"
UNAVAILABLE = {"AUDIT_UNAVAILABLE", "OVERLOADED"}


@pytest.fixture(scope="module")
def server() -> Iterator[Durable]:
    """A PostgreSQL that may be stopped."""
    with durable() as made:
        yield made


class Clinic:
    """A serving process with one patient in it."""

    def __init__(self, it: Serving, settings: dict[str, Any]) -> None:
        self.it = it
        words = ("token", "--subject", "u", "--org", "north", "--role")
        self._token = done(*words, "integration", **settings).strip()
        self.id = self.register("1").json()["data"]["registerPatient"]["id"]

    def register(self, number: str) -> httpx.Response:
        """The answer to a registration."""
        names = [{"use": "OFFICIAL", "family": FAMILY, "given": ["Samantha"]}]
        identifiers = [{"system": "urn:example:mrn", "value": number}]
        return self.it.ask(self._token, ADD, input={"names": names, "identifiers": identifiers})

    def read(self) -> httpx.Response:
        """The answer to a look-up."""
        return self.it.ask(self._token, READ, id=self.id)

    def ask_and_hang_up(self, *, answered: bool) -> None:
        """A look-up whose client goes away half a second later, or resets the connection as the answer begins."""
        body = json.dumps({"query": READ, "variables": {"id": self.id}})
        head = ["POST /graphql HTTP/1.1", "host: heed.test", "content-type: application/json",
                f"authorization: Bearer {self._token}", f"content-length: {len(body)}"]  # fmt: skip
        place = self.it.address.removeprefix("http://").split(":")
        with socket.create_connection((place[0], int(place[1]))) as client:
            client.sendall("\r\n".join([*head, "", body]).encode())
            if answered:
                client.recv(1)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            else:
                time.sleep(0.5)

    def answers(self) -> bool:
        """Whether a look-up is answered in full."""
        answer = self.read()
        return answer.status_code == 200 and answer.json()["data"]["patient"]["displayName"] == f"Samantha {FAMILY}"

    def assert_refuses(self) -> None:
        """Reading and writing: a typed 503 with advice when to come back, and no data at all."""
        for answer in (self.read(), self.register("2")):
            assert answer.status_code == 503, answer.text
            body = answer.json()
            assert "data" not in body
            [error] = body["errors"]
            assert error["extensions"]["code"] in UNAVAILABLE
            assert int(answer.headers["retry-after"]) >= 1

    def assert_silent(self) -> None:
        """Nothing that the process said holds a patient's value or a traceback."""
        assert FAMILY not in self.it.said
        assert "Samantha" not in self.it.said
        assert "Traceback" not in self.it.said


@contextmanager
def clinic(settings: dict[str, Any], *more: object) -> Iterator[Clinic]:
    """A clinic that is open for as long as the block lasts."""
    with serving("serve", *more, until="/readyz", **settings) as it:
        yield Clinic(it, settings)


@pytest.fixture(scope="module")
def postgres_place(server: Durable, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The settings of a place in order on that server."""
    return founded(tmp_path_factory.mktemp("place") / "data", server.url)


@pytest.fixture
def sqlite_place(databases: Databases, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings of a place in order on SQLite."""
    url = databases.create("sqlite")
    yield founded(tmp_path / "data", url)
    databases.drop(url)


def test_postgresql_goes_away(server: Durable, postgres_place: dict[str, Any]) -> None:
    """Stopped: alive, not ready, every answer a typed 503. Started: it recovers, and what was answered is recorded."""
    with clinic(postgres_place) as it:
        answered = sum(it.answers() for _ in range(5))
        assert answered == 5
        before = server.count("patient")

        server.stop()
        it.assert_refuses()
        assert it.it.get("/healthz").status_code == 200
        ready = it.it.get("/readyz")
        assert (ready.status_code, ready.json()["database"]) == (503, False)

        server.start()
        wait_until(it.answers, it.it)
        wait_until(lambda: it.it.get("/readyz").status_code == 200, it.it)
        assert server.count("patient") == before, "what was refused was stored nevertheless"
        assert server.count("audit_event", "act = 'read' AND out = 0") >= answered + 1
        assert it.register("3").status_code == 200
        assert it.it.stop() == 0
        it.assert_silent()


@pytest.mark.slow
def test_several_workers(postgres_place: dict[str, Any]) -> None:
    """Two processes answer on one port; one that is killed is replaced; SIGTERM ends all of them."""
    with clinic(postgres_place, "--workers", 2) as it:
        assert all(it.answers() for _ in range(10))
        first = workers(it.it.process.pid)
        assert len(first) == 2

        os.kill(first[0], signal.SIGKILL)
        wait_until(lambda: len(set(workers(it.it.process.pid)) - {first[0]}) == 2, it.it)
        assert all(it.answers() for _ in range(10))

        all_of_them = workers(it.it.process.pid)
        assert it.it.stop() == 0
        assert [pid for pid in all_of_them if Path(f"/proc/{pid}").exists()] == []
        it.assert_silent()
        assert sum("ended with status -9" in line for line in it.it.stderr) == 1


def workers(parent: int) -> list[int]:
    """The ids of the serving processes that `parent` started, in the order of their start."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted(int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes())


@pytest.mark.slow
def test_sqlite_is_locked_by_somebody_else(sqlite_place: dict[str, Any]) -> None:
    """A backup that holds the write lock: nothing can be recorded, so nothing is answered; afterwards all is well."""
    with clinic(sqlite_place) as it:
        path = sqlite_place["database_url"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            it.assert_refuses()
            assert it.it.get("/healthz").status_code == 200
            other.execute("ROLLBACK")
        wait_until(it.answers, it.it)
        wait_until(lambda: it.it.get("/readyz").status_code == 200, it.it)
        assert it.register("3").status_code == 200
        assert it.it.stop() == 0
        it.assert_silent()


def test_the_disk_is_full(sqlite_place: dict[str, Any]) -> None:
    """No file may grow: nothing can be recorded, so nothing is answered; with room again, all is well."""
    with clinic(sqlite_place) as it:
        _, hard = resource.prlimit(it.it.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(it.it.process.pid, resource.RLIMIT_FSIZE, (4096, hard))
        it.assert_refuses()
        resource.prlimit(it.it.process.pid, resource.RLIMIT_FSIZE, (hard, hard))
        wait_until(it.answers, it.it)
        assert it.register("3").status_code == 200
        assert it.it.stop() == 0
        it.assert_silent()


def test_a_client_hangs_up(sqlite_place: dict[str, Any]) -> None:
    """While its event waits for the log, or before it has read its answer: the event is recorded, for it was read."""
    with clinic({**sqlite_place, "audit_deadline": 30}) as it:
        path = sqlite_place["database_url"].removeprefix("sqlite:///")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            before = reads(other)
            other.execute("BEGIN IMMEDIATE")
            it.ask_and_hang_up(answered=False)
            other.execute("ROLLBACK")
            wait_until(lambda: reads(other) == before + 1, it.it)
            it.ask_and_hang_up(answered=True)
            wait_until(lambda: reads(other) == before + 2, it.it)
        assert it.answers()
        assert it.it.stop() == 0
        it.assert_silent()


def reads(file: sqlite3.Connection) -> int:
    """How many looks at a patient are in the log."""
    found: int = file.execute("SELECT count(*) FROM audit_event WHERE act = 'read' AND out = 0").fetchone()[0]
    return found
