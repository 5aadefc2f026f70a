"""Possible duplicates through the API on both engines: found by a sweep or for one record, judged, and found again."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.audit.event import Act
from crm.domain.erasure import ErasureReason
from crm.services.changes import canonical
from crm.services.duplicates import NEAREST, Swept
from tests.client import Client, client
from tests.house import REQUEST, actor

PAIR = "firstId firstVersion secondId secondVersion likeness bits facts { fact agreement } foundAt verdict"
PAGE = f"edges {{ cursor node {{ {PAIR} }} }} pageInfo {{ hasNextPage endCursor }} crowded"
ALL = f"query All($first: Int, $after: String) {{ possibleDuplicates(first: $first, after: $after) {{ {PAGE} }} }}"
OF = f"""query Of($id: ID!, $first: Int, $after: String) {{
  possibleDuplicates(patientId: $id, first: $first, after: $after) {{ {PAGE} }} }}"""
JUDGE = """mutation Judge($input: ReviewDuplicateInput!) { reviewDuplicate(input: $input) {
  patientId otherId verdict reviewedAt } }"""
PHONE = "+447700900123"


@dataclass(frozen=True)
class Registry:
    """A service and what it is asked about pairs."""

    it: Client

    async def person(
        self, given: str = "Samantha", family: str = "Okafor", born: str | None = "1984-07-03", **more: Any
    ) -> str:
        """The id of a new record."""
        names = [{"use": "OFFICIAL", "family": family, "given": [given]}]
        phone = more.pop("phone", PHONE)
        points = {"contact_points": [{"system": "PHONE", "value": phone}]} if phone else {}
        return await self.it.house.store({"names": names, "birth_date": born, **points, **more})

    async def sweep(self) -> Swept:
        """A run over all records."""
        return await self.it.house.services.duplicates.sweep(actor(Role.INTEGRATION), REQUEST)

    async def pairs(self, query: str = ALL, **variables: Any) -> list[dict[str, Any]]:
        """The nodes of the first page."""
        found = await self.it.data(query, variables=variables)
        return [edge["node"] for edge in found["possibleDuplicates"]["edges"]]

    async def judge(self, one: str, other: str, verdict: str) -> Any:
        """The raw answer to a verdict."""
        said = {"patientId": one, "otherId": other, "verdict": verdict}
        return (await self.it.ask(JUDGE, variables={"input": said})).json()


@pytest.fixture
async def registry(database_url: str, tmp_path: Path) -> AsyncIterator[Registry]:
    """An empty registry on each engine."""
    async with client(database_url, tmp_path) as it:
        yield Registry(it)


async def test_a_sweep_finds_pairs_once(registry: Registry) -> None:
    """Whatever index brings two records together; households stay apart; a second run finds nothing new."""
    sam = await registry.person()
    again = await registry.person("Samanta", phone=None)  # by family name and birth date
    moved = await registry.person("Okafor", "Samantha", phone=None)  # the wrong way round: by full name
    await registry.person("Daniel")  # a twin, at the same number
    await registry.person("Ravi", "Patel", "1971-09-30")  # who had the number before
    swept = await registry.sweep()
    assert (swept.records, swept.found) == (5, 2)
    found = {(pair["firstId"], pair["secondId"]): pair for pair in await registry.pairs()}
    assert found.keys() == {tuple(sorted(pair)) for pair in ((sam, again), (sam, moved))}
    assert {pair["likeness"] for pair in found.values()} == {"PROBABLE", "POSSIBLE"}
    best = found[min(sam, moved), max(sam, moved)]
    assert (best["likeness"], best["firstVersion"], best["verdict"]) == ("PROBABLE", 1, None)
    assert best["facts"] == [
        {"fact": "BIRTH_DATE", "agreement": "SAME"},
        {"fact": "FAMILY_NAME", "agreement": "SAME"},
        {"fact": "GIVEN_NAME", "agreement": "SAME"},
    ]
    assert best["foundAt"] is not None
    assert (await registry.sweep()).found == 0
    assert len(await registry.pairs()) == 2


async def test_one_records_like_is_looked_for_at_once(registry: Registry) -> None:
    """Without any sweep, the most alike first, in pages that go on where the last one ended."""
    sam = await registry.person()
    email = {"contact_points": [{"system": "EMAIL", "value": "sam@example.org"}]}
    close = await registry.person("Smaantha", phone=PHONE)
    same = await registry.person(phone=PHONE)
    await registry.person("Joy", "Reed", "1990-02-02", phone=None, **email)
    pairs = await registry.pairs(OF, id=sam)
    assert [({pair["firstId"], pair["secondId"]} - {sam}, pair["likeness"]) for pair in pairs] == [
        ({same}, "PROBABLE"),
        ({close}, "POSSIBLE"),
    ]
    assert {pair["foundAt"] for pair in pairs} == {None}
    page = (await registry.it.data(OF, variables={"id": sam, "first": 1}))["possibleDuplicates"]
    assert page["pageInfo"]["hasNextPage"]
    after = page["pageInfo"]["endCursor"]
    rest = (await registry.it.data(OF, variables={"id": sam, "first": 1, "after": after}))["possibleDuplicates"]
    assert [edge["node"] for edge in page["edges"] + rest["edges"]] == pairs
    assert not rest["pageInfo"]["hasNextPage"]


async def test_the_list_is_read_in_pages(registry: Registry) -> None:
    """Each pair once, in the order in which they were found."""
    for _ in range(4):
        await registry.person()
    await registry.sweep()
    seen, after = [], None
    while True:
        page = (await registry.it.data(ALL, variables={"first": 4, "after": after}))["possibleDuplicates"]
        seen += [(edge["node"]["firstId"], edge["node"]["secondId"]) for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            break
        after = page["pageInfo"]["endCursor"]
    assert (len(seen), len(set(seen))) == (6, 6)


async def test_who_is_not_a_duplicate_stays_away_until_somebody_changes(registry: Registry) -> None:
    """A verdict hides the pair from every list; a new telephone number does not bring it back, a new name does."""
    one, other = await registry.person(), await registry.person("Smaantha")
    await registry.sweep()
    said = (await registry.judge(other, one, "NOT_DUPLICATE"))["data"]["reviewDuplicate"]
    assert (said["patientId"], said["otherId"], said["verdict"]) == (other, one, "NOT_DUPLICATE")
    assert await registry.pairs() == await registry.pairs(OF, id=one) == []
    changes = registry.it.house.services.changes
    clerk = actor(Role.FRONT_DESK)
    point = {"system": "EMAIL", "value": "sam@example.org"}
    await changes.add_contact_point(clerk, REQUEST, one, 1, point, frozenset())
    assert (await registry.sweep()).found == 0
    assert await registry.pairs() == await registry.pairs(OF, id=other) == []
    names = [{"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha", "Jo"]}]
    await changes.update(clerk, REQUEST, one, 2, {"names": names}, frozenset())
    assert len(await registry.pairs(OF, id=other)) == 1
    assert (await registry.sweep()).found == 1
    assert [pair["verdict"] for pair in await registry.pairs()] == [None]


async def test_a_verdict_is_taken_back(registry: Registry) -> None:
    """UNDECIDED shows the pair again, and that somebody looked at it; each verdict leaves an event for both."""
    one, other = await registry.person(), await registry.person()
    await registry.judge(one, other, "NOT_DUPLICATE")
    assert await registry.pairs(OF, id=one) == []
    await registry.judge(one, other, "UNDECIDED")
    [pair] = await registry.pairs(OF, id=one)
    assert pair["verdict"] == "UNDECIDED"
    assert [pair["verdict"] for pair in await registry.pairs()] == ["UNDECIDED"]
    said = [leaf for leaf in await registry.it.house.leaves() if leaf.get("why") in ("NOT_DUPLICATE", "UNDECIDED")]
    assert [(leaf["act"], leaf["out"], "pat" in leaf) for leaf in said] == [("update", "ok", True)] * 4
    assert len({leaf["pat"] for leaf in said}) == 2


async def test_what_is_alike_no_more_goes(registry: Registry) -> None:
    """A pair that nobody judged is not shown once the records differ, and the next sweep removes it."""
    one, other = await registry.person(), await registry.person()
    await registry.sweep()
    clerk, ravi = actor(Role.FRONT_DESK), [{"use": "OFFICIAL", "family": "Patel", "given": ["Ravi"]}]
    values = {"names": ravi, "birth_date": "1971-09-30"}
    await registry.it.house.services.changes.update(clerk, REQUEST, one, 1, values, frozenset())
    assert await registry.pairs() == []
    await registry.sweep()
    back = {"names": [{"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha"]}], "birth_date": "1984-07-03"}
    await registry.it.house.services.changes.update(clerk, REQUEST, one, 2, back, frozenset())
    assert await registry.pairs() == []
    assert len(await registry.pairs(OF, id=other)) == 1


async def test_a_term_of_a_crowd_brings_nobody_together(registry: Registry) -> None:
    """The number of a switchboard on very many records is passed over, and counted; other terms still bring them."""
    points = [{"system": "PHONE", "value": PHONE}]
    async with registry.it.house.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.CREATE) as unit:
        for year in range(1910, 1961):
            unit.create(canonical({"birth_date": f"{year}-02-03", "contact_points": points}), "test")
    shared = [{"system": "urn:mrn", "value": "H-1"}]
    one = await registry.person(identifiers=shared)
    other = await registry.person("Sam", identifiers=shared, phone=None)
    swept = await registry.sweep()
    assert (swept.records, swept.found) == (53, 1)
    assert swept.crowded > 0
    [pair] = await registry.pairs()
    assert {pair["firstId"], pair["secondId"]} == {one, other}


async def strangers(registry: Registry, numbers: list[str], each: int) -> None:
    """So many people at each number, of whom nobody else knows anything."""
    async with registry.it.house.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.CREATE) as unit:
        for number in numbers:
            for year in range(1910, 1910 + each):
                points = [{"system": "PHONE", "value": number}]
                unit.create(canonical({"birth_date": f"{year}-02-03", "contact_points": points}), "test")


async def test_one_question_opens_so_many_records_and_no_more(registry: Registry) -> None:
    """Whoever shares the most is compared first, it is told that there are others, and each that is opened is noted."""
    numbers = [f"+44770090{n:04d}" for n in range(300, 303)]
    await strangers(registry, numbers, 40)
    points = [{"system": "PHONE", "value": number} for number in numbers]
    one = await registry.person(phone=None, contact_points=points)
    other = await registry.person(phone=numbers[0])
    answer, leaves = await registry.it.watched(OF, variables={"id": one, "first": 1})
    page = answer.json()["data"]["possibleDuplicates"]
    [pair] = [edge["node"] for edge in page["edges"]]
    assert ({pair["firstId"], pair["secondId"]}, page["crowded"]) == ({one, other}, True)
    assert len([leaf for leaf in leaves if "pat" in leaf]) == 1 + NEAREST
    swept = await registry.sweep()
    assert (swept.found, swept.crowded) == (1, 1)
    few = (await registry.it.data(OF, variables={"id": other}))["possibleDuplicates"]
    assert (len(few["edges"]), few["crowded"]) == (1, False)


async def test_pairs_that_are_alike_no_more_do_not_hold_up_the_list(registry: Registry) -> None:
    """A page looks at so many pairs as were asked for, and ends behind them; the next sweep takes them away."""
    clerk, changes = actor(Role.FRONT_DESK), registry.it.house.services.changes
    for _ in range(3):
        await registry.person()
    await registry.sweep()
    oldest = (await registry.pairs())[0]["firstId"]
    ravi = {"names": [{"use": "OFFICIAL", "family": "Patel", "given": ["Ravi"]}], "birth_date": "1971-09-30"}
    await changes.update(clerk, REQUEST, oldest, 1, ravi, frozenset())
    for rest in (3, 1):
        answers, after = [], None
        for _ in range(rest):
            answer, leaves = await registry.it.watched(ALL, variables={"first": 1, "after": after})
            answers.append(answer.json()["data"]["possibleDuplicates"])
            assert len([leaf for leaf in leaves if "pat" in leaf]) == 2
            after = answers[-1]["pageInfo"]["endCursor"]
        assert [page["pageInfo"]["hasNextPage"] for page in answers] == [True] * (rest - 1) + [False]
        assert [len(page["edges"]) for page in answers] == [0] * (rest - 1) + [1]
        assert {page["crowded"] for page in answers} == {None}
        await registry.sweep()


@pytest.mark.parametrize("verdict", ["UNDECIDED", "NOT_DUPLICATE"])
async def test_nothing_is_said_of_two_who_are_not_alike(registry: Registry, verdict: str) -> None:
    """The refusal is typed and on record, and no pair is stored by it."""
    one, other = await registry.person(), await registry.person("Ravi", "Patel", "1971-09-30", phone=None)
    said = {"input": {"patientId": one, "otherId": other, "verdict": verdict}}
    answer, leaves = await registry.it.watched(JUDGE, variables=said)
    [error] = answer.json()["errors"]
    assert (error["extensions"]["field"], error["extensions"]["rule"]) == ("input.otherId", "not_alike")
    assert {leaf["out"] for leaf in leaves} == {"denied"}
    assert len({leaf["pat"] for leaf in leaves}) == 2
    async with registry.it.house.services.store.reading(REQUEST.context(actor(Role.FRONT_DESK)), Act.QUERY) as unit:
        assert await unit.pairs("", 10) == []


async def test_undecided_pairs_go_once_they_are_not_alike(registry: Registry) -> None:
    """As those do that nobody looked at; a pair of which somebody said that it is none stays."""
    clerk, changes = actor(Role.FRONT_DESK), registry.it.house.services.changes
    one, other = await registry.person(), await registry.person()
    await registry.judge(one, other, "UNDECIDED")
    ravi = {"names": [{"use": "OFFICIAL", "family": "Patel", "given": ["Ravi"]}], "birth_date": "1971-09-30"}
    await changes.update(clerk, REQUEST, one, 1, ravi, frozenset())
    assert (await registry.judge(one, other, "NOT_DUPLICATE")).get("errors") is None  # it was found: it may be settled
    await registry.sweep()
    assert (await registry.judge(one, other, "UNDECIDED")).get("errors") is None
    await registry.sweep()
    [error] = (await registry.judge(one, other, "UNDECIDED"))["errors"]
    assert error["extensions"]["rule"] == "not_alike"


async def test_a_question_costs_what_it_may_open(registry: Registry) -> None:
    """One record and all that it may be compared with, or both records of each pair: not how many are shown."""
    one = await registry.person()
    for asked, most in (
        (f'possibleDuplicates(patientId: "{one}", first: 1)', 9),
        ("possibleDuplicates(first: 50)", 10),
    ):
        fits, above = (
            f"{{ {' '.join(f'a{n}: {asked} {{ crowded }}' for n in range(count))} }}" for count in (most, most + 1)
        )
        assert len(await registry.it.data(fits)) == most
        assert await registry.it.codes(above) == ["QUERY_TOO_COSTLY"]


async def test_bad_questions(registry: Registry) -> None:
    """Unknown records, one record twice, and cursors that were never given."""
    one = await registry.person()
    assert await registry.it.codes(OF, variables={"id": "nobody"}) == ["NOT_FOUND"]
    assert await registry.it.codes(OF, variables={"id": one, "after": "x"}) == ["VALIDATION_FAILED"]
    [error] = (await registry.judge(one, one, "NOT_DUPLICATE"))["errors"]
    assert (error["extensions"]["field"], error["extensions"]["rule"]) == ("input.otherId", "same_record")
    [error] = (await registry.judge(one, "nobody", "NOT_DUPLICATE"))["errors"]
    assert error["extensions"]["code"] == "NOT_FOUND"


async def test_erasure_reaches_pairs(registry: Registry) -> None:
    """Nothing is left of a pair, and of what was said of it, once one of the two was erased."""
    one, other = await registry.person(), await registry.person()
    await registry.judge(one, other, "UNDECIDED")
    officer = actor(Role.PRIVACY_OFFICER)
    await registry.it.house.services.erasures.erase(officer, REQUEST, one, 1, None, ErasureReason.CONSENT_WITHDRAWN)
    assert await registry.pairs() == []
    assert await registry.it.codes(OF, variables={"id": one}) == ["ERASED"]
    async with registry.it.house.services.store.reading(REQUEST.context(officer), Act.QUERY) as unit:
        assert await unit.pairs("", 10) == []
