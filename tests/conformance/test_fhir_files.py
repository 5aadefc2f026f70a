"""Published FHIR files: every valid patient is understood, every invalid one refused for a reason."""

import json
from pathlib import Path
from typing import Any

import pytest

from crm.interchange.consent_in import statement_of
from crm.interchange.fhir_in import draft_of
from crm.interchange.fhir_out import patient_of, written
from crm.interchange.importer import run
from crm.interchange.reader import Record, read
from crm.interchange.rejects import Reject
from crm.services.consent_imports import Statement
from crm.services.imports import Draft
from tests.import_target import MemoryTarget, bare

FILES = (Path(__file__).resolve().parents[2] / "../shared/data/fhir").resolve()

pytestmark = pytest.mark.skipif(not FILES.is_dir(), reason=f"the published FHIR files are not at {FILES}")

# Records and accepted records of each file.
EXPECTED = {
    "consent_hl7_r4_examples": (12, 0),
    "nhs_pds": (32, 26),
    "patient_au": (20, 20),
    "patient_hl7_merge_pair": (2, 2),
    "patient_hl7_r4_examples": (51, 51),
    "patient_us_core": (4, 4),
    "relatedperson_hl7_nhs": (12, 0),
    "synthea": (600, 600),
    "validator_cases": (74, 68),
}
# Why a whole file is refused: every example of a Consent is about privacy; a RelatedPerson is no patient.
NONE_TAKEN = {
    "consent_hl7_r4_examples": ("not_about_contact", "scope"),
    "relatedperson_hl7_nhs": ("not_a_patient", "resourceType"),
}
# Why the others are refused, by file and line: read one by one against FHIR 4.0.1.
REFUSED = {
    ("nhs_pds", 24): ("bad_code", "gender"),  # a template with placeholders, as the next four
    ("nhs_pds", 25): ("bad_type", "multipleBirthInteger"),
    ("nhs_pds", 26): ("bad_code", "gender"),
    ("nhs_pds", 27): ("bad_id", "id"),
    ("nhs_pds", 28): ("bad_code", "gender"),
    ("nhs_pds", 32): ("bad_id", "id"),
    ("validator_cases", 3): ("bad_id", "id"),  # a number
    ("validator_cases", 9): ("unknown_element", ""),
    ("validator_cases", 59): ("null_element", "name[0]._given[1]"),  # null beside no value
    ("validator_cases", 60): ("bad_id", "id"),  # with a blank
    ("validator_cases", 61): ("unknown_element", ""),  # an id has no extensions
    ("validator_cases", 74): ("unknown_element", "extension[0].extension[0].extension[1].valueReference"),
}


def _records(name: str) -> list[Record]:
    return list(read(FILES / f"{name}.ndjson"))


def _draft(record: Record) -> Draft | Statement | Reject:
    if isinstance(record.content, Reject):
        return record.content
    if record.content.get("resourceType") == "Consent":
        return statement_of(record.content, org="north", source="pas")
    return draft_of(record.content, org="north", source="pas")


def _accepted(name: str) -> list[tuple[dict[str, Any], Draft]]:
    found = []
    for record in _records(name):
        draft = _draft(record)
        if isinstance(draft, Draft):
            assert isinstance(record.content, dict)
            found.append((record.content, draft))
    return found


def test_every_file_is_expected() -> None:
    """A new file is not passed over."""
    assert {file.stem for file in FILES.glob("*.ndjson")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_what_is_accepted_and_what_is_refused(name: str) -> None:
    """Record by record: accepted, or refused with the reason and the element that is wrong."""
    drafts = [(record.line, _draft(record)) for record in _records(name)]
    accepted = sum(isinstance(draft, Draft) for _, draft in drafts)
    assert (len(drafts), accepted) == EXPECTED[name]
    refused = {(name, line): (draft.reason.value, draft.path) for line, draft in drafts if isinstance(draft, Reject)}
    if EXPECTED[name][1] == 0:
        assert set(refused.values()) == {NONE_TAKEN[name]}
    else:
        assert refused == {key: value for key, value in REFUSED.items() if key[0] == name}


@pytest.mark.parametrize("name", [name for name, (_, accepted) in EXPECTED.items() if accepted])
def test_accepted_elements_come_back(name: str) -> None:
    """Names, numbers as written, addresses, dates: what was taken is given back as it came."""
    for resource, draft in _accepted(name):
        profile = {**draft.values, "restricted": draft.restricted}
        back = patient_of(profile, org="north", patient_id="x")
        for element in ("gender", "birthDate", "active", "deceasedBoolean", "deceasedDateTime"):
            assert back.get(element) == resource.get(element)
        _same_names(resource, back)
        _same_telecom(resource, back)
        _same_addresses(resource, back)
        _same_identifiers(resource, back)
        again = draft_of(back, org="north", source="pas")
        assert isinstance(again, Draft)
        assert bare(dict(again.values)) == bare(dict(draft.values))
        assert written(
            patient_of({**again.values, "restricted": again.restricted}, org="north", patient_id="x")
        ) == written(back)


def _parts(element: dict[str, Any], *keys: str) -> dict[str, Any]:
    kept = {key: element[key] for key in keys if key in element}
    if isinstance(kept.get("given"), list):
        kept["given"] = [part for part in kept["given"] if part is not None]
    if "period" in kept:
        kept["period"] = {key: kept["period"][key] for key in ("start", "end") if key in kept["period"]}
    return kept


def _same_names(resource: dict[str, Any], back: dict[str, Any]) -> None:
    keys = ("use", "text", "family", "given", "prefix", "suffix", "period")
    names = [_parts(name, *keys) for name in resource.get("name", ())]
    assert [_parts(name, *keys) for name in back.get("name", ())] == names


def _same_telecom(resource: dict[str, Any], back: dict[str, Any]) -> None:
    keys = ("system", "value", "use", "rank", "period")
    points = [_parts(point, *keys) for point in resource.get("telecom", ()) if "value" in point]
    assert [_parts(point, *keys) for point in back.get("telecom", ())] == points


def _same_addresses(resource: dict[str, Any], back: dict[str, Any]) -> None:
    keys = ("use", "type", "text", "line", "city", "district", "state", "postalCode", "country", "period")
    addresses = [_parts(address, *keys) for address in resource.get("address", ())]
    assert [_parts(address, *keys) for address in back.get("address", ())] == addresses


def _same_identifiers(resource: dict[str, Any], back: dict[str, Any]) -> None:
    keys = ("use", "system", "value", "period")
    identifiers = [_parts(entry, *keys) for entry in resource.get("identifier", ()) if "value" in entry]
    assert [_parts(entry, *keys) for entry in back.get("identifier", ())] == identifiers


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_second_import_of_a_file_changes_nothing(name: str) -> None:
    """Records that share an id, or have none, included."""
    target = MemoryTarget()
    file = FILES / f"{name}.ndjson"
    total, accepted = EXPECTED[name]
    first = await run([file], target, org="north", source="pas", region="GB")
    assert (first.records, first.rejected) == (total, total - accepted)
    second = await run([file], target, org="north", source="pas", region="GB")
    assert second.counts() == {"created": 0, "updated": 0, "unchanged": accepted, "rejected": total - accepted}


async def test_a_second_run_over_all_files_changes_nothing() -> None:
    """One store, one source: ids that mean different people in different files, and people in several files."""
    target = MemoryTarget()
    files = [FILES / f"{name}.ndjson" for name in EXPECTED]
    first = await run(files, target, org="north", source="pas")
    assert (first.records, first.rejected) == (807, 36)
    second = await run(files, target, org="north", source="pas")
    assert second.counts() == {"created": 0, "updated": 0, "unchanged": 771, "rejected": 36}


async def test_what_is_left_behind_is_told() -> None:
    """The summary counts what was not taken, for the person who has to answer for it."""
    summary = await run([FILES / "synthea.ndjson"], MemoryTarget(), org="north", source="pas")
    assert summary.not_taken["maritalStatus"] == 600
    assert summary.not_taken["extension(http://hl7.org/fhir/us/core/StructureDefinition/us-core-race)"] == 600
    assert json.dumps(summary.as_json())


def test_the_richest_nhs_record_is_read_whole() -> None:
    """Restricted marks, contact preference, interpreter, textphone: what the NHS records say that others do not."""
    taken = [draft for _, draft in _accepted("nhs_pds")]
    assert any(draft.restricted for draft in taken)
    rich = next(draft.values for draft in taken if "accessible_formats" in draft.values)
    assert rich["accessible_formats"] == ["BRAILLE"]
    assert rich["interpreter_needed"] == "YES"
    assert {"tag": "fr", "modes": [], "preferred": True} in rich["languages"]
    assert rich["instructions"] == "Preferred contact times: Not after 7pm"
    assert any(point["capabilities"] == ["TTY"] for point in rich["contact_points"])
