"""The router's roots: `_entities` gives nobody anything that `patients` would not, and records it the same way."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from auth.roles import Role
from schema.settings import Settings
from tests.asking import FIELDS_OF_PATIENT, whole
from tests.client import Client, client
from tests.conftest import Databases
from tests.counting import CountingDatabase
from tests.house import OTHER_ORG
from tests.people import WHOLE
from tests.speaking import Asked, FakeServices, Speaker, code, speaking

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNKNOWN = "0199c0de-0000-7000-8000-000000000001"
SDL = "query Sdl { _service { sdl } }"


def entities(selection: str) -> str:
    """A router's question for what other subgraphs know of patients."""
    return f"query Join($of: [_Any!]!) {{ _entities(representations: $of) {{ ... on Patient {{ {selection} }} }} }}"


def of(*ids: object) -> dict[str, Any]:
    """Its variables."""
    return {"of": [{"__typename": "Patient", "id": each} for each in ids]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def speaker() -> AsyncIterator[Speaker]:
    """One application for all that leaves nothing behind, as in production."""
    async with speaking() as one:
        yield one


@pytest.mark.parametrize("role", Role)
async def test_the_policy_is_that_of_patients(speaker: Speaker, role: Role) -> None:
    """Every role, every field: the same verdict, the same question to the service, the same refusal on record."""
    many = "query Join($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {{ {} }} }} }}"
    seen: dict[str, list[Any]] = {"patients": [], "_entities": []}
    for field in map(whole, FIELDS_OF_PATIENT):
        for root, query, variables in (
            ("patients", many.format(field), {"ids": ["ann", "x"]}),
            ("_entities", entities(field), of("ann", "x")),
        ):
            _, answer = await speaker.ask(query, role.value, variables)
            asked, refused = list(speaker.services.calls), list(speaker.services.refusals)
            speaker.services.calls.clear()
            speaker.services.refusals.clear()
            seen[root].append((code(answer) if "data" not in answer else None, asked, refused))
    assert seen["_entities"] == seen["patients"]
    assert all(len(asked) + len(refused) == 1 for _, asked, refused in seen["_entities"])


async def test_a_place_for_each_representation() -> None:
    """Answers stand in the order of the question; one who is not answered is null beside an error with the place."""
    services = FakeServices()
    async with speaking(services=services) as speaker:
        _, answer = await speaker.ask(entities("__typename id"), variables=of("x", "ann", "ann", "y"))
    assert services.calls == [Asked("read_many", frozenset(), ["x", "ann", "ann", "y"])]
    ann = {"__typename": "Patient", "id": "ann"}
    assert answer["data"] == {"_entities": [None, ann, ann, None]}
    assert [(error["path"], error["extensions"]["code"]) for error in answer["errors"]] == [
        (["_entities", 0], "NOT_FOUND"),
        (["_entities", 3], "NOT_FOUND"),
    ]


async def test_a_hundred_errors_are_enough() -> None:
    """A batch of strangers is answered in full, and does not repeat the same refusal for ever."""
    async with speaking() as speaker:
        _, answer = await speaker.ask(entities("id"), variables=of(*map(str, range(150))))
    assert answer["data"] == {"_entities": [None] * 150}
    assert [error["path"] for error in answer["errors"]] == [["_entities", place] for place in range(100)]


@pytest.mark.parametrize(
    "representation",
    [
        {},
        {"id": "ann"},
        {"__typename": "Patient"},
        {"__typename": "Patient", "id": None},
        {"__typename": "Patient", "id": 7},
        {"__typename": "Patient", "id": ["ann"]},
        {"__typename": "Viewer", "id": "ann"},
        {"__typename": ["Patient"], "id": "ann"},
        "ann",
        ["ann"],
        7,
    ],
    ids=repr,
)
async def test_what_represents_nobody(representation: Any) -> None:
    """It is refused by its place, without a word of it, and nothing is asked; so is the same in the document."""
    async with speaking() as speaker:
        _, answer = await speaker.ask(entities("id"), variables={"of": [of("ann")["of"][0], representation]})
        assert answer["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED", "field": "of.1"}
        assert "data" not in answer
        _, answer = await speaker.ask(
            '{ _entities(representations: [{__typename: "Viewer", id: "ann"}]) { __typename } }'
        )
        assert code(answer) == "GRAPHQL_VALIDATION_FAILED"
        assert "ann" not in str(answer)
        assert speaker.services.calls == []


async def test_too_many_at_once() -> None:
    """A batch has the limit of `patients`, and its refusal is on record with the number."""
    async with speaking() as speaker:
        _, answer = await speaker.ask(entities("id"), variables=of(*map(str, range(1_001))))
        assert answer["errors"][0]["extensions"] == {"code": "BATCH_TOO_LARGE", "limit": 1_000}
        assert speaker.services.refusals == [("BATCH_TOO_LARGE", "Join", "u-1, 1001 ids")]
        two = entities("id").replace("{ _entities", "{ a: _entities(representations: $of) { __typename } _entities")
        _, answer = await speaker.ask(two, variables=of(*map(str, range(501))))
        assert code(answer) == "QUERY_TOO_COSTLY"
        assert speaker.services.calls == []


@pytest.mark.parametrize("role", Role)
async def test_the_sdl_is_for_those_who_may_introspect(speaker: Speaker, role: Role) -> None:
    """It is the schema in another form, and closed with it; `__typename` of it as well."""
    for query in (SDL, "{ ...F } fragment F on Query { x: _service { __typename } }"):
        _, answer = await speaker.ask(query, role.value)
        if role is Role.OPERATOR:
            assert "errors" not in answer
        else:
            assert (code(answer), "data" in answer) == ("FORBIDDEN", False)


async def test_the_sdl_where_introspection_is_open() -> None:
    """Then everybody with a token may have it, and nobody without one."""
    async with speaking(Settings(open_introspection=True)) as speaker:
        _, answer = await speaker.ask(SDL)
        assert '@key(fields: "id")' in answer["data"]["_service"]["sdl"]
        assert (await speaker.post({"query": SDL}, role=None)).status_code == 401


# --- with records behind them ----------------------------------------------------------------------------------------


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counted(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[Client, CountingDatabase]]:
    """A client whose service counts the records it reads."""
    url, database = databases.create(shared_engine), CountingDatabase()
    async with client(url, tmp_path_factory.mktemp("counted"), database=database.around) as it:
        yield it, database
    databases.drop(url)


async def test_one_statement_and_an_event_for_each(counted: tuple[Client, CountingDatabase]) -> None:
    """However many are joined: one look-up of the records, and exactly what was shown of each on record."""
    it, database = counted
    ids = [str((await it.house.register({**WHOLE, "identifiers": []}))["id"]) for _ in range(3)]
    statements = []
    for asked in (ids[:1], [*ids, ids[0]]):
        database.forget()
        answer, leaves = await it.watched(entities("id displayName"), Role.FRONT_DESK, variables=of(*asked))
        assert [each["id"] for each in answer.json()["data"]["_entities"]] == asked
        assert [leaf["fld"] for leaf in leaves] == [["displayName"]] * len(set(asked))
        assert len({leaf["pat"] for leaf in leaves}) == len(set(asked))
        statements.append(database.statements)
    assert database.records == 3
    assert len(set(statements)) == 1


async def test_the_wall_stands_for_routers_too(counted: tuple[Client, CountingDatabase]) -> None:
    """A record of another organisation is as unknown as none at all; the attempt is on record, and nothing is said."""
    it, _ = counted
    ours = str((await it.house.register({**WHOLE, "identifiers": []}))["id"])
    for role, org in ((Role.FRONT_DESK, OTHER_ORG), (Role.PRIVACY_OFFICER, OTHER_ORG)):
        answer, leaves = await it.watched(
            entities("id displayName"), role, variables=of(ours, UNKNOWN), org=org, log=org
        )
        assert answer.json()["data"] == {"_entities": [None, None]}
        assert [error["extensions"]["code"] for error in answer.json()["errors"]] == ["NOT_FOUND", "NOT_FOUND"]
        assert {leaf["out"] for leaf in leaves} == {"denied"}
        assert WHOLE["preferred_name"] not in answer.text


async def test_nobody_and_the_wrong_role(counted: tuple[Client, CountingDatabase]) -> None:
    """Neither gets any data, no record is read, and both attempts are on record."""
    it, database = counted
    ours = str((await it.house.register({**WHOLE, "identifiers": []}))["id"])
    database.forget()
    answer = await it.ask(entities("displayName"), None, variables=of(ours))
    assert (answer.status_code, "data" in answer.json()) == (401, False)
    for role, why in ((Role.OPERATOR, "FORBIDDEN"), (Role.MESSAGING, "FORBIDDEN_FIELD")):
        answer, leaves = await it.watched(entities("contactPoints { value }"), role, variables=of(ours))
        assert (code(answer.json()), "data" in answer.json()) == (why, False)
        assert {(leaf["out"], leaf["why"]) for leaf in leaves} == {("denied", why)}
    assert database.records == 0


async def test_what_is_restricted_stays_so(counted: tuple[Client, CountingDatabase]) -> None:
    """A restricted record keeps from a router's caller what it keeps from everybody."""
    it, _ = counted
    hidden = await it.house.store({**WHOLE, "identifiers": [], "restricted": True})
    variables = of(hidden)
    found = await it.data(entities("displayName addresses { city }"), Role.FRONT_DESK, variables=variables)
    assert found["_entities"][0]["addresses"] is None
    found = await it.data(entities("displayName addresses { city }"), Role.PRIVACY_OFFICER, variables=variables)
    assert found["_entities"][0]["addresses"]
