"""Trusted documents as clients' own tools make them: Apollo Client with its manifest, and relay-compiler."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import httpx

from auth.roles import Role
from commands import documents
from crm.settings import load
from schema.settings import Settings
from tests import node
from tests.conftest import Databases
from tests.listening import Reachable, reachable

SCHEMA = Path(__file__).parents[2] / "schema" / "schema.graphql"
TRUSTED = Settings(trusted_documents=True)
RELAY = """
const { graphql } = require('relay-runtime');
graphql`query NameQuery($id: ID!) { patient(id: $id) { id displayName ...Name_pronouns } }`;
graphql`fragment Name_pronouns on Patient { pronouns }`;
"""


async def asked(here: Reachable) -> tuple[list[Any], list[str]]:
    """What Apollo Client got and sent, and why something was refused, as the log has it."""
    sam = str((await here.house.register())["id"])
    told: list[Any] = await node.run("persisted.mjs", "ask", here.address, sam, here.token(Role.FRONT_DESK, "apollo"))
    for each in told:
        if each["data"]:
            assert each["data"]["patient"].pop("id") == sam
    return told, [event["reason"] for event in await here.house.events() if event["outcome"] == "denied"]


CARD = {"patient": {"__typename": "Patient", "displayName": "Sam"}}
OTHER = {"patient": {"__typename": "Patient"}}


async def test_apollo_client_where_documents_are_trusted(databases: Databases, tmp_path: Path) -> None:
    """What its manifest registered is asked by name, also after something else was refused by name and by text."""
    url = databases.create("sqlite")
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps(await node.run("persisted.mjs", "manifest")))
    summary = await documents.register(load(data_dir=tmp_path, database_url=url), "apollo", [manifest])
    assert (summary.registered, summary.new) == (True, 1)
    async with reachable(url, tmp_path, TRUSTED) as here:
        told, denied = await asked(here)
    assert told == [
        {"data": CARD, "codes": [], "sent": [["name"]]},
        {"data": None, "codes": ["FORBIDDEN"], "sent": [["name"], ["text", "name"]]},
        {"data": CARD, "codes": [], "sent": [["name"]]},
    ]
    assert denied == ["FORBIDDEN", "PERSISTED_QUERY_NOT_FOUND"]


async def test_apollo_client_where_names_are_not_supported(databases: Databases, tmp_path: Path) -> None:
    """It goes on with texts alone from the first answer on."""
    async with reachable(databases.create("sqlite"), tmp_path) as here:
        told, denied = await asked(here)
    assert told == [
        {"data": CARD, "codes": [], "sent": [["name"], ["text"]]},
        {"data": OTHER, "codes": [], "sent": [["text"]]},
        {"data": CARD, "codes": [], "sent": [["text"]]},
    ]
    assert denied == []


async def test_relay_compiler(databases: Databases, tmp_path: Path) -> None:
    """The file that it writes with SHA-256 is taken as it is; its artifact holds the name that the server knows."""
    source = tmp_path / "src"
    source.mkdir()
    (source / "Name.js").write_text(RELAY)
    persisting = {"file": "./queries.json", "algorithm": "SHA256"}
    config = {"src": "./src", "schema": "./schema.graphql", "language": "javascript", "persistConfig": persisting}
    (tmp_path / "relay.config.json").write_text(json.dumps(config))
    (tmp_path / "queries.json").write_text("{}")
    (tmp_path / "schema.graphql").write_text(SCHEMA.read_text())
    node.program()
    compiler = node.FOLDER / "node_modules" / ".bin" / "relay-compiler"
    compiling = await asyncio.create_subprocess_exec(
        compiler, "relay.config.json", cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await compiling.communicate()
    assert compiling.returncode == 0, said.decode()
    url = databases.create("sqlite")
    settings = load(data_dir=tmp_path, database_url=url)
    assert (await documents.register(settings, "relay", [tmp_path / "queries.json"])).registered
    artifact = (source / "__generated__" / "NameQuery.graphql.js").read_text()
    [name] = re.findall(r'"id": "([0-9a-f]{64})"', artifact)
    async with reachable(url, tmp_path, TRUSTED) as here, httpx.AsyncClient() as http:
        sam = str((await here.house.register())["id"])
        body = {"documentId": name, "variables": {"id": sam}}
        headers = {"authorization": f"Bearer {here.token(Role.FRONT_DESK, 'relay')}"}
        answer = await http.post(here.address, json=body, headers=headers)
    assert answer.json() == {"data": {"patient": {"id": sam, "displayName": "Sam", "pronouns": "they/them"}}}
