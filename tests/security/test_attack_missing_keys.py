"""Keys that are wrong, unknown, destroyed or out of reach: four failures that are never taken for one another."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.provider import Wrapped
from crm.crypto.stored_key import StoredKey, new_wrap_key
from crm.errors import KeyDestroyed, ProviderUnavailable, StoreUnavailable, Tampered, UnknownKey, Unsafe
from crm.store.keyroom import BETWEEN_LOOKS, KeyRoom
from crm.store.keystore import bootstrap
from tests.asking import question
from tests.client import Client, client
from tests.house import now
from tests.intruder import Intruder
from tests.keys import ENV
from tests.logs import database_at
from tests.people import WHOLE
from tests.scene import SECRETS

READ = question("preferredName")


class WatchedRing:
    """A key ring that counts how often keys are loaded and what it unwraps, and can be away."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.loads = 0
        self.unwrapped = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)

    def uses(self) -> frozenset[str]:
        self.loads += 1
        return self._ring.uses()

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        self.unwrapped += 1
        if self.away:
            raise ProviderUnavailable("no answer")
        return self._ring.unwrap(wrapped, context)


@dataclass
class Keeping:
    """A service whose keys are in its database, and everything around them."""

    it: Client
    intruder: Intruder
    provider: WatchedRing
    rows: Sequence[StoredKey]
    patient_id: str
    looks: list[None]

    async def epoch(self, number: int) -> None:
        """The patient's wrapped key names this epoch."""
        wrapped = (await self.intruder.row(self.patient_id, "identity"))["wrapped"]
        renamed = wrapped[:2] + number.to_bytes(4) + wrapped[6:]
        await self.intruder.write(self.patient_id, "identity", wrapped=renamed)

    async def publish(self, number: int, state: str) -> None:
        """Another epoch in the key store, by another process."""
        row = new_wrap_key(self.provider, ENV, KeyClass.IDENTITY, number, state)
        await self.intruder.run(
            """INSERT INTO crypto_key (kind, key_class, no, state, provider, key_ref, wrapped, created_at)
               VALUES (?, ?, ?, ?, ?, ?, ?, 1)""",
            row.kind, row.key_class, row.no, row.state, row.provider, row.key_ref, row.wrapped,
        )  # fmt: skip

    async def refused(self, why: str) -> None:
        """Reading answers without a value, and is on record with this reason."""
        answer, [leaf] = await self.it.watched(READ, Role.CLINICIAN, variables={"id": self.patient_id})
        [error] = answer.json()["errors"]
        code = {"TAMPERED": "INTERNAL_SERVER_ERROR", "STORE_UNAVAILABLE": "OVERLOADED"}.get(why, "KEY_UNAVAILABLE")
        assert error["extensions"]["code"] == code
        assert not any(secret in answer.text for secret in SECRETS)
        assert (leaf["out"], leaf["why"]) == ("error", why)

    async def answered(self) -> None:
        """The control."""
        found = await self.it.data(READ, Role.CLINICIAN, variables={"id": self.patient_id})
        assert found["patient"] == {"preferredName": "Zoe"}


Edit = Callable[[KeyRing, Sequence[StoredKey]], Sequence[StoredKey]]


@asynccontextmanager
async def keeping(url: str, folder: Path, edit: Edit = lambda ring, rows: rows) -> AsyncIterator[Keeping]:
    """A service on `url`; `edit` changes which keys it loads after the patient was stored."""
    place = folder / "keys"
    place.mkdir()
    ring = KeyRing.create(place / "keyring.json")
    provider = WatchedRing(ring)
    looks: list[None] = []
    async with database_at(url) as database:
        rows = await bootstrap(database, lambda: KeySet.bootstrap(ring, ENV), now())
        keys = KeySet.load(provider, ENV, rows)
        room = KeyRoom(database, provider, ENV, keys, node="n", clock=now, refresh=3600, max_age=3600)

        async def renew() -> None:
            looks.append(None)
            await room.renew()

        async with client(url, folder, keys=lambda _: keys, renew=renew) as it:
            patient_id = (await it.house.register(WHOLE))["id"]
            keys.adopt(KeySet.load(provider, ENV, edit(ring, rows)))
            provider.loads = provider.unwrapped = 0
            yield Keeping(it, Intruder(url), provider, rows, patient_id, looks)


def _identity(rows: Sequence[StoredKey], row: StoredKey) -> list[StoredKey]:
    """The rows with another one in the place of the wrap key of identities."""
    return [row if old.key_class == "identity" else old for old in rows]


async def test_e11_the_wrong_wrap_key(database_url: str, tmp_path: Path) -> None:
    """Another key under the right number: the data key does not authenticate, which is no question of availability."""

    def wrong(ring: KeyRing, rows: Sequence[StoredKey]) -> Sequence[StoredKey]:
        return _identity(rows, new_wrap_key(ring, ENV, KeyClass.IDENTITY, 1, "active"))

    async with keeping(database_url, tmp_path, wrong) as it:
        await it.refused("TAMPERED")
        assert (it.looks, it.provider.unwrapped) == ([], 0)


async def test_e11_an_epoch_that_nobody_knows(database_url: str, tmp_path: Path) -> None:
    """The key store is asked exactly once; then the epoch is unknown, and what it has is not unwrapped again."""
    async with keeping(database_url, tmp_path) as it:
        await it.answered()
        assert (it.looks, it.provider.loads) == ([], 0)
        await it.epoch(7)
        await it.refused("UNKNOWN_KEY")
        assert (len(it.looks), it.provider.loads) == (1, 1)
        await it.refused("UNKNOWN_KEY")
        assert it.provider.unwrapped == 0, "what is known already is never unwrapped again"
        await it.epoch(1)
        await it.answered()


async def test_e11_an_epoch_begun_by_others(database_url: str, tmp_path: Path) -> None:
    """The one reload finds a new epoch: the same request reads what was wrapped under it."""
    async with keeping(database_url, tmp_path) as it:
        await it.publish(2, "pending")
        stored = [*it.rows, await _row_of(it, 2)]
        moved = KeySet.load(it.provider, ENV, _activated(stored)).rewrap(
            "north-clinic", it.patient_id, KeyClass.IDENTITY, 1,
            (await it.intruder.row(it.patient_id, "identity"))["wrapped"],
        )  # fmt: skip
        await it.intruder.write(it.patient_id, "identity", wrapped=moved.wrapped)
        it.provider.unwrapped = 0
        await it.answered()
        assert (len(it.looks), it.provider.unwrapped) == (1, 1)
        await it.answered()
        assert (len(it.looks), it.provider.unwrapped) == (1, 1)


async def _row_of(it: Keeping, number: int) -> StoredKey:
    columns = "kind, key_class, no, state, provider, key_ref, wrapped"
    [row] = await it.intruder.run(f"SELECT {columns} FROM crypto_key WHERE key_class = 'identity' AND no = {number}")
    return StoredKey(*row)


def _activated(rows: Sequence[StoredKey]) -> list[StoredKey]:
    states = {1: "retiring", 2: "active"}
    return [replace(row, state=states[row.no]) if row.key_class == "identity" else row for row in rows]


async def test_e11_an_epoch_that_was_destroyed(database_url: str, tmp_path: Path) -> None:
    """It is told as such, without asking anybody: what was wrapped under it is gone for good."""

    def destroyed(ring: KeyRing, rows: Sequence[StoredKey]) -> Sequence[StoredKey]:
        gone = [replace(row, state="destroyed", wrapped=None) for row in rows if row.key_class == "identity"]
        second = new_wrap_key(ring, ENV, KeyClass.IDENTITY, 2, "active")
        return [*(row for row in rows if row.key_class != "identity"), *gone, second]

    async with keeping(database_url, tmp_path, destroyed) as it:
        await it.refused("KEY_DESTROYED")
        assert (it.looks, it.provider.unwrapped) == ([], 0)


async def test_e11_a_provider_that_does_not_answer(database_url: str, tmp_path: Path) -> None:
    """What could not be looked for is not called unknown; known keys go on; once it is back, so do others."""
    async with keeping(database_url, tmp_path) as it:
        await it.publish(7, "pending")
        await it.answered()
        await it.epoch(7)
        it.provider.away = True
        for _ in range(2):
            await it.refused("PROVIDER_UNAVAILABLE")
        await it.epoch(1)
        await it.answered()
        it.provider.away = False
        await it.epoch(7)
        await asyncio.sleep(BETWEEN_LOOKS)  # the moment in which nobody asks again
        await it.refused("TAMPERED")  # the epoch is known now, and never wrapped this key


def test_e11_the_four_are_told_apart() -> None:
    """None of the four errors is another one."""
    kinds = (Tampered, UnknownKey, KeyDestroyed, ProviderUnavailable, StoreUnavailable)
    assert [(one, two) for one in kinds for two in kinds if one is not two and issubclass(one, two)] == []


def test_e11_a_start_without_the_provider(tmp_path: Path) -> None:
    """Loading keys says that the provider is away, that a root key was destroyed, or that the ring is another one."""
    ring = KeyRing.create(tmp_path / "keyring.json")
    provider = WatchedRing(ring)
    rows = KeySet.bootstrap(ring, ENV)
    provider.away = True
    with pytest.raises(ProviderUnavailable):
        KeySet.load(provider, ENV, rows)
    with pytest.raises(Unsafe, match="does not fit"):
        KeySet.load(KeyRing.create(tmp_path / "other.json"), ENV, rows)
    provider.away = False
    KeySet.load(provider, ENV, rows)
