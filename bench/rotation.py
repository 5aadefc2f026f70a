"""Rotation under load: the part `keys` of `make bench`. Keys are moved while the service reads, searches and writes.

Two processes serve on PostgreSQL. On SQLite, which is for one, it is one, and the rotating command is the second. Every
answer is checked: a request that fails, a search that misses somebody who is there, and a change that the other process
does not see are counted, and there must be none. Owns its patients and nothing of the service.
"""

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from uuid_utils import uuid7

from bench import children, imports
from bench.bare import refresh_statistics
from bench.crowd import MAKER
from bench.load import Wire, post
from bench.reads import ORG, authorization
from commands.house import House, clock
from crm.audit.event import rfc3339
from crm.domain.precedence import Note, Voice
from crm.services.changes import canonical
from crm.store import changing
from crm.store.changing import Writes
from crm.store.provenance import Source

CHUNK = 500
REFRESH = "1"
"""Seconds between two looks of a server at the key store; by default 30, which would only be waited for."""

READ = "query Card($id: ID!) { patient(id: $id) { id version languages { tag } contactPoints { value } } }"
SEARCH = "query Find($email: String!) { patients: searchPatients(by: {email: $email}) { edges { node { id } } } }"
REGISTER = "mutation New($input: RegisterPatientInput!) { patient: registerPatient(input: $input) { id version } }"
CHANGE = """mutation Change($input: UpdatePreferencesInput!) {
  patient: updatePreferences(input: $input) { version languages { tag } } }"""
TAGS = ("so", "pl", "ur", "cy")


def email(number: int) -> str:
    """The address by which a stored person is found."""
    return f"held{number}@example.test"


async def fill(house: House, patients: int) -> list[str]:
    """Stores people with data keys of two classes, ready to be opened; their ids by number.

    Straight through the store, without policy and events, because it is not what is measured.
    """
    await imports.fill(house, 20)  # founds the organisation's log
    now = clock()
    source = Source(Note(Voice.SYSTEM, "import", "bench", rfc3339(now)), "bench", now, MAKER)
    store, ids = house.services.store, []
    for start in range(0, patients, CHUNK):
        writes = Writes()
        for number in range(start, min(start + CHUNK, patients)):
            record = changing.new_record(ORG, str(uuid7()), uuid4().hex, clock())
            points = [{"system": "EMAIL", "value": email(number), "use": "HOME", "rank": 1}]
            languages = [{"tag": TAGS[number % len(TAGS)], "modes": ["SPOKEN"], "rank": 1}]
            changing.apply(
                store.keys, writes, record, canonical({"contact_points": points, "languages": languages}), source
            )
            ids.append(record.id)
        async with store.database.transaction(ORG) as connection:
            await writes.flush(connection)
    await refresh_statistics(house.settings.database_url)
    return ids


@dataclass
class Tally:
    """What the askers have done, and what went wrong."""

    asked: int = 0
    searched: int = 0
    written: int = 0
    missed: int = 0
    failed: list[str] = field(default_factory=list)

    def line(self, seconds: float) -> str:
        """The counts in words."""
        return (
            f"{self.asked} requests ({self.asked / seconds:.0f}/s), {self.searched} of them searches and "
            f"{self.written} changes: {len(self.failed)} failed, {self.missed} missed"
        )


class Askers:
    """Clients of the servers, until they are told to stop; what one server writes, the next one is asked for."""

    def __init__(self, ports: Sequence[int], header: str, ids: list[str]) -> None:
        self.tally = Tally()
        self._ports = ports
        self._header = f"Authorization: {header}\r\n"
        self._ids = ids
        self._new = count()
        self._stopped = asyncio.Event()

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Three askers on each server: one who reads, one who searches, one who writes."""
        async with AsyncExitStack() as wires:
            tasks: list[asyncio.Task[None]] = []
            for place, port in enumerate(self._ports):
                for kind in (self._reading, self._searching, self._writing):
                    here, there = Wire(port), Wire(self._ports[place - 1])
                    wires.callback(here.close)
                    wires.callback(there.close)
                    tasks.append(asyncio.create_task(self._work(kind, here, there, len(tasks))))
            yield
            self._stopped.set()
            await asyncio.gather(*tasks)

    async def _work(self, kind: Callable[[Wire, Wire, int], Awaitable[None]], here: Wire, there: Wire, n: int) -> None:
        number = n * 9_973
        while not self._stopped.is_set():
            number += 7_919
            try:
                await kind(here, there, number % len(self._ids))
            except (RuntimeError, OSError, KeyError, IndexError, TypeError) as failure:
                self.tally.failed.append(f"{type(failure).__name__}: {failure}"[:200])

    async def _ask(self, wire: Wire, query: str, **variables: Any) -> Any:
        self.tally.asked += 1
        body = orjson.dumps({"query": query, "variables": variables})
        answer = orjson.loads(await wire.send(post("/graphql", body, self._header)))
        if "errors" in answer:
            raise RuntimeError(str(answer["errors"]))
        [data] = answer["data"].values()
        return data

    async def _find(self, wire: Wire, address: str, patient_id: str) -> None:
        self.tally.searched += 1
        found = await self._ask(wire, SEARCH, email=address)
        self.tally.missed += [edge["node"]["id"] for edge in found["edges"]] != [patient_id]

    async def _reading(self, here: Wire, there: Wire, number: int) -> None:
        found = await self._ask(here, READ, id=self._ids[number])
        if found["contactPoints"] != [{"value": email(number)}]:
            raise RuntimeError("not what was stored")

    async def _searching(self, here: Wire, there: Wire, number: int) -> None:
        await self._find(here, email(number), self._ids[number])

    async def _writing(self, here: Wire, there: Wire, number: int) -> None:
        """A new patient, found by the other server, changed there, and read here as changed."""
        address = f"new{next(self._new)}@example.test"
        self.tally.written += 2
        points = [{"system": "EMAIL", "value": address, "use": "HOME", "rank": 1}]
        first = {"contactPoints": points, "languages": [{"tag": "en", "modes": ["SPOKEN"]}]}
        new = await self._ask(here, REGISTER, input=first)
        await self._find(there, address, new["id"])
        languages = [{"tag": TAGS[number % len(TAGS)], "modes": ["SPOKEN"]}]
        change = {"patientId": new["id"], "expectedVersion": new["version"], "languages": languages}
        await self._ask(there, CHANGE, input=change)
        found = await self._ask(here, READ, id=new["id"])
        if found["languages"] != [{"tag": languages[0]["tag"]}]:
            raise RuntimeError("a change was not seen")


async def rotated(url: str, folder: Path, *what: str) -> tuple[int, float, float]:
    """Rows that `keys rotate` moved, the seconds in which it moved them, and those that the command took in all."""
    words = [sys.executable, "server.py", "keys", "rotate", *what, "--json"]
    env = children.environment(children.settings(url, folder, keys_refresh=REFRESH))
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *words, cwd=children.ROOT, env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"keys rotate ended with {process.returncode}: {err.decode()[-300:]}")
    done = orjson.loads(out.splitlines()[-1])["rotated"]
    if any(one["left_out"] for one in done):
        raise RuntimeError("something was left out")
    return sum(one["moved"] for one in done), sum(one["seconds"] for one in done), time.monotonic() - begun


async def under_load(url: str, folder: Path, ids: list[str], what: str) -> None:
    """Prints what one rotation came to while askers were at work, and again while the servers were idle."""
    serving = 1 if url.startswith("sqlite:") else 2
    with ExitStack() as stack:
        servers = [stack.enter_context(children.heed(url, folder, keys_refresh=REFRESH)) for _ in range(serving)]
        askers = Askers([one.port for one in servers], authorization(folder), ids)
        begun = time.monotonic()
        async with askers.at_work():
            await asyncio.sleep(3)
            before, calm = askers.tally.asked, time.monotonic() - begun
            moved, seconds, whole = await rotated(url, folder, what)
            during = askers.tally.asked - before
            await asyncio.sleep(2)
        taken = time.monotonic() - begun
        tally = askers.tally
        title = f"keys rotate {what}, {serving} serving"
        print(f"{title}, under load: {moved} rows, {moved / seconds:.0f}/s ({whole:.0f} s)")
        print(f"  {tally.line(taken)}; {before / calm:.0f}/s before, {during / whole:.0f}/s meanwhile")
        for failure in sorted({re.sub(r"[0-9a-f]{8,}", "…", one) for one in tally.failed})[:5]:
            print(f"  failure: {failure}")
        moved, seconds, whole = await rotated(url, folder, what)
        print(
            f"keys rotate {what}, the servers idle: {moved} rows, {moved / seconds:.0f}/s ({whole:.0f} s)", flush=True
        )
