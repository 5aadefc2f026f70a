"""The living key set of a process: what it says of itself, how it learns, and what it stops doing when it cannot."""

import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from commands.house import house
from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.provider import Wrapped
from crm.crypto.stored_key import new_index_key, new_wrap_key
from crm.errors import KeyUnavailable, ProviderUnavailable
from crm.settings import load
from crm.store import keystore, replicas
from crm.store.keyroom import BETWEEN_LOOKS, KeyRoom
from crm.store.replicas import Replica
from tests.custody import Member, member
from tests.durable import durable
from tests.house import REQUEST, now
from tests.intruder import Intruder
from tests.keys import ENV
from tests.logs import database_at
from tests.processes import founded
from tests.reliability.test_rotation import ASKED, CLERK, found, person, read


class Keeper:
    """A key ring that can be away or slow, and counts what it unwraps."""

    name = "keyring"

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.away = False
        self.answers = threading.Event()
        self.answers.set()
        self.unwrapped = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ring, name)

    def uses(self) -> frozenset[str]:
        self.answers.wait()
        return self._ring.uses()

    def unwrap(self, wrapped: Wrapped, context: Mapping[str, str]) -> bytes:
        self.unwrapped += 1
        if self.away:
            raise ProviderUnavailable("no answer")
        return self._ring.unwrap(wrapped, context)


async def reported(one: Member) -> Replica:
    """What the replica says of itself."""
    [row] = [row for row in await replicas.replicas(one.database) if row.node == one.keyroom.node]
    return row


def keeper_of(one: Member) -> Keeper:
    """The stand-in."""
    assert isinstance(one.provider, Keeper)
    return one.provider


async def test_a_process_says_what_it_holds_until_it_ends(database_url: str, tmp_path: Path) -> None:
    """Its row names each key and its state, is renewed again and again, and goes with it."""
    async with member(database_url, tmp_path, refresh=0.1) as one:
        first = await reported(one)
        assert first.holds == {
            use: {1: "active"} for use in ("contact", "identity", "index", "log", "preference", "sensitive")
        }
        await asyncio.sleep(0.5)
        assert (await reported(one)).seen_at > first.seen_at
    async with database_at(database_url) as database:
        assert await replicas.replicas(database) == []


async def test_a_process_is_seen_before_it_first_looks(database_url: str, tmp_path: Path) -> None:
    """Whoever publishes a key from then on waits for it: it does not say yet what it holds."""
    async with member(database_url, tmp_path, node="first", provider=Keeper) as one:
        ring = keeper_of(one)
        ring.answers.clear()
        room = KeyRoom(one.database, ring, ENV, one.keys, node="starting", clock=now, refresh=60, max_age=60)
        start = asyncio.create_task(room.start())
        await asyncio.sleep(0.3)
        [starting] = [row for row in await replicas.replicas(one.database) if row.node == "starting"]
        assert starting.holds is None
        assert not starting.knows("identity", 1)
        assert starting.relies_on_older("identity", 2)
        ring.answers.set()
        await start
        [started] = [row for row in await replicas.replicas(one.database) if row.node == "starting"]
        assert started.knows("identity", 1)
        await room.stop()


async def test_a_start_without_the_provider_leaves_nothing(database_url: str, tmp_path: Path) -> None:
    """It fails with the provider's error, and nobody has to wait for that process."""
    async with member(database_url, tmp_path, node="first", provider=Keeper) as one:
        ring = keeper_of(one)
        nothing = KeySet([], {}, frozenset())
        room = KeyRoom(one.database, ring, ENV, nothing, node="late", clock=now, refresh=60, max_age=60)
        ring.away = True
        with pytest.raises(ProviderUnavailable):
            await room.start()
        assert [row.node for row in await replicas.replicas(one.database)] == ["first"]
        ring.away = False
        await room.start()
        assert [row.node for row in await replicas.replicas(one.database)] == ["first", "late"]
        await room.stop()


async def test_a_look_asks_the_provider_for_new_keys_only(database_url: str, tmp_path: Path) -> None:
    """Nothing is unwrapped when nothing is new, and one key when one is."""
    async with member(database_url, tmp_path, provider=Keeper) as one:
        ring = keeper_of(one)
        ring.unwrapped = 0
        await one.keyroom.look()
        assert ring.unwrapped == 0
        await keystore.add(one.database, new_wrap_key(ring, ENV, KeyClass.CONTACT, 2, "pending"), now())
        await one.keyroom.look()
        await one.keyroom.look()
        assert ring.unwrapped == 1
        assert one.keys.states()["contact"] == {1: "active", 2: "pending"}


async def test_a_pending_key_that_cannot_be_had_yet(database_url: str, tmp_path: Path) -> None:
    """Nobody needs it: the process goes on, says that it lacks it, and takes it when the provider is back."""
    async with member(database_url, tmp_path, provider=Keeper) as one:
        ring = keeper_of(one)
        await keystore.add(one.database, new_wrap_key(ring, ENV, KeyClass.CONTACT, 2, "pending"), now())
        ring.away = True
        await one.keyroom.look()
        assert not (await reported(one)).knows("contact", 2)
        await one.house.register(person(1))
        ring.away = False
        await one.keyroom.look()
        assert (await reported(one)).knows("contact", 2)


async def test_a_process_that_cannot_learn_still_says_that_it_lives(database_url: str, tmp_path: Path) -> None:
    """Whoever rotates keys has to wait for it, because it still reads and writes."""
    async with member(database_url, tmp_path, provider=Keeper, refresh=0.1) as one:
        ring = keeper_of(one)
        rows = {row.key.name: row.key for row in await keystore.key_rows(one.database)}
        fresh = new_wrap_key(ring, ENV, KeyClass.CONTACT, 2, "pending")
        ring.away = True
        await keystore.add(one.database, fresh, now())
        assert await keystore.activate(one.database, rows["contact", 1], fresh, now())
        before = await reported(one)
        await asyncio.sleep(0.5)
        after = await reported(one)
        assert after.seen_at > before.seen_at
        assert (after.holds or {})["contact"] == {1: "active"}
        assert after.relies_on_older("contact", 2)


async def test_too_old_keys_change_nothing_and_search_nothing(database_url: str, tmp_path: Path) -> None:
    """After the longest age without a look: no registration, no change, no search; reading goes on; a look heals it."""
    async with member(database_url, tmp_path, max_age=0.8) as one:
        patient_id = str((await one.house.register(person(1)))["id"])
        assert await found(one, 1) == ["P1"] * 3
        await asyncio.sleep(1.0)
        changes = one.house.services.changes
        with pytest.raises(KeyUnavailable):
            await one.house.register(person(2))
        with pytest.raises(KeyUnavailable):
            await changes.update(CLERK, REQUEST, patient_id, 1, {"preferred_name": "No"}, ASKED)
        with pytest.raises(KeyUnavailable):
            await found(one, 1)
        assert await read(one, patient_id) == "P1"
        assert await Intruder(database_url).run("SELECT count(*) FROM patient") == [(1,)]
        await one.keyroom.look()
        assert await found(one, 1) == ["P1"] * 3
        await changes.update(CLERK, REQUEST, patient_id, 1, {"preferred_name": "Yes"}, ASKED)


async def test_a_look_out_of_turn_follows_a_regular_one_at_once(database_url: str, tmp_path: Path) -> None:
    """Only looks out of turn are counted: a key that was begun right after a regular look is not unknown."""
    async with member(database_url, tmp_path, node="one") as one:
        await one.keyroom.look()
        await keystore.add(one.database, new_index_key(one.provider, ENV, 2, "pending"), now())
        await one.keyroom.renew()
        assert one.keys.index_versions() == (1, 2)
        await keystore.add(one.database, new_index_key(one.provider, ENV, 3, "pending"), now())
        await one.keyroom.renew()
        assert one.keys.index_versions() == (1, 2), f"not twice within {BETWEEN_LOOKS} s"


async def test_a_renewal_does_not_wait_for_a_writer(database_url: str, tmp_path: Path) -> None:
    """Whoever asks inside a transaction gets an answer while a regular look waits to report itself."""
    async with member(database_url, tmp_path) as one:
        async with one.database.transaction("north-clinic"):
            look = asyncio.create_task(one.keyroom.look())
            await asyncio.sleep(0.1)
            async with asyncio.timeout(2):
                await one.keyroom.renew()
        await look


async def test_an_older_database_gets_its_signing_key(engine: str, databases: Any, tmp_path: Path) -> None:
    """What an earlier release founded has none: the next start makes one, and no later start another."""
    if engine == "postgresql":
        with durable() as server:
            await _signing_keys(server.url, tmp_path)
    else:
        await _signing_keys(databases.create("sqlite"), tmp_path)


async def _signing_keys(url: str, folder: Path) -> None:
    settings = load(**founded(folder / "data", url))
    intruder = Intruder(url)
    async with house(settings) as it:
        before = it.services.store.keys.signer()
    await intruder.run("DELETE FROM crypto_key WHERE kind = 'sign'")
    for _ in range(2):
        async with house(settings) as it:
            number, seed = it.services.store.keys.signer()
            assert (number, len(seed), seed != before[1]) == (1, 32, True)
    assert await intruder.run("SELECT kind, no, state FROM crypto_key WHERE kind = 'sign'") == [("sign", 1, "active")]
