"""Rotation while two processes answer readers, writers and searchers: nobody is refused, and nobody is missed."""

import itertools
import json
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from tests.conftest import Databases
from tests.durable import durable
from tests.processes import Serving, done, founded, serving

STORED = 600
ORG = "north"
SYSTEM = "urn:example:mrn"

READ = "query($id: ID!) { patient(id: $id) { identifiers { value } } }"
SEARCH = """query($system: String!, $value: String!) {
  searchPatients(by: {identifier: {system: $system, value: $value}}, first: 5) { edges { node { id } } } }"""
NAMED = """query($name: String!) { searchPatients(by: {fullName: $name}, first: 5) { edges { node { id } } } }"""
ADD = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"
CHANGE = "mutation($input: UpdateIdentityInput!) { updateIdentity(input: $input) { version } }"


class Load:
    """Clients that ask until they are told to stop, and note whatever was not as it has to be."""

    def __init__(self, services: list[Serving], token: str, known: dict[str, str]) -> None:
        self._services = services
        self._token = token
        self._known = known
        self._over = threading.Event()
        self._numbers = itertools.count(1)
        self._clients: list[threading.Thread] = []
        self.wrong: list[str] = []
        self.answers = {"read": 0, "search": 0, "write": 0}

    def __enter__(self) -> Self:
        for number, _ in enumerate(self._services):
            for work in (self._read, self._search, self._write):
                self._clients.append(threading.Thread(target=self._until_over, args=(work, number)))
        for client in self._clients:
            client.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for client in self._clients:
            client.join()

    def _until_over(self, work: Callable[[httpx.Client, int, random.Random], None], number: int) -> None:
        chance = random.Random(number)
        with httpx.Client(timeout=30) as client:
            while not self._over.is_set():
                try:
                    work(client, number, chance)
                except Exception as failure:  # noqa: BLE001 - whatever it is, it must not happen
                    self.wrong.append(f"{work.__name__}: {failure!r}")

    def _ask(self, client: httpx.Client, number: int, query: str, **variables: Any) -> Any:
        service = self._services[number % len(self._services)]
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/graphql-response+json"}
        body = {"query": query, "variables": variables}
        answer = client.post(f"{service.address}/graphql", json=body, headers=headers).json()
        if "errors" in answer:
            raise AssertionError(answer["errors"])
        return answer["data"]

    def _read(self, client: httpx.Client, number: int, chance: random.Random) -> None:
        value = chance.choice(list(self._known))
        found = self._ask(client, number, READ, id=self._known[value])["patient"]
        if found != {"identifiers": [{"value": value}]}:
            self.wrong.append(f"read of {value}: {found}")
        self.answers["read"] += 1

    def _search(self, client: httpx.Client, number: int, chance: random.Random) -> None:
        value = chance.choice(list(self._known))
        self._finds(client, number, value, [self._known[value]])
        edges = self._ask(client, number, NAMED, name=f"Given Family{value[2:]}")["searchPatients"]["edges"]
        if [edge["node"]["id"] for edge in edges] != [self._known[value]]:
            self.wrong.append(f"name of {value}: {edges}")
        self.answers["search"] += 2

    def _finds(self, client: httpx.Client, number: int, value: str, ids: list[str]) -> None:
        edges = self._ask(client, number, SEARCH, system=SYSTEM, value=value)["searchPatients"]["edges"]
        if [edge["node"]["id"] for edge in edges] != ids:
            self.wrong.append(f"search for {value}: {edges}, not {ids}")

    def _write(self, client: httpx.Client, number: int, _chance: random.Random) -> None:
        """A new patient and a change of theirs, each found at once by the other process, and what was before not."""
        first, second = (f"W-{next(self._numbers)}" for _ in range(2))
        names = [{"use": "OFFICIAL", "family": f"Writ{first[2:]}", "given": ["Ten"]}]
        new = {"names": names, "identifiers": [{"system": SYSTEM, "value": first}]}
        patient_id = self._ask(client, number, ADD, input=new)["registerPatient"]["id"]
        self._finds(client, number + 1, first, [patient_id])
        changed = {"patientId": patient_id, "expectedVersion": 1, "identifiers": [{"system": SYSTEM, "value": second}]}
        self._ask(client, number, CHANGE, input=changed)
        self._finds(client, number + 1, second, [patient_id])
        self._finds(client, number + 1, first, [])
        self.answers["write"] += 2


@pytest.fixture
def place(engine: str, databases: Databases, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The settings of a place with patients, whose processes look at the key store often."""
    with ExitStack() as opened:
        if engine == "postgresql":
            url = opened.enter_context(durable()).url
        else:
            url = databases.create("sqlite")
            opened.callback(databases.drop, url)
        settings = {**founded(tmp_path / "data", url), "keys_refresh": 0.3, "keys_max_age": 60}
        file = tmp_path / "in.ndjson"
        file.write_text("\n".join(json.dumps(patient(number)) for number in range(STORED)))
        done("import", "fhir", file, "--org", ORG, **settings)
        yield settings


def patient(number: int) -> dict[str, Any]:
    """A patient who differs from the others in everything."""
    return {
        "resourceType": "Patient",
        "id": f"p-{number}",
        "identifier": [{"system": SYSTEM, "value": f"M-{number}"}],
        "name": [{"use": "official", "family": f"Family{number}", "given": ["Given"]}],
        "telecom": [{"system": "phone", "value": f"+4477009{number:05d}"}],
    }


@pytest.mark.slow
def test_e26_rotation_under_load(place: dict[str, Any], engine: str) -> None:
    """Wrap keys, index key, root keys, the end of the old ones: no request fails, and no search misses anybody."""
    lines = done("export", "fhir", "--org", ORG, **place).splitlines()
    known = {one["identifier"][0]["value"]: one["id"] for one in map(json.loads, lines)}
    assert len(known) == STORED
    words = ("--subject", "u", "--org", ORG, "--role", "integration", "--ttl", "1h")
    token = done("token", *words, **place).strip()
    with ExitStack() as opened:
        # SQLite serves one process; the command that rotates is the other one on its file.
        count = 2 if engine == "postgresql" else 1
        services = [
            opened.enter_context(serving("serve", until="/readyz", **place)) for _ in range(count)
        ]  # fmt: skip
        load = Load(services, token, known)
        with load:
            before = sum(load.answers.values())
            moved = 0
            for kind in ("wrap", "index", "root"):
                for one in json.loads(done("keys", "rotate", kind, "--json", **place))["rotated"]:
                    moved += one["moved"]
                    assert not one.get("left_out")
                done("keys", "destroy", "--now", "--yes", "--json", **place)
            assert moved > STORED * 6
        assert load.wrong == []
        assert sum(load.answers.values()) - before > 200, "nobody asked meanwhile"
        status = json.loads(done("keys", "status", "--json", **place))
        assert {key["state"] for key in status["keys"]} == {"active", "destroyed"}
        report = json.loads(done("keys", "verify", "--json", **place).splitlines()[-1])
        assert report["sound"], report
