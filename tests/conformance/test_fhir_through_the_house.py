"""Published FHIR files through the whole house, on both engines: counted, read back equal, and given out again."""

import json
from collections.abc import AsyncIterator, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from auth.actor import Actor
from auth.roles import Role
from crm.interchange import fhir_in, fhir_out, importer, reader
from crm.interchange.importer import Summary
from crm.services.exports import Exports
from crm.services.imports import Draft, Imports
from crm.services.request import Request
from tests.house import House, actor, house

# Records and refused records of each file; tests/conformance/test_fhir_files.py says which are refused and why.
FILES = {
    "consent_hl7_r4_examples": (12, 12),
    "nhs_pds": (32, 6),
    "patient_au": (20, 0),
    "patient_hl7_merge_pair": (2, 0),
    "patient_hl7_r4_examples": (51, 0),
    "patient_us_core": (4, 0),
    "relatedperson_hl7_nhs": (12, 12),
    "synthea": (600, 0),
    "validator_cases": (74, 6),
}
SMALL = [name for name in FILES if name != "synthea"]
SOURCE = "pas"
REQUEST = Request("run-1", "command:import")

ADDED = {"id", "verified", "verification", "undeliverable"}
"""Members of a list entry that the house adds to what came in."""


def clerk(org: str) -> Actor:
    """The system actor of imports and exports in one organisation."""
    return actor(Role.INTEGRATION, org=org)


@pytest.fixture
async def it(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house on each engine."""
    async with house(database_url, tmp_path) as opened:
        yield opened


async def take(it: House, files: Iterable[Path], org: str) -> Summary:
    """One import run."""
    imports = Imports(it.services.store, clerk(org), REQUEST)
    await imports.admit()
    summary = await importer.run(list(files), imports, org=org, source=SOURCE, region="GB")
    await imports.finished(summary.counts())
    return summary


async def give(it: House, org: str) -> list[bytes]:
    """One export: the lines of the file."""
    exports = Exports(it.services.store, clerk(org), REQUEST)
    return [
        fhir_out.written(fhir_out.patient_of(profile, org=org, patient_id=profile["id"]))
        async for chunk in exports.patients()
        for profile in chunk
    ]


def drafts(file: Path, org: str) -> list[Draft]:
    """What the accepted records of a file say."""
    records = [record.content for record in reader.read(file) if isinstance(record.content, dict)]
    read = [fhir_in.draft_of(content, org=org, source=SOURCE, region="GB") for content in records]
    return [draft for draft in read if isinstance(draft, Draft)]


def bare(value: Any) -> Any:
    """A value without what the house adds to list entries."""
    if not isinstance(value, list):
        return value
    return [
        {key: part for key, part in entry.items() if key not in ADDED} if isinstance(entry, dict) else entry
        for entry in value
    ]


async def assert_reads_back(it: House, file: Path, org: str) -> int:
    """Every accepted field of each patient, by id, is what the last record about them said; returns their number."""
    imports = Imports(it.services.store, clerk(org), REQUEST)
    said = drafts(file, org)
    known = await imports.known([draft.incoming for draft in said])
    last = {entry.patient_id: draft for draft, entry in zip(said, known, strict=True) if entry}
    assert len(last) == len({entry.patient_id for entry in known if entry})
    # A bare record whose id several people bear is about nobody in particular, once its run is over.
    assert all(entry or not draft.incoming.identifiers for draft, entry in zip(said, known, strict=True))
    for patient_id, draft in last.items():
        profile = await Exports(it.services.store, clerk(org), REQUEST).patient(patient_id)
        for name, value in draft.values.items():
            assert bare(profile.get(name)) == bare(value), (file.name, name)
        assert bool(profile.get("restricted")) is draft.restricted
    return len(last)


@pytest.mark.parametrize("name", SMALL)
async def test_a_file(name: str, it: House, shared_data: Path, tmp_path: Path) -> None:
    """Each record is in exactly one number; again, nothing changes; all fields are there; out and in is stable."""
    await whole_way(it, shared_data / "fhir" / f"{name}.ndjson", tmp_path, *FILES[name])


async def test_the_first_of_synthea(it: House, shared_data: Path, tmp_path: Path) -> None:
    """The same for as many generated records as make more than one transaction."""
    with (shared_data / "fhir" / "synthea.ndjson").open("rb") as lines:
        (tmp_path / "some.ndjson").write_bytes(b"".join(islice(lines, 120)))
    await whole_way(it, tmp_path / "some.ndjson", tmp_path, 120, 0)


@pytest.mark.slow
async def test_all_of_synthea(it: House, shared_data: Path, tmp_path: Path) -> None:
    """The same for all of them."""
    await whole_way(it, shared_data / "fhir" / "synthea.ndjson", tmp_path, *FILES["synthea"])


async def test_all_small_files_into_one_organisation(it: House, shared_data: Path) -> None:
    """One run over all, where an id means other people in other files: each is counted once, again nothing changes."""
    files = [shared_data / "fhir" / f"{name}.ndjson" for name in SMALL]
    records, refused = (sum(FILES[name][at] for name in SMALL) for at in (0, 1))
    first = await take(it, files, "north")
    assert (first.records, first.rejected) == (records, refused)
    assert len(await give(it, "north")) == first.created
    again = await take(it, files, "north")
    assert again.counts() == {"created": 0, "updated": 0, "unchanged": records - refused, "rejected": refused}


def test_every_file_is_expected(shared_data: Path) -> None:
    """A new file is not passed over."""
    assert {file.stem for file in (shared_data / "fhir").glob("*.ndjson")} == set(FILES)


async def whole_way(it: House, file: Path, folder: Path, records: int, refused: int) -> None:
    """In, in again, read back, out, into another organisation, out again."""
    first = await take(it, [file], "north")
    assert (first.records, first.rejected) == (records, refused)
    assert sum(first.by_reason.values()) == refused
    again = await take(it, [file], "north")
    assert again.counts() == {"created": 0, "updated": 0, "unchanged": records - refused, "rejected": refused}
    assert await assert_reads_back(it, file, "north") == first.created

    out = await give(it, "north")
    assert len(out) == first.created
    copy = folder / "copy.ndjson"
    copy.write_bytes(b"".join(out))
    taken = await take(it, [copy], "north")
    assert taken.counts() == {"created": 0, "updated": 0, "unchanged": len(out), "rejected": 0}
    assert await give(it, "north") == out

    elsewhere = await take(it, [copy], "south")
    assert (elsewhere.created, elsewhere.rejected) == (len(out), 0)
    assert sorted(map(without_ours, await give(it, "south"))) == sorted(map(without_ours, out))


def without_ours(line: bytes) -> str:
    """An exported Patient without the id and the source that name the organisation that wrote it."""
    resource = json.loads(line)
    resource.pop("id")
    resource["meta"].pop("source")
    return json.dumps(resource, sort_keys=True)
