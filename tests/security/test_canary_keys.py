"""The canary through the life of keys: rotated, verified, erased, and then searched for wherever octets remain.

Key ring, key store, journal, ledger, receipts, what the commands said and what was logged: none may hold a value, nor a
root key, nor may anything but the key ring hold one.
"""

import base64
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson
import pytest

from auth.roles import Role
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.store.database import Database
from crm.store.keystore import bootstrap
from crm.store.log import LogSink, signer_of
from tests.asking import EVERYTHING, question
from tests.client import client
from tests.conftest import Databases
from tests.house import ORG, now
from tests.logs import database_at
from tests.planted import PERSON, found_in
from tests.premises import Place, opened
from tests.processes import command, founded
from tests.security.test_canary import files_of, rows_of


def secrets_of(ring: Path) -> list[bytes]:
    """The root keys of a ring, raw and in the forms in which they could be written."""
    keys = [base64.b64decode(key["key"]) for key in json.loads(ring.read_bytes())["keys"] if "key" in key]
    return [form for key in keys for form in (key, key.hex().encode(), base64.b64encode(key))]


async def test_e23_rotated_and_erased(database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Both stay silent: the patient who is still there, under new keys, and the one who was erased."""
    caplog.set_level(logging.DEBUG)
    place = Place(database_url, tmp_path)
    async with opened(place) as it:
        stays = await it.house.register(PERSON)
        gone = await it.house.register(PERSON)
        first = secrets_of(tmp_path / "keyring.json")
        receipt = await it.erase(gone["id"])
        await it.end_all_epochs()
        receipts = await it.receipts(gone["id"])
        leaves = await it.house.leaves()
        said = orjson.dumps([asdict(one) for one in (receipt, *receipts)]) + orjson.dumps(leaves)
        told = await it.house.outbox()
    assert {leaf["act"] for leaf in leaves} >= {"create", "erase"}
    assert receipts[0].effective_in_copies_at is not None
    assert found_in(said + orjson.dumps(told)) == []
    assert found_in(caplog.text) == []
    for name in ("keyring.json", "erasures.ndjson"):
        assert (tmp_path / name).stat().st_size > 100
    assert [(file.name, found_in(octets)) for file, octets in files_of(tmp_path) if found_in(octets)] == []
    tables = [(table, row) async for table, row in rows_of(database_url)]
    assert {table for table, _ in tables} >= {"erasure_ledger", "crypto_key", "sealed_row", "audit_event"}
    assert [table for table, row in tables if found_in(row)] == []
    everywhere = [row for _, row in tables] + [said, caplog.text.encode()]
    everywhere += [octets for file, octets in files_of(tmp_path) if file.name != "keyring.json"]
    for secret in (*first, *secrets_of(tmp_path / "keyring.json")):
        assert not any(secret in heap for heap in everywhere)
    kept = set(first) & set(secrets_of(tmp_path / "keyring.json"))
    assert len(kept) == len(first) // 6, "only the root key of the log is as it was"
    assert stays["id"] != gone["id"]


@pytest.mark.slow
async def test_e23_what_commands_say(databases: Databases, tmp_path: Path) -> None:
    """`keys status`, `keys rotate`, `keys verify` and `erase` speak of keys, counts and ids, as text and as JSON."""
    url = databases.create("sqlite")
    settings: dict[str, Any] = {**founded(tmp_path / "data", url), "env": "development"}
    ring = KeyRing.load(tmp_path / "data" / "keyring.json")
    async with database_at(url) as database:
        keys = KeySet.load(
            ring, "development", await bootstrap(database, lambda: KeySet.bootstrap(ring, "development"), now())
        )

    def sink(database: Database) -> LogSink:
        return LogSink(database, signer_of(keys, "heed.invalid"))

    async with client(url, tmp_path, keys=lambda _: keys, sink=sink) as it:
        patient_id = (await it.house.register(PERSON))["id"]
        found = await it.data(question(EVERYTHING), Role.INTEGRATION, variables={"id": patient_id})
        assert found_in(orjson.dumps(found)), "the control: the values are there to be found"
    said = ""
    for words in (
        ("keys", "status", "--json"),
        ("keys", "rotate", "wrap", "--class", "contact"),
        ("keys", "verify", "--json"),
        ("erase", patient_id, "--org", ORG, "--yes", "--json"),
        ("erase", patient_id, "--org", ORG, "--receipt"),
    ):
        ended = command(*words, **settings)
        assert ended.returncode == 0, ended.stderr
        said += ended.stdout + ended.stderr
    assert patient_id in said
    assert found_in(said) == []
    assert not [secret for secret in secrets_of(tmp_path / "data" / "keyring.json") if secret in said.encode()]
    heaps = [*files_of(tmp_path), *files_of(Path(url.removeprefix("sqlite:///")).parent)]
    assert [(file.name, found_in(octets)) for file, octets in heaps if found_in(octets)] == []
    databases.drop(url)
