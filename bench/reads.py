"""The two reads that are compared, and the comparison: Heed with everything on beside the bare read, in ratios.

Rounds are interleaved: within a round each case is run on both sides one right after the other, the sides change places
from round to round, and so does the order of the cases. What counts is the ratio within a round.
"""

import random
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from auth.actor import Actor
from auth.development import DevelopmentIssuer
from auth.roles import Role
from bench import bare, children, imports
from bench.load import Ask, Slice, Wire, measure, post
from commands.house import House, verifier
from commands.serving import transport
from schema.execution import Engine, Parameters
from schema.sdl import build_schema

ORG = imports.ORG
BATCH = 100
VARIETY = 400
"""Different questions that are asked of each read."""
CHECKED = 40
"""Questions whose answers are compared, octet by octet, before anything is timed."""

_ONE = """{ id version displayName preferredName birthDate pronouns interpreterNeeded timeZone communicationStyle
  languages { tag modes rank }
  contactPoints { id system value use rank capabilities verified }
  channelPreferences { purpose channels } }"""
_MANY = """{ id version displayName pronouns interpreterNeeded timeZone
  languages { tag modes }
  contactPoints { system value use rank } }"""
QUERIES = {
    "one": f"query PatientCard($id: ID!) {{ patient(id: $id) {_ONE} }}",
    "many": f"query PatientCards($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {_MANY} }} }}",
}
TITLES = {"one": "patient by id", "many": f"{BATCH} patients by id"}


def questions(ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """For each read the variables of `VARIETY` different questions, the same ones every time."""
    dice = random.Random(1)
    return {
        "one": [{"id": dice.choice(ids)} for _ in range(VARIETY)],
        "many": [{"ids": dice.sample(ids, BATCH)} for _ in range(VARIETY)],
    }


@dataclass(frozen=True, slots=True)
class Inside:
    """Heed without HTTP: the engine on an opened house, as one actor of the front desk."""

    engine: Engine
    actor: Actor

    @classmethod
    async def of(cls, house: House, authorization: str) -> "Inside":
        """The engine and the actor behind an `Authorization` header."""
        tokens = verifier(house.settings)
        await tokens.refresh()
        return cls(Engine(build_schema(), house.services, transport(house.settings)), tokens.verify(authorization))

    async def ask(self, query: str, variables: dict[str, Any]) -> bytes:
        """The body of the answer; RuntimeError where it is not a good one."""
        answer = await self.engine.answer(self.actor, "bench", Parameters(query, None, variables))
        if answer.problems:
            raise RuntimeError(f"not a good answer: {[problem.code for problem in answer.problems]}")
        return orjson.dumps(answer.as_json())

    def asking(self, read: str, asked: Sequence[dict[str, Any]]) -> Ask:
        """Asks question number n of a read."""
        query = QUERIES[read]
        return lambda number: self.ask(query, asked[number % len(asked)])


def authorization(folder: Path) -> str:
    """The header of a front-desk token that outlives the benchmark."""
    return "Bearer " + DevelopmentIssuer(folder).sign(Role.FRONT_DESK, "bench", org=ORG, ttl=7200)


async def bare_rows(inside: Inside, ids: Sequence[str]) -> list[tuple[str, str, str, str]]:
    """What Heed answers to both reads about every patient, as rows for the bare table: organisation, id, one, many."""
    texts: list[list[str]] = []
    for selection in (_ONE, _MANY):
        query = f"query Fill($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {selection} }} }}"
        found: list[str] = []
        for start in range(0, len(ids), BATCH):
            body = orjson.loads(await inside.ask(query, {"ids": list(ids[start : start + BATCH])}))
            found += [orjson.dumps(patient).decode() for patient in body["data"]["patients"]]
        texts.append(found)
    return [(ORG, *row) for row in zip(ids, *texts, strict=True)]


def check_truth(rows: Sequence[tuple[str, str, str, str]]) -> None:
    """Raises RuntimeError unless what was answered is what was stored, person by person."""
    for number, (_, patient_id, one, _many) in enumerate(rows):
        person, answer = imports.person(number), orjson.loads(one)
        told = [
            answer["id"], answer["displayName"], answer["birthDate"], answer["pronouns"],
            [point["value"] for point in answer["contactPoints"]], answer["channelPreferences"],
        ]  # fmt: skip
        stored = [
            patient_id, person["preferred_name"], person["birth_date"], person["pronouns"],
            [point["value"] for point in person["contact_points"]], person["channel_preferences"],
        ]  # fmt: skip
        if told != stored:
            raise RuntimeError(f"person {number} is not answered as stored")


async def check_equal(asked: dict[str, list[dict[str, Any]]], sides: dict[str, tuple[Ask, Ask]]) -> None:
    """Raises RuntimeError unless both sides answer the first questions of every read with the same octets."""
    for read, (heed, floor) in sides.items():
        for number in range(min(CHECKED, len(asked[read]))):
            if await heed(number) != await floor(number):
                raise RuntimeError(f"the two sides answer question {number} of '{read}' differently")


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table: a read, over HTTP or in process, with so many askers at once; Heed's and the bare side."""

    read: str
    way: str
    asking: int
    heed: tuple[Sequence[Ask], Callable[[], float]]
    bare: tuple[Sequence[Ask], Callable[[], float]]


Pair = tuple[Slice, Slice]


async def compare(cases: Sequence[Case], rounds: int, seconds: float) -> dict[tuple[str, str, int], list[Pair]]:
    """For each case the slices of Heed and of the bare read, round by round; a short warm-up of each comes first."""
    results: dict[tuple[str, str, int], list[Pair]] = {(case.read, case.way, case.asking): [] for case in cases}
    for case in cases:
        for asks, cpu in (case.heed, case.bare):
            await measure(asks, cpu, seconds / 3)
    for number in range(rounds):
        turn = number * 3 % len(cases)
        for case in [*cases[turn:], *cases[:turn]]:
            if number % 2:
                floor = await measure(*case.bare, seconds)
                heed = await measure(*case.heed, seconds)
            else:
                heed = await measure(*case.heed, seconds)
                floor = await measure(*case.bare, seconds)
            results[case.read, case.way, case.asking].append((heed, floor))
    return results


@asynccontextmanager
async def over_http(
    asked: dict[str, list[dict[str, Any]]], url: str, bare_url: str, folder: Path, concurrencies: Sequence[int]
) -> AsyncIterator[list[Case]]:
    """The cases over loopback HTTP, with both servers running; their answers are checked against each other first."""
    header = f"Authorization: {authorization(folder)}\r\n"
    async with AsyncExitStack() as stack:
        heed = stack.enter_context(children.heed(url, folder))
        floor = stack.enter_context(children.bare(bare_url))

        def wires(child: children.Child, requests: Sequence[bytes], count: int) -> list[Ask]:
            opened = [Wire(child.port, requests) for _ in range(count)]
            for wire in opened:
                stack.callback(wire.close)
            return [wire.ask for wire in opened]

        cases: list[Case] = []
        for read, variables in asked.items():
            ours = [
                post("/graphql", orjson.dumps({"query": QUERIES[read], "variables": each}), header)
                for each in variables
            ]
            theirs = [post("/bare", orjson.dumps({"org": ORG, **each})) for each in variables]
            sides = {read: (wires(heed, ours, 1)[0], wires(floor, theirs, 1)[0])}
            await check_equal(asked, sides)
            for count in concurrencies:
                ends = (wires(heed, ours, count), heed.cpu), (wires(floor, theirs, count), floor.cpu)
                cases.append(Case(read, "HTTP", count, *ends))
        yield cases


def in_process(asked: dict[str, list[dict[str, Any]]], inside: Inside, table: bare.Bare) -> list[Case]:
    """The cases without HTTP, in this process and its event loop, one asker; processor time is the whole process's.

    More askers would compare nothing: the bare read on SQLite never waits for anything.
    """
    return [
        Case(
            read,
            "in process",
            1,
            ([inside.asking(read, variables)], time.process_time),
            ([bare_asking(table, variables)], time.process_time),
        )
        for read, variables in asked.items()
    ]


def bare_asking(table: bare.Bare, asked: Sequence[dict[str, Any]]) -> Ask:
    """Asks the bare table in process."""

    def ask(number: int) -> Awaitable[bytes]:
        return bare.answer(table, {"org": ORG, **asked[number % len(asked)]})

    return ask


def row(title: str, pairs: Sequence[Pair]) -> str:
    """One line of the table: medians, and ratios Heed : bare as the median of the rounds with the range in brackets."""
    heed, floor = zip(*pairs, strict=True)
    cells = [
        f"{statistics.median(each.rate for each in heed):8.0f}",
        f"{statistics.median(each.rate for each in floor):8.0f}",
        _ratio([ours.rate / theirs.rate for ours, theirs in pairs]),
        f"{statistics.median(each.p50 for each in heed):8.2f}",
        _ratio([ours.p50 / theirs.p50 for ours, theirs in pairs]),
        f"{statistics.median(each.cpu for each in heed):8.0f}",
        _ratio([ours.cpu / theirs.cpu for ours, theirs in pairs if theirs.cpu > 0]),
    ]
    return " | ".join([f"{title:<44}", *cells])


HEADER = " | ".join([
    f"{'read':<44}", f"{'Heed/s':>8}", f"{'bare/s':>8}", f"{'rate ratio':>22}", f"{'p50 ms':>8}",
    f"{'p50 ratio':>22}", f"{'CPU µs':>8}", f"{'CPU ratio':>22}",
])  # fmt: skip


def _ratio(ratios: Sequence[float]) -> str:
    if not ratios:
        return f"{'-':>22}"
    shown = f"{statistics.median(ratios):.3g} ({min(ratios):.3g}-{max(ratios):.3g})"
    return f"{shown:>22}"
