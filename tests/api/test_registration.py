"""Registering patients over HTTP, on both engines: what is stored, what is answered, what is refused."""

from typing import Any

import pytest

from auth.roles import Role
from crm.audit.event import rfc3339
from tests.asking import EVERYTHING, question, whole
from tests.client import Client
from tests.house import ORG, now
from tests.people import OF_THEIR_OWN, WHOLE, camel

pytestmark = pytest.mark.asyncio(loop_scope="module")

REGISTER = "mutation Register($input: RegisterPatientInput!) { registerPatient(input: $input) { id version } }"


async def test_a_front_desk_registers(served: Client) -> None:
    """Version 1, one event with the fields written, one outbox row; the record reads back."""
    values = {"preferredName": "Mo", "birthDate": "1979-11", "interpreterNeeded": "UNKNOWN"}
    before = rfc3339(now())
    answer, [leaf] = await served.watched(REGISTER, variables={"input": values})
    patient = answer.json()["data"]["registerPatient"]
    assert patient["version"] == 1
    assert (leaf["act"], leaf["out"], leaf["chg"]) == (
        "create",
        "ok",
        ["birthDate", "interpreterNeeded", "preferredName"],
    )
    assert ("fld" in leaf, leaf["obj"]) == (False, [{"t": "Patient", "ver": 1}])
    [row] = [row for row in await served.house.outbox() if row["patient_id"] == patient["id"]]
    assert (row["version"], row["changed"]) == (1, '["birth_date","interpreter_needed","preferred_name"]')
    asked = question("preferredName birthDate interpreterNeeded restricted recordedAt updatedAt")
    found = (await served.data(asked, variables={"id": patient["id"]}))["patient"]
    assert before <= found.pop("recordedAt") == found.pop("updatedAt") <= rfc3339(now())
    assert found == {**values, "restricted": False}


async def test_everything_at_once(served: Client) -> None:
    """A value in every field that has a place in a registration, answered by the registration itself."""
    values = {name: value for name, value in WHOLE.items() if name not in OF_THEIR_OWN}
    query = f"mutation($input: RegisterPatientInput!) {{ registerPatient(input: $input) {{ {EVERYTHING} }} }}"
    answer = (await served.data(query, Role.INTEGRATION, variables={"input": camel(values)}))["registerPatient"]
    assert {name for name, value in answer.items() if value is None} == set(camel(dict.fromkeys(OF_THEIR_OWN)))
    found = await served.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": answer["id"]})
    assert found["patient"] == answer


async def test_a_record_about_whom_nothing_is_known(served: Client) -> None:
    """An empty registration is a record: someone came in who could not be asked yet."""
    found = await served.data(REGISTER, variables={"input": {}})
    asked = question(f"{whole('displayName')} version {whole('names')} {whole('provenance')}")
    patient = (await served.data(asked, variables={"id": found["registerPatient"]["id"]}))["patient"]
    assert patient["version"] == 1
    assert (patient["names"], patient["provenance"]) == (None, [])


@pytest.mark.parametrize(
    ("values", "field", "rule"),
    [
        ({"contactPoints": [{"system": "PHONE", "value": "1"}]}, "input.contactPoints.0.value", "e164"),
        ({"birthDate": "yesterday"}, "input.birthDate", "date"),
        ({"names": [{"given": ["A"], "use": "USUAL"}, {}]}, "input.names.1", "empty"),
    ],
)
async def test_bad_values_store_nothing(served: Client, values: dict[str, Any], field: str, rule: str) -> None:
    """One bad value refuses the whole record, with its path; the attempt is recorded without a patient."""
    before = len(await served.house.outbox())
    answer, [leaf] = await served.watched(REGISTER, variables={"input": {"preferredName": "No", **values}})
    assert answer.json()["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}
    assert (leaf["act"], leaf["out"], leaf["why"], "pat" in leaf) == ("create", "denied", "VALIDATION_FAILED", False)
    assert len(await served.house.outbox()) == before


async def test_what_is_answered_must_be_readable(served: Client) -> None:
    """A registration whose answer the role may not read is refused before anything is stored."""
    before = len(await served.house.outbox())
    query = "mutation($input: RegisterPatientInput!) { registerPatient(input: $input) { id religion } }"
    answer, [leaf] = await served.watched(query, variables={"input": {"preferredName": "No"}})
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN_FIELD", "field": "religion"}
    assert (leaf["out"], leaf["fld"]) == ("denied", ["religion"])
    assert len(await served.house.outbox()) == before


async def test_two_of_one_name_are_two(served: Client) -> None:
    """Registering the same person twice makes two records: recognising people is not done behind a clerk's back."""
    ids = {(await served.data(REGISTER, variables={"input": {"preferredName": "Twin"}}))["registerPatient"]["id"]
           for _ in range(2)}  # fmt: skip
    assert len(ids) == 2
    assert len(await served.house.leaves(org=ORG, act="create")) >= 2
