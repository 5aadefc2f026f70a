"""Who is told what of changes: no more than they might read, anew for each event, and on record before it is told."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from auth import policy
from auth.policy import Action
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.services.request import Request
from crm.store.feed import read
from tests.breaking import request
from tests.changes import CHANGES, SINCE, change, followed, newest, since
from tests.client import Client, client
from tests.conftest import Databases
from tests.house import ORG, OTHER_ORG, actor
from tests.intruder import Intruder
from tests.people import WHOLE
from tests.planted import found_in, raw_person

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def it(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A service that all tests of this module share, which tells of changes as they happen."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("feed"), live=True) as made:
        yield made
    databases.drop(url)


async def somebody(it: Client, org: str = ORG, **values: Any) -> str:
    """The id of a new patient."""
    return str((await it.house.register({**WHOLE, "identifiers": [], **values}, org=org))["id"])


async def told(it: Client, request_id: str, org: str = ORG) -> list[dict[str, Any]]:
    """What a request left in the log."""
    return await it.house.leaves(org=org, request=request_id)


async def test_who_may_read_is_told_and_it_is_on_record_first(it: Client) -> None:
    """A change tells id, version and the readable fields; its event names the patient and these fields, no others."""
    patient = await somebody(it)
    async with followed(it, Role.FRONT_DESK, [patient], await newest(it)) as follower:
        await change(it, patient, 1, preferred_name="Ann", religion="Quaker", pronouns="xe/xem")
        heard = await follower.hear()
        [leaf] = await told(it, follower.request_id)
    assert (heard["id"], heard["version"], heard["kind"]) == (patient, 2, "CHANGED")
    assert heard["changedFields"] == ["displayName", "preferredName", "pronouns"]
    assert (leaf["act"], leaf["out"], leaf["chg"]) == ("notify", "ok", heard["changedFields"])
    assert "fld" not in leaf
    assert await it.house.leaves(patient=leaf["pat"], act="notify")


async def test_a_change_of_hidden_fields_is_no_change(it: Client) -> None:
    """Of what the policy keeps from a role nothing is told, by no way; nobody learns from the log that it was."""
    patient = await somebody(it)
    after = await newest(it)
    async with followed(it, Role.MESSAGING, [patient], after) as one, followed(it, Role.MESSAGING, None, after) as all_:
        await change(it, patient, 1, religion="Quaker", addresses=None)
        assert await since(it, {patient: 1}, Role.MESSAGING) == []
        page = (await it.data(CHANGES, Role.MESSAGING, variables={"after": after}))["recordChanges"]
        assert (page["edges"], page["pageInfo"]) == ([], {"hasNextPage": False, "endCursor": page["newest"]})
        await change(it, patient, 2, preferred_name="Ann", instructions="Ring once.")
        for follower in (one, all_):
            heard = await follower.hear()
            assert (heard["version"], heard["changedFields"]) == (3, ["displayName", "preferredName"])
            assert len(await told(it, follower.request_id)) == 1


async def test_an_unseen_confidential_communication_is_not_told_of(it: Client) -> None:
    """Staff use it without seeing it: nor when it was set; who may read it is told."""
    patient = await somebody(it)
    after = await newest(it)
    given = {"patientId": patient, "expectedVersion": 1, "channel": "EMAIL", "value": "x@example.test"}
    setting = "mutation S($i: SetConfidentialCommunicationInput!) { setConfidentialCommunication(input: $i) { id } }"
    async with (
        followed(it, Role.FRONT_DESK, [patient], after) as staff,
        followed(it, Role.PRIVACY_OFFICER, [patient], after) as officer,
    ):
        await it.data(setting, Role.PRIVACY_OFFICER, variables={"i": given})
        assert "confidentialCommunication" in " ".join((await officer.hear())["changedFields"])
        await change(it, patient, 2, time_zone="Europe/Paris")
        assert (await staff.hear())["changedFields"] == ["timeZone"]


async def test_a_restricted_record_tells_less(it: Client) -> None:
    """While it is restricted nobody hears of what it withholds, also of older changes; and they do once it is not."""
    patient = await it.house.store({**WHOLE, "identifiers": [], "restricted": True})
    after = await newest(it)
    async with (
        followed(it, Role.FRONT_DESK, [patient], after) as staff,
        followed(it, Role.PRIVACY_OFFICER, [patient], after) as officer,
    ):
        await change(it, patient, 1, addresses=None)
        assert (await officer.hear())["changedFields"] == ["addresses"]
        assert await since(it, {patient: 1}) == []
        await change(it, patient, 2, time_zone="Europe/Paris")
        assert (await staff.hear())["changedFields"] == ["timeZone"]
    lifted = await it.house.store({**WHOLE, "identifiers": []})
    after = await newest(it)
    await change(it, lifted, 1, addresses=None)
    async with followed(it, Role.FRONT_DESK, [lifted], after) as staff:
        assert (await staff.hear())["changedFields"] == ["addresses"]
    assert await since(it, {lifted: 1}) == [{"id": lifted, "version": 2, "changedFields": ["addresses"]}]


async def test_a_restriction_that_somebody_edited_away_is_not_believed(it: Client, shared_engine: str) -> None:
    """Whoever writes to the database makes no record tell more: the clear flag is held against the seals."""
    patient = await it.house.store({**WHOLE, "identifiers": [], "restricted": True})
    after = await newest(it)
    await change(it, patient, 1, addresses=None)
    intruder = Intruder(_url(it))
    await intruder.run(f"UPDATE patient SET restricted = 0 WHERE id = '{patient}'")
    async with followed(it, Role.FRONT_DESK, [patient], after) as staff:
        assert await staff.refused() == ["INTERNAL_SERVER_ERROR"]
        assert [leaf["out"] for leaf in await told(it, staff.request_id)] == ["error"]
    answer = await it.ask(SINCE, variables={"known": [{"id": patient, "version": 1}]})
    assert "addresses" not in answer.text
    await intruder.run(f"UPDATE patient SET restricted = 1 WHERE id = '{patient}'")


@pytest.mark.parametrize("role", sorted(PERSONAL))
async def test_patients_and_proxies_hear_of_their_own_record_only(it: Client, role: Role) -> None:
    """Whether they name records or not; whoever else they name is as good as nobody."""
    own, other = await somebody(it), await somebody(it)
    after = await newest(it)
    async with (
        followed(it, role, None, after, patient=own) as all_,
        followed(it, role, [own, other], after, patient=own) as named,
        followed(it, role, [other], after, patient=own) as strange,
    ):
        await change(it, other, 1, preferred_name="Ann")
        await change(it, own, 1, preferred_name="Bob")
        assert (await all_.hear())["id"] == (await named.hear())["id"] == own
        await strange.quiet(0.1)
        assert await told(it, strange.request_id) == []
    page = (await it.data(CHANGES, role, variables={"after": after}, patient=own))["recordChanges"]
    assert [edge["node"]["id"] for edge in page["edges"]] == [own]
    found = await since(it, {own: 1, other: 1}, role, patient=own)
    assert [(each["id"], each.get("code")) for each in found] == [(own, None), (other, "NOT_FOUND")]


async def test_a_change_of_somebody_else_is_nothing_to_tell(it: Client) -> None:
    """Whatever comes to be told: of another record than their own patients are told nothing, and there is no event."""
    own, other = await somebody(it), await somebody(it)
    feed, asked = it.house.services.feed, Request("told-of-another", "test")
    await newest(it)  # so that the change has its number
    [made] = await read(partial(it.house.database.fetch, ORG), ORG, 0, 1, [other])
    assert await feed.tell(actor(Role.PATIENT, patient_id=own), asked, made, named=False) is None
    assert await told(it, asked.id) == []
    assert await feed.tell(actor(Role.PATIENT, patient_id=other), asked, made, named=False) is not None


async def test_another_organisation_hears_nothing(it: Client) -> None:
    """The right role there names the record in vain: nothing is told, and unknown and foreign look the same."""
    patient = await somebody(it)
    theirs = await somebody(it, OTHER_ORG)
    after, there = await newest(it), await newest(it, OTHER_ORG)
    async with (
        followed(it, Role.INTEGRATION, [patient], there, org=OTHER_ORG) as named,
        followed(it, Role.INTEGRATION, None, there, org=OTHER_ORG) as all_,
    ):
        await change(it, patient, 1, preferred_name="Ann")
        await change(it, theirs, 1, OTHER_ORG, preferred_name="Eve")
        assert (await all_.hear())["id"] == theirs
        await named.quiet(0.1)
    found = await since(it, {patient: 1, "unknown": 1}, Role.INTEGRATION, org=OTHER_ORG)
    assert found == [{"id": patient, "code": "NOT_FOUND"}, {"id": "unknown", "code": "NOT_FOUND"}]
    answer = await it.ask(CHANGES, Role.INTEGRATION, org=OTHER_ORG)
    assert patient not in answer.text
    # A position is one organisation's: there it was never one.
    assert await it.codes(CHANGES, Role.INTEGRATION, variables={"after": after}, org=OTHER_ORG) == ["VALIDATION_FAILED"]


QUERIES: dict[str, tuple[str, dict[str, Any]]] = {
    "changedSince": (SINCE, {"known": [{"id": "unknown", "version": 1}]}),
    "recordChanges": (CHANGES, {}),
}


@pytest.mark.parametrize("root", QUERIES)
async def test_nobody_is_told_anything(it: Client, root: str) -> None:
    """Without a token, and with one that is none."""
    query, variables = QUERIES[root]
    for headers in ({}, {"authorization": "Bearer a.b.c"}):
        answer = await it.ask(query, None, variables=variables, headers=headers)
        assert [error["extensions"]["code"] for error in answer.json()["errors"]] == ["UNAUTHENTICATED"]
        assert "data" not in answer.json()


@pytest.mark.parametrize("role", sorted(Role))
async def test_who_follows_all_is_as_the_policy_says(it: Client, role: Role) -> None:
    """Without naming records only who may follow; a refusal is on record, and nothing is told."""
    who = {"patient": "p-1"} if role in PERSONAL else {}
    grants = [grant for grant in policy.GRANTS if grant.role is role and Action.FOLLOW in grant.actions]
    if grants:
        purpose = min(grants[0].purposes)
        assert "recordChanges" in await it.data(CHANGES, role, purpose=purpose, **who)
        return
    answer, [leaf] = await it.watched(CHANGES, role, **who)
    assert answer.json().get("data") is None
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("notify", "denied", "FORBIDDEN")
    async with followed(it, role, None, None, **who) as follower:
        assert await follower.refused() == ["FORBIDDEN"]
        assert {leaf["out"] for leaf in await told(it, follower.request_id)} == {"denied"}


async def test_each_event_is_admitted_anew(it: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose role may read no more hears nothing of the next change, but that they may not; and that is the end."""
    patient = await somebody(it)
    async with followed(it, Role.FRONT_DESK, [patient], await newest(it)) as follower:
        await change(it, patient, 1, preferred_name="Ann")
        assert (await follower.hear())["version"] == 2
        left = tuple(grant for grant in policy.GRANTS if grant.role is not Role.FRONT_DESK)
        monkeypatch.setattr(policy, "GRANTS", left)
        policy._combine.cache_clear()
        try:
            await change(it, patient, 2, preferred_name="Bob")
            answer = await follower.answer()
            assert (answer.executed, answer.data) == (False, None)
            assert [problem.code.value for problem in answer.problems] == ["PURPOSE_NOT_PERMITTED"]
            with pytest.raises(StopAsyncIteration):
                await follower.answer()
        finally:
            monkeypatch.undo()
            policy._combine.cache_clear()
        assert [leaf["out"] for leaf in await told(it, follower.request_id)] == ["ok", "denied"]


async def test_a_narrower_policy_tells_less_of_the_next_event(it: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a role may read of the moment decides, not what it was when the subscription began."""
    patient = await somebody(it)
    async with followed(it, Role.CLINICIAN, [patient], await newest(it)) as follower:
        await change(it, patient, 1, pronouns="xe/xem", religion="Quaker")
        assert (await follower.hear())["changedFields"] == ["pronouns", "religion"]
        narrow = tuple(
            replace(grant, read=grant.read - {policy.Group.CULTURE}, write=grant.write - {policy.Group.CULTURE})
            for grant in policy.GRANTS
        )
        monkeypatch.setattr(policy, "GRANTS", narrow)
        policy._combine.cache_clear()
        try:
            await change(it, patient, 2, pronouns="they/them")
            assert (await follower.hear())["changedFields"] == ["pronouns"]
        finally:
            monkeypatch.undo()
            policy._combine.cache_clear()


async def test_break_glass_tells_of_records_with_a_grant(it: Client) -> None:
    """Under BTG nothing is told of a record without an active grant; with one, and marked so, everything is."""
    patient, closed = await somebody(it), await somebody(it)
    grant = await request(it, patient, subject="doc")
    after = await newest(it)
    asked = {"purpose": Purpose.BTG, "subject": "doc"}
    async with followed(it, Role.CLINICIAN, [patient, closed], after, **asked) as follower:
        await change(it, closed, 1, preferred_name="Ann")
        await change(it, patient, 1, preferred_name="Bob")
        assert (await follower.hear())["id"] == patient
        [leaf] = await told(it, follower.request_id)
    assert ("break_glass" in leaf["flg"], leaf["ref"]) == (True, grant["id"])


async def test_positions_tell_persons_nothing_of_others(it: Client) -> None:
    """Neither a number nor a time is in them; one's own page says the same whatever others do."""
    own, other = await somebody(it), await somebody(it)
    me: dict[str, Any] = {"role": Role.PATIENT, "patient": own}

    async def page(after: str | None, first: int = 1) -> Any:
        answer = await it.data(CHANGES, variables={"after": after, "first": first}, **me)
        return answer["recordChanges"]

    before = await page(None)
    assert before["edges"][0]["node"]["version"] == 1
    seen, marks = set(), []
    for version in range(1, 4):
        found = await page(before["newest"])
        assert (found["edges"], found["pageInfo"]["hasNextPage"]) == ([], False)
        marks += [found["newest"], found["pageInfo"]["endCursor"]]
        seen |= {len(mark) for mark in marks}
        await change(it, other, version, preferred_name=f"Ann {version}")
    assert len(set(marks)) == len(marks) - 3  # drawn anew for each answer, moved or not
    assert len(seen) == 1
    [*_, last] = await read(partial(it.house.database.fetch, ORG), ORG, 0, 9_999)
    for mark in marks:
        octets = base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4))
        assert str(last.at)[:8].encode() not in octets
        assert last.at.to_bytes(8)[:4] not in octets
    await change(it, own, 1, preferred_name="Bo")
    for mark in marks:  # each is a position, and what happened since is told behind it
        [edge] = (await page(mark))["edges"]
        assert edge["node"]["version"] == 2


async def test_a_stand_in_cannot_count_changes_that_are_hidden_from_them(it: Client) -> None:
    """A page holds changes they may be told of and ends behind those: what lies between leaves no trace."""
    own = await somebody(it)
    proxy: dict[str, Any] = {"role": Role.PROXY, "patient": own, "purpose": Purpose.SUPNWK}
    start = await newest(it)
    variables = {"after": start, "first": 1}
    await change(it, own, 1, religion="R1")
    await change(it, own, 2, religion="R2")
    found = (await it.data(CHANGES, variables=variables, **proxy))["recordChanges"]
    assert (found["edges"], found["pageInfo"]["hasNextPage"]) == ([], False)
    await change(it, own, 3, preferred_name="Ann")
    await change(it, own, 4, religion="R3")
    found = (await it.data(CHANGES, variables=variables, **proxy))["recordChanges"]
    assert [edge["node"]["version"] for edge in found["edges"]] == [4]
    assert not found["pageInfo"]["hasNextPage"]


async def test_what_changed_since_needs_the_grant_too(it: Client) -> None:
    """Without one a record is refused, on record, changed or not: silence would say that nothing changed."""
    patient, closed, same = await somebody(it), await somebody(it), await somebody(it)
    await request(it, patient, subject="doc")
    for each in (patient, closed):
        await change(it, each, 1, preferred_name="Ann")
    asked = {"purpose": Purpose.BTG, "subject": "doc"}
    found = await since(it, {patient: 1, closed: 1, same: 1, "px": 1}, Role.CLINICIAN, **asked)
    assert found == [
        {"id": patient, "version": 2, "changedFields": ["displayName", "preferredName"]},
        {"id": closed, "code": "BREAK_GLASS_REQUIRED"},
        {"id": same, "code": "BREAK_GLASS_REQUIRED"},
        {"id": "px", "code": "NOT_FOUND"},
    ]
    variables = {"known": [{"id": each, "version": 2} for each in (closed, same)]}
    _, leaves = await it.watched(SINCE, Role.CLINICIAN, variables=variables, **asked)
    denied = [leaf for leaf in leaves if leaf["out"] == "denied"]
    assert [leaf["why"] for leaf in denied] == ["BREAK_GLASS_REQUIRED"] * 2
    assert len({leaf["pat"] for leaf in denied}) == 2


async def test_of_an_erased_record_only_that_is_told(it: Client) -> None:
    """Who follows hears ERASED, so that copies can go; of what changed before nothing is told any more."""
    patient = await somebody(it)
    after = await newest(it)
    await change(it, patient, 1, preferred_name="Ann")
    given = {"patientId": patient, "expectedVersion": 2, "reason": "UNLAWFUL"}
    erasing = "mutation E($i: ErasePatientInput!) { erasePatient(input: $i) { whole } }"
    await it.data(erasing, Role.PRIVACY_OFFICER, variables={"i": given})
    async with followed(it, Role.INTEGRATION, [patient], after) as follower:
        heard = await follower.hear()
        assert (heard["kind"], heard["version"], heard["changedFields"]) == ("ERASED", 3, [])
    assert await since(it, {patient: 1}) == [{"id": patient, "code": "ERASED"}]


async def test_no_value_is_told_or_kept(it: Client) -> None:
    """A record full of marked values, new and changed: no mark in any answer, in the feed's tables or in its log."""
    after = await newest(it)
    patient = await it.house.store({}, raw=raw_person())
    async with followed(it, Role.INTEGRATION, None, after) as follower:
        heard = json.dumps(await follower.hear())
        assert patient in heard
        leaves = json.dumps(await told(it, follower.request_id))
    answer = await it.ask(CHANGES, Role.INTEGRATION, variables={"after": after})
    kept = await Intruder(_url(it)).run("SELECT patient_id, kind, changed FROM change")
    assert found_in(heard + leaves + answer.text + str(kept)) == []


async def test_while_nothing_can_be_recorded_nothing_is_told(
    shared_engine: str, databases: Databases, tmp_path: Path
) -> None:
    """The log is away: neither a subscriber nor whoever asks learns which record changed, or that one did."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path, live=True) as it:
        patient = await somebody(it)
        after = await newest(it)
        await change(it, patient, 1, preferred_name="Ann")
        async with followed(it, Role.FRONT_DESK, [patient], after) as follower:
            assert (await follower.hear())["version"] == 2
            await it.house.log.stop()
            for query, variables in (
                (CHANGES, {"after": after}),
                (SINCE, {"known": [{"id": patient, "version": 1}]}),
            ):
                answer = await it.ask(query, Role.INTEGRATION, variables=variables)
                assert answer.json()["errors"][0]["extensions"]["code"] == "AUDIT_UNAVAILABLE"
                assert "data" not in answer.json()
        async with followed(it, Role.FRONT_DESK, [patient], after) as follower:
            assert await follower.refused() == ["AUDIT_UNAVAILABLE"]
    databases.drop(url)


def _url(it: Client) -> str:
    database: Any = it.house.database
    url: str = database._url if it.house.database.dialect == "postgresql" else f"sqlite:///{database._path}"
    return url
