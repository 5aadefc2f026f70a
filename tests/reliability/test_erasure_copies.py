"""The erasure ledger beside many writers, its copies that were away, and erasing without any key."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auth.roles import Role
from crm.catalogue import KeyClass
from crm.crypto.keyset import KeySet
from crm.crypto.note import open_note
from crm.errors import KeyUnavailable, Unsafe
from crm.store.journal import Journal
from crm.store.keystore import stored_keys
from crm.store.ledger import Erasure, Link, chain_hash, sound_until
from crm.store.ledger_copies import JournalCopy, LedgerCopies
from tests.conftest import Databases
from tests.house import REQUEST, actor
from tests.keys import ENV, partial_ring
from tests.people import WHOLE
from tests.premises import Place, Premises, opened

CLERK = actor(Role.INTEGRATION)


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A place on each engine."""
    return Place(database_url, tmp_path)


async def person(it: Premises, **more: Any) -> str:
    """The id of a fresh patient with a value in every field."""
    return str((await it.house.register({**WHOLE, **more}))["id"])


async def test_many_erasures_at_once(place: Place) -> None:
    """Erasures of one organisation that meet leave one chain without gaps, in the database and in the journal."""
    async with opened(place) as it:
        ids = [await person(it) for _ in range(12)]
        receipts = await asyncio.gather(*(it.erase(one) for one in ids))
        assert sorted(receipt.ledger_seq for receipt in receipts) == list(range(1, 13))
    [chain] = place.journal.chains().values()
    assert sound_until(chain) == len(chain) == 12
    assert {link.erasure().patient_id for link in chain} == set(ids)
    async with opened(place):
        pass


async def test_a_copy_that_was_away(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """The journal cannot be written: the erasure holds, its receipt is given, it is said; the next one catches up."""
    path = place.journal.path
    async with opened(place) as it:
        first, second, third = [await person(it) for _ in range(3)]
        path.mkdir()
        with caplog.at_level(logging.WARNING, "heed.erasure"):
            assert (await it.erase(first)).ledger_seq == 1
        assert "does not have the newest erasures" in caplog.text
        assert first not in caplog.text
        path.rmdir()
        await it.erase(second)
        assert [link.seq for link in place.journal.chains()["north-clinic"]] == [1, 2]
        path.unlink()
        path.mkdir()
        await it.erase(third)
        path.rmdir()
    async with opened(place):
        assert [link.seq for link in place.journal.chains()["north-clinic"]] == [1, 2, 3]


async def test_a_journal_that_cannot_be_read(place: Place) -> None:
    """Whether it knows more cannot be known then, so nothing starts."""
    (place.folder / "file").touch()
    async with opened(place) as it:
        copies = LedgerCopies(it.house.database, [JournalCopy(Journal(place.folder / "file" / "erasures.ndjson"))])
        with pytest.raises(Unsafe, match="cannot be read"):
            await copies.check()


async def test_a_copy_that_was_emptied(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody took away what could tell of an old database, or lost it: it is written anew, and that is said."""
    said = "does not exist or is empty; it is written anew: was it lost, or put back from a copy?"
    with caplog.at_level(logging.WARNING, "heed.erasure"):
        async with opened(place) as it:
            await it.erase(await person(it))
        async with opened(place):
            pass
        assert said not in caplog.text
        whole = place.journal.path.read_bytes()
        for take_away in (place.journal.path.unlink, lambda: place.journal.path.write_bytes(b"")):
            caplog.clear()
            take_away()
            async with opened(place):
                pass
            assert [record.message for record in caplog.records] == [f"the erasure journal {place.journal.path} {said}"]
            assert place.journal.path.read_bytes() == whole


async def test_a_journal_of_another_service(place: Place, databases: Databases, engine: str) -> None:
    """Two services that share a journal by mistake tell different stories of the same numbers: neither starts."""
    other = replace(place, url=databases.create(engine), folder=place.folder / "other")
    other.folder.mkdir()
    for one in (place, other):
        async with opened(one) as it:
            await it.erase(await person(it))
    place.journal.path.write_bytes(other.journal.path.read_bytes())
    with pytest.raises(Unsafe, match="different stories"):
        async with opened(place):
            pass
    databases.drop(other.url)


def test_writers_of_the_journal_take_turns(tmp_path: Path) -> None:
    """Several at once, each with the whole chain: every link stands there once, in order; the file is private."""
    journal = Journal(tmp_path / "deep" / "erasures.ndjson")
    chain: list[Link] = []
    for seq in range(1, 41):
        text = Erasure("north", seq, "p", True, (), (), (), "UNLAWFUL", "r", "u", seq).text()
        chain.append(Link("north", seq, text, chain_hash(chain[-1].hash if chain else b"", text)))
    with ThreadPoolExecutor(8) as threads:
        added = sum(threads.map(lambda upto: journal.follow({"north": chain[:upto]}), [5, 40, 10, 40, 20, 40, 30, 40]))
    assert added == 40
    assert journal.chains() == {"north": chain}
    assert journal.path.stat().st_mode & 0o777 == 0o600


async def test_a_replica_without_the_keys(place: Place) -> None:
    """Erasing needs no key: a replica that may read nothing but languages erases all, and signs only if it may."""
    async with opened(place) as it:
        patient_id = await person(it)
        part = partial_ring(place.folder / "keyring.json", "preference")
        few = KeySet.load(part, ENV, await stored_keys(it.keystore))
        it.house.services.store.keys.adopt(few)
        with pytest.raises(KeyUnavailable):
            await it.house.services.profiles.read(CLERK, REQUEST, patient_id, frozenset({"religion"}))
        receipt = await it.erase(patient_id)
        assert receipt.waits_for == tuple(f"{each}/1" for each in sorted(KeyClass))
        assert receipt.index_waits_for == ("index/1",)
        assert "\u2014" not in receipt.note
        assert set((await place.left(patient_id)).values()) == {0}
    async with opened(place) as it:
        [signed] = await it.receipts(patient_id)
        assert open_note(signed.note, str(it.erasures.verifier_key("north-clinic")))
