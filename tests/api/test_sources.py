"""Whose word stands where several speak of one person: what feeds may change, and what the record tells of it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from auth.purposes import Purpose
from auth.roles import Role
from auth.vocabulary import Group
from crm.audit.event import Act
from crm.domain.precedence import SourceRules
from crm.interchange import importer
from crm.services.imports import Imports
from tests.client import Client, client
from tests.house import ORG, REQUEST, actor

RULES = SourceRules(groups=MappingProxyType({Group.LEGAL_NAME: ("import:pas",), Group.BIRTH: ("import:pas",)}))
PREFER = """mutation Prefer($input: UpdatePreferencesInput!) { updatePreferences(input: $input) {
  version timeZone interpreterNeeded } }"""
ADD = "mutation Add($input: AddContactPointInput!) { addContactPoint(input: $input) { version contactPoints { id } } }"
ATTEST = """mutation Attest($input: AttestContactPointInput!) { attestContactPoint(input: $input) { version } }"""
EXPLAINED = """query Why($id: ID!) { patient(id: $id) { version timeZone contactPoints { id value } birthDate
  names { family } provenance { group source recordedBy voice rule overruled { source rule } } } }"""

Take = Callable[..., Awaitable[importer.Summary]]


TZ_CODE = "http://hl7.org/fhir/StructureDefinition/tz-code"


@dataclass(frozen=True)
class Place:
    """A service, its client, and a way to import."""

    it: Client
    take: Take

    async def patient(self) -> str:
        """The id of the one patient."""
        units = self.it.house.services.store
        async with units.reading(REQUEST.context(actor(Role.INTEGRATION)), Act.READ) as unit:
            [only] = await unit.ids("", 10)
        return only

    async def change(self, query: str, role: Role, patient_id: str, version: int, **values: Any) -> Any:
        """The raw answer to a change."""
        variables = {"input": {"patientId": patient_id, "expectedVersion": version, **values}}
        bound = patient_id if role in {Role.PATIENT, Role.PROXY} else None
        purpose = Purpose.PWATRNY if role is Role.PROXY else None
        return (await self.it.ask(query, role, variables=variables, patient=bound, purpose=purpose)).json()

    async def explained(self, patient_id: str) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
        """The record, and its provenance by group."""
        found = (await self.it.data(EXPLAINED, Role.INTEGRATION, variables={"id": patient_id}))["patient"]
        return found, {note["group"]: note for note in found["provenance"]}


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    """A house on each engine, in which the registration system speaks for names and birth dates."""
    async with client(database_url, tmp_path, sources=RULES) as it:

        async def take(*resources: dict[str, Any], source: str = "pas") -> importer.Summary:
            file = tmp_path / "in.ndjson"
            file.write_text("\n".join(map(json.dumps, resources)))
            imports = Imports(it.house.services.store, actor(Role.INTEGRATION), REQUEST)
            await imports.admit()
            return await importer.run([file], imports, org=ORG, source=source, region="GB")

        yield Place(it, take)


def ann(phone: str = "+447700900123", born: str = "1950-01-01", **more: Any) -> dict[str, Any]:
    """What the registration system says of Ann."""
    name = {"use": "official", "family": "Smith", "given": ["Ann"]}
    telecom = [{"system": "phone", "value": phone}]
    return {"resourceType": "Patient", "id": "1", "name": [name], "birthDate": born, "telecom": telecom, **more}


def zoned(zone: str) -> dict[str, Any]:
    """Ann with a time zone."""
    return ann(extension=[{"url": TZ_CODE, "valueCode": zone}])


def speaking(language: str, zone: str) -> dict[str, Any]:
    """Ann with a language and a time zone."""
    spoken = [{"language": {"coding": [{"system": "urn:ietf:bcp:47", "code": language}]}}]
    return {**zoned(zone), "communication": spoken}


@pytest.mark.parametrize("role", [Role.PATIENT, Role.FRONT_DESK])
async def test_a_feed_does_not_overwrite_a_person(place: Place, role: Role) -> None:
    """What a person said stays; that the feed says something else is remembered once, without its value."""
    await place.take(zoned("Europe/London"))
    one = await place.patient()
    assert "errors" not in await place.change(PREFER, role, one, 1, timeZone="Europe/Paris")
    summary = await place.take(zoned("Africa/Nairobi"))
    assert (summary.updated, summary.unchanged, dict(summary.kept)) == (0, 1, {"CHANNEL": 1})
    record, notes = await place.explained(one)
    assert (record["timeZone"], record["version"]) == ("Europe/Paris", 3)
    voice = "PATIENT" if role is Role.PATIENT else "STAFF"
    assert (notes["CHANNEL"]["voice"], notes["CHANNEL"]["rule"]) == (voice, "IN_PERSON")
    assert notes["CHANNEL"]["overruled"] == [{"source": "pas", "rule": "HIGHER_SOURCE"}]
    assert json.loads((await place.it.house.outbox())[-1]["changed"]) == ["provenance"]
    again = await place.take(zoned("Asia/Tokyo"))
    assert ((await place.explained(one))[0]["version"], dict(again.kept)) == (3, {"CHANNEL": 1})
    # Whoever speaks next starts anew: what was said before them says nothing of their word.
    assert "errors" not in await place.change(PREFER, role, one, 3, timeZone="Europe/Rome")
    assert (await place.explained(one))[1]["CHANNEL"]["overruled"] == []


async def test_what_is_not_taken_is_remembered_once(place: Place) -> None:
    """Also where the same file changes another group that is sealed beside it."""
    await place.take(speaking("so", "Europe/London"))
    one = await place.patient()
    assert "errors" not in await place.change(PREFER, Role.PATIENT, one, 1, timeZone="Europe/Paris")
    for language in ("pl", "ur", "cy"):
        summary = await place.take(speaking(language, "Africa/Nairobi"))
        assert (summary.updated, dict(summary.kept)) == (1, {"CHANNEL": 1})
    record, notes = await place.explained(one)
    assert (record["version"], record["timeZone"]) == (5, "Europe/Paris")
    assert notes["CHANNEL"]["overruled"] == [{"source": "pas", "rule": "HIGHER_SOURCE"}]


async def test_a_group_with_an_order_of_its_own(place: Place) -> None:
    """The registration system corrects a birth date that staff entered, because the order says so, and it is told."""
    await place.take(ann())
    one = await place.patient()
    identity = "mutation Fix($input: UpdateIdentityInput!) { updateIdentity(input: $input) { version } }"
    assert "errors" not in await place.change(identity, Role.FRONT_DESK, one, 1, birthDate="1951-01-01")
    summary = await place.take(ann(born="1952-01-01"))
    assert (summary.updated, dict(summary.kept)) == (1, {})
    record, notes = await place.explained(one)
    assert record["birthDate"] == "1952-01-01"
    assert (notes["BIRTH"]["voice"], notes["BIRTH"]["source"]) == ("SYSTEM", "pas")
    assert notes["BIRTH"]["rule"] == "HIGHER_SOURCE"


async def test_a_source_is_silent_for_itself_only(place: Place) -> None:
    """What a source leaves out it takes back where it spoke last itself, and nowhere else."""
    await place.take(zoned("Europe/London"))
    one = await place.patient()
    assert "errors" not in await place.change(PREFER, Role.INTEGRATION, one, 1, interpreterNeeded="YES")
    assert (await place.take(ann())).updated == 1
    record, notes = await place.explained(one)
    assert record["timeZone"] is None
    assert (notes["LANGUAGE"]["voice"], notes["LANGUAGE"]["rule"]) == ("SYSTEM", "ONLY_WORD")


async def test_a_program_is_told_that_it_is_overruled(place: Place) -> None:
    """Through the API a feed is refused as a whole, with the paths; the same value again is no contradiction."""
    await place.take(ann())
    one = await place.patient()
    said = {"timeZone": "Europe/Paris", "interpreterNeeded": "YES"}
    assert "errors" not in await place.change(PREFER, Role.PATIENT, one, 1, **said)
    answer = await place.change(PREFER, Role.INTEGRATION, one, 2, timeZone="UTC", interpreterNeeded="NO")
    [error] = answer["errors"]
    assert error["extensions"] == {
        "code": "SOURCE_OVERRULED", "field": "interpreterNeeded", "fields": ["interpreterNeeded", "timeZone"]
    }  # fmt: skip
    assert "errors" not in await place.change(PREFER, Role.INTEGRATION, one, 2, **said)
    record, notes = await place.explained(one)
    assert (record["timeZone"], record["version"]) == ("Europe/Paris", 2)
    assert notes["CHANNEL"]["voice"] == "PATIENT"
    leaf = next(leaf for leaf in reversed(await place.it.house.leaves()) if leaf.get("why") == "SOURCE_OVERRULED")
    assert (leaf["out"], leaf["fld"]) == ("denied", ["interpreterNeeded", "timeZone"])


async def test_nothing_is_added_to_what_the_patient_said(place: Place) -> None:
    """A contact point of a feed beside those that the patient gave would change how they are reached: it is refused."""
    await place.take(ann())
    one = await place.patient()
    point = {"system": "EMAIL", "value": "ann@example.org"}
    assert "errors" not in await place.change(ADD, Role.PATIENT, one, 1, contactPoint=point)
    other = {"system": "EMAIL", "value": "feed@example.org"}
    [error] = (await place.change(ADD, Role.INTEGRATION, one, 2, contactPoint=other))["errors"]
    assert (error["extensions"]["code"], error["extensions"]["field"]) == ("SOURCE_OVERRULED", "contactPoints")
    assert len((await place.explained(one))[0]["contactPoints"]) == 2


async def test_a_mark_takes_nobodys_word(place: Place) -> None:
    """Staff who vouch for a mailbox, and a gateway that reports a failure, leave the group to who gave it."""
    await place.take(ann())
    one = await place.patient()
    point = {"system": "EMAIL", "value": "ann@example.org"}
    assert "errors" not in await place.change(ADD, Role.PATIENT, one, 1, contactPoint=point)
    record, _ = await place.explained(one)
    mine = next(each["id"] for each in record["contactPoints"] if each["value"] == "ann@example.org")
    assert "errors" not in await place.change(ATTEST, Role.FRONT_DESK, one, 2, contactPointId=mine, verified=True)
    report = """mutation Report($input: ReportDeliveryInput!) { reportDelivery(input: $input) { version } }"""
    said = {"patientId": one, "contactPointId": mine, "delivered": False, "reason": "UNKNOWN"}
    assert (await place.it.codes(report, Role.MESSAGING, variables={"input": said})) == []
    record, notes = await place.explained(one)
    assert record["version"] == 4
    assert (notes["CONTACT"]["voice"], notes["CONTACT"]["recordedBy"]) == ("PATIENT", "patient-1")


@pytest.mark.parametrize(
    ("first", "second", "becomes"),
    [
        (Role.INTEGRATION, Role.FRONT_DESK, "STAFF"),
        (Role.FRONT_DESK, Role.PATIENT, "PATIENT"),
        (Role.PATIENT, Role.FRONT_DESK, "PATIENT"),
        (Role.PROXY, Role.PATIENT, "PATIENT"),
        (Role.PROXY, Role.FRONT_DESK, "PROXY"),
    ],
)
async def test_who_confirms_speaks(place: Place, first: Role, second: Role, becomes: str) -> None:
    """Giving the very value again makes it the word of a higher voice, and of no lower one."""
    await place.take(ann())
    one = await place.patient()
    assert "errors" not in await place.change(PREFER, first, one, 1, interpreterNeeded="YES")
    assert "errors" not in await place.change(PREFER, second, one, 2, interpreterNeeded="YES")
    _, notes = await place.explained(one)
    assert notes["LANGUAGE"]["voice"] == becomes
