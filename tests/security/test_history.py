"""Former versions are guarded as the present one is: by the policy of now, restrictions, organisations and seals."""

from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.audit.event import Act
from crm.catalogue import BY_PATH
from tests.asking import question, whole
from tests.client import Client
from tests.house import OTHER_ORG, REQUEST, actor
from tests.people import WHOLE
from tests.scene import SECRETS, Scene
from tests.security.test_restricted_record import CELLS, FIELDS, ROWS

pytestmark = pytest.mark.asyncio(loop_scope="module")

MAY = {
    (Role.CLINICIAN, Purpose.TREAT),
    (Role.PATIENT, Purpose.PATRQT),
    (Role.COMPLIANCE_OFFICER, Purpose.HCOMPL),
    (Role.PRIVACY_OFFICER, Purpose.HCOMPL),
    (Role.PRIVACY_OFFICER, Purpose.RECORDMGT),
    (Role.INTEGRATION, Purpose.RECORDMGT),
}
"""Who may see former versions, written by hand."""

HISTORY = "query H($id: ID!) { history(patientId: $id) { edges { node { version changedFields by { subject } } } } }"
FIRST = "query F($id: ID!) { patient(id: $id, asOfVersion: 1) { id version recordedAt } }"


async def changed(served: Client, patient: str, version: int, **fields: str) -> None:
    """One change by a role that may change everything."""
    said = ", ".join(f'{name}: "{value}"' for name, value in fields.items())
    query = f"""mutation C($id: ID!, $version: Int!) {{
      updatePreferences(input: {{ patientId: $id, expectedVersion: $version, {said} }}) {{ version }} }}"""
    await served.data(query, Role.INTEGRATION, variables={"id": patient, "version": version})


def parts(name: str) -> tuple[Role, Purpose]:
    """The role and the purpose of a row's name."""
    role, _, purpose = name.partition("/")
    return Role(role), Purpose(purpose)


async def zoe(served: Client) -> str:
    """Somebody who was something else before."""
    patient = str((await served.house.register({**WHOLE, "identifiers": []}))["id"])
    await changed(served, patient, 1, preferredName="Neu", timeZone="UTC")
    return patient


@pytest.mark.parametrize("query", [HISTORY, FIRST])
@pytest.mark.parametrize("name", ROWS)
async def test_who_may_see_former_versions(served: Client, name: str, query: str) -> None:
    """Every role for every purpose: answered and recorded, or refused before any row is read, and recorded as that."""
    role, purpose = parts(name)
    patient = await zoe(served)
    answer, [leaf] = await served.watched(
        query,
        role,
        variables={"id": patient},
        purpose=purpose,
        patient=patient if role in PERSONAL else None,
    )
    body = answer.json()
    if (role, purpose) in MAY:
        assert "errors" not in body, body
        assert (leaf["out"], leaf["why"]) == ("ok", "HISTORY")
    else:
        assert "data" not in body
        assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"]
        assert (leaf["act"], leaf["out"], "pat" in leaf) == ("read", "denied", True)


@pytest.mark.parametrize("query", [HISTORY, FIRST])
async def test_nobody_strangers_and_other_patients(served: Client, query: str) -> None:
    """Without a token; of another organisation; as somebody else: the same as for a record that does not exist."""
    patient = await zoe(served)
    other = str((await served.house.register({"preferred_name": "Yan"}))["id"])
    variables = {"id": patient}
    assert await served.codes(query, None, variables=variables) == ["UNAUTHENTICATED"]
    assert await served.codes(query, Role.CLINICIAN, variables=variables, org=OTHER_ORG) == ["NOT_FOUND"]
    assert await served.codes(query, Role.PATIENT, variables=variables, patient=other) == ["NOT_FOUND"]
    answer, [leaf] = await served.watched(query, Role.PATIENT, variables=variables, patient=other)
    assert (leaf["out"], leaf["why"]) == ("denied", "NOT_FOUND")
    assert not any(secret in answer.text for secret in SECRETS)
    assert await served.codes(query, Role.CLINICIAN, variables={"id": "nobody"}) == ["NOT_FOUND"]


@pytest.mark.parametrize(("then", "now"), [(True, False), (False, True)])
@pytest.mark.parametrize("name", [f"{role}/{purpose}" for role, purpose in sorted(MAY)])
async def test_a_restriction_of_then_or_of_now_withholds(served: Client, name: str, then: bool, now: bool) -> None:
    """Field by field as the table of restricted records has it, whether the restriction came or went since."""
    role, purpose = parts(name)
    patient = await served.house.store({**WHOLE, "identifiers": [], "restricted": then})
    await restrict(served, patient, now)
    own = patient if role is Role.PATIENT else None
    allowed = [field for cell, field, mark in CELLS if cell == name and mark != "."]
    truth = (await served.data(_then(allowed), Role.PRIVACY_OFFICER, variables={"id": patient}))["patient"]
    for _, field, mark in (cell for cell in CELLS if cell[0] == name):
        answer, [leaf] = await served.watched(
            _then([field]), role, variables={"id": patient}, purpose=purpose, patient=own
        )
        if mark == ".":
            assert "data" not in answer.json(), field
            continue
        unseen = mark == "~" and field == "confidentialCommunication"  # nobody shall learn since when there is one
        shown = answer.json()["data"]["patient"][field]
        fits = {"+": shown == truth[field], "-": shown is None, "~": shown not in (None, truth[field])}
        assert fits["-" if unseen else mark], field
        assert "restricted" in leaf["flg"]


def _then(fields: list[str]) -> str:
    return question(" ".join(map(whole, fields))).replace("id: $id", "id: $id, asOfVersion: 1")


async def restrict(served: Client, patient: str, restricted: bool) -> None:
    """Stores the flag itself, as no mutation does."""
    async with served.house.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.UPDATE) as unit:
        record = (await unit.load_for_change([patient]))[patient]
        unit.change(record, {"restricted": restricted}, "test")


async def test_names_of_changed_fields_are_told_as_the_fields_are(served: Client) -> None:
    """Only what the caller may read: not to a masked reader what is used unseen, nor where a restriction withholds."""
    patient = await zoe(served)
    await restrict(served, patient, True)
    for role, purpose in sorted(MAY):
        who = {"purpose": purpose, "patient": patient if role is Role.PATIENT else None}
        data = await served.data(HISTORY, role, variables={"id": patient}, **who)
        told = {path for edge in data["history"]["edges"] for path in edge["node"]["changedFields"]}
        name = f"{role}/{purpose}"
        marks = {field: mark for cell, field, mark in CELLS if cell == name}
        for field, mark in marks.items():
            hidden = mark in ".-" or (mark == "~" and field == "confidentialCommunication")
            assert (field in told) is not hidden, (name, field)
        assert told <= BY_PATH.keys()
    assert set(marks) == set(FIELDS.values())


async def test_nobody_learns_when_something_unseen_was_set(served: Client) -> None:
    """Neither by the field in two versions nor by who made one: staff see that there was one more, and its time."""
    patient = str((await served.house.register({"preferred_name": "Sam"}))["id"])
    query = """mutation S($id: ID!) { setConfidentialCommunication(input: {
      patientId: $id, expectedVersion: 1, channel: EMAIL, value: "quiet@example.test" }) { version } }"""
    await served.data(query, Role.PATIENT, variables={"id": patient}, patient=patient)
    asked = """query A($id: ID!) { history(patientId: $id, first: 1) { edges { node {
      version action changedFields source channel by { subject } patient { confidentialCommunication { withheld } }
    } } } }"""
    told = {}
    for role in (Role.CLINICIAN, Role.COMPLIANCE_OFFICER, Role.PRIVACY_OFFICER):
        data = await served.data(asked, role, variables={"id": patient})
        told[role] = data["history"]["edges"][0]["node"]
    nothing: dict[str, Any] = {"action": None, "changedFields": [], "source": None, "channel": None, "by": None}
    unseen = {"version": 2, **nothing, "patient": {"confidentialCommunication": None}}
    assert told[Role.CLINICIAN] == told[Role.COMPLIANCE_OFFICER] == unseen
    assert told[Role.PRIVACY_OFFICER]["changedFields"] == ["confidentialCommunication"]
    assert told[Role.PRIVACY_OFFICER]["by"] == {"subject": "patient-1"}


EDITS = {
    "restricted then": "UPDATE patient_version SET restricted = 1 - restricted WHERE version = 1",
    "restricted now": "UPDATE patient SET restricted = 1",
    "status then": "UPDATE patient_version SET status = 'merged' WHERE version = 1",
    "a class fewer then": """UPDATE patient_version SET classes = '["identity"]' WHERE version = 1""",
    "a row less": "DELETE FROM sealed_version WHERE key_class = 'preference'",
    "no rows": "DELETE FROM sealed_version",
    "another provenance": "UPDATE sealed_version SET provenance = '{}' WHERE key_class = 'identity'",
    "another version": "UPDATE sealed_version SET version = 2 WHERE key_class = 'preference'",
    "cells of now": """UPDATE sealed_version SET (cells, seal) = (SELECT cells, seal FROM sealed_row
      WHERE sealed_row.patient_id = sealed_version.patient_id AND sealed_row.key_class = sealed_version.key_class)""",
    "no seal": "UPDATE sealed_version SET seal = NULL",
}


@pytest.mark.parametrize("edit", EDITS)
async def test_an_edited_history_is_no_answer(scene: Scene, edit: str) -> None:
    """After each of these edits the first version is not answered, neither with values nor as if it were empty."""
    patient = await scene.person()
    await scene.change(patient, 1)
    asked = "preferredName timeZone pronouns contactPoints { value }"
    query = f"query T($id: ID!) {{ patient(id: $id, asOfVersion: 1) {{ {asked} }} }}"
    assert "Zoe" in (await scene.it.ask(query, Role.PRIVACY_OFFICER, variables={"id": patient})).text
    statement = EDITS[edit]
    where = "AND" if " WHERE version" in statement or " WHERE key_class" in statement else "WHERE"
    mine = "id" if statement.startswith("UPDATE patient SET") else "patient_id"
    await scene.intruder.run(f"{statement} {where} {mine} = ?", patient)
    await scene.incident(query, patient, Role.PRIVACY_OFFICER)


async def test_a_row_of_another_patient_is_no_answer(scene: Scene) -> None:
    """Former rows are bound to their patient as present ones are."""
    one, other = await scene.person(), await scene.person()
    for patient in (one, other):
        await scene.change(patient, 1)
    await scene.intruder.run("DELETE FROM sealed_version WHERE patient_id = ?", one)
    await scene.intruder.run("UPDATE sealed_version SET patient_id = ? WHERE patient_id = ?", one, other)
    query = "query T($id: ID!) { patient(id: $id, asOfVersion: 1) { preferredName } }"
    await scene.incident(query, one, Role.PRIVACY_OFFICER)


@pytest.mark.parametrize("table", ["patient_version", "sealed_version"])
async def test_what_is_kept_shows_no_value(scene: Scene, table: str) -> None:
    """Nothing that anybody entered stands in clear in a row of history."""
    patient = await scene.person()
    await scene.change(patient, 1)
    await scene.change(patient, 2)
    rows: list[tuple[Any, ...]] = await scene.intruder.run(f"SELECT * FROM {table} WHERE patient_id = ?", patient)
    assert rows
    text = " ".join(part.decode("latin-1") if isinstance(part, bytes) else str(part) for row in rows for part in row)
    assert not any(secret in text for secret in SECRETS if secret != "New")
