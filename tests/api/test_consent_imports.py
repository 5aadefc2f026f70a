"""Consents in files, on both engines: appended to patients who are known, and only once."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from auth.roles import Role
from commands.interchange import export_fhir, import_fhir
from crm.interchange import consent_out, fhir_out, importer
from crm.services.exports import Exports
from crm.services.imports import Imports
from crm.settings import load
from tests.client import Client
from tests.conftest import Databases
from tests.house import REQUEST, House, actor
from tests.processes import founded
from tests.unit.test_fhir_consents import foreign, rule

pytestmark = pytest.mark.asyncio(loop_scope="module")

Take = Callable[..., Awaitable[dict[str, Any]]]

ANN = {"resourceType": "Patient", "id": "7", "name": [{"family": "Ahn"}], "birthDate": "1980-02-03"}


@pytest.fixture
def it(served: Client) -> House:
    """A house on each engine."""
    return served.house


@pytest.fixture
def org() -> str:
    """An organisation of its own for each test."""
    return f"org-{uuid4().hex[:8]}"


@pytest.fixture
def take(it: House, org: str, tmp_path: Path) -> Take:
    """One import of these resources, into that organisation unless another is named; the summary as JSON."""

    async def one(*resources: Any, into: str = org, source: str = "pas") -> dict[str, Any]:
        file = tmp_path / "resources.ndjson"
        file.write_text("\n".join(map(json.dumps, resources)))
        imports = Imports(it.services.store, actor(Role.INTEGRATION, org=into), REQUEST)
        await imports.admit()
        summary = await importer.run([file], imports, org=into, source=source)
        assert summary.records == len(resources)
        return summary.as_json()

    return one


async def profiles(it: House, org: str) -> list[dict[str, Any]]:
    """Everybody in an organisation."""
    exports = Exports(it.services.store, actor(Role.INTEGRATION, org=org), REQUEST)
    return [profile async for chunk in exports.patients() for profile in chunk]


def counts(summary: dict[str, Any]) -> tuple[int, ...]:
    """Created, updated, unchanged, rejected."""
    return tuple(summary[name] for name in ("created", "updated", "unchanged", "rejected"))


async def test_a_consent_before_its_patient_and_again(it: House, org: str, take: Take) -> None:
    """The order in the file does not matter; a second run changes nothing; both runs count every record once."""
    given = [
        foreign(),
        foreign(id="c2", patient={"reference": "Patient/nobody"}),
        ANN,
        rule(),
        {"resourceType": "Flag"},
    ]
    first = await take(*given)
    assert counts(first) == (1, 2, 0, 2)
    assert first["by_reason"] == {"not_a_patient": 1, "unknown_patient": 1}
    [ann] = await profiles(it, org)
    assert [(entry["seq"], entry["decision"], entry["scope"]) for entry in ann["consents"]] == [
        (1, "PERMIT", {"channel": "SMS"}),
        (2, "DENY", {}),
    ]
    assert ann["consents"][0]["effective_from"] == "2026-03-01T00:00:00.000000Z"
    assert ann["consents"][0]["capture"] == {"at": "2026-03-01T00:00:00.000000Z", "system": "pas"}
    again = await take(*given)
    assert counts(again) == (0, 0, 3, 2)
    assert await profiles(it, org) == [ann]


async def test_one_version_and_one_event_for_a_patient(it: House, org: str, take: Take) -> None:
    """Several consents of one person in a chunk are one change, recorded with the field and without a value."""
    await take(ANN)
    before = len(await it.outbox(org=org))
    await take(foreign(), rule(), foreign(id="c3", category=[{"text": "x"}]))
    [ann] = await profiles(it, org)
    assert (ann["version"], len(ann["consents"])) == (2, 2)
    assert [line["changed"] for line in await it.outbox(org=org)][before:] == ['["consents"]']
    changes = [leaf for leaf in await it.leaves(org=org) if leaf.get("chg") == ["consents"]]
    assert [(leaf["act"], leaf["out"]) for leaf in changes] == [("update", "ok")]


async def test_what_changed_is_appended(it: House, org: str, take: Take) -> None:
    """A consent with an id that was taken before, and other words, stands beside the first."""
    await take(ANN, foreign())
    assert counts(await take(foreign(policyRule={"coding": [{"code": "OPTOUT"}]}, dateTime="2026-04-01"))) == (
        0,
        1,
        0,
        0,
    )
    [ann] = await profiles(it, org)
    assert [entry["decision"] for entry in ann["consents"]] == ["PERMIT", "DENY"]


async def test_an_export_comes_home(it: House, org: str, take: Take) -> None:
    """Our own consents are known again, in the same organisation: nothing is appended, nothing refused."""
    await take(ANN, foreign(), rule())
    [ann] = await profiles(it, org)
    patient = fhir_out.patient_of(ann, org=org, patient_id=ann["id"])
    exported = [patient, *consent_out.consents_of(ann, org=org, patient_id=ann["id"])]
    assert counts(await take(*exported, source="elsewhere"))[1:] == (0, 3, 0)
    assert await profiles(it, org) == [ann]
    stranger = await take(*exported[1:], into=f"{org}-b", source="elsewhere")
    assert (counts(stranger), stranger["by_reason"]) == (
        (0, 0, 0, 2),
        {"unknown_patient": 1, "consent_not_active": 1},  # the permission was beaten: somebody else asks them anew
    )


async def test_a_forged_export_overwrites_nothing(it: House, org: str, take: Take) -> None:
    """A file that calls itself ours and says the opposite under a known id is refused, and the history stays."""
    await take(ANN, foreign())
    [ann] = await profiles(it, org)
    [forged] = consent_out.consents_of(ann, org=org, patient_id=ann["id"])
    forged["provision"]["provision"][0]["type"] = "deny"
    summary = await take(forged)
    assert (counts(summary), summary["by_reason"]) == ((0, 0, 0, 1), {"not_storable": 1})
    assert await profiles(it, org) == [ann]


async def test_a_permission_from_the_future(it: House, org: str, take: Take) -> None:
    """It would beat what is forbidden until then, and is refused alone."""
    summary = await take(ANN, foreign(provision={"period": {"start": "2099-01-01"}}), rule())
    assert (counts(summary), summary["by_reason"]) == ((1, 1, 0, 1), {"not_storable": 1})


async def test_the_commands_move_consents(databases: Databases, tmp_path: Path) -> None:
    """`export fhir` writes consents behind their patients, and `import fhir` takes the file as nothing new."""
    url, folder = databases.create("sqlite"), tmp_path / "place"
    folder.mkdir()
    place: dict[str, Any] = founded(folder, url)
    settings = load(**place)
    given, out = folder / "in.ndjson", folder / "out.ndjson"
    given.write_text("\n".join(map(json.dumps, [rule(), ANN, foreign()])))
    first = await import_fhir(settings, [given], org="north", source="pas", rejects=None, quiet=True)
    assert await export_fhir(settings, out, org="north") == 1
    kinds = [json.loads(line)["resourceType"] for line in out.read_text().splitlines()]
    again = await import_fhir(settings, [out], org="north", source="other", rejects=None, quiet=True)
    databases.drop(url)
    assert (counts(first.as_json()), kinds) == ((1, 2, 0, 0), ["Patient", "Consent", "Consent"])
    assert counts(again.as_json()) == (0, 0, 3, 0)
