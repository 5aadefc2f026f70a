"""Documents and variables made to hurt: each costs no more than an honest one, and the next caller is answered.

Collected from what GraphQL Armor guards against (aliases, depth, directives, tokens, length, cost, suggestions), from
OWASP's cheat sheet on GraphQL (amplification, batching, circles, introspection), published attacks on the validation of
overlapping fields, and what this parser and these scalars could stumble over. Those that counting alone must refuse are
in tests/security/test_limits.py, and run here once more.
"""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import pytest_asyncio
from graphql import get_introspection_query

from auth.roles import Role
from schema.documents import MAX_REPORTED
from schema.settings import Settings
from tests.asking import EVERYTHING, question
from tests.security.test_limits import ATTACKS
from tests.sockets import Line, listening
from tests.speaking import Speaker, code, speaking

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLAIN = "{ viewer { org } }"


def _many(template: str, times: int, between: str = " ") -> str:
    return between.join(template.replace("#", str(n)) for n in range(times))


def _nested(opening: str, times: int, inside: str, closing: str = "}") -> str:
    return opening * times + inside + closing * times


DOCUMENTS: dict[str, str] = {
    # spreads
    "a fan-out of three": "{ ...f0 } "
    + " ".join(f"fragment f{n} on Query {{ {f'...f{n + 1} ' * 3}}}" for n in range(40))
    + " fragment f40 on Query { __typename }",
    "a fan-out in 1.5 KB": " ".join(
        [
            "{ ...a0 } fragment a31 on Query { viewer { org } }",
            *(f"fragment a{n} on Query {{ ...a{n + 1} ...a{n + 1} }}" for n in range(31)),
        ]
    ),
    "one wide fragment, a hundred times": "{ " + "...F " * 100 + "} fragment F on Query { " + "__typename " * 100 + "}",
    "each fragment spreads all that follow": "{ ...f0 } "
    + " ".join(f"fragment f{n} on Query {{ __typename {_many('...f#', 26)[6 * (n + 1) :]} }}" for n in range(10)),
    "fragments in pairs": "{ patient(id: 1) { "
    + _many("...f#", 90)
    + " } } "
    + _many("fragment f# on Patient { id }", 90),
    "inline fragments in each other": "{ " + _nested("... { ", 200, "__typename ") + "}",
    "inline fragments on the type itself": "{ " + _nested("... on Query { ", 90, "__typename ") + "}",
    "a fragment that spreads itself": "{ ...A } fragment A on Query { ...A }",
    "a circle of three": "{ ...A } fragment A on Query { ...B } "
    "fragment B on Query { ...C } fragment C on Query { ...A }",
    "a circle below a field": "{ patient(id: 1) { ...A } } fragment A on Patient { relatedPersons { ...A } }",
    "a circle in an inline fragment": "{ ... { ...A } } fragment A on Query { ... on Query { ...A } }",
    "a circle that nobody spreads": "{ __typename } fragment A on Query { ...B } fragment B on Query { ...A }",
    "fragments that nobody spreads": "{ __typename } " + _many("fragment f# on Query { __typename }", 120),
    "fragments of one name": "{ ...f } " + _many("fragment f on Query { __typename }", 120),
    # fields that overlap
    "one field 390 times": "{ viewer { " + "org " * 390 + "} }",
    "one field 160 times with an argument": "{ " + 'patient(id: "a") { id } ' * 160 + "}",
    "fields that all conflict": "{ " + _many("accessEvents(first: #) { edges { cursor } }", 90) + " }",
    "conflicts below conflicts": "{ patient(id: 1) { "
    + _many("contactPoints { value: id value: system }", 60)
    + " } }",
    "conflicts by alias": "{ viewer { " + "x: org x: subject " * 7 + "} }",
    "conflicts of fragments": "{ patient(id: 1) { "
    + _many("...f#", 60)
    + " } } "
    + " ".join(f"fragment f{n} on Patient {{ id: {'version' if n % 2 else 'id'} }}" for n in range(60)),
    "trees that are compared with each other": "{ "
    + ("patient(id: 1) { relatedPersons { name { text } } } " * 70)
    + "}",
    # aliases, directives, operations
    "aliases of the type's name": "{ " + _many("a#: __typename", 300) + " }",
    "aliases in a fragment, spread": "{ ...F ...F ...F } fragment F on Query { " + _many("a#: __typename", 6) + " }",
    "aliases of a mutation": "mutation { " + _many('a#: erasePatient(input: {patientId: "a"}) { note }', 30) + " }",
    "one directive 300 times": "{ __typename " + "@include(if: true) " * 150 + "}",
    "directives on fragments": "{ ...F } fragment F on Query " + "@a " * 300 + "{ __typename }",
    "directives on inline fragments": "{ " + _many("... @include(if: true) { __typename }", 60) + " }",
    "directives on an operation": "query " + "@a " * 400 + "{ __typename }",
    "directives on variables": "query (" + _many("$v#: Int @a @a @a", 60) + ") { __typename }",
    "directives of later specifications": "{ ... @defer { __typename } patients(ids: []) @stream { __typename } }",
    "operations of one name": _many("query Q { __typename }", 100),
    "operations without names": _many("{ __typename }", 100),
    # arguments, literals, variables
    "a number of 5,000 digits": "{ accessEvents(first: " + "9" * 5_000 + ") { edges { cursor } } }",
    "an id of 40,000 digits": "{ patient(id: " + "9" * 40_000 + ") { id } }",
    "an infinite number": "{ accessEvents(first: 1e999999) { edges { cursor } } }",
    "a log index of 5,000 digits": "{ auditInclusionProof(seq: " + "9" * 5_000 + ") { __typename } }",
    "a list of 900 numbers": "{ patients(ids: [" + "1 " * 900 + "]) { __typename } }",
    "objects in each other": "{ searchPatients(by: " + _nested("{ identifier: ", 120, "1") + ") { __typename } }",
    "a list type in a list type": "query ($v: " + "[" * 150 + "Int" + "]" * 150 + ") { __typename }",
    "a default in a default": "query ($v: [Int] = " + "[" * 150 + "]" * 150 + ") { __typename }",
    "variables that nobody uses": "query (" + _many("$v#: Int", 240) + ") { __typename }",
    "variables that nobody declares": "{ " + _many("patient(id: $v#) { id }", 100) + " }",
    "arguments that nobody knows": "{ viewer(" + _many("a#: 1", 240) + ") { org } }",
    "arguments of one name": "{ patient(" + 'id: "a" ' * 240 + ") { id } }",
    "a text of escapes": '{ patient(id: "' + "\\u{10FFFF}" * 4_000 + '") { id } }',
    "a lone surrogate as an escape": '{ patient(id: "\\uD800") { id } }',
    "a long block of text": '{ patient(id: """' + "\n    x" * 8_000 + '""") { id } }',
    # introspection and what else a document may hold
    "types of types of types": "{ __schema { types { " + _nested("fields { type { ", 12, "name", "} } ") + " } } }",
    "the wrapped type of a wrapped type": '{ __type(name: "Query") { fields { type { '
    + _nested("ofType { ", 60, "name ")
    + "} } } }",
    "a hundred types by name": "{ " + _many('__type(name: "T#") { name }', 100) + " }",
    "a type extension": "extend type Query { x: Int } { __typename }",
    "a schema": "schema { query: Query } type Query { x: Int }",
    "a subscription": "subscription { __typename }",
    "commas": "{" + "," * 49_000 + "__typename }",
    "a byte order mark in the middle": "{ __typename \ufeff" + "\ufeff" * 10_000 + "}",
    "a string that never ends": '{ patient(id: "' + "x" * 40_000,
    "brackets that never close": "{ a(b: " + "[" * 900,
    **ATTACKS,
}
ANSWERED = {
    "inline fragments on the type itself",
    "an id of 40,000 digits",
    "a list of 900 numbers",
    "a text of escapes",
    "a long block of text",
    "commas",
    "a byte order mark in the middle",
}
"""Odd, and within the limits: answered like anything else."""

VARIABLES: dict[str, Any] = {
    "ids in lists in lists": [[[["ann"]]]],
    "ids that are objects": [{"id": "ann"}] * 100,
    "1,001 ids": ["ann"] * 1_001,
    "ids that are numbers beyond all bounds": [10**300] * 30 + [1e308, -1e-308, 1.5],
    "ids that are not there": [None] * 900,
    "lists sixteen deep": json.loads("[" * 14 + "]" * 14),
    "an object with 5,000 members": {f"k{n}": n for n in range(5_000)},
    "a text of 90,000 characters in place of a list": "x" * 90_000,
    "something else in every place": [True, 0.5, {}, [], None, "ann"] * 150,
}
CODES = {"QUERY_TOO_COSTLY", "GRAPHQL_VALIDATION_FAILED", "GRAPHQL_PARSE_FAILED", "VALIDATION_FAILED"}


@dataclass
class Site:
    """One server, spoken to on every transport: as in production but that everybody is told what is wrong."""

    speaker: Speaker
    line: Line

    async def by_post(self, query: str) -> Any:
        """The answer to a document in a body."""
        return (await self.speaker.post({"query": query})).json()

    async def by_get(self, query: str) -> Any:
        """The answer to a document in an address."""
        headers = {"authorization": "Bearer front_desk"}
        return (await self.speaker.http.get(f"/graphql?{urlencode({'query': query})}", headers=headers)).json()

    async def by_events(self, query: str) -> Any:
        """The answer to a document as an event, or the refusal of the stream."""
        response = await self.speaker.post({"query": query}, accept="text/event-stream")
        if response.headers["content-type"].startswith("text/event-stream"):
            return json.loads(response.text.partition("event: next\ndata: ")[2].partition("\n")[0])
        return response.json()

    async def by_socket(self, query: str) -> Any:
        """The answer to a document in a message; one socket serves them all."""
        await self.line.ask(query)
        heard = await self.line.hear()
        if heard["type"] == "error":
            return {"errors": heard["payload"]}
        assert (await self.line.hear())["type"] == "complete"
        return heard["payload"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site() -> AsyncIterator[Site]:
    """The server for all of them."""
    settings = Settings(open_introspection=True, graphql_get=True)
    async with speaking(settings) as speaker, listening(speaker.app) as server, server.line() as line:
        yield Site(speaker, await line.start())


WAYS = {"POST": Site.by_post, "GET": Site.by_get, "events": Site.by_events, "socket": Site.by_socket}

LONGEST_ADDRESS = 16_000
"""In octets: a longer one does not get past the head of a request (tests/security/test_floods.py)."""


@pytest.mark.parametrize(
    ("what", "way"),
    [
        (what, way)
        for what, text in DOCUMENTS.items()
        for way in WAYS
        if way != "GET" or len(quote(text)) < LONGEST_ADDRESS
    ],
)
async def test_a_refusal_and_the_next_answer(site: Site, what: str, way: str) -> None:
    """A typed refusal without data, few errors and none of the document in them; and the next caller is answered."""
    answer = await WAYS[way](site, DOCUMENTS[what])
    if what in ANSWERED:
        assert "data" in answer
    else:
        assert "data" not in answer
        assert {error["extensions"]["code"] for error in answer["errors"]} <= CODES
        assert len(answer["errors"]) <= MAX_REPORTED + 1
        assert len(str(answer)) < 10_000
    assert await WAYS[way](site, PLAIN) == {"data": {"viewer": {"org": "north-clinic"}}}


@pytest.mark.parametrize("what", VARIABLES)
async def test_hostile_variables(site: Site, what: str) -> None:
    """They fit or they do not: one error by the name of the place, and the next caller is answered."""
    query = "query Q($ids: [ID!]!) { patients(ids: $ids) { __typename } }"
    for name in ("ids", "unknown"):
        _, answer = await site.speaker.ask(query, variables={"ids": [], name: VARIABLES[what]})
        if name == "unknown":
            assert answer == {"data": {"patients": []}}
        elif "errors" in answer:
            assert {error["extensions"]["code"] for error in answer["errors"]} <= {*CODES, "BATCH_TOO_LARGE"}
            assert len(str(answer)) < 1_000
    assert (await site.speaker.ask(PLAIN))[0] == 200


async def test_none_costs_more_than_honest_work(site: Site) -> None:
    """Processor time of the worst of them, unknown to any cache, against that of a question for a whole record."""

    async def cost(query: str, role: str = "front_desk") -> float:
        spent = []
        for attempt in range(2):
            body = {"query": f"{query} #{attempt}", "variables": {"id": "ann"}}
            began = time.process_time()
            await site.speaker.post(body, role)
            spent.append(time.process_time() - began)
        return min(spent)

    honest = await cost(question(EVERYTHING), "privacy_officer")
    dear = {what: spent / honest for what in DOCUMENTS if (spent := await cost(DOCUMENTS[what])) > 3 * honest}
    assert dear == {}


# --- what those who may not see the schema learn of it ---------------------------------------------------------------

ORDINARY = [role for role in Role if role is not Role.OPERATOR]
LOOKING = {
    "the schema": get_introspection_query(),
    "a type": '{ __type(name: "Patient") { fields { name } } }',
    "under another name": "{ viewer { org } typename: __schema { queryType { name } } }",
    "in a fragment": "{ ...F } fragment F on Query { ... { __schema { types { name } } } }",
    "on a condition": 'query ($yes: Boolean = true) { __type(name: "Patient") @include(if: $yes) { name } }',
    "nothing of it but its name": "{ __schema { __typename } }",
    "as a router": "{ _service { sdl } }",
}
GUESSES = {
    "a field": ("{ viewer { or } }", "{ viewer { orgg } }"),
    "a field of a patient": ('{ patient(id: "a") { religionn } }', '{ patient(id: "a") { xyz } }'),
    "a root": ("{ patien { id } }", "{ nothing { id } }"),
    "a mutation": ("mutation { erasePatien { id } }", "mutation { nothing { id } }"),
    "an argument": ('{ patient(idd: "a") { id } }', '{ patient(zzz: "a") { id } }'),
    "a required argument": ("{ patient { id } }", "{ patients { __typename } }"),
    "an input field": (
        '{ searchPatients(by: {phon: "1"}) { __typename } }',
        "{ searchPatients(by: {zz: 1}) { __typename } }",
    ),
    "a value": ("{ accessSummary(groupBy: [PATIEN]) { total } }", "{ accessSummary(groupBy: [ZZ]) { total } }"),
    "a type in a fragment": ("{ ...F } fragment F on Quer { __typename }", "{ ...F } fragment F on Zz { __typename }"),
    "a type of a variable": ("query ($a: PatientSearc) { __typename }", "query ($a: Zz) { __typename }"),
    "a directive": ("{ viewer @skipp(if: true) { org } }", "{ viewer @zz { org } }"),
    "that something has parts": ('{ patient(id: "a") { names } }', '{ patient(id: "a") { id { x } } }'),
    "that a type is part of another": ("{ patients(ids: []) { id } }", "{ viewer { ... on Patient { id } } }"),
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def closed() -> AsyncIterator[Speaker]:
    """A server as in production."""
    async with speaking() as speaker:
        yield speaker


@pytest.mark.parametrize("role", ORDINARY)
async def test_introspection_is_closed(closed: Speaker, role: Role) -> None:
    """However it is asked for: FORBIDDEN for the whole operation, with nothing beside it."""
    for query in LOOKING.values():
        _, answer = await closed.ask(query, role.value)
        assert (code(answer), "data" in answer) == ("FORBIDDEN", False)
    assert closed.services.calls == []


@pytest.mark.parametrize("what", GUESSES)
async def test_guesses_are_not_corrected(closed: Speaker, what: str) -> None:
    """Near or far, every guess gets the same octets; only those who may see the schema are told what is wrong."""
    near, far = GUESSES[what]
    octets = {(await closed.post({"query": query})).content for query in (near, far, "{ zz }")}
    assert len(octets) == 1
    for query in (near, far):
        told = (await closed.post({"query": query}, "operator")).content
        assert told not in octets
        assert b"Did you mean" not in told
