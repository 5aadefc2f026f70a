"""Consent directives over HTTP, on both engines: what is recorded of each, in which order, and what repeats."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from auth.roles import Role
from crm.audit.event import Act
from crm.domain.confidential import ConfidentialCommunication
from crm.domain.consent_history import honour_by
from crm.domain.consents import mark_of
from crm.domain.shape import parse
from crm.domain.times import instant, micros
from crm.services.consents import appended_values
from tests.client import Client
from tests.directing import RECORD, history, record
from tests.house import REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def patient(served: Client, **values: Any) -> str:
    """A new patient, whom nobody has said anything of."""
    return str((await served.house.register({"preferred_name": "Ada", **values}))["id"])


async def refusal(served: Client, patient_id: str, version: int | None = 1, **said: Any) -> dict[str, Any]:
    """What a refused directive is told, after a check that nothing was stored and the attempt is on record."""
    before = await history(served, patient_id)
    variables = {"input": {"patientId": patient_id, "expectedVersion": version, "decision": "DENY", **said}}
    answer, [leaf] = await served.watched(RECORD, variables=variables)
    assert (leaf["act"], leaf["out"]) == ("update", "denied")
    assert await history(served, patient_id) == before
    extensions: dict[str, Any] = answer.json()["errors"][0]["extensions"]
    return extensions


async def test_everything_that_can_be_said(served: Client) -> None:
    """Scope, giver, evidence, confirmation, period and note come back; who entered it and where, from the token."""
    person = {"name": "Mo", "relationship": "PARENT", "id": "mo", "contact_points": []}
    points = [{"id": "mobile", "system": "PHONE", "value": "+447700900123"}]
    ada = await patient(served, related_persons=[person], contact_points=points)
    said: dict[str, Any] = {
        "scope": {"channel": "SMS", "contactPointId": "mobile", "purpose": "RECALL_SCREENING", "sender": "recalls"},
        "giver": {"role": "PARENT", "relatedPersonId": "mo"},
        "capture": {
            "at": "2026-01-05T10:00:00+01:00",
            "channel": "IN_PERSON",
            "wordingId": "texts",
            "wordingVersion": "3",
            "language": "cy",
            "evidence": "form 12",
        },
        "confirmedAt": "2026-01-06T09:00:00Z",
        "effectiveFrom": "2026-01-05T10:00:00Z",
        "effectiveTo": "2027-01-05T10:00:00Z",
        "receivedAt": "2026-01-07T09:00:00Z",
        "note": "Asked at the desk.",
    }
    answered = await record(served, ada, 1, "PERMIT", **said)
    [entry] = answered["consents"]
    assert answered["version"] == 2
    assert entry == {
        "id": entry["id"],
        "seq": 1,
        "decision": "PERMIT",
        "scope": said["scope"],
        "giver": said["giver"],
        "capture": {
            **said["capture"],
            "at": "2026-01-05T09:00:00.000000Z",
            "by": "front_desk-1",
            "system": entry["capture"]["system"],
            "messageId": None,
            "contactPointId": None,
        },
        "confirmedAt": "2026-01-06T09:00:00.000000Z",
        "effectiveFrom": "2026-01-05T09:00:00.000000Z",
        "effectiveTo": "2027-01-05T10:00:00.000000Z",
        "receivedAt": "2026-01-07T09:00:00.000000Z",
        "honourBy": None,
        "note": "Asked at the desk.",
    }
    assert entry["capture"]["system"]
    assert await history(served, ada) == answered["consents"]


async def test_the_least_that_can_be_said(served: Client) -> None:
    """`DENY` alone forbids everything from now on, and names the day by which all must have stopped."""
    ada = await patient(served, time_zone="America/New_York")
    [entry] = (await record(served, ada, 1))["consents"]
    assert set(entry["scope"].values()) == {None}
    assert (entry["effectiveFrom"], entry["effectiveTo"]) == (entry["receivedAt"], None)
    received = micros(entry["receivedAt"])
    assert entry["honourBy"] == instant(honour_by(received, "America/New_York"))
    lasts = datetime.fromisoformat(entry["honourBy"]) - datetime.fromisoformat(entry["receivedAt"])
    assert timedelta(days=11) < lasts < timedelta(days=15)


async def test_a_history(served: Client) -> None:
    """Permit, deny, deny again, permit: three directives in their order, and the first is octet by octet as it was."""
    ada = await patient(served)
    sms: dict[str, Any] = {"scope": {"channel": "SMS"}}
    first = await record(served, ada, 1, "PERMIT", **sms)
    second = await record(served, ada, 2, **sms)
    again = await record(served, ada, 3, **sms)
    assert again == second
    third = await record(served, ada, 3, "PERMIT", **sms)
    assert [(entry["seq"], entry["decision"]) for entry in third["consents"]] == [
        (1, "PERMIT"), (2, "DENY"), (3, "PERMIT"),
    ]  # fmt: skip
    assert third["consents"][:2] == second["consents"]
    assert second["consents"][:1] == first["consents"]


async def test_what_is_recorded_of_it(served: Client) -> None:
    """One event of the patient with the field that changed, one line in the outbox; a repetition changes nothing."""
    ada = await patient(served)
    variables = {"input": {"patientId": ada, "expectedVersion": 1, "decision": "DENY"}}
    answer, [leaf] = await served.watched(RECORD, variables=variables)
    assert "errors" not in answer.json()
    assert (leaf["act"], leaf["out"], leaf["chg"], leaf["fld"]) == ("update", "ok", ["consents"], ["consents"])
    variables["input"]["expectedVersion"] = 2
    answer, [leaf] = await served.watched(RECORD, variables=variables)
    assert answer.json()["data"]["recordConsent"]["version"] == 2
    assert (leaf["out"], leaf.get("chg")) == ("ok", None)
    told = [line["changed"] for line in await served.house.outbox() if line["patient_id"] == ada]
    assert told[1:] == ['["consents"]']


async def test_many_writers_at_once(served: Client) -> None:
    """Of ten who read the same version one is taken; whoever tries again on the new version loses nothing."""
    ada = await patient(served)
    inputs = [
        {"patientId": ada, "expectedVersion": 1, "decision": "DENY", "scope": {"sender": f"s{number}"}}
        for number in range(10)
    ]
    answers = await asyncio.gather(*(served.ask(RECORD, variables={"input": each}) for each in inputs))
    codes = [each.json().get("errors", [{}])[0].get("extensions", {}).get("code") for each in answers]
    assert sorted(filter(None, codes)) == ["VERSION_CONFLICT"] * 9
    assert len(await history(served, ada)) == 1


@pytest.mark.parametrize(
    ("said", "field", "rule"),
    [
        ({"scope": {"contactPointId": "nowhere"}}, "input.scope.contactPointId", "unknown_contact_point"),
        (
            {"giver": {"relatedPersonId": "x", "role": "PARENT"}},
            "input.giver.relatedPersonId",
            "unknown_related_person",
        ),
        ({"giver": {"relatedPersonId": "mo"}}, "input.giver.relatedPersonId", "not_your_right"),
        ({"capture": {"at": "2099-01-01T00:00:00Z"}}, "input.capture.at", "future"),
        ({"effectiveTo": "2020-01-01T00:00:00Z"}, "input.effectiveTo", "period_order"),
        ({"capture": {"language": "xx-nope"}}, "input.capture.language", "bcp47"),
        ({"note": "x" * 4001}, "input.note", "too_long"),
    ],
)
async def test_refusals(served: Client, said: dict[str, Any], field: str, rule: str) -> None:
    """Each is told the place and the rule; nothing is stored."""
    ada = await patient(served, related_persons=[{"name": "Mo", "relationship": "PARENT", "id": "mo"}])
    assert await refusal(served, ada, **said) == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}


async def test_versions(served: Client) -> None:
    """Without a version, and with an old one, nothing is appended."""
    ada = await patient(served)
    assert (await refusal(served, ada, None))["code"] == "VERSION_REQUIRED"
    await record(served, ada, 1)
    stale = await refusal(served, ada, 1, scope={"channel": "FAX"})
    assert (stale["code"], stale["currentVersion"]) == ("VERSION_CONFLICT", 2)


async def test_what_a_directive_is_weighed_against(served: Client) -> None:
    """A STOP after a confidential communication is news; a permission is marked with the number that it is for."""
    ada = await patient(served, contact_points=[{"id": "mobile", "system": "PHONE", "value": "+447700900123"}])
    await record(served, ada, 1)
    async with served.house.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.UPDATE, [ada]) as unit:
        [found] = (await unit.load_for_change([ada])).values()
        set_now = {"channel": "SMS", "value": "+447700900124", "set_at": instant(unit.now)}
        unit.change(found, {"confidential_communication": parse(ConfidentialCommunication, set_now, "here")}, "test")
    assert len((await record(served, ada, 3))["consents"]) == 2
    await record(served, ada, 4, "PERMIT", scope={"contactPointId": "mobile"})
    async with served.house.services.store.writing(REQUEST.context(actor(Role.INTEGRATION)), Act.UPDATE, [ada]) as unit:
        [found] = (await unit.load_for_change([ada])).values()
        permit = unit.current(found, ["consents"])["consents"][-1]
    assert permit["mark"] == mark_of(permit["id"], "+447700900123")


async def test_a_long_history(served: Client) -> None:
    """A history of 500 directives, far above what other fields may hold, is stored, read and appended to."""
    ada = await patient(served)
    denials = [{"decision": "DENY", "scope": {"sender": f"sender-{number}"}, "note": "n" * 40} for number in range(499)]
    await _append(served, ada, denials)
    answered = await record(served, ada, 2)
    assert len(answered["consents"]) == 500
    assert (await refusal(served, ada, 3, scope={"sender": "one more"}))["rule"] == "too_many"


async def _append(served: Client, patient_id: str, directives: list[dict[str, Any]]) -> None:
    """As a service appends that has locked the record itself."""
    context = REQUEST.context(actor(Role.INTEGRATION))
    async with served.house.services.store.writing(context, Act.UPDATE, [patient_id]) as unit:
        [found] = (await unit.load_for_change([patient_id])).values()
        unit.change(found, appended_values(unit, found, directives), "test")
