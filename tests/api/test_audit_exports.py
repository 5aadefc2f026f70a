"""`audit bundle` and `audit export` as their users see them, and who may export what."""

import csv
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from fhir.resources.R4B.auditevent import AuditEvent

from auth.errors import Forbidden
from auth.roles import Role
from commands import bundling, log_exporting
from commands.interchange import export_fhir, import_fhir
from commands.log_exporting import Format
from crm.errors import Invalid, NotFound, Unsafe
from crm.services.log_exports import LogExports
from crm.services.request import Request
from crm.settings import Settings, load
from tests.archive import KEY
from tests.conftest import Databases
from tests.house import ORG, OTHER_ORG, House, actor, house
from tests.logs import event
from tests.offline import check
from tests.processes import command, founded

PERSON = {
    "resourceType": "Patient",
    "id": "pat-1",
    "name": [{"use": "official", "family": "Quillfeather", "given": ["Samantha"]}],
    "telecom": [{"system": "phone", "value": "+447700900321"}],
    "birthDate": "1984-07-03",
}
VALUES = ("Quillfeather", "Samantha", "447700900321", "1984-07-03")
OFFICER = {
    Role.COMPLIANCE_OFFICER: True, Role.PRIVACY_OFFICER: True, Role.FRONT_DESK: False, Role.CLINICIAN: False,
    Role.INTEGRATION: False, Role.OPERATOR: False, Role.PATIENT: False,
}  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Where a patient of north was taken in and given out once."""

    given: dict[str, Any]
    settings: Settings
    patient: str

    async def export(self, kind: Format, file: Path, proofs: Path | None = None, **question: str) -> int:
        """`audit export` in this process."""
        return await log_exporting.export(
            self.settings, file, org="north", kind=kind, question=question, proofs=proofs, quiet=True
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """A place on SQLite; what commands do there they do in this process, which is faster."""
    url, folder = databases.create("sqlite"), tmp_path_factory.mktemp("place")
    given = founded(folder, url)
    settings = load(**given)
    (folder / "people.ndjson").write_text(json.dumps(PERSON))
    await import_fhir(settings, [folder / "people.ndjson"], org="north", source="test", rejects=None, quiet=True)
    await export_fhir(settings, folder / "out.ndjson", org="north")
    yield Place(given, settings, json.loads((folder / "out.ndjson").read_text())["id"])
    databases.drop(url)


@pytest.mark.asyncio(loop_scope="module")
async def test_a_bundle(place: Place, tmp_path: Path) -> None:
    """It is checked offline with the key that was told, holds no value, and is for its owner only."""
    made = await bundling.bundle(place.settings, tmp_path / "bundle", org="north", quiet=True)
    assert (made.origin, made.first, made.witnesses) == ("heed.invalid/north/1", 0, [])
    ended = check("bundle", tmp_path / "bundle", "--key", made.key)
    assert (ended.status, f"{made.size} events" in ended.said) == (0, True)
    files = files_of(tmp_path / "bundle")
    assert len(files) == 8
    for file in files:
        assert not any(value.encode() in file.read_bytes() for value in VALUES), file
        assert file.stat().st_mode & 0o077 == 0


def test_the_commands(place: Place, tmp_path: Path) -> None:
    """What they print: how to check the bundle, and how many events were given out."""
    words = ["audit", "bundle", "--org", "north", "--out", tmp_path / "bundle"]
    made = command(*words, **place.given)
    assert made.returncode == 0, made.stderr
    [_, line] = made.stdout.splitlines()
    key = line.rpartition(" ")[2]
    assert line == f"check: python3 {tmp_path}/bundle/audit-verify.py bundle {tmp_path}/bundle --key {key}"
    assert check("bundle", tmp_path / "bundle", "--key", key).status == 0
    words = ["audit", "export", "--org", "north", "--out", tmp_path / "log.csv", "--format", "csv", "--json"]
    exported = command(*words, **place.given)
    told = json.loads(exported.stdout.splitlines()[-1])
    assert told == {"events": (tmp_path / "log.csv").read_bytes().count(b"\r\n") - 1, "file": f"{tmp_path}/log.csv"}


@pytest.mark.asyncio(loop_scope="module")
async def test_the_formats(place: Place, tmp_path: Path) -> None:
    """The same events in each; every export is in the next one, with its format and its count; no value anywhere."""
    counts = []
    for kind in Format:
        counts.append(await place.export(kind, tmp_path / kind))
        assert not any(value in (tmp_path / kind).read_text() for value in VALUES)
        assert (tmp_path / kind).stat().st_mode & 0o077 == 0
    assert counts == [counts[0], counts[0] + 1, counts[0] + 2]
    resources = [json.loads(line) for line in (tmp_path / "fhir").read_text().splitlines()]
    assert all(AuditEvent.model_validate(resource) for resource in resources)
    lines = [json.loads(line) for line in (tmp_path / "ocsf").read_text().splitlines()]
    rows = table(tmp_path / "csv")
    assert [len(each) for each in (resources, lines, rows)] == counts
    assert [int(row["number"]) for row in rows] == list(reversed(range(counts[2])))
    assert [row["id"] for row in rows[1:]] == [line["metadata"]["uid"] for line in lines]
    assert [line["metadata"]["uid"] for line in lines[1:]] == [resource["id"] for resource in resources]
    assert (rows[0]["operation"], rows[0]["count"]) == ("command:audit-export-ocsf", str(counts[1]))
    assert (rows[1]["operation"], rows[1]["count"]) == ("command:audit-export-fhir", str(counts[0]))


@pytest.mark.asyncio(loop_scope="module")
async def test_what_a_patient_is_given(place: Place, tmp_path: Path) -> None:
    """The events about one patient with a proof for each, which anybody checks with the log's key alone."""
    events = await place.export(Format.CSV, tmp_path / "p.csv", tmp_path / "proofs", patient_id=place.patient)
    rows = table(tmp_path / "p.csv")
    assert events == len(rows) > 1
    assert {row["patient"] for row in rows} == {place.patient}
    made = await bundling.bundle(place.settings, tmp_path / "bundle", org="north", quiet=True)
    for row in rows:
        ended = check("proof", tmp_path / "proofs" / f"{row['number']}.tlog-proof", "--key", made.key)
        assert (ended.status, row["id"] in ended.said) == (0, True)
    assert check("proof", tmp_path / "proofs" / f"{rows[0]['number']}.tlog-proof", "--key", KEY).status == 1


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("question", "refusal"),
    [
        ({"patient_id": "0198f0c2-7a00-7000-8000-00000000dead"}, NotFound),
        ({"from_": "yesterday"}, Invalid),
        ({"to": "2026-11-21T18:55:03"}, Invalid),
    ],
)
async def test_what_means_nothing_is_refused(
    place: Place, tmp_path: Path, question: dict[str, Any], refusal: type[Exception]
) -> None:
    """An unknown patient, and times that are none or have no offset: nothing is left of a file."""
    with pytest.raises(refusal):
        await place.export(Format.CSV, tmp_path / "log.csv", **question)
    assert files_of(tmp_path) == []


@pytest.mark.asyncio(loop_scope="module")
async def test_a_log_that_is_not_there(place: Place, tmp_path: Path) -> None:
    """Of an organisation that nobody knows there is neither bundle nor export."""
    with pytest.raises(Unsafe, match="nothing was ever recorded"):
        await bundling.bundle(place.settings, tmp_path / "bundle", org="nobody", quiet=True)
    with pytest.raises(Unsafe, match="nothing was ever recorded"):
        await log_exporting.export(
            place.settings, tmp_path / "log", org="nobody", kind=Format.CSV, question={}, quiet=True
        )
    assert files_of(tmp_path) == []


def files_of(folder: Path) -> list[Path]:
    """All files in a folder and below it."""
    return sorted(file for file in folder.rglob("*") if file.is_file())


def table(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@pytest_asyncio.fixture
async def it(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    """A house with a patient and some more events."""
    async with house(database_url, tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(("role", "may"), OFFICER.items())
async def test_who_may_export(it: House, role: Role, may: bool) -> None:
    """Officers may, of their own organisation; nobody else. Yes or no, it is one event that says so."""
    patient = await it.register()
    await it.register(org=OTHER_ORG)
    before = len(await it.leaves())
    who = actor(role, patient_id=patient["id"] if role is Role.PATIENT else None)
    exports = LogExports(it.services.store, who, Request("r-1", "command:test"))
    if may:
        begun = await exports.begin({})
        found = [each async for page in begun.pages() for each in page]
        assert [each.seq for each in found] == list(reversed(range(before)))
        assert {each.content["who"]["org"] for each in found} == {ORG}
    else:
        with pytest.raises(Forbidden):
            await exports.begin({})
    [last] = (await it.leaves())[before:]
    assert (last["act"], last["out"], last["who"]["roles"]) == ("audit.export", "ok" if may else "denied", [role.value])
    assert last.get("cnt") == (before if may else None)
    assert not await it.leaves(org=OTHER_ORG, act="audit.export")


async def test_a_patient_of_others_and_a_stretch_of_time(it: House) -> None:
    """A patient of another organisation is unknown here; times cut; a page is no limit."""
    elsewhere = await it.register(org=OTHER_ORG)
    exports = LogExports(it.services.store, actor(Role.COMPLIANCE_OFFICER), Request("r-1", "command:test"))
    await it.log.append(ORG, [event(n) for n in range(1203)])
    with pytest.raises(NotFound):
        await exports.begin({"patient_id": elsewhere["id"]})
    begun = await exports.begin({"from_": "2020-01-01T00:00:00Z"})
    pages = [len(page) async for page in begun.pages()]
    assert (sum(pages), begun.events, len(pages)) == (1204, 1204, 3)
    nothing = await exports.begin({"to": "2020-01-01T00:00:00Z"})
    assert (nothing.events, [page async for page in nothing.pages()]) == (0, [])
