"""Trusted documents in a running house: one process serves, another registers and retires, and none starts anew."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth.development import DevelopmentIssuer
from auth.roles import Role
from commands import documents
from crm.services.documents import digest
from crm.settings import load
from tests.conftest import Databases
from tests.processes import PATIENCE, Serving, founded, serving

TEXT = "query Who { viewer { subject } }"


def asked(running: Serving, token: str, body: dict[str, str]) -> dict[str, object]:
    """The answer to one body."""
    headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
    answer: dict[str, object] = httpx.post(
        f"{running.address}/graphql", json=body, headers=headers, timeout=PATIENCE
    ).json()
    return answer


@pytest.mark.slow
def test_registered_and_retired_while_it_is_served(databases: Databases, tmp_path: Path) -> None:
    """By the settings of an operator and the commands: a text is refused, its name is answered, and no longer."""
    place: dict[str, Any] = founded(tmp_path, databases.create("sqlite"))
    settings = load(**place)
    file = tmp_path / "who.graphql"
    file.write_text(TEXT)
    name = {"documentId": digest(TEXT)}
    with serving("serve", **place, documents="trusted", documents_refresh=0) as running:
        token = DevelopmentIssuer(tmp_path).sign(Role.FRONT_DESK, "ann", org="demo")
        assert "FORBIDDEN" in json.dumps(asked(running, token, {"query": TEXT}))
        assert "PERSISTED_QUERY_NOT_FOUND" in json.dumps(asked(running, token, name))
        assert asyncio.run(documents.register(settings, "web", [file])).new == 1
        for body in (name, {"query": TEXT}):
            assert asked(running, token, body) == {"data": {"viewer": {"subject": "ann"}}}
        assert "FORBIDDEN" in json.dumps(asked(running, token, {"query": f"{TEXT} "}))
        assert asyncio.run(documents.retire(settings, "web", [])).retired == [digest(TEXT)]
        assert "PERSISTED_QUERY_NOT_FOUND" in json.dumps(asked(running, token, name))
        assert running.stop() == 0
