"""Confidential communications, restrictions and related persons over HTTP, on both engines: what each change means."""

from datetime import UTC, datetime
from typing import Any

import pytest

from auth.roles import Role
from tests.asking import question, whole
from tests.client import Client
from tests.house import SAM
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PARTS = " ".join(map(whole, ("restrictions", "relatedPersons", "confidentialCommunication", "contactPoints")))
STATE = f"version restricted {_PARTS}"


async def change(
    served: Client,
    mutation: str,
    patient_id: str,
    version: int | None,
    role: Role = Role.PRIVACY_OFFICER,
    **values: Any,
) -> Any:
    """The raw answer to a mutation; personal roles are bound to the patient."""
    kind = f"{mutation[0].upper()}{mutation[1:]}Input"
    query = f"mutation C($input: {kind}!) {{ {mutation}(input: $input) {{ version }} }}"
    target = {"patientId": patient_id, **({} if version is None else {"expectedVersion": version})}
    bound = patient_id if role is Role.PATIENT else None
    return (await served.ask(query, role, variables={"input": target | values}, patient=bound)).json()


async def changed(served: Client, mutation: str, patient_id: str, version: int, **more: Any) -> dict[str, Any]:
    """The record after a change that must succeed, as an officer sees it."""
    answer = await change(served, mutation, patient_id, version, **more)
    assert "errors" not in answer, answer
    return await state(served, patient_id)


async def refusal(served: Client, mutation: str, patient_id: str, version: int | None, **more: Any) -> dict[str, Any]:
    """What a change that must fail says; nothing was changed by it."""
    before = await state(served, patient_id)
    [error] = (await change(served, mutation, patient_id, version, **more))["errors"]
    assert await state(served, patient_id) == before
    told: dict[str, Any] = error["extensions"]
    return told


async def state(served: Client, patient_id: str) -> dict[str, Any]:
    """The record as a privacy officer sees it."""
    found = await served.data(question(STATE), Role.PRIVACY_OFFICER, variables={"id": patient_id})
    result: dict[str, Any] = found["patient"]
    return result


async def sam(served: Client, **more: Any) -> str:
    """The id of a fresh patient without anything of this module."""
    return str((await served.house.register({**SAM, "identifiers": [], **more}))["id"])


# --- confidential communications -------------------------------------------------------------------------------------

SET, CLEAR = "setConfidentialCommunication", "clearConfidentialCommunication"


@pytest.mark.parametrize("role", [Role.PATIENT, Role.PRIVACY_OFFICER])
async def test_it_is_set_and_cleared(served: Client, role: Role) -> None:
    """The number in its normal form, whom and since when; cleared, it is gone; cleared again, nothing changes."""
    patient = await sam(served)
    new = {"channel": "SMS", "value": "07700 900777", "purposes": ["TEST_RESULT", "BILLING"], "language": "EN-gb"}
    after = await changed(served, SET, patient, 1, role=role, **new)
    found = after["confidentialCommunication"]
    now = datetime.now(UTC).isoformat()
    assert (found["channel"], found["value"], found["language"]) == ("SMS", "+447700900777", "en-GB")
    assert (found["purposes"], found["address"], found["withheld"]) == (["TEST_RESULT", "BILLING"], None, False)
    assert (found["setBy"], found["setAt"][:16]) == (f"{role.value}-1", now[:16])
    assert (await changed(served, CLEAR, patient, 2, role=role))["confidentialCommunication"] is None
    assert (await changed(served, CLEAR, patient, 3, role=role))["version"] == 3


async def test_a_new_end_has_a_new_id(served: Client) -> None:
    """What somebody said of one end does not speak of another; the same end again keeps its id, with a new time."""
    patient = await sam(served)
    letter = {"channel": "LETTER", "address": {"lines": ["9 Hidden Lane"], "city": "York"}}
    first = (await changed(served, SET, patient, 1, **letter))["confidentialCommunication"]
    again = (await changed(served, SET, patient, 2, **letter, purposes=["BILLING"]))["confidentialCommunication"]
    other = (await changed(served, SET, patient, 3, channel="PORTAL"))["confidentialCommunication"]
    assert (first["id"] == again["id"], first["setAt"] < again["setAt"]) == (True, True)
    assert (other["id"] == first["id"], other["address"]) == (False, None)


@pytest.mark.parametrize(
    ("end", "field", "rule"),
    [
        ({"channel": "SMS"}, "input.value", "missing"),
        ({"channel": "SMS", "value": "12"}, "input.value", "e164"),
        ({"channel": "EMAIL", "value": "nobody"}, "input.value", "email"),
        ({"channel": "LETTER", "value": "9 Hidden Lane"}, "input.address", "missing"),
        ({"channel": "PUSH"}, "input.channel", "unknown_code"),
    ],
)
async def test_an_end_that_leads_nowhere(served: Client, end: dict[str, Any], field: str, rule: str) -> None:
    """Refused with its place and its rule, and without the value."""
    told = await refusal(served, SET, await sam(served), 1, **end)
    assert told == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}


@pytest.mark.parametrize("mutation", [SET, CLEAR])
async def test_versions_of_a_confidential_communication(served: Client, mutation: str) -> None:
    """As for every change: the version is required, and has to be the present one."""
    patient, values = await sam(served), {"channel": "PORTAL"} if mutation == SET else {}
    assert (await refusal(served, mutation, patient, None, **values))["code"] == "VERSION_REQUIRED"
    told = await refusal(served, mutation, patient, 7, **values)
    assert told == {"code": "VERSION_CONFLICT", "currentVersion": 1}


async def test_no_other_mutation_writes_it(served: Client) -> None:
    """Not preferences, nor identity, nor a registration."""
    mutations: Any = ("updatePreferences", "updateIdentity", "registerPatient")
    for mutation in mutations:
        kind = f"{mutation[0].upper()}{mutation[1:]}Input"
        query = f"mutation C($input: {kind}!) {{ {mutation}(input: $input) {{ version }} }}"
        value = {"confidentialCommunication": {"channel": "PORTAL"}}
        answer = (await served.ask(query, Role.INTEGRATION, variables={"input": value})).json()
        assert [error["extensions"]["code"] for error in answer["errors"]] == ["VALIDATION_FAILED"]


# --- restrictions ----------------------------------------------------------------------------------------------------

RESTRICT, LIFT = "restrictRecord", "liftRestriction"


async def test_the_flag_follows_the_restrictions(served: Client) -> None:
    """True with the first of the record, and until the last of them is lifted; those stay as facts, with names."""
    patient = await sam(served)
    contact = await changed(served, RESTRICT, patient, 1, kind="CONTACT", basis="SELF_PAID", purposes=["BILLING"])
    assert contact["restricted"] is False
    await changed(served, RESTRICT, patient, 2, kind="RECORD", basis="COURT_ORDER")
    both = await changed(served, RESTRICT, patient, 3, kind="RECORD", basis="SAFEGUARDING")
    assert both["restricted"] is True
    first, court, danger = [each["id"] for each in both["restrictions"]]
    one = await changed(served, LIFT, patient, 4, restrictionId=court)
    assert one["restricted"] is True
    none = await changed(served, LIFT, patient, 5, restrictionId=danger)
    assert (none["restricted"], [each["id"] for each in none["restrictions"]]) == (False, [first, court, danger])
    assert [each["liftedBy"] for each in none["restrictions"]] == [None, "privacy_officer-1", "privacy_officer-1"]
    assert {each["placedBy"] for each in none["restrictions"]} == {"privacy_officer-1"}
    for restriction, rule in (
        (court, "already_lifted"),
        ("0199c0de-0000-7000-8000-000000000001", "unknown_restriction"),
    ):
        told = await refusal(served, LIFT, patient, 6, restrictionId=restriction)
        assert told == {"code": "VALIDATION_FAILED", "field": "input.restrictionId", "rule": rule}


async def test_what_is_told_to_others_of_a_restriction(served: Client) -> None:
    """Both fields have changed: whoever keeps a copy has to ask anew. The log marks the record from then on."""
    patient = await sam(served)
    query = """mutation C($input: RestrictRecordInput!) { restrictRecord(input: $input) { restricted } }"""
    values = {"patientId": patient, "expectedVersion": 1, "kind": "RECORD", "basis": "OBJECTION"}
    answer, [leaf] = await served.watched(query, Role.PRIVACY_OFFICER, variables={"input": values})
    assert answer.json()["data"]["restrictRecord"] == {"restricted": True}
    assert leaf["chg"] == ["restricted", "restrictions"]
    told = [row["changed"] for row in await served.house.outbox() if row["patient_id"] == patient]
    assert told[-1] == '["restricted","restrictions"]'
    _, [look] = await served.watched(question("displayName"), Role.CLINICIAN, variables={"id": patient})
    assert "restricted" in look["flg"]


@pytest.mark.parametrize(
    ("values", "field", "rule"),
    [
        ({"kind": "RECORD", "basis": "LAW", "channels": ["SMS"]}, "input.channels", "unknown_field"),
        ({"kind": "RECORD", "basis": "LAW", "until": "2126-01-01T00:00:00Z"}, "input.until", "unknown_field"),
        ({"kind": "CONTACT", "basis": "LAW", "until": "2020-01-01T00:00:00Z"}, "input.until", "period_order"),
        ({"kind": "CONTACT", "basis": "LAW", "purposes": ["SURVEY", "SURVEY"]}, "input.purposes", "duplicate"),
    ],
)
async def test_restrictions_that_make_no_sense(served: Client, values: dict[str, Any], field: str, rule: str) -> None:
    """One of the record has no scope and no end; one of contact does not end before it begins."""
    told = await refusal(served, RESTRICT, await sam(served), 1, **values)
    assert told == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}


async def test_a_patient_restricts_nobody(served: Client) -> None:
    """Scenario S5: not themself either; they ask a privacy officer."""
    patient = await sam(served)
    tries: dict[str, dict[str, Any]] = {
        RESTRICT: {"kind": "RECORD", "basis": "OBJECTION"},
        LIFT: {"restrictionId": "x"},
    }
    for mutation, values in tries.items():
        assert await refusal(served, mutation, patient, 1, role=Role.PATIENT, **values) == {"code": "FORBIDDEN"}


async def test_a_flag_that_nothing_explains(served: Client) -> None:
    """Of a record from before restrictions were kept: one placed beside it does not take it along when it is lifted."""
    patient = await served.house.store({**SAM, "identifiers": [], "restricted": True})
    after = await changed(served, RESTRICT, patient, 1, kind="RECORD", basis="COURT_ORDER")
    unexplained, court = after["restrictions"]
    assert (unexplained["basis"], unexplained["placedBy"]) == ("SOURCE_SYSTEM", "unrecorded")
    assert (await changed(served, LIFT, patient, 2, restrictionId=court["id"]))["restricted"] is True
    assert (await changed(served, LIFT, patient, 3, restrictionId=unexplained["id"]))["restricted"] is False


async def test_the_statement_of_a_restriction_is_erased(served: Client) -> None:
    """The record stays restricted, and can be opened again only by a restriction that says who lifted it."""
    patient = await sam(served)
    await changed(served, RESTRICT, patient, 1, kind="RECORD", basis="SAFEGUARDING")
    erase = "mutation E($input: ErasePatientInput!) { erasePatient(input: $input) { patientId } }"
    what = {"patientId": patient, "expectedVersion": 2, "classes": ["PREFERENCE"], "reason": "PATIENT_REQUEST"}
    await served.data(erase, Role.PRIVACY_OFFICER, variables={"input": what})
    found = await served.data(question("version restricted"), Role.PRIVACY_OFFICER, variables={"id": patient})
    assert found["patient"]["restricted"] is True
    version = found["patient"]["version"]
    after = await changed(served, RESTRICT, patient, version, kind="CONTACT", basis="OBJECTION")
    unexplained, _ = after["restrictions"]
    assert (after["restricted"], unexplained["placedBy"]) == (True, "unrecorded")
    opened = await changed(served, LIFT, patient, version + 1, restrictionId=unexplained["id"])
    assert opened["restricted"] is False


# --- related persons -------------------------------------------------------------------------------------------------

ADD, UPDATE, END = "addRelatedPerson", "updateRelatedPerson", "endRelatedPerson"
MARY: dict[str, Any] = {
    "name": "Mary Okafor",
    "relationship": "CHILD",
    "authority": "LASTING_POWER_OF_ATTORNEY",
    "contact": "INSTEAD",
    "purposes": ["APPOINTMENT_REMINDER"],
    "rank": 1,
    "period": {"start": "2024-01-01"},
    "contactPoints": [
        {"system": "PHONE", "value": "07700 900888", "use": "MOBILE"},
        {"system": "EMAIL", "value": "Mary@EXAMPLE.test"},
    ],
    "languages": [{"tag": "EN", "modes": ["SPOKEN"]}],
    "accessibleFormats": ["LARGE_PRINT"],
    "accessNeeds": [{"kind": "HEARING_LOOP"}],
}


async def with_mary(served: Client, role: Role = Role.FRONT_DESK) -> tuple[str, dict[str, Any]]:
    """The id of a fresh patient, version 2, and Mary, who was added to the record."""
    patient = await sam(served)
    [mary] = (await changed(served, ADD, patient, 1, role=role, relatedPerson=MARY))["relatedPersons"]
    return patient, mary


@pytest.mark.parametrize("role", [Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR, Role.PATIENT])
async def test_a_related_person_is_added(served: Client, role: Role) -> None:
    """In canonical form, with ids, unverified, and with needs of their own."""
    _, mary = await with_mary(served, role)
    assert {key: mary[key] for key in ("name", "relationship", "authority", "contact", "purposes", "rank")} == {
        key: MARY[key] for key in ("name", "relationship", "authority", "contact", "purposes", "rank")
    }
    assert [(each["value"], each["verified"], each["capabilities"]) for each in mary["contactPoints"]] == [
        ("+447700900888", False, ["VOICE", "SMS"]),
        ("Mary@example.test", False, []),
    ]
    assert [each["tag"] for each in mary["languages"]] == ["en"]
    assert [each["category"] for each in mary["accessNeeds"]] == ["COMMUNICATION_SUPPORT"]
    assert len({mary["id"], *(each["id"] for each in mary["contactPoints"])}) == 3


async def test_omitted_stays_null_clears(served: Client) -> None:
    """Members that are not named stay as they are, contact points with their ids."""
    patient, mary = await with_mary(served)
    values: dict[str, Any] = {"relationship": "CARER", "rank": None, "purposes": []}
    after = await changed(
        served, UPDATE, patient, 2, relatedPersonId=mary["id"], relatedPerson=values, role=Role.PATIENT
    )
    assert after["relatedPersons"] == [{**mary, "relationship": "CARER", "rank": None, "purposes": []}]


async def test_contact_points_keep_their_ids(served: Client) -> None:
    """With the id or without, while the number stays; a new number under an old id has to be verified anew."""
    values: dict[str, Any] = {**WHOLE["related_persons"][0]}
    number = {"system": "PHONE", "value": "+447700900888", "verification": {"status": "VERIFIED"}}
    values["contact_points"] = [number, *values["contact_points"]]
    patient = await served.house.store({"related_persons": [values]})
    [before] = (await state(served, patient))["relatedPersons"]
    phone, mailbox = before["contactPoints"]
    points = [
        {"system": "EMAIL", "value": "new@example.test", "id": mailbox["id"]},
        {"system": "PHONE", "value": "07700 900888", "voicemailOk": "NO"},
        {"system": "FAX", "value": "+442079460000"},
    ]
    person = {"relatedPersonId": before["id"], "relatedPerson": {"contactPoints": points}}
    [after] = (await changed(served, UPDATE, patient, 1, role=Role.FRONT_DESK, **person))["relatedPersons"]
    mail, same, fax = after["contactPoints"]
    assert (mail["id"], mail["value"], mail["verified"]) == (mailbox["id"], "new@example.test", False)
    assert (same["id"], same["verified"], same["voicemailOk"]) == (phone["id"], True, "NO")
    assert fax["id"] not in {phone["id"], mailbox["id"]}
    moved = {"contactPoints": [{"system": "PHONE", "value": "+447700900889", "id": phone["id"]}]}
    person = {"relatedPersonId": before["id"], "relatedPerson": moved}
    [after] = (await changed(served, UPDATE, patient, 2, role=Role.FRONT_DESK, **person))["relatedPersons"]
    assert [(each["id"], each["verified"]) for each in after["contactPoints"]] == [(phone["id"], False)]


async def test_a_role_ends(served: Client) -> None:
    """They stay as a fact, are contacted no more, and their period ends today; once more changes nothing."""
    patient, mary = await with_mary(served)
    after = await changed(served, END, patient, 2, role=Role.CLINICIAN, relatedPersonId=mary["id"])
    today = datetime.now(UTC).date().isoformat()
    ended = {**mary, "contact": "NONE", "period": {"start": "2024-01-01", "end": today}}
    assert after["relatedPersons"] == [ended]
    assert (await changed(served, END, patient, 3, role=Role.CLINICIAN, relatedPersonId=mary["id"]))["version"] == 3


@pytest.mark.parametrize(
    ("person", "field", "rule"),
    [
        ({"name": None}, "input.relatedPerson.name", "missing"),
        ({"rank": 0}, "input.relatedPerson.rank", "out_of_range"),
        ({"period": {"start": "2024", "end": "2023"}}, "input.relatedPerson.period", "period_order"),
        (
            {"contactPoints": [{"system": "PHONE", "value": "+447700900888"}, {"system": "EMAIL", "value": "x"}]},
            "input.relatedPerson.contactPoints.1.value",
            "email",
        ),
        (
            {"contactPoints": [{"system": "EMAIL", "value": "a@example.test", "id": "not-theirs"}]},
            "input.relatedPerson.contactPoints.0.id",
            "unknown_contact_point",
        ),
    ],
)
async def test_related_persons_who_are_refused(served: Client, person: dict[str, Any], field: str, rule: str) -> None:
    """With the place and the rule, and without the value."""
    patient, mary = await with_mary(served)
    values = {"relatedPersonId": mary["id"], "relatedPerson": person}
    told = await refusal(served, UPDATE, patient, 2, role=Role.FRONT_DESK, **values)
    assert told == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}


async def test_an_unknown_related_person(served: Client) -> None:
    """There is nothing to change or to end."""
    patient, _ = await with_mary(served)
    told = {"code": "VALIDATION_FAILED", "field": "input.relatedPersonId", "rule": "unknown_related_person"}
    nobody = {"relatedPersonId": "0199c0de-0000-7000-8000-000000000001"}
    assert await refusal(served, UPDATE, patient, 2, role=Role.FRONT_DESK, **nobody, relatedPerson={}) == told
    assert await refusal(served, END, patient, 2, role=Role.FRONT_DESK, **nobody) == told


async def test_more_people_than_there_is_room_for(served: Client) -> None:
    """Twenty, those whose role has ended among them."""
    crowd = [{"name": f"Person {number}", "relationship": "OTHER"} for number in range(20)]
    patient = await sam(served, related_persons=crowd)
    told = await refusal(served, ADD, patient, 1, role=Role.FRONT_DESK, relatedPerson=MARY)
    assert told == {"code": "VALIDATION_FAILED", "field": "input.relatedPersons", "rule": "too_many"}


async def test_on_a_restricted_record(served: Client) -> None:
    """Who may not see who is near the person may not replace them; the person may."""
    patient = await served.house.store({**WHOLE, "identifiers": [], "restricted": True})
    [stand_in] = (await state(served, patient))["relatedPersons"]
    values = {"relatedPersonId": stand_in["id"], "relatedPerson": {"rank": 3}}
    for role in (Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR):
        assert (await refusal(served, UPDATE, patient, 1, role=role, **values))["code"] == "RESTRICTED_RECORD"
    after = await changed(served, UPDATE, patient, 1, role=Role.PATIENT, **values)
    assert after["relatedPersons"] == [{**stand_in, "rank": 3}]
