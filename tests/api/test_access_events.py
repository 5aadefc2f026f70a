"""Reading the access log over HTTP, on both engines: every filter, pages, and that reading it is recorded."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from auth.purposes import Purpose
from auth.roles import Role
from tests.asking import question
from tests.client import Client
from tests.house import ORG, OTHER_ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = """id seq recordedAt action outcome reason actor { subject issuer roles organisation clientId tokenId }
  purposeOfUse patientId auditSubject operation requestId fieldsReturned fieldsSearched fieldsRefused fieldsMasked
  fieldsChanged count
  recordVersion flags policyRules policyVersion"""
EVENTS = f"""query Log($filter: AccessEventFilter, $first: Int, $after: String) {{
  accessEvents(filter: $filter, first: $first, after: $after) {{
    edges {{ cursor node {{ {NODE} }} }} pageInfo {{ hasNextPage hasPreviousPage startCursor endCursor }}
  }}
}}"""
BY_PHONE = """query Search($phone: String!) {
  searchPatients(by: {phone: $phone}) { edges { node { displayName } } }
}"""


async def events(served: Client, *, org: str = ORG, first: int = 100, **chosen: Any) -> list[dict[str, Any]]:
    """The events that a filter shows to a compliance officer, newest first, without those of looking at the log."""
    variables = {"filter": chosen, "first": first}
    found = await served.data(EVENTS, Role.COMPLIANCE_OFFICER, variables=variables, org=org)
    nodes = [edge["node"] for edge in found["accessEvents"]["edges"]]
    return [node for node in nodes if node["action"] != "audit.read"]


@dataclass(frozen=True)
class Day:
    """What happened before an officer looks, oldest first."""

    one: str
    two: str
    start: str
    end: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def day(served: Client) -> AsyncIterator[Day]:
    """Two patients, and a day's work on them by three people."""
    one = (await served.house.register({"preferred_name": "One", "religion": "Quaker"}))["id"]
    phone = {"contact_points": [{"system": "PHONE", "value": "+447700900444"}]}
    two = (await served.house.register(phone))["id"]
    await served.data(question("displayName", "First"), variables={"id": one}, subject="ann")
    start = (await events(served, patientId=one, first=1))[0]["recordedAt"]
    await served.data(question("religion"), Role.CLINICIAN, variables={"id": one}, subject="bo")
    await served.data(question("religion"), Role.CLINICIAN, variables={"id": one}, subject="bo", purpose=Purpose.ETREAT)
    assert await served.codes(question("religion"), variables={"id": one}, subject="ann") == ["FORBIDDEN_FIELD"]
    end = (await events(served, patientId=one, first=1))[0]["recordedAt"]
    await served.data(BY_PHONE, variables={"phone": "+447700900444"}, subject="ann")
    change = f"""mutation Change {{ updatePreferences(
      input: {{patientId: "{two}", expectedVersion: 1, pronouns: "he/him"}}) {{ displayName version }} }}"""
    await served.data(change, variables={}, subject="ann")
    yield Day(one, two, start, end)


def brief(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Who did what, how it ended, and what was returned."""
    return [(event["actor"]["subject"], event["action"], event["outcome"], *event["fieldsReturned"]) for event in found]


async def test_of_one_patient(served: Client, day: Day) -> None:
    """Newest first: who, what, how it ended, and which fields; of another patient, nothing."""
    assert brief(await events(served, patientId=day.one)) == [
        ("ann", "read", "DENIED"),
        ("bo", "read", "OK", "religion"),
        ("bo", "read", "OK", "religion"),
        ("ann", "read", "OK", "displayName"),
        ("u-1", "create", "OK", "displayName"),
    ]
    assert brief(await events(served, patientId=day.two)) == [
        ("ann", "update", "OK", "displayName"),
        ("ann", "query", "OK", "displayName"),
        ("u-1", "create", "OK", "displayName"),
    ]
    assert await events(served, patientId=str(uuid4())) == []


async def test_one_event_in_full(served: Client, day: Day) -> None:
    """Every member of an event, and no value of the patient's."""
    event = (await events(served, patientId=day.one, actor="bo", purpose="TREAT"))[0]
    [leaf] = await served.house.leaves(actor="bo", purpose="TREAT")
    assert (leaf["id"], len(leaf["pat"])) == (event["id"], 32)
    assert event == {
        "id": event["id"],
        "seq": event["seq"],
        "recordedAt": event["recordedAt"],
        "action": "read",
        "outcome": "OK",
        "reason": None,
        "actor": {
            "subject": "bo",
            "issuer": "https://development.heed.invalid",
            "roles": ["CLINICIAN"],
            "organisation": ORG,
            "clientId": "heed-development",
            "tokenId": leaf["who"]["jti"],
        },
        "purposeOfUse": "TREAT",
        "patientId": day.one,
        "auditSubject": leaf["pat"],
        "operation": "Asked",
        "requestId": event["requestId"],
        "fieldsReturned": ["religion"],
        "fieldsSearched": [],
        "fieldsRefused": [],
        "fieldsMasked": [],
        "fieldsChanged": [],
        "count": None,
        "recordVersion": 1,
        "flags": [],
        "policyRules": ["clinician/TREAT"],
        "policyVersion": event["policyVersion"],
    }


async def test_refused_fields_are_not_returned_fields(served: Client, day: Day) -> None:
    """A denied event names what was refused, a search what it looked at, a change what it changed."""
    [denied] = await events(served, patientId=day.one, outcome="DENIED")
    assert (denied["reason"], denied["fieldsRefused"], denied["fieldsReturned"]) == (
        "FORBIDDEN_FIELD",
        ["religion"],
        [],
    )
    search = next(event for event in await events(served, actor="ann", action="query") if not event["patientId"])
    assert (search["count"], search["fieldsSearched"], search["fieldsReturned"]) == (1, ["contactPoints"], [])
    [update] = await events(served, patientId=day.two, action="update")
    assert (update["fieldsChanged"], update["fieldsReturned"], update["recordVersion"]) == (
        ["pronouns"],
        ["displayName"],
        2,
    )


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({"actor": "bo"}, 2),
        ({"actor": "nobody"}, 0),
        ({"purpose": "ETREAT"}, 1),
        ({"purpose": "PATADMIN", "outcome": "DENIED"}, 1),
        ({"outcome": "ERROR"}, 0),
        ({"action": "update"}, 1),
        ({"actor": "ann", "action": "read", "outcome": "OK"}, 1),
        ({"requestId": "no-such-request"}, 0),
        ({"requestId": "test-request", "action": "create"}, 2),
    ],
)
async def test_filters(served: Client, day: Day, chosen: dict[str, Any], expected: int) -> None:
    """Each condition narrows; all that are given must hold."""
    found = await events(served, **chosen)
    assert len(found) == expected
    assert all(event["actor"]["subject"] == chosen.get("actor", event["actor"]["subject"]) for event in found)


async def test_a_span_of_time(served: Client, day: Day) -> None:
    """From the start on, up to but not at the end; times in any offset."""
    within: dict[str, Any] = {"from": day.start, "to": day.end, "patientId": day.one}
    assert brief(await events(served, **within)) == [
        ("bo", "read", "OK", "religion"),
        ("bo", "read", "OK", "religion"),
        ("ann", "read", "OK", "displayName"),
    ]
    elsewhere = {**within, "from": day.start.replace("Z", "+00:00")}
    assert len(await events(served, **elsewhere)) == 3
    assert await events(served, **{**within, "from": day.end, "to": day.start}) == []


@pytest.mark.parametrize("moment", ["2026-11-21T18:55:03", "2026-11-21", "soon", "", "99999-01-01T00:00:00Z"])
async def test_a_time_is_a_point_in_time(served: Client, moment: str) -> None:
    """A time without an offset, or no time at all, is refused with its path."""
    variables = {"filter": {"from": moment}}
    answer, [leaf] = await served.watched(EVENTS, Role.COMPLIANCE_OFFICER, variables=variables)
    expected = {"code": "VALIDATION_FAILED", "field": "filter.from", "rule": "date_time"}
    assert answer.json()["errors"][0]["extensions"] == expected
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("audit.read", "denied", "VALIDATION_FAILED")


async def test_pages_meet(served: Client, day: Day) -> None:
    """Pages of two, one after another, are the whole list, though every look adds an event of its own."""
    whole = [event["id"] for event in await events(served, patientId=day.one)]
    seen: list[str] = []
    after: str | None = None
    while True:
        variables = {"filter": {"patientId": day.one}, "first": 2, "after": after}
        found = (await served.data(EVENTS, Role.COMPLIANCE_OFFICER, variables=variables))["accessEvents"]
        seen += [edge["node"]["id"] for edge in found["edges"] if edge["node"]["action"] != "audit.read"]
        assert len(found["edges"]) == 2 or not found["pageInfo"]["hasNextPage"]
        assert found["pageInfo"]["hasPreviousPage"] == (after is not None)
        if not found["pageInfo"]["hasNextPage"]:
            break
        after = found["pageInfo"]["endCursor"]
    assert seen == whole


@pytest.mark.parametrize("after", ["", "AA", "YWJj", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk", "LTE", "MS41"])
async def test_a_foreign_cursor_is_refused(served: Client, after: str) -> None:
    """NUL, letters, a number too long for the database, one below zero, a fraction: refused, alike on both engines."""
    answer = await served.ask(EVENTS, Role.COMPLIANCE_OFFICER, variables={"after": after})
    assert answer.json()["errors"][0]["extensions"] == {
        "code": "VALIDATION_FAILED",
        "field": "after",
        "rule": "cursor",
    }


async def test_reading_the_log_is_recorded_once(served: Client, day: Day) -> None:
    """One event with the count; it names the patient who was asked about, and no other."""
    answer, [leaf] = await served.watched(EVENTS, Role.COMPLIANCE_OFFICER, variables={"filter": {"patientId": day.two}})
    shown = answer.json()["data"]["accessEvents"]["edges"]
    assert (leaf["act"], leaf["out"], leaf["cnt"]) == ("audit.read", "ok", len(shown))
    [subject] = {found["pat"] for found in await served.house.leaves(act="update")}
    assert leaf["pat"] == subject
    _, [leaf] = await served.watched(EVENTS, Role.COMPLIANCE_OFFICER, variables={"filter": {"actor": "bo"}})
    assert (leaf["act"], leaf["cnt"], "pat" in leaf) == ("audit.read", 2, False)


@pytest.mark.parametrize("role", [role for role in Role if role.value.partition("_")[2] != "officer"])
async def test_nobody_else_reads_it(served: Client, role: Role) -> None:
    """Eight roles may not, and the attempt is in the log."""
    answer, [leaf] = await served.watched(EVENTS, role, patient=str(uuid4()))
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
    assert "data" not in answer.json()
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("audit.read", "denied", "FORBIDDEN")


async def test_each_organisation_has_its_own_log(served: Client, day: Day) -> None:
    """An officer of another organisation sees neither the events nor that the patient exists."""
    assert await events(served, org=OTHER_ORG, patientId=day.one) == []
    assert await events(served, org=OTHER_ORG, actor="bo") == []


async def test_a_subject_that_is_no_plain_identifier(served: Client, day: Day) -> None:
    """It stands in the log as a digest, and is found all the same by who knows it."""
    subject = "Zoë van der Berg"
    await served.data(question("displayName"), variables={"id": day.two}, subject=subject)
    [event] = await events(served, actor=subject)
    assert event["actor"]["subject"].startswith("sha256:")
    assert event["patientId"] == day.two


async def test_attempts_without_a_token_are_found(served: Client) -> None:
    """An officer can ask for attempts that no organisation owns; they hold a reason, and nothing of the token."""
    before = len(await events(served, unattributed=True))
    await served.ask("{ viewer { subject } }", None)
    await served.ask("{ viewer { subject } }", None, headers={"authorization": "Bearer not.a.token"})
    found = await events(served, unattributed=True)
    assert len(found) == before + 2
    assert [(each["action"], each["outcome"], each["actor"]["subject"], each["patientId"]) for each in found[:2]] == [
        ("login", "DENIED", None, None)
    ] * 2
    query = "{ accessEvents(filter: {unattributed: true}) { edges { node { id } } } }"
    assert await served.codes(query, Role.FRONT_DESK) == ["FORBIDDEN"]
