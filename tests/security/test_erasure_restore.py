"""Attacks by old copies, E-33 and E-34: what was erased stays so, and once the keys are destroyed no copy opens."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from auth.roles import Role
from crm.catalogue import KeyClass
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.errors import Erased, Invalid, KeyDestroyed, Unsafe
from crm.services.merging import Which
from tests.conftest import Databases
from tests.house import ORG, REQUEST, actor
from tests.intruder import Intruder
from tests.people import WHOLE
from tests.premises import Place, Premises, copied, opened

OFFICER = actor(Role.PRIVACY_OFFICER)
CLERK = actor(Role.INTEGRATION)


@pytest.fixture
def place(database_url: str, tmp_path: Path) -> Place:
    """A place of its own, with keys and records in one database."""
    return Place(database_url, tmp_path)


@pytest.fixture
def two(engine: str, databases: Databases, tmp_path: Path) -> Iterator[Place]:
    """A place whose keys lie in a database of their own, as production has it."""
    urls = [databases.create(engine) for _ in range(2)]
    yield Place(urls[0], tmp_path, urls[1])
    for url in urls:
        databases.drop(url)


# --- E-33 -----------------------------------------------------------------------------------------------------------


async def test_e33_an_old_copy_of_the_records(place: Place, databases: Databases, tmp_path: Path) -> None:
    """Old records and today's journal: refused, then replayed; the erased stay so, the others can be read."""
    await _restored(place, databases, tmp_path / "backup")


async def test_e33_an_old_copy_and_the_latest_key_store(two: Place, databases: Databases, tmp_path: Path) -> None:
    """Old records and today's key store, the journal lost: the key store remembers."""
    await _restored(two, databases, tmp_path / "backup", lose_journal=True)


async def _restored(place: Place, databases: Databases, backup: Path, *, lose_journal: bool = False) -> None:
    async with opened(place) as it:
        whole, part, other = [(await it.house.register(WHOLE))["id"] for _ in range(3)]
    restored = replace(place, url=copied(databases, place.url, backup))
    async with opened(place) as it:
        later = (await it.house.register(WHOLE))["id"]
        first = await it.erase(whole)
        await it.erase(part, KeyClass.CONTACT)
        await it.erase(later)
        told = await it.receipts(whole)
    if lose_journal:
        place.journal.path.unlink()

    # The control: without the ledger's copies the restored database answers everything again.
    async with opened(replace(restored, folder=backup.parent, keystore_url=place.keystore_url), forgetful=True) as it:
        assert await _answers(it, whole)
    with pytest.raises(Unsafe, match=r"3 erasures are missing .* replay-erasures"):
        async with opened(restored):
            pass
    async with opened(restored, forgetful=True) as it:
        assert await it.replay() == 3
        assert await it.replay() == 0
        for leaf in await it.house.leaves(act="erase"):
            assert (leaf["out"], leaf["why"]) == ("ok", "PATIENT_REQUEST")
    async with opened(restored) as it:
        assert set((await restored.left(whole)).values()) == {0}
        with pytest.raises(Erased):
            await it.erase(whole)
        profile = await it.house.services.profiles.read(CLERK, REQUEST, part, frozenset({"contactPoints", "timeZone"}))
        assert isinstance(profile["contact_points"], Erased)
        assert profile["time_zone"] == "Africa/Nairobi"
        assert await _answers(it, other)
        [again] = await it.receipts(whole)
        assert replace(again, note="") == replace(told[0], note="") == replace(first, note="")
        # Life goes on from there: the chain too, here and in the copies.
        receipt = await it.erase(other)
        assert receipt.ledger_seq == 4
    async with opened(restored):
        pass
    if not restored.url.startswith("sqlite:"):
        databases.drop(restored.url)


async def _answers(it: Premises, patient_id: str) -> bool:
    profile = await it.house.services.profiles.read(CLERK, REQUEST, patient_id, frozenset({"preferredName"}))
    return bool(profile["preferred_name"] == "Zoe")


async def test_e33_what_another_record_held(place: Place, databases: Databases, tmp_path: Path) -> None:
    """Former versions of a record that another was merged into by mistake are emptied again, too."""
    async with opened(place) as it:
        one, other = [(await it.house.register({"preferred_name": name}))["id"] for name in ("Ada", "Adele")]
        merging, nothing = it.house.services.merging, frozenset[str]()
        merged = await merging.merge(OFFICER, REQUEST, Which(one, 1, other, 1), MergeReason.REVIEWED, nothing)
        which = Which(one, merged["version"], other)
        await merging.unmerge(OFFICER, REQUEST, which, UnmergeReason.TWO_PEOPLE, nothing)
    restored = replace(place, url=copied(databases, place.url, tmp_path / "backup"))
    async with opened(place) as it:
        assert (await it.erase(other)).former == 1

    async def kept(it: Premises) -> bool:
        asked = frozenset({"names", "preferredName"})
        try:
            await it.house.services.history.read(CLERK, REQUEST, one, asked, version=merged["version"])
        except Invalid as refused:
            assert refused.rule == "not_kept"
            return False
        return True

    async with opened(restored, forgetful=True) as it:
        assert await kept(it)
        assert await it.replay() == 1
        assert not await kept(it)
        [receipt] = await it.receipts(other)
        assert receipt.former == 1
    if not restored.url.startswith("sqlite:"):
        databases.drop(restored.url)


async def test_e33_a_replay_that_was_killed(place: Place, databases: Databases, tmp_path: Path) -> None:
    """Replaying goes on where it was stopped: each erasure with its entry is one transaction."""
    async with opened(place) as it:
        ids = [(await it.house.register(WHOLE))["id"] for _ in range(4)]
    restored = replace(place, url=copied(databases, place.url, tmp_path / "backup"))
    async with opened(place) as it:
        for one in ids:
            await it.erase(one)
    async with opened(restored, forgetful=True) as it:
        chain = (await it.erasures.missing())[ORG]
        await it.erasures.replay(OFFICER, REQUEST, chain[:2])
    async with opened(restored, forgetful=True) as it:
        assert await it.replay() == 2
        for one in ids:
            assert set((await restored.left(one)).values()) == {0}
    if not restored.url.startswith("sqlite:"):
        databases.drop(restored.url)


# --- E-34 -----------------------------------------------------------------------------------------------------------


async def test_e34_old_records_and_old_keys(two: Place, databases: Databases, tmp_path: Path) -> None:
    """Once the epochs are destroyed, an old copy of records and keys opens for nobody; the receipt says since when."""
    async with opened(two) as it:
        gone, other = [(await it.house.register(WHOLE))["id"] for _ in range(2)]
    assert two.keystore_url
    backup = Place(
        copied(databases, two.url, tmp_path / "records"),
        tmp_path,  # the root keys are not in any copy: they are the provider's
        copied(databases, two.keystore_url, tmp_path / "keys"),
    )
    async with opened(two) as it:
        waiting = await it.erase(gone)
        classes = sorted(KeyClass)
        assert waiting.effective_in_copies_at is None
        assert waiting.waits_for == tuple(f"{each}/1" for each in classes)
        assert waiting.index_waits_for == ("index/1",)
        assert waiting.due_at
        assert waiting.due_at > waiting.erased_at
        # The control: until then the old copies open, with today's root keys, whatever was erased since.
        async with opened(backup, forgetful=True) as thief:
            assert await _answers(thief, gone)
        await it.end_all_epochs()
        [final] = await it.receipts(gone)
        destroyed = await Intruder(two.keystore_url).run(
            "SELECT max(destroyed_at) FROM crypto_key WHERE kind = 'wrap' AND state = 'destroyed'"
        )
        assert (final.waits_for, final.index_waits_for, final.due_at) == ((), (), None)
        assert final.effective_in_copies_at == destroyed[0][0]
        assert await _answers(it, other)  # what lives was moved to a new epoch

    with pytest.raises(Unsafe):  # its keys are under a root key that is no more
        async with opened(backup, forgetful=True):
            pass
    # Old records under today's keys: both are noise, and told as such.
    async with opened(replace(backup, keystore_url=two.keystore_url), forgetful=True) as thief:
        for one in (gone, other):
            with pytest.raises(KeyDestroyed):
                await _answers(thief, one)
    if not backup.url.startswith("sqlite:"):
        for url in (backup.url, str(backup.keystore_url)):
            databases.drop(url)
