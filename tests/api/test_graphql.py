"""GraphQL from the wire to the database and back, on both engines, with real keys, the real policy and the real log."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from schema.app import create_app
from schema.settings import Settings
from tests.house import ORG, House, house
from tests.speaking import Tokens, code, ready

REGISTER = """mutation Register($input: RegisterPatientInput!) { registerPatient(input: $input) { id version } }"""
PROFILE = """query Profile($id: ID!) { patient(id: $id) {
  id version displayName preferredName pronouns birthDate timeZone interpreterNeeded communicationStyle instructions
  legalName { given family } names { use text family given prefix suffix period { start end } }
  languages { tag modes rank } accessibleFormats accessNeeds { kind text }
  culturalNeeds { kind handling detail } religion religionCode
  contactPoints { system value use rank capabilities verified textPermitted period { start } }
  addresses { use lines city postalCode country } channelPreferences { purpose channels }
  contactWindows { days from to timeZone quiet } appointmentPreferences { times days clinicianGender }
  caseManager { name organisation } careTeam sensitivity identifiers { system value use type { code } }
  administrativeGender deceased active restricted recordedAt updatedAt
  provenance { group source recordedBy recordedAt }
} }"""

WHOLE: dict[str, Any] = {
    "preferredName": "Zoë",
    "names": [{"use": "OFFICIAL", "family": "Ngũgĩ", "given": ["Zoë", "Wanjirũ"], "period": {"start": "2019-05"}}],
    "birthDate": "1990-02",
    "pronouns": "she/her",
    "administrativeGender": "FEMALE",
    "active": True,
    "languages": [{"tag": "sw", "modes": ["SPOKEN", "WRITTEN"], "rank": 1}, {"tag": "bfi", "modes": ["SIGNED"]}],
    "interpreterNeeded": "YES",
    "accessibleFormats": ["LARGE_PRINT"],
    "culturalNeeds": [{"kind": "DIET", "handling": "No pork in meals or medicines.", "detail": "Religious reasons."}],
    "religion": "Muslim",
    "contactPoints": [
        {"system": "PHONE", "value": "+447700900123", "use": "MOBILE", "rank": 1, "textPermitted": "YES"},
        {"system": "EMAIL", "value": "zoe@example.org", "rank": 2},
    ],
    "addresses": [
        {"use": "HOME", "lines": ["1 High Street"], "city": "Leeds", "postalCode": "LS1 1AA", "country": "GB"}
    ],
    "channelPreferences": [{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS", "EMAIL"]}],
    "contactWindows": [
        {"days": ["MON", "FRI"], "from": "18:00", "to": "01:00", "timeZone": "Europe/London", "quiet": False},
        {"days": ["FRI"], "from": "20:00", "to": "24:00", "timeZone": "Africa/Nairobi", "quiet": True},
    ],
    "timeZone": "Europe/London",
    "communicationStyle": "PLAIN_LANGUAGE",
    "instructions": "Ring twice.\nThen wait.",
    "appointmentPreferences": {"times": ["MORNING"], "days": ["TUE"], "clinicianGender": "FEMALE"},
    "caseManager": {"name": "Pat Doe", "organisation": "North Clinic"},
    "careTeam": ["nurse-7"],
    "sensitivity": ["CELEBRITY"],
    "identifiers": [{"system": "urn:example:hospital-number", "value": "H-7", "use": "USUAL", "type": {"code": "MR"}}],
}


class Client:
    """Speaks GraphQL to a real service."""

    def __init__(self, http: httpx.AsyncClient, it: House) -> None:
        self._http = http
        self.house = it

    async def ask(self, query: str, role: str = "front_desk", **variables: Any) -> dict[str, Any]:
        """The body of an answer."""
        headers = {"authorization": f"Bearer {role}"}
        if not query.startswith("mutation"):  # of which each would have to be another one
            headers["x-request-id"] = "req-1"
        response = await self._http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)
        answer: dict[str, Any] = response.json()
        return answer

    async def register(self, values: Mapping[str, Any] = WHOLE) -> str:
        """The id of a new patient."""
        answer = await self.ask(REGISTER, "integration", input=values)
        assert "errors" not in answer, answer
        return str(answer["data"]["registerPatient"]["id"])


@asynccontextmanager
async def speaking_to(url: str, folder: Path) -> AsyncIterator[Client]:
    """A client of a whole service on the database at `url`."""
    async with house(url, folder) as it:
        app = create_app(it.services, Tokens(), Settings(), ready)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://heed.test") as http:
            yield Client(http, it)


def holds(found: Any, given: Any) -> bool:
    """Whether an answer holds everything that was given; it may hold more (ids, nulls, defaults)."""
    if isinstance(given, dict):
        return isinstance(found, dict) and all(key in found and holds(found[key], given[key]) for key in given)
    if isinstance(given, list):
        return isinstance(found, list) and len(found) == len(given) and all(map(holds, found, given))
    return bool(found == given)


async def test_a_whole_record_reads_back(database_url: str, tmp_path: Path) -> None:
    """Everything that can be submitted is stored sealed and answered as it was given."""
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register()
        answer = await client.ask(PROFILE, "clinician", id=patient_id)
        assert "errors" not in answer, answer
        profile = answer["data"]["patient"]
        assert holds(profile, {**WHOLE, "id": patient_id, "version": 1, "displayName": "Zoë", "restricted": False})
        assert profile["legalName"] == {"given": ["Zoë", "Wanjirũ"], "family": "Ngũgĩ"}
        assert {entry["source"] for entry in profile["provenance"]} == {"test-client"}
        assert profile["recordedAt"].endswith("Z")


async def test_a_look_is_recorded_by_name_of_operation(database_url: str, tmp_path: Path) -> None:
    """The officer sees who looked at what and why, under the names that the query used; and that they looked."""
    query = """query ($id: ID!) { accessEvents(filter: { patientId: $id }) { edges { node {
      action outcome actor { subject roles } purposeOfUse patientId operation requestId
      fieldsReturned fieldsRefused policyRules } } } }"""
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register()
        await client.ask("query Desk($id: ID!) { patient(id: $id) { displayName languages { tag } } }", id=patient_id)
        await client.ask("query Pry($id: ID!) { patient(id: $id) { displayName religion } }", id=patient_id)
        answer = await client.ask(query, "compliance_officer", id=patient_id)
        events = {event["node"]["operation"]: event["node"] for event in answer["data"]["accessEvents"]["edges"]}
        assert events["Desk"] == {
            "action": "read", "outcome": "OK", "actor": {"subject": "u-1", "roles": ["FRONT_DESK"]},
            "purposeOfUse": "PATADMIN", "patientId": patient_id, "operation": "Desk", "requestId": "req-1",
            "fieldsReturned": ["displayName", "languages"], "fieldsRefused": [], "policyRules": ["front_desk/PATADMIN"],
        }  # fmt: skip
        assert (events["Pry"]["outcome"], events["Pry"]["fieldsReturned"]) == ("DENIED", [])
        assert events["Pry"]["fieldsRefused"] == ["religion"]
        again = await client.ask(query, "compliance_officer", id=patient_id)
        assert again["data"]["accessEvents"]["edges"][0]["node"]["action"] == "audit.read"


async def test_changes_and_conflicts(database_url: str, tmp_path: Path) -> None:
    """Omitted stays, null clears, lists are replaced; without the right version nothing happens."""
    update = """mutation ($input: UpdatePreferencesInput!) { updatePreferences(input: $input) {
      version instructions timeZone languages { tag } } }"""
    async with speaking_to(database_url, tmp_path) as client:
        target = {"patientId": await client.register()}
        change = {**target, "expectedVersion": 1, "timeZone": None, "languages": [{"tag": "en"}]}
        answer = await client.ask(update, input=change)
        assert answer["data"]["updatePreferences"] == {
            "version": 2, "instructions": "Ring twice.\nThen wait.", "timeZone": None, "languages": [{"tag": "en"}],
        }  # fmt: skip
        again = await client.ask(update, input=change)
        told = {"currentVersion": 2, "changedFields": ["languages", "timeZone"]}
        assert again["errors"][0]["extensions"] == {"code": "VERSION_CONFLICT", **told}
        assert code(await client.ask(update, input=target)) == "VERSION_REQUIRED"
        wrong = await client.ask(update, input={**target, "expectedVersion": 2, "timeZone": "Europe/Nowhere"})
        assert wrong["errors"][0]["extensions"] == {
            "code": "VALIDATION_FAILED", "field": "input.timeZone", "rule": "time_zone",
        }  # fmt: skip
        absent = await client.ask(update, input={"patientId": "nobody", "expectedVersion": 1})
        assert code(absent) == "NOT_FOUND"


async def test_contact_points(database_url: str, tmp_path: Path) -> None:
    """One is added, changed and retired by its id; the record's version counts each."""
    points = "version contactPoints { id system value use verified period { end } }"
    add = f"mutation ($input: AddContactPointInput!) {{ addContactPoint(input: $input) {{ {points} }} }}"
    update = f"mutation ($input: UpdateContactPointInput!) {{ updateContactPoint(input: $input) {{ {points} }} }}"
    retire = f"mutation ($input: RetireContactPointInput!) {{ retireContactPoint(input: $input) {{ {points} }} }}"
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register({"preferredName": "Sam"})
        target = {
            "patientId": patient_id,
            "expectedVersion": 1,
            "contactPoint": {"system": "EMAIL", "value": "a@example.org"},
        }
        added = (await client.ask(add, input=target))["data"]["addContactPoint"]
        point = added["contactPoints"][0]
        assert (added["version"], point["value"], point["verified"]) == (2, "a@example.org", False)
        target |= {"expectedVersion": 2, "contactPointId": point["id"], "contactPoint": {"value": "b@example.org"}}
        changed = (await client.ask(update, input=target))["data"]["updateContactPoint"]
        assert [each["value"] for each in changed["contactPoints"]] == ["b@example.org"]
        target |= {"expectedVersion": 3}
        del target["contactPoint"]
        retired = (await client.ask(retire, input=target))["data"]["retireContactPoint"]
        assert (retired["version"], retired["contactPoints"][0]["use"]) == (4, "OLD")
        assert retired["contactPoints"][0]["period"]["end"]


@pytest.mark.parametrize(
    "by",
    [
        {"phone": "+44 7700 900123"},
        {"email": "zoe@example.org"},
        {"fullName": "Zoë Ngũgĩ"},
        {"identifier": {"system": "urn:example:hospital-number", "value": "H-7"}},
    ],
    ids=lambda by: next(iter(by)),
)
async def test_searches(database_url: str, tmp_path: Path, by: dict[str, Any]) -> None:
    """A patient is found by what is unique, in a connection, and the term stays out of the log."""
    query = """query Find($by: PatientSearch!) { searchPatients(by: $by) {
      edges { node { id displayName } cursor } pageInfo { hasNextPage endCursor } } }"""
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register()
        answer = await client.ask(query, by=by)
        assert "errors" not in answer, answer
        edges = answer["data"]["searchPatients"]["edges"]
        assert [edge["node"] for edge in edges] == [{"id": patient_id, "displayName": "Zoë"}]
        assert answer["data"]["searchPatients"]["pageInfo"] == {"hasNextPage": False, "endCursor": edges[0]["cursor"]}
        assert code(await client.ask(query, by={**by, "familyName": "x"})) == "VALIDATION_FAILED"


async def test_a_patient_reads_their_own_record_and_no_other(database_url: str, tmp_path: Path) -> None:
    """Another's record is as absent as one that does not exist."""
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register()
        other = await client.ask("query ($id: ID!) { patient(id: $id) { id } }", "patient", id=patient_id)
        absent = await client.ask("query ($id: ID!) { patient(id: $id) { id } }", "patient", id="nobody")
        assert other == absent
        assert code(other) == "NOT_FOUND"
        assert (
            code(await client.ask("{ me { id } }", "patient")) == "NOT_FOUND"
        )  # the token is bound to no stored record


async def test_batches_and_identifiers(database_url: str, tmp_path: Path) -> None:
    """Input order is kept, doubles are answered twice, and who is not there is refused in place."""
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register()
        query = """query ($ids: [ID!]!) { patients(ids: $ids) {
          ... on Patient { id displayName } ... on Refusal { id code } } }"""
        answer = await client.ask(query, ids=[patient_id, "nobody", patient_id])
        found = {"id": patient_id, "displayName": "Zoë"}
        assert answer["data"]["patients"] == [found, {"id": "nobody", "code": "NOT_FOUND"}, found]
        query = "query ($s: String!, $v: String!) { patientByIdentifier(system: $s, value: $v) { id } }"
        answer = await client.ask(query, s="urn:example:hospital-number", v="H-7")
        assert answer["data"]["patientByIdentifier"] == {"id": patient_id}
        assert code(await client.ask(query, s="urn:example:hospital-number", v="H-8")) == "NOT_FOUND"


async def test_the_officer_sees_masks(database_url: str, tmp_path: Path) -> None:
    """What the policy grants masked comes masked, and keeps its shape."""
    query = "query ($id: ID!) { patient(id: $id) { displayName contactPoints { id value verified } } }"
    async with speaking_to(database_url, tmp_path) as client:
        patient_id = await client.register()
        answer = await client.ask(query, "compliance_officer", id=patient_id)
        assert "errors" not in answer, answer
        patient = answer["data"]["patient"]
        assert patient["displayName"] not in {None, "Zoë"}
        assert len(patient["contactPoints"]) == 2
        assert "7700900" not in str(patient)


async def test_attempts_without_a_token_are_recorded(database_url: str, tmp_path: Path) -> None:
    """They belong to no organisation, so no officer of one sees them; but they are there."""
    async with speaking_to(database_url, tmp_path) as client:
        assert code(await client.ask("{ viewer { org } }", "forged")) == "UNAUTHENTICATED"
        assert [event["reason"] for event in await client.house.events("_")] == ["signature"]
        assert await client.house.events(ORG) == []
