"""Break-glass through GraphQL: from the closed record to the reviewed grant, and what the log says of every step."""

import asyncio
import hashlib
import logging
from typing import Any

import pytest
from sqlalchemy import bindparam, select

from auth.purposes import Purpose
from auth.roles import Role
from crm.domain.break_glass import BreakGlassReason
from crm.store.statements import prepare
from crm.store.tables import audit_detail
from schema.sdl import build_schema
from tests.breaking import GRANTS, LOOK, PARTS, REQUEST, REVIEW, WORDS, looked, queue, request, restricted, review
from tests.client import Client
from tests.house import ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

NOTE = "Asked the ward: the person was brought in at four."
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"

_DETAILS = prepare(
    select(audit_detail.c.kind, audit_detail.c.octets).where(
        audit_detail.c.org == bindparam("org"), audit_detail.c.id == bindparam("ref")
    )
)


async def test_the_story(served: Client, caplog: pytest.LogCaptureFixture) -> None:
    """Withheld in treatment; asked for, shown, alerted, found in the queue, judged, gone, and seen by the patient."""
    patient = await restricted(served)
    kept = (await served.data(LOOK, Role.CLINICIAN, variables={"id": patient}))["patient"]
    assert (kept["restricted"], kept["displayName"], kept["contactPoints"]) == (True, "Zoe", None)

    with caplog.at_level(logging.WARNING, "heed.privacy"):
        grant = await request(served, patient)
    [alert] = caplog.records
    assert grant["id"] in alert.getMessage()
    assert patient not in alert.getMessage()
    assert "unconscious" not in alert.getMessage()

    answer, [leaf] = await looked(served, patient)
    assert [each["value"] for each in answer.json()["data"]["patient"]["contactPoints"]] == [
        "+447700900321", "zoleka@example.test",
    ]  # fmt: skip
    assert (leaf["act"], leaf["out"], leaf["ref"], leaf["pou"]) == ("read", "ok", grant["id"], ["BTG"])
    assert {"break_glass", "restricted"} <= set(leaf["flg"])
    assert "msk" not in leaf

    [waiting] = [node for node in await queue(served) if node["id"] == grant["id"]]
    assert waiting == {**grant, "openings": 1}
    judged = await review(served, grant["id"], note=NOTE)
    assert judged == {
        **waiting,
        "note": NOTE,
        "verdict": "JUSTIFIED",
        "reviewedBy": "privacy_officer-1",
        "reviewedAt": judged["reviewedAt"],
    }
    assert grant["id"] not in [node["id"] for node in await queue(served)]
    assert judged in await queue(served, reviewed=True)

    mine = "query M { myAccessLog(first: 20) { edges { node { action purposeOfUse roles } } } }"
    found = await served.data(mine, Role.PATIENT, patient=patient)
    steps = [tuple(edge["node"].values()) for edge in found["myAccessLog"]["edges"]]
    assert [step for step in steps if step[0] != "audit.read"][:4] == [
        ("review", "RECORDMGT", ["PRIVACY_OFFICER"]),
        ("read", "BTG", ["CLINICIAN"]),
        ("breakglass", "TREAT", ["CLINICIAN"]),
        ("read", "TREAT", ["CLINICIAN"]),
    ]


async def test_what_the_log_says(served: Client) -> None:
    """Request and review leave a leaf each, with the code, the grant, and the digest of the words, not the words."""
    patient = await restricted(served)
    given = {"patientId": patient, "reason": "COVERING_COLLEAGUE", "text": WORDS}
    answer, [asked] = await served.watched(REQUEST, Role.CLINICIAN, variables={"i": given})
    grant = answer.json()["data"]["requestBreakGlass"]
    said = {"grantId": grant["id"], "verdict": "NEEDS_FOLLOW_UP", "note": NOTE}
    _, [judged] = await served.watched(REVIEW, Role.COMPLIANCE_OFFICER, variables={"i": said})
    assert (asked["act"], asked["why"], asked["ref"]) == ("breakglass", "COVERING_COLLEAGUE", grant["id"])
    assert asked["cnt"] == 60  # minutes
    assert (judged["act"], judged["why"], judged["ref"]) == ("review", "NEEDS_FOLLOW_UP", grant["id"])
    assert "break_glass" in asked["flg"]
    assert "break_glass" not in judged.get("flg", ())
    assert asked["pat"] == judged["pat"]
    assert judged["fld"] == ["note", "text"]
    octets = {
        row["kind"]: bytes(row["octets"]) for row in await served.house.database.fetch(ORG, _DETAILS, ref=grant["id"])
    }
    assert {leaf["act"]: leaf["sealed"] for leaf in (asked, judged)} == {
        kind: "sha256:" + hashlib.sha256(sealed).hexdigest() for kind, sealed in octets.items()
    }
    assert not any(word in sealed for sealed in octets.values() for word in (b"unconscious", b"ward"))
    assert "unconscious" not in str(await served.house.leaves())


async def test_asking_again(served: Client, caplog: pytest.LogCaptureFixture) -> None:
    """The same grant with its own words and end, an event that says so, and no second place in the queue."""
    patient = await restricted(served)
    first = await request(served, patient, minutes=5)
    await looked(served, patient)
    given = {"patientId": patient, "reason": "PUBLIC_SAFETY", "text": "Quite another story.", "minutes": 60}
    caplog.clear()
    with caplog.at_level(logging.WARNING, "heed.privacy"):
        answer, [leaf] = await served.watched(REQUEST, Role.CLINICIAN, variables={"i": given})
    assert answer.json()["data"]["requestBreakGlass"] == {**first, "openings": 1}
    assert not caplog.records
    told = (leaf["act"], leaf["out"], leaf["why"], leaf["ref"], leaf["fld"])
    assert told == ("breakglass", "ok", "GRANTED_ALREADY", first["id"], ["text"])
    assert not {"cnt", "sealed"} & leaf.keys()
    assert [node["patientId"] for node in await queue(served)].count(patient) == 1
    await review(served, first["id"])
    second = await request(served, patient)  # what was judged is done with
    assert second["id"] != first["id"]


async def test_many_requests_at_one_moment(served: Client) -> None:
    """Of one person for one patient: they take turns, and are all answered the same grant."""
    patient = await restricted(served)
    grants = await asyncio.gather(*(request(served, patient, subject="hurried") for _ in range(8)))
    assert len({grant["id"] for grant in grants}) == 1
    assert [node["patientId"] for node in await queue(served)].count(patient) == 1


async def test_looking_at_the_queue_is_one_event(served: Client) -> None:
    """However many grants a page has; and the event says whether the words were opened."""
    patient = await restricted(served)
    for number in range(3):
        await request(served, patient, subject=f"doctor-{number}")
    _, [leaf] = await served.watched(GRANTS, Role.PRIVACY_OFFICER, variables={"first": 3})
    assert (leaf["act"], leaf["cnt"], leaf["fld"]) == ("audit.read", 3, ["note", "text"])
    ids = """query Q { breakGlassGrants(first: 2) { ...Page } }
      fragment Page on BreakGlassGrantConnection { edges { node { ...G } } }
      fragment G on BreakGlassGrant { id note @skip(if: true) }"""
    _, [leaf] = await served.watched(ids, Role.PRIVACY_OFFICER)
    assert (leaf["act"], leaf["cnt"]) == ("audit.read", 2)
    assert "fld" not in leaf


async def test_the_queue_goes_by_age(served: Client) -> None:
    """What waits is told from the oldest on, what was reviewed from the newest on, in pages that meet."""
    patient = await restricted(served)
    mine = [(await request(served, patient, subject=f"doctor-{number}"))["id"] for number in range(3)]
    waiting = [node["id"] for node in await queue(served)]
    assert [each for each in waiting if each in mine] == mine
    assert waiting == sorted(waiting)
    seen: list[str] = []
    after = None
    while len(seen) < len(waiting):
        page = await served.data(GRANTS, Role.PRIVACY_OFFICER, variables={"first": 2, "after": after})
        seen += [edge["node"]["id"] for edge in page["breakGlassGrants"]["edges"]]
        after = page["breakGlassGrants"]["pageInfo"]["endCursor"]
    assert seen == waiting
    for each in mine:
        await review(served, each)
    assert [node["id"] for node in await queue(served, reviewed=True)][:3] == mine[::-1]


@pytest.mark.parametrize("purpose", [Purpose.TREAT, Purpose.ETREAT, Purpose.BTG])
async def test_a_clinician_may_ask_in_each_purpose_of_care(served: Client, purpose: Purpose) -> None:
    """Also on a record that is not restricted, and before having any grant."""
    patient = (await served.house.register())["id"]
    grant = await request(served, patient, purpose=purpose, minutes=5)
    assert (grant["patientId"], grant["text"], grant["overdue"], grant["openings"]) == (patient, WORDS, False, 0)
    answer, [leaf] = await looked(served, patient)
    assert answer.json()["data"]["patient"]["displayName"] == "Sam"
    assert leaf["flg"].count("break_glass") == 1


@pytest.mark.parametrize("reason", BreakGlassReason)
async def test_every_reason(served: Client, reason: BreakGlassReason) -> None:
    """The closed list of reasons."""
    assert (await request(served, await restricted(served), reason=reason.value))["reason"] == reason.value


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"text": "too short"}, {"field": "input.text", "rule": "string_too_short"}),
        ({"text": "   short      "}, {"field": "input.text", "rule": "string_too_short"}),
        ({"text": "x" * 1001}, {"field": "input.text", "rule": "string_too_long"}),
        ({"text": "with a \u0001 in it, and more"}, {"field": "input.text", "rule": "control_character"}),
        ({"minutes": 0}, {"field": "input.minutes", "rule": "out_of_range"}),
        ({"minutes": 61}, {"field": "input.minutes", "rule": "out_of_range"}),
        ({"reason": "CURIOSITY"}, {"field": "i.reason"}),
    ],
)
async def test_what_does_not_fit(served: Client, changed: dict[str, Any], expected: dict[str, str]) -> None:
    """Refused by the field and the rule, without a grant, and on record where the policy was asked."""
    patient = await restricted(served)
    given = {"patientId": patient, "reason": "PUBLIC_SAFETY", "text": WORDS, **changed}
    answer, leaves = await served.watched(REQUEST, Role.CLINICIAN, variables={"i": given})
    assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": "VALIDATION_FAILED", **expected}]
    assert [(leaf["act"], leaf["out"], leaf["why"]) for leaf in leaves] in (
        [("breakglass", "denied", "VALIDATION_FAILED")],
        [],
    )
    assert patient not in [node["patientId"] for node in await queue(served)]


async def test_words_of_every_length_and_script(served: Client) -> None:
    """Ten characters and a thousand, of any alphabet, come back as they were written."""
    patient = await restricted(served)
    for text in ("Zehn genau", "ß" * 1000, "病人无意识,无法询问任何人。"):
        grant = await request(served, patient, text=text, subject=f"writer-{len(text)}")
        [node] = [node for node in await queue(served) if node["id"] == grant["id"]]
        assert node["text"] == grant["text"] == text


async def test_whom_there_is_no_grant_for(served: Client) -> None:
    """Never there, or in another organisation: one and the same answer, and the attempt on record."""
    foreign = await restricted(served, org="south-clinic")
    answers = []
    for patient in (UNKNOWN, foreign, "no-uuid"):
        given = {"patientId": patient, "reason": "EMERGENCY_TREATMENT", "text": WORDS}
        answer, [leaf] = await served.watched(REQUEST, Role.CLINICIAN, variables={"i": given})
        assert [error["extensions"] for error in answer.json()["errors"]] == [{"code": "NOT_FOUND"}]
        assert (leaf["act"], leaf["out"], leaf["why"]) == ("breakglass", "denied", "NOT_FOUND")
        answers.append(answer.json())
    assert answers[0] == answers[1] == answers[2]


async def test_each_id_of_many_needs_its_own_grant(served: Client) -> None:
    """One statement for the page: granted ones are answered, each other id is refused on its own and on record."""
    open_, closed = await restricted(served), await restricted(served)
    grant = await request(served, open_)
    many = (
        "query M($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { id displayName } ... on Refusal { id code } } }"
    )
    answer, leaves = await served.watched(
        many, Role.CLINICIAN, purpose=Purpose.BTG, variables={"ids": [closed, open_, UNKNOWN]}
    )
    assert answer.json()["data"]["patients"] == [
        {"id": closed, "code": "BREAK_GLASS_REQUIRED"},
        {"id": open_, "displayName": "Zoe"},
        {"id": UNKNOWN, "code": "NOT_FOUND"},
    ]
    told = {(leaf["out"], leaf.get("why"), leaf.get("ref")) for leaf in leaves}
    assert told == {("ok", None, grant["id"]), ("denied", "BREAK_GLASS_REQUIRED", None), ("denied", "NOT_FOUND", None)}
    refused = [leaf for leaf in leaves if leaf.get("why") == "BREAK_GLASS_REQUIRED"]
    assert [("pat" in leaf, "break_glass" in leaf.get("flg", ())) for leaf in refused] == [(True, False)]


async def test_a_review_without_a_note(served: Client) -> None:
    """A verdict is enough; then there is nothing sealed beside it."""
    grant = await request(served, await restricted(served))
    said = {"grantId": grant["id"], "verdict": "UNJUSTIFIED"}
    answer, [leaf] = await served.watched(REVIEW, Role.PRIVACY_OFFICER, variables={"i": said})
    judged = answer.json()["data"]["reviewBreakGlass"]
    assert (judged["verdict"], judged["note"], judged["text"]) == ("UNJUSTIFIED", None, WORDS)
    assert "sealed" not in leaf


async def test_no_metric_needs_a_question(served: Client) -> None:
    """The gauges say what was counted last, and nobody's name."""
    broken = served.house.services.break_glass
    await broken.refresh()
    count = broken.waiting.grants
    await request(served, await restricted(served))
    page = (await served.http.get("/metrics")).text
    assert f"heed_break_glass_unreviewed {float(count)}" in page
    await broken.refresh()
    page = (await served.http.get("/metrics")).text
    assert f"heed_break_glass_unreviewed {float(count + 1)}" in page
    assert broken.waiting.oldest is not None
    [line] = [line for line in page.splitlines() if line.startswith("heed_break_glass_oldest_seconds ")]
    assert float(line.split()[1]) == broken.waiting.oldest / 1e6


async def test_parts_are_all_there_is() -> None:
    """What these tests ask of a grant is every field that it has."""
    kind: Any = build_schema().type_map["BreakGlassGrant"]
    assert set(PARTS.split()) == set(kind.fields)
