"""Versions under the ids of merged records: none is another's; and what is left once one of several is undone."""

from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.event import Act
from crm.errors import VersionConflict
from crm.services.consent_imports import Statement, append_all
from crm.services.imports import Draft, Imports
from crm.services.recognition import Incoming, Known
from tests.client import Client
from tests.house import REQUEST, actor
from tests.uniting import merge, pair, undo, version_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

UPDATE = "mutation($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { id version } }"
ERASE = "mutation($input: ErasePatientInput!) { erasePatient(input: $input) { patientId } }"
POINT = "mutation($input: UpdateContactPointInput!) { updateContactPoint(input: $input) { version } }"
SINCE = """query($known: [KnownRecord!]!) { changedSince(known: $known) {
  __typename ... on ChangedRecord { id version changedFields } ... on Refusal { code } } }"""
SAYS = """query($id: ID!) { patient(id: $id) {
  deceased identifiers { value } contactPoints { id value textPermitted voicemailOk detailedMessageOk }
  confidentialCommunication { channel } } }"""
WHOLE: dict[str, Any] = {"role": Role.INTEGRATION, "purpose": Purpose.RECORDMGT}


async def updated(served: Client, patient_id: str, version: int, **more: Any) -> dict[str, Any]:
    """The answer to a change under this id."""
    given = {"patientId": patient_id, "expectedVersion": version, **more}
    answer: dict[str, Any] = (await served.ask(UPDATE, variables={"input": given})).json()
    return answer


async def says(served: Client, patient_id: str, **who: Any) -> dict[str, Any]:
    """What stands under an id."""
    found: dict[str, Any] = (await served.data(SAYS, variables={"id": patient_id}, **(who or WHOLE)))["patient"]
    return found


async def merged(served: Client, survivor: str, *duplicates: str, **who: Any) -> None:
    """Merges these into the first one, in order."""
    for each in duplicates:
        answer = (await merge(served, survivor, each, **who)).json()
        assert "errors" not in answer, answer


async def lived(served: Client) -> tuple[str, str]:
    """Ada, and Adele who is known in version 2: Ada would have had that number after a merge that counts by one."""
    ada, adele = await pair(served)
    assert "errors" not in await updated(served, adele, 1, preferredName="Dele")
    return ada, adele


async def test_a_change_that_saw_the_old_record_is_refused(served: Client) -> None:
    """Under the old id no version that the old record ever had is the survivor's, and it is told of no fields."""
    ada, adele = await lived(served)
    await merged(served, ada, adele)
    assert await version_of(served, ada) == 3
    for version in (1, 2):
        for more in ({}, {"onConflict": "MERGE_DISJOINT"}):
            answer = await updated(served, adele, version, languages=[], **more)
            told = answer["errors"][0]["extensions"]
            assert (told["code"], told["currentVersion"]) == ("VERSION_CONFLICT", 3)
            assert "changedFields" not in told
    given = {"patientId": adele, "expectedVersion": 2, "reason": "PATIENT_REQUEST"}
    assert await served.codes(ERASE, Role.PRIVACY_OFFICER, variables={"input": given}) == ["VERSION_CONFLICT"]
    assert (await updated(served, adele, 3, languages=[]))["data"]["updatePreferences"] == {"id": ada, "version": 4}


async def test_who_knows_the_old_record_is_told_that_it_changed(served: Client) -> None:
    """`changedSince` tells of the survivor to whoever knows any version of the old record, and of no fields."""
    ada, adele = await lived(served)
    await merged(served, ada, adele)
    for version in (1, 2):
        found = await served.data(SINCE, variables={"known": [{"id": adele, "version": version}]})
        told = {"__typename": "ChangedRecord", "id": adele, "version": 3, "changedFields": None}
        assert found["changedSince"] == [told]
    assert (await served.data(SINCE, variables={"known": [{"id": adele, "version": 3}]}))["changedSince"] == []
    [told] = (await served.data(SINCE, variables={"known": [{"id": ada, "version": 1}]}))["changedSince"]
    assert (told["version"], "contactPoints" in told["changedFields"]) == (3, True)  # though there is no version 2


async def test_a_change_that_saw_the_merged_record_is_refused_after_it_was_undone(served: Client) -> None:
    """What was read under an id while it led to the survivor is no version of the record that it leads to again."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    for version in (2, 3):
        assert "errors" not in await updated(served, ada, version, preferredName=f"Ada {version}")
    assert "errors" not in (await undo(served, ada, adele)).json()
    assert [await version_of(served, each) for each in (ada, adele)] == [5, 5]
    for version in range(1, 5):
        answer = await updated(served, adele, version, preferredName="Dele", onConflict="MERGE_DISJOINT")
        assert answer["errors"][0]["extensions"]["code"] == "VERSION_CONFLICT"
        assert "changedFields" not in answer["errors"][0]["extensions"]
        [told] = (await served.data(SINCE, variables={"known": [{"id": adele, "version": version}]}))["changedSince"]
        assert (told["version"], told["changedFields"]) == (5, None)


async def test_a_change_is_put_on_top_of_others_across_the_numbers_that_a_merge_skipped(served: Client) -> None:
    """Who saw the survivor before the merge is told what changed; who saw it after is served as ever."""
    ada, adele = await lived(served)
    await merged(served, ada, adele)
    answer = await updated(served, ada, 1, timeZone="Europe/London", onConflict="MERGE_DISJOINT")
    assert "contactPoints" in answer["errors"][0]["extensions"]["changedFields"]
    assert "errors" not in await updated(served, ada, 3, preferredName="Zoe")
    answer = await updated(served, adele, 3, timeZone="Europe/London", onConflict="MERGE_DISJOINT")
    assert answer["data"]["updatePreferences"] == {"id": ada, "version": 5}
    assert "errors" not in (await undo(served, ada, adele)).json()


async def test_of_several_merges_the_last_is_undone_first(served: Client) -> None:
    """What two merged records both said stays while one of them is merged: the earlier merge is not undone before."""
    number = {"system": "PHONE", "value": "+447700900502", "use": "MOBILE"}
    said = {"birth_date": "1971-02-03", "deceased": True, "identifiers": [{"system": "urn:example:x", "value": "N-1"}]}
    said |= {"contact_points": [{**number, "text_permitted": "NO"}]}
    way = {"channel": "VOICE", "value": "+447700900599", "set_at": "2026-05-01T08:00:00Z"}
    said |= {"confidential_communication": way}
    one = (await served.house.register({"birth_date": "1971-02-03"}))["id"]
    others = [await served.house.store(said) for _ in range(2)]
    officer: dict[str, Any] = {"role": Role.PRIVACY_OFFICER}
    await merged(served, one, *others, **officer)
    both = await says(served, one, **officer)
    answer = (await undo(served, one, others[0], **officer)).json()
    told = {"code": "VALIDATION_FAILED", "field": "input.duplicateId", "rule": "merged_later"}
    assert answer["errors"][0]["extensions"] == told
    assert await says(served, one, **officer) == both
    assert "errors" not in (await undo(served, one, others[1], **officer)).json()
    left = await says(served, one, **officer)
    assert left["confidentialCommunication"] == {"channel": "VOICE"}
    assert (left["deceased"], left["contactPoints"][0]["textPermitted"]) == (both["deceased"], "NO")
    assert [each["value"] for each in left["identifiers"]] == ["N-1"]
    assert "errors" not in (await undo(served, one, others[0], **officer)).json()
    alone = await says(served, one, **officer)
    assert (alone["contactPoints"], alone["confidentialCommunication"]) == (None, None)


@pytest.mark.parametrize("member", ["textPermitted", "voicemailOk", "detailedMessageOk"])
async def test_what_was_forbidden_of_a_number_stays_forbidden_on_both(served: Client, member: str) -> None:
    """A prohibition of a contact point that was made while the records were one is the duplicate's, too."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    [point] = [each for each in (await says(served, ada))["contactPoints"] if each["value"].endswith("502")]
    given = {"patientId": ada, "expectedVersion": 2, "contactPointId": point["id"], "contactPoint": {member: "NO"}}
    await served.data(POINT, variables={"input": given})
    assert "errors" not in (await undo(served, ada, adele)).json()
    for name in (ada, adele):
        [kept] = [each for each in (await says(served, name))["contactPoints"] if each["value"].endswith("502")]
        assert kept[member] == "NO"


async def test_an_import_that_recognised_the_old_record_is_refused(served: Client) -> None:
    """What was recognised as the old record before the merge does not overwrite the survivor, whatever its version."""
    ada, adele = await lived(served)
    imports = Imports(served.house.services.store, actor(Role.INTEGRATION), REQUEST)
    await imports.admit()
    draft = Draft(Incoming("pas", None, "9", (), b""), {"preferred_name": "Zoe"}, restricted=False)
    await merged(served, ada, adele)
    with pytest.raises(VersionConflict):
        await imports.apply([(draft, Known(adele, 2, b""))])
    assert await version_of(served, ada) == 3


async def test_a_record_is_one_object_under_all_its_ids(served: Client) -> None:
    """Two changes of one transaction under two ids of one record are two versions, and neither is lost."""
    ada, adele = await pair(served)
    await merged(served, ada, adele)
    context = REQUEST.context(actor(Role.FRONT_DESK))
    async with served.house.services.store.writing(context, Act.UPDATE, [ada]) as unit:
        found = await unit.load_for_change([ada, adele])
        assert found[ada] is found[adele]
        unit.change(found[ada], {"preferred_name": "One"}, "test")
        unit.change(found[adele], {"time_zone": "Europe/Paris"}, "test")
    query = "query($id: ID!) { patient(id: $id) { version preferredName timeZone } }"
    shown = await served.data(query, variables={"id": ada}, **WHOLE)
    assert shown["patient"] == {"version": 4, "preferredName": "One", "timeZone": "Europe/Paris"}


async def test_consents_about_two_records_that_were_merged_meanwhile(served: Client) -> None:
    """Statements that were recognised as two people's are all appended, in order, where the two are one by now."""
    ada, adele = await pair(served)
    statements = [
        Statement(
            Incoming("pas", None, f"c{number}", (), b""),
            {"id": f"{ada}-{number}", "decision": "DENY", "scope": {"channel": channel}, "giver": {"role": "PATIENT"},
             "capture": {"at": "2026-03-01T00:00:00Z", "system": "pas"}, "effective_from": "2026-03-01T00:00:00Z"},
        )
        for number, channel in enumerate(("SMS", "EMAIL", "VOICE"))
    ]  # fmt: skip
    known = [Known(each, 1, b"") for each in (ada, adele, ada)]
    await merged(served, ada, adele)
    context = REQUEST.context(actor(Role.INTEGRATION))
    assert await append_all(served.house.services.store, context, statements, known) == [True, True, True]
    query = "query($id: ID!) { patient(id: $id) { version consents { scope { channel } } } }"
    found = (await served.data(query, variables={"id": ada}, **WHOLE))["patient"]
    assert [each["scope"]["channel"] for each in found["consents"]] == ["SMS", "EMAIL", "VOICE"]
    assert found["version"] == 3
