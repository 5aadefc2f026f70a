"""Legal holds through GraphQL: what places, lifts and shows them, what they leave alone, and what is recorded."""

from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import Role
from tests.asking import question
from tests.client import Client
from tests.house import OTHER_ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE = "id patientId reason placedBy placedAt liftedBy liftedAt"
PLACE = f"mutation Place($input: PlaceLegalHoldInput!) {{ placeLegalHold(input: $input) {{ {WHOLE} }} }}"
LIFT = f"mutation Lift($input: LiftLegalHoldInput!) {{ liftLegalHold(input: $input) {{ {WHOLE} }} }}"
SHOW = f"query Show($id: ID!) {{ legalHolds(patientId: $id) {{ {WHOLE} }} }}"
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"
REASONS = ("LITIGATION", "INVESTIGATION", "REGULATOR", "RETENTION_DUTY")


async def place(served: Client, patient_id: str, reason: str = "LITIGATION", **who: Any) -> dict[str, Any]:
    """A new hold."""
    given = {"input": {"patientId": patient_id, "reason": reason}}
    found: dict[str, Any] = await served.data(PLACE, who.pop("role", Role.COMPLIANCE_OFFICER), variables=given, **who)
    return dict(found["placeLegalHold"])


async def lift(served: Client, patient_id: str, hold_id: str, **who: Any) -> dict[str, Any]:
    """The hold after its end."""
    given = {"input": {"patientId": patient_id, "holdId": hold_id}}
    found: dict[str, Any] = await served.data(LIFT, who.pop("role", Role.COMPLIANCE_OFFICER), variables=given, **who)
    return dict(found["liftLegalHold"])


async def shown(served: Client, patient_id: str, **who: Any) -> list[dict[str, Any]]:
    """All holds on the patient."""
    found = await served.data(SHOW, Role.COMPLIANCE_OFFICER, variables={"id": patient_id}, **who)
    return list(found["legalHolds"])


async def test_a_hold_from_its_beginning_to_its_end(served: Client) -> None:
    """Placed by one person, lifted by another: who, when and why stay readable afterwards."""
    patient = await served.house.register()
    placed = await place(served, patient["id"], "INVESTIGATION", subject="officer-1")
    assert (
        placed.items()
        >= {
            "patientId": patient["id"],
            "reason": "INVESTIGATION",
            "placedBy": "officer-1",
            "liftedBy": None,
            "liftedAt": None,
        }.items()
    )
    assert await shown(served, patient["id"]) == [placed]
    lifted = await lift(served, patient["id"], placed["id"], role=Role.PRIVACY_OFFICER, subject="officer-2")
    assert lifted == {**placed, "liftedBy": "officer-2", "liftedAt": lifted["liftedAt"]}
    assert lifted["liftedAt"] > placed["placedAt"]
    assert await shown(served, patient["id"]) == [lifted]


@pytest.mark.parametrize("reason", REASONS)
async def test_every_reason(served: Client, reason: str) -> None:
    """The closed list of reasons, by a privacy officer in either purpose."""
    patient = await served.house.register()
    for purpose in (Purpose.RECORDMGT, Purpose.HCOMPL):
        placed = await place(served, patient["id"], reason, role=Role.PRIVACY_OFFICER, purpose=purpose)
        assert placed["reason"] == reason
    assert len(await shown(served, patient["id"])) == 2


async def test_there_is_no_room_for_free_text(served: Client) -> None:
    """A reason in words would be a value about the person: it does not fit the schema, and is not repeated."""
    patient = await served.house.register()
    given = {"input": {"patientId": patient["id"], "reason": "suing over the knee"}}
    answer = await served.ask(PLACE, Role.COMPLIANCE_OFFICER, variables=given)
    [error] = answer.json()["errors"]
    assert error["extensions"] == {"code": "VALIDATION_FAILED", "field": "input.reason"}
    assert "knee" not in answer.text
    assert await shown(served, patient["id"]) == []


async def test_holds_stand_side_by_side(served: Client) -> None:
    """Two cases, two holds, in the order of placing; the end of one leaves the other."""
    patient = await served.house.register()
    first, second = await place(served, patient["id"]), await place(served, patient["id"], "REGULATOR")
    lifted = await lift(served, patient["id"], first["id"])
    assert await shown(served, patient["id"]) == [lifted, second]


async def test_the_record_stays_as_it_is(served: Client) -> None:
    """Version, times, content and what others are told of are the same before, during and after a hold."""
    patient = await served.house.register()
    asked = question("version updatedAt displayName contactPoints { value }")

    async def seen() -> Any:
        return await served.data(asked, variables={"id": patient["id"]}), len(await served.house.outbox())

    before = await seen()
    placed = await place(served, patient["id"])
    assert await seen() == before
    await lift(served, patient["id"], placed["id"])
    assert await seen() == before


async def test_a_held_record_can_still_be_changed(served: Client) -> None:
    """A hold keeps from erasure, and from nothing else."""
    patient = await served.house.register()
    await place(served, patient["id"])
    change = "mutation C($i: UpdatePreferencesInput!) { updatePreferences(input: $i) { version displayName } }"
    given = {"i": {"patientId": patient["id"], "expectedVersion": 1, "preferredName": "Ada"}}
    found = await served.data(change, variables=given)
    assert found["updatePreferences"] == {"version": 2, "displayName": "Ada"}


async def test_what_cannot_be_lifted(served: Client) -> None:
    """A second time, another patient's, and what never was: told by the rule, and none of it changes anything."""
    patient, other = await served.house.register(), await served.house.register()
    placed, foreign = await place(served, patient["id"]), await place(served, other["id"])
    lifted = await lift(served, patient["id"], placed["id"])
    for hold_id, rule in (
        (placed["id"], "already_lifted"),
        (foreign["id"], "unknown_hold"),
        (UNKNOWN, "unknown_hold"),
        ("", "unknown_hold"),
    ):
        given = {"input": {"patientId": patient["id"], "holdId": hold_id}}
        answer, [leaf] = await served.watched(LIFT, Role.PRIVACY_OFFICER, variables=given)
        [error] = answer.json()["errors"]
        assert error["extensions"] == {"code": "VALIDATION_FAILED", "field": "input.holdId", "rule": rule}
        assert answer.json()["data"] == {"liftLegalHold": None}
        assert (leaf["act"], leaf["out"], leaf["why"]) == ("release", "denied", "VALIDATION_FAILED")
    assert await shown(served, patient["id"]) == [lifted]
    assert await shown(served, other["id"]) == [foreign]


@pytest.mark.parametrize(
    ("query", "act"), [(PLACE, "hold"), (LIFT, "release"), (SHOW, "read")], ids=["place", "lift", "show"]
)
async def test_an_unknown_patient(served: Client, query: str, act: str) -> None:
    """Never there, or in another organisation: one and the same answer."""
    foreign = (await served.house.register(org=OTHER_ORG))["id"]
    answers = []
    for patient_id in (UNKNOWN, foreign, "no-uuid"):
        given = {PLACE: {"reason": "REGULATOR"}, LIFT: {"holdId": UNKNOWN}}.get(query, {})
        variables = {"id": patient_id} if query == SHOW else {"input": {"patientId": patient_id, **given}}
        answer, [leaf] = await served.watched(query, Role.COMPLIANCE_OFFICER, variables=variables)
        assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": "NOT_FOUND"}]
        assert (leaf["act"], leaf["out"], leaf["why"], leaf["cnt"]) == (act, "denied", "NOT_FOUND", 1)
        answers.append(answer.json())
    assert answers[0] == answers[1] == answers[2]


async def test_every_step_is_recorded_once(served: Client) -> None:
    """Placing, showing and lifting leave one event each, under the patient's name in the log and the officer's own."""
    patient = await served.house.register()
    _, [read] = await served.watched(question("id"), variables={"id": patient["id"]})
    given: dict[str, Any] = {"patientId": patient["id"], "reason": "REGULATOR"}
    answer, [placed] = await served.watched(PLACE, Role.COMPLIANCE_OFFICER, variables={"input": given})
    hold_id = answer.json()["data"]["placeLegalHold"]["id"]
    _, [seen] = await served.watched(SHOW, Role.COMPLIANCE_OFFICER, variables={"id": patient["id"]})
    given = {"patientId": patient["id"], "holdId": hold_id}
    _, [lifted] = await served.watched(LIFT, Role.COMPLIANCE_OFFICER, variables={"input": given})
    assert [leaf.get("why") for leaf in (placed, seen, lifted)] == ["REGULATOR", None, "REGULATOR"]
    for leaf, act in ((placed, "hold"), (seen, "read"), (lifted, "release")):
        assert (leaf["act"], leaf["out"], leaf["pat"]) == (act, "ok", read["pat"])
        assert leaf["who"]["sub"] == "compliance_officer-1"
        assert leaf["pol"]["d"] == ["compliance_officer/HCOMPL"]
        assert leaf["obj"] == [{"t": "Patient", "ver": 1}]
        assert "chg" not in leaf
    shown_to_officers = await served.house.events(patient_id=patient["id"])
    assert [event["action"] for event in shown_to_officers[:3]] == ["release", "read", "hold"]
