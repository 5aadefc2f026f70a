"""History over GraphQL: a record as it was at a time and in a version, and who made each of its versions."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from auth.roles import Role
from crm.audit.event import Act, rfc3339
from tests.client import Client
from tests.house import REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERSIONS = """query Versions($id: ID!, $first: Int, $after: String) {
  history(patientId: $id, first: $first, after: $after) {
    edges { cursor node { version recordedAt action changedFields source channel by { subject roles yourself } } }
    pageInfo { hasNextPage hasPreviousPage endCursor } } }"""
THEN = """query Then($id: ID!, $at: DateTime, $version: Int) {
  patient(id: $id, asOf: $at, asOfVersion: $version) { id version preferredName timeZone updatedAt } }"""


async def changed(served: Client, patient: str, version: int, fields: str, role: Role = Role.FRONT_DESK) -> None:
    """One change of preferences."""
    query = f"""mutation C($id: ID!, $version: Int!) {{
      updatePreferences(input: {{ patientId: $id, expectedVersion: $version, {fields} }}) {{ version }} }}"""
    own = {"patient": patient} if role is Role.PATIENT else {}
    await served.data(query, role, variables={"id": patient, "version": version}, **own)


async def sam(served: Client) -> str:
    """Somebody with three versions: registered by a feed, changed by the front desk, and then by themselves."""
    patient = str((await served.house.register({"preferred_name": "Sam", "time_zone": "UTC"}))["id"])
    await changed(served, patient, 1, 'timeZone: "Africa/Nairobi"')
    await changed(served, patient, 2, 'preferredName: "Samira", timeZone: "Europe/Paris"', Role.PATIENT)
    return patient


async def history(served: Client, patient: str, role: Role = Role.PRIVACY_OFFICER, **more: Any) -> list[dict[str, Any]]:
    """The nodes of the first page."""
    own = {"patient": patient} if role is Role.PATIENT else {}
    data = await served.data(VERSIONS, role, variables={"id": patient, **more}, **own)
    return [edge["node"] for edge in data["history"]["edges"]]


async def test_who_changed_what_and_from_which_source(served: Client) -> None:
    """Each version with its time, fields, author, application and channel; the newest first."""
    nodes = await history(served, await sam(served))
    assert [node["version"] for node in nodes] == [3, 2, 1]
    assert [node["action"] for node in nodes] == ["update", "update", "create"]
    assert [node["changedFields"] for node in nodes] == [
        ["preferredName", "timeZone"],
        ["timeZone"],
        ["preferredName", "timeZone"],
    ]
    assert [node["by"]["roles"] for node in nodes] == [["PATIENT"], ["FRONT_DESK"], ["INTEGRATION"]]
    assert [node["by"]["subject"] for node in nodes] == ["patient-1", "front_desk-1", "u-1"]
    assert [node["channel"] for node in nodes] == ["api"] * 3
    assert nodes[2]["source"] == "test-client"
    times = [node["recordedAt"] for node in nodes]
    assert times == sorted(times, reverse=True)


async def test_a_patient_sees_their_own_history(served: Client) -> None:
    """Which of them were themselves; of members of staff the role and not the name."""
    nodes = await history(served, await sam(served), Role.PATIENT)
    assert [(node["by"]["subject"], node["by"]["yourself"]) for node in nodes] == [
        ("patient-1", True),
        (None, False),
        (None, False),
    ]


async def test_page_by_page(served: Client) -> None:
    """Every version once, whatever the size of the page; a cursor that was never given out is refused."""
    patient = await sam(served)
    seen, after = [], None
    for more in (True, True, False):
        variables = {"id": patient, "first": 1, "after": after}
        page = (await served.data(VERSIONS, Role.CLINICIAN, variables=variables))["history"]
        seen += [edge["node"]["version"] for edge in page["edges"]]
        assert page["pageInfo"]["hasNextPage"] is more
        after = page["pageInfo"]["endCursor"]
    assert seen == [3, 2, 1]
    wrong = {"id": patient, "after": "bm8"}
    assert await served.codes(VERSIONS, Role.CLINICIAN, variables=wrong) == ["VALIDATION_FAILED"]


async def test_the_record_as_it_was_at_a_time(served: Client) -> None:
    """What was the newest at that moment, to the microsecond; before there was a record: nothing is found."""
    patient = await sam(served)
    nodes = (await history(served, patient))[::-1]
    starts = [datetime.fromisoformat(node["recordedAt"]) for node in nodes]
    said = []
    for start in (starts[1] - timedelta(microseconds=1), starts[1], starts[2]):
        variables = {"id": patient, "at": start.isoformat()}
        found = (await served.data(THEN, Role.CLINICIAN, variables=variables))["patient"]
        said.append((found["version"], found["preferredName"], found["timeZone"]))
    assert said == [(1, "Sam", "UTC"), (2, "Sam", "Africa/Nairobi"), (3, "Samira", "Europe/Paris")]
    before = {"id": patient, "at": (starts[0] - timedelta(seconds=1)).isoformat()}
    assert await served.codes(THEN, Role.CLINICIAN, variables=before) == ["NOT_FOUND"]


async def test_a_change_that_waited_has_the_time_at_which_its_turn_came(served: Client) -> None:
    """Whoever was answered as of a moment while it waited is answered the same afterwards."""
    patient, store = str((await served.house.register({"preferred_name": "Sam"}))["id"]), served.house.services.store
    async with store.writing(REQUEST.context(actor(Role.FRONT_DESK)), Act.UPDATE, [patient]) as unit:
        await unit.load_for_change([patient])
        waiting = asyncio.create_task(changed(served, patient, 1, 'preferredName: "Ada"'))
        await asyncio.sleep(0.2)
        moment = rfc3339(store.clock())
    await waiting
    asked = {"id": patient, "at": moment}
    assert (await served.data(THEN, Role.CLINICIAN, variables=asked))["patient"]["preferredName"] == "Sam"


async def test_the_record_as_it_was_in_a_version(served: Client) -> None:
    """By number, with its time; each look leaves one event, which names the version and the fields."""
    patient = await sam(served)
    answer, [leaf] = await served.watched(THEN, Role.CLINICIAN, variables={"id": patient, "version": 1})
    found = answer.json()["data"]["patient"]
    assert (found["version"], found["preferredName"], found["timeZone"]) == (1, "Sam", "UTC")
    assert found["updatedAt"] == (await history(served, patient))[2]["recordedAt"]
    assert (leaf["obj"][0]["ver"], leaf["fld"]) == (1, ["preferredName", "timeZone", "updatedAt"])
    assert (leaf["act"], leaf["why"]) == ("read", "HISTORY")


@pytest.mark.parametrize(
    ("asked", "field", "rule"),
    [
        ({"at": "2999-01-01T00:00:00Z"}, "asOf", "in_the_future"),
        ({"at": "yesterday"}, "asOf", "date_time"),
        ({"version": 4}, "asOfVersion", "unknown_version"),
        ({"version": 0}, "asOfVersion", "unknown_version"),
        ({"version": 1, "at": "2026-01-01T00:00:00Z"}, "asOfVersion", "one_of"),
    ],
)
async def test_moments_that_are_none(served: Client, asked: dict[str, Any], field: str, rule: str) -> None:
    """A time to come, a version that there is not, and both at once are the caller's mistake."""
    variables = {"id": await sam(served), **asked}
    [error] = (await served.ask(THEN, Role.CLINICIAN, variables=variables)).json()["errors"]
    told = error["extensions"]
    assert (told["code"], told["field"], told["rule"]) == ("VALIDATION_FAILED", field, rule)


async def test_each_version_of_a_page_as_it_was(served: Client) -> None:
    """With `patient`, every version is opened and has an event of its own."""
    patient = await sam(served)
    query = """query Page($id: ID!) { history(patientId: $id, first: 2) {
      edges { node { version patient { version preferredName } } } } }"""
    answer, leaves = await served.watched(query, Role.PRIVACY_OFFICER, variables={"id": patient})
    nodes = [edge["node"] for edge in answer.json()["data"]["history"]["edges"]]
    assert nodes == [
        {"version": 3, "patient": {"version": 3, "preferredName": "Samira"}},
        {"version": 2, "patient": {"version": 2, "preferredName": "Sam"}},
    ]
    assert [(leaf["obj"][0]["ver"], leaf["fld"]) for leaf in leaves] == [(3, ["preferredName"]), (2, ["preferredName"])]
    assert len({leaf["pat"] for leaf in leaves}) == 1


async def test_erased_fields_and_patients(served: Client) -> None:
    """A class that was erased answers ERASED in every version before; a patient who was, in all of them."""
    patient = str((await served.house.register({"pronouns": "they/them", "preferred_name": "Sam"}))["id"])
    erase = """mutation E($id: ID!, $version: Int!, $classes: [KeyClass!]) { erasePatient(input: {
      patientId: $id, expectedVersion: $version, classes: $classes, reason: CONSENT_WITHDRAWN }) { whole } }"""
    variables = {"id": patient, "version": 1, "classes": ["SENSITIVE"]}
    await served.data(erase, Role.PRIVACY_OFFICER, variables=variables)
    query = "query T($id: ID!) { patient(id: $id, asOfVersion: 1) { pronouns preferredName } }"
    answer = (await served.ask(query, Role.PRIVACY_OFFICER, variables={"id": patient})).json()
    assert answer["data"]["patient"] == {"pronouns": None, "preferredName": "Sam"}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["ERASED"]
    await served.data(erase, Role.PRIVACY_OFFICER, variables={"id": patient, "version": 2})
    for question in (query, VERSIONS):
        assert await served.codes(question, Role.PRIVACY_OFFICER, variables={"id": patient}) == ["ERASED"]
