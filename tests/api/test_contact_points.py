"""Contact points over HTTP, on both engines: adding, changing, retiring, and what becomes of their verification."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from auth.roles import Role
from tests.asking import question
from tests.client import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

POINT = """id system value asWritten extension use rank period { start end } capabilities textPermitted voicemailOk
  detailedMessageOk verified verification { status method at by } undeliverable { since reason count }"""


def mutation(name: str) -> str:
    """The mutation of that name, answering every contact point."""
    kind = f"{name[0].upper()}{name[1:]}Input"
    return f"mutation($input: {kind}!) {{ {name}(input: $input) {{ version contactPoints {{ {POINT} }} }} }}"


async def change(served: Client, name: str, patient_id: str, version: int, **values: Any) -> list[dict[str, Any]]:
    """The contact points after a change that must succeed."""
    variables = {"input": {"patientId": patient_id, "expectedVersion": version, **values}}
    found = (await served.data(mutation(name), variables=variables))[name]
    assert found["version"] == version + 1
    points: list[dict[str, Any]] = found["contactPoints"]
    return points


async def refusal(served: Client, name: str, patient_id: str, version: int, **values: Any) -> dict[str, Any]:
    """What a refused change is told, after a check that it changed nothing and was recorded."""
    variables = {"input": {"patientId": patient_id, "expectedVersion": version, **values}}
    answer, [leaf] = await served.watched(mutation(name), variables=variables)
    assert (leaf["act"], leaf["out"]) == ("update", "denied")
    found = await served.data(question("version"), variables={"id": patient_id})
    assert found["patient"] == {"version": version}
    extensions: dict[str, Any] = answer.json()["errors"][0]["extensions"]
    return extensions


VERIFIED: dict[str, Any] = {
    "system": "PHONE",
    "value": "+447700900123",
    "use": "MOBILE",
    "rank": 1,
    "verification": {"status": "VERIFIED", "method": "OTP", "at": "2026-01-05", "by": "u-9"},
    "undeliverable": {"since": "2026-02-01", "reason": "RECIPIENT_UNAVAILABLE", "count": 2},
}


async def verified(served: Client, **more: Any) -> tuple[str, dict[str, Any]]:
    """A patient with one verified mobile, and that contact point."""
    patient = await served.house.register({"contact_points": [{**VERIFIED, **more}]})
    return patient["id"], await only(served, patient["id"])


async def only(served: Client, patient_id: str) -> dict[str, Any]:
    """The one contact point of a patient."""
    found = await served.data(question(f"contactPoints {{ {POINT} }}"), variables={"id": patient_id})
    [point] = found["patient"]["contactPoints"]
    result: dict[str, Any] = point
    return result


async def test_a_new_one_starts_unverified(served: Client) -> None:
    """It goes behind the others in its normal form, under a new id, with what follows from its kind."""
    patient_id, old = await verified(served)
    entered = {"system": "PHONE", "value": "07700 900 456", "use": "MOBILE", "textPermitted": "NO"}
    first, new = await change(served, "addContactPoint", patient_id, 1, contactPoint=entered)
    assert first == old
    assert new["id"] != old["id"]
    assert {key: value for key, value in new.items() if value is not None} == {
        "id": new["id"],
        "system": "PHONE",
        "value": "+447700900456",
        "asWritten": "07700 900 456",
        "use": "MOBILE",
        "capabilities": ["VOICE", "SMS"],
        "textPermitted": "NO",
        "voicemailOk": "UNKNOWN",
        "detailedMessageOk": "UNKNOWN",
        "verified": False,
        "verification": {"status": "UNVERIFIED", "method": None, "at": None, "by": None},
    }


async def test_nobody_can_claim_a_verification(served: Client) -> None:
    """The inputs have no place for it."""
    patient_id, old = await verified(served)
    for name, extra in (
        ("addContactPoint", {"contactPoint": {"system": "EMAIL", "value": "a@example.test", "verified": True}}),
        ("updateContactPoint", {"contactPointId": old["id"], "contactPoint": {"verification": "VERIFIED"}}),
    ):
        variables = {"input": {"patientId": patient_id, "expectedVersion": 1, **extra}}
        assert await served.codes(mutation(name), variables=variables) == ["VALIDATION_FAILED"]


async def test_a_new_value_is_verified_anew(served: Client) -> None:
    """Another number: unverified again, and what was known of undelivered messages was known of the old one."""
    patient_id, old = await verified(served)
    [new] = await change(
        served, "updateContactPoint", patient_id, 1, contactPointId=old["id"], contactPoint={"value": "+447700900777"}
    )
    assert (new["id"], new["value"], new["verified"]) == (old["id"], "+447700900777", False)
    assert (new["verification"]["status"], new["undeliverable"]) == ("UNVERIFIED", None)
    assert (new["use"], new["rank"]) == ("MOBILE", 1)


async def test_the_same_value_in_another_spelling_stays_verified(served: Client) -> None:
    """A number that is typed as it is dialled at home is still the same number."""
    patient_id, old = await verified(served)
    [new] = await change(
        served, "updateContactPoint", patient_id, 1, contactPointId=old["id"], contactPoint={"value": "07700 900123"}
    )
    assert new == {**old, "asWritten": "07700 900123"}


async def test_an_extension_belongs_to_its_number(served: Client) -> None:
    """A new number does not inherit the extension of the old one; adding one makes it another destination."""
    patient_id, old = await verified(served, value="+441134960000 x12", use="WORK")
    assert (old["value"], old["extension"], old["verified"]) == ("+441134960000", "12", True)
    point_id = {"contactPointId": old["id"]}
    [new] = await change(
        served, "updateContactPoint", patient_id, 1, **point_id, contactPoint={"value": "+441134960001"}
    )
    assert (new["value"], new["extension"], new["verified"]) == ("+441134960001", None, False)


async def test_other_changes_leave_the_verification(served: Client) -> None:
    """Rank, use and permissions change; omitted stays, null clears."""
    patient_id, old = await verified(served)
    [new] = await change(
        served,
        "updateContactPoint",
        patient_id,
        1,
        contactPointId=old["id"],
        contactPoint={"rank": 3, "use": None, "voicemailOk": "YES", "period": {"start": "2025"}},
    )
    assert new == {
        **old,
        "rank": 3,
        "use": None,
        "voicemailOk": "YES",
        "period": {"start": "2025", "end": None},
    }


async def test_what_a_telephone_can_do(served: Client) -> None:
    """Without a use, a number whose plan tells no mobiles apart takes no texts; a use counts once nothing is stated."""
    point = {"system": "PHONE", "value": "+12025550142"}
    patient_id = (await served.house.register({"contact_points": [point]}))["id"]
    known = {"contactPointId": (await only(served, patient_id))["id"]}
    for version, (changed, able) in enumerate(
        (
            ({"textPermitted": "YES"}, ["VOICE"]),
            ({"use": "MOBILE"}, ["VOICE"]),
            ({"capabilities": None}, ["VOICE", "SMS"]),
            ({"capabilities": []}, []),
        ),
        1,
    ):
        [now] = await change(served, "updateContactPoint", patient_id, version, **known, contactPoint=changed)
        assert now["capabilities"] == able


async def test_retiring_keeps_the_fact(served: Client) -> None:
    """Out of use from today on, without a rank, but still there."""
    patient_id, old = await verified(served, period={"start": "2019-03"})
    [new] = await change(served, "retireContactPoint", patient_id, 1, contactPointId=old["id"])
    today = datetime.now(UTC).date().isoformat()
    assert new == {**old, "use": "OLD", "rank": None, "period": {"start": "2019-03", "end": today}}


@pytest.mark.parametrize(
    ("period", "retired"),
    [
        ({"end": "2020-02"}, (None, "2020-02")),
        ({"start": "2019", "end": "2199"}, ("2019", "today")),
        ({"start": "2150-01-01"}, ("today", "today")),
    ],
)
async def test_when_a_retired_one_ended(
    served: Client, period: dict[str, str], retired: tuple[str | None, str]
) -> None:
    """An end in the past stays; one in the future, and a start there, become today."""
    patient_id, old = await verified(served, period=period)
    [new] = await change(served, "retireContactPoint", patient_id, 1, contactPointId=old["id"])
    today = datetime.now(UTC).date().isoformat()
    start, end = (today if each == "today" else each for each in retired)
    assert new["period"] == {"start": start, "end": end}


async def test_changing_one_leaves_the_others(served: Client) -> None:
    """An imported value that has no normal form stays as it was written while its neighbour is edited."""
    as_written = {"system": "PHONE", "value": "ask at the harbour office"}
    patient_id = await served.house.store({}, lenient={"contact_points": [as_written, VERIFIED]})
    asked = question("contactPoints { id value rank }")
    odd, good = (await served.data(asked, variables={"id": patient_id}))["patient"]["contactPoints"]
    points = await change(
        served, "updateContactPoint", patient_id, 1, contactPointId=good["id"], contactPoint={"rank": 2}
    )
    assert [(point["value"], point["rank"]) for point in points] == [(as_written["value"], None), (good["value"], 2)]
    points = await change(
        served, "updateContactPoint", patient_id, 2, contactPointId=odd["id"], contactPoint={"rank": 5}
    )
    assert [(point["value"], point["rank"]) for point in points] == [(as_written["value"], 5), (good["value"], 2)]
    new_value = {"contactPointId": odd["id"], "contactPoint": {"value": "the pier"}}
    expected = {"code": "VALIDATION_FAILED", "field": "input.contactPoint.value", "rule": "e164"}
    assert await refusal(served, "updateContactPoint", patient_id, 3, **new_value) == expected


@pytest.mark.parametrize(
    ("point", "field", "rule"),
    [
        ({"system": "PHONE", "value": "12"}, "value", "e164"),
        ({"system": "SMS", "value": "harbour office"}, "value", "e164"),
        ({"system": "EMAIL", "value": "sam at example"}, "value", "email"),
        ({"system": "URL", "value": "javascript:alert(1)"}, "value", "url"),
        ({"system": "OTHER", "value": " "}, "value", "empty"),
        ({"system": "OTHER", "value": "x", "rank": -1}, "rank", "out_of_range"),
        ({"system": "PHONE", "value": "+447700900456", "capabilities": ["SMS", "SMS"]}, "capabilities", "duplicate"),
        (
            {"system": "PHONE", "value": "+447700900456", "period": {"start": "2020", "end": "1999"}},
            "period",
            "period_order",
        ),
    ],
)
async def test_bad_values(served: Client, point: dict[str, Any], field: str, rule: str) -> None:
    """Refused with the path of the part to blame."""
    patient_id, _ = await verified(served)
    expected = {"code": "VALIDATION_FAILED", "field": f"input.contactPoint.{field}", "rule": rule}
    assert await refusal(served, "addContactPoint", patient_id, 1, contactPoint=point) == expected


async def test_no_more_than_fifty(served: Client) -> None:
    """The fifty-first is refused."""
    points = [{"system": "OTHER", "value": f"number {each}"} for each in range(50)]
    patient = await served.house.register({"contact_points": points})
    expected = {"code": "VALIDATION_FAILED", "field": "input.contactPoints", "rule": "too_many"}
    one_more = {"contactPoint": {"system": "OTHER", "value": "one more"}}
    assert await refusal(served, "addContactPoint", patient["id"], 1, **one_more) == expected


async def test_what_may_not_be_cleared(served: Client) -> None:
    """A contact point without a value or a system is none."""
    patient_id, old = await verified(served)
    for part in ("value", "system"):
        cleared = {"contactPointId": old["id"], "contactPoint": {part: None}}
        expected = {"code": "VALIDATION_FAILED", "field": f"input.contactPoint.{part}", "rule": "missing"}
        assert await refusal(served, "updateContactPoint", patient_id, 1, **cleared) == expected


@pytest.mark.parametrize("name", ["updateContactPoint", "retireContactPoint"])
async def test_an_unknown_contact_point(served: Client, name: str) -> None:
    """The id of another patient's contact point is as unknown as any."""
    patient_id, _ = await verified(served)
    _, foreign = await verified(served)
    change_of = {"contactPoint": {"rank": 2}} if name == "updateContactPoint" else {}
    for point_id in (foreign["id"], str(uuid4())):
        found = await refusal(served, name, patient_id, 1, contactPointId=point_id, **change_of)
        assert found == {
            "code": "VALIDATION_FAILED",
            "field": "input.contactPointId",
            "rule": "unknown_contact_point",
        }


@pytest.mark.parametrize("name", ["addContactPoint", "updateContactPoint", "retireContactPoint"])
async def test_versions_count_here_too(served: Client, name: str) -> None:
    """A stale version conflicts, and a missing one is required."""
    patient_id, old = await verified(served)
    values: dict[str, Any] = {
        "addContactPoint": {"contactPoint": {"system": "OTHER", "value": "x"}},
        "updateContactPoint": {"contactPointId": old["id"], "contactPoint": {"rank": 2}},
        "retireContactPoint": {"contactPointId": old["id"]},
    }[name]
    for version, code in (({"expectedVersion": 2}, "VERSION_CONFLICT"), ({}, "VERSION_REQUIRED")):
        variables = {"input": {"patientId": patient_id, **version, **values}}
        assert await served.codes(mutation(name), variables=variables) == [code]
    assert await only(served, patient_id) == old


async def test_a_patient_changes_the_own_numbers(served: Client) -> None:
    """Scenario S9: the own mobile may be added, and is unverified; another patient's may not."""
    patient_id, _ = await verified(served)
    other_id, _ = await verified(served)
    query, point = mutation("addContactPoint"), {"system": "PHONE", "value": "+447700900888", "use": "MOBILE"}
    variables = {"input": {"patientId": patient_id, "expectedVersion": 1, "contactPoint": point}}
    found = await served.data(query, Role.PATIENT, variables=variables, patient=patient_id)
    assert found["addContactPoint"]["contactPoints"][1]["verified"] is False
    variables["input"]["patientId"] = other_id
    assert await served.codes(query, Role.PATIENT, variables=variables, patient=patient_id) == ["NOT_FOUND"]
