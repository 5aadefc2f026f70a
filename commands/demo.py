"""The demo: from an empty folder to a served, encrypted, audited set of sample patients, and what to try with it."""

import asyncio
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from auth.development import DevelopmentIssuer
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import DEFAULT_ORG, house, private_folder
from commands.progress import progress
from commands.serving import serve
from crm.crypto.keyring import KeyRing
from crm.errors import Unsafe
from crm.interchange import samples
from crm.services.changes import canonical, split_cultural_needs
from crm.services.imports import Draft, Imports, Incoming
from crm.settings import Environment, Settings, load
from crm.store import migrations

SOURCE = "demo"
SEED = 2026
CHUNK = 100
TTL = 12 * 3600
"""Seconds that the demo's tokens are good for."""

_MARK = "heed-demo"
"""A file in the demo's folder: `--reset` removes only a folder that carries it."""


def run(folder: Path, *, port: int, patients: int, reset: bool) -> None:
    """Sets everything up in `folder`, prints what to try, and serves until Ctrl-C."""
    if reset:
        _reset(folder)
    private_folder(folder)
    (folder / _MARK).touch()
    settings = load(env=Environment.DEVELOPMENT, data_dir=folder, port=port, default_region="GB")
    if not settings.keyring.exists():
        KeyRing.create(settings.keyring)
    migrations.upgrade(settings.database_url)
    ids = asyncio.run(_fill(settings, patients))
    tokens = write_tokens(folder, ids[0])
    lines = what_to_try(f"http://{settings.host}:{settings.port}", tokens, ids, folder)
    serve(settings, opened=lambda _: print(*lines, sep="\n", flush=True))
    print("stopped")


def _reset(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise Unsafe(f"{folder} was not made by the demo: --reset leaves it alone")
    shutil.rmtree(folder, ignore_errors=True)


async def _fill(settings: Settings, count: int) -> list[str]:
    """Stores the sample patients, unless they are there; returns the ids of the first few in their order."""
    async with house(settings) as it:
        imports = Imports(it.services.store, system_actor(DEFAULT_ORG), command_request("demo"))
        await imports.admit()
        drafts = _drafts(count)
        done = 0
        with progress("sample patients", count) as advance:
            while chunk := list(islice(drafts, CHUNK)):
                known = await imports.known([draft.incoming for draft in chunk])
                await imports.apply(list(zip(chunk, known, strict=True)))
                done += len(chunk)
                advance(done, count)
        first = await imports.known([draft.incoming for draft in islice(_drafts(count), 5)])
        return [entry.patient_id for entry in first if entry]


def _drafts(count: int) -> Iterator[Draft]:
    for number, sample in enumerate(samples.generate(count, SEED)):
        values = dict(sample)
        restricted = bool(values.pop("restricted", False))
        incoming = Incoming(SOURCE, None, f"sample-{number}", (), f"{SEED}/{number}".encode())
        yield Draft(incoming, canonical(split_cultural_needs(values), region="GB"), restricted)


def write_tokens(folder: Path, patient_id: str) -> dict[str, str]:
    """One token for each role, in `tokens.json` (0600); the patient's and the proxy's are bound to `patient_id`."""
    issuer = DevelopmentIssuer(folder)
    tokens = {
        role.value: issuer.sign(
            role,
            f"demo-{role.value.replace('_', '-')}",
            org=DEFAULT_ORG,
            ttl=TTL,
            patient=patient_id if role in (Role.PATIENT, Role.PROXY) else None,
        )
        for role in Role
    }
    path = folder / "tokens.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(tokens, file, indent=2)
    return tokens


def what_to_try(address: str, tokens: Mapping[str, str], ids: Sequence[str], folder: Path) -> list[str]:
    """The lines that the demo prints: addresses, tokens and three queries to copy."""
    patient = (
        "query FrontDesk($id: ID!) { patient(id: $id) { displayName pronouns interpreterNeeded "
        "languages { tag modes } contactPoints { system value } culturalNeeds { handling } version } }"
    )
    search = (
        'query Search { searchPatients(by: {phone: "+447700900123"}, first: 5) '
        "{ edges { node { id displayName restricted } } } }"
    )
    officer = (
        "query WhoLooked($id: ID!) { accessEvents(filter: {patientId: $id}, first: 5) { edges { node "
        "{ recordedAt action outcome actor { subject roles } purposeOfUse fieldsReturned } } } }"
    )
    return [
        "",
        f"Heed is serving sample patients at {address}/graphql",
        f"  in a browser   {address}/graphql  (GraphiQL; paste a token as its header)",
        f"  health         {address}/healthz  {address}/readyz  {address}/metrics",
        f"  tokens         {folder / 'tokens.json'}, one for each role, good for 12 hours",
        "",
        *(f"  {role:<19}{token}" for role, token in tokens.items()),
        "",
        "Front desk: how do I address this person, and what do they need?",
        _curl(address, tokens["front_desk"], patient, {"id": ids[0]}),
        "",
        "Front desk: whose number is this?",
        _curl(address, tokens["front_desk"], search, {}),
        "",
        "Compliance officer: who looked at that record, and what did they see?",
        _curl(address, tokens["compliance_officer"], officer, {"id": ids[0]}),
        "",
        "Ctrl-C stops.",
    ]


def _curl(address: str, token: str, query: str, variables: Mapping[str, Any]) -> str:
    body = json.dumps({"query": query, **({"variables": variables} if variables else {})})
    return f"curl -s {address}/graphql -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{body}'"


