"""A change that is asked for again under the same key: one effect, and the same answer."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.client import Client, client

UPDATE = "mutation U($input: UpdatePreferencesInput!) { updatePreferences(input: $input) { id version preferredName } }"


@pytest.fixture
async def served(database_url: str, tmp_path: Path) -> AsyncIterator[Client]:
    """A client of a service on a database of its own."""
    async with client(database_url, tmp_path) as it:
        yield it


async def test_the_same_again(served: Client) -> None:
    """Sent three times under one key, a change is made once and answered alike, also once the record has moved on."""
    ann = (await served.house.register())["id"]
    variables = {"input": {"patientId": ann, "expectedVersion": 1, "preferredName": "Ada"}}
    key = {"idempotency-key": uuid4().hex}
    answers = [(await served.ask(UPDATE, variables=variables, headers=key)).json() for _ in range(2)]
    assert answers[0] == {"data": {"updatePreferences": {"id": ann, "version": 2, "preferredName": "Ada"}}}
    assert answers[1] == answers[0]
    assert [entry["version"] for entry in await served.house.outbox()] == [1, 2]
