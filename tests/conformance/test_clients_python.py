"""What Python clients make of the service: gql on each of its transports, sgqlc, and what ariadne-codegen writes.

The service is a real one with real tokens, on a socket; the documents are those of tests/conformance/documents.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from gql import Client, GraphQLRequest
from gql.transport.aiohttp import AIOHTTPTransport
from gql.transport.exceptions import TransportQueryError
from gql.transport.httpx import HTTPXAsyncTransport
from gql.transport.requests import RequestsHTTPTransport
from gql.transport.websockets import WebsocketsTransport
from graphql import GraphQLError, get_introspection_query, parse, print_ast, separate_operations
from sgqlc.endpoint.http import HTTPEndpoint
from sgqlc.operation import Operation

from auth.roles import Role
from tests.conftest import Databases
from tests.listening import Reachable, reachable

DOCUMENTS = Path(__file__).parent / "documents"
OPERATIONS = {
    name: print_ast(document)
    for name, document in separate_operations(
        parse("\n".join(path.read_text("utf-8") for path in sorted(DOCUMENTS.glob("*.graphql"))))
    ).items()
}
UNKNOWN = "0199c0de-0000-7000-8000-000000000001"

Headers = dict[str, str]
TRANSPORTS: dict[str, Callable[[str, Headers], Any]] = {
    "httpx": lambda address, headers: HTTPXAsyncTransport(address, headers=headers),
    "aiohttp": lambda address, headers: AIOHTTPTransport(address, headers=headers),
    "requests": lambda address, headers: RequestsHTTPTransport(address, headers=headers),
    "websockets": lambda address, headers: WebsocketsTransport(address.replace("http", "ws"), init_payload=headers),
}


@pytest.fixture
async def here(databases: Databases, tmp_path: Path) -> AsyncIterator[Reachable]:
    """A service that listens."""
    async with reachable(databases.create("sqlite"), tmp_path) as it:
        yield it


def bearer(here: Reachable, role: Role = Role.FRONT_DESK) -> Headers:
    """The headers of a caller."""
    return {"authorization": f"Bearer {here.token(role, 'python')}"}


async def program(*words: str, cwd: Path) -> None:
    """Runs a command of the environment; fails the test with what it said if it failed."""
    command = str(Path(sys.executable).parent / words[0])
    running = await asyncio.create_subprocess_exec(
        command, *words[1:], cwd=cwd, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await running.communicate()
    assert running.returncode == 0, said.decode()


def loaded(name: str, path: Path) -> ModuleType:
    """A module or package that a generator wrote."""
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Gql:
    """gql with one transport; `ask` in a thread where the transport is not of asyncio."""

    def __init__(self, here: Reachable, transport: str) -> None:
        self._client = Client(transport=TRANSPORTS[transport](here.address, bearer(here)))
        self._synchronous = transport == "requests"

    async def ask(self, operation: str, **variables: Any) -> dict[str, Any]:
        """The data of an answer; raises TransportQueryError for one with errors."""
        request = GraphQLRequest(OPERATIONS[operation], variable_values=variables)
        if self._synchronous:
            return dict(await asyncio.to_thread(self._client.execute, request))
        return dict(await self._client.execute_async(request))

    async def refused(self, operation: str, **variables: Any) -> tuple[Any, list[str]]:
        """What data there was beside an error, and the error codes."""
        with pytest.raises(TransportQueryError) as raised:
            await self.ask(operation, **variables)
        return raised.value.data, [error["extensions"]["code"] for error in raised.value.errors or ()]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_gql(here: Reachable, transport: str) -> None:
    """Reads, a batch, a change, and the codes of refusals, each seen in the log as from any client."""
    sam = await here.house.register()
    client = Gql(here, transport)
    card = (await client.ask("PatientCard", id=sam["id"], withContact=True))["patient"]
    assert (card["pronouns"], card["contactPoints"][0]["value"]) == ("they/them", "+447700900123")
    batch = (await client.ask("PatientsByIds", ids=[sam["id"], UNKNOWN]))["patients"]
    assert [(each["__typename"], each.get("code")) for each in batch] == [("Patient", None), ("Refusal", "NOT_FOUND")]
    change = {"patientId": sam["id"], "expectedVersion": 1, "preferredName": "Gil"}
    changed = await client.ask("UpdatePreferences", input=change)
    assert changed["updatePreferences"] == {"id": sam["id"], "version": 2, "preferredName": "Gil"}
    assert await client.refused("UpdatePreferences", input=change) == (
        {"updatePreferences": None}, ["VERSION_CONFLICT"],
    )  # fmt: skip
    assert await client.refused("PatientCard", id=UNKNOWN, withContact=False) == ({"patient": None}, ["NOT_FOUND"])
    assert await client.refused("Belief", id=sam["id"]) == (None, ["FORBIDDEN_FIELD"])
    events = [event for event in await here.house.events() if event["actor"]["subject"] == "python"]
    told = [(event["action"], event["outcome"]) for event in reversed(events)]
    assert told == [
        ("read", "ok"), ("read", "ok"), ("read", "denied"), ("update", "ok"), ("update", "denied"), ("read", "denied"),
        ("read", "denied"),
    ]  # fmt: skip


async def test_gql_with_the_schema(here: Reachable) -> None:
    """The schema is asked for first, and what does not fit it is then refused before it is sent."""
    transport = HTTPXAsyncTransport(here.address, headers=bearer(here, Role.OPERATOR))
    async with Client(transport=transport, fetch_schema_from_transport=True) as session:
        assert session.client.schema is not None
        assert "contactDecision" in session.client.schema.query_type.fields
        assert await session.execute(GraphQLRequest(OPERATIONS["Caller"]))
        with pytest.raises(GraphQLError, match="Cannot query field 'nope'"):
            await session.execute(GraphQLRequest("{ nope }"))


async def test_sgqlc(here: Reachable, tmp_path: Path) -> None:
    """Types are made of the introspected schema, and an operation written with them is answered."""
    transport = HTTPXAsyncTransport(here.address, headers=bearer(here, Role.OPERATOR))
    async with Client(transport=transport) as session:
        described = await session.execute(GraphQLRequest(get_introspection_query()))
    (tmp_path / "schema.json").write_text(json.dumps({"data": described}), "utf-8")
    await program("sgqlc-codegen", "schema", "schema.json", "heed_schema.py", cwd=tmp_path)
    made = loaded("heed_schema", tmp_path / "heed_schema.py")
    sam = await here.house.register()
    assert await asyncio.to_thread(_ask_by_sgqlc, made, here, sam["id"]) == ("Sam", ["so", "en"], "NOT_FOUND")


def _ask_by_sgqlc(made: ModuleType, here: Reachable, patient_id: str) -> tuple[str, list[str], str]:
    """The name, the languages, and the code for somebody unknown."""
    endpoint = HTTPEndpoint(here.address, bearer(here))
    operation = Operation(made.heed_schema.query_type)
    patient = operation.patient(id=patient_id)
    patient.display_name()
    patient.languages.tag()
    answer = (operation + endpoint(operation)).patient
    unknown = Operation(made.heed_schema.query_type)
    unknown.patient(id=UNKNOWN).id()
    [error] = endpoint(unknown)["errors"]
    return answer.display_name, [each.tag for each in answer.languages], error["extensions"]["code"]


async def test_ariadne_codegen(here: Reachable, tmp_path: Path) -> None:
    """The client written of the endpoint's schema and our documents asks, and hands over models and errors."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.ariadne-codegen]\n"
        f'remote_schema_url = "{here.address}"\n'
        f'remote_schema_headers = {{ authorization = "{bearer(here, Role.OPERATOR)["authorization"]}" }}\n'
        f'queries_path = "{DOCUMENTS}"\n'
        'target_package_name = "heed_client"\n',
        "utf-8",
    )
    await program("ariadne-codegen", cwd=tmp_path)
    made = loaded("heed_client", tmp_path / "heed_client" / "__init__.py")
    sam = await here.house.register()
    async with made.Client(url=here.address, headers=bearer(here)) as client:
        patient = (await client.patient_card(id=sam["id"], with_contact=True)).patient
        assert (patient.display_name, patient.contact_points[0].verification.status.value) == ("Sam", "UNVERIFIED")
        found, unknown = (await client.patients_by_ids(ids=[sam["id"], UNKNOWN])).patients
        assert (found.typename__, unknown.typename__, unknown.code.value) == ("Patient", "Refusal", "NOT_FOUND")
        change = made.UpdatePreferencesInput(patientId=sam["id"], expectedVersion=1, preferredName="Ari")
        assert (await client.update_preferences(input=change)).update_preferences.preferred_name == "Ari"
        with pytest.raises(made.GraphQLClientGraphQLMultiError) as raised:
            await client.patient_card(id=UNKNOWN, with_contact=False)
        assert [error.extensions["code"] for error in raised.value.errors] == ["NOT_FOUND"]
