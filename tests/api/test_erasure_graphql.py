"""Erasure through GraphQL: the receipt, the answers afterwards, and what is refused."""

from datetime import datetime
from typing import Any

import pytest

from auth.roles import Role
from crm.crypto.note import open_note
from crm.errors import Tampered
from tests.asking import EVERYTHING, question
from tests.client import Client
from tests.house import ORG
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

RECEIPT = """patientId classes whole reason erasedAt ledgerSeq ledgerHash effectiveInCopiesAt waitsFor indexWaitsFor
    dueAt note verifierKey"""
ERASE = f"mutation Erase($input: ErasePatientInput!) {{ erasePatient(input: $input) {{ {RECEIPT} }} }}"
RECEIPTS = f"query Receipts($id: ID!) {{ erasureReceipts(patientId: $id) {{ {RECEIPT} }} }}"
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"
CLASSES = ["IDENTITY", "CONTACT", "PREFERENCE", "SENSITIVE"]


async def whole(served: Client) -> str:
    """The id of a patient with a value in every field, version 1."""
    return str((await served.house.register(WHOLE))["id"])


async def erase(served: Client, patient_id: str, **more: Any) -> dict[str, Any]:
    """The receipt."""
    given = {"input": {"patientId": patient_id, "expectedVersion": 1, **more}}
    found = await served.data(ERASE, Role.PRIVACY_OFFICER, variables=given)
    return dict(found["erasePatient"])


async def receipts(served: Client, patient_id: str) -> list[dict[str, Any]]:
    """All receipts of the patient, as a compliance officer sees them."""
    found = await served.data(RECEIPTS, Role.COMPLIANCE_OFFICER, variables={"id": patient_id})
    return list(found["erasureReceipts"])


def told(receipt: dict[str, Any]) -> dict[str, Any]:
    """The receipt without its note, which says as of when it was written."""
    return {name: value for name, value in receipt.items() if name != "note"}


async def test_a_whole_patient(served: Client) -> None:
    """The receipt says what, why and when, its place in the ledger, and what older copies still wait for."""
    patient_id = await whole(served)
    receipt = await erase(served, patient_id)
    assert receipt["patientId"] == patient_id
    assert (receipt["whole"], receipt["reason"]) == (True, "PATIENT_REQUEST")
    assert sorted(receipt["classes"]) == sorted(CLASSES)
    assert datetime.fromisoformat(receipt["erasedAt"]).tzinfo is not None
    assert receipt["ledgerSeq"] >= 1
    assert len(bytes.fromhex(receipt["ledgerHash"])) == 32
    assert receipt["effectiveInCopiesAt"] is None
    assert len(receipt["waitsFor"]) == len(set(receipt["waitsFor"])) >= len(CLASSES)
    assert receipt["indexWaitsFor"] != []
    assert [told(each) for each in await receipts(served, patient_id)] == [told(receipt)]


async def test_the_note_on_a_receipt_is_signed(served: Client) -> None:
    """Whoever knows the organisation's key opens the notes of now and later, and reads the same facts in them."""
    patient_id = await whole(served)
    receipt = await erase(served, patient_id, reason="NO_LONGER_NEEDED")
    verifier_key = served.house.services.erasures.verifier_key(ORG)
    assert verifier_key is not None
    for each in (receipt, *await receipts(served, patient_id)):
        assert each["verifierKey"] == verifier_key
        lines = open_note(each["note"], verifier_key).splitlines()
        assert f"patient: {patient_id}" in lines
        assert f"in the live service since: {receipt['erasedAt']}" in lines
        assert f"ledger entry: {receipt['ledgerSeq']} {receipt['ledgerHash']}" in lines
        assert any(line.startswith("reason: NO_LONGER_NEEDED") for line in lines)
        with pytest.raises(Tampered):
            open_note(each["note"].replace(patient_id, UNKNOWN), verifier_key)


async def test_what_an_erased_patient_answers(served: Client) -> None:
    """ERASED wherever the id is named, once more for a second erasure; in searches there is nobody."""
    patient_id = await whole(served)
    await erase(served, patient_id)
    named = {"id": patient_id}
    answer, [leaf] = await served.watched(question(EVERYTHING), Role.CLINICIAN, variables=named)
    assert answer.json()["data"] == {"patient": None}
    assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": "ERASED"}]
    assert (leaf["out"], leaf["why"]) == ("denied", "ERASED")
    batch = "query B($id: ID!) { patients(ids: [$id]) { ... on Patient { displayName } ... on Refusal { id code } } }"
    found = await served.data(batch, Role.CLINICIAN, variables=named)
    assert found["patients"] == [{"id": patient_id, "code": "ERASED"}]
    change = """mutation C($id: ID!) {
        updatePreferences(input: {patientId: $id, expectedVersion: 2, preferredName: "Back"}) { version } }"""
    assert await served.codes(change, Role.FRONT_DESK, variables=named) == ["ERASED"]
    again = {"input": {"patientId": patient_id, "expectedVersion": 2}}
    assert await served.codes(ERASE, Role.PRIVACY_OFFICER, variables=again) == ["ERASED"]
    assert len(await receipts(served, patient_id)) == 1


@pytest.mark.parametrize(
    "by", ['phone: "+447700900321"', 'identifier: {system: "urn:example:hospital-number", value: "H-7781"}']
)
async def test_a_search_does_not_find_who_was_erased(served: Client, by: str) -> None:
    """Found before, not after."""
    patient_id = await whole(served)
    query = f"query S {{ searchPatients(by: {{{by}}}, first: 100) {{ edges {{ node {{ id }} }} }} }}"

    async def found() -> set[str]:
        edges = (await served.data(query))["searchPatients"]["edges"]
        return {edge["node"]["id"] for edge in edges}

    assert patient_id in await found()
    await erase(served, patient_id)
    assert patient_id not in await found()


async def test_a_class_alone(served: Client) -> None:
    """Its fields answer ERASED one by one, the rest of the record stands; filled anew, a field answers again."""
    patient_id = await whole(served)
    receipt = await erase(served, patient_id, classes=["SENSITIVE"], reason="CONSENT_WITHDRAWN")
    assert (receipt["whole"], receipt["classes"], receipt["reason"]) == (False, ["SENSITIVE"], "CONSENT_WITHDRAWN")
    asked = question("version displayName religion administrativeGender culturalNeeds { handling kind detail }")
    answer, [leaf] = await served.watched(asked, Role.CLINICIAN, variables={"id": patient_id})
    assert answer.status_code == 200
    assert answer.json()["data"]["patient"] == {
        "version": 2,
        "displayName": "Zoe",
        "religion": None,
        "administrativeGender": None,
        "culturalNeeds": [{"handling": "Ask before serving.", "kind": None, "detail": None}],
    }
    errors = answer.json()["errors"]
    assert {error["extensions"]["code"] for error in errors} == {"ERASED"}
    assert sorted(".".join(map(str, error["path"])) for error in errors) == [
        "patient.administrativeGender",
        "patient.culturalNeeds.0.detail",
        "patient.culturalNeeds.0.kind",
        "patient.religion",
    ]
    assert (leaf["out"], leaf["why"], leaf["fld"]) == ("partial", "ERASED", ["culturalNeeds.handling", "displayName"])
    change = """mutation C($id: ID!) {
        updatePreferences(input: {patientId: $id, expectedVersion: 2, religion: "Stoic"}) { religion } }"""
    found = await served.data(change, Role.CLINICIAN, variables={"id": patient_id})
    assert found["updatePreferences"] == {"religion": "Stoic"}
    assert [each["classes"] for each in await receipts(served, patient_id)] == [["SENSITIVE"]]


async def test_one_erasure_after_another(served: Client) -> None:
    """Each has its receipt, in order; what was destroyed earlier is named again by the last."""
    patient_id = await whole(served)
    first = await erase(served, patient_id, classes=["CONTACT", "PREFERENCE"])
    second = await erase(served, patient_id, expectedVersion=2)
    assert sorted(first["classes"]) == ["CONTACT", "PREFERENCE"]
    assert (second["whole"], sorted(second["classes"])) == (True, sorted(CLASSES))
    assert second["ledgerSeq"] > first["ledgerSeq"]
    assert [told(each) for each in await receipts(served, patient_id)] == [told(first), told(second)]


@pytest.mark.parametrize(
    ("more", "extensions"),
    [
        ({"expectedVersion": None}, {"code": "VERSION_REQUIRED"}),
        ({"expectedVersion": 7}, {"code": "VERSION_CONFLICT", "currentVersion": 1}),
        ({"patientId": UNKNOWN}, {"code": "NOT_FOUND"}),
        ({"patientId": UNKNOWN, "expectedVersion": 7}, {"code": "NOT_FOUND"}),
        ({"classes": []}, {"code": "VALIDATION_FAILED", "field": "input.classes", "rule": "nothing_to_erase"}),
    ],
)
async def test_what_is_refused(served: Client, more: dict[str, Any], extensions: dict[str, Any]) -> None:
    """Typed, recorded as an attempt to erase, and nothing is erased or announced."""
    patient_id = await whole(served)
    before = len(await served.house.outbox())
    given = {"input": {"patientId": patient_id, "expectedVersion": 1, **more}}
    answer, [leaf] = await served.watched(ERASE, Role.PRIVACY_OFFICER, variables=given)
    assert [error["extensions"] for error in answer.json()["errors"]] == [extensions]
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("erase", "denied", extensions["code"])
    found = await served.data(question("version displayName"), variables={"id": patient_id})
    assert found["patient"] == {"version": 1, "displayName": "Zoe"}
    assert await receipts(served, patient_id) == []
    assert len(await served.house.outbox()) == before


@pytest.mark.parametrize(
    "more", [{"reason": None}, {"reason": "He asked nicely"}, {"classes": ["ALL"]}, {"classes": [None]}]
)
async def test_what_does_not_fit_the_schema(served: Client, more: dict[str, Any]) -> None:
    """Reasons and classes are closed lists; a reason may be left out, but is never nothing."""
    patient_id = await whole(served)
    given = {"input": {"patientId": patient_id, "expectedVersion": 1, **more}}
    assert await served.codes(ERASE, Role.PRIVACY_OFFICER, variables=given) == ["VALIDATION_FAILED"]
    assert await receipts(served, patient_id) == []


async def test_a_reason_that_is_left_out_in_the_document(served: Client) -> None:
    """The default holds for literals as for variables."""
    patient_id = await whole(served)
    query = """mutation E($id: ID!) {
        erasePatient(input: {patientId: $id, expectedVersion: 1, classes: [CONTACT]}) { reason classes } }"""
    found = await served.data(query, Role.PRIVACY_OFFICER, variables={"id": patient_id})
    assert found["erasePatient"] == {"reason": "PATIENT_REQUEST", "classes": ["CONTACT"]}


async def test_no_receipts(served: Client) -> None:
    """Nothing was erased: an empty list for a patient who is there, NOT_FOUND for one who is not."""
    assert await receipts(served, await whole(served)) == []
    assert await served.codes(RECEIPTS, Role.COMPLIANCE_OFFICER, variables={"id": UNKNOWN}) == ["NOT_FOUND"]


async def test_who_erased_and_why_is_recorded(served: Client) -> None:
    """One event with the reason, the paths and the rule; the ledger's own record of it is on the receipt."""
    patient_id = await whole(served)
    given = {"input": {"patientId": patient_id, "expectedVersion": 1, "reason": "UNLAWFUL"}}
    _, [leaf] = await served.watched(ERASE, Role.PRIVACY_OFFICER, variables=given, subject="officer-7")
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("erase", "ok", "UNLAWFUL")
    assert (leaf["who"]["sub"], leaf["pol"]["d"]) == ("officer-7", ["privacy_officer/RECORDMGT"])
    assert {"religion", "contactPoints", "names", "languages"} <= set(leaf["chg"])
    _, [seen] = await served.watched(RECEIPTS, Role.COMPLIANCE_OFFICER, variables={"id": patient_id})
    assert (seen["act"], seen["out"]) == ("read", "ok")
    changed = [entry for entry in await served.house.outbox() if entry["patient_id"] == patient_id]
    assert len(changed) == 2
