"""Delivery reports: who may bring them, what they mark, and that nobody learns of a contact point by one."""

from typing import Any

import pytest

from auth.roles import PERSONAL, Role
from crm.audit.event import Act
from tests.client import Client
from tests.house import OTHER_ORG, REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

REPORT = "mutation R($i: ReportDeliveryInput!) { reportDelivery(input: $i) { id version } }"
_MARK = "undeliverable { since reason count }"
POINTS = f"contactPoints {{ id {_MARK} }} relatedPersons {{ contactPoints {{ id undeliverable {{ count }} }} }}"
MAY = {Role.MESSAGING, Role.INTEGRATION}
PERSON: dict[str, Any] = {
    "contact_points": [
        {"system": "EMAIL", "value": "zoe.secret@example.test"},
        {"system": "PHONE", "value": "+447700900321", "use": "MOBILE"},
    ],
    "related_persons": [
        {
            "name": "Wambui Kamau",
            "relationship": "SIBLING",
            "contact_points": [{"system": "EMAIL", "value": "wambui@example.test"}],
        }
    ],
    "confidential_communication": {
        "id": "0198a000-0000-7000-8000-00000000c0de",
        "channel": "EMAIL",
        "value": "private@example.test",
        "set_at": "2026-05-01T08:00:00Z",
    },
}
CONFIDENTIAL = PERSON["confidential_communication"]["id"]


async def marks(served: Client, patient: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The patient's contact points, and that of the related person."""
    query = f"query Q($id: ID!) {{ patient(id: $id) {{ {POINTS} }} }}"
    found = (await served.data(query, Role.PRIVACY_OFFICER, variables={"id": patient}))["patient"]
    return found["contactPoints"], found["relatedPersons"][0]["contactPoints"][0]


async def report(served: Client, patient: str, point: str, role: Role = Role.MESSAGING, **more: Any) -> dict[str, Any]:
    """The answer to a report."""
    who = {name: more.pop(name) for name in ("org", "patient") if name in more}
    given = {"patientId": patient, "contactPointId": point, "delivered": False, **more}
    answer: dict[str, Any] = (await served.ask(REPORT, role, variables={"i": given}, **who)).json()
    return answer


def why(answer: dict[str, Any]) -> str:
    """`ok`, or the rule or code of the one refusal."""
    if "errors" not in answer:
        return "ok"
    [error] = answer["errors"]
    return str(error["extensions"].get("rule", error["extensions"]["code"]))


async def test_failures_are_counted_and_end(served: Client) -> None:
    """Three failures in a row count three, for the newest reason, since the first; what arrives ends the mark."""
    patient = await served.house.store(PERSON)
    (mail, mobile), _ = await marks(served, patient)
    reasons = ("SYSTEM_ERROR", "RECIPIENT_UNAVAILABLE", "INVALID_ADDRESS")
    for version, reason in enumerate(reasons, 2):
        answer = await report(served, patient, mail["id"], reason=reason)
        assert answer["data"]["reportDelivery"] == {"id": patient, "version": version}
        (marked, other), _ = await marks(served, patient)
        assert (marked["undeliverable"]["count"], marked["undeliverable"]["reason"]) == (version - 1, reason)
        assert other == mobile
    since = marked["undeliverable"]["since"]
    await report(served, patient, mail["id"])
    assert (await marks(served, patient))[0][0]["undeliverable"] == {"since": since, "reason": "UNKNOWN", "count": 4}
    assert (await report(served, patient, mail["id"], delivered=True))["data"]["reportDelivery"]["version"] == 6
    assert (await marks(served, patient))[0][0]["undeliverable"] is None


async def test_what_arrives_as_always_changes_nothing(served: Client) -> None:
    """Without a mark there is nothing to end: the version stays, the report is on record."""
    patient = await served.house.store(PERSON)
    (mail, _), _ = await marks(served, patient)
    given = {"patientId": patient, "contactPointId": mail["id"], "delivered": True}
    answer, [leaf] = await served.watched(REPORT, Role.MESSAGING, variables={"i": given})
    assert answer.json()["data"]["reportDelivery"] == {"id": patient, "version": 1}
    assert (leaf["act"], leaf["out"], leaf.get("chg"), leaf.get("fld")) == ("update", "ok", None, None)


async def test_a_related_persons_point(served: Client) -> None:
    """It is marked where it is, and the patient's own stay as they are."""
    patient = await served.house.store(PERSON)
    own, theirs = await marks(served, patient)
    assert why(await report(served, patient, theirs["id"])) == "ok"
    assert (await marks(served, patient)) == (own, {"id": theirs["id"], "undeliverable": {"count": 1}})


async def test_the_confidential_place_bears_no_mark(served: Client) -> None:
    """A mark would keep messages from the one place where the person asked to be reached."""
    patient = await served.house.store(PERSON)
    answer = await report(served, patient, CONFIDENTIAL, reason="INVALID_ADDRESS")
    assert answer["data"]["reportDelivery"] == {"id": patient, "version": 1}


@pytest.mark.parametrize("role", Role)
async def test_every_role(served: Client, role: Role) -> None:
    """Two programs report; nobody else changes anything, and each attempt is on record."""
    patient = await served.house.store(PERSON)
    (mail, _), _ = await marks(served, patient)
    given = {"patientId": patient, "contactPointId": mail["id"], "delivered": False}
    bound = patient if role in PERSONAL else None
    answer, [leaf] = await served.watched(REPORT, role, variables={"i": given}, patient=bound)
    count = ((await marks(served, patient))[0][0]["undeliverable"] or {"count": 0})["count"]
    if role in MAY:
        assert (why(answer.json()), count, leaf["out"], leaf["chg"]) == ("ok", 1, "ok", ["contactPoints"])
    else:
        assert (why(answer.json()), count, leaf["out"]) == ("FORBIDDEN", 0, "denied")
    assert "secret" not in answer.text


async def test_strangers(served: Client) -> None:
    """Nobody, and another organisation's messaging: nothing is marked."""
    patient = await served.house.store(PERSON)
    before = await marks(served, patient)
    point = before[0][0]["id"]
    assert why(await report(served, patient, point, org=OTHER_ORG)) == "NOT_FOUND"
    nobody = await served.ask(
        REPORT, None, variables={"i": {"patientId": patient, "contactPointId": point, "delivered": False}}
    )
    assert why(nobody.json()) == "UNAUTHENTICATED"
    assert await marks(served, patient) == before


async def test_a_restricted_record_is_no_record(served: Client) -> None:
    """Messaging is told the same as for an unknown id, but for the confidential place: a decision told of it."""
    patient = await served.house.store({**PERSON, "restricted": True})
    before = await marks(served, patient)
    unknown = await report(served, "0198a000-0000-7000-8000-000000000000", before[0][0]["id"])
    for point in (before[0][0]["id"], before[1]["id"], "no such point"):
        answer = await report(served, patient, point)
        assert answer == unknown
        assert why(answer) == "NOT_FOUND"
    assert why(await report(served, patient, CONFIDENTIAL)) == "ok"
    assert await marks(served, patient) == before


async def test_an_erased_record_is_no_record(served: Client) -> None:
    """Messaging is told the same as for an unknown id; an integration is told why."""
    patient = await served.house.store(PERSON)
    (mail, _), _ = await marks(served, patient)
    context = REQUEST.context(actor(Role.PRIVACY_OFFICER))
    async with served.house.services.store.writing(context, Act.ERASE) as unit:
        record = (await unit.load_for_change([patient]))[patient]
        await unit.erase(record, None, "PATIENT_REQUEST")
    unknown = await report(served, "0198a000-0000-7000-8000-000000000000", mail["id"])
    assert why(unknown) == "NOT_FOUND"
    assert await report(served, patient, mail["id"]) == unknown
    assert why(await report(served, patient, mail["id"], Role.INTEGRATION)) == "ERASED"


async def test_what_makes_no_sense(served: Client) -> None:
    """An unknown contact point, and a reason for what arrived, are refused by rule; nothing is marked."""
    patient = await served.house.store(PERSON)
    before = await marks(served, patient)
    assert why(await report(served, patient, "no such point")) == "unknown_contact_point"
    arrived = await report(served, patient, before[0][0]["id"], delivered=True, reason="SYSTEM_ERROR")
    assert why(arrived) == "delivered"
    assert await marks(served, patient) == before
