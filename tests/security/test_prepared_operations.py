"""What is kept of an operation serves every caller, and gives none of them what another may see."""

import re
from typing import Any

import pytest

from auth.roles import Role
from tests.client import Client
from tests.house import ORG, OTHER_ORG
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

CARD = "query Card($id: ID!) { patient(id: $id) { id displayName religion contactPoints { value verified } } }"
MORE = "query More($id: ID!, $all: Boolean!) { patient(id: $id) { id religion @include(if: $all) } }"


async def registered(served: Client) -> str:
    """The id of a patient with a value in every field."""
    return str((await served.house.register(WHOLE))["id"])


async def compiled(served: Client, query: str, role: Role, **variables: Any) -> None:
    """Asks until the operation is one that is compiled."""
    for _ in range(3):
        await served.data(query, role, variables=variables)


async def test_nobody_profits_from_what_was_asked_before(served: Client) -> None:
    """After a clinician's look: no data for nobody, another role or organisation, nothing changed, all on record."""
    patient_id = await registered(served)
    await compiled(served, CARD, Role.CLINICIAN, id=patient_id)
    asked: dict[str, Any] = {"variables": {"id": patient_id}}
    for role, more, code in (
        (None, {}, "UNAUTHENTICATED"),
        (Role.OPERATOR, {}, "FORBIDDEN"),
        (Role.FRONT_DESK, {}, "FORBIDDEN_FIELD"),
        (Role.CLINICIAN, {"org": OTHER_ORG}, "NOT_FOUND"),
    ):
        log = "_" if role is None else more.get("org", ORG)
        told = await served.house.outbox()
        answer, leaves = await served.watched(CARD, role, log=log, **asked, **more)
        body = answer.json()
        assert [error["extensions"]["code"] for error in body["errors"]] == [code]
        assert body.get("data") == ({"patient": None} if code == "NOT_FOUND" else None)
        assert ("data" in body) == (code == "NOT_FOUND"), (
            "who may not ask at all is refused before anything is executed"
        )
        assert WHOLE["religion"] not in answer.text
        assert await served.house.outbox() == told
        assert [leaf["out"] for leaf in leaves] == ["denied"]
    allowed = await served.data(CARD, Role.CLINICIAN, variables={"id": patient_id})
    assert allowed["patient"]["religion"] == WHOLE["religion"]


async def test_what_is_included_is_decided_anew(served: Client) -> None:
    """A field that a variable brings in is refused, however often the operation was answered without it."""
    patient_id = await registered(served)
    await compiled(served, MORE, Role.FRONT_DESK, id=patient_id, all=False)
    await compiled(served, MORE, Role.CLINICIAN, id=patient_id, all=True)
    refused = await served.codes(MORE, Role.FRONT_DESK, variables={"id": patient_id, "all": True})
    assert refused == ["FORBIDDEN_FIELD"]


async def made(served: Client) -> tuple[int, int]:
    """How many responses compiled functions and graphql-core have made."""
    page = (await served.http.get("/metrics")).text
    counts = dict(re.findall(r'heed_graphql_responses_total{executor="([a-z-]+)"} ([0-9]+)', page))
    return int(counts.get("compiled", 0)), int(counts.get("graphql-core", 0))


async def test_each_answer_is_recorded_once(served: Client) -> None:
    """By graphql-core, compiled, and compiled in vain: one event for each answer, and the same answer."""
    patient_id = await registered(served)
    compiled_before, core_before = await made(served)
    query = CARD.replace("Card", "Once")
    answers: list[Any] = []
    for _ in range(3):
        answer, leaves = await served.watched(query, Role.CLINICIAN, variables={"id": patient_id})
        assert [sorted(leaf["fld"]) for leaf in leaves] == [["contactPoints", "displayName", "religion"]]
        answers.append(answer.json())
    assert await made(served) == (compiled_before + 2, core_before + 1)
    assert answers[0] == answers[1] == answers[2]
    await served.data(
        'mutation E($id: ID!) { erasePatient(input: { patientId: $id, expectedVersion: 1, classes: [SENSITIVE] }) '
        "{ reason } }",
        Role.PRIVACY_OFFICER,
        variables={"id": patient_id},
    )  # fmt: skip
    compiled_before, core_before = await made(served)
    answer, leaves = await served.watched(query, Role.CLINICIAN, variables={"id": patient_id})
    assert len(leaves) == 1
    assert await made(served) == (compiled_before, core_before + 1)
    assert [error["path"] for error in answer.json()["errors"]] == [["patient", "religion"]]
    assert answer.json()["data"]["patient"] == {**answers[0]["data"]["patient"], "religion": None}
