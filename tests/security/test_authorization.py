"""Who may see and change what, for every field and mutation of the schema and every role, on both engines.

What is expected is read from the printed policy, not from the code that decides; fields come from the SDL, so that a
new one is covered when it is added.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from auth import policy
from auth.development import DEFAULT_PURPOSES
from auth.roles import PERSONAL, Role
from crm.catalogue import BY_PATH
from tests.asking import FIELDS_OF_PATIENT, MUTATIONS, PARTS, READABLE, paths_of, question, whole
from tests.client import Client, client
from tests.counting import CountingDatabase, CountingKeys
from tests.house import ORG, OTHER_ORG
from tests.people import ENTRIES, INPUTS, OF_THEIR_OWN, RIGHTS, WHOLE, camel
from tests.postbox import planted

pytestmark = pytest.mark.asyncio(loop_scope="module")

MATRIX = {(row.role, row.purpose): row for row in policy.matrix()}
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"
CLEAR, MASKED, REFUSED = "clear", "masked", "refused"


def verdict(role: Role, paths: frozenset[str]) -> str:
    """What the printed policy says of paths that are asked for together, for the ordinary purpose of a role."""
    row = MATRIX[role.value, DEFAULT_PURPOSES[role].value]
    groups = {BY_PATH[path].group.value for path in paths}
    if "patient:read" not in row.actions.split() or groups - {*row.read.split(), *row.masked.split()}:
        return REFUSED
    return MASKED if groups & set(row.masked.split()) else CLEAR


def texts(value: Any) -> Iterator[str]:
    """Every text in an answer that is long enough to be recognised elsewhere, but for ids of entries."""
    if isinstance(value, dict):
        value = [item for key, item in value.items() if key != "id"]
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str) and len(value) > 3:
        yield value


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zoe(served: Client) -> str:
    """A patient with a value in every field."""
    return str((await served.house.register(WHOLE))["id"])


async def ask(served: Client, query: str, role: Role | None, patient_id: str, **more: Any) -> Any:
    """The answer and the leaves of a query for one patient; personal roles are bound to `bound`, or that patient."""
    bound = more.pop("bound", patient_id) if role in PERSONAL else None
    return await served.watched(query, role, variables={"id": patient_id}, patient=bound, **more)


async def state(served: Client, patient_id: str) -> tuple[Any, ...]:
    """What a refused attempt must leave as it is: the version, the times, and what waits to be told to others."""
    found = await served.data(question("version updatedAt"), Role.PRIVACY_OFFICER, variables={"id": patient_id})
    return *found["patient"].values(), len(await served.house.outbox())


def code_of(answer: httpx.Response) -> str:
    """The one error code of an answer."""
    [error] = answer.json()["errors"]
    return str(error["extensions"]["code"])


def same(one: httpx.Response, other: httpx.Response) -> bool:
    """Whether two answers are the same in everything but the id of their requests."""
    heads = [{name: value for name, value in each.headers.items() if name != "x-request-id"} for each in (one, other)]
    return (one.status_code, one.content, heads[0]) == (other.status_code, other.content, heads[1])


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", FIELDS_OF_PATIENT)
async def test_every_field_for_every_role(served: Client, zoe: str, field: str) -> None:
    """Ten roles ask for the field: answered, masked or refused as the printed policy has it, and recorded once."""
    truth = (await served.data(question(whole(field)), Role.PRIVACY_OFFICER, variables={"id": zoe}))["patient"][field]
    assert truth is not None
    paths = paths_of(field)
    for role in Role:
        before = await state(served, zoe)
        answer, [leaf] = await ask(served, question(whole(field)), role, zoe)
        outcome = verdict(role, paths)
        if outcome == REFUSED:
            assert code_of(answer) in {"FORBIDDEN", "FORBIDDEN_FIELD"}, role
            assert "data" not in answer.json()
            assert not [text for text in texts(truth) if text in answer.text]
            assert (leaf["out"], leaf["why"]) == ("denied", code_of(answer))
            assert set(leaf.get("fld", ())) <= paths
        else:
            assert (leaf["out"], frozenset(leaf.get("fld", ())), frozenset(leaf.get("msk", ()))) == (
                "ok",
                paths,
                paths if outcome == MASKED else frozenset(),
            )
            shown = answer.json()["data"]["patient"][field]
            if field == "provenance":  # told of the groups that the role may read
                assert all(note in truth for note in shown), role
                continue
            assert (shown == truth) == (outcome == CLEAR), role
            assert outcome == CLEAR or not [text for text in {*texts(truth)} - _OPEN if text in answer.text]
        assert leaf["act"] == "read"
        assert await state(served, zoe) == before


_OPEN = frozenset({"PHONE", "EMAIL", "MOBILE", "HOME", "VOICE", "UNKNOWN", "USUAL", "UNVERIFIED"}) | {
    "urn:example:hospital-number"
}
"""What a masked contact point or identifier still tells: its kind, its use and who gave it out."""


@pytest.mark.parametrize("path", PARTS)
async def test_parts_with_rights_of_their_own(served: Client, zoe: str, path: str) -> None:
    """A cultural need is granted part by part."""
    field, _, part = path.partition(".")
    for role in Role:
        answer, [leaf] = await ask(served, question(f"{field} {{ {part} }}"), role, zoe)
        asked = frozenset({path})
        assert ("errors" in answer.json()) == (verdict(role, asked) == REFUSED), role
        assert set(leaf.get("fld", ())) <= asked


@pytest.mark.parametrize("field", FIELDS_OF_PATIENT)
async def test_nobody(served: Client, zoe: str, field: str) -> None:
    """Without a token: 401 and nothing else; the attempt is in the log of nobody's organisation."""
    answer, [leaf] = await ask(served, question(whole(field)), None, zoe, log="_")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json() == {
        "errors": [{"message": "A valid bearer token is required.", "extensions": {"code": "UNAUTHENTICATED"}}]
    }
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("login", "denied", "missing")
    assert leaf.keys() == {"v", "id", "t", "act", "out", "op", "req", "why", "pol", "src"}


@pytest.mark.parametrize("field", FIELDS_OF_PATIENT)
async def test_another_organisation(served: Client, zoe: str, field: str) -> None:
    """The right role in another organisation gets, octet for octet, what an id gets that never existed."""
    query = question(whole(field))
    answer, [leaf] = await ask(served, query, Role.CLINICIAN, zoe, org=OTHER_ORG, log=OTHER_ORG)
    absent, [twin] = await ask(served, query, Role.CLINICIAN, UNKNOWN, org=OTHER_ORG, log=OTHER_ORG)
    assert same(answer, absent)
    assert answer.json()["errors"][0]["extensions"] == {"code": "NOT_FOUND"}
    assert answer.json()["data"] == {"patient": None}
    own = {"id", "t", "req", "src"}
    assert {key: value for key, value in leaf.items() if key not in own | {"who"}} == {
        key: value for key, value in twin.items() if key not in own | {"who"}
    }
    assert (leaf["out"], leaf["why"], leaf["cnt"], "pat" in leaf) == ("denied", "NOT_FOUND", 1, False)


@pytest.mark.parametrize("role", sorted(PERSONAL))
async def test_patients_and_proxies_reach_one_record(served: Client, zoe: str, role: Role) -> None:
    """Another patient of the same organisation looks absent to them; in that patient's log, the attempt shows."""
    other = (await served.house.register())["id"]
    for query in (
        question("displayName"),
        "query Many($id: ID!) { patients(ids: [$id]) { ... on Patient { displayName } ... on Refusal { code } } }",
    ):
        answer, [leaf] = await ask(served, query, role, zoe, bound=other)
        absent, [_] = await ask(served, query, role, UNKNOWN, bound=other)
        assert same(answer, absent)
        assert "NOT_FOUND" in answer.text
        assert (leaf["out"], leaf["why"], "pat" in leaf) == ("denied", "NOT_FOUND", True)
    found, [leaf] = await ask(served, question("displayName"), role, other, bound=other)
    assert found.json()["data"]["patient"] == {"displayName": "Sam"}
    assert leaf["out"] == "ok"


@pytest.mark.parametrize("role", sorted(PERSONAL))
async def test_an_unbound_personal_role_reaches_nothing(served: Client, zoe: str, role: Role) -> None:
    """A patient's token without a patient is good for no record at all."""
    answer, [leaf] = await served.watched(question("displayName"), role, variables={"id": zoe})
    assert (code_of(answer), leaf["out"]) == ("FORBIDDEN", "denied")


async def test_a_restricted_record_withholds(served: Client) -> None:
    """Scenario D7: where they live and how to reach them is withheld, silently but on record; the rest is answered."""
    hidden = await served.house.store({**WHOLE, "restricted": True})
    asked = "displayName restricted contactPoints { value } addresses { city } caseManager { name }"
    withheld = ["addresses", "caseManager", "contactPoints"]
    for role in (Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR, Role.INTEGRATION):
        answer, [leaf] = await ask(served, question(asked), role, hidden)
        assert answer.json()["data"]["patient"] == {
            "displayName": "Zoe",
            "restricted": True,
            "contactPoints": None,
            "addresses": None,
            "caseManager": None,
        }
        assert (leaf["out"], leaf["fld"], leaf["msk"]) == ("ok", ["displayName", "restricted"], withheld)
        assert "restricted" in leaf["flg"]
    for role in (Role.PRIVACY_OFFICER, Role.PATIENT):
        answer, [leaf] = await ask(served, question(asked), role, hidden)
        assert answer.json()["data"]["patient"]["addresses"] == [{"city": "Leeds"}]
        assert "msk" not in leaf


# --- changing --------------------------------------------------------------------------------------------------------


def submitted(mutation: str, patient_id: str, entries: dict[str, str], version: int = 1) -> dict[str, Any]:
    """A good input of a mutation; `entries` has the id of an entry of each list, as `someone` gives them."""
    values = dict(INPUTS[mutation])
    if mutation != "registerPatient":
        values |= {"patientId": patient_id, "expectedVersion": version}
    if mutation in ENTRIES:
        member, field = ENTRIES[mutation]
        values[member] = entries[field]
    return values


def change(mutation: str, selection: str = "version") -> str:
    """The mutation as an operation with the variable `input`."""
    kind = f"{mutation[0].upper()}{mutation[1:]}Input"
    return f"mutation Change($input: {kind}!) {{ {mutation}(input: $input) {{ {selection} }} }}"


def may(role: Role, mutation: str) -> bool:
    """Whether the printed policy lets a role make the change of `INPUTS`, for its ordinary purpose."""
    row = MATRIX[role.value, DEFAULT_PURPOSES[role].value]
    action, group = RIGHTS[mutation]
    return {action, "patient:read"} <= set(row.actions.split()) and group in row.write.split()


_LISTS = sorted({field for _, field in ENTRIES.values()})


async def someone(served: Client, mutation: str, org: str = ORG) -> tuple[str, dict[str, str]]:
    """A fresh patient with something in every list: the id, and that of the first entry of each list."""
    patient = await served.house.register({**WHOLE, "identifiers": []}, org=org)
    asked = question(" ".join(f"{field} {{ id }}" for field in _LISTS))
    found = await served.data(asked, Role.PRIVACY_OFFICER, variables={"id": patient["id"]}, org=org)
    if mutation == "confirmContactVerification":
        await planted(served.house, patient["id"], INPUTS[mutation]["code"], org=org)
    return patient["id"], {field: found["patient"][field][0]["id"] for field in _LISTS}


async def test_every_mutation_is_covered() -> None:
    """A new mutation needs an input here before anything else."""
    assert set(MUTATIONS) == set(INPUTS) == set(RIGHTS)


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_every_mutation_for_every_role(served: Client, mutation: str) -> None:
    """Ten roles try: whom the printed policy lets, changes; nobody else does, and every attempt is recorded once."""
    for role in Role:
        patient_id, entries = await someone(served, mutation)
        before = await state(served, patient_id)
        variables = {"input": submitted(mutation, patient_id, entries)}
        bound = patient_id if role in PERSONAL else None
        answer, [leaf] = await served.watched(change(mutation), role, variables=variables, patient=bound)
        after = await state(served, patient_id)
        if may(role, mutation):
            assert "errors" not in answer.json(), (role, answer.json())
            assert (leaf["out"], leaf["act"]) == ("ok", "create" if mutation == "registerPatient" else "update")
            assert after[-1] == before[-1] + 1
        else:
            assert code_of(answer) in {"FORBIDDEN", "FORBIDDEN_FIELD"}, role
            assert (leaf["out"], leaf["why"]) == ("denied", code_of(answer))
            assert leaf["act"] == ("create" if mutation == "registerPatient" else "update")
            assert ("pat" in leaf) == (mutation != "registerPatient")
            assert after == before


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_nobody_changes_anything(served: Client, mutation: str) -> None:
    """Without a token: 401, nothing changed, one event."""
    patient_id, entries = await someone(served, mutation)
    before = await state(served, patient_id)
    variables = {"input": submitted(mutation, patient_id, entries)}
    answer, [leaf] = await served.watched(change(mutation), None, variables=variables, log="_")
    assert (answer.status_code, code_of(answer), leaf["out"]) == (401, "UNAUTHENTICATED", "denied")
    assert await state(served, patient_id) == before


_ABROAD = (Role.FRONT_DESK, Role.INTEGRATION, Role.PRIVACY_OFFICER)


@pytest.mark.parametrize("mutation", [name for name in MUTATIONS if name != "registerPatient"])
async def test_other_organisations_and_other_patients(served: Client, mutation: str) -> None:
    """A record of another organisation, or of another person, cannot be changed, nor told from one that is absent."""
    patient_id, entries = await someone(served, mutation)
    mine, _ = await someone(served, mutation)
    before = await state(served, patient_id)
    abroad = {"org": OTHER_ORG, "log": OTHER_ORG}
    tries = (*((role, abroad) for role in _ABROAD), (Role.PATIENT, {"patient": mine}))
    able = [(role, who) for role, who in tries if may(role, mutation)]
    assert able
    for role, who in able:
        answers = []
        for target in (patient_id, UNKNOWN):
            for version in (1, 99):
                variables = {"input": submitted(mutation, target, entries, version)}
                answer, [leaf] = await served.watched(change(mutation), role, variables=variables, **who)
                assert (leaf["act"], leaf["out"], leaf["why"]) == ("update", "denied", "NOT_FOUND")
                answers.append(answer)
        assert all(same(answers[0], answer) for answer in answers)
        assert code_of(answers[0]) == "NOT_FOUND"
    assert await state(served, patient_id) == before


@pytest.mark.parametrize("field", sorted(OF_THEIR_OWN))
async def test_no_input_has_room_for_what_has_mutations_of_its_own(served: Client, field: str) -> None:
    """Directives, restrictions and the like cannot be smuggled in with a registration or a change of preferences."""
    before = len(await served.house.outbox())
    for mutation, kind in (
        ("registerPatient", "RegisterPatientInput"),
        ("updatePreferences", "UpdatePreferencesInput"),
        ("updateIdentity", "UpdateIdentityInput"),
    ):
        query = f"mutation Add($input: {kind}!) {{ {mutation}(input: $input) {{ version }} }}"
        answer = await served.ask(query, Role.INTEGRATION, variables={"input": camel({field: WHOLE[field]})})
        assert code_of(answer) == "VALIDATION_FAILED"
    assert len(await served.house.outbox()) == before


@pytest.mark.parametrize("field", sorted(WHOLE.keys() - OF_THEIR_OWN))
async def test_every_field_is_written_by_whom_the_policy_names(served: Client, field: str) -> None:
    """Each field that can be submitted, by a role that may register and by one that may only read."""
    path = {"cultural_needs": "culturalNeeds.detail"}.get(field) or next(
        path for path, row in BY_PATH.items() if row.name == field
    )
    row = MATRIX[Role.FRONT_DESK.value, DEFAULT_PURPOSES[Role.FRONT_DESK].value]
    query = "mutation Add($input: RegisterPatientInput!) { registerPatient(input: $input) { version } }"
    before = len(await served.house.outbox())
    answer, [leaf] = await served.watched(query, variables={"input": camel({field: WHOLE[field]})})
    if BY_PATH[path].group.value in row.write.split():
        assert answer.json() == {"data": {"registerPatient": {"version": 1}}}
        assert path in leaf["chg"]
    else:
        assert code_of(answer) == "FORBIDDEN_FIELD"
        assert path in leaf["fld"]
        assert len(await served.house.outbox()) == before


# --- wherever a field may hide ---------------------------------------------------------------------------------------

HIDING_PLACES: dict[str, str] = {
    "plain": "query Q($id: ID!) { patient(id: $id) { displayName religion } }",
    "alias": "query Q($id: ID!) { patient(id: $id) { displayName pronouns: religion } }",
    "fragment": "query Q($id: ID!) { patient(id: $id) { ...F } } fragment F on Patient { displayName religion }",
    "nested fragments": """query Q($id: ID!) { patient(id: $id) { ...A } }
        fragment A on Patient { displayName ...B } fragment B on Patient { ... { religion } }""",
    "inline fragment": "query Q($id: ID!) { patient(id: $id) { displayName ... on Patient { religion } } }",
    "bare inline fragment": "query Q($id: ID!) { patient(id: $id) { displayName ... { religion } } }",
    "fragment on the root": "query Q($id: ID!) { ...R } fragment R on Query { patient(id: $id) { religion } }",
    "included": "query Q($id: ID!) { patient(id: $id) { displayName religion @include(if: true) } }",
    "not skipped": "query Q($id: ID!, $no: Boolean = false) { patient(id: $id) { religion @skip(if: $no) } }",
    "merged selections": "query Q($id: ID!) { patient(id: $id) { displayName } patient(id: $id) { religion } }",
    "union branch": "query Q($id: ID!) { patients(ids: [$id]) { ... on Patient { displayName religion } } }",
    "router's batch": """query Q($id: ID!) { patient(id: $id) { id }
        _entities(representations: [{__typename: "Patient", id: "x"}]) { ... on Patient { religion } } }""",
    "second root field": """query Q($id: ID!) {
        viewer { org } a: patient(id: $id) { id } b: patient(id: $id) { religion } }""",
    "second root of another kind": """query Q($id: ID!) { patient(id: $id) { displayName }
        searchPatients(by: {fullName: "Zoleka Wanjiru"}) { edges { node { religion } } } }""",
    "connection edge": """query Q { searchPatients(by: {fullName: "Zoleka Wanjiru"}) {
        edges { node { displayName religion } } } }""",
    "by identifier": """query Q { patientByIdentifier(system: "urn:example:hospital-number", value: "H-7781") {
        religion } }""",
    "part of a field": "query Q($id: ID!) { patient(id: $id) { displayName culturalNeeds { handling kind } } }",
    "mutation payload": """mutation Q($id: ID!) {
        updatePreferences(input: {patientId: $id, expectedVersion: 1, preferredName: "No"}) { religion } }""",
    "payload of the second mutation": """mutation Q($id: ID!) {
        a: updatePreferences(input: {patientId: $id, expectedVersion: 1, preferredName: "No"}) { version }
        b: updatePreferences(input: {patientId: $id, expectedVersion: 2, preferredName: "No"}) { religion } }""",
    "registration payload": 'mutation Q { registerPatient(input: {preferredName: "No"}) { religion } }',
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def counted(shared_engine: str, databases: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A client whose service counts what it reads and opens."""
    url, folder = databases.create(shared_engine), Path(tmp_path_factory.mktemp("counted"))
    database, keys = CountingDatabase(), CountingKeys()
    async with client(url, folder, database=database.around, keys=keys.around) as it:
        patient = await it.house.register(WHOLE)
        yield it, patient["id"], database, keys
    databases.drop(url)


@pytest.mark.parametrize("place", HIDING_PLACES)
async def test_a_forbidden_field_refuses_the_whole_operation(counted: Any, place: str) -> None:
    """Wherever it stands: no `data`, no row read, nothing opened, nothing changed, and exactly one event."""
    it, patient_id, database, keys = counted
    query = HIDING_PLACES[place]
    variables = {"id": patient_id} if "$id" in query else {}
    before = await state(it, patient_id)
    database.forget(), keys.forget()
    answer, [leaf] = await it.watched(query, Role.FRONT_DESK, variables=variables)
    assert (database.records, database.transactions, keys.opened) == (0, 0, 0)
    assert "data" not in answer.json()
    assert code_of(answer) == "FORBIDDEN_FIELD"
    assert answer.json()["errors"][0]["extensions"]["field"] in {"religion", "culturalNeeds.kind"}
    assert (leaf["out"], leaf["why"]) == ("denied", "FORBIDDEN_FIELD")
    assert leaf["fld"] in (["religion"], ["culturalNeeds.kind"])
    assert await state(it, patient_id) == before


async def test_the_counters_count(counted: Any) -> None:
    """The check itself: a query that is allowed reads one record and opens one data key."""
    it, patient_id, database, keys = counted
    database.forget(), keys.forget()
    await it.data(question("displayName"), variables={"id": patient_id})
    assert (database.records, keys.opened) == (1, 1)
    database.forget(), keys.forget()
    query = HIDING_PLACES["payload of the second mutation"].replace("religion", "version")
    await it.data(query, variables={"id": patient_id})
    assert database.transactions == 2


async def test_what_is_skipped_is_not_asked(counted: Any) -> None:
    """A forbidden field behind @skip is no field; the rest is answered, and only that is opened and recorded."""
    it, patient_id, _, keys = counted
    query = "query Q($id: ID!, $no: Boolean!) { patient(id: $id) { displayName religion @skip(if: $no) } }"
    keys.forget()
    answer, [leaf] = await it.watched(query, variables={"id": patient_id, "no": True})
    assert answer.json()["data"]["patient"].keys() == {"displayName"}
    assert (leaf["fld"], keys.opened) == (["displayName"], 1)


@pytest.mark.parametrize("field", READABLE)
async def test_only_what_is_asked_is_opened(counted: Any, field: str) -> None:
    """Each field opens the cells it needs and no others, and so does a mutation's answer."""
    it, patient_id, _, keys = counted
    keys.forget()
    await it.data(question(whole(field)), Role.INTEGRATION, variables={"id": patient_id})
    sources = {name for path in paths_of(field) for name in (BY_PATH[path].derived_from or (BY_PATH[path].name,))}
    sealed = {name for name in sources if any(row.name == name and row.key_class for row in BY_PATH.values())}
    assert keys.cells == sealed


async def test_equal_refusals_for_every_id(served: Client, zoe: str) -> None:
    """Unknown, foreign, malformed: an id that is not visible is told in one and the same way."""
    foreign = (await served.house.register(org=OTHER_ORG))["id"]
    ids = (foreign, UNKNOWN, str(uuid4()), "no-uuid", "x" * 500, "'; DROP TABLE patient; --", "../etc", "ё")
    answers = [(await ask(served, question("displayName"), Role.CLINICIAN, each))[0] for each in ids]
    assert all(same(answers[0], answer) for answer in answers)
    assert code_of(answers[0]) == "NOT_FOUND"
