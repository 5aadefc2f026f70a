"""The demo: from an empty folder to a served, encrypted, audited set of sample patients, and what to try with it."""

import asyncio
import json
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from auth.roles import PERSONAL, Role
from commands import logs, tokens
from commands.actors import command_request, system_actor
from commands.folders import private_folder
from commands.house import DEFAULT_ORG, house
from commands.progress import progress
from commands.serving import address_of, reserved
from commands.serving import run as serve
from crm.crypto.keyring import KeyRing
from crm.errors import Unsafe
from crm.interchange import samples
from crm.services.changes import canonical
from crm.services.imports import Draft, Imports, Incoming
from crm.settings import CodeSender, Environment, KeyProvider, Settings, load
from crm.store import migrations

SOURCE = "demo"
SEED = 2026
CHUNK = 100
TTL = 12 * 3600
"""Seconds that the demo's tokens are good for."""

_MARK = "heed-demo"
"""A file in the demo's folder: a folder that holds anything, but not this, is not the demo's to use or to remove."""

_CONTACT = Path(__file__).with_name("demo_contact.toml")
"""The policy of contact where none is set, with some senders that are registered; also the example of one."""

_MAILS = "mails"
"""The sender of that policy whose question is printed; under a policy that has none of this name, nobody is named."""

_PATIENT = (
    "query FrontDesk($id: ID!) { patient(id: $id) { displayName pronouns interpreterNeeded "
    "languages { tag modes } contactPoints { system value } culturalNeeds { handling } version } }"
)
_SEARCH = (
    "query WhoseNumber($phone: String!) { searchPatients(by: {phone: $phone}, first: 5) "
    "{ edges { node { id displayName birthDate } } } }"
)
_REMINDER = (
    "query MayWeWrite($id: ID!, $sender: String) { contactDecision(patientId: $id, purpose: APPOINTMENT_REMINDER, "
    "sender: $sender, channels: [EMAIL]) "
    "{ outcome reasons channel contactPoint { value } language format salutation nextPermittedAt expiresAt } }"
)
_OFFICER = (
    "query WhoLooked($id: ID!) { accessEvents(filter: {patientId: $id}, first: 5) { edges { node "
    "{ recordedAt action outcome actor { subject roles } purposeOfUse fieldsReturned } } } }"
)


def run(folder: Path, *, port: int, patients: int, reset: bool) -> None:
    """Sets everything up in `folder`, prints what to try as soon as it works, and serves until Ctrl-C."""
    settings = _settings(folder, port)
    logs.configure(settings.log_level)
    with reserved(settings) as bound:
        _prepare(folder, reset=reset)
        if not settings.keyring.exists():
            KeyRing.create(settings.keyring)
        migrations.upgrade(settings.database_url)
        sam = asyncio.run(_fill(settings, patients))
        signed = _write_tokens(settings, sam)
        lines = what_to_try(address_of(bound), signed, sam, folder, _sender(settings))
        serve(settings, bound, lambda _: print(*lines, sep="\n", flush=True))
    print("stopped")


def _settings(folder: Path, port: int) -> Settings:
    """The demo's own settings: what the environment says of databases, keys and issuers is for a real service.

    A policy of contact is tried out here, so the one that is set is the one that counts.
    """
    database = f"sqlite:///{folder / 'heed.db'}"
    return load(
        {"contact_policy": _CONTACT},
        env=Environment.DEVELOPMENT,
        data_dir=folder,
        database_url=database,
        keystore_url=database,
        key_provider=KeyProvider.KEYRING,
        keyring=folder / "keyring.json",
        issuers=(),
        code_sender=CodeSender.LOG,
        host="127.0.0.1",
        port=port,
        default_region="GB",
    )


def _sender(settings: Settings) -> str | None:
    return _MAILS if _MAILS in settings.contact_policy.senders else None


def _prepare(folder: Path, *, reset: bool) -> None:
    if folder.exists() and any(folder.iterdir()) and not (folder / _MARK).exists():
        raise Unsafe(f"{folder} holds something that the demo did not make: name an empty or new folder with --data")
    if reset and folder.exists():
        shutil.rmtree(folder)
    private_folder(folder)
    (folder / _MARK).touch()


async def _fill(settings: Settings, count: int) -> str:
    """Stores the sample patients that are not there yet; returns the id of the first one, Sam."""
    async with house(settings) as it:
        imports = Imports(it.services.store, system_actor(DEFAULT_ORG), command_request("demo"))
        await imports.admit()
        drafts = _drafts(count)
        done = 0
        with progress("sample patients", count) as advance:
            while chunk := list(islice(drafts, CHUNK)):
                known = await imports.known([draft.incoming for draft in chunk])
                await imports.apply([pair for pair in zip(chunk, known, strict=True) if pair[1] is None])
                done += len(chunk)
                advance(done, count)
        [sam] = await imports.known([next(_drafts(1)).incoming])
        assert sam is not None
        return sam.patient_id


def _drafts(count: int) -> Iterator[Draft]:
    for number, sample in enumerate(samples.generate(count, SEED)):
        values = dict(sample)
        restricted = bool(values.pop("restricted", False))
        incoming = Incoming(SOURCE, None, f"sample-{number}", (), f"{SEED}/{number}".encode())
        yield Draft(incoming, canonical(values, region="GB"), restricted)


def _write_tokens(settings: Settings, patient_id: str) -> dict[str, str]:
    """One token for each role, in `tokens.json` (0600); the patient's and the proxy's are bound to `patient_id`."""
    signed = {
        role.value: tokens.signed(
            settings,
            role,
            f"demo-{role.value.replace('_', '-')}",
            org=DEFAULT_ORG,
            ttl=TTL,
            patient=patient_id if role in PERSONAL else None,
        )
        for role in Role
    }
    path = settings.data_dir / "tokens.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(signed, file, indent=2)
    return signed


def what_to_try(
    address: str, signed: Mapping[str, str], patient_id: str, folder: Path, sender: str | None
) -> list[str]:
    """The lines that the demo prints: tokens, addresses, and last, where people look, four queries to copy."""
    one = {"id": patient_id}
    return [
        "",
        "One token for each role, good for 12 hours:",
        *(f"{role}: {token}" for role, token in signed.items()),
        "",
        f"Heed is serving sample patients at {address}/graphql",
        f"  in a browser   {address}/graphql  (GraphiQL: paste a token into its form)",
        f"  health         {address}/healthz  {address}/readyz  {address}/metrics",
        f"  tokens         {folder / 'tokens.json'}",
        "",
        "Front desk: how do I address this person, and what do they need?",
        _curl(address, signed["front_desk"], _PATIENT, one),
        "",
        "Front desk: whose number is this?",
        _curl(address, signed["front_desk"], _SEARCH, {"phone": samples.FIRST_PHONE}),
        "",
        "Messaging: may we remind this person by e-mail, in which language and format, and how are they addressed?",
        _curl(address, signed["messaging"], _REMINDER, {**one, "sender": sender}),
        "",
        "Compliance officer: who looked at that record, and what did they see?",
        _curl(address, signed["compliance_officer"], _OFFICER, one),
        "",
        "Ctrl-C stops.",
    ]


def _curl(address: str, token: str, query: str, variables: Mapping[str, Any]) -> str:
    """One line for a shell; the token, which nobody reads, stands last."""
    body = shlex.quote(json.dumps({"query": query, "variables": variables}))
    return f"curl -s {address}/graphql -H 'Content-Type: application/json' -d {body} -H 'Authorization: Bearer {token}'"
