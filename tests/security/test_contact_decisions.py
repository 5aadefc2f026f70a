"""Who gets a contact decision, and what of it: for every role and purpose of use, on both engines.

Who may ask is read from the printed policy. On denial the data are absent, nothing changed, nothing was announced, and
the attempt is on record.
"""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from auth import policy
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.catalogue import KeyClass
from tests.breaking import request
from tests.client import Client, client
from tests.conftest import Databases
from tests.counting import CountingDatabase
from tests.deciding import ANN, CONFIDED, EXPLAIN, MANY, ONE, RULES, directive
from tests.house import ORG, OTHER_ORG

pytestmark = pytest.mark.asyncio(loop_scope="module")

MATRIX = policy.matrix()
REMINDER = {"purpose": "APPOINTMENT_REMINDER"}
NOBODY = "0199c0de-0000-7000-8000-000000000001"
SECRETS = ("nnelore", "andermeer", "447700", "ann-mail", "hidden.harbour", "ann-secret")
QUERIES = {"contactDecision": ONE, "contactDecisions": MANY, "explainContact": EXPLAIN}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def asked(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Client]:
    """A service with registered senders that all tests share, on each engine in turn."""
    url = databases.create(shared_engine)
    async with client(url, tmp_path_factory.mktemp("asked"), contact=RULES) as it:
        yield it
    databases.drop(url)


def about(patient_id: str, root: str = "contactDecision") -> dict[str, Any]:
    """The variables of a question about one patient."""
    return {**({"ids": [patient_id]} if root == "contactDecisions" else {"id": patient_id}), **REMINDER}


async def decided(asked: Client, patient_id: str, role: Role, **who: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The decision about one patient, and the one leaf of the question."""
    answer, [leaf] = await asked.watched(ONE, role, variables=about(patient_id), **who)
    return answer.json()["data"]["contactDecision"], leaf


def silent(text: str) -> None:
    """Nothing of Ann stands in a text."""
    assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("root", QUERIES)
async def test_nobody_is_answered(asked: Client, root: str) -> None:
    """Without a token there is no answer, and the attempt is on record."""
    patient_id = await asked.house.store(ANN)
    answer, leaves = await asked.watched(QUERIES[root], None, variables=about(patient_id, root), log="")
    assert (answer.status_code, [error["extensions"]["code"] for error in answer.json()["errors"]]) == (
        401,
        ["UNAUTHENTICATED"],
    )
    silent(answer.text)
    assert {leaf["out"] for leaf in leaves} <= {"denied"}


@pytest.mark.parametrize("root", QUERIES)
@pytest.mark.parametrize("row", MATRIX, ids=lambda row: f"{row.role}-{row.purpose}")
async def test_every_role_and_purpose(asked: Client, row: policy.MatrixRow, root: str) -> None:
    """Who holds contact:decide is answered, for an explanation who may read consents as well; nobody else."""
    patient_id = await asked.house.store(ANN)
    before = await asked.house.outbox()
    who: dict[str, Any] = {
        "purpose": Purpose(row.purpose),
        "patient": patient_id if Role(row.role) in PERSONAL else None,
    }
    answer, leaves = await asked.watched(QUERIES[root], Role(row.role), variables=about(patient_id, root), **who)
    found = answer.json()
    may = "contact:decide" in row.actions.split()
    if root == "explainContact":
        may = may and "CONSENT" in (row.read + " " + row.masked).split()
    if not may:
        assert found.get("data") is None or found["data"] == {root: None}
        code = found["errors"][0]["extensions"]["code"]
        assert code == ("FORBIDDEN_FIELD" if "contact:decide" in row.actions.split() else "FORBIDDEN")
        silent(answer.text)
        assert {(leaf["act"], leaf["out"], "pat" in leaf) for leaf in leaves} == {("decide", "denied", True)}
    elif row.needs == "grant":
        assert [error["extensions"]["code"] for error in found["errors"]] == ["BREAK_GLASS_REQUIRED"]
        silent(answer.text)
        assert [(leaf["out"], leaf["why"]) for leaf in leaves] == [("denied", "BREAK_GLASS_REQUIRED")]
    else:
        assert "errors" not in found
        [leaf] = leaves
        assert (leaf["act"], leaf["out"], "pat" in leaf) == ("decide", "ok", True)
    assert await asked.house.outbox() == before


@pytest.mark.parametrize("root", QUERIES)
async def test_another_organisation(asked: Client, root: str) -> None:
    """The right role of another organisation is told what is told of an id that nobody has; none of it is ours."""
    patient_id = await asked.house.store(ANN)
    told = []
    for each in (patient_id, NOBODY):
        answer, [leaf] = await asked.watched(
            QUERIES[root], Role.CARE_COORDINATOR, variables=about(each, root), org=OTHER_ORG, log=OTHER_ORG
        )
        silent(answer.text)
        told.append(answer.text.replace(each, ""))
        assert (leaf["out"], leaf["why"], leaf["cnt"], "pat" in leaf) == ("denied", "NOT_FOUND", 1, False)
    assert told[0] == told[1]
    assert "NOT_FOUND" in told[0]
    assert not [leaf for leaf in await asked.house.leaves(org=ORG) if leaf["who"]["org"] == OTHER_ORG]


async def test_patients_ask_about_themselves(asked: Client) -> None:
    """And about nobody else: another id is unknown to them, in the same words as one that nobody has."""
    own, other = await asked.house.store(ANN), await asked.house.store(ANN)
    found, _ = await decided(asked, own, Role.PATIENT, patient=own)
    assert found["contactPoint"]["value"] == "annelore@example.test"
    told = []
    for each in (other, NOBODY):
        answer = await asked.ask(ONE, Role.PATIENT, variables=about(each), patient=own)
        told.append(answer.text.replace(each, ""))
    assert told[0] == told[1]
    silent(told[0])


async def test_a_restricted_record_is_unknown_to_senders(asked: Client) -> None:
    """Word for word as an id that nobody has; on record as a denial under the patient's name. Staff are told why."""
    hidden = await asked.house.store({**ANN, "restricted": True})
    told = []
    for each in (hidden, NOBODY):
        answer, [leaf] = await asked.watched(ONE, Role.MESSAGING, variables=about(each))
        told.append(answer.text.replace(each, ""))
        assert leaf["out"] == "denied"
        assert (leaf["why"], "pat" in leaf) == (("RESTRICTED_RECORD", True) if each == hidden else ("NOT_FOUND", False))
        assert "fld" not in leaf
        assert "ref" not in leaf
    assert told[0] == told[1]
    silent(told[0])
    staff, leaf = await decided(asked, hidden, Role.FRONT_DESK)
    assert (staff["outcome"], staff["reasons"], staff["contactPoint"]) == ("DENY", ["RESTRICTED_RECORD"], None)
    assert (leaf["out"], leaf["why"]) == ("denied", "RESTRICTED_RECORD")
    officer, leaf = await decided(asked, hidden, Role.PRIVACY_OFFICER)
    assert (officer["outcome"], leaf["out"]) == ("ALLOW", "ok")
    assert leaf["flg"] == ["restricted"]


async def test_a_restricted_record_in_a_batch(asked: Client) -> None:
    """Neither its place, nor what is beside it, tells it from an id that nobody has."""
    hidden, open_ = await asked.house.store({**ANN, "restricted": True}), await asked.house.store(ANN)
    answer, leaves = await asked.watched(MANY, Role.MESSAGING, variables={"ids": [hidden, open_, NOBODY], **REMINDER})
    first, second, third = answer.json()["data"]["contactDecisions"]
    assert {**first, "patientId": ""} == {**third, "patientId": ""}
    assert second["outcome"] == "ALLOW"
    assert sorted((leaf["out"], leaf["why"]) for leaf in leaves) == [
        ("denied", "NOT_FOUND"), ("denied", "RESTRICTED_RECORD"), ("ok", "OK"),
    ]  # fmt: skip


async def test_a_confidential_endpoint(asked: Client) -> None:
    """Who sends is given it, and who may read it; everybody else learns that there is one, and uses it unseen."""
    patient_id = await asked.house.store(CONFIDED)
    for role, who in ((Role.MESSAGING, {}), (Role.PATIENT, {"patient": patient_id}), (Role.PRIVACY_OFFICER, {})):
        found, leaf = await decided(asked, patient_id, role, **who)
        assert (found["confidential"], found["channel"]) == (True, "EMAIL")
        assert found["contactPoint"]["value"] == "hidden.harbour@example.test"
        assert "confidentialCommunication" in leaf["fld"]
    for role in (Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR):
        answer, [leaf] = await asked.watched(ONE, role, variables=about(patient_id))
        found = answer.json()["data"]["contactDecision"]
        assert (found["outcome"], found["confidential"], found["contactPoint"]) == ("ALLOW", True, None)
        assert "hidden.harbour" not in answer.text
        assert "ann-secret" not in answer.text
        assert (leaf["msk"], "confidentialCommunication" in leaf["fld"]) == (["confidentialCommunication"], False)
        explained = await asked.ask(EXPLAIN, role, variables=about(patient_id))
        assert "hidden.harbour" not in explained.text


async def test_an_emergency_shows_no_confidential_endpoint(asked: Client) -> None:
    """Emergency treatment alone does not open it: that takes a grant."""
    patient_id = await asked.house.store(CONFIDED)
    found, _ = await decided(asked, patient_id, Role.CLINICIAN, purpose=Purpose.ETREAT)
    assert (found["confidential"], found["contactPoint"]) == (True, None)


async def test_marketing_learns_of_no_need(asked: Client) -> None:
    """Who may not read access needs is not told which of them goes unmet, neither as a code nor in a sentence."""
    permitted = [directive("PERMIT", scope={"purpose": "MARKETING"})]
    patient_id = await asked.house.store({**ANN, "accessible_formats": ["BRAILLE"], "consents": permitted})
    variables = {"id": patient_id, "purpose": "MARKETING", "sender": "mails"}
    answer, [leaf] = await asked.watched(ONE, Role.MESSAGING, variables=variables, purpose=Purpose.HMARKT)
    found = answer.json()["data"]["contactDecision"]
    assert (found["outcome"], found["format"], found["unmetNeeds"]) == ("ALLOW", "STANDARD", [])
    assert "BRAILLE" not in answer.text
    assert "need_unmet" in leaf["flg"]


async def test_a_purpose_of_use_that_does_not_fit(asked: Client) -> None:
    """A program that came for marketing reminds nobody of anything, and gets no number."""
    patient_id = await asked.house.store(ANN)
    found, leaf = await decided(asked, patient_id, Role.MESSAGING, purpose=Purpose.HMARKT)
    assert (found["outcome"], found["reasons"]) == ("DENY", ["PURPOSE_OF_USE_MISMATCH"])
    assert (found["contactPoint"], "fld" in leaf) == (None, False)


async def test_a_program_answers_to_its_name(asked: Client) -> None:
    """What the person says of a sender holds for the program that it lists, whatever sender that program asks as."""
    patient_id = await asked.house.store({**ANN, "consents": [directive("DENY", scope={"sender": "mails"})]})
    found, _ = await decided(asked, patient_id, Role.MESSAGING)
    assert (found["outcome"], found["reasons"]) == ("DENY", ["OPTED_OUT"])
    for name in ("default", "letters", "theirs"):
        variables = {**about(patient_id), "sender": name}
        answer, [leaf] = await asked.watched(ONE, Role.MESSAGING, variables=variables)
        assert answer.json()["errors"][0]["extensions"]["rule"] == "unknown_sender"
        assert leaf["out"] == "denied"
        silent(answer.text)
    told = await asked.data(ONE, Role.CARE_COORDINATOR, variables={**about(patient_id), "sender": "default"})
    assert told["contactDecision"]["outcome"] == "ALLOW"


async def test_breaking_the_glass_is_for_one_record(asked: Client) -> None:
    """With a grant a restricted record is decided on and the event refers to it; the one beside it stays closed."""
    granted = await asked.house.store({**CONFIDED, "restricted": True})
    other = await asked.house.store({**ANN, "restricted": True})
    grant = await request(asked, granted)
    variables = {"ids": [other, granted, NOBODY], **REMINDER}
    answer, leaves = await asked.watched(MANY, Role.CLINICIAN, purpose=Purpose.BTG, variables=variables)
    first, second, third = answer.json()["data"]["contactDecisions"]
    assert (first, third["outcome"]) == (None, "NOT_FOUND")
    assert second["contactPoint"]["value"] == "hidden.harbour@example.test"
    [error] = answer.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["contactDecisions", 0], "BREAK_GLASS_REQUIRED")
    [opened] = [leaf for leaf in leaves if leaf["out"] == "ok"]
    assert (opened["ref"], set(opened["flg"]) & {"break_glass", "restricted"}) == (
        grant["id"],
        {"break_glass", "restricted"},
    )
    assert sorted(leaf["why"] for leaf in leaves if leaf["out"] == "denied") == ["BREAK_GLASS_REQUIRED", "NOT_FOUND"]


async def test_a_replica_without_the_keys(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """It refuses before it reads a row, about known and unknown ids alike, and says which fields it lacks."""
    url, counted = databases.create(shared_engine), CountingDatabase()
    async with client(url, tmp_path_factory.mktemp("partial"), database=counted.around) as partial:
        patient_id = await partial.house.store(ANN)
        partial.house.services.store.keys.held -= {KeyClass.CONTACT}
        for each in (patient_id, NOBODY):
            counted.forget()
            answer, leaves = await partial.watched(ONE, Role.MESSAGING, variables=about(each))
            assert (answer.status_code, counted.records) == (503, 0)
            [error] = answer.json()["errors"]
            assert error["extensions"]["code"] == "KEY_UNAVAILABLE"
            assert {leaf["out"] for leaf in leaves} == {"error"}
    databases.drop(url)


async def test_nothing_of_a_decision_stays_behind(asked: Client) -> None:
    """Neither values nor names stand in the log after decisions of every kind; the control is found in the answer."""
    patient_id = await asked.house.store(CONFIDED)
    answer, leaves = await asked.watched(EXPLAIN, Role.PRIVACY_OFFICER, variables=about(patient_id))
    assert "hidden.harbour" in answer.text
    silent(str(leaves))
