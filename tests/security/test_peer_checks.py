"""The behaviour checks that a FHIR server with GraphQL was put to, asked of this service: `docs/peer-checks.md` tells.

Twenty at a time, as they were there. The numbers in the tests' names are those of the page.
"""

from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from graphql import GraphQLInputObjectType, get_named_type

from auth.roles import Role
from schema.sdl import build_schema
from tests.asking import question
from tests.client import Client
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMES = 20

UPDATE = """mutation U($id: ID!, $version: Int!, $name: String) {
  updatePreferences(input: {patientId: $id, expectedVersion: $version, preferredName: $name}) { version } }"""
BY_PHONE = "query S($phone: String!) { searchPatients(by: {phone: $phone}) { edges { node { id } } } }"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zoe(served: Client) -> str:
    """A patient with a value in every field."""
    return str((await served.house.register({**WHOLE, "identifiers": []}))["id"])


async def outcomes(served: Client, query: str, role: Role | None, **more: Any) -> list[tuple[str, str]]:
    """Action and outcome of each event that twenty requests left, each with an id of its own."""
    found: list[tuple[str, str]] = []
    for _ in range(TIMES):
        _, leaves = await served.watched(query, role, **more)
        found += [(leaf["act"], leaf["out"]) for leaf in leaves]
    return found


async def test_1_reads_and_changes(served: Client) -> None:
    """Twenty reads and twenty changes leave twenty events each."""
    patient_id = str((await served.house.register())["id"])
    reads = await outcomes(served, question("displayName"), Role.FRONT_DESK, variables={"id": patient_id})
    assert reads == [("read", "ok")] * TIMES
    for version in range(1, TIMES + 1):
        variables = {"id": patient_id, "version": version, "name": f"Sam {version}"}
        _, leaves = await served.watched(UPDATE, variables=variables)
        assert [(leaf["act"], leaf["out"]) for leaf in leaves] == [("update", "ok")]


async def test_2_searches_and_lists(served: Client) -> None:
    """A search leaves an event of its own and one for each hit; a list of a hundred leaves a hundred."""
    phone = "+447700900" + str(uuid4().int)[:3]
    values = {**WHOLE, "identifiers": [], "contact_points": [{"system": "PHONE", "value": phone, "use": "MOBILE"}]}
    await served.house.register(values)
    found = await outcomes(served, BY_PHONE, Role.FRONT_DESK, variables={"phone": phone})
    assert found == [("query", "ok")] * (2 * TIMES)
    ids = [str((await served.house.register())["id"]) for _ in range(100)]
    query = "query L($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { displayName } } }"
    _, leaves = await served.watched(query, variables={"ids": ids})
    assert len({leaf["pat"] for leaf in leaves}) == len(leaves) == 100


async def test_3_denials(served: Client, zoe: str) -> None:
    """Reads of nobody, reads that the policy forbids, and bad tokens: each attempt is on record."""
    missing = await outcomes(served, question("displayName"), Role.FRONT_DESK, variables={"id": str(uuid4())})
    assert missing == [("read", "denied")] * TIMES
    forbidden = await outcomes(served, question("religion"), Role.FRONT_DESK, variables={"id": zoe})
    assert forbidden == [("read", "denied")] * TIMES
    bad = {"authorization": "Bearer a.b.c"}
    attempts = await outcomes(served, question("id"), None, variables={"id": zoe}, headers=bad, log="_")
    assert attempts == [("login", "denied")] * TIMES


async def test_4_a_narrow_role_is_recorded_all_the_same(served: Client, zoe: str) -> None:
    """Recording is no right that a caller could lack."""
    found = await outcomes(served, question("displayName"), Role.MESSAGING, variables={"id": zoe})
    assert found == [("read", "ok")] * TIMES


async def test_5_nobody_writes_an_event_in_anothers_name(served: Client) -> None:
    """No mutation takes an event, an actor or a time of recording; who did it comes from the token alone."""
    mutation = build_schema().mutation_type
    assert mutation is not None
    taken = {
        name
        for field in mutation.fields.values()
        for argument in field.args.values()
        if isinstance(kind := get_named_type(argument.type), GraphQLInputObjectType)
        for name in kind.fields
    }
    assert not taken & {"actor", "subject", "recordedAt", "requestedBy", "reviewedBy", "event", "events", "outcome"}


async def test_6_nobody_changes_or_removes_an_event(served: Client) -> None:
    """There is no mutation for it; what the database itself refuses is in `test_log_is_append_only`."""
    mutation = build_schema().mutation_type
    assert mutation is not None
    assert not [name for name in mutation.fields if "event" in name.lower() or "audit" in name.lower()]


async def test_9_a_hidden_field_is_refused(served: Client, zoe: str) -> None:
    """The whole question is refused, with nothing of the record, also of what the caller may see."""
    answer = (await served.ask(question("displayName religion"), variables={"id": zoe})).json()
    assert "data" not in answer
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["FORBIDDEN_FIELD"]


@pytest.mark.parametrize("role", [Role.MESSAGING, Role.COMPLIANCE_OFFICER, Role.PROXY])
async def test_10_a_hidden_field_cannot_be_searched_by(served: Client, zoe: str, role: Role) -> None:
    """Neither a hit nor its absence is told: right and wrong numbers are answered alike."""
    right, wrong = [
        (await served.ask(BY_PHONE, role, variables={"phone": phone}, patient=zoe)).json()
        for phone in ("+447700900321", "+447700900999")
    ]
    assert right == wrong
    assert "data" not in right


async def test_11_a_change_is_no_oracle(served: Client, zoe: str) -> None:
    """Writing a value that one may not read tells nothing about the stored one: right and wrong are refused alike."""
    change = """mutation M($id: ID!, $value: String) { updateIdentity(
      input: {patientId: $id, expectedVersion: 1, religion: $value}) { version } }"""
    right, wrong = [
        (await served.ask(change, variables={"id": zoe, "value": value})).json() for value in ("Quietist", "Other")
    ]
    assert right == wrong
    assert right["errors"]


async def test_12_a_value_cannot_be_copied(served: Client, zoe: str) -> None:
    """A change takes literal values only, and its answer is held to the same rights: refused, it changes nothing."""
    change = """mutation M($id: ID!) { updatePreferences(
      input: {patientId: $id, expectedVersion: 1, preferredName: "Copy"}) { religion } }"""
    assert await served.codes(change, variables={"id": zoe}) == ["FORBIDDEN_FIELD"]
    profile = await served.data(question("version preferredName"), variables={"id": zoe})
    assert profile["patient"] == {"version": 1, "preferredName": "Zoe"}


async def test_13_and_14_what_is_hidden_outlives_a_change(served: Client) -> None:
    """Hidden fields stay as they are when somebody changes others, and so do hidden parts of what is changed."""
    patient_id = str((await served.house.register({**WHOLE, "identifiers": []}))["id"])
    asked = question("religion birthDate culturalNeeds { id kind handling detail }")
    before = (await served.data(asked, Role.CLINICIAN, variables={"id": patient_id}))["patient"]
    [need] = before["culturalNeeds"]
    change = """mutation M($id: ID!, $need: ID!) { updatePreferences(input: {patientId: $id, expectedVersion: 1,
      preferredName: "Zed", culturalNeeds: [{id: $need, handling: "Ask first."}]}) { version } }"""
    assert await served.codes(change, variables={"id": patient_id, "need": need["id"]}) == []
    after = (await served.data(asked, Role.CLINICIAN, variables={"id": patient_id}))["patient"]
    assert after == {**before, "culturalNeeds": [{**need, "handling": "Ask first."}]}
