"""Completeness, driven by the schema: whatever can be asked, the log says exactly which patients and fields were shown.

Every field of every type that a root of the schema can answer is asked for: alone where it is met first, and together
with what leaves the same trace where another root, or the other engine, answers the same type. The questions are
generated, so a new field is covered without anybody writing a test; a new root, or a new kind of operation, has to be
put into `ROOTS`, and until then a test fails.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from graphql import GraphQLObjectType, GraphQLOutputType, GraphQLUnionType, get_named_type

from auth.roles import Role
from crm.catalogue import BY_NAME, BY_PATH
from crm.domain.likeness import COMPARED
from crm.interchange import importer
from crm.services.exports import EVERYTHING as EXPORTED
from crm.services.exports import Exports
from crm.services.imports import Imports
from crm.services.request import Request
from schema.sdl import build_schema
from tests.asking import EVERYTHING, MUTATIONS, OTHER_MUTATIONS
from tests.client import Client
from tests.house import actor
from tests.people import ENTRIES, INPUTS, RIGHTS, WHOLE
from tests.postbox import planted

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Trace(Enum):
    """What a root leaves in the log when it is answered."""

    PATIENTS = auto()
    """One event for each patient shown, with exactly the fields asked for."""
    FOUND = auto()
    """The same, and one for the search itself, with the count."""
    FORMER = auto()
    """One event, of the one version shown, with exactly the fields asked for, or none."""
    COMPARED = auto()
    """Two events, of each version one, with exactly the fields asked for, or none."""
    ABOUT = auto()
    """One event that names the patient asked about, and no field of the profile."""
    DECIDED = auto()
    """One event for each patient asked about, with no other field than the answer shows."""
    TOLD = auto()
    """One event for each patient told of, with no field of the profile shown, and one with how many were looked at."""
    ALIKE = auto()
    """One event for each patient compared, these among them, with what was compared as masked; one with the count."""
    LOG = auto()
    """Exactly one event: that the log was read."""
    NOTHING = auto()
    """Nothing: it is about no patient and no event."""


@dataclass(frozen=True)
class Root:
    """How to ask: the role, the arguments (`{zoe}` and `{yan}` stand for patients' ids), and the trace it leaves."""

    role: Role
    arguments: str
    trace: Trace
    patients: int = 1


_NAME = "Kit Completeness"
_MAY_SHOW = {"displayName", "contactPoints", "relatedPersons", "confidentialCommunication", "languages",
             "accessibleFormats", "accessNeeds", "consents", "timeZone"}  # fmt: skip
"""What a contact decision may show; tests/api/test_contact_decisions.py counts exactly."""

TOLD_LIVE = {"accessEventAppended", "profileChanged"}
"""Subscriptions: what they leave is counted where they are tested."""

ROOTS: dict[str, Root] = {
    "viewer": Root(Role.CLINICIAN, "", Trace.NOTHING),
    "contactDecision": Root(Role.MESSAGING, '(patientId: "{zoe}", purpose: APPOINTMENT_REMINDER)', Trace.DECIDED),
    "contactDecisions": Root(
        Role.MESSAGING, '(patientIds: ["{zoe}", "{yan}"], purpose: TEST_RESULT)', Trace.DECIDED, patients=2
    ),
    "explainContact": Root(Role.CLINICIAN, '(patientId: "{zoe}", purpose: APPOINTMENT_REMINDER)', Trace.DECIDED),
    "patient": Root(Role.CLINICIAN, '(id: "{zoe}")', Trace.PATIENTS),
    "history": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}", first: 1)', Trace.FORMER),
    "compareVersions": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}", from: 1, to: 2)', Trace.COMPARED),
    "patientByIdentifier": Root(Role.CLINICIAN, '(system: "urn:example:whole", value: "C-1")', Trace.FOUND),
    "patients": Root(Role.CLINICIAN, '(ids: ["{zoe}", "{yan}"])', Trace.PATIENTS, patients=2),
    "searchPatients": Root(Role.CLINICIAN, f'(by: {{{{fullName: "{_NAME}"}}}})', Trace.FOUND, patients=2),
    "me": Root(Role.PATIENT, "", Trace.PATIENTS),
    "accessEvents": Root(Role.COMPLIANCE_OFFICER, "(first: 3)", Trace.LOG),
    "erasureReceipts": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}")', Trace.ABOUT),
    "legalHolds": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}")', Trace.ABOUT),
    "accessSummary": Root(Role.COMPLIANCE_OFFICER, "(groupBy: [PATIENT, ACTOR])", Trace.LOG),
    "accessAnomalies": Root(Role.COMPLIANCE_OFFICER, "", Trace.LOG),
    "accountingOfDisclosures": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}")', Trace.LOG),
    "auditCheckpoint": Root(Role.COMPLIANCE_OFFICER, "", Trace.NOTHING),
    "auditInclusionProof": Root(Role.COMPLIANCE_OFFICER, "(seq: 0)", Trace.LOG),
    "auditConsistencyProof": Root(Role.COMPLIANCE_OFFICER, "(fromSize: 1)", Trace.NOTHING),
    "auditCompleteness": Root(Role.COMPLIANCE_OFFICER, "", Trace.NOTHING),
    "myAccessLog": Root(Role.PATIENT, "(first: 3)", Trace.LOG),
    "overdueReviews": Root(Role.CLINICIAN, '(asOf: "2001-03-01")', Trace.FOUND, patients=2),
    "unmetNeeds": Root(Role.CLINICIAN, '(from: "2001")', Trace.FOUND, patients=2),
    "waitingMessages": Root(Role.CLINICIAN, "", Trace.FOUND, patients=2),
    "breakGlassGrants": Root(Role.PRIVACY_OFFICER, "", Trace.LOG),
    "changedSince": Root(
        Role.CLINICIAN, '(known: [{{id: "{zoe}", version: 1}}, {{id: "{yan}", version: 1}}])', Trace.TOLD, patients=2
    ),
    "merges": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}")', Trace.ABOUT),
    "possibleDuplicates": Root(Role.PRIVACY_OFFICER, '(patientId: "{zoe}")', Trace.ALIKE, patients=2),
    "recordChanges": Root(Role.INTEGRATION, '(after: "{before}", first: 4)', Trace.TOLD, patients=2),
    "_service": Root(Role.OPERATOR, "", Trace.NOTHING),
    "_entities": Root(
        Role.CLINICIAN,
        '(representations: [{{__typename: "Patient", id: "{zoe}"}}, {{__typename: "Patient", id: "{yan}"}}])',
        Trace.PATIENTS,
        patients=2,
    ),
}

_LIKE_ANOTHER = {"patientByIdentifier", "patients", "searchPatients", "me", "overdueReviews", "unmetNeeds",
                 "waitingMessages", "contactDecisions", "explainContact", "_entities", "history",
                 "compareVersions"}  # fmt: skip
"""Roots that answer the type of `patient` or of `contactDecision`, whose every leaf is asked for alone there."""


@dataclass(frozen=True)
class People:
    """Two patients with a value in every field: their ids, and their names in the log."""

    ids: dict[str, str]
    subjects: dict[str, str]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(served: Client) -> People:
    """Zoe and Yan share a name, so that one search finds both; only Zoe has the identifier."""
    ids, subjects = {}, {}
    before = await served.house.services.feed.page(actor(Role.INTEGRATION), Request("before", "Test"), 1, None)
    for name, identifiers in (("zoe", [{"system": "urn:example:whole", "value": "C-1"}]), ("yan", [])):
        given, family = _NAME.split(" ")
        # Reviews of nobody else here are due so early, and no other need was ever not met.
        needs = [{"id": str(uuid4()), "kind": "HEARING_LOOP", "review_due_at": "2001-02-03"}]
        values = {**WHOLE, "names": [{"family": family, "given": [given]}], "identifiers": identifiers}
        values |= {"access_needs": needs}
        ids[name] = str((await served.house.register(values))["id"])
        clerk, request = actor(Role.INTEGRATION), Request("unmet", "Test")
        await served.house.services.needs.outcome(clerk, request, ids[name], 1, needs[0]["id"], False, frozenset())
        query = f'{{ patient(id: "{ids[name]}") {{ id }} }}'
        _, [leaf] = await served.watched(query, Role.CLINICIAN)
        subjects[name] = leaf["pat"]
    number = WHOLE["contact_points"][0]["value"]  # which they share; a START changes nothing but the queue
    asking = {"message_id": "S-1", "from": number, "channel": "SMS", "text": "START"}
    await served.house.services.messages.take(actor(Role.INTEGRATION), Request("start", "test"), asking)
    return People({**ids, "before": before.newest}, subjects)


# --- the questions ---------------------------------------------------------------------------------------------------


def _paths(kind: GraphQLOutputType, inside: tuple[str, ...] = ()) -> Iterator[tuple[str, frozenset[str]]]:
    """Each selection of one leaf below a type, and the paths of `Patient` that it shows."""
    named = get_named_type(kind)
    if isinstance(named, GraphQLUnionType):
        for member in named.types:
            for selection, shown in _paths(member, inside):
                yield f"... on {member.name} {{ {selection} }}", shown
    elif isinstance(named, GraphQLObjectType):
        for name, field in named.fields.items():
            of = (name,) if named.name == "Patient" else (*inside, name) if inside else ()
            below = list(_paths(field.type, of)) or [("", _shown(of))]
            for selection, shown in below:
                yield f"{name} {{ {selection} }}" if selection else name, shown


def _shown(path: tuple[str, ...]) -> frozenset[str]:
    """The paths of the catalogue that a path below `Patient` shows: its own, or those of the field it is part of."""
    whole = {".".join(path[: length + 1]) for length in range(len(path))}
    return frozenset(whole & BY_PATH.keys())


def _questions() -> list[tuple[str, str, frozenset[str]]]:
    query = build_schema().query_type
    assert query is not None
    return [
        (root, selection, shown)
        for root, field in query.fields.items()
        if root in ROOTS
        for selection, shown in list(_paths(field.type)) or [("", frozenset[str]())]
    ]


def _together(asked: list[tuple[str, frozenset[str]]]) -> list[tuple[str, frozenset[str]]]:
    """Those that show the same fields at the same place, ten to a question: more would cost too much to validate."""
    found: dict[tuple[str, frozenset[str]], list[str]] = {}
    for selection, shown in asked:
        place = selection.partition(min(shown).partition(".")[0])[0] if shown else ""
        found.setdefault((place, shown), []).append(selection)
    return [
        (" ".join(selections[start : start + 10]), shown)
        for (_, shown), selections in found.items()
        for start in range(0, len(selections), 10)
    ]


async def test_every_root_is_known() -> None:
    """A root that is new to this test, or a subscription, has to be thought about; `TOLD_LIVE` are tested elsewhere."""
    schema = build_schema()
    assert schema.query_type is not None
    assert schema.query_type.fields.keys() == ROOTS.keys()
    assert schema.subscription_type is not None
    assert schema.subscription_type.fields.keys() == TOLD_LIVE


@pytest.mark.parametrize("root", ROOTS)
async def test_every_field_of_every_type(served: Client, people: People, shared_engine: str, root: str) -> None:
    """Each leaves what its root's `Trace` says: these patients, these fields, and nothing else."""
    known = ROOTS[root]
    chosen = list(people.ids)[: known.patients]
    subjects = sorted(people.subjects[name] for name in chosen)
    asked = [(selection, shown) for name, selection, shown in _questions() if name == root]
    assert asked
    if root in _LIKE_ANOTHER or shared_engine != "sqlite":
        asked = _together(asked)
    for selection, shown in asked:
        body = f"{{ {selection} }}" if selection else ""
        query = f"query Q {{ {root}{known.arguments.format(**people.ids)} {body} }}"
        answer, leaves = await served.watched(query, known.role, patient=people.ids["zoe"])
        assert "errors" not in answer.json(), (selection, answer.json())
        acts = [(leaf["act"], leaf["out"]) for leaf in leaves]
        named = sorted(leaf["pat"] for leaf in leaves if "pat" in leaf)
        fields = [frozenset(leaf.get("fld", ())) for leaf in leaves if "pat" in leaf]
        match known.trace:
            case Trace.NOTHING:
                assert leaves == [], selection
            case Trace.LOG:
                assert acts == [("audit.read", "ok")], selection
                assert fields in ([], [frozenset()]), selection
            case Trace.DECIDED:
                assert (named, set(acts)) == (subjects, {("decide", "ok")}), selection
                assert all(each <= _MAY_SHOW for each in fields), selection
            case Trace.FORMER:
                assert (named, fields, acts) == (subjects, [shown], [("read", "ok")]), selection
                assert leaves[0]["why"] == "HISTORY"
            case Trace.COMPARED:
                assert (named, fields, acts) == (subjects * 2, [shown] * 2, [("read", "ok")] * 2), selection
            case Trace.ABOUT:
                assert (named, fields, acts) == (subjects, [frozenset()], [("read", "ok")]), selection
            case Trace.TOLD:
                assert (named, set(fields), set(acts)) == (subjects, {frozenset()}, {("notify", "ok")}), selection
                assert [leaf["cnt"] for leaf in leaves if "pat" not in leaf] in ([2], [4]), selection
            case Trace.ALIKE:
                assert (set(subjects) <= set(named), set(fields)) == (True, {frozenset()}), selection
                compared = {path for name in COMPARED for path in BY_NAME[name].paths}
                assert all(set(leaf["msk"]) == compared for leaf in leaves if "pat" in leaf)
                assert (set(acts), sum("pat" not in leaf for leaf in leaves)) == ({("query", "ok")}, 1)
            case Trace.PATIENTS | Trace.FOUND:
                assert (named, set(fields)) == (subjects, {shown}), selection
                assert {outcome for _, outcome in acts} == {"ok"}
                alone = [leaf["cnt"] for leaf in leaves if "pat" not in leaf]
                assert alone == ([known.patients] if known.trace is Trace.FOUND else []), selection


@pytest.mark.parametrize("root", [root for root in ROOTS if root not in {"viewer", "_service"}])
async def test_every_root_records_a_denial(served: Client, people: People, root: str) -> None:
    """An operator may ask none of them: nothing is answered, and the attempt is on record as denied."""
    selection = next(selection for name, selection, _ in _questions() if name == root)
    query = f"query Q {{ {root}{ROOTS[root].arguments.format(**people.ids)} {{ {selection} }} }}"
    answer, leaves = await served.watched(query, Role.OPERATOR)
    assert answer.json().get("data") is None
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert leaves
    assert {leaf["out"] for leaf in leaves} == {"denied"}


# --- changes ---------------------------------------------------------------------------------------------------------


_OF_ACTION = {
    "confidential:set": Role.PRIVACY_OFFICER,
    "patient:restrict": Role.PRIVACY_OFFICER,
    "message:resolve": Role.CLINICIAN,
    "contact:attest": Role.CLINICIAN,
}
"""Who makes a change and reads everything, where an integration may not make it."""


@pytest.mark.parametrize("mutation", MUTATIONS)
async def test_every_change_records_what_it_answers(served: Client, mutation: str) -> None:
    """A change that answers everything leaves one event, of the patient, with every field it answered."""
    given: dict[str, object] = {**INPUTS[mutation]}
    if mutation != "registerPatient":
        patient_id = str((await served.house.register({**WHOLE, "identifiers": []}))["id"])
        given |= {"patientId": patient_id, "expectedVersion": 1}
        if mutation == "confirmContactVerification":
            await planted(served.house, patient_id, INPUTS[mutation]["code"])
        if mutation in ENTRIES:
            member, field = ENTRIES[mutation]
            query = f'{{ patient(id: "{patient_id}") {{ {field} {{ id }} }} }}'
            given[member] = (await served.data(query, Role.PRIVACY_OFFICER))["patient"][field][0]["id"]
    kind = mutation[0].upper() + mutation[1:] + "Input"
    query = f"mutation M($input: {kind}!) {{ {mutation}(input: $input) {{ {EVERYTHING} }} }}"
    role = _OF_ACTION.get(RIGHTS[mutation][0], Role.INTEGRATION)
    answer, [leaf] = await served.watched(query, role, variables={"input": given})
    assert "errors" not in answer.json(), answer.json()
    assert set(leaf["fld"]) == set(BY_PATH) & set(_everything())
    assert (leaf["out"], "pat" in leaf, bool(leaf["chg"])) == ("ok", True, True)


def _everything() -> Iterator[str]:
    query = build_schema().query_type
    assert query is not None
    for _, shown in _paths(query.fields["patient"].type):
        yield from shown


async def test_every_other_mutation_is_known() -> None:
    """Those that answer no profile have their own tests of what they leave; a new one has to be thought about."""
    assert set(OTHER_MUTATIONS) == {
        "erasePatient",
        "placeLegalHold",
        "liftLegalHold",
        "requestBreakGlass",
        "reviewBreakGlass",
        "startContactVerification",
        "reportDelivery",
        "recordInboundMessage",
        "mergePatients",
        "unmergePatients",
        "reviewDuplicate",
    }


# --- in bulk, past GraphQL -------------------------------------------------------------------------------------------


async def test_an_import_and_an_export(served: Client, tmp_path: Path) -> None:
    """Each patient taken in leaves an event with what was written, each one given out with all that was given."""
    org = f"bulk-{uuid4().hex[:8]}"
    given = [
        {"resourceType": "Patient", "id": str(n), "name": [{"family": "Bulk", "given": [name]}], "gender": "other"}
        for n, name in enumerate(("Kit", "Pat", "Jo"))
    ]
    file = tmp_path / "patients.ndjson"
    file.write_text("\n".join(map(json.dumps, given)))
    clerk = actor(Role.INTEGRATION, org=org)
    imports = Imports(served.house.services.store, clerk, Request("bulk-in", "command:import"))
    await imports.admit()
    await importer.run([file], imports, org=org, source="pas", region=None)
    created = [leaf for leaf in await served.house.leaves(org=org, request="bulk-in") if "pat" in leaf]
    assert [(leaf["act"], leaf["out"]) for leaf in created] == [("create", "ok")] * 3
    assert all({"names", "administrativeGender"} <= set(leaf["chg"]) for leaf in created)
    exports = Exports(served.house.services.store, clerk, Request("bulk-out", "command:export"))
    profiles = [profile async for chunk in exports.patients(chunk=2) for profile in chunk]
    given_out = await served.house.leaves(org=org, request="bulk-out")
    assert [(leaf["act"], leaf["out"]) for leaf in given_out] == [("export", "ok")] * len(profiles)
    assert sorted(leaf["pat"] for leaf in given_out) == sorted(leaf["pat"] for leaf in created)
    assert all(set(leaf["fld"]) == EXPORTED for leaf in given_out)
    assert {name for profile in profiles for name in profile} - {"id", "version"} <= {
        BY_PATH[path].name for path in EXPORTED
    }
