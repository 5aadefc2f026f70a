"""Contact decisions over GraphQL: what is answered, what it costs, and that the log says exactly what was shown."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio

from auth.roles import Role
from crm.audit.event import Act
from crm.catalogue import KeyClass
from crm.domain.erasure import ErasureReason
from tests.client import Client, client
from tests.conftest import Databases
from tests.counting import CountingDatabase
from tests.deciding import ANN, EXPLAIN, MANY, ONE, RULES, directive, one
from tests.house import REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

REMINDER = {"purpose": "APPOINTMENT_REMINDER"}
NOBODY = "0199c0de-0000-7000-8000-00000000000"
MINUTES = 15


@dataclass(frozen=True)
class Desk:
    """A client of a service with registered senders, and what its database was asked."""

    it: Client
    counted: CountingDatabase

    async def decided(self, patient_id: str, role: Role = Role.MESSAGING, **question: Any) -> dict[str, Any]:
        """The one decision."""
        found = await self.it.data(ONE, role, variables={"id": patient_id, **REMINDER, **question})
        return dict(found["contactDecision"])

    async def refused(self, **question: Any) -> dict[str, Any]:
        """The one error of a question, which touches no patient."""
        self.counted.forget()
        answer = await self.it.ask(ONE, Role.MESSAGING, variables={"id": f"{NOBODY}1", **REMINDER, **question})
        assert self.counted.records == 0
        [error] = answer.json()["errors"]
        return dict(error["extensions"])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(
    shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Desk]:
    """One service for all of these tests, on each engine in turn."""
    url, counted = databases.create(shared_engine), CountingDatabase()
    async with client(url, tmp_path_factory.mktemp("desk"), database=counted.around, contact=RULES) as it:
        yield Desk(it, counted)
    databases.drop(url)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_one_decision(desk: Desk) -> None:
    """Everything a sender needs, and nothing else; the event names the decision and what it showed."""
    patient_id = await desk.it.house.store(ANN)
    before = datetime.now(UTC)
    answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables={"id": patient_id, **REMINDER})
    found = answer.json()["data"]["contactDecision"]
    expires = _moment(found.pop("expiresAt"))
    assert before + timedelta(minutes=MINUTES) <= expires <= datetime.now(UTC) + timedelta(minutes=MINUTES)
    assert leaf["ref"] == found.pop("decisionId")
    assert found.pop("explanation")[0] == "Contact the person now by e-mail, in English, as large print."
    assert found == {
        "patientId": patient_id,
        "outcome": "ALLOW",
        "reasons": ["OK"],
        "channel": "EMAIL",
        "contactPoint": {
            "id": "ann-mail", "system": "EMAIL", "value": "annelore@example.test", "extension": None,
            "voicemailOk": "UNKNOWN", "detailedMessageOk": "UNKNOWN",
        },
        "address": None,
        "confidential": False,
        "recipient": "PATIENT",
        "standIn": None,
        "copies": [],
        "language": "en",
        "format": "LARGE_PRINT",
        "salutation": "Annelore",
        "nextPermittedAt": None,
        "policyVersion": RULES.version,
        "unmetNeeds": [],
        "simulated": False,
    }  # fmt: skip
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("decide", "ok", "OK")
    assert set(leaf["fld"]) == {"accessibleFormats", "contactPoints", "displayName", "languages"}


@pytest.mark.parametrize(
    ("selection", "shown"),
    [
        ("outcome reasons decisionId policyVersion", set()),
        ("outcome contactPoint { value }", {"contactPoints"}),
        ("salutation", {"displayName"}),
        ("language", {"languages"}),
        ("format", {"accessibleFormats"}),
        ("explanation", {"languages", "accessibleFormats"}),
        ("... on ContactDecision { salutation @skip(if: true) language }", {"languages"}),
    ],
)
async def test_the_event_says_what_was_asked_for(desk: Desk, selection: str, shown: set[str]) -> None:
    """What a decision could have shown, and nobody asked for, was not shown."""
    patient_id = await desk.it.house.store(ANN)
    variables = {"id": patient_id, **REMINDER}
    answer, [leaf] = await desk.it.watched(one(selection), Role.MESSAGING, variables=variables)
    assert "errors" not in answer.json()
    assert set(leaf.get("fld", ())) == shown


async def test_a_refusal_shows_its_reasons_alone(desk: Desk) -> None:
    """No number, no name and no language with a DENY, and an event that shows nothing but why."""
    patient_id = await desk.it.house.store({**ANN, "consents": [directive("DENY")]})
    answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables={"id": patient_id, **REMINDER})
    found = answer.json()["data"]["contactDecision"]
    assert (found["outcome"], found["reasons"]) == ("DENY", ["OPTED_OUT"])
    assert not any(found[name] for name in ("channel", "contactPoint", "salutation", "language", "format", "copies"))
    assert found["decisionId"] == leaf["ref"]
    assert (leaf["out"], leaf["why"], "fld" in leaf) == ("ok", "OPTED_OUT", False)


async def test_many_keep_their_order(desk: Desk) -> None:
    """In step with the ids; a repeated id is decided once and answered twice, an unknown one is NOT_FOUND."""
    first = await desk.it.house.store(ANN)
    second = await desk.it.house.store({**ANN, "consents": [directive("DENY")]})
    elsewhere = await desk.it.house.store(ANN, org="south-clinic")
    ids = [second, f"{NOBODY}1", first, second, elsewhere, first]
    answer, leaves = await desk.it.watched(MANY, Role.MESSAGING, variables={"ids": ids, **REMINDER})
    found = answer.json()["data"]["contactDecisions"]
    assert [each["patientId"] for each in found] == ids
    assert [each["outcome"] for each in found] == ["DENY", "NOT_FOUND", "ALLOW", "DENY", "NOT_FOUND", "ALLOW"]
    assert found[0] == found[3]
    assert found[2] == found[5]
    assert {**found[1], "patientId": ""} == {**found[4], "patientId": ""}
    assert (found[1]["decisionId"], found[1]["expiresAt"], found[1]["reasons"]) == (None, None, [])
    named = sorted(leaf["ref"] for leaf in leaves if "pat" in leaf)
    assert named == sorted({found[0]["decisionId"], found[2]["decisionId"]})
    [alone] = [leaf for leaf in leaves if "pat" not in leaf]
    assert (alone["out"], alone["why"], alone["cnt"]) == ("denied", "NOT_FOUND", 2)
    assert len({leaf["qid"] for leaf in leaves}) == 1


async def test_statements_do_not_grow_with_the_batch(desk: Desk) -> None:
    """Two patients cost as many statements as forty: one for the records, one for suppressed numbers."""
    ids = [await desk.it.house.store(ANN) for _ in range(40)]
    spent = []
    for some in (ids[:2], ids):
        desk.counted.forget()
        await desk.it.data(MANY, Role.MESSAGING, variables={"ids": some, **REMINDER})
        spent.append(desk.counted.statements)
        assert desk.counted.records == len(some)
    assert spent == [2, 2]


async def test_more_than_a_thousand_are_refused(desk: Desk) -> None:
    """Typed, before anything is read; and no id is no question."""
    desk.counted.forget()
    many = {"ids": [f"{NOBODY}{number}" for number in range(1001)], **REMINDER}
    answer, [leaf] = await desk.it.watched(MANY, Role.MESSAGING, variables=many)
    assert answer.json()["errors"][0]["extensions"] == {"code": "BATCH_TOO_LARGE", "limit": 1_000}
    assert (leaf["out"], leaf["why"], leaf["cnt"]) == ("denied", "BATCH_TOO_LARGE", 1001)
    none = await desk.it.data(MANY, Role.MESSAGING, variables={"ids": [], **REMINDER})
    assert none == {"contactDecisions": []}
    assert desk.counted.records == 0


async def test_an_unknown_purpose_is_typed(desk: Desk) -> None:
    """In a variable it is a value that does not fit, in a document a word that the schema does not have."""
    assert await desk.refused(purpose="CHAIN_LETTER") == {"code": "VALIDATION_FAILED", "field": "purpose"}
    literal = f'{{ contactDecision(patientId: "{NOBODY}1", purpose: CHAIN_LETTER) {{ outcome }} }}'
    assert await desk.it.codes(literal, Role.MESSAGING) == ["GRAPHQL_VALIDATION_FAILED"]


@pytest.mark.parametrize("name", ["unheard-of", "theirs", "southern", "", "letters", "default"])
async def test_a_sender_that_is_not_the_callers(desk: Desk, name: str) -> None:
    """Not registered, registered for another program, another organisation, or for no program: the same words."""
    assert await desk.refused(sender=name) == {"code": "VALIDATION_FAILED", "field": "sender", "rule": "unknown_sender"}


async def test_senders(desk: Desk) -> None:
    """The named one; without a name that of the application; staff may ask as any; channels only narrow."""
    patient_id = await desk.it.house.store(
        {**ANN, "languages": [{"tag": "en"}], "addresses": [{"use": "HOME", "lines": ["3 Mill Lane"], "city": "Hull"}]}
    )
    own = await desk.decided(patient_id)
    assert (own["channel"], own["format"]) == ("EMAIL", "LARGE_PRINT")
    assert (await desk.decided(patient_id, sender="mails"))["format"] == "LARGE_PRINT"
    letter = await desk.decided(patient_id, Role.CARE_COORDINATOR, sender="letters")
    assert (letter["channel"], letter["address"]["lines"]) == ("LETTER", ["3 Mill Lane"])
    assert letter["unmetNeeds"] == ["LARGE_PRINT"]
    assert (await desk.decided(patient_id, Role.CARE_COORDINATOR, sender="theirs"))["outcome"] == "ALLOW"
    none = await desk.decided(patient_id, Role.CARE_COORDINATOR, sender="letters", channels=["EMAIL", "SMS"])
    assert (none["outcome"], none["reasons"]) == ("DENY", ["CHANNEL_NOT_SUPPORTED_BY_CALLER"])
    default = await desk.decided(patient_id, Role.CARE_COORDINATOR, sender="default", channels=["EMAIL"])
    assert default["channel"] == "EMAIL"


async def test_another_moment(desk: Desk) -> None:
    """A simulated decision says so, in the log as well, and names the mailbox that is chosen now too."""
    patient_id = await desk.it.house.store(ANN)
    variables = {"id": patient_id, **REMINDER, "at": "2027-01-04T10:00:00+01:00"}
    answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables=variables)
    found = answer.json()["data"]["contactDecision"]
    assert (found["outcome"], found["simulated"]) == ("ALLOW", True)
    assert found["contactPoint"]["id"] == "ann-mail"
    assert leaf["why"] == "SIMULATED:OK"
    assert {"contactPoints", "displayName"} <= set(leaf["fld"])


async def test_another_moment_shows_no_more_than_now(desk: Desk) -> None:
    """Who has opted out by now is not reached by asking about the time before; nor through somebody gone by now."""
    away = {"contact": "INSTEAD", "period": {"end": "2026-03-01"}, "name": "Joris", "relationship": "SIBLING",
            "contact_points": [{"system": "EMAIL", "value": "joris@example.test"}]}  # fmt: skip
    opted_out = await desk.it.house.store({**ANN, "consents": [directive("DENY")]})
    instead = await desk.it.house.store({**ANN, "related_persons": [away]})
    for patient_id, at in ((opted_out, "2026-01-01T10:00:00Z"), (instead, "2026-02-01T10:00:00Z")):
        variables = {"id": patient_id, **REMINDER, "at": at}
        answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables=variables)
        found = answer.json()["data"]["contactDecision"]
        assert (found["outcome"], found["simulated"]) == ("ALLOW", True)
        assert not any(found[name] for name in ("contactPoint", "salutation", "standIn", "copies"))
        assert not {"contactPoints", "displayName", "relatedPersons"} & set(leaf.get("fld", ()))


@pytest.mark.parametrize(
    ("at", "rule"),
    [
        ("tomorrow", "date_time"),
        ("2020-02-30T00:00:00Z", "date_time"),
        ("2026-01-01T00:00:00", "date_time"),
        ("1970-01-01T00:00:00Z", "out_of_range"),
        ("9999-12-31T23:59:59Z", "out_of_range"),
    ],
)
async def test_a_moment_that_is_none(desk: Desk, at: str, rule: str) -> None:
    """Typed, and refused before anything is read."""
    assert await desk.refused(at=at) == {"code": "VALIDATION_FAILED", "field": "at", "rule": rule}


async def test_an_explanation(desk: Desk) -> None:
    """Staff learn what was looked at and why it was not chosen; supposed consents are a simulation."""
    patient_id = await desk.it.house.store(
        {**ANN, "consents": [directive("DENY", scope={"contact_point_id": "ann-mail"})]}
    )
    asked = {"id": patient_id, **REMINDER, "sender": "mails"}
    answer, [leaf] = await desk.it.watched(EXPLAIN, Role.CARE_COORDINATOR, variables=asked)
    found = answer.json()["data"]["explainContact"]
    assert (found["decision"]["outcome"], found["decision"]["contactPoint"]["id"]) == ("ALLOW", "ann-work")
    assert {"channel": "EMAIL", "contactPointId": "ann-mail", "reason": "OPTED_OUT"} in found["considered"]
    assert found["sentences"][0].startswith("Contact the person now by e-mail")
    assert {"consents", "contactPoints"} <= set(leaf["fld"])
    what = [{"decision": "DENY", "purpose": "APPOINTMENT_REMINDER"}]
    supposed = await desk.it.data(EXPLAIN, Role.CARE_COORDINATOR, variables={**asked, "what": what})
    decision = supposed["explainContact"]["decision"]
    assert (decision["outcome"], decision["reasons"], decision["simulated"]) == ("DENY", ["OPTED_OUT"], True)
    what = [{"decision": "PERMIT", "contactPointId": "ann-mail"}]
    supposed = await desk.it.data(EXPLAIN, Role.CARE_COORDINATOR, variables={**asked, "what": what})
    decision = supposed["explainContact"]["decision"]
    assert (decision["outcome"], decision["contactPoint"], decision["salutation"]) == ("ALLOW", None, None)
    many = [{"decision": "DENY"}] * 21
    assert await desk.it.codes(EXPLAIN, Role.CARE_COORDINATOR, variables={**asked, "what": many}) == [
        "VALIDATION_FAILED"
    ]
    unknown = await desk.it.data(EXPLAIN, Role.CARE_COORDINATOR, variables={**asked, "id": f"{NOBODY}1"})
    assert unknown["explainContact"]["decision"]["outcome"] == "NOT_FOUND"
    assert unknown["explainContact"]["considered"] == []


async def test_what_a_sender_has_to_state(desk: Desk) -> None:
    """Staff are told where a sender has to state another purpose of use than its usual one, and nowhere else."""
    patient_id = await desk.it.house.store({**ANN, "consents": [directive("PERMIT", scope={"purpose": "MARKETING"})]})
    marketing = {"id": patient_id, "purpose": "MARKETING", "sender": "mails"}
    found = (await desk.it.data(EXPLAIN, Role.FRONT_DESK, variables=marketing))["explainContact"]
    assert found["decision"]["reasons"] != ["PURPOSE_OF_USE_MISMATCH"]
    assert "goes with this: CAREMGT, HCOMPL, HMARKT, PATADMIN, PATRQT, RECORDMGT." in found["sentences"][-1]
    reminder = {"id": patient_id, **REMINDER, "sender": "mails"}
    found = (await desk.it.data(EXPLAIN, Role.FRONT_DESK, variables=reminder))["explainContact"]
    assert not [sentence for sentence in found["sentences"] if "purpose of use" in sentence]
    nobody = await desk.it.data(EXPLAIN, Role.FRONT_DESK, variables={**marketing, "id": f"{NOBODY}1"})
    assert nobody["explainContact"]["sentences"] == ["There is no such patient."]


async def test_numbers_that_are_left_alone(desk: Desk) -> None:
    """A suppressed mailbox is passed over for the next one; the event shows the last word alone."""
    values = {**ANN, "contact_points": [
        {"id": "a", "system": "EMAIL", "value": "quiet.one@example.test", "rank": 1},
        {"id": "b", "system": "EMAIL", "value": "quiet.two@example.test", "rank": 2},
        {"id": "c", "system": "EMAIL", "value": "loud@example.test", "rank": 3},
    ]}  # fmt: skip
    patient_id = await desk.it.house.store(values)
    store, context = desk.it.house.services.store, REQUEST.context(actor(Role.INTEGRATION))
    async with store.writing(context, Act.UPDATE) as unit:
        await unit.suppress([("EMAIL", f"quiet.{name}@example.test") for name in ("one", "two")], "STOP")
    assert (await desk.decided(patient_id))["contactPoint"]["id"] == "c"
    async with store.writing(context, Act.UPDATE) as unit:
        await unit.suppress([("EMAIL", "loud@example.test")], "STOP")
    answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables={"id": patient_id, **REMINDER})
    found = answer.json()["data"]["contactDecision"]
    assert (found["outcome"], found["reasons"], found["contactPoint"]) == ("DENY", ["OPTED_OUT"], None)
    assert (leaf["ref"], "fld" in leaf) == (found["decisionId"], False)


async def test_what_was_erased(desk: Desk) -> None:
    """Without its contact points a record is never contacted; erased as a whole it is as if it had never been."""
    patient_id = await desk.it.house.store(ANN)
    officer = actor(Role.PRIVACY_OFFICER)
    erasures = desk.it.house.services.erasures
    await erasures.erase(officer, REQUEST, patient_id, 1, frozenset({KeyClass.CONTACT}), ErasureReason.UNLAWFUL)
    found = await desk.decided(patient_id)
    assert (found["outcome"], found["reasons"]) == ("DENY", ["RECORD_ERASED"])
    await erasures.erase(officer, REQUEST, patient_id, 2, None, ErasureReason.UNLAWFUL)
    answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables={"id": patient_id, **REMINDER})
    gone = answer.json()["data"]["contactDecision"]
    unknown = await desk.decided(f"{NOBODY}1")
    assert {**gone, "patientId": ""} == {**unknown, "patientId": ""}
    assert (leaf["out"], leaf["why"]) == ("denied", "ERASED")


async def test_somebody_instead_and_somebody_beside(desk: Desk) -> None:
    """A stand-in is reached in place of the patient, others as well; their numbers count as related persons shown."""
    mother = {"id": "mother", "name": "Mrs Vandermeer", "relationship": "PARENT", "contact": "INSTEAD",
              "contact_points": [{"id": "m", "system": "EMAIL", "value": "mother@example.test"}]}  # fmt: skip
    uncle = {**mother, "id": "uncle", "name": "Piet", "relationship": "OTHER", "contact": "BESIDE"}
    patient_id = await desk.it.house.store({**ANN, "related_persons": [mother, uncle]})
    answer, [leaf] = await desk.it.watched(ONE, Role.MESSAGING, variables={"id": patient_id, **REMINDER})
    found = answer.json()["data"]["contactDecision"]
    assert (found["outcome"], found["reasons"]) == ("ALLOW", ["OK", "STAND_IN_CONTACTED"])
    assert (found["recipient"], found["standIn"], found["salutation"]) == ("RELATED_PERSON", "mother", "Mrs Vandermeer")
    assert found["contactPoint"]["value"] == "mother@example.test"
    assert [copy["relatedPersonId"] for copy in found["copies"]] == ["uncle"]
    assert leaf["fld"] == ["relatedPersons"]
