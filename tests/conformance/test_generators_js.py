"""What generators and checkers of the JavaScript world make of the schema, and of the endpoint's own word on it.

graphql-js and graphql-inspector compare, graphql-codegen and relay-compiler generate; what Relay would send is sent.
"""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from auth.roles import Role
from tests import node
from tests.conftest import Databases
from tests.listening import Reachable, reachable

SDL = Path(__file__).resolve().parents[2] / "schema" / "schema.graphql"


@pytest.fixture
async def here(databases: Databases, tmp_path: Path) -> AsyncIterator[Reachable]:
    """A service that listens."""
    async with reachable(databases.create("sqlite"), tmp_path) as it:
        yield it


def declared(types: str, name: str) -> str:
    """What generated TypeScript says a type is, in one line."""
    [text] = re.findall(rf"^export type {name} =(.*?);$", types, re.DOTALL | re.MULTILINE)
    return " ".join(text.split())


async def test_the_generators(here: Reachable, tmp_path: Path) -> None:
    """Each does its work without a word of complaint, and the operations that Relay wrote are answered."""
    operator = here.token(Role.OPERATOR, "generator")
    made = await node.run("generators.mjs", here.address, operator, SDL, tmp_path)
    assert made["unfit"] == []
    # What the endpoint says beyond the file is for routers: their root fields, and types behind them.
    assert made["changes"]
    of_routers = re.compile(r"(Query\.)?_\w+(\.\w+)*")
    assert [change for change in made["changes"] if not of_routers.fullmatch(change[1])] == []
    assert [change for change in made["changes"] if not change[0].endswith("_ADDED")] == []
    check_types(made["types"])
    assert [name for name in made["artifacts"] if name.startswith("PatientListMore")] == [
        "PatientListMoreQuery.graphql.ts"
    ]
    assert len(made["artifacts"]) == 6
    sam = await here.house.register()
    await check_operations(here, list(made["persisted"].values()), sam["id"])


def check_types(types: str) -> None:
    """Null and never null, lists, unions and enums are told apart in TypeScript."""
    assert "displayName?: string | null" in declared(types, "PatientCardQuery")
    assert "__typename: 'Refusal', id: string, code: ErrorCode" in declared(types, "PatientsByIdsQuery")
    assert "| 'AUDIT_UNAVAILABLE'" in declared(types, "ErrorCode")
    assert "seq: Scalars['LogIndex']['output']" in types


async def check_operations(here: Reachable, texts: list[str], patient_id: str) -> None:
    """The texts that Relay's compiler wrote are answered without an error."""
    variables: dict[str, Any] = {
        "by": {"phone": "+447700900123"},
        "first": 1,
        "ids": [patient_id],
        "input": {"patientId": patient_id, "expectedVersion": 1, "preferredName": "Relay"},
    }
    headers = {"authorization": f"Bearer {here.token(Role.FRONT_DESK, 'relay')}"}
    answered = {}
    async with httpx.AsyncClient(headers=headers) as http:
        for text in texts:
            name = text.split()[1].partition("(")[0]
            used = {key: value for key, value in variables.items() if f"${key}:" in text}
            answered[name] = (await http.post(here.address, json={"query": text, "variables": used})).json()
    assert [name for name, answer in answered.items() if "errors" in answer] == []
    assert sorted(answered) == [
        "PatientListBatchQuery",
        "PatientListMoreQuery",
        "PatientListQuery",
        "PatientListRenameMutation",
    ]
    [edge] = answered["PatientListMoreQuery"]["data"]["searchPatients"]["edges"]
    assert edge["node"]["__typename"] == "Patient"
