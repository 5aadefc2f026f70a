"""What the log says of contact decisions, and how a compliance officer finds one again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from auth.purposes import Purpose
from auth.roles import Role
from tests.client import Client, client
from tests.conftest import Databases
from tests.deciding import ANN, CONFIDED, EXPLAIN, MANY, ONE, RULES, directive

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIND = """query F($filter: AccessEventFilter) {
  accessEvents(filter: $filter) { edges { node { patientId action reason reference policyRules } } } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """One service for all of these tests, on each engine in turn."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("record"), contact=RULES) as opened:
        yield opened
    databases.drop(url)


async def found(it: Client, **filter: Any) -> list[dict[str, Any]]:
    """The events that the compliance officer finds."""
    page = await it.data(FIND, Role.COMPLIANCE_OFFICER, variables={"filter": filter})
    return [edge["node"] for edge in page["accessEvents"]["edges"]]


async def test_a_decision_is_found_by_its_id(it: Client) -> None:
    """One event, with what was asked for, by which sender, and under which rules of contact."""
    patient_id = await it.house.store(ANN)
    asked = {"id": patient_id, "purpose": "APPOINTMENT_REMINDER", "sender": "mails"}
    decision = (await it.data(ONE, Role.MESSAGING, variables=asked))["contactDecision"]
    [event] = await found(it, reference=decision["decisionId"])
    assert (event["patientId"], event["action"], event["reason"]) == (patient_id, "decide", "OK")
    assert set(event["policyRules"]) == {
        "messaging/COC", "purpose:APPOINTMENT_REMINDER", "sender:mails", RULES.version
    }  # fmt: skip
    assert decision["policyVersion"] == RULES.version
    assert await found(it, reference=decision["decisionId"], patientId=patient_id) == [event]


@pytest.mark.parametrize(
    "reference", ["", "x", "0199c0de-0000-4000-8000-000000000001", "0199C0DE-0000-7000-8000-000000000001"]
)
async def test_what_is_no_reference(it: Client, reference: str) -> None:
    """Only ids that such an event can have are looked for."""
    query = {"filter": {"reference": reference}}
    answer = await it.ask(FIND, Role.COMPLIANCE_OFFICER, variables=query)
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("VALIDATION_FAILED", "filter.reference")


async def test_an_emergency_that_passes_over_a_no_is_on_record_as_one(it: Client) -> None:
    """Its event does not look like an ordinary yes."""
    person = {**ANN, "consents": [directive("DENY")]}
    patient_id = await it.house.store(person)
    asked = {"id": patient_id, "purpose": "EMERGENCY"}
    answer, [leaf] = await it.watched(ONE, Role.MESSAGING, variables=asked)
    assert answer.json()["data"]["contactDecision"]["reasons"] == ["OK", "EMERGENCY_OVERRIDE"]
    assert leaf["why"] == "EMERGENCY_OVERRIDE"
    assert "purpose:EMERGENCY" in leaf["pol"]["d"]


async def test_marketing_cannot_list_who_is_reached_in_confidence(it: Client) -> None:
    """It hears that the person opted out; the log and staff have the true reason."""
    ids = [await it.house.store(person) for person in (CONFIDED, {**ANN, "consents": [directive("DENY")]})]
    asked = {"ids": ids, "purpose": "MARKETING", "sender": "mails"}
    answer, leaves = await it.watched(MANY, Role.MESSAGING, purpose=Purpose.HMARKT, variables=asked)
    confided, denied = answer.json()["data"]["contactDecisions"]
    theirs = {"patientId", "decisionId", "expiresAt"}
    assert {key: confided[key] for key in confided if key not in theirs} == {
        key: denied[key] for key in denied if key not in theirs
    }
    assert [leaf["why"] for leaf in leaves] == ["CONFIDENTIAL_OVERRIDE_APPLIED", "OPTED_OUT"]
    desk = {"id": ids[0], "purpose": "MARKETING", "sender": "mails"}
    explained = (await it.data(EXPLAIN, Role.FRONT_DESK, variables=desk))["explainContact"]["decision"]
    assert explained["reasons"][0] == "CONFIDENTIAL_OVERRIDE_APPLIED"


@pytest.mark.parametrize("closed", [{"deceased": True}, {"active": False}, {}])
async def test_nothing_tells_a_sender_of_a_restricted_record(it: Client, closed: dict[str, Any]) -> None:
    """Not even that its person has died: it is answered as one that does not exist, and denied in the log."""
    patient_id = await it.house.store({**ANN, "restricted": True, **closed})
    asked = {"purpose": "APPOINTMENT_REMINDER", "sender": "mails"}
    answer, [leaf] = await it.watched(ONE, Role.MESSAGING, variables={"id": patient_id, **asked})
    nobody = "0199c0de-0000-7000-8000-000000000001"
    absent = await it.data(ONE, Role.MESSAGING, variables={"id": nobody, **asked})
    assert answer.json()["data"]["contactDecision"] == {**absent["contactDecision"], "patientId": patient_id}
    assert (leaf["out"], "fld" in leaf) == ("denied", False)
