"""Rotations that are killed without warning at random moments: run again they end well, and no data key is lost."""

import json
import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Databases
from tests.durable import durable
from tests.processes import call, command, done, environment, founded, started, wait_until
from tests.reliability.test_rotation_under_load import ORG, patient

STORED = 1_500
KILLS = 20
UNFINISHED = "state = 'pending' OR (state = 'retiring' AND drained_at IS NULL)"

Place = tuple[dict[str, Any], Callable[[str, str], int]]


@pytest.fixture
def place(engine: str, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """A place with patients on each engine, and a way to count rows from outside."""
    if engine == "postgresql":
        with durable() as server:
            yield _filled(tmp_path, server.url), server.count
        return
    url = databases.create("sqlite")

    def count(table: str, where: str) -> int:
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as database:
            return int(database.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0])

    yield _filled(tmp_path, url), count
    databases.drop(url)


def _filled(folder: Path, url: str) -> dict[str, Any]:
    # A killed command is waited for until it counts as gone, which is soon here.
    settings = {**founded(folder / "data", url), "keys_refresh": 0.2, "keys_max_age": 1}
    file = folder / "in.ndjson"
    file.write_text("\n".join(json.dumps(patient(number)) for number in range(STORED)))
    done("import", "fhir", file, "--org", ORG, **settings)
    return settings


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_e27_killed_twenty_times(place: Place) -> None:
    """After each kill everything opens and is found; in the end each key was rotated, and all counts are the same."""
    settings, count = place
    keys, values = count("patient_key", "state = 'live'"), count("blind_index", "true")
    assert keys >= 2 * STORED
    chance = random.Random(27)
    halves = 0
    for number in range(KILLS):
        kind = ("data", "wrap", "root", "index")[number % 4]
        with started(call("keys", "rotate", kind, "--json"), environment(**settings), "") as running:
            if number % 2 and not count("crypto_key", UNFINISHED):
                wait_until(lambda: count("crypto_key", UNFINISHED) or running.process.poll() is not None)
                time.sleep(chance.uniform(0.0, 1.0))
            else:
                time.sleep(chance.uniform(0.6, 5.0))
            running.process.send_signal(signal.SIGKILL)
        assert count("patient_key", "state = 'live'") == keys
        assert count("patient_key", "state = 'live' AND wrapped IS NULL") == 0
        halves += count("crypto_key", UNFINISHED)
        report = json.loads(done("keys", "verify", "--json", **settings).splitlines()[-1])
        assert report["sound"], (number, kind, report)
    assert halves, "no kill came in the middle"

    for kind in ("wrap", "index", "root"):
        done("keys", "rotate", kind, "--json", **settings)
    status = json.loads(done("keys", "status", "--json", **settings))
    assert {key["state"] for key in status["keys"]} == {"active", "retiring"}
    old = [key for key in status["keys"] if key["state"] == "retiring"]
    assert all(key["drained_at"] and not key["references"] for key in old)
    assert count("patient_key", "state = 'live'") == keys
    assert count("blind_index", "true") == values
    assert command("keys", "destroy", "--now", "--yes", **settings).returncode == 0
    report = json.loads(done("keys", "verify", "--json", **settings).splitlines()[-1])
    assert report["sound"], report
    assert len(done("export", "fhir", "--org", ORG, **settings).splitlines()) == STORED
