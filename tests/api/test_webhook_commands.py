"""`webhooks …` with the arguments that operators give; and what is counted. What it does is tested on both engines."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from commands import logs
from commands.webhook_commands import webhooks_app
from crm.delivery.webhooks import EndpointState
from crm.errors import Unsafe
from schema.metrics import Metrics
from server import app
from tests.conftest import Databases
from tests.processes import founded

Run = Callable[..., Result]
URL = "https://hooks.example.com/in?token=of-the-receiver"
WHO = ("--role", "integration", "--purpose", "RECORDMGT")


@pytest.fixture
def webhooks(databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs one of the commands on a migrated database with keys."""
    url = databases.create("sqlite")
    for name, value in founded(tmp_path, url).items():
        monkeypatch.setenv(f"HEED_{name.upper()}", str(value))
    monkeypatch.setattr(logs, "configure", lambda _: None)  # the process is the tests', and speaks as they want

    def run(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(webhooks_app, words)
        assert result.exit_code == code, result.output
        return result

    yield run
    databases.drop(url)


def test_the_life_of_an_endpoint(webhooks: Run) -> None:
    """Added with a secret that is shown once, listed by host only, disabled, enabled, given another, replayed."""
    assert webhooks("list").stdout == "no endpoint is registered\n"
    made = json.loads(webhooks("add", URL, *WHO, "--kind", "patient.erased", "--field", "religion", "--json").stdout)
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    listed = webhooks("list", "--json").stdout
    assert "token" not in listed
    assert "whsec" not in listed
    [one] = json.loads(listed)
    assert (one["id"], one["host"], one["state"], one["role"], one["purpose"], one["secrets"]) == (
        made["id"], "hooks.example.com", "active", "integration", "RECORDMGT", 1
    )  # fmt: skip
    assert (one["kinds"], one["fields"], one["waiting"], one["dead"], one["behind"]) == (
        ["patient.erased"], ["religion"], 0, 0, 0
    )  # fmt: skip
    assert webhooks("disable", one["id"]).stdout == f"{one['id']} is disabled\n"
    assert webhooks("disable", one["id"]).stdout == f"{one['id']} was disabled already\n"
    assert "disabled (OPERATOR)" in webhooks("list").stdout
    assert webhooks("enable", one["id"]).stdout == f"{one['id']} is enabled\n"
    second = webhooks("rotate-secret", one["id"], "--overlap", "2h").stdout.strip()
    assert second.startswith("whsec_")
    assert second != made["secret"]
    assert json.loads(webhooks("list", "--json").stdout)[0]["secrets"] == 2
    assert webhooks("dead", one["id"]).stdout == "no message was given up\n"
    assert webhooks("replay", one["id"], "--dead").stdout == "0 messages wait again\n"
    assert webhooks("replay", one["id"], "--now").stdout == f"{one['id']} goes on from now\n"
    assert webhooks("list", "--org", "south-clinic").stdout == "no endpoint is registered\n"


def test_an_organisation_that_nobody_knows(webhooks: Run) -> None:
    """Once there is any, the name of another is taken for a mistake: nothing is added, and nothing swept."""
    webhooks("add", URL, *WHO, "--org", "north")
    refused = CliRunner().invoke(webhooks_app, ["add", URL, *WHO, "--org", "nroth"])
    swept = CliRunner().invoke(app, ["duplicates", "--org", "nroth"])
    for result in (refused, swept):
        assert str(result.exception) == "nothing was ever recorded of an organisation nroth"
        assert isinstance(result.exception, Unsafe)
    assert webhooks("list", "--org", "nroth").stdout == "no endpoint is registered\n"
    assert CliRunner().invoke(app, ["duplicates", "--org", "north"]).exit_code == 0


def test_tried_out(webhooks: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the name leads nowhere that may be reached, the trial says so, with exit status 3."""
    name = webhooks("add", "http://127.0.0.1:9/", *WHO).stdout.splitlines()[0]
    assert webhooks("test", name, code=3).stdout == "not taken: unreachable\n"


REFUSED: list[tuple[tuple[str, ...], str]] = [
    (("add", "http://hooks.example.com/", *WHO), "https addresses only"),
    (("add", "https://10.0.0.1/", *WHO), "write the host as a name"),
    (("add", "https://localhost/heed", *WHO), "this host is not public"),
    (("add", "https://hooks.example.com:22/", *WHO), "443 or 8443"),
    (("add", URL, "--role", "front_desk", "--purpose", "PATADMIN"), "does not let this role follow"),
    (("add", URL, *WHO, "--field", "nothing"), "no such field"),
    (("disable", "unknown"), "no such endpoint"),
    (("replay", "unknown", "--after", "x"), "no such endpoint"),
]


def test_refused_in_one_sentence(webhooks: Run) -> None:
    """What cannot be done is said with what to do."""
    for words, sentence in REFUSED:
        refused = webhooks(*words, code=1)
        assert isinstance(refused.exception, Unsafe)
        assert sentence in str(refused.exception)


def test_what_to_replay_has_to_be_said(webhooks: Run) -> None:
    """Exactly one of the ways; else nothing is done."""
    for words in ((), ("--dead", "--now"), ("--after", "x", "--now"), ("--after", "x", "--message", "y")):
        assert "state one of" in webhooks("replay", "any", *words, code=2).output


def test_what_is_counted() -> None:
    """Numbers of each endpoint, by its id; no patient is among the labels."""

    class Sending:
        states = {  # noqa: RUF012 - of this test alone
            ("a", "e-1"): EndpointState("a", "e-1", True, 3, 2, 17, 1_500_000),
            ("a", "e-2"): EndpointState("a", "e-2", False, 0, 0, 0, None),
        }
        outcomes = {("e-1", "DELIVERED"): 5, ("e-1", "BUSY"): 1}  # noqa: RUF012 - as above

    lines = Metrics(hooks=Sending()).page().decode().splitlines()
    assert [line for line in lines if line.startswith("heed_webhook")] == [
        'heed_webhook_active{endpoint="e-1"} 1.0',
        'heed_webhook_active{endpoint="e-2"} 0.0',
        'heed_webhook_behind{endpoint="e-1"} 17.0',
        'heed_webhook_behind{endpoint="e-2"} 0.0',
        'heed_webhook_waiting{endpoint="e-1"} 3.0',
        'heed_webhook_waiting{endpoint="e-2"} 0.0',
        'heed_webhook_dead{endpoint="e-1"} 2.0',
        'heed_webhook_dead{endpoint="e-2"} 0.0',
        'heed_webhook_failing_since_timestamp_seconds{endpoint="e-1"} 1.5',
        'heed_webhook_attempts_total{endpoint="e-1",outcome="BUSY"} 1.0',
        'heed_webhook_attempts_total{endpoint="e-1",outcome="DELIVERED"} 5.0',
    ]
    assert "heed_webhook" not in Metrics().page().decode()
