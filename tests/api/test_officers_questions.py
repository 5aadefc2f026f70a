"""The officers' questions over HTTP, on both engines: what they answer, who may ask, and the one event of each.

That they find what is in a large log, and by an index, is tests/reliability/test_officers.py.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.audit.event import Act, Event, Who
from tests.asking import question
from tests.client import Client
from tests.house import ORG, OTHER_ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

SUM = """actor patientId auditSubject action outcome purposeOfUse roles flag day hour events refused patients
  firstAt lastAt"""
SUMMARY = f"""query Sums($filter: AccessEventFilter, $by: [AccessDimension!]!, $first: Int) {{
  accessSummary(filter: $filter, groupBy: $by, first: $first) {{ from to complete rows {{ {SUM} }} }} }}"""
ANOMALIES = """query More($from: DateTime, $to: DateTime, $least: Int) {
  accessAnomalies(from: $from, to: $to, minimumPatients: $least) { from to complete rows {
    day actor patients events refused usualPatients deviation threshold daysKnown } } }"""
ACCOUNTING = """query Given($id: ID!, $from: DateTime, $to: DateTime) {
  accountingOfDisclosures(patientId: $id, from: $from, to: $to) { patientId from to complete disclosures {
    recipient { subject issuer roles organisation clientId } purposeOfUse action fields firstAt lastAt count
    firstEventId lastEventId } } }"""
EVENTS = """query Log($filter: AccessEventFilter) { accessEvents(filter: $filter, first: 100) {
  edges { node { id seq action flags patientId auditSubject actor { subject tokenId } } } } }"""
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"
EVERY: dict[str, tuple[str, dict[str, Any]]] = {
    "accessSummary": (SUMMARY, {"by": ["ACTOR"]}),
    "accessAnomalies": (ANOMALIES, {}),
    "accountingOfDisclosures": (ACCOUNTING, {"id": UNKNOWN}),
}
OFFICERS = (Role.COMPLIANCE_OFFICER, Role.PRIVACY_OFFICER)


@dataclass(frozen=True)
class Day:
    """Two patients whom three people had to do with; `subject` is the first one's name in the log."""

    one: str
    two: str
    subject: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def day(served: Client) -> AsyncIterator[Day]:
    """Ann looks twice at one and once at two, bo is refused once, and a lab is given one twice."""
    one = str((await served.house.register({"preferred_name": "One"}))["id"])
    two = str((await served.house.register({"preferred_name": "Two"}))["id"])
    for patient in (one, one, two):
        await served.data(question("displayName"), variables={"id": patient}, subject="ann")
    assert await served.codes(question("religion"), variables={"id": one}, subject="bo") == ["FORBIDDEN_FIELD"]
    subject = (await served.house.leaves(actor="bo"))[0]["pat"]
    lab = Who(iss="https://lab.test", sub="lab", roles=("integration",), org=ORG, client="lis")
    given = {"who": lab, "pou": "RECORDMGT", "pat": subject, "fld": ("birthDate", "names"), "flg": ("bulk", "vip")}
    for _ in range(2):
        await served.house.log.append(ORG, [Event(Act.EXPORT, **given)])
    yield Day(one, two, subject)


async def sums(served: Client, *by: str, first: int | None = None, **chosen: Any) -> dict[str, Any]:
    """What the summary answers."""
    variables = {"filter": chosen, "by": list(by), "first": first}
    found: dict[str, Any] = (await served.data(SUMMARY, Role.COMPLIANCE_OFFICER, variables=variables))["accessSummary"]
    return found


async def test_who_saw_a_patient(served: Client, day: Day) -> None:
    """Each viewer once, with counts and refusals; dimensions that were not asked for are null."""
    found = await sums(served, "ACTOR", patientId=day.one)
    assert (found["complete"], found["from"], found["to"]) == (True, None, None)
    rows = {row["actor"]: row for row in found["rows"] if row["actor"] != "compliance_officer-1"}
    assert {actor: (row["events"], row["refused"], row["patients"]) for actor, row in rows.items()} == {
        "ann": (2, 0, 1),
        "bo": (1, 1, 1),
        "lab": (2, 0, 1),
        "u-1": (1, 0, 1),
    }
    dull = ("patientId", "auditSubject", "action", "outcome", "purposeOfUse", "roles", "flag", "day", "hour")
    assert {rows["ann"][name] for name in dull} == {None}
    assert rows["ann"]["firstAt"] < rows["ann"]["lastAt"]


async def test_every_dimension(served: Client, day: Day) -> None:
    """Each shows its value in the form that the schema has for it."""
    by = ["PATIENT", "ACTION", "OUTCOME", "PURPOSE", "ROLE"]
    [row] = (await sums(served, *by, actor="bo"))["rows"]
    assert row | {"firstAt": "", "lastAt": ""} == {
        "actor": None,
        "patientId": day.one,
        "auditSubject": day.subject,
        "action": "read",
        "outcome": "DENIED",
        "purposeOfUse": "PATADMIN",
        "roles": ["FRONT_DESK"],
        "flag": None,
        "day": None,
        "hour": None,
        "events": 1,
        "refused": 1,
        "patients": 1,
        "firstAt": "",
        "lastAt": "",
    }
    rows = (await sums(served, "FLAG", "DAY", "HOUR", actor="lab"))["rows"]
    assert sorted(row["flag"] for row in rows) == ["BULK", "VIP"]
    assert {(row["day"], row["hour"]) for row in rows} == {(rows[0]["firstAt"][:10], int(rows[0]["firstAt"][11:13]))}
    [whole] = (await sums(served, actor="ann"))["rows"]
    assert (whole["events"], whole["patients"]) == (3, 2)


async def test_a_summary_says_what_it_leaves_out(served: Client, day: Day) -> None:
    """More groups than were asked for, and the time that it is about where nobody said so."""
    found = await sums(served, "ACTOR", first=1, actor=None)
    assert (len(found["rows"]), found["complete"]) == (1, False)
    assert found["from"] < found["to"]
    assert (await sums(served, "ACTOR", patientId=str(uuid4())))["rows"] == []
    assert (await sums(served, "ACTOR", patientId=day.one, auditSubject="0" * 32))["rows"] == []


@pytest.mark.parametrize(
    ("chosen", "first", "field", "rule"),
    [
        ({"from": "2020-01-01T00:00:00Z"}, None, "filter.from", "span_too_long"),
        ({"from": "2020-01-01T00:00:00Z", "actor": "ann"}, None, "filter.from", "span_too_long"),
        ({"tokenId": "t"}, None, "filter.tokenId", "needs_actor"),
        ({"auditSubject": "a person"}, None, "filter.auditSubject", "audit_subject"),
        ({"to": "soon"}, None, "filter.to", "date_time"),
        ({}, 0, "first", "out_of_range"),
        ({}, 1001, "first", "out_of_range"),
    ],
)
async def test_what_cannot_be_summed_up(
    served: Client, day: Day, chosen: dict[str, Any], first: int | None, field: str, rule: str
) -> None:
    """Too long a time without anything that narrows it, and what is malformed; recorded as refused."""
    variables: dict[str, Any] = {"filter": chosen, "by": [], "first": first}
    answer, [leaf] = await served.watched(SUMMARY, Role.COMPLIANCE_OFFICER, variables=variables)
    assert answer.json()["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("audit.read", "denied", "VALIDATION_FAILED")


async def test_circumstances_and_sessions(served: Client, day: Day) -> None:
    """The filter finds events by any of some flags, by a session, and by a patient's name in the log."""

    async def found(**chosen: Any) -> list[dict[str, Any]]:
        data = await served.data(EVENTS, Role.COMPLIANCE_OFFICER, variables={"filter": chosen})
        return [edge["node"] for edge in data["accessEvents"]["edges"]]

    assert [(each["flags"], each["actor"]["subject"]) for each in await found(flags=["VIP", "MINOR"])] == [
        (["BULK", "VIP"], "lab")
    ] * 2
    assert await found(flags=["MINOR"]) == []
    seen = await found(actor="ann")
    token = seen[0]["actor"]["tokenId"]
    assert token is not None
    assert [each["id"] for each in await found(actor="ann", tokenId=token)] == [
        each["id"] for each in seen if each["actor"]["tokenId"] == token
    ]
    assert await found(actor="bo", tokenId=token) == []
    by_subject = {each["id"] for each in await found(auditSubject=day.subject)}
    assert by_subject >= {each["id"] for each in seen if each["auditSubject"] == day.subject}
    assert {each["patientId"] for each in await found(auditSubject=day.subject, actor="ann")} == {day.one}


@pytest.mark.parametrize("chosen", [{"action": "update"}, {"purpose": "HPAYMT"}])
async def test_what_walks_through_time_is_bounded(served: Client, day: Day, chosen: dict[str, str]) -> None:
    """By action or purpose alone: a month, the last one by default; what has an index narrows it, and sets it free."""
    since = {"from": "2020-01-01T00:00:00Z"}
    variables = {"filter": {**chosen, **since}}
    answer, [leaf] = await served.watched(EVENTS, Role.COMPLIANCE_OFFICER, variables=variables)
    refusal = {"code": "VALIDATION_FAILED", "field": "filter.from", "rule": "span_too_long"}
    assert (answer.json()["data"], answer.json()["errors"][0]["extensions"]) == ({"accessEvents": None}, refusal)
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("audit.read", "denied", "VALIDATION_FAILED")
    month = {"from": "2020-01-01T00:00:00Z", "to": "2020-02-01T00:00:00Z"}
    for allowed in (
        chosen,
        chosen | month,
        chosen | since | {"patientId": day.one},
        chosen | since | {"auditSubject": day.subject},
        chosen | since | {"requestId": "r"},
        since,
    ):
        await served.data(EVENTS, Role.COMPLIANCE_OFFICER, variables={"filter": allowed})
    wide = {"from": "2026-01-01T00:00:00Z", "to": "2026-12-31T00:00:00Z", "actor": "ann"}
    await served.data(EVENTS, Role.COMPLIANCE_OFFICER, variables={"filter": chosen | wide})


async def test_disclosures(served: Client, day: Day) -> None:
    """Who was given what, when first and last, and how often; of the other patient, nothing."""
    found = (await served.data(ACCOUNTING, Role.PRIVACY_OFFICER, variables={"id": day.one}))["accountingOfDisclosures"]
    [given] = found["disclosures"]
    leaves = await served.house.leaves(actor="lab")
    assert given == {
        "recipient": {
            "subject": "lab",
            "issuer": "https://lab.test",
            "roles": ["INTEGRATION"],
            "organisation": ORG,
            "clientId": "lis",
        },
        "purposeOfUse": "RECORDMGT",
        "action": "export",
        "fields": ["birthDate", "names"],
        "firstAt": leaves[0]["t"],
        "lastAt": leaves[1]["t"],
        "count": 2,
        "firstEventId": leaves[0]["id"],
        "lastEventId": leaves[1]["id"],
    }
    assert (found["patientId"], found["complete"]) == (day.one, True)
    assert int(found["to"][:4]) - int(found["from"][:4]) == 6
    other = await served.data(ACCOUNTING, Role.PRIVACY_OFFICER, variables={"id": day.two})
    assert other["accountingOfDisclosures"]["disclosures"] == []
    before = {"id": day.one, "to": "2020-01-01T00:00:00Z"}
    earlier = await served.data(ACCOUNTING, Role.PRIVACY_OFFICER, variables=before)
    assert earlier["accountingOfDisclosures"]["disclosures"] == []


async def test_who_did_more_than_before(served: Client) -> None:
    """Counted when asked: nothing out of the ordinary among a handful of looks, and a bound on the time."""
    found = (await served.data(ANOMALIES, Role.COMPLIANCE_OFFICER, variables={"least": 1}))["accessAnomalies"]
    assert (found["rows"], found["complete"]) == ([], True)
    for variables, field, rule in (
        ({"from": "2020-01-01T00:00:00Z"}, "from", "span_too_long"),
        ({"from": "2030-01-01T00:00:00Z"}, "from", "after_the_end"),
        ({"least": 0}, "minimumPatients", "out_of_range"),
    ):
        answer = await served.ask(ANOMALIES, Role.COMPLIANCE_OFFICER, variables=variables)
        assert answer.json()["errors"][0]["extensions"] == {"code": "VALIDATION_FAILED", "field": field, "rule": rule}


@pytest.mark.parametrize("name", EVERY)
async def test_who_may_ask(served: Client, day: Day, name: str) -> None:
    """The two officers, with one event each; others get nothing of the log, and their attempt is on record."""
    query, variables = EVERY[name]
    variables = {**variables, **({"id": day.one} if "id" in variables else {})}
    for role in Role:
        answer, leaves = await served.watched(query, role, variables=variables, patient=day.one)
        if role in OFFICERS:
            assert answer.json()["data"][name] is not None
            assert [(leaf["act"], leaf["out"]) for leaf in leaves] == [("audit.read", "ok")]
            continue
        assert answer.json() == {"errors": answer.json()["errors"]}
        assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}
        assert [(leaf["act"], leaf["out"], leaf["why"]) for leaf in leaves] == [("audit.read", "denied", "FORBIDDEN")]
        assert [leaf.get("pat") for leaf in leaves] == [day.subject if "id" in variables else None]
    assert await served.codes(query, None, variables=variables) == ["UNAUTHENTICATED"]


async def test_each_organisation_asks_of_its_own(served: Client, day: Day) -> None:
    """Another organisation's officer learns of no event, and not that the patient exists."""
    for chosen in ({"patientId": day.one}, {"actor": "ann"}, {"auditSubject": day.subject}):
        variables: dict[str, Any] = {"filter": chosen, "by": ["ACTOR"]}
        found = await served.data(SUMMARY, Role.COMPLIANCE_OFFICER, variables=variables, org=OTHER_ORG)
        assert found["accessSummary"]["rows"] == []
    for patient in (day.one, str(uuid4())):
        answer, [leaf] = await served.watched(
            ACCOUNTING, Role.PRIVACY_OFFICER, variables={"id": patient}, org=OTHER_ORG, log=OTHER_ORG
        )
        assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
        assert (leaf["out"], leaf["why"], leaf.get("pat")) == ("denied", "NOT_FOUND", None)


async def test_of_an_erased_patient(served: Client) -> None:
    """Nobody is told that nothing was disclosed of them: it cannot be known any more. Their old name still answers."""
    patient = await served.house.register({"preferred_name": "Gone"})
    variables = {"id": patient["id"]}
    await served.data(question("displayName"), variables=variables, subject="cy")
    subject = (await served.house.leaves(actor="cy"))[0]["pat"]
    erase = f"""mutation {{ erasePatient(input: {{ patientId: "{patient["id"]}", expectedVersion: 1,
      reason: PATIENT_REQUEST }}) {{ reason }} }}"""
    await served.data(erase, Role.PRIVACY_OFFICER)
    assert await served.codes(ACCOUNTING, Role.PRIVACY_OFFICER, variables=variables) == ["ERASED"]
    assert (await sums(served, "ACTOR", patientId=patient["id"], actor="cy"))["rows"] == []
    [row] = (await sums(served, "PATIENT", auditSubject=subject, actor="cy"))["rows"]
    assert (row["patientId"], row["auditSubject"], row["events"]) == (None, subject, 1)
