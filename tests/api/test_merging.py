"""Merging through GraphQL: what becomes of two records, what answers under the old id, and what comes back."""

from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import Role
from tests.asking import EVERYTHING, question
from tests.client import Client
from tests.uniting import ADA, ADELE, MERGE, merge, pair, undo, version_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHOLE: dict[str, Any] = {"role": Role.INTEGRATION, "purpose": Purpose.RECORDMGT}


async def whole(served: Client, patient_id: str) -> dict[str, Any]:
    """Everything that is answered under an id."""
    found = await served.data(question(EVERYTHING), variables={"id": patient_id}, **WHOLE)
    return dict(found["patient"])


async def merged(served: Client, one: str, other: str) -> dict[str, Any]:
    """The survivor as the answer to the merge has it."""
    answer = (await merge(served, one, other)).json()
    assert "errors" not in answer, answer
    return dict(answer["data"]["mergePatients"])


async def test_two_records_become_one(served: Client) -> None:
    """Lists are united, entries about the same thing become one under the survivor's id, and single values stay."""
    ada, adele = await pair(served)
    before = await whole(served, ada)
    found = await merged(served, ada, adele)
    assert found == {"id": ada, "version": 2, "displayName": "Ada", "supersededIds": [adele]}
    after = await whole(served, ada)
    assert [each["value"] for each in after["identifiers"]] == ["H-501", "C-77"]
    assert [each["given"] for each in after["names"]] == [["Adaeze"], ["Adele"]]
    points = {each["value"]: each for each in after["contactPoints"]}
    assert list(points) == ["+447700900501", "ada@example.test", "+447700900502"]
    assert points["+447700900501"]["id"] == before["contactPoints"][0]["id"]
    assert points["+447700900501"]["textPermitted"] == "NO"  # which the other record said
    assert [each["kind"] for each in after["accessNeeds"]] == ["HEARING_LOOP", "STEP_FREE_ACCESS"]
    assert after["accessibleFormats"] == ["LARGE_PRINT"]


async def test_the_old_id_answers_with_the_survivor(served: Client) -> None:
    """By id, in a batch, as a federated entity, in a search and as the answer of a mutation: one person, one record."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    assert await whole(served, adele) == await whole(served, ada)
    found = await served.data("query($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { id version } } }",
                              variables={"ids": [adele, ada, adele]})  # fmt: skip
    assert found["patients"] == [{"id": ada, "version": 2}] * 3
    entities = "query($r: [_Any!]!) { _entities(representations: $r) { ... on Patient { id } } }"
    given = {"r": [{"__typename": "Patient", "id": adele}]}
    assert (await served.data(entities, variables=given))["_entities"] == [{"id": ada}]
    for by in ('phone: "+447700900502"', 'identifier: {system: "urn:example:clinic-number", value: "C-77"}'):
        found = await served.data(f"{{ searchPatients(by: {{{by}}}) {{ edges {{ node {{ id }} }} }} }}")
        assert ada in {edge["node"]["id"] for edge in found["searchPatients"]["edges"]}
        assert adele not in {edge["node"]["id"] for edge in found["searchPatients"]["edges"]}


async def test_a_mutation_of_the_old_id_changes_the_survivor(served: Client) -> None:
    """With the survivor's version it is done to the survivor; with the old record's it is a conflict."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    update = "mutation($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { id version } }"
    given = {"patientId": adele, "expectedVersion": 1, "communicationStyle": "PLAIN_LANGUAGE"}
    assert await served.codes(update, variables={"input": given}) == ["VERSION_CONFLICT"]
    found = await served.data(update, variables={"input": {**given, "expectedVersion": 2}})
    assert found["updatePreferences"] == {"id": ada, "version": 3}


@pytest.mark.parametrize("bound", ["survivor", "duplicate"])
async def test_a_token_bound_to_either_id_opens_the_one_record(served: Client, bound: str) -> None:
    """Whoever's token names one of the ids reads and changes the record under each of them, and nobody else's."""
    ada, adele = await pair(served)
    [other] = [(await served.house.register())["id"]]
    await merged(served, ada, adele)
    who: dict[str, Any] = {"role": Role.PATIENT, "patient": ada if bound == "survivor" else adele}
    assert (await served.data("{ me { id } }", **who))["me"] == {"id": ada}
    for name in (ada, adele):
        assert (await served.data(question("id"), variables={"id": name}, **who))["patient"] == {"id": ada}
        version = await version_of(served, ada)
        update = "mutation($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { id } }"
        given = {"patientId": name, "expectedVersion": version, "preferredName": f"Ada {version}"}
        assert (await served.data(update, variables={"input": given}, **who))["updatePreferences"] == {"id": ada}
    assert await served.codes(question("id"), variables={"id": other}, **who) == ["NOT_FOUND"]


async def test_chains_of_merges_lead_to_their_end(served: Client) -> None:
    """A record that was merged into one that was merged itself answers with the last, which names both."""
    ada, adele = await pair(served)
    last = (await served.house.register())["id"]
    await merged(served, ada, adele)
    found = await merged(served, last, ada)
    assert found["supersededIds"] == [ada, adele]
    assert (await whole(served, adele))["id"] == last
    answer = (await undo(served, last, adele)).json()
    assert answer["errors"][0]["extensions"]["rule"] == "merged_into_another"


async def test_both_records_are_on_record_and_in_the_feed(served: Client) -> None:
    """The log has one event for each record, with the reason; the feed tells of both that they were merged."""
    ada, adele = await pair(served)
    given = {"patientId": ada, "expectedVersion": 1, "duplicateId": adele, "duplicateVersion": 1, "reason": "REVIEWED"}
    answer, leaves = await served.watched(MERGE, variables={"input": given})
    assert "errors" not in answer.json()
    assert [(leaf["act"], leaf["why"], leaf["out"]) for leaf in leaves] == [("merge", "REVIEWED", "ok")] * 2
    assert len({leaf["pat"] for leaf in leaves}) == 2
    told = [row for row in await served.house.outbox() if row["patient_id"] in {ada, adele} and row["version"] == 2]
    assert len(told) == 2


async def test_undoing_a_merge_gives_both_back(served: Client) -> None:
    """Both records say what they said before, each under its own id, and are found by what is theirs."""
    ada, adele = await pair(served)
    before = [await whole(served, name) for name in (ada, adele)]
    await merged(served, ada, adele)
    answer = (await undo(served, ada, adele)).json()
    assert answer["data"]["unmergePatients"] == {"id": ada, "version": 3, "supersededIds": None}
    after = [await whole(served, name) for name in (ada, adele)]
    moving = {"version", "updatedAt", "provenance"}
    assert [{k: v for k, v in each.items() if k not in moving} for each in after] == [
        {k: v for k, v in each.items() if k not in moving} for each in before
    ]
    found = await served.data('{ searchPatients(by: {phone: "+447700900502"}) { edges { node { id } } } }')
    ids = {edge["node"]["id"] for edge in found["searchPatients"]["edges"]}
    assert adele in ids
    assert ada not in ids


async def test_what_changed_since_stays_and_is_listed(served: Client) -> None:
    """A change of the merged record is nobody's for sure: it stays with the survivor, and `merges` names the field."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    add = "mutation($input: AddContactPointInput!) { addContactPoint(input: $input) { version } }"
    point = {"system": "PHONE", "value": "+447700900599", "use": "WORK"}
    await served.data(add, variables={"input": {"patientId": adele, "expectedVersion": 2, "contactPoint": point}})
    assert "errors" not in (await undo(served, ada, adele)).json()
    numbers = [each["value"] for each in (await whole(served, ada))["contactPoints"]]
    assert sorted(numbers) == ["+447700900501", "+447700900599", "ada@example.test"]
    listed = "query($id: ID!) { merges(patientId: $id) { duplicateId toReview undoneBy choices { field taken rule } } }"
    [entry] = (await served.data(listed, variables={"id": ada}))["merges"]
    assert (entry["duplicateId"], entry["toReview"], entry["undoneBy"]) == (adele, ["contactPoints"], "front_desk-1")
    assert {"field": "contactPoints", "taken": "SURVIVOR", "rule": "NEWEST"} in entry["choices"]


@pytest.mark.parametrize(
    ("given", "rule"),
    [({"duplicateId": "survivor"}, "same_record"), ({}, "already_merged")],
)
async def test_pairs_that_cannot_be_merged(served: Client, given: dict[str, str], rule: str) -> None:
    """The same record twice, and a record that is merged already, are refused by name, and nothing changes."""
    ada, adele = await pair(served)
    if rule == "already_merged":
        await merged(served, ada, adele)
    chosen = {"duplicateId": ada} if given else {}
    answer = (await merge(served, ada, adele, given=chosen)).json()
    assert answer["errors"][0]["extensions"] == {
        "code": "VALIDATION_FAILED", "field": "input.duplicateId", "rule": rule,
    }  # fmt: skip
    assert await version_of(served, ada) == (2 if rule == "already_merged" else 1)


async def test_the_version_to_blame_is_named(served: Client) -> None:
    """Each of the two versions must be the one that is stored; a conflict about the duplicate names its member."""
    ada, adele = await pair(served)
    answer = (await merge(served, ada, adele, given={"duplicateVersion": 7})).json()
    told = answer["errors"][0]["extensions"]
    assert (told["code"], told["currentVersion"], told["field"]) == ("VERSION_CONFLICT", 1, "input.duplicateVersion")
    answer = (await merge(served, ada, adele, given={"expectedVersion": 7})).json()
    assert "field" not in answer["errors"][0]["extensions"]
    for missing in ("expectedVersion", "duplicateVersion"):
        answer = (await merge(served, ada, adele, given={missing: None})).json()
        assert answer["errors"][0]["extensions"]["code"] == "VERSION_REQUIRED"


async def test_two_ways_to_be_reached_in_confidence_are_for_a_person_to_settle(served: Client) -> None:
    """Which of two confidential communications holds no rule may guess: refused, but for two that are alike.

    Who may not see them is refused these as well: nobody learns by merging whether a guess was right.
    """
    way = {"channel": "EMAIL", "value": "one@example.test", "set_at": "2026-05-01T08:00:00Z"}
    ids = [
        await served.house.store({**values, "confidential_communication": {**way, "value": value}})
        for values, value in ((ADA, "one@example.test"), (ADELE, "two@example.test"), (ADELE, "one@example.test"))
    ]
    sees: dict[str, Any] = {"role": Role.PRIVACY_OFFICER, "purpose": Purpose.RECORDMGT}
    refused = [
        (await merge(served, ids[0], ids[1], **sees)).json(),
        *[(await merge(served, ids[0], other)).json() for other in ids[1:]],
    ]
    errors = [answer["errors"] for answer in refused]
    assert errors[0] == errors[1] == errors[2]
    assert errors[0][0]["extensions"]["rule"] == "confidential_communication_conflict"
    assert "errors" not in (await merge(served, ids[0], ids[2], **sees)).json()


ERASE = """mutation Erase($input: ErasePatientInput!) {
  erasePatient(input: $input) { patientId also classes whole note }
}"""


@pytest.mark.parametrize("asked", ["survivor", "duplicate"])
async def test_erasing_reaches_what_was_merged(served: Client, asked: str) -> None:
    """Under either id the whole person is erased, with every record of them, and the receipt names those."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    given = {"patientId": ada if asked == "survivor" else adele, "expectedVersion": 2, "reason": "PATIENT_REQUEST"}
    receipt = (await served.data(ERASE, Role.PRIVACY_OFFICER, variables={"input": given}))["erasePatient"]
    assert (receipt["patientId"], receipt["also"], receipt["whole"]) == (ada, [adele], True)
    assert f"with what was merged into it: {adele}" in receipt["note"]
    for name in (ada, adele):
        assert await served.codes(question("displayName"), variables={"id": name}) == ["ERASED"]
    shown = "query($id: ID!) { erasureReceipts(patientId: $id) { patientId also } }"
    found = await served.data(shown, Role.PRIVACY_OFFICER, variables={"id": ada})
    assert found["erasureReceipts"] == [{"patientId": ada, "also": [adele]}]


async def test_a_hold_on_either_keeps_both(served: Client) -> None:
    """A legal hold on the duplicate holds the survivor; after the merge is undone it holds both."""
    ada, adele = await pair(served)
    place = "mutation($input: PlaceLegalHoldInput!) { placeLegalHold(input: $input) { id } }"
    given = {"patientId": adele, "reason": "LITIGATION"}
    await served.data(place, Role.PRIVACY_OFFICER, variables={"input": given})
    await merged(served, ada, adele)
    erasure = {"patientId": ada, "expectedVersion": 2, "reason": "PATIENT_REQUEST"}
    assert await served.codes(ERASE, Role.PRIVACY_OFFICER, variables={"input": erasure}) == ["LEGAL_HOLD"]
    await undo(served, ada, adele)
    for name in (ada, adele):
        erasure = {"patientId": name, "expectedVersion": 3, "reason": "PATIENT_REQUEST"}
        assert await served.codes(ERASE, Role.PRIVACY_OFFICER, variables={"input": erasure}) == ["LEGAL_HOLD"]


async def test_who_looked_at_either_record_is_told(served: Client) -> None:
    """The patient's own log tells of looks at the record that was merged, too, under either id."""
    ada, adele = await pair(served)
    for name in (ada, adele):
        await served.data(question("birthDate"), Role.CLINICIAN, variables={"id": name}, subject=f"looked-{name}")
    await merged(served, ada, adele)
    own = "{ myAccessLog(first: 50) { edges { node { action fields { path } roles } } } }"
    for bound in (ada, adele):
        found = await served.data(own, Role.PATIENT, patient=bound)
        nodes = [edge["node"] for edge in found["myAccessLog"]["edges"]]
        looks = [each for each in nodes if each["roles"] == ["CLINICIAN"] and each["action"] == "read"]
        assert len(looks) == 2
        assert [each["action"] for each in nodes].count("merge") == 2


async def test_a_time_before_the_merge_shows_the_record_of_then(served: Client) -> None:
    """What somebody saw under an id on a day is what it led to on that day, also where it leads elsewhere since."""
    ada, adele = await pair(served)
    then = (await whole(served, adele))["updatedAt"]
    await merged(served, ada, adele)
    now = (await whole(served, ada))["updatedAt"]
    query = "query($id: ID!, $at: DateTime!) { patient(id: $id, asOf: $at) { id version displayName } }"
    for at, shown in ((then, (adele, 1, "Adele Nwosu")), (now, (ada, 2, "Ada"))):
        found = await served.data(query, Role.CLINICIAN, variables={"id": adele, "at": at})
        assert found["patient"] == dict(zip(("id", "version", "displayName"), shown, strict=True))


async def test_decisions_and_deltas_follow_the_old_id(served: Client) -> None:
    """A contact decision under the old id is that of the survivor; who knows the old record is told that it changed."""
    prohibition = {
        "seq": 1, "decision": "DENY", "scope": {}, "capture": {"at": "2026-05-01T08:00:00Z"},
        "effective_from": "2026-05-01T08:00:00Z", "received_at": "2026-05-01T08:00:00Z",
    }  # fmt: skip
    reached = {**ADELE, "contact_points": [{"system": "PHONE", "value": "+447700900503", "use": "MOBILE"}]}
    ada, adele = await pair(served, {**ADA, "consents": [prohibition]}, reached)
    query = """query($ids: [ID!]!) {
      contactDecisions(patientIds: $ids, purpose: APPOINTMENT_REMINDER) { patientId outcome reasons } }"""
    before = await served.data(query, Role.MESSAGING, variables={"ids": [adele]})
    assert "OPTED_OUT" not in before["contactDecisions"][0]["reasons"]
    await merged(served, ada, adele)
    found = await served.data(query, Role.MESSAGING, variables={"ids": [adele, ada]})
    told = found["contactDecisions"]
    assert [(each["patientId"], each["outcome"], "OPTED_OUT" in each["reasons"]) for each in told] == [
        (ada, "DENY", True)
    ] * 2
    query = """query($known: [KnownRecord!]!) {
      changedSince(known: $known) { ... on ChangedRecord { id version } ... on Refusal { code } } }"""
    for version, told in ((1, [{"id": adele, "version": 2}]), (2, [])):
        given = {"known": [{"id": adele, "version": version}]}
        assert (await served.data(query, Role.CLINICIAN, variables=given))["changedSince"] == told


async def test_a_hold_goes_back_to_where_it_was_placed(served: Client) -> None:
    """After a merge was undone it is there under its own id, for a retry too, and the survivor has one of its own."""
    ada, adele = await pair(served)
    place = "mutation($input: PlaceLegalHoldInput!) { placeLegalHold(input: $input) { id } }"
    holds = "query($id: ID!) { legalHolds(patientId: $id) { id reason } }"
    given = {"patientId": adele, "reason": "LITIGATION"}
    who: dict[str, Any] = {"role": Role.PRIVACY_OFFICER, "variables": {"input": given}}
    who["headers"] = {"Idempotency-Key": f'"{adele}"'}
    placed = (await served.data(place, **who))["placeLegalHold"]
    await merged(served, ada, adele)
    assert (await served.data(place, **who))["placeLegalHold"] == placed
    await undo(served, ada, adele)
    assert (await served.data(place, **who))["placeLegalHold"] == placed
    found = [
        (await served.data(holds, Role.PRIVACY_OFFICER, variables={"id": name}))["legalHolds"] for name in (adele, ada)
    ]
    assert found[0] == [{**placed, "reason": "LITIGATION"}]
    assert [hold["reason"] for hold in found[1]] == ["LITIGATION"]
    assert found[1][0]["id"] != placed["id"]
