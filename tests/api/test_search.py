"""Searching over HTTP, on both engines: exact matches only, false hits of the blind index left out, pages, events."""

from collections.abc import Mapping
from itertools import count
from typing import Any
from uuid import uuid4

import pytest

from auth.roles import Role
from crm.catalogue import INDEXES
from tests.client import Client
from tests.house import ORG, OTHER_ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEARCH = """query Search($by: PatientSearch!, $first: Int, $after: String) {
  searchPatients(by: $by, first: $first, after: $after) {
    edges { cursor node { id displayName } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}"""


async def found(
    served: Client, by: Mapping[str, Any], role: Role = Role.FRONT_DESK, *, after: str | None = None, org: str = ORG
) -> list[str]:
    """The ids that a search finds."""
    page = (await served.data(SEARCH, role, variables={"by": by, "after": after}, org=org))["searchPatients"]
    return [edge["node"]["id"] for edge in page["edges"]]


_TAILS = count(10_000)


def number() -> str:
    """A telephone number that nobody else in this module has."""
    return f"+4477009{next(_TAILS):05}"


CRITERIA: dict[str, tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]] = {
    "phone": (
        {"contact_points": [{"system": "PHONE", "value": "+441134960111"}]},
        {"phone": "0113 496 0111"},
        [{"phone": "+441134960112"}],
    ),
    "email": (
        {"contact_points": [{"system": "EMAIL", "value": "Ina.Berg@Example.test"}]},
        {"email": "ina.berg@EXAMPLE.test"},
        [{"email": "ina@example.test"}],
    ),
    "fullName": (
        {"names": [{"use": "OFFICIAL", "family": "Ødegård", "given": ["Åse"]}]},
        {"fullName": "åse  ødegård"},
        [{"fullName": "Åse"}, {"fullName": "Ødegård"}],
    ),
    "familyName and birthDate": (
        {"names": [{"use": "OFFICIAL", "family": "Grünwald", "given": ["Ida"]}], "birth_date": "1931-05-09"},
        {"familyName": "GRÜNWALD", "birthDate": "1931-05-09"},
        [{"familyName": "Grünwald", "birthDate": "1931-05-10"}, {"familyName": "Ida", "birthDate": "1931-05-09"}],
    ),
    "identifier": (
        {"identifiers": [{"system": "urn:example:search", "value": "S-1"}]},
        {"identifier": {"system": "urn:example:search", "value": "S-1"}},
        [{"identifier": {"system": "urn:example:search", "value": "S-11"}}],
    ),
}


@pytest.mark.parametrize("criterion", CRITERIA)
async def test_each_criterion(served: Client, criterion: str) -> None:
    """Each finds whom it names, in any spelling that means the same, and nobody by a part or a neighbour of it."""
    values, by, misses = CRITERIA[criterion]
    patient = await served.house.register(values)
    assert await found(served, by) == [patient["id"]]
    for miss in misses:
        assert await found(served, miss) == []


@pytest.mark.parametrize(
    "by",
    [
        {},
        {"familyName": "Okafor"},
        {"birthDate": "1984-07-03"},
        {"phone": "+447700900123", "email": "sam@example.test"},
        {"fullName": "Sam Okafor", "identifier": {"system": "urn:x", "value": "1"}},
    ],
)
async def test_one_criterion_at_a_time(served: Client, by: dict[str, Any]) -> None:
    """No criterion, half a criterion, or two: refused, and the attempt is recorded."""
    answer, [leaf] = await served.watched(SEARCH, variables={"by": by})
    extensions = answer.json()["errors"][0]["extensions"]
    assert extensions == {"code": "VALIDATION_FAILED", "field": "by", "rule": "exactly_one"}
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("query", "denied", "VALIDATION_FAILED")


@pytest.mark.parametrize("term", ["+44", "%", "the front desk"])
async def test_what_is_no_number_is_refused(served: Client, term: str) -> None:
    """The refusal names the criterion, does not repeat the term, and is recorded."""
    answer, [leaf] = await served.watched(SEARCH, variables={"by": {"phone": term}})
    expected = {"code": "VALIDATION_FAILED", "field": "by.phone", "rule": "e164"}
    assert answer.json()["errors"][0]["extensions"] == expected
    assert leaf["out"] == "denied"


async def test_no_prefixes_and_no_wildcards(served: Client) -> None:
    """A number is found whole or not at all."""
    whole = number()
    patient = await served.house.register({"contact_points": [{"system": "PHONE", "value": whole}]})
    assert await found(served, {"phone": whole}) == [patient["id"]]
    for part in (whole[:-1], whole[:-1] + "*", whole[:-1] + "%", whole[3:-2]):
        assert await found(served, {"phone": part}) == []


async def test_another_organisation_is_not_searched(served: Client) -> None:
    """The same number in another organisation is not found, and not even a candidate."""
    shared = number()
    values = {"contact_points": [{"system": "PHONE", "value": shared}]}
    await served.house.register(values, org=OTHER_ORG)
    assert await found(served, {"phone": shared}) == []
    assert len(await found(served, {"phone": shared}, org=OTHER_ORG)) == 1


async def test_what_a_restricted_record_withholds_is_not_confirmed(served: Client) -> None:
    """Its telephone number finds it only for those who may see the number; its name finds it for everybody."""
    shared, family = number(), f"Quill{uuid4().hex[:6]}"
    values = {
        "restricted": True,
        "contact_points": [{"system": "PHONE", "value": shared}],
        "names": [{"use": "OFFICIAL", "family": family, "given": ["Una"]}],
    }
    patient = await served.house.store(values)
    assert await found(served, {"phone": shared}) == []
    assert await found(served, {"fullName": f"Una {family}"}) == [patient]
    assert await found(served, {"phone": shared}, Role.PRIVACY_OFFICER) == [patient]


async def test_filtering_is_reading(served: Client) -> None:
    """A role that may not read what a criterion looks at is refused alike, whether or not there is a match."""
    patient = await served.house.register()
    asked = "query($by: PatientSearch!) { searchPatients(by: $by) { edges { node { id } } } }"
    answers = set()
    for phone in ("+447700900123", number()):
        answer, [leaf] = await served.watched(asked, Role.MESSAGING, variables={"by": {"phone": phone}})
        answers.add(answer.text)
        assert (leaf["act"], leaf["out"], leaf["why"]) == ("query", "denied", "FORBIDDEN")
    assert len(answers) == 1
    assert patient["id"] not in answers.pop()


async def test_a_search_leaves_its_count_and_never_its_term(served: Client) -> None:
    """One event for each patient that is answered, one for the search: its fields and its count."""
    shared = number()
    ids = [
        (await served.house.register({"contact_points": [{"system": "PHONE", "value": shared}]}))["id"]
        for _ in range(2)
    ]
    answer, leaves = await served.watched(SEARCH, variables={"by": {"phone": shared}})
    edges = answer.json()["data"]["searchPatients"]["edges"]
    assert [edge["node"]["id"] for edge in edges] == sorted(ids)
    *reads, search = leaves
    assert [(leaf["act"], leaf["fld"]) for leaf in reads] == [("query", ["displayName"])] * 2
    assert len({leaf["pat"] for leaf in reads}) == 2
    assert (search["act"], search["out"], search["cnt"], search["fld"]) == ("query", "ok", 2, ["contactPoints"])
    assert shared.removeprefix("+") not in str(leaves)


async def test_finding_nobody_is_recorded(served: Client) -> None:
    """A search without a match leaves one event, with the count 0."""
    _, [leaf] = await served.watched(SEARCH, variables={"by": {"phone": number()}})
    assert (leaf["act"], leaf["out"], leaf["cnt"], "pat" in leaf) == ("query", "ok", 0, False)


async def test_pages(served: Client) -> None:
    """Seven matches in pages of three: all of them once, in one order; nobody on the next page is recorded as read."""
    shared = number()
    ids = [
        (await served.house.register({"contact_points": [{"system": "PHONE", "value": shared}]}))["id"]
        for _ in range(7)
    ]
    seen: list[str] = []
    after: str | None = None
    for size, more in ((3, True), (3, True), (1, False)):
        variables = {"by": {"phone": shared}, "first": 3, "after": after}
        answer, leaves = await served.watched(SEARCH, variables=variables)
        page = answer.json()["data"]["searchPatients"]
        cursors = [edge["cursor"] for edge in page["edges"]]
        assert page["pageInfo"] == {
            "hasNextPage": more,
            "hasPreviousPage": after is not None,
            "startCursor": cursors[0],
            "endCursor": cursors[-1],
        }
        assert (len(page["edges"]), len(leaves), leaves[-1]["cnt"]) == (size, size + 1, size)
        seen += [edge["node"]["id"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert seen == sorted(ids)
    assert await found(served, {"phone": shared}, after=after) == []


@pytest.mark.parametrize("after", ["", "%%%", "AA", "YQ", "4pyT", "x" * 300, "gICA", "Li4vLi4"])
async def test_a_cursor_is_ours_or_refused(served: Client, after: str) -> None:
    """What was never a cursor of ours is refused, alike on both engines; NUL does not reach a database."""
    variables = {"by": {"phone": number()}, "after": after}
    answer = (await served.ask(SEARCH, variables=variables)).json()
    if after == "YQ":  # the letter a: the right alphabet, so a place in the list like any other
        assert answer["data"]["searchPatients"]["edges"] == []
    else:
        expected = {"code": "VALIDATION_FAILED", "field": "after", "rule": "cursor"}
        assert answer["errors"][0]["extensions"] == expected


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_has_a_size(served: Client, first: int) -> None:
    """One to a hundred."""
    answer = await served.ask(SEARCH, variables={"by": {"phone": number()}, "first": first})
    assert answer.json()["errors"][0]["extensions"]["code"] == "VALIDATION_FAILED"


async def test_false_hits_of_a_truncated_index_are_left_out(served: Client) -> None:
    """Records that share the truncated index value without the number are neither answered nor recorded."""
    keys = served.house.services.store.keys
    index = next(index for index in INDEXES if index.name == "phone")

    def hashed(text: str) -> bytes:
        return keys.index_value(ORG, index.name, index.bits, text.encode())

    wanted = number()
    twin = next(text for text in (f"+4930{tail:08}" for tail in range(10**6)) if hashed(text) == hashed(wanted))
    one = await served.house.register({"contact_points": [{"system": "PHONE", "value": wanted}]})
    await served.house.register({"contact_points": [{"system": "PHONE", "value": twin}]})
    answer, leaves = await served.watched(SEARCH, variables={"by": {"phone": wanted}})
    assert [edge["node"]["id"] for edge in answer.json()["data"]["searchPatients"]["edges"]] == [one["id"]]
    assert [leaf.get("cnt") for leaf in leaves] == [None, 1]
