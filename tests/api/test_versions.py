"""Versions: each change says on which one it is based, a conflict says what changed, disjoint changes may merge."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from auth.purposes import Purpose
from auth.roles import Role
from schema.sdl import build_schema
from tests.asking import MUTATIONS, OTHER_MUTATIONS
from tests.client import Client, client

PREFERENCES = "mutation U($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { version } }"
IDENTITY = "mutation U($input: UpdateIdentityInput!) { updateIdentity(input: $input) { version } }"
POINT = "mutation A($input: AddContactPointInput!) { addContactPoint(input: $input) { version } }"

UNVERSIONED = {
    "registerPatient": "there is no record yet",
    "placeLegalHold": "a hold stands beside the record, which stays as it is, and must not wait for anybody",
    "liftLegalHold": "the same; a hold is lifted once, whoever asks twice",
    "requestBreakGlass": "leave to read, which changes nothing of the record",
    "reviewBreakGlass": "a verdict about a grant, given once",
    "reviewDuplicate": "a verdict about two records, which stay as they are",
    "startContactVerification": "sends a code, and changes nothing of the record",
    "reportDelivery": "counts a failure at a place; who sends messages reads no record, and every report counts",
    "recordInboundMessage": "a person has spoken: that holds whatever the record says by now",
}
"""Mutations without `expectedVersion`, and why each may do without."""


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service on a database of its own."""
    async with client(database_url, tmp_path) as it:
        yield it


def _input(mutation: str) -> GraphQLInputObjectType:
    kind = build_schema().mutation_type
    assert kind is not None
    of = get_named_type(kind.fields[mutation].args["input"].type)
    assert isinstance(of, GraphQLInputObjectType)
    return of


@pytest.mark.parametrize("mutation", [*MUTATIONS, *OTHER_MUTATIONS])
def test_every_change_is_based_on_a_version(mutation: str) -> None:
    """Whatever changes a record takes `expectedVersion`; what does not take it has a reason here."""
    assert ("expectedVersion" in _input(mutation).fields) != (mutation in UNVERSIONED)


def _codes(answer: dict[str, Any]) -> list[str]:
    return [error["extensions"]["code"] for error in answer.get("errors", [])]


async def _based(
    served: Client, query: str, patient: str, version: int, role: Role = Role.FRONT_DESK, **more: Any
) -> Any:
    values = {"input": {"patientId": patient, "expectedVersion": version, **more}}
    return (await served.ask(query, role, variables=values)).json()


async def test_a_conflict_says_what_changed(served: Client) -> None:
    """The loser learns the version now stored and the paths that changed since, and no value of them."""
    ann = (await served.house.register())["id"]
    await _based(served, PREFERENCES, ann, 1, preferredName="Ada", pronouns="she/her")
    await _based(served, IDENTITY, ann, 2, birthDate="1984-07-04")
    answer = await _based(served, PREFERENCES, ann, 1, preferredName="Bea")
    assert answer["errors"][0]["extensions"] == {
        "code": "VERSION_CONFLICT",
        "currentVersion": 3,
        "changedFields": ["birthDate", "displayName", "preferredName", "pronouns"],
    }
    assert "Ada" not in str(answer)


async def test_a_conflict_says_no_more_than_the_caller_may_read(served: Client) -> None:
    """A change of the religion is none for whoever may not read it; only the version tells that there was one."""
    ann = (await served.house.register())["id"]
    await _based(served, PREFERENCES, ann, 1, Role.INTEGRATION, religion="Quietist")
    answer = await _based(served, PREFERENCES, ann, 1, Role.FRONT_DESK, preferredName="Bea")
    told = answer["errors"][0]["extensions"]
    assert (told["currentVersion"], "religion" in told["changedFields"]) == (2, False)


async def test_disjoint_changes_merge_where_that_is_asked_for(served: Client) -> None:
    """Asked for, a change of other fields is put on top, and answer and log say so; not asked for, it is refused."""
    ann = (await served.house.register())["id"]
    await _based(served, IDENTITY, ann, 1, birthDate="1984-07-04")
    assert _codes(await _based(served, PREFERENCES, ann, 1, instructions="Ring twice.")) == ["VERSION_CONFLICT"]
    values = {"patientId": ann, "expectedVersion": 1, "instructions": "Ring twice.", "onConflict": "MERGE_DISJOINT"}
    answer, [leaf] = await served.watched(PREFERENCES, variables={"input": values})
    assert answer.json() == {
        "data": {"updatePreferences": {"version": 3}},
        "extensions": {"merged": {"updatePreferences": {"expectedVersion": 1, "changedFields": ["birthDate"]}}},
    }
    assert (leaf["act"], leaf["why"]) == ("update", "MERGED_DISJOINT")
    card = await served.data(f'{{ patient(id: "{ann}") {{ birthDate instructions }} }}')
    assert card["patient"] == {"birthDate": "1984-07-04", "instructions": "Ring twice."}


async def test_changes_that_meet_never_merge(served: Client) -> None:
    """The same field, another source of the same derived field, a restriction in between: refused, whoever asks."""
    merging: dict[str, Any] = {"onConflict": "MERGE_DISJOINT"}
    ann = (await served.house.register())["id"]
    await _based(served, PREFERENCES, ann, 1, preferredName="Ada")
    refused = [
        await _based(served, PREFERENCES, ann, 1, preferredName="Bea", **merging),
        await _based(served, IDENTITY, ann, 1, names=[{"use": "OFFICIAL", "family": "Bee"}], **merging),
        await _based(served, PREFERENCES, ann, 7, instructions="Later.", **merging),
        await _based(served, PREFERENCES, ann, 0, instructions="Never.", **merging),
    ]
    assert [_codes(each) for each in refused] == [["VERSION_CONFLICT"]] * 4
    restrict = "mutation R($input: RestrictRecordInput!) { restrictRecord(input: $input) { version } }"
    await _based(served, restrict, ann, 2, Role.PRIVACY_OFFICER, kind="CONTACT", basis="OBJECTION")
    answer = await _based(served, PREFERENCES, ann, 2, instructions="Ring.", **merging)
    assert _codes(answer) == ["VERSION_CONFLICT"]

    erase = "mutation E($input: ErasePatientInput!) { erasePatient(input: $input) { whole } }"
    gone: dict[str, Any] = {"reason": "PATIENT_REQUEST", "classes": ["CONTACT"]}
    await _based(served, erase, ann, 3, Role.PRIVACY_OFFICER, **gone)
    assert _codes(await _based(served, PREFERENCES, ann, 3, instructions="Ring.", **merging)) == ["VERSION_CONFLICT"]


async def test_what_a_stand_in_may_not_know_of_refuses_them_nothing(served: Client) -> None:
    """A restriction and a change of the religion are the same to them: put on top, or refused with no field told."""
    restrict = "mutation R($input: RestrictRecordInput!) { restrictRecord(input: $input) { version } }"
    answers = []
    for kind in ("CONTACT", "RECORD", None):
        ann = (await served.house.register())["id"]
        if kind:
            stated = {"kind": kind, "basis": "OBJECTION"}
            assert not _codes(await _based(served, restrict, ann, 1, Role.PRIVACY_OFFICER, **stated))
        else:
            assert not _codes(await _based(served, PREFERENCES, ann, 1, Role.INTEGRATION, religion="Quietist"))
        values = {"patientId": ann, "expectedVersion": 1, "accessibleFormats": ["LARGE_PRINT"]}
        for more in ({}, {"onConflict": "MERGE_DISJOINT"}):
            who: dict[str, Any] = {"purpose": Purpose.PWATRNY, "patient": ann, "variables": {"input": values | more}}
            answers.append((await served.ask(PREFERENCES, Role.PROXY, **who)).json())
    assert answers[:2] == answers[2:4] == answers[4:]
    assert answers[0]["errors"][0]["extensions"] == {
        "code": "VERSION_CONFLICT",
        "currentVersion": 2,
        "changedFields": [],
    }
    assert answers[1]["data"] == {"updatePreferences": {"version": 3}}


COMPARE = """query C($id: ID!, $from: Int!, $to: Int!) { compareVersions(patientId: $id, from: $from, to: $to) {
  before { version preferredName religion } after { version preferredName religion } changedFields } }"""


async def _compared(served: Client, patient: str, first: int, second: int, role: Role = Role.CLINICIAN) -> Any:
    variables = {"id": patient, "from": first, "to": second}
    return (await served.ask(COMPARE, role, variables=variables)).json()


async def test_both_sides_of_a_conflict(served: Client) -> None:
    """Who may see both is shown both, the older one first, with what changed in between; each is on record."""
    ann = (await served.house.register())["id"]
    await _based(served, PREFERENCES, ann, 1, preferredName="Ada")
    await _based(served, PREFERENCES, ann, 2, preferredName="Bea")
    for first, second in ((1, 3), (3, 1)):
        assert (await _compared(served, ann, first, second))["data"]["compareVersions"] == {
            "before": {"version": 1, "preferredName": "Sam", "religion": "Quaker"},
            "after": {"version": 3, "preferredName": "Bea", "religion": "Quaker"},
            "changedFields": ["displayName", "preferredName"],
        }
    seen = await served.house.leaves(act="read")
    assert [leaf["obj"][0]["ver"] for leaf in seen[-4:]] == [1, 3, 1, 3]


BRIEFLY = """query C($id: ID!, $from: Int!, $to: Int!) { compareVersions(patientId: $id, from: $from, to: $to) {
  before { version preferredName contactPoints { value } } after { version preferredName } changedFields } }"""


async def test_the_front_desk_sees_both_sides_for_a_day(served: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """What they may read, from when it was not the newest any more; later it is history, and the refusal on record."""
    ann = (await served.house.register())["id"]
    store = served.house.services.store
    await _based(served, PREFERENCES, ann, 1, preferredName="Ada")
    await _based(served, PREFERENCES, ann, 2, preferredName="Bea")
    variables = {"id": ann, "from": 2, "to": 3}
    answer, leaves = await served.watched(BRIEFLY, variables=variables)
    found = answer.json()["data"]["compareVersions"]
    assert (found["before"]["preferredName"], found["after"]) == ("Ada", {"version": 3, "preferredName": "Bea"})
    assert [(leaf["out"], leaf["obj"][0]["ver"]) for leaf in leaves] == [("ok", 2), ("ok", 3)]
    assert found["before"]["contactPoints"]
    assert _codes(await _compared(served, ann, 2, 3, Role.FRONT_DESK)) == ["FORBIDDEN_FIELD"]

    day, clock = 24 * 3_600_000_000, store.clock
    await _based(served, PREFERENCES, ann, 3, preferredName="Cleo")
    monkeypatch.setattr(store, "clock", lambda: clock() + day - 60_000_000)
    assert "errors" not in (await served.ask(BRIEFLY, variables=variables)).json()
    monkeypatch.setattr(store, "clock", lambda: clock() + day)
    answer, [leaf] = await served.watched(BRIEFLY, variables=variables)
    assert answer.json()["errors"][0]["extensions"] == {
        "code": "VALIDATION_FAILED",
        "field": "from",
        "rule": "too_old",
    }
    assert leaf["out"] != "ok"
    assert "errors" not in (await served.ask(BRIEFLY, Role.CLINICIAN, variables=variables)).json()


async def test_a_side_that_was_restricted_shows_the_front_desk_no_more(served: Client) -> None:
    """Then or now: contact points are withheld on both sides."""
    ann = (await served.house.register())["id"]
    restrict = "mutation R($input: RestrictRecordInput!) { restrictRecord(input: $input) { version } }"
    assert not _codes(await _based(served, restrict, ann, 1, Role.PRIVACY_OFFICER, kind="RECORD", basis="OBJECTION"))
    answer = (await served.ask(BRIEFLY, variables={"id": ann, "from": 1, "to": 2})).json()
    assert answer["data"]["compareVersions"]["before"] == {"version": 1, "preferredName": "Sam", "contactPoints": None}


async def test_no_side_for_who_may_not_see_it(served: Client) -> None:
    """A proxy sees no former versions, nobody another organisation's, and there is no version to come."""
    ann = (await served.house.register())["id"]
    for purpose in (Purpose.PWATRNY, Purpose.FAMRQT):
        who: dict[str, Any] = {"purpose": purpose, "patient": ann}
        query = COMPARE.replace(" religion", "")
        assert await served.codes(query, Role.PROXY, variables={"id": ann, "from": 1, "to": 1}, **who) == ["FORBIDDEN"]
    answer = await served.ask(COMPARE, Role.CLINICIAN, variables={"id": ann, "from": 1, "to": 1}, org="south-clinic")
    assert _codes(answer.json()) == ["NOT_FOUND"]
    told = (await _compared(served, ann, 1, 2))["errors"][0]["extensions"]
    assert (told["code"], told["rule"]) == ("VALIDATION_FAILED", "unknown_version")
