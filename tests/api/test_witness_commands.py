"""`audit witness`, `audit checkpoint` and `audit renew` as their users run them: real processes over loopback."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from crm.crypto.cosignature import cosigned_at
from crm.crypto.note import open_note
from tests.conftest import Databases
from tests.processes import Serving, call, command, done, environment, founded, free_port, serving, started, wait_until

PATIENT = {"resourceType": "Patient", "id": "pat-1", "name": [{"family": "Okafor"}], "gender": "female"}


@pytest.fixture
def place(tmp_path: Path, databases: Databases) -> Iterator[dict[str, Any]]:
    """A place with a key ring, a SQLite database, and one patient."""
    url = databases.create("sqlite")
    settings = founded(tmp_path / "data", url)
    source = tmp_path / "patients.ndjson"
    source.write_text(json.dumps(PATIENT) + "\n")
    done("import", "fhir", source, **settings)
    yield settings
    databases.drop(url)


def checkpoint(place: dict[str, Any]) -> dict[str, Any]:
    """What `audit checkpoint` says of the log of `demo`."""
    found: dict[str, Any] = json.loads(done("audit", "checkpoint", "--org", "demo", "--json", **place))
    return found


@contextmanager
def witnessing(state: Path, *keys: str) -> Iterator[Serving]:
    """A witness in a process of its own, with none of Heed's settings."""
    port = free_port()
    words = [word for key in keys for word in ("--log", key)]
    listen = f"127.0.0.1:{port}"
    with started(
        call("audit", "witness", "--listen", listen, "--state", state, *words), environment(), f"http://{listen}"
    ) as it:
        yield it


def number(running: Serving, name: str) -> float | None:
    """One of the numbers at `/metrics`, of the log of `demo`."""
    found = re.search(rf'^{name}{{log="[^"]*/demo/\d+"[^}}]*}} (\S+)$', running.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else None


@pytest.mark.slow
def test_a_log_under_eyes_outside(place: dict[str, Any], tmp_path: Path) -> None:
    """Cosigned within seconds; put back to an older state it is not served, says why, and begins anew on command."""
    patient = json.loads(done("export", "fhir", **place))["id"]
    first = checkpoint(place)
    assert open_note(first["note"], first["verifier_key"]).startswith(f"heed.invalid/demo/1\n{first['size']}\n")
    assert first["witnessed"] is None
    state = tmp_path / "witness"
    key = done("audit", "witness", "--state", state, "--name", "witness.test/w1", "--show-key").strip()
    assert key.startswith("witness.test/w1+")
    backup = tmp_path / "backup"
    database = Path(str(place["database_url"]).removeprefix("sqlite:///"))
    shutil.copytree(database.parent, backup)

    with witnessing(state, first["verifier_key"]) as eyes:
        watched = {**place, "witnesses": json.dumps([{"url": eyes.address, "key": key}])}
        quick: dict[str, Any] = {"checkpoint_every": 0.2, "witness_every": 0.2}
        token = done("token", "--role", "integration", "--subject", "clerk", **place).strip()
        with serving("serve", **watched, **quick) as running:
            answer = running.ask(token, "query One($id: ID!) { patient(id: $id) { displayName } }", id=patient)
            assert answer.json()["data"]["patient"]["displayName"] == "Okafor"
            wait_until(lambda: number(running, "heed_witness_events") == number(running, "heed_log_events"), running)
            wait_until(lambda: (number(running, "heed_log_events") or 0) > first["size"], running)
            assert number(running, "heed_log_unwitnessed_seconds") is None
            assert running.stop() == 0
        seen = checkpoint(watched)
        assert seen["witnessed"]["size"] > first["size"]
        assert cosigned_at(seen["witnessed"]["note"], key)

        shutil.rmtree(database.parent)
        shutil.copytree(backup, database.parent)
        refused = command("serve", "--port", free_port(), **watched)
        words = f"ROLLBACK DETECTED: the log of demo has {first['size']} events, and the checkpoint journal"
        assert (refused.returncode, refused.stdout) == (1, "")
        assert words in refused.stderr
        assert refused.stderr.count("\n") == 1
        (Path(str(place["data_dir"])) / "checkpoints.ndjson").unlink()
        outside = command("export", "fhir", **watched)  # a single command, by the witness's word
        assert (outside.returncode, outside.stdout) == (1, "")
        assert f"has {first['size']} events, and witness witness.test/w1 knows one of" in outside.stderr

        told = done("audit", "renew", "--org", "demo", "--yes", **watched)
        assert "the log of demo goes on as heed.invalid/demo/2" in told
        assert "verifier key: heed.invalid/demo/2+" in told
        anew = checkpoint(watched)
        bundle = tmp_path / "bundle"
        done("audit", "bundle", "--out", bundle, "--org", "demo", **watched)
        keys = ["--key", anew["verifier_key"], "--key", first["verifier_key"]]
        for note, said in ((first["note"], "ALL WELL"), (seen["note"], "were kept when the log began anew")):
            (tmp_path / "earlier").write_text(note)
            program = [sys.executable, "-I", bundle / "audit-verify.py", "bundle", bundle, *keys]
            ended = subprocess.run(
                [*program, "--earlier", tmp_path / "earlier"], capture_output=True, text=True, check=False
            )
            assert (ended.returncode, said in ended.stdout) == (0, True), ended.stdout
        assert (anew["origin"], anew["size"]) == ("heed.invalid/demo/2", first["size"] + 1)
        assert eyes.get(f"/checkpoint/{'heed.invalid/demo/1'.replace('/', '%2F')}").text.splitlines()[1] > "0"


def test_what_is_refused(place: dict[str, Any], tmp_path: Path) -> None:
    """Each with one line that says what to do."""
    for words, said in (
        (("audit", "checkpoint", "--org", "nobody"), "nothing was ever recorded"),
        (("audit", "renew", "--org", "demo"), "state --yes"),
        (("audit", "renew", "--org", "demo", "--yes"), "nothing is known to be wrong with the log of demo"),
        (("audit", "witness", "--state", tmp_path / "w", "--log", "x"), "not the verifier key of a log"),
    ):
        ended = command(*words, **place)
        assert (ended.returncode, ended.stdout) == (1, ""), ended.stdout
        assert said in ended.stderr
        assert ended.stderr.count("\n") == 1
