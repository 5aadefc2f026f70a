"""Acceptance scenarios of contact, from end to end over HTTP on both engines: what senders ask, and who abuses it.

S2 bulk decisions, S3 a STOP, S4 quiet hours, S15 abuse. What each room does besides is in the tests of that room.
"""

from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from auth.roles import Role
from tests.asking import question
from tests.conftest import Databases
from tests.deciding import MANY, ONE, directive
from tests.directing import HISTORY
from tests.town import NOBODY, NOON, PREFER, REMINDER, RULES, Town, code_of, town_at

pytestmark = pytest.mark.asyncio(loop_scope="module")

EVERY_DAY = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]


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


# --- S2: messaging, bulk ---------------------------------------------------------------------------------------------


async def test_s2_a_thousand_at_once(town: Town) -> None:
    """In input order, each with one way or none, one event for each patient, and as many statements as for one."""
    reachable: dict[str, Any] = {"contact_points": [{"system": "SMS", "value": "+447700900800"}], "time_zone": "UTC"}
    permit = directive("PERMIT", scope={"purpose": "SURVEY"})
    willing = {**reachable, "consents": [permit]}
    asleep = {"days": EVERY_DAY, "from": "11:00", "to": "14:00", "time_zone": "UTC", "quiet": True}
    kinds: list[tuple[int, dict[str, Any]]] = [
        (900, willing),
        (40, {**reachable, "consents": [permit, directive("DENY", 2)]}),
        (25, reachable),
        (15, {**willing, "contact_windows": [asleep]}),
        (10, {**willing, "restricted": True}),
        (5, {**willing, "deceased": True}),
    ]
    ids = await town.store([person for count, person in kinds for _ in range(count)])
    ids += [NOBODY.format(number) for number in range(5)]
    mixed = ids[::7] + [one for place, one in enumerate(ids) if place % 7]
    variables = {"ids": mixed, "purpose": "SURVEY", "channels": ["SMS", "EMAIL"]}
    town.counted.forget()
    answer, leaves = await town.it.watched(MANY, Role.MESSAGING, variables=variables)
    assert answer.status_code == 200
    assert town.counted.statements <= 12
    found = answer.json()["data"]["contactDecisions"]
    assert [each["patientId"] for each in found] == mixed
    assert Counter((each["outcome"], *each["reasons"]) for each in found) == {
        ("ALLOW", "OK"): 900,
        ("DENY", "OPTED_OUT"): 40,
        ("DENY", "CONSENT_UNKNOWN"): 25,
        ("DEFER", "QUIET_HOURS_PATIENT"): 15,
        ("NOT_FOUND",): 15,
        ("DENY", "DECEASED"): 5,
    }
    by_id = {each["patientId"]: each for each in found}
    assert all((each["contactPoint"] is None) == (each["outcome"] != "ALLOW") for each in found)
    assert {each["nextPermittedAt"] for each in found if each["outcome"] == "DEFER"} == {"2026-11-23T14:00:00.000000Z"}
    unknown = [{**by_id[one], "patientId": ""} for one in [*ids[980:990], *ids[995:]]]
    assert all(each == unknown[0] for each in unknown), "a restricted record is as unknown as an unknown one"
    named_ones = Counter(leaf["pat"] for leaf in leaves if "pat" in leaf)
    assert (len(named_ones), set(named_ones.values())) == (995, {1})
    assert Counter(leaf["out"] for leaf in leaves if "pat" in leaf) == {"ok": 985, "denied": 10}
    assert len({leaf["qid"] for leaf in leaves}) == 1


# --- S3: a STOP ------------------------------------------------------------------------------------------------------

RECORD = """mutation R($input: RecordInboundMessageInput!) {
  recordInboundMessage(input: $input) { kind honourBy confirmation { kind until } } }"""


async def test_s3_stop_on_a_shared_number(town: Town) -> None:
    """Mother and child are left alone at once, with a permission before it that stands unchanged in the history."""
    number = {"contact_points": [{"system": "PHONE", "value": "+12025550142", "use": "MOBILE"}], "time_zone": "UTC"}
    both = await town.store([{**number, "consents": [directive("PERMIT", scope={"channel": "SMS"})]}] * 2)
    before = [await town.decided(one) for one in both]
    assert {(each["outcome"], each["channel"]) for each in before} == {("ALLOW", "SMS")}
    message = {"gateway": "texts", "messageId": "S3-1", "from": "+12025550142", "channel": "SMS", "text": "ARRÊT",
               "receivedAt": NOON}  # fmt: skip
    answer, leaves = await town.it.watched(RECORD, Role.MESSAGING, variables={"input": message})
    stopped = answer.json()["data"]["recordInboundMessage"]
    assert (stopped["kind"], stopped["honourBy"]) == ("STOP", "2026-12-07T12:00:00.000000Z")
    assert stopped["confirmation"]["until"] == "2026-11-23T12:05:00.000000Z"
    assert (len(leaves), len({leaf["pat"] for leaf in leaves})) == (2, 2)
    again, _ = await town.it.watched(RECORD, Role.MESSAGING, variables={"input": message})
    assert again.json() == answer.json()
    for one in both:
        found = await town.decided(one)
        assert (found["outcome"], found["reasons"][0], found["policyVersion"]) == ("DENY", "OPTED_OUT", RULES.version)
        history = await town.it.data(question(HISTORY), Role.INTEGRATION, variables={"id": one})
        said = history["patient"]["consents"]
        assert [entry["decision"] for entry in said] == ["PERMIT", "DENY", "DENY", "DENY"]
        assert {entry["honourBy"] for entry in said[1:]} == {stopped["honourBy"]}
        assert said[0]["effectiveFrom"] == "2026-02-01T08:00:00.000000Z"


# --- S4: quiet hours -------------------------------------------------------------------------------------------------


async def test_s4_the_nights_on_which_clocks_change(town: Town) -> None:
    """Before and after the hour is turned back, and before it is turned forward, contact begins at eight."""
    mobile = {"system": "PHONE", "value": "+12025550111", "use": "MOBILE"}
    [pat] = await town.store([{"contact_points": [mobile], "time_zone": "America/New_York"}])
    night = {"days": EVERY_DAY, "from": "21:00", "to": "08:00", "timeZone": "America/New_York", "quiet": True}
    assert "errors" not in await town.change(PREFER, Role.PATIENT, pat, 1, contactWindows=[night])
    for moment, begins in (
        ("2026-11-01T05:30:00Z", "2026-11-01T13:00:00.000000Z"),
        ("2026-11-01T06:30:00Z", "2026-11-01T13:00:00.000000Z"),
        ("2027-03-14T05:30:00Z", "2027-03-14T12:00:00.000000Z"),
    ):
        town.at(moment)
        found = await town.decided(pat)
        assert (found["outcome"], found["nextPermittedAt"], found["expiresAt"]) == ("DEFER", begins, begins)
        assert found["reasons"] == ["QUIET_HOURS_PATIENT", "QUIET_HOURS_DEFAULT"]
        urgent = await town.decided(pat, "EMERGENCY")
        assert (urgent["outcome"], urgent["reasons"]) == ("ALLOW", ["OK", "EMERGENCY_OVERRIDE"])
        town.at(begins)
        assert (await town.decided(pat))["outcome"] == "ALLOW"


async def test_s4_nobody_knows_where_they_live(town: Town) -> None:
    """A text waits until it is day in every zone in which the organisation's patients live."""
    [somewhere] = await town.store([{"contact_points": [{"system": "SMS", "value": "+12025550112"}]}])
    town.at("2026-11-23T12:00:00Z")  # seven in the morning in New York
    found = await town.decided(somewhere)
    assert (found["outcome"], found["reasons"]) == ("DEFER", ["QUIET_HOURS_DEFAULT", "TIME_ZONE_UNKNOWN"])
    assert found["nextPermittedAt"] == "2026-11-23T13:00:00.000000Z"
    for moment, outcome in (("13:00:00Z", "ALLOW"), ("20:59:59Z", "ALLOW"), ("21:00:00Z", "DEFER")):
        town.at(f"2026-11-23T{moment}")
        assert (await town.decided(somewhere))["outcome"] == outcome


async def test_s4_windows_that_are_none(town: Town) -> None:
    """Equal times could mean always or never, and a city is no time zone."""
    [pat] = await town.store([{}])
    for wrong in ({"to": "21:00"}, {"timeZone": "New York"}):
        night = {"days": ["MON"], "from": "21:00", "to": "08:00", "timeZone": "America/New_York", **wrong}
        assert code_of(await town.change(PREFER, Role.PATIENT, pat, 1, contactWindows=[night])) == "VALIDATION_FAILED"


# --- S15: abuse ------------------------------------------------------------------------------------------------------


async def test_s15_a_purpose_that_is_not_theirs(town: Town) -> None:
    """Refused before anything is read, and on record."""
    [pat] = await town.store([{"contact_points": [{"system": "EMAIL", "value": "pat@example.test"}]}])
    town.counted.forget()
    variables = {"id": pat, "purpose": REMINDER}
    for purpose in ("TREAT", "BTG"):
        answer, leaves = await town.it.watched(
            ONE, Role.MESSAGING, variables=variables, headers={"x-purpose-of-use": purpose}
        )
        assert code_of(answer.json()) == "PURPOSE_NOT_PERMITTED"
        assert [leaf["out"] for leaf in leaves] == ["denied"]
    assert town.counted.records == 0


async def test_s15_a_flood_of_aliases(town: Town) -> None:
    """A thousand decisions in one document are refused before the first is made."""
    flood = " ".join(
        f'a{number}: contactDecision(patientId: "{NOBODY.format(number)}", purpose: {REMINDER}) {{ outcome }}'
        for number in range(1000)
    )
    town.counted.forget()
    assert await town.it.codes(f"{{ {flood} }}", Role.MESSAGING) == ["QUERY_TOO_COSTLY"]
    assert town.counted.statements == 0


async def test_s15_whether_a_record_is_restricted(town: Town) -> None:
    """A sender cannot tell a restricted record from one that does not exist, by any purpose, sender or moment."""
    secret = {"contact_points": [{"system": "EMAIL", "value": "hidden@example.test"}], "restricted": True}
    [hidden] = await town.store([secret])
    for more in ({}, {"sender": "plain"}, {"at": "2027-01-04T10:00:00Z"}, {"channels": ["LETTER"]}):
        for purpose in (REMINDER, "MARKETING", "EMERGENCY"):
            told = [
                {**await town.decided(one, purpose, **more), "patientId": ""} for one in (hidden, NOBODY.format(77))
            ]
            assert told[0] == told[1], (purpose, more)
            assert told[0]["outcome"] == "NOT_FOUND"
