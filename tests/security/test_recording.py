"""No answer without a record: what the log says is what was answered, and what cannot be recorded is not answered.

The questions are made from the schema and the expectation from the answer itself, so that nobody has to remember to
record a new field.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from auth.roles import Role
from crm.audit.entry import Draft
from crm.audit.writer import LogWriter, Seal
from crm.catalogue import BY_PATH
from crm.store.database import Database
from crm.store.log import LogSink
from schema.settings import Settings
from tests.asking import EVERYTHING, READABLE, paths_of, question, whole
from tests.client import Client, client
from tests.house import OTHER_ORG, now
from tests.logs import signer
from tests.people import WHOLE

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATIENCE = 60.0
"""Seconds that a request and its record may take where only what the log leaves out is looked for."""


def told(profile: Mapping[str, Any]) -> set[str]:
    """The catalogue paths of which an answered patient shows something, or shows that there is nothing."""
    found: set[str] = set()
    for field, value in profile.items():
        if field == "culturalNeeds":
            parts = {f"{field}.{part}" for need in value or () for part in need} & BY_PATH.keys()
            found |= parts or {"culturalNeeds.id"}
        elif field in BY_PATH:
            found.add(field)
    return found


def recorded(leaves: Sequence[Mapping[str, Any]]) -> list[set[str]]:
    """The fields that each event of a patient says were answered."""
    return [set(leaf.get("fld", ())) for leaf in leaves if "pat" in leaf and leaf["out"] == "ok"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def zoe(served: Client) -> str:
    """A patient with a value in every field."""
    return str((await served.house.register(WHOLE))["id"])


async def subject(served: Client, patient_id: str) -> str:
    """The patient's name in the log."""
    _, [leaf] = await served.watched(question("id"), Role.CLINICIAN, variables={"id": patient_id})
    return str(leaf["pat"])


# --- what was answered -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", READABLE)
async def test_every_field_alone(served: Client, zoe: str, field: str) -> None:
    """The event names exactly the field that was answered, and the patient."""
    answer, [leaf] = await served.watched(question(whole(field)), Role.CLINICIAN, variables={"id": zoe})
    assert set(leaf["fld"]) == told(answer.json()["data"]["patient"]) == paths_of(field)
    assert (leaf["out"], leaf["pat"], leaf["obj"][0]["ver"]) == ("ok", await subject(served, zoe), 1)


@pytest.mark.parametrize("width", [2, 5, 11, len(READABLE)])
async def test_fields_together(served: Client, zoe: str, width: int) -> None:
    """Any run of neighbouring fields, in one query."""
    for start in range(0, len(READABLE), width):
        fields = list(islice(READABLE, start, start + width))
        query = question(" ".join(map(whole, fields)))
        answer, leaves = await served.watched(query, Role.CLINICIAN, variables={"id": zoe})
        assert recorded(leaves) == [told(answer.json()["data"]["patient"])]


async def test_nothing_but_the_id(served: Client, zoe: str) -> None:
    """Learning that a record exists, and its version, is an access too: an event without fields."""
    for selection in ("id", "version", "__typename"):
        _, [leaf] = await served.watched(question(selection), Role.CLINICIAN, variables={"id": zoe})
        assert (leaf["out"], "fld" in leaf, leaf["pat"]) == ("ok", False, await subject(served, zoe))


async def test_an_absent_value_was_looked_at(served: Client) -> None:
    """That there is no religion on record is an answer about the person."""
    patient = await served.house.register({"preferred_name": "Plain"})
    answer, [leaf] = await served.watched(question("religion"), Role.CLINICIAN, variables={"id": patient["id"]})
    assert (answer.json()["data"]["patient"], leaf["fld"]) == ({"religion": None}, ["religion"])


SHAPES: dict[str, tuple[str, list[set[str]]]] = {
    "aliases": ("{ patient(id: $id) { a: religion b: pronouns c: religion } }", [{"religion", "pronouns"}]),
    "fragments": (
        "{ patient(id: $id) { ...A } } fragment A on Patient { displayName ...B } fragment B on Patient { religion }",
        [{"displayName", "religion"}],
    ),
    "inline fragments": ("{ patient(id: $id) { ... { ... on Patient { birthDate } } } }", [{"birthDate"}]),
    "skipped": ("{ patient(id: $id) { displayName religion @skip(if: true) pronouns @include(if: false) } }",
                [{"displayName"}]),
    "included": ("{ patient(id: $id) { religion @skip(if: false) pronouns @include(if: true) } }",
                 [{"religion", "pronouns"}]),
    "a skipped fragment": (
        "{ patient(id: $id) { displayName ...A @skip(if: true) } } fragment A on Patient { religion }",
        [{"displayName"}],
    ),
    "merged selections": (
        "{ patient(id: $id) { displayName } patient(id: $id) { religion } }",
        [{"displayName", "religion"}],
    ),
    "two aliased roots": (
        "{ a: patient(id: $id) { displayName } b: patient(id: $id) { religion } }",
        [{"displayName"}, {"religion"}],
    ),
    "a batch": ("{ patients(ids: [$id, $id]) { ... on Patient { timeZone } } }", [{"timeZone"}]),
    "fragments on a union": (
        "{ patients(ids: [$id]) { ...A ... on Refusal { code } } } fragment A on Patient { timeZone religion }",
        [{"timeZone", "religion"}],
    ),
    "parts of a need": (
        "{ patient(id: $id) { culturalNeeds { handling } } }",
        [{"culturalNeeds.handling"}],
    ),
    "aliased parts of a need": (
        "{ patient(id: $id) { a: culturalNeeds { handling } b: culturalNeeds { why: kind } } }",
        [{"culturalNeeds.handling", "culturalNeeds.kind"}],
    ),
    "only typename of a need": ("{ patient(id: $id) { culturalNeeds { __typename } } }", [{"culturalNeeds.id"}]),
    "one member of an entry": ("{ patient(id: $id) { contactPoints { rank } } }", [{"contactPoints"}]),
    "beside the viewer": ("{ viewer { org } patient(id: $id) { displayName } __typename }", [{"displayName"}]),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
async def test_however_it_is_asked(served: Client, zoe: str, shape: str) -> None:
    """Aliases, fragments, directives and unions hide nothing and add nothing."""
    query, expected = SHAPES[shape]
    answer, leaves = await served.watched(f"query Q($id: ID!) {query}", Role.CLINICIAN, variables={"id": zoe})
    assert "errors" not in answer.json(), answer.json()
    assert sorted(map(sorted, recorded(leaves))) == sorted(map(sorted, expected))
    assert {leaf["pat"] for leaf in leaves} == {await subject(served, zoe)}


async def test_lists_and_edges(served: Client) -> None:
    """Every patient in a batch or on a page has an event of its own with the fields; the search has one besides."""
    family = f"Quorn{uuid4().hex[:8]}"
    values = {**WHOLE, "names": [{"family": family, "given": ["Kit"]}], "identifiers": []}
    ids = [(await served.house.register(values))["id"] for _ in range(3)]
    subjects = {await subject(served, patient_id) for patient_id in ids}
    query = f"query Q($ids: [ID!]!) {{ patients(ids: $ids) {{ ... on Patient {{ {EVERYTHING} }} }} }}"
    answer, leaves = await served.watched(query, Role.CLINICIAN, variables={"ids": [*ids, ids[0]]})
    assert {leaf["pat"] for leaf in leaves} == subjects
    assert recorded(leaves) == [told(profile) for profile in answer.json()["data"]["patients"][:3]]
    query = f"""query Q($name: String!) {{ searchPatients(by: {{fullName: $name}}, first: 2) {{
      edges {{ node {{ {EVERYTHING} }} }} }} }}"""
    answer, leaves = await served.watched(query, Role.CLINICIAN, variables={"name": f"Kit {family}"})
    nodes = [edge["node"] for edge in answer.json()["data"]["searchPatients"]["edges"]]
    assert recorded(leaves) == [told(node) for node in nodes]
    assert [leaf["pat"] for leaf in leaves[:-1]] == [await subject(served, node["id"]) for node in nodes]
    assert (leaves[-1]["cnt"], leaves[-1]["fld"]) == (2, ["names", "preferredName"])


async def test_what_a_mutation_answers(served: Client) -> None:
    """A change is an access to everything it answers; the event has what changed beside it."""
    patient = await served.house.register(WHOLE)
    query = f"""mutation M($id: ID!) {{ updatePreferences(
      input: {{patientId: $id, expectedVersion: 1, pronouns: "ze/zir"}}) {{ {EVERYTHING} }} }}"""
    answer, [leaf] = await served.watched(query, Role.CLINICIAN, variables={"id": patient["id"]})
    assert set(leaf["fld"]) == told(answer.json()["data"]["updatePreferences"])
    assert (leaf["chg"], leaf["obj"][0]["ver"]) == (["pronouns"], 2)
    query = """mutation M { registerPatient(input: {preferredName: "A"}) { religion updatedAt names { text } } }"""
    answer, [leaf] = await served.watched(query, Role.INTEGRATION)
    assert set(leaf["fld"]) == told(answer.json()["data"]["registerPatient"]) == {"religion", "updatedAt", "names"}


async def test_masked_fields(served: Client, zoe: str) -> None:
    """What a compliance officer sees masked is recorded as answered and masked."""
    query = question("displayName contactPoints { value } identifiers { value } restricted")
    answer, [leaf] = await served.watched(query, Role.COMPLIANCE_OFFICER, variables={"id": zoe})
    assert answer.json()["data"]["patient"] == {
        "displayName": "Z•••",
        "contactPoints": [{"value": "•••21"}, {"value": "•••st"}],
        "identifiers": [{"value": "•••81"}],
        "restricted": False,
    }
    assert leaf["fld"] == ["contactPoints", "displayName", "identifiers", "restricted"]
    assert leaf["msk"] == ["contactPoints", "displayName", "identifiers"]


# --- what was refused, and what failed -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({}, "missing"),
        ({"authorization": "Basic dTpw"}, "scheme"),
        ({"authorization": "Bearer a.b.c"}, "malformed"),
        ({"authorization": "Bearer " + "x" * 20_000}, "length"),
    ],
)
async def test_attempts_without_a_good_token(served: Client, header: dict[str, str], why: str) -> None:
    """They leave an event with a reason code, in the log of no organisation, and nothing of what was sent."""
    answer, [leaf] = await served.watched(question("id"), None, variables={"id": uuid4().hex}, headers=header, log="_")
    assert answer.status_code == 401
    assert (leaf["act"], leaf["out"], leaf["why"], "who" in leaf) == ("login", "denied", why, False)


async def test_a_forged_token(served: Client, zoe: str) -> None:
    """A signature that does not fit is recorded as that; the claims in it are nobody's."""
    head, claims, signature = served.token(Role.CLINICIAN, subject="mallory").split(".")
    forged = {"authorization": f"Bearer {head}.{claims}.{signature[:-8]}AAAAAAAA"}
    answer, [leaf] = await served.watched(question("religion"), None, variables={"id": zoe}, headers=forged, log="_")
    assert (answer.status_code, leaf["why"], "mallory" in str(leaf)) == (401, "signature", False)


async def test_an_unknown_purpose(served: Client, zoe: str) -> None:
    """The token was good, so the event names its holder, in the log of the organisation."""
    headers = {"x-purpose-of-use": "CURIOSITY"}
    answer, [leaf] = await served.watched(question("religion"), Role.CLINICIAN, variables={"id": zoe}, headers=headers)
    assert answer.json()["errors"][0]["extensions"]["code"] == "PURPOSE_NOT_PERMITTED"
    assert (leaf["act"], leaf["why"], leaf["who"]["sub"]) == ("login", "PURPOSE_NOT_PERMITTED", "clinician-1")
    assert "CURIOSITY" not in str(leaf)


async def test_a_denial_names_the_patient_who_was_asked_for(served: Client, zoe: str) -> None:
    """In the patient's own log it can be seen who tried; for ids that do not exist only their number is kept."""
    ids = [zoe, str(uuid4()), str(uuid4())]
    query = "query Q($ids: [ID!]!) { patients(ids: $ids) { ... on Patient { religion } } }"
    _, [named, counted] = await served.watched(query, Role.FRONT_DESK, variables={"ids": ids})
    assert (named["pat"], named["why"], named["fld"]) == (await subject(served, zoe), "FORBIDDEN_FIELD", ["religion"])
    assert (counted["cnt"], "pat" in counted) == (2, False)


async def test_a_value_that_cannot_be_written_out(served: Client) -> None:
    """What was opened is on record even where the answer then failed; the failure does not quote it."""
    odd = await served.house.store({"preferred_name": "Odd"}, raw={"interpreter_needed": "ODDITY"})
    answer, [leaf] = await served.watched(question("displayName interpreterNeeded"), variables={"id": odd})
    [error] = answer.json()["errors"]
    assert (error["extensions"]["code"], set(error["extensions"])) == ("INTERNAL_SERVER_ERROR", {"code", "incident"})
    assert "ODDITY" not in answer.text
    assert leaf["fld"] == ["displayName", "interpreterNeeded"]


async def test_every_request_of_a_day_is_in_the_log(database_url: str, tmp_path: Path) -> None:
    """A hundred requests at once, allowed and refused: each is found by its request id, as often as it must be."""
    # On a busy machine a few would be refused for want of time, and rightly have no event.
    patient = Settings(deadline=PATIENCE, body_deadline=PATIENCE)
    async with client(database_url, tmp_path, patient, deadline=PATIENCE) as it:
        ours = str((await it.house.register(WHOLE))["id"])
        theirs = str((await it.house.register(org=OTHER_ORG))["id"])
        kinds = [(ours, "displayName", "ok"), (ours, "religion", "denied"), (theirs, "displayName", "denied")]

        async def one(number: int) -> tuple[int, int, str, list[str]]:
            patient_id, field, _ = kinds[number % 3]
            clerk = f"clerk-{number % 4}"
            answer, leaves = await it.watched(question(field), variables={"id": patient_id}, subject=clerk)
            return number, answer.status_code, answer.text, [leaf["out"] for leaf in leaves]

        outcomes = await asyncio.gather(*(one(number) for number in range(100)))
        assert [each for each in outcomes if each[3] != [kinds[each[0] % 3][2]]] == []


# --- when the log cannot be written ----------------------------------------------------------------------------------


class Fault:
    """A log whose commits can be made to fail or to hang; looking for orphans goes on as ever."""

    def __init__(self) -> None:
        self.mode = "works"
        self._inner: LogSink

    def around(self, database: Database) -> "Fault":
        """The sink over a real database."""
        self._inner = LogSink(database, signer)
        return self

    async def commit(self, org: str, drafts: Sequence[Draft], seal: Seal) -> None:
        if self.mode == "fails":
            raise OSError("no space left on device")
        if self.mode == "hangs":
            await asyncio.Event().wait()
        await self._inner.commit(org, drafts, seal)

    async def orphans(self, before: int, limit: int) -> Mapping[str, Sequence[Draft]]:
        return await self._inner.orphans(before, limit)

    def stamp(self, org: str, draft: Draft) -> bytes:
        return self._inner.stamp(org, draft)


@pytest_asyncio.fixture(loop_scope="module")
async def faulty(database_url: str, tmp_path: Path) -> AsyncIterator[tuple[Client, str, Fault]]:
    """A client, a patient, and the fault in the log."""
    fault = Fault()
    async with client(database_url, tmp_path, sink=fault.around, deadline=1.0) as it:
        patient = await it.house.register(WHOLE)
        yield it, patient["id"], fault


def unanswered(answer: httpx.Response) -> None:
    """503, when to try again, and no `data` at all."""
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json().keys() == {"errors"}
    [error] = answer.json()["errors"]
    assert error["message"] == "The access log cannot be written, so nothing is answered; try again later."
    assert error["extensions"] == {"code": "AUDIT_UNAVAILABLE", "retryAfter": 1}


READS = {
    "patient": question(EVERYTHING),
    "batch": f"query Q($id: ID!) {{ patients(ids: [$id]) {{ ... on Patient {{ {EVERYTHING} }} }} }}",
    "search": 'query Q { searchPatients(by: {fullName: "Zoleka Wanjiru"}) { edges { node { displayName } } } }',
    "nobody found": 'query Q { searchPatients(by: {fullName: "No Body"}) { edges { node { displayName } } } }',
    "identifier": """query Q { patientByIdentifier(system: "urn:example:hospital-number", value: "H-7781") {
        displayName } }""",
    "beside the viewer": "query Q($id: ID!) { viewer { subject } patient(id: $id) { displayName } }",
    "an unknown patient": 'query Q { patient(id: "0199c0de-0000-7000-8000-000000000001") { id } }',
    "the log itself": "{ accessEvents { edges { node { id } } } }",
}


@pytest.mark.parametrize("mode", ["fails", "hangs"])
async def test_a_query_that_cannot_be_recorded(faulty: tuple[Client, str, Fault], mode: str) -> None:
    """Whatever is asked, by whomever: AUDIT_UNAVAILABLE; as soon as the log works again, answers come again."""
    it, patient_id, fault = faulty
    fault.mode = mode
    for query in READS.values():
        variables = {"id": patient_id} if "$id" in query else {}
        answer = await it.ask(query, Role.PRIVACY_OFFICER, variables=variables)
        unanswered(answer)
        assert "Zo" not in answer.text
    unanswered(await it.ask(question("religion"), Role.FRONT_DESK, variables={"id": patient_id}))
    unanswered(await it.ask(question("id"), None, variables={"id": patient_id}))
    fault.mode = "works"
    await eventually(it, patient_id)


async def eventually(it: Client, patient_id: str) -> None:
    """Returns when the service answers again."""
    while (await it.ask(question("id"), variables={"id": patient_id})).status_code == 503:  # noqa: ASYNC110
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["fails", "hangs"])
async def test_a_change_that_cannot_be_sequenced(faulty: tuple[Client, str, Fault], mode: str) -> None:
    """The client is told nothing; the change, its version and its event are one, and another replica logs the event."""
    it, patient_id, fault = faulty
    query = f"""mutation M($id: ID!) {{ updatePreferences(
      input: {{patientId: $id, expectedVersion: 1, pronouns: "ze/zir"}}) {{ {EVERYTHING} }} }}"""
    fault.mode = mode
    answer = await it.ask(query, Role.CLINICIAN, variables={"id": patient_id}, headers={"x-request-id": "the-change"})
    unanswered(answer)
    assert await it.house.leaves(request="the-change") == []
    # A replica whose clock runs ahead meets the event when it is old enough to be nobody's.
    replica = LogWriter(LogSink(it.house.database, signer), node="replica", clock=lambda: now() + 60_000_000)
    await replica.start()
    while not (leaves := await it.house.leaves(request="the-change")):  # noqa: ASYNC110 - it looks by itself
        await asyncio.sleep(0.02)
    await replica.stop()
    fault.mode = "works"
    await eventually(it, patient_id)
    [leaf] = leaves
    assert (leaf["act"], leaf["out"], leaf["chg"], leaf["src"]["for"].split("/")[0]) == (
        "update",
        "ok",
        ["pronouns"],
        "test",
    )
    found = await it.data(question("version pronouns"), Role.CLINICIAN, variables={"id": patient_id})
    assert found["patient"] == {"version": 2, "pronouns": "ze/zir"}
    assert len(await it.house.leaves(request="the-change")) == 1


async def test_a_refused_change_that_cannot_be_recorded(faulty: tuple[Client, str, Fault]) -> None:
    """Not even a conflict is told, and nothing is changed."""
    it, patient_id, fault = faulty
    query = """mutation M($id: ID!, $version: Int) { updatePreferences(
      input: {patientId: $id, expectedVersion: $version, pronouns: "ze/zir"}) { version } }"""
    fault.mode = "fails"
    for version in (7, None):
        unanswered(await it.ask(query, Role.CLINICIAN, variables={"id": patient_id, "version": version}))
    fault.mode = "works"
    await eventually(it, patient_id)
    found = await it.data(question("version"), Role.CLINICIAN, variables={"id": patient_id})
    assert found["patient"] == {"version": 1}
