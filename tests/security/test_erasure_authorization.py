"""Who may erase, hold, release and look at either, for every role; and that a legal hold stops every erasure.

What is expected is read from the printed policy. On denial the data stay absent and unchanged, nobody is told of
anything but the log.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import bindparam, func, select

from auth import policy
from auth.development import DEFAULT_PURPOSES
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.catalogue import KeyClass
from crm.domain.erasure import ErasureReason
from crm.errors import Erased, LegalHold
from crm.services.holds import HoldReason
from crm.store.statements import prepare
from crm.store.tables import erasure_ledger, legal_hold
from tests.asking import OTHER_MUTATIONS, question
from tests.client import Client
from tests.conftest import Databases
from tests.house import ORG, OTHER_ORG, REQUEST, actor, house
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

MATRIX = {(row.role, row.purpose): row for row in policy.matrix()}
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"
HOLD_PARTS = "id patientId reason placedBy placedAt liftedBy liftedAt"
RECEIPT_PARTS = "patientId classes whole reason erasedAt ledgerSeq ledgerHash waitsFor indexWaitsFor note"

QUERIES = {
    "erasePatient": f"mutation Q($i: ErasePatientInput!) {{ erasePatient(input: $i) {{ {RECEIPT_PARTS} }} }}",
    "placeLegalHold": f"mutation Q($i: PlaceLegalHoldInput!) {{ placeLegalHold(input: $i) {{ {HOLD_PARTS} }} }}",
    "liftLegalHold": f"mutation Q($i: LiftLegalHoldInput!) {{ liftLegalHold(input: $i) {{ {HOLD_PARTS} }} }}",
    "legalHolds": f"query Q($i: ID!) {{ legalHolds(patientId: $i) {{ {HOLD_PARTS} }} }}",
    "erasureReceipts": f"query Q($i: ID!) {{ erasureReceipts(patientId: $i) {{ {RECEIPT_PARTS} }} }}",
}
ACTS = {"erasePatient": "erase", "placeLegalHold": "hold", "liftLegalHold": "release"}
"""How an attempt is recorded; looking is `read`."""

_LEDGER = prepare(select(func.count()).select_from(erasure_ledger).where(erasure_ledger.c.org == bindparam("org")))
_HOLDS = prepare(
    select(legal_hold.c.id, legal_hold.c.lifted_at)
    .where(legal_hold.c.org == bindparam("org"))
    .order_by(legal_hold.c.id)
)  # fmt: skip


async def state(served: Client, patient_id: str) -> tuple[Any, ...]:
    """What a refused attempt must leave: every value, the version and the times; the outbox, the ledger, the holds."""
    asked = "version updatedAt displayName religion contactPoints { value } identifiers { value } birthDate"
    found = await served.data(question(asked), Role.PRIVACY_OFFICER, variables={"id": patient_id})
    database = served.house.database
    counted = [list(row) for statement in (_LEDGER, _HOLDS) for row in await database.fetch(ORG, statement)]
    return found["patient"], counted, await served.house.outbox()


async def variables(served: Client, root: str, patient_id: str) -> dict[str, Any]:
    """Good variables for a root about a patient of our own; the hold to lift is placed for it."""
    match root:
        case "legalHolds" | "erasureReceipts":
            return {"i": patient_id}
        case "placeLegalHold":
            return {"i": {"patientId": patient_id, "reason": "LITIGATION"}}
        case "liftLegalHold":
            return {"i": {"patientId": patient_id, "holdId": await held(served, patient_id)}}
        case _:
            return {"i": {"patientId": patient_id, "expectedVersion": 1}}


async def held(served: Client, patient_id: str) -> str:
    """The id of a new hold on the patient."""
    given = {"i": {"patientId": patient_id, "reason": "LITIGATION"}}
    found = await served.data(QUERIES["placeLegalHold"], Role.COMPLIANCE_OFFICER, variables=given)
    return str(found["placeLegalHold"]["id"])


def may(role: Role, root: str, purpose: Purpose | None = None) -> bool:
    """Whether the printed policy lets a role do it."""
    row = MATRIX.get((role.value, (purpose or DEFAULT_PURPOSES[role]).value))
    action = "patient:erase" if root == "erasePatient" else "patient:hold"
    return row is not None and action in row.actions.split()


def code_of(answer: httpx.Response) -> str:
    """The one error code of an answer."""
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])


async def test_every_other_mutation_is_covered() -> None:
    """A new mutation that changes no profile needs a query here before anything else."""
    elsewhere = {"startContactVerification", "reportDelivery", "recordInboundMessage"}
    elsewhere |= {"mergePatients", "unmergePatients", "reviewDuplicate"}
    assert {name for name in OTHER_MUTATIONS if "BreakGlass" not in name} - elsewhere == set(ACTS)


# --- who may ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("root", QUERIES)
async def test_every_role(served: Client, root: str, role: Role) -> None:
    """Ten roles try: whom the printed policy lets, does it; nobody else does or learns anything; all is recorded."""
    patient_id = (await served.house.register(WHOLE))["id"]
    given = await variables(served, root, patient_id)
    before = await state(served, patient_id)
    bound = patient_id if role in PERSONAL else None
    answer, [leaf] = await served.watched(QUERIES[root], role, variables=given, patient=bound)
    assert (leaf["act"], "pat" in leaf) == (ACTS.get(root, "read"), True)
    if may(role, root):
        assert "errors" not in answer.json(), answer.json()
        assert leaf["out"] == "ok"
        return
    assert code_of(answer) == "FORBIDDEN"
    assert "data" not in answer.json()
    assert (leaf["out"], leaf["why"]) == ("denied", "FORBIDDEN")
    assert await state(served, patient_id) == before


@pytest.mark.parametrize("root", QUERIES)
@pytest.mark.parametrize("role", [Role.PRIVACY_OFFICER, Role.COMPLIANCE_OFFICER])
async def test_officers_for_every_purpose(served: Client, root: str, role: Role) -> None:
    """The right purpose is needed too; any other is refused, and recorded."""
    for purpose in Purpose:
        patient_id = (await served.house.register(WHOLE))["id"]
        given = await variables(served, root, patient_id)
        before = await state(served, patient_id)
        answer, [leaf] = await served.watched(QUERIES[root], role, variables=given, purpose=purpose)
        if may(role, root, purpose):
            assert "errors" not in answer.json(), (purpose, answer.json())
        else:
            assert code_of(answer) in {"FORBIDDEN", "PURPOSE_NOT_PERMITTED"}, purpose
            assert (leaf["out"], leaf["why"]) == ("denied", code_of(answer))
            assert await state(served, patient_id) == before


@pytest.mark.parametrize("root", QUERIES)
async def test_nobody(served: Client, root: str) -> None:
    """Without a token: 401, nothing changed, one event."""
    patient_id = (await served.house.register(WHOLE))["id"]
    given = await variables(served, root, patient_id)
    before = await state(served, patient_id)
    answer, [leaf] = await served.watched(QUERIES[root], None, variables=given, log="_")
    assert (answer.status_code, code_of(answer)) == (401, "UNAUTHENTICATED")
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("login", "denied", "missing")
    assert await state(served, patient_id) == before


@pytest.mark.parametrize("root", QUERIES)
async def test_the_right_role_of_another_organisation(served: Client, root: str) -> None:
    """Word for word the answer for an id that never existed, whatever version is stated; and nothing happens."""
    patient_id = (await served.house.register(WHOLE))["id"]
    given = await variables(served, root, patient_id)
    before = await state(served, patient_id)
    asked = [given, _about(given, UNKNOWN)]
    if root == "erasePatient":
        asked += [{"i": {**each["i"], "expectedVersion": 99}} for each in asked]
        asked += [{"i": {**each["i"], "classes": ["CONTACT"]}} for each in asked]
    who = {"org": OTHER_ORG, "log": OTHER_ORG}
    answers = []
    for each in asked:
        answer, [leaf] = await served.watched(QUERIES[root], Role.PRIVACY_OFFICER, variables=each, **who)
        assert (leaf["act"], leaf["out"], leaf["why"]) == (ACTS.get(root, "read"), "denied", "NOT_FOUND")
        assert "pat" not in leaf
        answers.append((answer.status_code, answer.content))
    assert len(set(answers)) == 1
    assert code_of(answer) == "NOT_FOUND"
    assert await state(served, patient_id) == before


def _about(given: dict[str, Any], patient_id: str) -> dict[str, Any]:
    """The same variables about another patient."""
    about = given["i"]
    return {"i": {**about, "patientId": patient_id} if isinstance(about, dict) else patient_id}


@pytest.mark.parametrize("role", [Role.FRONT_DESK, Role.COMPLIANCE_OFFICER, Role.INTEGRATION])
async def test_a_forbidden_erasure_refuses_what_stands_beside_it(served: Client, role: Role) -> None:
    """As the second root of an operation it takes the first one along: nothing of it is done."""
    patient_id = (await served.house.register(WHOLE))["id"]
    before = await state(served, patient_id)
    query = """mutation Q($id: ID!) {
        a: updatePreferences(input: {patientId: $id, expectedVersion: 1, preferredName: "No"}) { version }
        b: erasePatient(input: {patientId: $id, expectedVersion: 2}) { note } }"""
    answer, leaves = await served.watched(query, role, variables={"id": patient_id})
    assert code_of(answer) == "FORBIDDEN"
    assert "data" not in answer.json()
    assert [leaf["out"] for leaf in leaves] == ["denied"]
    assert await state(served, patient_id) == before


# --- legal holds -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes", [None, *([key_class.name] for key_class in KeyClass), [each.name for each in KeyClass]]
)
async def test_a_hold_stops_every_erasure(served: Client, classes: list[str] | None) -> None:
    """The whole patient or any class: LEGAL_HOLD, nothing changed, recorded; until the last hold is lifted."""
    patient_id = (await served.house.register(WHOLE))["id"]
    holds = [await held(served, patient_id), await held(served, patient_id)]
    given = {"i": {"patientId": patient_id, "expectedVersion": 1, "classes": classes}}
    for hold_id in holds:
        before = await state(served, patient_id)
        answer, [leaf] = await served.watched(QUERIES["erasePatient"], Role.PRIVACY_OFFICER, variables=given)
        assert (answer.status_code, code_of(answer)) == (200, "LEGAL_HOLD")
        assert answer.json()["data"] == {"erasePatient": None}
        assert answer.json()["errors"][0]["extensions"] == {"code": "LEGAL_HOLD"}
        assert (leaf["act"], leaf["out"], leaf["why"]) == ("erase", "denied", "LEGAL_HOLD")
        assert await state(served, patient_id) == before
        lifted = {"i": {"patientId": patient_id, "holdId": hold_id}}
        await served.data(QUERIES["liftLegalHold"], Role.COMPLIANCE_OFFICER, variables=lifted)
    answer, [leaf] = await served.watched(QUERIES["erasePatient"], Role.PRIVACY_OFFICER, variables=given)
    assert "errors" not in answer.json(), answer.json()
    assert (leaf["act"], leaf["out"]) == ("erase", "ok")


async def test_a_hold_on_one_patient_stops_no_other(served: Client) -> None:
    """Nor does one with the same id in another organisation."""
    patient_id, other = (await served.house.register())["id"], (await served.house.register())["id"]
    await held(served, other)
    foreign = (await served.house.register(org=OTHER_ORG))["id"]
    given = {"i": {"patientId": foreign, "reason": "REGULATOR"}}
    await served.data(QUERIES["placeLegalHold"], Role.COMPLIANCE_OFFICER, variables=given, org=OTHER_ORG)
    given = {"i": {"patientId": patient_id, "expectedVersion": 1}}
    assert await served.codes(QUERIES["erasePatient"], Role.PRIVACY_OFFICER, variables=given) == []


async def test_a_hold_comes_too_late(served: Client) -> None:
    """ERASED for whoever wants to keep what is gone; looking at the holds of then is still possible."""
    patient_id = (await served.house.register())["id"]
    hold_id = await held(served, patient_id)
    lifted = {"i": {"patientId": patient_id, "holdId": hold_id}}
    await served.data(QUERIES["liftLegalHold"], Role.COMPLIANCE_OFFICER, variables=lifted)
    given = {"i": {"patientId": patient_id, "expectedVersion": 1}}
    await served.data(QUERIES["erasePatient"], Role.PRIVACY_OFFICER, variables=given)
    for root in ("placeLegalHold", "liftLegalHold"):
        late = {"i": {"patientId": patient_id, "reason": "REGULATOR"}} if root == "placeLegalHold" else lifted
        answer, [leaf] = await served.watched(QUERIES[root], Role.COMPLIANCE_OFFICER, variables=late)
        assert (code_of(answer), leaf["act"], leaf["out"], leaf["why"]) == ("ERASED", ACTS[root], "denied", "ERASED")
    found = await served.data(QUERIES["legalHolds"], Role.COMPLIANCE_OFFICER, variables={"i": patient_id})
    assert [hold["id"] for hold in found["legalHolds"]] == [hold_id]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def replicas(shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two services on one database, each with connections of its own."""
    url = databases.create(shared_engine)
    async with house(url, tmp_path_factory.mktemp("one")) as one, house(url, tmp_path_factory.mktemp("two")) as two:
        yield one, two
    databases.drop(url)


async def ended(attempt: Coroutine[Any, Any, Any], after: float = 0) -> str:
    """`done`, or the name of the refusal; it begins so many seconds from now."""
    await asyncio.sleep(after)
    try:
        await attempt
    except (Erased, LegalHold) as refusal:
        return type(refusal).__name__
    return "done"


@pytest.mark.parametrize("classes", [None, frozenset({KeyClass.SENSITIVE})], ids=["whole", "class"])
async def test_a_race_of_a_hold_and_an_erasure(replicas: Any, classes: frozenset[KeyClass] | None) -> None:
    """On two replicas at once, one comes first and the other answers to it: a whole patient is erased or held.

    What is left of a record after a class of it was erased can still be held.
    """
    ends = set()
    for turn in range(40):
        here, there = replicas if turn % 4 < 2 else reversed(replicas)
        patient_id = await here.store(WHOLE)
        officer, keeper = actor(Role.PRIVACY_OFFICER), actor(Role.COMPLIANCE_OFFICER)
        erasing = ended(
            here.services.erasures.erase(officer, REQUEST, patient_id, 1, classes, ErasureReason.PATIENT_REQUEST)
        )
        # An erasure has more to do before it locks: with a start of its own neither is always first.
        place = there.services.holds.place(keeper, REQUEST, patient_id, HoldReason.LITIGATION)
        holding = ended(place, after=0 if turn % 2 else turn % 8 * 0.01)
        if turn % 2:
            held_end, erased_end = await asyncio.gather(holding, erasing)
        else:
            erased_end, held_end = await asyncio.gather(erasing, holding)
        ends.add((erased_end, held_end))
        receipts = await there.services.erasures.receipts(keeper, REQUEST, patient_id)
        holds = await here.services.holds.of(keeper, REQUEST, patient_id)
        assert (len(receipts), len(holds)) == (erased_end == "done", held_end == "done")
    assert ends == {("done", "Erased" if classes is None else "done"), ("LegalHold", "done")}
