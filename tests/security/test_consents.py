"""Who may record consent directives and in whose name, and that no path there is changes or removes one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLInputObjectType, get_named_type

from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.event import Act
from crm.errors import Invalid
from crm.interchange import importer
from crm.services.consents import appended_values
from crm.services.imports import Imports
from crm.services.request import Request
from schema.sdl import build_schema
from tests.asking import question, whole
from tests.client import Client
from tests.directing import HISTORY, RECORD, history, record
from tests.house import ORG, OTHER_ORG, REQUEST, actor

pytestmark = pytest.mark.asyncio(loop_scope="module")

BLIND = "mutation($input: RecordConsentInput!) { recordConsent(input: $input) { version } }"
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"


async def person(served: Client) -> str:
    """A patient with one directive, which forbids texts."""
    ada = str((await served.house.register({"preferred_name": "Ada"}))["id"])
    await record(served, ada, 1, scope={"channel": "SMS"})
    return ada


async def attempt(served: Client, patient_id: str, role: Role | None, query: str = RECORD, **more: Any) -> Any:
    """The answer and the leaves of an attempt to permit everything."""
    said = {"decision": "PERMIT", **more.pop("said", {})}
    variables = {"input": {"patientId": patient_id, "expectedVersion": more.pop("version", 2), **said}}
    return await served.watched(query, role, variables=variables, **more)


# --- who -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "purpose"),
    [
        (Role.MESSAGING, None),
        (Role.COMPLIANCE_OFFICER, None),
        (Role.PRIVACY_OFFICER, None),
        (Role.OPERATOR, None),
        (Role.CLINICIAN, Purpose.ETREAT),
        (Role.CLINICIAN, Purpose.BTG),
        (Role.PROXY, Purpose.FAMRQT),
        (Role.PROXY, Purpose.SUPNWK),
    ],
)
async def test_who_may_not(served: Client, role: Role, purpose: Purpose | None) -> None:
    """Refused before any row is read: nothing stored, nothing announced, and recorded as denied."""
    ada = await person(served)
    before, waiting = await history(served, ada), len(await served.house.outbox())
    bound = ada if role is Role.PROXY else None
    answer, [leaf] = await attempt(served, ada, role, BLIND, purpose=purpose, patient=bound)
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN"
    assert (leaf["act"], leaf["out"], leaf["why"]) == ("update", "denied", "FORBIDDEN")
    assert "PERMIT" not in answer.text
    assert (await history(served, ada), len(await served.house.outbox())) == (before, waiting)


async def test_nobody(served: Client) -> None:
    """Without a token: 401, nothing stored, and the attempt in the log of nobody."""
    ada = await person(served)
    before = await history(served, ada)
    answer, [leaf] = await attempt(served, ada, None, log="_")
    assert (answer.status_code, leaf["out"]) == (401, "denied")
    assert await history(served, ada) == before


@pytest.mark.parametrize("role", [Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR, Role.INTEGRATION])
async def test_staff_of_another_organisation(served: Client, role: Role) -> None:
    """A record of others answers as one that is not there."""
    ada = await person(served)
    before = await history(served, ada)
    told = set()
    for target in (ada, UNKNOWN):
        answer, [leaf] = await attempt(served, target, role, org=OTHER_ORG, log=OTHER_ORG)
        assert (leaf["out"], leaf["why"]) == ("denied", "NOT_FOUND")
        told.add(answer.content)
    assert len(told) == 1
    assert await history(served, ada) == before


@pytest.mark.parametrize("role", [Role.FRONT_DESK, Role.CLINICIAN, Role.CARE_COORDINATOR, Role.PATIENT])
async def test_who_may(served: Client, role: Role) -> None:
    """They append, and read what is there; the token says who it was."""
    ada = await person(served)
    answered = await record(served, ada, 2, "PERMIT", role=role)
    assert [entry["decision"] for entry in answered["consents"]] == ["DENY", "PERMIT"]
    assert answered["consents"][1]["capture"]["by"] == f"{role.value}-1"


async def test_another_patient(served: Client) -> None:
    """A patient records nothing in the name of somebody else, and does not learn that there is one."""
    ada, eve = await person(served), await person(served)
    before = await history(served, ada)
    answer, [leaf] = await attempt(served, ada, Role.PATIENT, patient=eve)
    assert (answer.json()["errors"][0]["extensions"]["code"], leaf["out"]) == ("NOT_FOUND", "denied")
    assert await history(served, ada) == before


async def test_an_attorney_appends_without_reading(served: Client) -> None:
    """A proxy with power of attorney forbids in their own right, and is shown neither their directive nor others."""
    ada = await person(served)
    who: dict[str, Any] = {"purpose": Purpose.PWATRNY, "patient": ada}
    before = await history(served, ada)
    answer, [leaf] = await attempt(served, ada, Role.PROXY, RECORD, **who)
    assert answer.json()["errors"][0]["extensions"]["code"] == "FORBIDDEN_FIELD"
    assert leaf["out"] == "denied"
    assert "SMS" not in answer.text
    assert await history(served, ada) == before
    answer, [leaf] = await attempt(served, ada, Role.PROXY, BLIND, said={"decision": "DENY"}, **who)
    assert answer.json() == {"data": {"recordConsent": {"version": 3}}}
    assert (leaf["out"], leaf["chg"]) == ("ok", ["consents"])
    [first, second] = await history(served, ada)
    assert [first] == before
    assert (second["decision"], second["giver"]["role"]) == ("DENY", "LASTING_POWER_OF_ATTORNEY")
    read, [leaf] = await served.watched(question(HISTORY), Role.PROXY, variables={"id": ada}, **who)
    assert (read.json()["errors"][0]["extensions"]["code"], leaf["out"]) == ("FORBIDDEN_FIELD", "denied")


@pytest.mark.parametrize(
    ("role", "purpose", "giver"),
    [
        (Role.PROXY, Purpose.PWATRNY, {"role": "PATIENT"}),
        (Role.PATIENT, None, {"role": "GUARDIAN"}),
        (Role.PATIENT, None, {"relatedPersonId": "mo"}),
    ],
)
async def test_nobody_speaks_in_the_name_of_another(
    served: Client, role: Role, purpose: Purpose | None, giver: dict[str, str]
) -> None:
    """A proxy is not the patient, and the patient nobody's guardian."""
    ada = await person(served)
    before = await history(served, ada)
    answer, [leaf] = await attempt(served, ada, role, BLIND, purpose=purpose, patient=ada, said={"giver": giver})
    assert answer.json()["errors"][0]["extensions"]["rule"] == "not_your_right"
    assert leaf["out"] == "denied"
    assert await history(served, ada) == before


async def test_evidence_is_not_for_the_client_to_claim(served: Client) -> None:
    """Who entered a directive, where, its number and its deadline have no place in the input."""
    kinds = build_schema().type_map
    names = {
        name
        for kind in ("RecordConsentInput", "ConsentCaptureInput", "ConsentScopeInput", "ConsentGiverInput")
        for name in _input(kinds[kind]).fields
    }
    assert not names & {"id", "seq", "by", "system", "messageId", "honourBy", "consents"}


async def test_an_erased_patient(served: Client) -> None:
    """Nothing is appended to what was erased."""
    ada = await person(served)
    erase = """mutation($id: ID!) { erasePatient(input: {patientId: $id, expectedVersion: 2, reason: UNLAWFUL})
      { wholeRecord: reason } }"""
    await served.data(erase, Role.PRIVACY_OFFICER, variables={"id": ada})
    answer, [leaf] = await attempt(served, ada, Role.FRONT_DESK, version=3)
    assert (answer.json()["errors"][0]["extensions"]["code"], leaf["out"]) == ("ERASED", "denied")


# --- append only -----------------------------------------------------------------------------------------------------


def _input(kind: Any) -> GraphQLInputObjectType:
    assert isinstance(kind, GraphQLInputObjectType)
    return kind


async def test_no_input_replaces_directives() -> None:
    """Of all that can be submitted anywhere, nothing is called `consents`, and one mutation takes a decision."""
    schema = build_schema()
    inputs = [kind for kind in schema.type_map.values() if isinstance(kind, GraphQLInputObjectType)]
    assert not [kind.name for kind in inputs if {"consents", "directives"} & kind.fields.keys()]
    assert schema.mutation_type is not None
    taken = {name: _input(get_named_type(one.args["input"].type)) for name, one in schema.mutation_type.fields.items()}
    assert [name for name, kind in taken.items() if "decision" in kind.fields] == ["recordConsent"]


def _shorter(stored: list[dict[str, Any]]) -> Any:
    return stored[:-1]


def _altered(stored: list[dict[str, Any]]) -> Any:
    return [{**stored[0], "decision": "PERMIT"}, *stored[1:]]


def _turned(stored: list[dict[str, Any]]) -> Any:
    return stored[::-1]


def _put_before(stored: list[dict[str, Any]]) -> Any:
    return [{**stored[0], "id": "other"}, *stored]


@pytest.mark.parametrize("edit", [_shorter, _altered, _turned, _put_before, lambda _: [], lambda _: None])
async def test_the_store_refuses_to_change_or_remove(
    served: Client, edit: Callable[[list[dict[str, Any]]], Any]
) -> None:
    """Whatever room of the service asks for it: the change fails as a whole, and is recorded as a failure."""
    ada = await person(served)
    await record(served, ada, 2, scope={"channel": "VOICE"})
    before = await history(served, ada)
    with pytest.raises(ValueError, match="consents is only appended to"):
        await _edited(served, ada, edit)
    assert await history(served, ada) == before
    [leaf] = await served.house.leaves(request=f"edit-{ada}")
    assert leaf["out"] == "error"


async def _edited(served: Client, patient_id: str, edit: Callable[[list[dict[str, Any]]], Any]) -> None:
    """What a room would do that changes the directives of a record it has locked."""
    context = Request(f"edit-{patient_id}", "Test").context(actor(Role.INTEGRATION))
    async with served.house.services.store.writing(context, Act.UPDATE, [patient_id]) as unit:
        [found] = (await unit.load_for_change([patient_id])).values()
        stored = unit.current(found, ["consents"])["consents"]
        unit.change(found, {"consents": edit(stored), "instructions": "No."}, "test")


@pytest.mark.parametrize("submitted", [None, [], [{"decision": "PERMIT"}]])
async def test_the_update_of_a_profile_refuses_the_field(served: Client, submitted: Any) -> None:
    """Past GraphQL as well: the use case that replaces fields does not take this one."""
    ada = await person(served)
    before = await history(served, ada)
    with pytest.raises(Invalid) as refused:
        await served.house.services.changes.update(
            actor(Role.INTEGRATION), REQUEST, ada, 2, {"consents": submitted}, frozenset()
        )
    assert (refused.value.field, refused.value.rule) == ("input.consents", "append_only")
    assert await history(served, ada) == before


async def test_an_import_leaves_directives_alone(served: Client, tmp_path: Path) -> None:
    """Not even the source that brought the record, and last filled its field group, clears what it is silent about."""
    file = tmp_path / "patient.ndjson"

    async def bring(family: str) -> None:
        one = {"resourceType": "Patient", "id": "consent-import", "name": [{"family": family}]}
        file.write_text(json.dumps({**one, "identifier": [{"system": "urn:example:consents", "value": "C-9"}]}))
        imports = Imports(served.house.services.store, actor(Role.INTEGRATION), REQUEST)
        await imports.admit()
        summary = await importer.run([file], imports, org=ORG, source="pas")
        assert summary.rejected == 0

    await bring("First")
    find = f'query Q {{ patientByIdentifier(system: "urn:example:consents", value: "C-9") {{ id {HISTORY} }} }}'
    ada = str((await served.data(find, Role.INTEGRATION))["patientByIdentifier"]["id"])
    context = REQUEST.context(actor(Role.INTEGRATION))
    async with served.house.services.store.writing(context, Act.IMPORT, [ada]) as unit:
        [found] = (await unit.load_for_change([ada])).values()
        unit.change(found, appended_values(unit, found, [{"decision": "DENY"}]), "pas")
    before = await history(served, ada)
    assert len(before) == 1
    await bring("Second")
    names = (await served.data(question(whole("names")), Role.INTEGRATION, variables={"id": ada}))["patient"]["names"]
    assert [name["family"] for name in names] == ["Second"]
    assert await history(served, ada) == before
