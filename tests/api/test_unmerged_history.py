"""What a record held of another person while the two were merged by mistake, once that was undone."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import Role
from tests.asking import question
from tests.client import Client
from tests.security.test_history import restrict
from tests.uniting import merge, pair, undo, version_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERS = "+447700900502"
"""What Adele alone said."""

THEN = """query Then($id: ID!, $version: Int, $at: DateTime) {
  patient(id: $id, asOfVersion: $version, asOf: $at) { id version contactPoints { value } } }"""
COMPARE = """query Compare($id: ID!, $from: Int!, $to: Int!) { compareVersions(patientId: $id, from: $from, to: $to) {
  before { version contactPoints { value } } after { version contactPoints { value } } changedFields } }"""
PAGE = """query Page($id: ID!) { history(patientId: $id) { edges { node {
  version recordedAt action changedFields by { roles } patient { version contactPoints { value } } } } } }"""
PREFER = (
    "mutation P($i: UpdatePreferencesInput!) { updatePreferences(input: $i) { id version contactPoints { value } } }"
)
ALL: dict[str, Any] = {"role": Role.INTEGRATION, "purpose": Purpose.RECORDMGT}


class Parted:
    """Ada and Adele, who were one record in the versions from `first` to before `own`."""

    def __init__(self, served: Client, ada: str, adele: str, first: int, own: int) -> None:
        self.served, self.ada, self.adele, self.first, self.own = served, ada, adele, first, own

    def as_ada(self) -> dict[str, Any]:
        """She herself asks, with a token of her own."""
        return {"role": Role.PATIENT, "patient": self.ada}

    async def nodes(self, **who: Any) -> dict[int, Any]:
        """Her history, by version."""
        data = await self.served.data(PAGE, variables={"id": self.ada}, **who)
        return {edge["node"]["version"]: edge["node"] for edge in data["history"]["edges"]}

    async def joined_at(self) -> str:
        """A moment in which the two were one record."""
        nodes = await self.nodes(**ALL)
        since = datetime.fromisoformat(nodes[self.first]["recordedAt"])
        assert since < datetime.fromisoformat(nodes[self.own]["recordedAt"])
        return (since + timedelta(microseconds=1)).isoformat()


async def parted(served: Client) -> Parted:
    """The two, merged by mistake and parted again."""
    ada, adele = await pair(served)
    assert "errors" not in (await merge(served, ada, adele)).json()
    first = await version_of(served, ada)
    assert "errors" not in (await undo(served, ada, adele)).json()
    return Parted(served, ada, adele, first, await version_of(served, ada))


def rules(answer: Any) -> list[tuple[str, str]]:
    """Fields and rules of the errors of an answer."""
    return [(error["extensions"]["field"], error["extensions"]["rule"]) for error in answer["errors"]]


async def test_a_patient_sees_no_version_that_held_what_another_person_said(served: Client) -> None:
    """By number, by time and side by side it is refused like one that is not kept; their own ones open."""
    two = await parted(served)
    at = await two.joined_at()
    for query, variables in (
        (THEN, {"version": two.first}),
        (THEN, {"at": at}),
        (COMPARE, {"from": two.first, "to": two.own}),
    ):
        answer = await served.ask(query, variables={"id": two.ada, **variables}, **two.as_ada())
        field = "asOf" if "at" in variables else "asOfVersion"
        assert (rules(answer.json()), HERS in answer.text) == ([(field, "not_kept")], False)
    sides = (await served.data(COMPARE, variables={"id": two.ada, "from": 1, "to": two.own}, **two.as_ada()))[
        "compareVersions"
    ]
    assert [sides[side]["version"] for side in ("before", "after")] == [1, two.own]
    assert sides["changedFields"] == []


async def test_the_history_of_a_patient_tells_of_the_time_only(served: Client) -> None:
    """In the list such a version has its number and time; what it changed and who did it may be about the other."""
    two = await parted(served)
    nodes = await two.nodes(**two.as_ada())
    joined = nodes[two.first]
    assert (joined["patient"], joined["changedFields"], joined["action"], joined["by"]) == (None, [], None, None)
    assert nodes[two.own]["changedFields"] == []
    assert {number for number, node in nodes.items() if node["patient"] is None} == {two.first}
    assert HERS not in str(nodes)


async def test_staff_see_it_and_both_people_have_it_on_record(served: Client) -> None:
    """An event for either name, with the fields and the version of then."""
    two = await parted(served)
    answer, leaves = await served.watched(THEN, variables={"id": two.ada, "version": two.first}, **ALL)
    assert HERS in answer.text
    assert [(leaf["fld"], leaf["why"]) for leaf in leaves] == [(["contactPoints"], "HISTORY")] * 2
    assert leaves[0]["obj"][0]["ver"] == two.first
    assert len({leaf["pat"] for leaf in leaves}) == 2
    _, alone = await served.watched(THEN, variables={"id": two.ada, "version": two.own}, **ALL)
    assert len(alone) == 1


async def test_the_id_of_the_other_leads_where_it_led_then(served: Client) -> None:
    """As of a time within the merge it answers with the survivor, as it did; not with a row that nobody saw."""
    two = await parted(served)
    at = await two.joined_at()
    answer, leaves = await served.watched(THEN, variables={"id": two.adele, "at": at}, **ALL)
    found = answer.json()["data"]["patient"]
    assert (found["id"], found["version"]) == (two.ada, two.first)
    assert len({leaf["pat"] for leaf in leaves}) == 2
    who: dict[str, Any] = {"role": Role.PATIENT, "patient": two.adele}
    refused = (await served.ask(THEN, variables={"id": two.adele, "at": at}, **who)).json()
    assert rules(refused) == [("asOf", "not_kept")]


async def test_a_restriction_of_either_withholds(served: Client) -> None:
    """What one of them keeps from the asker is kept in the versions that held what both said."""
    two = await parted(served)
    given: dict[str, Any] = {"variables": {"id": two.ada, "version": two.first}}
    assert HERS in (await served.ask(THEN, Role.CLINICIAN, **given)).text
    await restrict(served, two.adele, True)
    answer, leaves = await served.watched(THEN, Role.CLINICIAN, **given)
    assert HERS not in answer.text
    assert [leaf["flg"] for leaf in leaves] == [["restricted"]] * 2


async def test_a_retry_is_answered_with_the_record_as_it_is(served: Client) -> None:
    """What somebody changed meanwhile and asks for again under its key: without what the other said."""
    ada, adele = await pair(served)
    await merge(served, ada, adele)
    under: dict[str, Any] = {"headers": {"Idempotency-Key": f'"{ada}"'}}
    given = {"patientId": ada, "expectedVersion": await version_of(served, ada), "preferredName": "Ada A."}
    who: dict[str, Any] = {"role": Role.PATIENT, "patient": ada, "variables": {"i": given}}
    first = await served.ask(PREFER, **who, **under)
    assert HERS in first.text
    await undo(served, ada, adele)
    again = await served.ask(PREFER, **who, **under)
    assert (again.json()["data"]["updatePreferences"]["id"], HERS in again.text) == (ada, False)


async def test_two_who_are_one_again_see_everything(served: Client) -> None:
    """Merged once more, the record is one person's, and so is what it held the first time."""
    two = await parted(served)
    assert "errors" not in (await merge(served, two.ada, two.adele)).json()
    seen = await served.data(THEN, variables={"id": two.ada, "version": two.first}, **two.as_ada())
    assert HERS in str(seen)
    assert HERS in str(
        await served.data(question("contactPoints { value }"), variables={"id": two.ada}, **two.as_ada())
    )


ERASE = (
    """mutation Erase($input: ErasePatientInput!) { erasePatient(input: $input) { patientId classes whole note } }"""
)
HOLD = "mutation($input: PlaceLegalHoldInput!) { placeLegalHold(input: $input) { id } }"


async def erase(served: Client, patient: str, *classes: str) -> Any:
    """The answer to an erasure of a record as it is, whole without classes."""
    given: dict[str, Any] = {"patientId": patient, "expectedVersion": await version_of(served, patient)}
    given |= {"classes": list(classes)} if classes else {}
    return (await served.ask(ERASE, Role.PRIVACY_OFFICER, variables={"input": given})).json()


@pytest.mark.parametrize("classes", [(), ("CONTACT",)])
async def test_erasing_somebody_reaches_what_the_other_record_held(served: Client, classes: tuple[str, ...]) -> None:
    """The versions of both are emptied of it and not kept any more, for nobody; her own ones stay."""
    two = await parted(served)
    receipt = (await erase(served, two.adele, *classes))["data"]["erasePatient"]
    assert "with what other records held of it before a merge was undone: 1" in receipt["note"]
    for query, variables in ((THEN, {"version": two.first}), (COMPARE, {"from": two.first, "to": two.own})):
        answer = await served.ask(query, variables={"id": two.ada, **variables}, **ALL)
        assert (rules(answer.json()), HERS in answer.text) == ([("asOfVersion", "not_kept")], False)
    nodes = await two.nodes(**ALL)
    assert {number for number, node in nodes.items() if node["patient"] is None} == {two.first}
    assert HERS not in str(nodes)
    own = await served.data(THEN, variables={"id": two.ada, "version": two.own}, **ALL)
    assert len(own["patient"]["contactPoints"]) == 2


async def test_a_hold_on_the_other_record_keeps_its_versions(served: Client) -> None:
    """What another record held cannot be emptied while that one is held."""
    two = await parted(served)
    given = {"patientId": two.ada, "reason": "LITIGATION"}
    await served.data(HOLD, Role.PRIVACY_OFFICER, variables={"input": given})
    refused = await erase(served, two.adele)
    assert [error["extensions"]["code"] for error in refused["errors"]] == ["LEGAL_HOLD"]
    assert HERS in str(await served.data(THEN, variables={"id": two.ada, "version": two.first}, **ALL))


async def test_a_class_is_erased_of_what_was_merged_though_it_was_erased_before(served: Client) -> None:
    """The survivor's is gone, the duplicate's is whole: that is erased, and only a third time is in vain."""
    ada, adele = await pair(served)
    assert "errors" not in await erase(served, ada, "CONTACT")
    assert "errors" not in (await merge(served, ada, adele)).json()
    receipt = (await erase(served, ada, "CONTACT"))["data"]["erasePatient"]
    assert receipt["classes"] == ["CONTACT"]
    again = await erase(served, ada, "CONTACT")
    assert [error["extensions"]["code"] for error in again["errors"]] == ["ERASED"]
    await undo(served, ada, adele)
    query = question("id contactPoints { value }")
    answer = await served.ask(query, variables={"id": adele}, **ALL)
    assert HERS not in answer.text
    assert answer.json()["errors"][0]["extensions"]["code"] == "ERASED"
