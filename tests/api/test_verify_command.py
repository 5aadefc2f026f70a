"""`keys verify` as its users see it: what it prints, its exit status, and what it does without all the keys."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Databases
from tests.intruder import Intruder
from tests.keys import partial_ring
from tests.processes import command, done, founded

PEOPLE = [
    {
        "resourceType": "Patient",
        "id": f"pat-{number}",
        "identifier": [{"system": "urn:example:mrn", "value": f"MRN-{number}"}],
        "name": [{"use": "official", "family": "Quillfeather", "given": ["Samantha"]}],
        "telecom": [{"system": "phone", "value": "+447700900321"}],
        "gender": "female",
        "birthDate": "1984-07-03",
    }
    for number in range(3)
]


@pytest.fixture(scope="module")
def place(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """The settings of a place with three patients of north and one of south."""
    url, folder = databases.create("sqlite"), tmp_path_factory.mktemp("place")
    settings = founded(folder, url)
    for org, people in (("north", PEOPLE), ("south", PEOPLE[:1])):
        file = folder / f"{org}.ndjson"
        file.write_text("\n".join(json.dumps(person) for person in people))
        done("import", "fhir", file, "--org", org, **settings)
    yield settings
    databases.drop(url)


def said(ended: Any) -> dict[str, Any]:
    """The report on the last line of `keys verify --json`."""
    report: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return report


def test_all_well(place: dict[str, Any]) -> None:
    """Every organisation, or one, or a sample of it: how many records, that all is well, and status 0."""
    everything = command("keys", "verify", **place)
    assert everything.returncode == 0, everything.stderr
    lines = everything.stdout.splitlines()
    assert [line.split(" in ")[0] for line in lines] == ["north: 3 of 3 records", "south: 1 of 1 records"]
    assert all(line.endswith("all well") for line in lines)
    one = command("keys", "verify", "--org", "north", "--sample", "2", "--json", **place)
    [north] = said(one)["organisations"]
    assert (one.returncode, said(one)["sound"], north["org"], north["records"]) == (0, True, "north", 2)
    assert {(each["class"], each["epoch"], each["keys"]) for each in north["epochs"]} == {
        (name, 1, 3) for name in ("identity", "contact", "sensitive")
    }


async def test_something_wrong(place: dict[str, Any]) -> None:
    """Organisation, patient, class and code of each finding, status 4, and no value of anybody."""
    intruder = Intruder(place["database_url"])
    [[patient]] = await intruder.run("SELECT id FROM patient WHERE org = 'south'")
    before = (await intruder.row(patient, "contact"))["provenance"]
    await intruder.write(patient, "contact", provenance="{}")
    report = command("keys", "verify", "--json", **place)
    assert (report.returncode, said(report)["sound"]) == (4, False)
    assert {each["org"]: each["findings"] for each in said(report)["organisations"]} == {
        "north": [],
        "south": [{"patient": patient, "part": "contact", "code": "seal_broken", "count": 1}],
    }
    told = command("keys", "verify", **place)
    await intruder.write(patient, "contact", provenance=before)
    assert told.returncode == 4
    assert f"south: {patient} contact: seal_broken: the row seal does not fit" in told.stdout
    for output in (report.stdout, report.stderr, told.stdout, told.stderr):
        assert not any(value in output for value in ("Quillfeather", "447700", "MRN-", "1984"))


def test_without_the_keys_of_a_class(place: dict[str, Any]) -> None:
    """A process that was given some classes checks these, says which it did not, and all is well."""
    part = partial_ring(place["data_dir"] / "keyring.json", "contact", "preference", "log")
    assert part.uses() == {"contact", "preference", "log"}
    found = command("keys", "verify", "--org", "north", keyring=place["data_dir"] / "partial.json", **place)
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[1:] == [
        f"north: not checked: no key: {name}" for name in ("identity", "sensitive", "index")
    ]


def test_an_organisation_that_nobody_knows(place: dict[str, Any]) -> None:
    """A name that was mistyped is not taken for an organisation in which all is well."""
    found = command("keys", "verify", "--org", "nowhere", **place)
    assert (found.returncode, found.stdout) == (1, "")
    assert "nothing was ever recorded of an organisation nowhere" in found.stderr
