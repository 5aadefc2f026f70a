"""The life of access needs over HTTP, on both engines: reviews, outcomes, and the two lists of what was left undone."""

from datetime import UTC, datetime
from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.audit.event import Act
from crm.services.exports import Exports
from crm.services.request import Request
from tests.client import Client
from tests.house import REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

NEEDS = "accessNeeds { id kind lastReviewedAt reviewDueAt lastMetAt lastUnmetAt }"
REVIEW = f"mutation R($i: ReviewNeedInput!) {{ reviewNeed(input: $i) {{ version {NEEDS} }} }}"
OUTCOME = f"mutation O($i: RecordNeedOutcomeInput!) {{ recordNeedOutcome(input: $i) {{ version {NEEDS} }} }}"
PAGE = "pageInfo { hasNextPage hasPreviousPage endCursor }"
OVERDUE = f"""query D($day: PartialDate, $first: Int, $after: String) {{
  overdueReviews(asOf: $day, first: $first, after: $after) {{ edges {{ node {{ id {NEEDS} }} }} {PAGE} }} }}"""
UNMET = f"""query U($from: PartialDateTime!, $to: PartialDateTime, $first: Int, $after: String) {{
  unmetNeeds(from: $from, to: $to, first: $first, after: $after) {{
    edges {{ lastAt times node {{ id }} }} {PAGE} }} }}"""
SEARCHING = {
    Role.FRONT_DESK,
    Role.CLINICIAN,
    Role.CARE_COORDINATOR,
    Role.PRIVACY_OFFICER,
    Role.INTEGRATION,
}


async def person(served: Client, org: str, *due: str | None, **more: Any) -> tuple[str, list[str]]:
    """A patient of an organisation of its own with one need for each review that is due: ids of both."""
    kinds = ("HEARING_LOOP", "QUIET_SPACE", "ADVOCATE")
    needs = [{"kind": kind, "review_due_at": at} for kind, at in zip(kinds, due, strict=False)]
    patient = await served.house.store({"access_needs": needs, **more}, org=org)
    query = f'{{ patient(id: "{patient}") {{ {NEEDS} }} }}'
    found = await served.data(query, Role.CLINICIAN, org=org)
    return patient, [need["id"] for need in found["patient"]["accessNeeds"]]


async def changed(served: Client, query: str, given: dict[str, Any], role: Role = Role.FRONT_DESK, **who: Any) -> Any:
    """What a change answers, which must succeed."""
    [found] = (await served.data(query, role, variables={"i": given}, **who)).values()
    return found


async def overdue(served: Client, org: str, day: str | None, **more: Any) -> list[str]:
    """The ids of the patients on one page."""
    found = await served.data(OVERDUE, variables={"day": day, **more}, org=org)
    return [edge["node"]["id"] for edge in found["overdueReviews"]["edges"]]


async def unmet(served: Client, org: str, start: str, end: str | None = None) -> list[tuple[str, int]]:
    """Patients and how often."""
    found = await served.data(UNMET, variables={"from": start, "to": end}, org=org)
    return [(edge["node"]["id"], edge["times"]) for edge in found["unmetNeeds"]["edges"]]


def moment() -> str:
    """Now, as a client writes it."""
    return datetime.now(UTC).isoformat()


def why(answer: dict[str, Any]) -> str:
    """The rule or code of the one refusal."""
    [error] = answer["errors"]
    return str(error["extensions"].get("rule", error["extensions"]["code"]))


# --- reviews and outcomes --------------------------------------------------------------------------------------------


async def test_a_review(served: Client) -> None:
    """It says when, and when next; without a next time there is none; the other needs stay as they are."""
    patient, [need, other] = await person(served, "north-clinic", "2020-01-01", "2020-02-01")
    before = moment()
    given = {"patientId": patient, "expectedVersion": 1, "needId": need, "reviewDueAt": "2199-05"}
    found = await changed(served, REVIEW, given)
    reviewed, kept = found["accessNeeds"]
    assert (found["version"], reviewed["reviewDueAt"]) == (2, "2199-05")
    assert before <= reviewed["lastReviewedAt"].replace("Z", "+00:00") <= moment()
    assert (kept["id"], kept["reviewDueAt"], kept["lastReviewedAt"]) == (other, "2020-02-01", None)
    again = await changed(served, REVIEW, {"patientId": patient, "expectedVersion": 2, "needId": need})
    assert again["accessNeeds"][0]["reviewDueAt"] is None


async def test_an_outcome(served: Client) -> None:
    """Met and not met are kept side by side, each with the last time it happened."""
    patient, [need] = await person(served, "north-clinic", None)
    given = {"patientId": patient, "expectedVersion": 1, "needId": need}
    missed = (await changed(served, OUTCOME, {**given, "met": False}))["accessNeeds"][0]
    assert (bool(missed["lastUnmetAt"]), missed["lastMetAt"]) == (True, None)
    met = (await changed(served, OUTCOME, {**given, "expectedVersion": 2, "met": True}))["accessNeeds"][0]
    assert met["lastUnmetAt"] == missed["lastUnmetAt"] < met["lastMetAt"]


async def test_a_new_list_of_needs_keeps_what_became_of_them(served: Client) -> None:
    """Who rewords a need does not wipe out that it was not met; a need that goes takes its outcomes along."""
    patient, [need, gone] = await person(served, "north-clinic", None, None)
    for version, each in ((1, need), (2, gone)):
        given = {"patientId": patient, "expectedVersion": version, "needId": each, "met": False}
        before = (await changed(served, OUTCOME, given))["accessNeeds"]
    query = f"mutation U($i: UpdatePreferencesInput!) {{ updatePreferences(input: $i) {{ {NEEDS} }} }}"
    needs = [{"id": need, "kind": "HEARING_LOOP", "text": "Desk two."}, {"kind": "QUIET_SPACE"}]
    after = await changed(served, query, {"patientId": patient, "expectedVersion": 3, "accessNeeds": needs})
    reworded, new = after["accessNeeds"]
    assert (reworded["id"], reworded["lastUnmetAt"]) == (need, before[0]["lastUnmetAt"])
    assert (new["id"] != gone, new["lastUnmetAt"]) == (True, None)


@pytest.mark.parametrize(
    ("query", "more", "rule"),
    [
        (REVIEW, {"needId": "no such need"}, "unknown_need"),
        (OUTCOME, {"needId": "no such need", "met": False}, "unknown_need"),
        (REVIEW, {"reviewDueAt": "2020-01-01"}, "in_the_past"),
        (REVIEW, {"reviewDueAt": "soon"}, "date"),
        (REVIEW, {"expectedVersion": 9}, "VERSION_CONFLICT"),
        (OUTCOME, {"met": True, "expectedVersion": None}, "VERSION_REQUIRED"),
    ],
)
async def test_what_is_refused(served: Client, query: str, more: dict[str, Any], rule: str) -> None:
    """Each leaves the record as it was, and a denial that flags no unmet need."""
    patient, [need] = await person(served, "north-clinic", "2020-01-01")
    given = {"patientId": patient, "expectedVersion": 1, "needId": need, **more}
    answer, [leaf] = await served.watched(query, variables={"i": given})
    assert why(answer.json()) == rule
    assert (leaf["out"], "need_unmet" in leaf.get("flg", ())) == ("denied", False)
    found = await served.data(f'{{ patient(id: "{patient}") {{ version {NEEDS} }} }}')
    assert (found["patient"]["version"], found["patient"]["accessNeeds"][0]["reviewDueAt"]) == (1, "2020-01-01")


async def test_who_holds_a_power_of_attorney_may_say_so(served: Client) -> None:
    """A proxy of that kind, who writes the needs, also says whether they were met; another kind does not."""
    patient, [need] = await person(served, "north-clinic", None)
    given = {"patientId": patient, "expectedVersion": 1, "needId": need, "met": False}
    plain = await served.ask(OUTCOME, Role.PROXY, variables={"i": given}, patient=patient)
    assert why(plain.json()) == "FORBIDDEN"
    found = await changed(served, OUTCOME, given, Role.PROXY, purpose=Purpose.PWATRNY, patient=patient)
    assert found["accessNeeds"][0]["lastUnmetAt"]


# --- overdue reviews -------------------------------------------------------------------------------------------------


async def test_overdue_reviews(served: Client) -> None:
    """Scenario S14: what was due before the day is found, however precisely it was known; what is due on it is not."""
    org = "overdue"
    ids: dict[str, str] = {}
    for due in ("2024-12-31", "2025-03-09", "2025-03-10", "2025-03-11", "2025-03", "2025-02", "2025", "2024"):
        ids[due] = (await person(served, org, due))[0]
    ids["one of two"] = (await person(served, org, None, "2001-01-01"))[0]
    await person(served, org, None)
    found = await overdue(served, org, "2025-03-10")
    assert found == sorted(ids[due] for due in ("2024-12-31", "2025-03-09", "2025-02", "2024", "one of two"))
    assert await overdue(served, org, "2025-04-01") == sorted(ids[due] for due in ids if due != "2025")
    assert await overdue(served, org, None) == sorted(ids.values())
    assert await overdue(served, org, "2001-01-01") == []


async def test_a_review_takes_a_patient_off_the_list(served: Client) -> None:
    """And a need that nobody reviews still applies."""
    org = "reviewed"
    patient, [need] = await person(served, org, "2020-01-01")
    query = f'{{ patient(id: "{patient}") {{ accessNeeds {{ kind }} }} }}'
    assert await overdue(served, org, None) == [patient]
    assert (await served.data(query, org=org))["patient"]["accessNeeds"] == [{"kind": "HEARING_LOOP"}]
    given = {"patientId": patient, "expectedVersion": 1, "needId": need, "reviewDueAt": "2199"}
    await changed(served, REVIEW, given, org=org)
    assert await overdue(served, org, None) == []


async def test_pages_of_overdue_reviews(served: Client) -> None:
    """Page by page everybody comes once, also past patients of the same month whose review is not yet due."""
    org = "pages"
    late = [(await person(served, org, "2025-03-01"))[0] for _ in range(5)]
    for _ in range(3):
        await person(served, org, "2025-03-30")
    found: list[str] = []
    after = None
    for more in (True, True, False):
        variables = {"day": "2025-03-10", "first": 2, "after": after}
        page = (await served.data(OVERDUE, variables=variables, org=org))["overdueReviews"]
        assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (more, after is not None)
        found += [edge["node"]["id"] for edge in page["edges"]]
        after = page["pageInfo"]["endCursor"]
    assert found == sorted(late)


async def test_the_erased_are_on_no_list(served: Client) -> None:
    """Neither by the index nor by the log."""
    org = "gone"
    patient, [need] = await person(served, org, "2020-01-01")
    start = moment()
    await changed(served, OUTCOME, {"patientId": patient, "expectedVersion": 1, "needId": need, "met": False}, org=org)
    assert (await overdue(served, org, None), await unmet(served, org, start)) == ([patient], [(patient, 1)])
    context = REQUEST.context(actor(Role.PRIVACY_OFFICER, org=org))
    async with served.house.services.store.writing(context, Act.ERASE) as unit:
        await unit.erase((await unit.load_for_change([patient]))[patient], None, "PATIENT_REQUEST")
    assert (await overdue(served, org, None), await unmet(served, org, start)) == ([], [])


# --- unmet needs -----------------------------------------------------------------------------------------------------


async def test_unmet_needs(served: Client) -> None:
    """Each patient once, with how often in the time asked; met needs and other times do not count."""
    org = "unmet"
    start = moment()
    ann, [her] = await person(served, org, None)
    bob, [his] = await person(served, org, None)
    await person(served, org, None)

    async def said(patient: str, version: int, need: str, *, met: bool) -> None:
        given = {"patientId": patient, "expectedVersion": version, "needId": need, "met": met}
        await changed(served, OUTCOME, given, org=org)

    await said(ann, 1, her, met=False)
    middle = moment()
    await said(ann, 2, her, met=False)
    await said(bob, 1, his, met=True)
    assert await unmet(served, org, start) == [(ann, 2)]
    assert await unmet(served, org, start, middle) == [(ann, 1)]
    assert await unmet(served, org, middle) == [(ann, 1)]
    assert await unmet(served, org, "2020", "2021") == []
    await said(bob, 2, his, met=False)
    assert await unmet(served, org, start) == sorted([(ann, 2), (bob, 1)])
    found = await served.data(UNMET, variables={"from": start, "first": 1}, org=org)
    [edge] = found["unmetNeeds"]["edges"]
    assert found["unmetNeeds"]["pageInfo"]["hasNextPage"]
    assert start < edge["lastAt"].replace("Z", "+00:00") < moment()


async def test_a_decision_that_cannot_meet_a_need_counts(served: Client) -> None:
    """Scenario S14: messaging finds no letter box for whom letters are a need; staff find the patient on the list."""
    org, start = "decided", moment()
    points = [{"system": "EMAIL", "value": "zoe@example.test"}]
    needs = [{"kind": "CONTACT_BY_LETTER"}]
    patient = await served.house.store({"access_needs": needs, "contact_points": points}, org=org)
    query = """query D($id: ID!) { contactDecision(patientId: $id, purpose: APPOINTMENT_REMINDER) {
      outcome reasons unmetNeeds } }"""
    found = await served.data(query, Role.MESSAGING, variables={"id": patient}, org=org)
    assert found["contactDecision"]["outcome"] == "MANUAL"
    assert found["contactDecision"]["unmetNeeds"] == ["CONTACT_BY_LETTER"]
    assert await unmet(served, org, start) == [(patient, 1)]


# --- for others ------------------------------------------------------------------------------------------------------


async def test_an_export_of_needs_opens_nothing_else(served: Client) -> None:
    """Minimum necessary: each patient's event names the two fields that are given out."""
    org = "given-out"
    await person(served, org, "2020-01-01", preferred_name="Zoe")
    exports = Exports(served.house.services.store, actor(Role.INTEGRATION, org=org), Request("needs-out", "Test"))
    paths = frozenset({"accessNeeds", "accessibleFormats"})
    [[profile]] = [profiles async for profiles in exports.patients(paths=paths)]
    assert profile.keys() == {"id", "version", "access_needs"}
    [leaf] = await served.house.leaves(org=org, request="needs-out")
    assert (leaf["act"], leaf["fld"]) == ("export", sorted(paths))


# --- who may look ----------------------------------------------------------------------------------------------------

ROOTS = {
    "overdueReviews": '{ overdueReviews(asOf: "2025-01-01") { edges { node { id accessNeeds { kind } } } } }',
    "unmetNeeds": '{ unmetNeeds(from: "2020") { edges { node { id accessNeeds { kind } } } } }',
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("root", ROOTS)
async def test_every_role(served: Client, root: str, role: Role) -> None:
    """Who may search and read needs is answered, with an event for each patient; nobody else learns who has one."""
    org = f"looking-{root}-{role.value}"
    patient, [need] = await person(served, org, "2020-01-01")
    await changed(served, OUTCOME, {"patientId": patient, "expectedVersion": 1, "needId": need, "met": False}, org=org)
    bound = patient if role in PERSONAL else None
    answer, leaves = await served.watched(ROOTS[root], role, org=org, log=org, patient=bound)
    if role not in SEARCHING:
        assert why(answer.json()) == "FORBIDDEN"
        assert patient not in answer.text
        assert [(leaf["out"], "pat" in leaf) for leaf in leaves] == [("denied", False)]
        return
    [edge] = answer.json()["data"][root]["edges"]
    assert edge["node"] == {"id": patient, "accessNeeds": [{"kind": "HEARING_LOOP"}]}
    shown = next(leaf for leaf in leaves if "pat" in leaf)
    counted = next(leaf for leaf in leaves if "pat" not in leaf)
    assert (shown["act"], shown["fld"], counted["cnt"]) == ("query", ["accessNeeds"], 1)
    assert shown["qid"] == counted["qid"]


@pytest.mark.parametrize("root", ROOTS)
async def test_other_organisations(served: Client, root: str) -> None:
    """Another organisation's list is empty, and nobody is UNAUTHENTICATED."""
    org = f"ours-{root}"
    patient, [need] = await person(served, org, "2020-01-01")
    await changed(served, OUTCOME, {"patientId": patient, "expectedVersion": 1, "needId": need, "met": False}, org=org)
    found = await served.data(ROOTS[root], org=f"theirs-{root}")
    assert found == {root: {"edges": []}}
    assert await served.codes(ROOTS[root], None) == ["UNAUTHENTICATED"]


@pytest.mark.parametrize("root", ROOTS)
async def test_what_a_restricted_record_withholds_stays_withheld(served: Client, root: str) -> None:
    """Needs are shown, because they must be met; where the person lives is not."""
    org = f"hidden-{root}"
    points = [{"system": "EMAIL", "value": "zoe.secret@example.test"}]
    patient, [need] = await person(served, org, "2020-01-01", restricted=True, contact_points=points)
    await changed(served, OUTCOME, {"patientId": patient, "expectedVersion": 1, "needId": need, "met": False}, org=org)
    query = ROOTS[root].replace("accessNeeds { kind }", "accessNeeds { kind } contactPoints { value }")
    [edge] = (await served.data(query, org=org))[root]["edges"]
    assert edge["node"]["contactPoints"] is None
    assert edge["node"]["accessNeeds"]


@pytest.mark.parametrize("field", ["asOf", "from", "after", "first"])
async def test_arguments_that_make_no_sense(served: Client, field: str) -> None:
    """A month is no day, and a cursor is one of ours: refused by name."""
    queries = {
        "asOf": '{ overdueReviews(asOf: "2025-01") { edges { cursor } } }',
        "from": '{ unmetNeeds(from: "yesterday") { edges { cursor } } }',
        "after": '{ overdueReviews(after: "?") { edges { cursor } } }',
        "first": '{ unmetNeeds(from: "2020", first: 0) { edges { cursor } } }',
    }
    answer = (await served.ask(queries[field])).json()
    [error] = answer["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("VALIDATION_FAILED", field)
