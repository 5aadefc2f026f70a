"""Many touchpoints of one organisation at work on a few records, while the processes that serve them come and go.

Each reads and changes over HTTP, of whichever process is there, and notes exactly what it was told and when. A change
is sent with an `Idempotency-Key`, and sent again with the same one until it is answered, as an honest client would.
Every change writes the same word into two fields that are sealed under different keys, so that a torn record shows.
"""

import asyncio
import itertools
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.linearizability import Conflict, Operation, Read, Write
from tests.wires import Answer, Dropped, Wire, post

__all__ = ["Tokens", "Touchpoints"]

ADD = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id version } }"
READ = "query($id: ID!) { patient(id: $id) { version preferredName religion } }"
CHANGE = """mutation($id: ID!, $version: Int!, $word: String!) {
  updatePreferences(input: {patientId: $id, expectedVersion: $version, preferredName: $word, religion: $word}) {
    version preferredName religion } }"""
FEED = """query($after: String) { recordChanges(first: 100, after: $after) {
  edges { node { id version kind } } pageInfo { hasNextPage endCursor } } }"""

_LATER = {"OVERLOADED", "AUDIT_UNAVAILABLE", "KEY_UNAVAILABLE", "RATE_LIMITED", "REQUEST_IN_PROGRESS"}


@dataclass(frozen=True, slots=True)
class Tokens:
    """Who asks: `staff` read and change, `feed` registers and hears of changes."""

    staff: Sequence[str]
    feed: str


@dataclass
class Touchpoints:
    """`ports` are where processes listen now; whoever ends and starts them changes that list."""

    tokens: Tokens
    ports: list[int]
    seed: int = 1
    history: list[Operation] = field(default_factory=list)
    odd: list[str] = field(default_factory=list)
    """What no answer may be."""
    hurdles: Counter[str] = field(default_factory=Counter)
    """What kept requests from being answered at once."""
    acknowledged: dict[str, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    """For each record the word of each version whose change was acknowledged."""
    repeated: int = 0
    """Changes that were sent more than once."""
    answered: Counter[int] = field(default_factory=Counter)
    """How many answers each port gave."""
    _words: "itertools.count[int]" = field(default_factory=itertools.count)
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)

    async def register(self, number: int) -> list[str]:
        """So many new records; their ids."""
        wires: dict[int, Wire] = {}
        ids = []
        for each in range(number):
            identifiers = [{"system": "urn:example:mrn", "value": f"T-{self.seed}-{each}"}]
            names = [{"use": "OFFICIAL", "family": "Okafor", "given": ["Ada"]}]
            given = {"input": {"names": names, "identifiers": identifiers}}
            answer = await self._until_answered(
                wires, post(self.tokens.feed, ADD, given, idempotency_key=f"{self.seed}-r-{each}")
            )
            made = answer.json()["data"]["registerPatient"]
            self.acknowledged[made["id"]][made["version"]] = ""
            ids.append(made["id"])
        _close(wires)
        return ids

    async def work(
        self,
        ids: Sequence[str],
        operations: int,
        clients: int,
        enough: Callable[[], bool] = lambda: True,
        seconds: float = math.inf,
    ) -> None:
        """So many operations altogether, or more until it is `enough`, by so many clients at once, on these records.

        After so many `seconds` it ends all the same.
        """
        end, until = len(self.history) + operations, time.monotonic() + seconds

        def go_on() -> bool:
            return (len(self.history) < end or not enough()) and time.monotonic() < until

        await asyncio.gather(*(self._client(number, ids, go_on) for number in range(clients)))

    async def look(self, ids: Sequence[str]) -> dict[str, int]:
        """The version of each of them, after everything; what was seen is part of the history."""
        wires: dict[int, Wire] = {}
        known: dict[str, int] = {}
        for id in ids:  # noqa: A001 - the contract's word
            await self._read(wires, self.tokens.staff[0], id, known)
        _close(wires)
        return known

    async def _client(self, number: int, ids: Sequence[str], go_on: Callable[[], bool]) -> None:
        chance = random.Random(f"{self.seed} {number} {len(self.history)}")
        token = self.tokens.staff[number % len(self.tokens.staff)]
        wires: dict[int, Wire] = {}
        known: dict[str, int] = {}
        try:
            while go_on():
                id = chance.choice(ids)  # noqa: A001 - the contract's word
                if id in known and chance.random() < 0.5:
                    await self._change(wires, token, id, known, f"{self.seed}-{next(self._words)}")
                else:
                    await self._read(wires, token, id, known)
        finally:
            _close(wires)

    async def _read(self, wires: dict[int, Wire], token: str, id: str, known: dict[str, int]) -> None:
        began = time.monotonic()
        answer = await self._until_answered(wires, post(token, READ, {"id": id}))
        seen = answer.json()["data"]["patient"]
        if seen["preferredName"] != seen["religion"]:
            self.odd.append(f"torn: {seen}")
        known[id] = seen["version"]
        self.history.append(Read(id, began, time.monotonic(), seen["version"], seen["preferredName"] or ""))

    async def _change(self, wires: dict[int, Wire], token: str, id: str, known: dict[str, int], word: str) -> None:
        version = known[id]
        began = time.monotonic()
        request = post(token, CHANGE, {"id": id, "version": version, "word": word}, idempotency_key=word)
        answer = await self._until_answered(wires, request)
        ended = time.monotonic()
        if answer.code == "VERSION_CONFLICT":
            known[id] = answer.json()["errors"][0]["extensions"]["currentVersion"]
            self.history.append(Conflict(id, began, ended, version, known[id]))
            return
        seen = answer.json()["data"]["updatePreferences"]
        if (seen["preferredName"], seen["religion"]) != (word, word):
            self.odd.append(f"another answer than was asked for: {seen}")
        if word in self.acknowledged[id].values() or seen["version"] in self.acknowledged[id]:
            self.odd.append(f"one change, two effects: {word}")
        known[id] = seen["version"]
        self.acknowledged[id][seen["version"]] = word
        self.history.append(Write(id, began, ended, version, seen["version"], word))

    async def _until_answered(self, wires: dict[int, Wire], request: bytes) -> Answer:
        """The answer to a request, which is sent again for as long as nobody says what became of it.

        Each is sent to the next process in turn, so that every client asks of one what it was told by another.
        """
        for attempt in itertools.count():
            port = self.ports[next(self._turns) % len(self.ports)] if self.ports else 0
            try:
                answer = await wires.setdefault(port, Wire(port)).ask(request)
            except Dropped:
                self.hurdles["dropped"] += 1
            else:
                if answer.status == 200 and answer.code in {None, "VERSION_CONFLICT"}:
                    self.answered[port] += 1
                    self.repeated += bool(attempt) and b"idempotency-key" in request
                    return answer
                if answer.code not in _LATER:
                    self.odd.append(f"{answer.status} {answer.body[:300]!r}")
                    assert len(self.odd) < 20, self.odd
                self.hurdles[str(answer.code)] += 1
            await asyncio.sleep(0.03)
        raise AssertionError

    async def feed(self) -> dict[str, list[int]]:
        """The versions of each record in the order in which the feed tells of them, from its beginning."""
        wires: dict[int, Wire] = {}
        told: dict[str, list[int]] = defaultdict(list)
        after = None
        while True:
            answer = await self._until_answered(wires, post(self.tokens.feed, FEED, {"after": after}))
            page: Mapping[str, Any] = answer.json()["data"]["recordChanges"]
            for edge in page["edges"]:
                told[edge["node"]["id"]].append(edge["node"]["version"])
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        _close(wires)
        return told


def _close(wires: dict[int, Wire]) -> None:
    for wire in wires.values():
        wire.close()
