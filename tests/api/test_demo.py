"""The demo as a newcomer meets it: started, read, pasted from, stopped, started again, begun anew."""

import json
import re
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from tests.processes import Serving, call, command, environment, free_port, started, wait_until


@contextmanager
def demo(folder: Path, *more: str, **settings: object) -> Iterator[Serving]:
    """A demo of a few patients whose page is printed; the environment is that of somebody with a real service."""
    port = free_port()
    env = environment(database_url="postgresql://db.test/real", keyring="/real/keyring.json", **settings)
    words = call("demo", "--port", port, "--data", folder, "--patients", 12, *more)
    with started(words, env, f"http://127.0.0.1:{port}") as running:
        wait_until(lambda: "Ctrl-C stops.\n" in running.stdout, running)
        yield running


def count(folder: Path) -> int:
    """The number of stored patients."""
    with closing(sqlite3.connect(folder / "heed.db")) as database:
        found: int = database.execute("SELECT count(*) FROM patient").fetchone()[0]
        return found


def test_the_first_day(tmp_path: Path) -> None:
    """The page and its commands work; Ctrl-C ends it; a second start finds the same patients, a reset does not."""
    folder = tmp_path / "demo"
    with demo(folder) as it:
        # Whatever is printed works at the moment when it is printed.
        assert it.get("/readyz").status_code == 200
        page = "".join(it.stdout)
        assert page.replace("\n", "").isprintable()
        tokens = json.loads((folder / "tokens.json").read_text())
        assert set(tokens) == set(Role)
        for role, token in tokens.items():
            assert f"\n{role}: {token}\n" in page
        assert [path.stat().st_mode & 0o077 for path in folder.iterdir() if path.name != "heed-demo"].count(0) >= 5
        assert (folder / "tokens.json").stat().st_mode & 0o777 == 0o600
        for address in re.findall(r"http://\S+", page.partition("curl")[0]):
            assert it.get(address.removeprefix(it.address)).status_code in {200, 400, 401, 405, 406}

        sam, owner, reminder, looks = [pasted(line) for line in it.stdout if line.startswith("curl ")]
        assert sam["patient"]["displayName"] == "Sam"
        assert [edge["node"]["displayName"] for edge in owner["searchPatients"]["edges"]] == ["Sam"]
        assert reminder["contactDecision"]["outcome"] in {"ALLOW", "DEFER"}  # Sam takes messages in the evening
        assert "demo-front-desk" in {edge["node"]["actor"]["subject"] for edge in looks["accessEvents"]["edges"]}

        legal = "query($id: ID!) { patient(id: $id) { legalName { given family } } }"
        identity = owner["searchPatients"]["edges"][0]["node"]["id"]
        name = it.ask(tokens["front_desk"], legal, id=identity).json()["data"]["patient"]["legalName"]
        assert name == {"given": ["Samantha"], "family": "Okafor"}
        assert it.stop(signal.SIGINT) == 0
    assert it.stdout[-1] == "stopped\n"
    assert it.stderr == []
    assert count(folder) == 12

    with demo(folder) as it:
        again = [pasted(line) for line in it.stdout if line.startswith("curl ")][1]
        assert again["searchPatients"]["edges"][0]["node"]["id"] == identity
        assert it.stop(signal.SIGTERM) == 0
    assert it.stderr == []
    assert count(folder) == 12

    with demo(folder, "--reset") as it:
        anew = [pasted(line) for line in it.stdout if line.startswith("curl ")][1]
        assert anew["searchPatients"]["edges"][0]["node"]["id"] != identity
        assert it.ask(tokens["front_desk"], "{ viewer { subject } }").status_code == 401
    assert count(folder) == 12


def test_a_policy_of_ones_own(tmp_path: Path) -> None:
    """The policy of contact that is set counts, what is printed works with it, and a broken one stops the start."""
    policy = tmp_path / "policy.toml"
    policy.write_text('[senders.ours]\nchannels = ["EMAIL"]\n')
    ask = """query($id: ID!, $sender: String) {
      contactDecision(patientId: $id, purpose: ADMIN_NOTICE, sender: $sender) { outcome } }"""
    with demo(tmp_path / "demo", contact_policy=policy) as it:
        _, owner, reminder, _ = [pasted(line) for line in it.stdout if line.startswith("curl ")]
        assert reminder["contactDecision"]["outcome"] in {"ALLOW", "DEFER"}
        token = json.loads((tmp_path / "demo" / "tokens.json").read_text())["messaging"]
        sam = owner["searchPatients"]["edges"][0]["node"]["id"]
        ours = it.ask(token, ask, id=sam, sender="ours").json()
        assert "errors" not in ours
        theirs = it.ask(token, ask, id=sam, sender="mails").json()
        assert theirs["errors"][0]["extensions"]["rule"] == "unknown_sender"
    policy.write_text('revoke_scope = "SOME"\n')
    ended = command("demo", "--port", free_port(), "--data", tmp_path / "other", contact_policy=policy)
    assert (ended.returncode, ended.stderr.startswith("heed: HEED_CONTACT_POLICY: ")) == (1, True)
    assert not (tmp_path / "other").exists()


def pasted(line: str) -> dict[str, Any]:
    """The data that a printed command gets when it is pasted into a shell."""
    ended = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=60)
    answer = json.loads(ended.stdout)
    assert "errors" not in answer, answer
    data: dict[str, Any] = answer["data"]
    return data


@pytest.mark.parametrize("more", [(), ("--reset",)], ids=["start", "reset"])
def test_a_folder_of_somebody_else(more: tuple[str, ...], tmp_path: Path) -> None:
    """A folder with anything that the demo did not make is neither used nor removed."""
    (tmp_path / "thesis.txt").write_text("years of work")
    ended = command("demo", "--port", free_port(), "--data", tmp_path, *more)
    assert ended.returncode == 1
    assert ended.stderr == (
        f"heed: {tmp_path} holds something that the demo did not make: name an empty or new folder with --data\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    """One line before anything is made."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ended = command("demo", "--port", listener.getsockname()[1], "--data", tmp_path / "demo")
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(
        r"heed: cannot listen on 127\.0\.0\.1 port \d+: Address already in use; .*--port\n", ended.stderr
    )
    assert not (tmp_path / "demo").exists()


def test_not_where_the_environment_says_production(tmp_path: Path) -> None:
    """In production the demo, which prints tokens for everybody, refuses in one line and makes nothing."""
    folder = tmp_path / "demo"
    done = command("demo", "--data", folder, env="production")
    assert done.returncode == 1
    assert done.stderr.strip() == "heed: HEED_ENV is production: this command is for development only"
    assert not folder.exists()
