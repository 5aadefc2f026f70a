"""Confidential communications: set by the person, used by staff who do not see them, and unknown to proxies.

45 CFR 164.522(b). A parent or partner with a proxy's account must not learn from anything that there is one.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from graphql import GraphQLInputObjectType, GraphQLObjectType, get_named_type

from auth import policy
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.catalogue import BY_PATH
from crm.domain.confidential import ConfidentialCommunication
from schema.sdl import build_schema
from tests.asking import READABLE, paths_of, question, whole
from tests.breaking import request
from tests.client import Client, client
from tests.conftest import Databases
from tests.counting import CountingDatabase, CountingKeys
from tests.house import OTHER_ORG
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

SET = """mutation Set($input: SetConfidentialCommunicationInput!) {
  setConfidentialCommunication(input: $input) { version confidentialCommunication { channel value withheld } } }"""
CLEAR = """mutation Clear($input: ClearConfidentialCommunicationInput!) {
  clearConfidentialCommunication(input: $input) { version confidentialCommunication { channel } } }"""
SEARCH = "query Search($by: PatientSearch!) { searchPatients(by: $by) { edges { node { id } } } }"
SEEN = f"{whole('confidentialCommunication')} provenance {{ group }}"
SECRET, NUMBER = "secret.garden@example.test", "+447700900777"
FAMILY = (Purpose.FAMRQT, Purpose.PWATRNY, Purpose.SUPNWK)
ROWS = {(row.role, row.purpose): row for row in policy.matrix()}


def setting(patient_id: str, version: int, **more: Any) -> dict[str, Any]:
    """Variables of `SET`: a mailbox, unless something else is given."""
    end = more or {"channel": "EMAIL", "value": SECRET}
    return {"input": {"patientId": patient_id, "expectedVersion": version, **end}}


async def teenager(served: Client, **end: Any) -> str:
    """Somebody who asked to be reached at a mailbox of their own: version 2."""
    values = {name: value for name, value in WHOLE.items() if name != "confidential_communication"}
    patient = str((await served.house.register({**values, "identifiers": []}))["id"])
    await served.data(SET, Role.PATIENT, variables=setting(patient, 1, **end), patient=patient)
    return patient


def code_of(answer: Any) -> str:
    """The one error code of an answer."""
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])


# --- no reason -------------------------------------------------------------------------------------------------------

_ASKING = ("reason", "why", "explanation", "justification", "ground", "basis", "note", "comment", "statement", "danger")


def _members(kind: Any) -> dict[str, Any]:
    named = get_named_type(kind)
    return named.fields if isinstance(named, GraphQLInputObjectType | GraphQLObjectType) else {}


async def test_nobody_can_be_asked_for_a_reason() -> None:
    """No argument, input member or field about it has room for one, at any depth, nor has what is stored."""
    schema = build_schema()
    mutation = schema.mutation_type
    assert mutation is not None
    kinds = [schema.type_map["ConfidentialCommunication"]]
    for name in ("setConfidentialCommunication", "clearConfidentialCommunication"):
        assert list(mutation.fields[name].args) == ["input"]
        kinds.append(mutation.fields[name].args["input"].type)
    names = [(str(kind), name) for kind in kinds for name in _members(kind)]
    names += [(str(kind), inner) for kind in kinds for part in _members(kind).values() for inner in _members(part.type)]
    names += [("domain", name) for name in ConfidentialCommunication.model_fields]
    assert len(names) > 30
    assert [each for each in names if any(word in each[1].lower() for word in _ASKING)] == []


@pytest.mark.parametrize("member", ["reason", "note"])
async def test_a_reason_that_is_sent_is_not_taken(served: Client, member: str) -> None:
    """A client that asks people all the same cannot hand the answer over."""
    patient = await teenager(served)
    variables = setting(patient, 2)
    variables["input"][member] = "My father reads my letters."
    answer, _ = await served.watched(SET, Role.PATIENT, variables=variables, patient=patient)
    assert (code_of(answer), "father" in answer.text) == ("VALIDATION_FAILED", False)


# --- who may set and clear it ----------------------------------------------------------------------------------------


_EVERYBODY = [(Role(role), Purpose(purpose)) for role, purpose in ROWS]
_TRIES = [(*who, query) for who in _EVERYBODY for query in (SET, CLEAR) if query is SET or who[0] in PERSONAL]


@pytest.mark.parametrize(("role", "purpose", "query"), _TRIES)
async def test_who_may_set_and_clear(served: Client, role: Role, purpose: Purpose, query: str) -> None:
    """The person, and a privacy officer. For all others nothing is changed, told or kept of what they sent."""
    patient = await teenager(served)
    target = {"patientId": patient, "expectedVersion": 2}
    end = {"channel": "SMS", "value": NUMBER} if query is SET else {}
    bound = patient if role in PERSONAL else None
    before = len(await served.house.outbox())
    answer, [leaf] = await served.watched(
        query, role, variables={"input": target | end}, purpose=purpose, patient=bound
    )
    truth = await served.data(question(SEEN), Role.PRIVACY_OFFICER, variables={"id": patient})
    kept = (truth["patient"]["confidentialCommunication"] or {}).get("value")
    if role in {Role.PATIENT, Role.PRIVACY_OFFICER}:
        assert "errors" not in answer.json()
        assert (leaf["out"], leaf["chg"]) == ("ok", ["confidentialCommunication"])
        assert kept == (NUMBER if query is SET else None)
        return
    assert (code_of(answer), leaf["out"], leaf["why"]) == ("FORBIDDEN", "denied", "FORBIDDEN")
    assert leaf["pat"]
    assert "data" not in answer.json()
    assert not [text for text in (SECRET, NUMBER) if text in answer.text or text in str(leaf)]
    assert (kept, len(await served.house.outbox())) == (SECRET, before)


async def test_nobody_and_people_elsewhere(served: Client) -> None:
    """Without a token 401; an officer elsewhere and another patient are told what is told of nobody."""
    patient, other = await teenager(served), await teenager(served)
    absent = "0199c0de-0000-7000-8000-000000000001"
    answer, [leaf] = await served.watched(SET, None, variables=setting(patient, 2), log="_")
    assert (answer.status_code, leaf["out"]) == (401, "denied")
    tries: tuple[tuple[Role, dict[str, Any]], ...] = (
        (Role.PRIVACY_OFFICER, {"org": OTHER_ORG, "log": OTHER_ORG}),
        (Role.PATIENT, {"patient": other}),
    )
    for role, who in tries:
        for query in (SET, CLEAR):
            answers = []
            for target in (patient, absent):
                variables = setting(target, 2)
                if query is CLEAR:
                    variables["input"] = {"patientId": target, "expectedVersion": 2}
                answer, [leaf] = await served.watched(query, role, variables=variables, **who)
                assert (code_of(answer), leaf["out"], leaf["why"]) == ("NOT_FOUND", "denied", "NOT_FOUND")
                answers.append(answer.content)
            assert answers[0] == answers[1]
    truth = await served.data(question("version"), Role.PRIVACY_OFFICER, variables={"id": patient})
    assert truth["patient"]["version"] == 2


# --- staff use it without seeing it ----------------------------------------------------------------------------------

_STAFF = [
    (Role(role), Purpose(purpose)) for (role, purpose), row in ROWS.items() if "CONFIDENTIAL" in row.masked.split()
]


@pytest.mark.parametrize(("role", "purpose"), _STAFF)
async def test_staff_see_that_there_is_one(served: Client, role: Role, purpose: Purpose) -> None:
    """`withheld: true` and null for all the rest; also nothing of who set it and when."""
    patient = await teenager(served)
    assert "GOVERNANCE" in ROWS[role.value, purpose.value].read.split()
    answer, [leaf] = await served.watched(question(SEEN), role, variables={"id": patient}, purpose=purpose)
    shown = answer.json()["data"]["patient"]
    told = shown["confidentialCommunication"]
    assert told.pop("withheld") is True
    assert set(told.values()) == {None}
    assert "confidentialCommunication" in leaf["msk"]
    assert "CONFIDENTIAL" not in {note["group"] for note in shown["provenance"]}
    assert SECRET not in answer.text


async def test_the_rows_that_use_it_unseen() -> None:
    """Front desk, clinicians, coordinators, compliance and the integration of an administration; nobody else."""
    assert {role.value for role, _ in _STAFF} == {
        "front_desk", "clinician", "care_coordinator", "compliance_officer", "integration",
    }  # fmt: skip


async def test_there_is_none(served: Client) -> None:
    """Nothing set is null for everybody, and not `withheld`."""
    patient = str((await served.house.register())["id"])
    for role in (Role.FRONT_DESK, Role.PRIVACY_OFFICER):
        found = await served.data(question(whole("confidentialCommunication")), role, variables={"id": patient})
        assert found == {"patient": {"confidentialCommunication": None}}


async def test_break_glass_shows_it(served: Client) -> None:
    """In an emergency a clinician may need it: with a grant of their own, on record; without one, nothing."""
    patient = await teenager(served)
    who: dict[str, Any] = {"purpose": Purpose.BTG, "variables": {"id": patient}, "subject": "doctor"}
    answer, [leaf] = await served.watched(question(SEEN), Role.CLINICIAN, **who)
    assert (code_of(answer), leaf["out"], SECRET in answer.text) == ("BREAK_GLASS_REQUIRED", "denied", False)
    await request(served, patient, subject="doctor")
    answer, [leaf] = await served.watched(question(SEEN), Role.CLINICIAN, **who)
    shown = answer.json()["data"]["patient"]["confidentialCommunication"]
    assert (shown["value"], shown["withheld"]) == (SECRET, False)
    assert ("break_glass" in leaf["flg"], "msk" in leaf) == (True, False)


# --- proxies are not told --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Twins:
    """A client whose service counts what it opens, and two patients who differ in nothing but this."""

    it: Client
    keys: CountingKeys
    with_one: str
    without: str


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def twins(shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Two records of one content and version, of which the second was changed where no proxy looks."""
    url, folder = databases.create(shared_engine), Path(tmp_path_factory.mktemp("twins"))
    database, keys = CountingDatabase(), CountingKeys()
    async with client(url, folder, database=database.around, keys=keys.around) as it:
        one = await teenager(it)
        values = {name: value for name, value in WHOLE.items() if name != "confidential_communication"}
        other = str((await it.house.register({**values, "identifiers": []}))["id"])
        change = """mutation C($input: EndRelatedPersonInput!) { endRelatedPerson(input: $input) { version } }"""
        found = await it.data(question("relatedPersons { id }"), Role.PRIVACY_OFFICER, variables={"id": other})
        stand_in = found["patient"]["relatedPersons"][0]["id"]
        target = {"patientId": other, "expectedVersion": 1, "relatedPersonId": stand_in}
        await it.data(change, Role.FRONT_DESK, variables={"input": target})
        yield Twins(it, keys, one, other)
    databases.drop(url)


def _bare(answer: Any, patient: str) -> tuple[int, str]:
    return answer.status_code, answer.text.replace(patient, "ID")


def _anonymous(leaf: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in leaf.items() if name not in {"id", "t", "req", "src", "pat", "who"}}


def _readable(purpose: Purpose) -> list[str]:
    """The fields that a proxy may read, but for the times of the record, which differ between any two."""
    granted = ROWS[Role.PROXY.value, purpose.value].read.split()
    fields = set(READABLE) - {"recordedAt", "updatedAt"}
    return sorted(field for field in fields if all(BY_PATH[path].group.value in granted for path in paths_of(field)))


async def _told(twins: Twins, query: str, purpose: Purpose) -> list[Any]:
    """For either twin: the answer without ids, the events, and what was opened for it."""
    seen = []
    for patient in (twins.with_one, twins.without):
        twins.keys.forget()
        answer, leaves = await twins.it.watched(
            query, Role.PROXY, variables={"id": patient}, purpose=purpose, patient=patient
        )
        assert SECRET not in answer.text
        opened = (twins.keys.opened, frozenset(twins.keys.cells))
        seen.append((_ids_away(_bare(answer, patient)), [_anonymous(leaf) for leaf in leaves], opened))
    return seen


@pytest.mark.parametrize("purpose", FAMILY)
async def test_a_proxy_cannot_tell(twins: Twins, purpose: Purpose) -> None:
    """All that a proxy may read: octet for octet one answer, one event, one work; and the cell stays shut."""
    fields = _readable(purpose)
    one, other = await _told(twins, question(f"version {' '.join(map(whole, fields))}"), purpose)
    assert one == other
    assert '"languages":[{' in one[0][1]
    assert "languages" in one[2][1]
    assert "confidential_communication" not in one[2][1]


@pytest.mark.parametrize("purpose", FAMILY)
async def test_what_is_refused_to_a_proxy(twins: Twins, purpose: Purpose) -> None:
    """All that a proxy may not read: one refusal for both, before anything is opened."""
    fields = sorted(set(READABLE) - {*_readable(purpose), "recordedAt", "updatedAt"})
    assert {"confidentialCommunication", "relatedPersons", "provenance", "contactPoints", "consents"} <= set(fields)
    for field in fields:
        one, other = await _told(twins, question(f"version {whole(field)}"), purpose)
        assert one == other
        assert ("FORBIDDEN_FIELD" in one[0][1], one[2][0]) == (True, 0), field


def _ids_away(answer: tuple[int, str]) -> tuple[int, str]:
    """The answer without ids of entries, which are made up for each record."""
    parts = answer[1].split('"id":"')
    return answer[0], "".join([parts[0], *(part.partition('"')[2] for part in parts[1:])])


@pytest.mark.parametrize("purpose", FAMILY)
async def test_a_proxy_asks_for_it(twins: Twins, purpose: Purpose) -> None:
    """The field itself, and both mutations with any version: refused before a row is read, and alike."""
    tries: tuple[tuple[str, dict[str, Any]], ...] = (
        (question(whole("confidentialCommunication")), {}),
        (SET, {"channel": "EMAIL", "value": "mother@example.test", "expectedVersion": 2}),
        (SET, {"channel": "EMAIL", "value": "mother@example.test", "expectedVersion": 1}),
        (CLEAR, {"expectedVersion": 2}),
        (CLEAR, {"expectedVersion": 99}),
    )
    for query, more in tries:
        seen = []
        for patient in (twins.with_one, twins.without):
            variables = {"input": {"patientId": patient, **more}} if more else {"id": patient}
            twins.keys.forget()
            answer, leaves = await twins.it.watched(
                query, Role.PROXY, variables=variables, purpose=purpose, patient=patient
            )
            assert code_of(answer) in {"FORBIDDEN", "FORBIDDEN_FIELD"}
            assert twins.keys.opened == 0
            seen.append((_bare(answer, patient), [_anonymous(leaf) for leaf in leaves]))
        assert seen[0] == seen[1]


async def test_a_proxy_changes_something_else(twins: Twins) -> None:
    """Whoever holds a power of attorney may record languages: both records take it alike, or refuse it alike."""
    change = "mutation C($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { version } }"
    for version in (1, 2):
        seen = []
        for patient in (twins.with_one, twins.without):
            values = {"patientId": patient, "expectedVersion": version, "languages": [{"tag": "cy"}]}
            answer, leaves = await twins.it.watched(
                change, Role.PROXY, variables={"input": values}, purpose=Purpose.PWATRNY, patient=patient
            )
            seen.append((_bare(answer, patient), [_anonymous(leaf) for leaf in leaves]))
        assert seen[0] == seen[1]
        assert ("errors" in seen[0][0][1]) == (version == 1)


@pytest.mark.parametrize("root", ["accessEvents", "myAccessLog"])
async def test_a_proxy_has_no_log(twins: Twins, root: str) -> None:
    """Who set what stands in the log, which no proxy reads."""
    query = f"query L {{ {root}(first: 5) {{ edges {{ node {{ id }} }} }} }}"
    for purpose in FAMILY:
        codes = await twins.it.codes(query, Role.PROXY, purpose=purpose, patient=twins.with_one)
        assert codes == ["FORBIDDEN"]


# --- nobody finds by it ----------------------------------------------------------------------------------------------

_SEARCHERS = [(Role(role), Purpose(purpose)) for (role, purpose), row in ROWS.items() if "search" in row.actions]


async def test_no_search_finds_by_it(served: Client) -> None:
    """Whoever may search finds the record by its own number, and never by the confidential one or a stand-in's."""
    own = {"contact_points": [{"system": "PHONE", "value": "+447700900555"}]}
    ids = set()
    for end in ({"channel": "SMS", "value": NUMBER}, {"channel": "EMAIL", "value": SECRET}):
        patient = str((await served.house.register({**own, "related_persons": WHOLE["related_persons"]}))["id"])
        await served.data(SET, Role.PATIENT, variables=setting(patient, 1, **end), patient=patient)
        ids.add(patient)
    assert len(_SEARCHERS) > 5
    for role, purpose in _SEARCHERS:
        for by, expected in (
            ({"phone": "+447700900555"}, ids),
            ({"phone": NUMBER}, set()),
            ({"email": SECRET}, set()),
            ({"email": "wambui@example.test"}, set()),
        ):
            answer = await served.data(SEARCH, role, variables={"by": by}, purpose=purpose)
            assert {edge["node"]["id"] for edge in answer["searchPatients"]["edges"]} == expected, (role, by)


# --- nothing of it stands anywhere -----------------------------------------------------------------------------------


async def test_the_log_names_the_field_and_no_value(served: Client) -> None:
    """What is told to others and what is recorded says that it changed, and nothing of where it leads."""
    patient = await teenager(served, channel="LETTER", address={"lines": ["9 Hidden Lane"], "city": "York"})
    rows = [row for row in await served.house.outbox() if row["patient_id"] == patient]
    assert rows[-1]["changed"] == '["confidential_communication"]'
    leaves = str(await served.house.leaves())
    assert "confidentialCommunication" in leaves
    assert not [text for text in ("Hidden", "York", SECRET, NUMBER) if text in leaves + str(rows)]
