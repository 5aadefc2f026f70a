"""An import run: every record ends in one of four numbers, a second run changes nothing, a killed one is run again."""

import gzip
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crm.errors import Invalid, StoreUnavailable, Unsafe
from crm.interchange.importer import CHUNK, Summary, run
from crm.interchange.rejects import Reject
from crm.services.imports import Draft
from tests.import_target import MemoryTarget

MR = {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]}


def patient(number: int, **more: Any) -> dict[str, Any]:
    """A valid Patient with an id, a record number and a name of its own."""
    identifier = {"type": MR, "system": "urn:mrn", "value": str(number)}
    return {
        "resourceType": "Patient",
        "id": f"p{number}",
        "identifier": [identifier],
        "name": [{"family": f"N{number}"}],
    } | more


def file_of(folder: Path, *resources: object, name: str = "input.ndjson") -> Path:
    """A file of NDJSON; what is already bytes is a line as it is."""
    file = folder / name
    lines = [line if isinstance(line, bytes) else json.dumps(line).encode() for line in resources]
    file.write_bytes(b"\n".join(lines) + b"\n")
    return file


async def imported(target: MemoryTarget, *files: Path, **more: Any) -> Summary:
    """The summary of one run."""
    return await run(files, target, org="north", source="pas", **more)


def four(summary: Summary) -> tuple[int, ...]:
    """Created, updated, unchanged, rejected."""
    return tuple(summary.counts().values())


async def test_every_record_is_counted_once_and_a_second_run_changes_nothing(tmp_path: Path) -> None:
    """Created and rejected at first; unchanged and rejected ever after."""
    file = file_of(tmp_path, *(patient(n) for n in range(250)), b"{", {"resourceType": "Observation"})
    target = MemoryTarget()
    first = await imported(target, file)
    assert four(first) == (250, 0, 0, 2)
    assert first.records == 252
    assert first.by_reason == {"not_json": 1, "not_a_patient": 1}
    assert target.chunks == [CHUNK, CHUNK, 50]
    assert four(await imported(target, file)) == (0, 0, 250, 2)
    assert target.chunks == [CHUNK, CHUNK, 50]


async def test_a_changed_record_is_updated(tmp_path: Path) -> None:
    """Only what changed is written again."""
    target = MemoryTarget()
    await imported(target, file_of(tmp_path, patient(1), patient(2)))
    summary = await imported(target, file_of(tmp_path, patient(1, birthDate="1990"), patient(2)))
    assert four(summary) == (0, 1, 1, 0)


async def test_a_change_in_what_is_not_taken_is_no_change(tmp_path: Path) -> None:
    """The values decide, not the bytes around them."""
    target = MemoryTarget()
    await imported(target, file_of(tmp_path, patient(1)))
    summary = await imported(target, file_of(tmp_path, patient(1, maritalStatus={"text": "x"})))
    assert four(summary) == (0, 0, 1, 0)
    assert summary.not_taken == {"maritalStatus": 1}


async def test_one_id_several_times_in_a_file(tmp_path: Path) -> None:
    """Versions of one record are applied in their order, and a second run finds the last of them stored."""
    versions = [patient(1, birthDate=str(year)) for year in (1990, 1991, 1990, 1992)]
    file = file_of(tmp_path, versions[0], patient(2), *versions[1:])
    target = MemoryTarget()
    assert four(await imported(target, file)) == (2, 3, 0, 0)
    assert {entry.values["birth_date"] for entry in target.patients.values() if "birth_date" in entry.values} == {
        "1992"
    }
    assert four(await imported(target, file)) == (0, 0, 5, 0)


async def test_the_last_occurrence_may_be_a_reject(tmp_path: Path) -> None:
    """What is refused is not waited for: a second run still changes nothing."""
    file = file_of(tmp_path, patient(1), patient(1, birthDate="1991"), patient(1, gender="x"))
    target = MemoryTarget()
    assert four(await imported(target, file)) == (1, 1, 0, 1)
    assert four(await imported(target, file)) == (0, 0, 2, 1)


async def test_an_equal_id_does_not_make_two_people_one(tmp_path: Path) -> None:
    """Both carry identifiers and share none, so the id is a coincidence; who might be either is made a third."""
    other = patient(1) | {"identifier": [{"system": "urn:mrn", "value": "999"}], "name": [{"family": "Other"}]}
    bare = {"resourceType": "Patient", "id": "p1", "name": [{"family": "Nobody knows"}]}
    file = file_of(tmp_path, patient(1), other, bare)
    target = MemoryTarget()
    await imported(target, file)
    assert len(target.patients) == 3
    assert four(await imported(target, file)) == (0, 0, 3, 0)


async def test_records_without_an_id(tmp_path: Path) -> None:
    """They are known by their primary identifier, and with neither by their content."""
    numbered = {key: value for key, value in patient(1).items() if key != "id"}
    file = file_of(tmp_path, numbered, {"resourceType": "Patient", "gender": "male"}, {"resourceType": "Patient"})
    target = MemoryTarget()
    assert four(await imported(target, file)) == (3, 0, 0, 0)
    assert four(await imported(target, file)) == (0, 0, 3, 0)
    again = file_of(tmp_path, numbered | {"birthDate": "1990"}, name="again.ndjson")
    assert four(await imported(target, again)) == (0, 1, 0, 0)


async def test_other_forms_of_the_same_records_change_nothing(tmp_path: Path) -> None:
    """Gzip, a Bundle, single files: the form is not the record."""
    people = [patient(n) for n in range(5)]
    target = MemoryTarget()
    await imported(target, file_of(tmp_path, *people))
    packed = tmp_path / "people.ndjson.gz"
    packed.write_bytes(gzip.compress(file_of(tmp_path, *people).read_bytes()))
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"resource": person} for person in people]}
    single = file_of(tmp_path, people[0], name="single.json")
    for files, count in [((packed,), 5), ((file_of(tmp_path, bundle, name="b.json"),), 5), ((single, single), 2)]:
        assert four(await imported(target, *files)) == (0, 0, count, 0)


async def test_a_killed_import_is_run_again(tmp_path: Path) -> None:
    """What was applied stays, the rest follows, and nobody is there twice."""
    file = file_of(tmp_path, *(patient(n) for n in range(250)), patient(3, birthDate="1990"))
    target = MemoryTarget()

    def die(drafts: Sequence[Draft]) -> None:
        if len(target.chunks) == 2:
            raise StoreUnavailable

    target.before_apply = die
    with pytest.raises(StoreUnavailable):
        await imported(target, file)
    assert len(target.patients) == 200
    target.before_apply = lambda drafts: None
    summary = await imported(target, file)
    assert summary.created == 50
    assert len(target.patients) == 250
    assert four(await imported(target, file)) == (0, 0, 251, 0)


async def test_somebody_else_changes_a_patient_meanwhile(tmp_path: Path) -> None:
    """A chunk that lost the race looks again; if it keeps losing, the run says so."""
    target = MemoryTarget()
    await imported(target, file_of(tmp_path, patient(1)))
    races = iter([True, False])

    def overtake(drafts: Sequence[Draft]) -> None:
        if next(races, True):
            target.patients["p0"].version += 1

    target.before_apply = overtake
    assert four(await imported(target, file_of(tmp_path, patient(1, birthDate="1990")))) == (0, 1, 0, 0)
    losing = await imported(target, file_of(tmp_path, patient(1, birthDate="1991")))
    assert (four(losing), losing.by_reason) == ((0, 0, 0, 1), {"patient_busy": 1})


async def test_one_value_that_cannot_be_stored_costs_one_record(tmp_path: Path) -> None:
    """The others of its chunk are stored all the same."""
    target = MemoryTarget()

    def refuse(drafts: Sequence[Draft]) -> None:
        if any(draft.incoming.source_id == "p3" for draft in drafts):
            raise Invalid("names", "too_large")

    target.before_apply = refuse
    summary = await imported(target, file_of(tmp_path, *(patient(n) for n in range(6))))
    assert four(summary) == (5, 0, 0, 1)
    assert summary.by_reason == {"not_storable": 1}


async def test_rejects_can_be_mended_and_tried_again(tmp_path: Path) -> None:
    """The rejects file holds each record as it stood, is private, and the reasons name no value."""
    secret = "Wilhelmina-Secret"
    bad = patient(7, gender=secret)
    latin = b'{"resourceType": "Patient", "id": "\xe9"}'
    bundle = {"resourceType": "Bundle", "entry": [{"resource": patient(8)}, {"resource": patient(9, active=secret)}]}
    file = file_of(tmp_path, patient(1), bad, latin, bundle)
    seen: list[tuple[str, int, Reject]] = []
    rejects = tmp_path / "rejects.ndjson"
    summary = await imported(
        MemoryTarget(),
        file,
        rejects=rejects,
        on_reject=lambda path, line, reject: seen.append((path.name, line, reject)),
    )
    assert four(summary) == (2, 0, 0, 3)
    lines = [json.loads(line) for line in rejects.read_bytes().splitlines()]
    assert [(line["line"], line.get("entry"), line["reason"], line["path"]) for line in lines] == [
        (2, None, "bad_code", "gender"),
        (3, None, "not_utf8", ""),
        (4, 1, "bad_type", "active"),
    ]
    assert json.loads(lines[0]["record"]) == bad
    assert lines[1]["record_base64"]
    assert json.loads(lines[2]["record"]) == patient(9, active=secret)
    assert stat.S_IMODE(rejects.stat().st_mode) == 0o600
    assert secret not in json.dumps(summary.as_json()) + repr(seen)


async def test_the_rejects_file_is_of_this_run_only(tmp_path: Path) -> None:
    """An old one does not stay behind when nothing is refused any more, and is never an input."""
    rejects = tmp_path / "rejects.ndjson"
    rejects.write_text("old")
    file = file_of(tmp_path, patient(1))
    await imported(MemoryTarget(), file, rejects=rejects)
    assert not rejects.exists()
    with pytest.raises(Unsafe):
        await imported(MemoryTarget(), file, rejects=tmp_path / "." / file.name)
    assert file.exists()


async def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    """A bar can be drawn: done and total, the last call being the whole."""
    steps: list[tuple[int, int]] = []
    file = file_of(tmp_path, *(patient(n) for n in range(230)))
    await imported(MemoryTarget(), file, progress=lambda done, total: steps.append((done, total)))
    assert [total for _, total in steps] == [230] * len(steps)
    assert sorted(steps) == steps
    assert steps[-1] == (230, 230)
