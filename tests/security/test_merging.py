"""Who may merge, what a refused attempt leaves, and that nobody sends an id to somebody else's record by SQL."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from auth import policy
from auth.purposes import Purpose
from auth.roles import Role
from crm.domain.erasure import ErasureReason
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.services.merging import Which
from tests.asking import question
from tests.client import Client
from tests.clinic import Clinic, opened
from tests.conftest import Databases
from tests.house import OTHER_ORG, REQUEST, House, actor
from tests.intruder import Intruder
from tests.scene import Scene
from tests.uniting import MERGE, UNMERGE, merge, pair, undo

pytestmark = pytest.mark.asyncio(loop_scope="module")

MERGES = "query Merges($input: ID!) { merges(patientId: $input) { id } }"
MAY = {row.role for row in policy.matrix() if "patient:merge" in row.actions}
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"


async def asked(served: Client, root: str) -> tuple[str, Any, list[str]]:
    """A query with good variables, and the two records that it is about."""
    ids = await pair(served)
    given = {"patientId": ids[0], "expectedVersion": 1, "duplicateId": ids[1]}
    if root == "mergePatients":
        return MERGE, {**given, "duplicateVersion": 1, "reason": "REVIEWED"}, ids
    assert "errors" not in (await merge(served, ids[0], ids[1])).json()
    if root == "merges":
        return MERGES, ids[0], ids
    return UNMERGE, {**given, "expectedVersion": 2, "reason": "TWO_PEOPLE"}, ids


async def state(served: Client, ids: list[str]) -> Any:
    """What a refused attempt must leave as it was: what both ids answer, and what is told to others."""
    who: dict[str, Any] = {"role": Role.INTEGRATION, "purpose": Purpose.RECORDMGT}
    found = [
        (await served.data(question("id version supersededIds"), variables={"id": name}, **who))["patient"]
        for name in ids
    ]
    return found, await served.house.outbox()


def codes(answer: Any) -> list[str]:
    """The error codes of an answer."""
    return [error["extensions"]["code"] for error in answer.json().get("errors", [])]


ROOTS = ("mergePatients", "unmergePatients", "merges")


@pytest.mark.parametrize("root", ROOTS)
@pytest.mark.parametrize("role", [None, *Role])
async def test_only_whom_the_policy_names_may_merge(served: Client, root: str, role: Role | None) -> None:
    """Nobody, a wrong role, and a right one; who is refused changes nothing, and the attempt is on record."""
    query, given, ids = await asked(served, root)
    before = await state(served, ids)
    purpose = Purpose.RECORDMGT if role is Role.PRIVACY_OFFICER else None
    who = {"patient": ids[0]} if role in {Role.PATIENT, Role.PROXY} else {}
    answer, leaves = await served.watched(query, role, variables={"input": given}, purpose=purpose, **who)
    if role is not None and role.value in MAY:
        assert codes(answer) == []
        return
    assert codes(answer) == (["UNAUTHENTICATED"] if role is None else ["FORBIDDEN"])
    assert await state(served, ids) == before
    if role is not None:
        assert {(leaf["out"], leaf["why"]) for leaf in leaves} == {("denied", "FORBIDDEN")}
        assert {leaf["act"] for leaf in leaves} == {
            {"mergePatients": "merge", "unmergePatients": "unmerge", "merges": "read"}[root]
        }


@pytest.mark.parametrize("root", ROOTS)
async def test_the_right_role_of_another_organisation_finds_nobody(served: Client, root: str) -> None:
    """The ids of another organisation are unknown; nothing changes, and neither side's names are told."""
    query, given, ids = await asked(served, root)
    before = await state(served, ids)
    answer = await served.ask(query, Role.INTEGRATION, variables={"input": given}, org=OTHER_ORG)
    assert codes(answer) == ["NOT_FOUND"]
    assert await state(served, ids) == before


async def test_records_of_two_organisations_are_never_merged(served: Client) -> None:
    """Neither can be the survivor, nor the duplicate, of a record beyond the wall."""
    [ours, _] = await pair(served)
    theirs = (await served.house.register(org=OTHER_ORG))["id"]
    for one, other in ((ours, theirs), (theirs, ours)):
        given = {"patientId": one, "expectedVersion": 1, "duplicateId": other, "duplicateVersion": 1}
        for org in (None, OTHER_ORG):
            more: dict[str, Any] = {} if org is None else {"org": org}
            answer = await served.ask(MERGE, variables={"input": {**given, "reason": "REVIEWED"}}, **more)
            assert codes(answer) == ["NOT_FOUND"]


@pytest.mark.parametrize("restricted", ["survivor", "duplicate"])
async def test_who_may_not_see_a_restricted_record_does_not_merge_it(served: Client, restricted: str) -> None:
    """The front desk would put together what it may not see; who sees restricted records may, and it stays so."""
    ids = [await served.house.store({"preferred_name": name, "restricted": name == restricted}) for name in (
        "survivor", "duplicate")]  # fmt: skip
    before = await state(served, ids)
    assert codes(await merge(served, ids[0], ids[1])) == ["RESTRICTED_RECORD"]
    assert await state(served, ids) == before
    assert codes(await merge(served, ids[0], ids[1], Role.PRIVACY_OFFICER, purpose=Purpose.RECORDMGT)) == []
    found = await served.data(question("restricted"), Role.INTEGRATION, variables={"id": ids[0]})
    assert found["patient"] == {"restricted": True}
    assert codes(await undo(served, ids[0], ids[1])) == ["RESTRICTED_RECORD"]


async def test_a_merge_tells_no_values(served: Client) -> None:
    """Choices name fields and rules; a role that may not read a field is not told that there was a choice."""
    first = {"preferred_name": "Ada", "religion": "Quaker", "birth_date": "1971-02-03"}
    ids = await pair(served, first, {**first, "religion": "Quietist", "birth_date": "1971-03-02"})
    assert codes(await merge(served, ids[0], ids[1])) == []
    query = "query($i: ID!) { merges(patientId: $i) { choices { field } } }"
    for role, fields in ((Role.FRONT_DESK, {"birthDate"}), (Role.INTEGRATION, {"birthDate", "religion"})):
        answer = await served.ask(query, role, variables={"i": ids[0]})
        assert {each["field"] for each in answer.json()["data"]["merges"][0]["choices"]} == fields
        assert "Quietist" not in answer.text


async def test_sql_sends_no_id_to_another_record(scene: Scene) -> None:
    """Whoever writes to the clear row makes no record lead anywhere, or elsewhere than where it was merged into."""
    victim, other = await scene.person(), await scene.person()
    sql = "UPDATE patient SET status = 'merged', merged_into = ? WHERE id = ?"
    await scene.intruder.run(sql, other, victim)
    await scene.incident(question("displayName"), victim)
    ids = await pair(scene.it)
    assert codes(await merge(scene.it, ids[0], ids[1])) == []
    await scene.intruder.run("UPDATE patient SET merged_into = ? WHERE id = ?", other, ids[1])
    found = await scene.it.data(question("id"), variables={"id": ids[1]})
    assert found["patient"] == {"id": ids[0]}


async def test_a_record_that_was_merged_is_not_brought_back_by_sql(scene: Scene) -> None:
    """A status put back makes the old record no record of its own again: its rows vouch for the merge."""
    ids = await pair(scene.it)
    assert codes(await merge(scene.it, ids[0], ids[1])) == []
    await scene.intruder.run("UPDATE patient SET status = 'active', merged_into = NULL WHERE id = ?", ids[1])
    await scene.incident(question("displayName"), ids[1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[tuple[House, Intruder]]:
    """One service for the checks of keys, on each engine in turn."""
    url = databases.create(shared_engine)
    async with opened(url, tmp_path_factory.mktemp("merged")) as both:
        yield both
    databases.drop(url)


async def test_a_merge_is_no_finding(place: tuple[House, Intruder]) -> None:
    """Neither a merge nor its end, nor the erasure of both, looks like an attack to `keys verify`."""
    clinic = Clinic(*place, f"clinic-{uuid4().hex[:8]}")
    one, other = [await clinic.person(**_unlike(number)) for number in (1, 2)]
    merging, clerk = clinic.it.services.merging, actor(Role.INTEGRATION, org=clinic.org, purpose=Purpose.RECORDMGT)
    nothing = frozenset[str]()
    await merging.merge(clerk, REQUEST, Which(one, 1, other, 1), MergeReason.REVIEWED, nothing)
    assert (await clinic.verified()).findings == []
    await merging.unmerge(clerk, REQUEST, Which(one, 2, other), UnmergeReason.TWO_PEOPLE, nothing)
    assert (await clinic.verified()).findings == []
    await merging.merge(clerk, REQUEST, Which(one, 3, other, 3), MergeReason.REVIEWED, nothing)
    officer = actor(Role.PRIVACY_OFFICER, org=clinic.org)
    erasures, why = clinic.it.services.erasures, ErasureReason.PATIENT_REQUEST
    receipt = await erasures.erase(officer, REQUEST, other, None, None, why, any_version=True)
    assert (receipt.patient_id, receipt.also) == (one, (other,))
    assert (await clinic.verified()).findings == []


def _unlike(number: int) -> dict[str, Any]:
    """What keeps two whole people from having asked to be reached in two different ways."""
    return {"confidential_communication": None, "preferred_name": f"Kit {number}"}
