"""Replicas that were given only some classes of keys, as real processes beside a whole one on the same database."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from auth.development import AUDIENCE, ISSUER, JWKS_FILE, DevelopmentIssuer
from auth.roles import Role
from crm.catalogue import BY_PATH, KeyClass
from crm.store.record import sources
from tests.asking import READABLE, paths_of, question, whole
from tests.conftest import Databases
from tests.durable import durable
from tests.processes import ROOT, Serving, command, done, founded, serving

ORG = "north-clinic"
MESSAGING = ("identity", "contact", "preference")
NAMELESS = ("contact", "preference")

REGISTER = "mutation Register($input: RegisterPatientInput!) { registerPatient(input: $input) { id } }"
CHANGE = """mutation Change($input: UpdatePreferencesInput!) {
  updatePreferences(input: $input) { version languages { tag } } }"""
ADD = "mutation Add($input: AddContactPointInput!) { addContactPoint(input: $input) { version } }"
CARD = "displayName deceased languages { tag } channelPreferences { purpose channels } timeZone accessibleFormats"
MANY = """query Cards($ids: [ID!]!) { patients(ids: $ids) {
  ... on Patient { id displayName languages { tag } } ... on Refusal { id code } } }"""
SEARCH = "query Search($by: PatientSearch!) { searchPatients(by: $by) { edges { node { id } } } }"
EVENTS = """query Log($filter: AccessEventFilter) { accessEvents(filter: $filter, first: 50) { edges { node {
  outcome reason action patientId fieldsReturned fieldsRefused } } } }"""
NOBODY = "0199c0de-0000-7000-8000-000000000000"


SAM: dict[str, Any] = {
    "preferredName": "Sam",
    "names": [{"use": "OFFICIAL", "family": "Okafor", "given": ["Samantha"]}],
    "birthDate": "1984-07-03",
    "pronouns": "they/them",
    "religion": "Quaker",
    "languages": [{"tag": "so", "modes": ["SPOKEN"], "rank": 1}],
    "channelPreferences": [{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS"]}],
    "contactPoints": [{"system": "PHONE", "value": "+447700900123", "use": "MOBILE", "rank": 1}],
}


@dataclass(frozen=True)
class Replicas:
    """A whole service, and two that were given a part of its keys, on one database.

    Sam has values of all classes, Ada only preferences, Kim all but preferences.
    """

    whole: Serving
    messaging: Serving
    nameless: Serving
    issuer: DevelopmentIssuer
    sam: str
    ada: str
    kim: str

    def token(self, role: Role) -> str:
        """A token of an actor of that role."""
        return self.issuer.sign(role, f"{role.value}-1", org=ORG)

    def data(self, where: Serving, role: Role, query: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer that must have no errors."""
        answer = where.ask(self.token(role), query, **variables)
        assert answer.status_code == 200, answer.text
        assert "errors" not in answer.json(), answer.text
        found: dict[str, Any] = answer.json()["data"]
        return found

    def blamed(self, where: Serving, query: str, role: Role = Role.CLINICIAN, **variables: Any) -> str | None:
        """The field that a replica blames as it refuses for want of a key: 503, and nothing of `data`."""
        answer = where.ask(self.token(role), query, **variables)
        assert (answer.status_code, answer.headers.get("retry-after")) == (503, "1"), answer.text
        assert answer.json().keys() == {"errors"}
        extensions = [error["extensions"] for error in answer.json()["errors"]]
        assert all(found["code"] == "KEY_UNAVAILABLE" and found["retryAfter"] == 1 for found in extensions)
        assert all(found.keys() <= {"code", "retryAfter", "field"} for found in extensions)
        field: str | None = extensions[0].get("field")
        return field

    def version(self, patient_id: str) -> int:
        """The version of a patient as the whole service tells it."""
        found: int = self.data(self.whole, Role.FRONT_DESK, question("version"), id=patient_id)["patient"]["version"]
        return found


@pytest.fixture(scope="module")
def replicas(shared_engine: str, databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    """The three processes; the rings of two are cut out of the first one's."""
    folder = tmp_path_factory.mktemp("replicas")
    issuer = DevelopmentIssuer(folder)
    named = {"issuer": ISSUER, "audience": AUDIENCE, "algorithms": ["EdDSA"], "jwks_file": str(folder / JWKS_FILE)}
    trust = {"issuers": json.dumps([named])}
    with ExitStack() as running:
        # What serves refuses a PostgreSQL that forgets, as the tests' own does.
        on_postgresql = shared_engine == "postgresql"
        url = running.enter_context(durable()).url if on_postgresql else databases.create("sqlite")
        first: dict[str, Any] = {**founded(folder / "whole", url), **trust}
        whole = running.enter_context(serving("serve", until="/readyz", **first))
        parts = []
        for name, uses in (("messaging", MESSAGING), ("nameless", NAMELESS)):
            done("keys", "share", *uses, "--output", folder / name / "keyring.json", **first)
            place: dict[str, Any] = {"data_dir": folder / name, "database_url": url, **trust}
            parts.append(running.enter_context(serving("serve", until="/readyz", **place)))
        clerk = issuer.sign(Role.INTEGRATION, "clerk", org=ORG)
        people = [SAM, {"languages": SAM["languages"]}, {name: SAM[name] for name in ("preferredName", "pronouns")}]
        ids = [whole.ask(clerk, REGISTER, input=one).json()["data"]["registerPatient"]["id"] for one in people]
        yield Replicas(whole, parts[0], parts[1], issuer, *ids)


def test_messaging_asks_as_ever(replicas: Replicas) -> None:
    """What the role reads is answered alike with all keys and with three classes, alone and in lists."""
    for query, variables in ((question(CARD), {"id": replicas.sam}), (MANY, {"ids": [replicas.sam, NOBODY]})):
        answers = [
            replicas.data(where, Role.MESSAGING, query, **variables) for where in (replicas.whole, replicas.messaging)
        ]
        assert answers[0] == answers[1]
    assert answers[1]["patients"][0]["displayName"] == "Sam"
    assert answers[1]["patients"][1] == {"id": NOBODY, "code": "NOT_FOUND"}
    assert replicas.messaging.get("/readyz").json()["keys"] is True


def test_what_it_lacks_is_said_at_the_start(replicas: Replicas) -> None:
    """One line in the log of a process that lacks keys, so that a slip is seen; none where all are."""
    said = "this process was given no keys for {}: fields and searches that need them answer KEY_UNAVAILABLE"
    for where, lacks in (
        (replicas.messaging, "sensitive, index"), (replicas.nameless, "identity, sensitive, index"),
    ):  # fmt: skip
        assert where.said.count(said.format(lacks)) == 1
    assert "was given no keys" not in replicas.whole.said


@pytest.mark.parametrize("field", sorted(READABLE))
def test_every_field_on_every_replica(replicas: Replicas, field: str) -> None:
    """A field of a class that is held is answered as the whole service answers it, any other one is refused by name.

    That holds for a patient who has no value there as well, and for one who does not exist: no key is never no value.
    """
    needed = {BY_PATH[path].name for path in paths_of(field)}
    classes = {row.key_class.value for row in sources(needed) if row.key_class}
    if "provenance" in needed:
        classes = {*KeyClass}
    query = question(whole(field))
    for where, uses in ((replicas.messaging, MESSAGING), (replicas.nameless, NAMELESS)):
        if classes <= set(uses):
            answers = [
                replicas.data(one, Role.PRIVACY_OFFICER, query, id=replicas.sam) for one in (replicas.whole, where)
            ]
            assert answers[0] == answers[1]
        else:
            blamed = {
                replicas.blamed(where, query, Role.PRIVACY_OFFICER, id=patient_id)
                for patient_id in (replicas.sam, replicas.ada, NOBODY)
            }
            assert len(blamed) == 1
            assert blamed <= paths_of(field)


def test_nothing_of_an_answer_that_needs_a_missing_key(replicas: Replicas) -> None:
    """One field, or one of several root fields, that needs a missing key takes the whole answer along."""
    mixed = question("displayName pronouns languages { tag }")
    assert replicas.blamed(replicas.messaging, mixed, id=replicas.sam) == "pronouns"
    roots = "query Two($id: ID!) { viewer { subject } a: patient(id: $id) { displayName } b: patient(id: $id) { %s } }"
    assert replicas.blamed(replicas.messaging, roots % "religion", id=replicas.sam) == "religion"
    many = MANY.replace("displayName", "pronouns")
    assert replicas.blamed(replicas.messaging, many, ids=[replicas.sam, replicas.ada]) == "pronouns"
    assert replicas.blamed(replicas.nameless, MANY, ids=[replicas.sam]) == "displayName"


def test_the_policy_comes_first(replicas: Replicas) -> None:
    """Who may not know a field learns nothing of which keys a replica has."""
    answers = [
        where.ask(replicas.token(Role.MESSAGING), question("religion"), id=replicas.sam)
        for where in (replicas.whole, replicas.messaging)
    ]
    assert [answer.json()["errors"][0]["extensions"]["code"] for answer in answers] == ["FORBIDDEN_FIELD"] * 2


def test_the_restriction_is_told_where_any_class_is_held(replicas: Replicas) -> None:
    """Every class vouches for it, so a replica with two classes tells it; provenance stands beside all of them."""
    for where in (replicas.messaging, replicas.nameless):
        told = replicas.data(where, Role.CLINICIAN, question("restricted recordedAt"), id=replicas.sam)
        assert told["patient"]["restricted"] is False
        assert replicas.blamed(where, question("provenance { group }"), id=replicas.sam) == "provenance"


def test_restricting_needs_all_classes(replicas: Replicas) -> None:
    """Every row vouches for the restriction, and would have to be sealed anew: refused for everybody alike."""
    place = "mutation P($input: RestrictRecordInput!) { restrictRecord(input: $input) { version } }"
    lift = "mutation L($input: LiftRestrictionInput!) { liftRestriction(input: $input) { version } }"
    for patient_id in (replicas.sam, replicas.ada, NOBODY):
        target = {"patientId": patient_id, "expectedVersion": 1}
        for query, more in ((place, {"kind": "RECORD", "basis": "LAW"}), (lift, {"restrictionId": NOBODY})):
            blamed = replicas.blamed(replicas.messaging, query, Role.PRIVACY_OFFICER, input=target | more)
            assert blamed == "restricted"


def test_searches_need_the_index_key(replicas: Replicas) -> None:
    """The whole service finds the patient; a replica without the index key says that it cannot, not that nobody is."""
    by = {"phone": "+447700900123"}
    found = replicas.data(replicas.whole, Role.FRONT_DESK, SEARCH, by=by)
    assert [edge["node"]["id"] for edge in found["searchPatients"]["edges"]] == [replicas.sam]
    assert replicas.blamed(replicas.messaging, SEARCH, Role.FRONT_DESK, by=by) is None


def test_changes_where_the_keys_suffice(replicas: Replicas) -> None:
    """Preferences can be changed without the other classes, and the whole service reads and vouches for the result.

    What is searched by, what is sealed elsewhere, and a patient's first value of a class need keys that are not here:
    nothing is changed then.
    """
    base: dict[str, Any] = {"patientId": replicas.sam, "expectedVersion": replicas.version(replicas.sam)}
    for where, tag in ((replicas.messaging, "pl"), (replicas.nameless, "sw")):
        languages = [{"tag": tag, "modes": ["SPOKEN"], "rank": 1}]
        changed = replicas.data(where, Role.FRONT_DESK, CHANGE, input={**base, "languages": languages})
        base["expectedVersion"] += 1
        assert changed["updatePreferences"] == {"version": base["expectedVersion"], "languages": [{"tag": tag}]}
    query = question("languages { tag } pronouns displayName provenance { group }")
    read = replicas.data(replicas.whole, Role.CLINICIAN, query, id=replicas.sam)["patient"]
    assert (read["languages"], read["pronouns"], read["displayName"]) == ([{"tag": "sw"}], "they/them", "Sam")

    desk, point = Role.FRONT_DESK, {"system": "EMAIL", "value": "sam@example.test"}
    for change, blamed in (({"pronouns": "she/her"}, "pronouns"), ({"preferredName": "S"}, "preferredName")):
        assert replicas.blamed(replicas.messaging, CHANGE, desk, input={**base, **change}) == blamed
    assert replicas.blamed(replicas.messaging, ADD, desk, input={**base, "contactPoint": point}) == "contactPoints"
    assert replicas.version(replicas.sam) == base["expectedVersion"]
    first = {"patientId": replicas.kim, "expectedVersion": 1, "timeZone": "Europe/London"}
    assert replicas.blamed(replicas.messaging, CHANGE, desk, input=first) is None
    assert replicas.version(replicas.kim) == 1
    assert replicas.data(replicas.whole, desk, CHANGE, input=first)["updatePreferences"]["version"] == 2


def test_refusals_are_on_record(replicas: Replicas) -> None:
    """Each refusal for want of a key is an event with the patient, the reason and the fields; nothing was returned."""
    replicas.blamed(replicas.messaging, question("displayName religion"), id=replicas.sam)
    asked = {"patientId": replicas.sam, "outcome": "ERROR"}
    found = replicas.data(replicas.whole, Role.COMPLIANCE_OFFICER, EVENTS, filter=asked)["accessEvents"]["edges"]
    newest = found[0]["node"]
    assert (newest["reason"], newest["patientId"], newest["fieldsReturned"]) == ("KEY_UNAVAILABLE", replicas.sam, [])
    assert newest["fieldsRefused"] == ["religion"]


def test_the_ring_that_is_given_away(tmp_path: Path, databases: Databases) -> None:
    """The chosen uses, the log's, no octet of the others, mode 0600; an existing file or a foreign use is refused."""
    url = databases.create("sqlite")
    place: dict[str, Any] = founded(tmp_path, url)
    output = tmp_path / "given" / "keyring.json"
    said = done("keys", "share", *MESSAGING, "--output", output, **place)
    assert str(output) in said
    assert output.stat().st_mode & 0o777 == 0o600
    keys = json.loads((tmp_path / "keyring.json").read_text())["keys"]
    given = {*MESSAGING, "log"}
    assert json.loads(output.read_text())["keys"] == [key for key in keys if key["use"] in given]
    assert not any(key["key"] in output.read_text() for key in keys if key["use"] not in given)
    before = output.read_bytes()
    for words, blamed in (((*NAMELESS, "--output", output), "exists already"), (("king", "--output", "x"), "king")):
        refused = command("keys", "share", *words, cwd=ROOT, **place)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert blamed in refused.stderr
    assert output.read_bytes() == before
    elsewhere = command("keys", "share", "contact", "--output", tmp_path / "x", key_provider="env", **place)
    assert (elsewhere.returncode, (tmp_path / "x").exists()) == (1, False)
    databases.drop(url)


def test_a_part_of_the_keys_cannot_found_a_house(tmp_path: Path, databases: Databases) -> None:
    """The first start makes the keys of every class, so a part of a ring is refused there, in one line."""
    url = databases.create("sqlite")
    done("keys", "share", *MESSAGING, "--output", tmp_path / "part" / "keyring.json", **founded(tmp_path, url))
    started = command("serve", "--port", "0", data_dir=tmp_path / "part", database_url=url)
    assert started.returncode == 1
    assert "index, sensitive" in started.stderr
    databases.drop(url)


def test_who_cannot_sign_does_not_start(tmp_path: Path, databases: Databases) -> None:
    """Without the key for the log nothing could be recorded: one line says so, on serving and on every command."""
    url = databases.create("sqlite")
    place: dict[str, Any] = founded(tmp_path, url)
    done("export", "fhir", **place)
    for words in (("serve", "--port", "0"), ("export", "fhir")):
        ended = command(*words, **place, key_uses=",".join(MESSAGING))
        assert (ended.returncode, ended.stdout) == (1, "")
        [line] = ended.stderr.splitlines()
        assert line.startswith("heed: this process was given no key for log")
        assert "add log to HEED_KEY_USES" in line
    databases.drop(url)
