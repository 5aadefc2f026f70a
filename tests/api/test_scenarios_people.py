"""Acceptance scenarios of contact, from end to end over HTTP on both engines: what people want, and what comes of it.

S6 confidential communications, S9 a patient alone, S14 accessible information.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from auth.purposes import Purpose
from auth.roles import Role
from schema.sdl import build_schema
from tests.asking import question
from tests.conftest import Databases
from tests.deciding import directive
from tests.town import NOON, PREFER, REMINDER, Town, code_of, town_at

pytestmark = pytest.mark.asyncio(loop_scope="module")

RESULT = "TEST_RESULT"
CONFIDE = """mutation C($input: SetConfidentialCommunicationInput!) {
  setConfidentialCommunication(input: $input) { version } }"""
UNCONFIDE = """mutation C($input: ClearConfidentialCommunicationInput!) {
  clearConfidentialCommunication(input: $input) { version } }"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_town(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """One service for all scenarios, on each engine in turn."""
    url = databases.create(shared_engine)
    async with town_at(url, tmp_path_factory.mktemp("town")) as found:
        yield found
    databases.drop(url)


@pytest.fixture
def town(whole_town: Town) -> Town:
    """The town at noon, whatever time another scenario left it at."""
    whole_town.at(NOON)
    return whole_town


# --- S6: confidential communications ---------------------------------------------------------------------------------

SECRET = "quiet.harbour@example.test"


async def test_s6_a_mailbox_of_their_own(town: Town) -> None:
    """It beats what a parent and an older choice would have; staff use it and do not see it; it is not for selling."""
    mother = {"id": "q", "name": "Queenie", "relationship": "PARENT", "contact": "INSTEAD",
              "contact_points": [{"system": "EMAIL", "value": "queenie@example.test"}]}  # fmt: skip
    home = {"system": "EMAIL", "value": "home@example.test", "rank": 1, "verification": {"status": "VERIFIED"}}
    [teen] = await town.store([{"contact_points": [home], "related_persons": [mother], "time_zone": "UTC"}])
    assert (await town.decided(teen))["contactPoint"]["value"] == "queenie@example.test"
    new = {"channel": "EMAIL", "value": SECRET, "purposes": [RESULT, "BILLING"]}
    assert "errors" not in await town.change(CONFIDE, Role.PATIENT, teen, 1, **new)
    wanted = {"purpose": RESULT, "channels": ["SMS"]}
    assert "errors" not in await town.change(PREFER, Role.PATIENT, teen, 2, channelPreferences=[wanted])
    found = await town.decided(teen, RESULT)
    assert (found["outcome"], found["reasons"]) == ("ALLOW", ["OK", "CONFIDENTIAL_OVERRIDE_APPLIED"])
    assert (found["confidential"], found["contactPoint"]["value"], found["standIn"]) == (True, SECRET, None)
    desk = await town.decided(teen, RESULT, Role.FRONT_DESK)
    assert (desk["outcome"], desk["confidential"], desk["channel"], desk["contactPoint"]) == (
        "ALLOW", True, "EMAIL", None,
    )  # fmt: skip
    sold = await town.decided(teen, "MARKETING")
    assert (sold["outcome"], sold["reasons"]) == ("DENY", ["CONFIDENTIAL_OVERRIDE_APPLIED"])
    reminder = await town.decided(teen)
    assert (reminder["standIn"], reminder["confidential"]) == ("q", False)


async def test_s6_nobody_else_ends_it_or_sees_it(town: Town) -> None:
    """No mutation about it has a reason; a proxy neither sees nor ends it; the person and a privacy officer may."""
    for name in ("SetConfidentialCommunicationInput", "ClearConfidentialCommunicationInput"):
        kind: Any = build_schema().get_type(name)
        assert not [field for field in kind.fields if "reason" in field.lower()]
    [teen] = await town.store([{"preferred_name": "Teo"}])
    assert "errors" not in await town.change(CONFIDE, Role.PATIENT, teen, 1, channel="EMAIL", value=SECRET)
    for purpose in (Purpose.FAMRQT, Purpose.PWATRNY):
        look = await town.it.ask(
            question("displayName contactPoints { value }"), Role.PROXY, variables={"id": teen}, purpose=purpose,
            patient=teen,
        )  # fmt: skip
        assert SECRET not in look.text
        asked = await town.it.ask(
            question("confidentialCommunication { channel }"), Role.PROXY, variables={"id": teen}, purpose=purpose,
            patient=teen,
        )  # fmt: skip
        assert code_of(asked.json()) == "FORBIDDEN_FIELD"
    assert code_of(await town.change(UNCONFIDE, Role.PROXY, teen, 2)) == "FORBIDDEN"
    assert code_of(await town.change(UNCONFIDE, Role.FRONT_DESK, teen, 2)) == "FORBIDDEN"
    front = await town.it.data(question("confidentialCommunication { withheld channel value }"), variables={"id": teen})
    assert front["patient"]["confidentialCommunication"] == {"withheld": True, "channel": None, "value": None}
    assert "errors" not in await town.change(UNCONFIDE, Role.PRIVACY_OFFICER, teen, 2)


# --- S9: a patient alone ---------------------------------------------------------------------------------------------

START = "mutation S($i: StartContactVerificationInput!) { startContactVerification(input: $i) { channel } }"
CONFIRM = (
    "mutation C($input: ConfirmContactVerificationInput!) { confirmContactVerification(input: $input) { version } }"
)
ADD = """mutation A($input: AddContactPointInput!) {
  addContactPoint(input: $input) { version contactPoints { id value verification { status } } } }"""
RENUMBER = "mutation U($input: UpdateContactPointInput!) { updateContactPoint(input: $input) { version } }"
RETIRE = "mutation R($input: RetireContactPointInput!) { retireContactPoint(input: $input) { version } }"
NAMES = "mutation N($input: UpdateIdentityInput!) { updateIdentity(input: $input) { version } }"


async def test_s9_a_new_mobile_is_used_when_it_is_verified(town: Town) -> None:
    """Until the code comes back the old number stays the one for results; then the new one, which ranks first, is."""
    old = {"system": "PHONE", "value": "+447700900801", "use": "MOBILE", "rank": 2,
           "verification": {"status": "VERIFIED", "method": "STAFF"}}  # fmt: skip
    [pat] = await town.store([{"contact_points": [old], "time_zone": "Europe/London"}])
    mine = {
        "languages": [{"tag": "so", "rank": 1}, {"tag": "en", "rank": 2}], "interpreterNeeded": "YES",
        "pronouns": "they/them",
        "contactWindows": [{"days": ["MON"], "from": "09:00", "to": "17:00", "timeZone": "Europe/London"}],
    }  # fmt: skip
    assert "errors" not in await town.change(PREFER, Role.PATIENT, pat, 1, **mine)
    new = {"system": "PHONE", "value": "07700 900802", "use": "MOBILE", "rank": 1}
    points = (await town.change(ADD, Role.PATIENT, pat, 2, contactPoint=new))["data"]["addContactPoint"][
        "contactPoints"
    ]
    assert [point["verification"]["status"] for point in points] == ["VERIFIED", "UNVERIFIED"]
    assert (await town.decided(pat, RESULT))["contactPoint"]["value"] == "+447700900801"
    asked = {"i": {"patientId": pat, "contactPointId": points[1]["id"]}}
    await town.it.data(START, Role.PATIENT, variables=asked, patient=pat)
    proof = {"contactPointId": points[1]["id"], "code": town.box.code()}
    assert "errors" not in await town.change(CONFIRM, Role.PATIENT, pat, 3, **proof)
    assert (await town.decided(pat, RESULT))["contactPoint"]["value"] == "+447700900802"
    assert "errors" not in await town.change(RETIRE, Role.PATIENT, pat, 4, contactPointId=points[0]["id"])


async def test_s9_what_is_not_theirs_to_change(town: Town) -> None:
    """The number of the house and the legal name are the practice's affair; another's record is none of theirs."""
    landline = {"id": "house", "system": "PHONE", "value": "+442079460000", "use": "HOME"}
    [pat, other] = await town.store(
        [{"preferred_name": "Pat", "contact_points": [landline]}, {"preferred_name": "Ola"}]
    )
    for query, more in (
        (ADD, {"contactPoint": {"system": "PHONE", "value": "+442079460001", "use": "HOME"}}),
        (RENUMBER, {"contactPointId": "house", "contactPoint": {"rank": 3}}),
        (RENUMBER, {"contactPointId": "house", "contactPoint": {"system": "EMAIL", "value": "pat@example.test"}}),
        (RETIRE, {"contactPointId": "house"}),
    ):
        assert code_of(await town.change(query, Role.PATIENT, pat, 1, **more)) == "FORBIDDEN_FIELD"
    names = [{"use": "OFFICIAL", "family": "Other", "given": ["Pat"]}]
    assert code_of(await town.change(NAMES, Role.PATIENT, pat, 1, names=names)) == "FORBIDDEN_FIELD"
    query = question("displayName")
    foreign = await town.it.ask(query, Role.PATIENT, variables={"id": other}, patient=pat)
    assert "Ola" not in foreign.text
    assert code_of(foreign.json()) == "NOT_FOUND"


async def test_s9_who_looked(town: Town) -> None:
    """Their own log lists the decision about them, with organisation, role and purpose."""
    [pat] = await town.store([{"contact_points": [{"system": "EMAIL", "value": "pat@example.test"}]}])
    town.in_time()
    await town.decided(pat)
    mine = "query M { myAccessLog(first: 20) { edges { node { action purposeOfUse roles } } } }"
    found = await town.it.data(mine, Role.PATIENT, patient=pat)
    nodes = [edge["node"] for edge in found["myAccessLog"]["edges"]]
    assert {"action": "decide", "purposeOfUse": "COC", "roles": ["MESSAGING"]} in nodes


# --- S14: accessible information -------------------------------------------------------------------------------------


async def test_s14_a_format_that_the_sender_lacks(town: Town) -> None:
    """The fallback is said, the unmet need is kept as a fact, and a sender that has the format needs neither."""
    town.in_time()
    [deaf] = await town.store([{
        "contact_points": [{"system": "EMAIL", "value": "d@example.test"}, {"system": "SMS", "value": "+447700900803"}],
        "languages": [{"tag": "bfi", "modes": ["SIGNED"], "rank": 1},
                      {"tag": "en", "modes": ["WRITTEN"], "proficiency": "FAIR"}],
        "accessible_formats": ["EASY_READ"],
        "access_needs": [{"kind": "BSL_INTERPRETER"}],
        "channel_preferences": [{"purpose": REMINDER, "channels": ["EMAIL"]}],
    }])  # fmt: skip
    found = await town.decided(deaf, sender="plain")
    assert (found["outcome"], found["channel"], found["language"], found["format"]) == (
        "ALLOW", "EMAIL", "en", "STANDARD",
    )  # fmt: skip
    assert found["reasons"] == ["OK", "FORMAT_FALLBACK", "ACCESS_NEED_UNMET"]
    assert found["unmetNeeds"] == ["EASY_READ"]
    unmet = '{ unmetNeeds(from: "2026-01", first: 50) { edges { node { id } } } }'
    kept = (await town.it.data(unmet, Role.CARE_COORDINATOR))["unmetNeeds"]["edges"]
    assert deaf in {edge["node"]["id"] for edge in kept}
    easy = await town.decided(deaf, sender="easy")
    assert (easy["reasons"], easy["format"], easy["unmetNeeds"]) == (["OK"], "EASY_READ", [])
    desk = await town.it.data(question("accessNeeds { kind }"), variables={"id": deaf})
    assert desk["patient"]["accessNeeds"] == [{"kind": "BSL_INTERPRETER"}]


async def test_s14_a_need_against_a_prohibition(town: Town) -> None:
    """Whoever needs texts, and forbade texts, is for a person to look at; a need past its review still applies."""
    need = {"kind": "CONTACT_BY_SMS", "review_due_at": "2026-01-31"}
    points = [{"system": "SMS", "value": "+447700900804"}, {"system": "EMAIL", "value": "n@example.test"}]
    values = {"contact_points": points, "access_needs": [need], "time_zone": "UTC"}
    forbidden = directive("DENY", scope={"channel": "SMS"})
    [needy, torn] = await town.store([values, {**values, "consents": [forbidden]}])
    assert (await town.decided(needy))["channel"] == "SMS"
    found = await town.decided(torn)
    assert (found["outcome"], found["reasons"][0]) == ("MANUAL", "ACCESS_NEED_CONFLICT")
    assert (found["unmetNeeds"], found["contactPoint"]) == (["CONTACT_BY_SMS"], None)
    late = '{ overdueReviews(asOf: "2026-11-23", first: 50) { edges { node { id } } } }'
    listed = (await town.it.data(late, Role.CARE_COORDINATOR))["overdueReviews"]["edges"]
    assert {needy, torn} <= {edge["node"]["id"] for edge in listed}
