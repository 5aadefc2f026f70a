"""An import that is killed in the middle: run again, it ends where an undisturbed one ends, with nobody twice."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.durable import durable
from tests.processes import call, done, environment, founded, started, wait_until

COUNT = 500
CORRECTED = 50

Place = tuple[dict[str, Any], Callable[[str], int]]


def patient(number: int, family: str) -> dict[str, Any]:
    """A patient who differs from the others in everything."""
    return {
        "resourceType": "Patient",
        "id": f"p-{number}",
        "identifier": [{"system": "urn:example:mrn", "value": f"MRN-{number}"}],
        "name": [{"family": f"{family}{number}", "given": [f"Given{number}"]}],
        "telecom": [{"system": "phone", "value": f"+4477009{number:05d}"}],
    }


@pytest.fixture
def place(engine: str, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """The settings of a place in order on each engine, and a way to count rows from outside."""
    if engine == "postgresql":
        with durable() as server:
            yield founded(tmp_path / "data", server.url), server.count
        return
    url = databases.create("sqlite")

    def count(table: str) -> int:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            return int(database.execute(f"SELECT count(*) FROM {table}").fetchone()[0])

    yield founded(tmp_path / "data", url), count
    databases.drop(url)


@pytest.mark.parametrize("engine", ["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True)
def test_a_killed_import_is_run_again(place: Place, tmp_path: Path) -> None:
    """Killed twice without warning; the last run accounts for every record, and everybody is there once, corrected."""
    settings, count = place
    # The end of the file corrects its beginning, as files that grow day by day do.
    records = [patient(number, "Written") for number in range(COUNT)]
    records += [patient(number, "Corrected") for number in range(CORRECTED)]
    file = tmp_path / "in.ndjson"
    file.write_text("\n".join(map(json.dumps, records)))
    words = call("import", "fhir", file, "--json")

    for enough in (100, 300):
        with started(words, environment(**settings), "") as running:
            wait_until(lambda: count("patient") >= enough, running)  # noqa: B023 - called at once
            running.process.kill()
        assert enough <= count("patient") < COUNT

    summary = json.loads(done("import", "fhir", file, "--json", **settings).splitlines()[-1])
    assert summary["created"] + summary["updated"] + summary["unchanged"] == len(records)
    assert 0 < summary["created"] < COUNT
    assert summary["unchanged"] > 0
    assert count("patient") == count("source_record") == COUNT

    given = [json.loads(line) for line in done("export", "fhir", **settings).splitlines()]
    names = sorted(one["name"][0]["family"] for one in given)
    families = ["Corrected"] * CORRECTED + ["Written"] * (COUNT - CORRECTED)
    assert names == sorted(f"{family}{number}" for number, family in enumerate(families))
    assert len({one["id"] for one in given}) == COUNT
