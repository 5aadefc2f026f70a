"""Who is told of possible duplicates, what of them, and what that leaves in the log: nobody learns by comparing."""

from typing import Any

import pytest

from auth.errors import AuthError
from auth.policy import GRANTS, Action
from auth.roles import PERSONAL, Role
from crm.catalogue import BY_NAME
from crm.domain.likeness import COMPARED
from crm.services.duplicates import Verdict
from tests.client import Client
from tests.house import OTHER_ORG, REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAIR = "firstId secondId likeness facts { fact agreement } verdict"
ALL = f"query All {{ possibleDuplicates(first: 100) {{ edges {{ node {{ {PAIR} }} }} }} }}"
OF = f"query Of($id: ID!) {{ possibleDuplicates(patientId: $id) {{ edges {{ node {{ {PAIR} }} }} }} }}"
JUDGE = "mutation Judge($input: ReviewDuplicateInput!) { reviewDuplicate(input: $input) { verdict } }"
COMPARED_PATHS = {path for name in COMPARED for path in BY_NAME[name].paths}
ALLOWED = {grant.role for grant in GRANTS if Action.MERGE in grant.actions}


async def two(served: Client, family: str, phone: str, **more: Any) -> list[str]:
    """The ids of two records with one name and one number, which nobody else here has."""
    names = [{"use": "OFFICIAL", "family": family, "given": ["Canary"]}]
    points = [{"system": "PHONE", "value": phone}]
    return [await served.house.store({"names": names, "contact_points": points, **more}) for _ in range(2)]


async def asked(served: Client, role: Role, query: str, **variables: Any) -> list[dict[str, Any]]:
    """The pairs that somebody is shown."""
    found = await served.data(query, role, variables=variables)
    return [edge["node"] for edge in found["possibleDuplicates"]["edges"]]


async def test_who_may_merge_may_see_and_nobody_else(served: Client) -> None:
    """Every role asks for all three: the others are refused before anything is read, and the refusal is on record."""
    one, other = await two(served, "Alder", "+447700900801")
    said = {"input": {"patientId": one, "otherId": other, "verdict": "NOT_DUPLICATE"}}
    for role in set(Role) - ALLOWED:
        bound = one if role in PERSONAL else None
        for query, variables in ((ALL, {}), (OF, {"id": one}), (JUDGE, said)):
            answer, leaves = await served.watched(query, role, variables=variables, patient=bound)
            body = answer.json()
            assert [error["extensions"]["code"] for error in body["errors"]] == ["FORBIDDEN"], (role, query)
            assert body.get("data") is None or set(body["data"].values()) == {None}
            assert other not in answer.text
            assert {leaf["out"] for leaf in leaves} == {"denied"}
            assert all("msk" not in leaf for leaf in leaves)
        pairs, caller = served.house.services.duplicates, actor(role, patient_id=bound)
        with pytest.raises(AuthError):  # of the service itself, whoever asks it
            await pairs.of_patient(caller, REQUEST, one, 10, None)
        with pytest.raises(AuthError):
            await pairs.review(caller, REQUEST, one, other, Verdict.NOT_DUPLICATE)
    assert (await served.ask(OF, None, variables={"id": one})).status_code == 401
    for role in sorted(ALLOWED):  # and nobody's verdict was stored
        [pair] = await asked(served, role, OF, id=one)
        assert ({pair["firstId"], pair["secondId"]}, pair["verdict"]) == ({one, other}, None)


async def test_the_other_side_of_the_wall(served: Client) -> None:
    """The right role of another organisation finds neither record nor pair, judges nothing, leaves no event here."""
    one, other = await two(served, "Birch", "+447700900802")
    there = actor(Role.INTEGRATION, org=OTHER_ORG)
    await served.house.services.duplicates.sweep(actor(Role.INTEGRATION), REQUEST)
    await served.house.services.duplicates.sweep(there, REQUEST)
    before = len(await served.house.leaves())
    for role in sorted(ALLOWED):
        said = {"input": {"patientId": one, "otherId": other, "verdict": "NOT_DUPLICATE"}}
        assert await served.codes(OF, role, variables={"id": one}, org=OTHER_ORG) == ["NOT_FOUND"]
        assert await served.codes(JUDGE, role, variables=said, org=OTHER_ORG) == ["NOT_FOUND"]
        answer = await served.ask(ALL, role, org=OTHER_ORG)
        assert answer.json() == {"data": {"possibleDuplicates": {"edges": []}}}
    assert len(await served.house.leaves()) == before
    assert {one, other} in [{pair["firstId"], pair["secondId"]} for pair in await asked(served, Role.FRONT_DESK, ALL)]


async def test_a_restricted_record_is_not_told_by_comparing(served: Client) -> None:
    """Who may not see its contact points is neither told that they agree nor brought to the pair by them."""
    one, other = await two(served, "Cedar", "+447700900803", restricted=True)
    only = {"names": [{"use": "OFFICIAL", "given": ["Canary"]}], "restricted": True}
    points = [{"system": "PHONE", "value": "+447700900804"}, {"system": "EMAIL", "value": "birch@example.org"}]
    hidden = [await served.house.store({**only, "contact_points": points}) for _ in range(2)]
    for role in sorted(ALLOWED):
        sees = role is Role.PRIVACY_OFFICER  # an integration only for records management, which is not asked here
        [pair] = await asked(served, role, OF, id=one)
        assert ({"fact": "PHONE", "agreement": "SAME"} in pair["facts"]) is sees
        assert bool(await asked(served, role, OF, id=hidden[0])) is sees
    await served.house.services.duplicates.sweep(actor(Role.INTEGRATION), REQUEST)
    shown = [{pair["firstId"], pair["secondId"]} for pair in await asked(served, Role.FRONT_DESK, ALL)]
    assert ({one, other} in shown, set(hidden) in shown) == (True, False)


async def test_every_record_that_is_compared_is_on_record(served: Client) -> None:
    """Also one that an index brought and that turns out to be somebody else: what was compared, and no field shown."""
    one, other = await two(served, "Dogwood", "+447700900805")
    values = {
        "names": [{"use": "OFFICIAL", "family": "Elder", "given": ["Joy"]}],
        "contact_points": [{"system": "PHONE", "value": "+447700900805"}],
    }
    stranger = await served.house.store(values)
    answer, leaves = await served.watched(OF, Role.FRONT_DESK, variables={"id": one})
    [edge] = answer.json()["data"]["possibleDuplicates"]["edges"]
    assert {edge["node"]["firstId"], edge["node"]["secondId"]} == {one, other}
    subjects = set()
    for patient in (one, other, stranger):
        _, [leaf] = await served.watched("query Q($id: ID!) { patient(id: $id) { id } }", variables={"id": patient})
        subjects.add(leaf["pat"])
    compared = [leaf for leaf in leaves if "pat" in leaf]
    assert {leaf["pat"] for leaf in compared} == subjects
    assert all((leaf["act"], set(leaf["msk"]), leaf.get("fld")) == ("query", COMPARED_PATHS, None) for leaf in compared)
    assert [leaf["cnt"] for leaf in leaves if "pat" not in leaf] == [1]
    assert "Canary" not in answer.text
