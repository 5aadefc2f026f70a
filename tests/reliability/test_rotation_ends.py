"""The end of old keys: refused while anything needs them, whole wherever it stops, and final for old copies."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.provider import Destruction
from crm.errors import KeyDestroyed, Unsafe
from crm.services.key_life import ends, indexes, roots, wraps
from crm.services.key_life.ends import Ending, Verdict
from crm.store import keystore, replicas
from tests.custody import Member, Stopped, member
from tests.house import ORG, now
from tests.intruder import Intruder
from tests.keys import ENV
from tests.reliability.test_rotation import each_is_whole, person, states

DAY = 86_400 * 1_000_000
KEEP = 30 * DAY


@pytest.fixture
async def one(database_url: str, tmp_path: Path) -> AsyncIterator[Member]:
    """One replica."""
    async with member(database_url, tmp_path) as it:
        yield it


@pytest.fixture
async def ids(one: Member) -> dict[int, str]:
    """Three patients of one organisation."""
    return {number: str((await one.house.register(person(number)))["id"]) for number in (0, 1, 3)}


async def named(found: list[Ending]) -> dict[str, str]:
    """The verdict of each old key; root keys by their use."""
    return {f"{one.use} {one.no or 'root'}": one.verdict.value for one in found}


async def test_an_old_epoch_ends(one: Member, ids: dict[int, str]) -> None:
    """Drained and old enough: its octets and its root key go, what lives is under another, and the log says so."""
    before = one.provider.roots("identity")
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    copy = [row.key for row in await keystore.key_rows(one.database)]
    later = one.custodian(store=_Later(one, KEEP + DAY))
    ended = await ends.destroy(later, KEEP, hurry=False)
    assert await named(ended) == {"identity 1": "ready", "identity root": "ready"}
    rows = {row.no: row for row in await keystore.key_rows(one.database) if row.key.use == "identity"}
    assert (rows[1].state, rows[1].key.wrapped) == ("destroyed", None)
    assert (rows[1].destroyed_at or 0) >= (rows[1].drained_at or 0) + KEEP
    assert rows[2].key.key_ref == one.provider.roots("identity")[-1] not in before
    assert one.keys.states()["identity"] == {2: "active"}
    await each_is_whole(one, ids)
    leaves = await one.house.leaves(org=ORG, act="key.rotate")
    assert [leaf["why"] for leaf in leaves if leaf["why"].startswith("destroy")] == [
        "destroy:identity:1", "destroy:root:identity",
    ]  # fmt: skip
    # An old copy of the key store is no help, whoever has the key ring of today.
    with pytest.raises(Unsafe, match="does not fit"):
        KeySet.load(one.provider, ENV, copy)


class _Later:
    """The store of a member as it is seen some time later."""

    def __init__(self, one: Member, by: int) -> None:
        self._store = one.house.services.store
        self._by = by

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def clock(self) -> int:
        return now() + self._by


async def test_copies_are_kept_for_their_time(one: Member, ids: dict[int, str]) -> None:
    """A key that copies still need stays, and says until when; whoever is in a hurry may end it all the same."""
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    assert await ends.destroy(one.custodian(), KEEP, hurry=False) == []
    [kept] = await ends.plan(one.custodian(), KEEP, hurry=False)
    [drained] = [row.drained_at for row in await keystore.key_rows(one.database) if row.drained_at]
    assert (kept.verdict, kept.due) == (Verdict.YOUNG, drained + KEEP)
    assert await states(one, "identity") == {1: "retiring", 2: "active"}
    assert await named(await ends.destroy(one.custodian(), KEEP, hurry=True)) == {
        "identity 1": "ready", "identity root": "ready",
    }  # fmt: skip
    await each_is_whole(one, ids)


async def _column(it: Intruder, patient_id: str, epoch: int) -> None:
    """What the column says of a data key, whatever its octets say."""
    await it.run(f"UPDATE patient_key SET epoch = {epoch} WHERE patient_id = ? AND key_class = 'identity'", patient_id)


@pytest.mark.parametrize("attack", ["the key itself", "the column alone"])
async def test_e29_an_epoch_that_is_needed(one: Member, ids: dict[int, str], database_url: str, attack: str) -> None:
    """One data key under it, as its column or only as its own octets say, and it is refused with the count."""
    it = Intruder(database_url)
    wrapped = (await it.row(ids[0], "identity"))["wrapped"]
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    moved = (await it.row(ids[0], "identity"))["wrapped"]
    if attack == "the key itself":
        await it.write(ids[0], "identity", wrapped=wrapped)
    else:
        await _column(it, ids[0], 1)
    assert await ends.destroy(one.custodian(), KEEP, hurry=True) == []
    [kept] = await ends.plan(one.custodian(), KEEP, hurry=True)
    assert (kept.use, kept.no, kept.verdict, kept.references) == ("identity", 1, Verdict.NEEDED, 1)
    assert await states(one, "identity") == {1: "retiring", 2: "active"}
    await each_is_whole(one, ids)
    # The control: without the reference it ends.
    await it.write(ids[0], "identity", wrapped=moved)
    await _column(it, ids[0], 2)
    assert "identity 1" in await named(await ends.destroy(one.custodian(), KEEP, hurry=True))


@pytest.mark.parametrize("table", ["blind_index", "source_record"])
async def test_e29_an_index_version_that_is_needed(
    one: Member, ids: dict[int, str], database_url: str, table: str
) -> None:
    """One index value, or one digest of an imported record, and it is refused with the count."""
    it = Intruder(database_url)
    await indexes.rotate(one.custodian())
    place = (ORG, ids[0])
    if table == "blind_index":
        await it.run(
            "INSERT INTO blind_index (org, index_code, key_ver, value, patient_id, row_id) VALUES (?, 1, 1, ?, ?, 'x')",
            ORG, b"left", ids[0],
        )  # fmt: skip
    else:
        await it.run(
            "INSERT INTO source_record (org, slot, patient_id, digest, key_ver) VALUES (?, ?, ?, ?, 1)",
            ORG, b"slot", ids[0], b"digest",
        )  # fmt: skip
    assert await ends.destroy(one.custodian(), KEEP, hurry=True) == []
    [kept] = await ends.plan(one.custodian(), KEEP, hurry=True)
    assert (kept.use, kept.no, kept.verdict, kept.references) == ("index", 1, Verdict.NEEDED, 1)
    assert await states(one, "index") == {1: "retiring", 2: "active"}
    await it.run(f"DELETE FROM {table} WHERE org = ? AND patient_id = ? AND key_ver = 1", *place)
    assert "index 1" in await named(await ends.destroy(one.custodian(), KEEP, hurry=True))
    await each_is_whole(one, ids)


async def test_e29_a_key_that_somebody_writes_under(one: Member, ids: dict[int, str]) -> None:
    """A replica that has not said that it left the old epoch may write under it at any moment."""
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    await replicas.report(one.database, "behind", now(), now(), {"identity": {1: "active"}}, DAY)
    assert await ends.destroy(one.custodian(), KEEP, hurry=True) == []
    assert [end.verdict for end in await ends.plan(one.custodian(), KEEP, hurry=True)] == [Verdict.UNFINISHED]
    await replicas.leave(one.database, "behind")
    assert "identity 1" in await named(await ends.destroy(one.custodian(), KEEP, hurry=True))


async def test_active_pending_and_signing_keys_never_end(one: Member, ids: dict[int, str]) -> None:
    """There is nothing to destroy where nothing is old."""
    assert await ends.plan(one.custodian(), 0, hurry=True) == []
    assert await ends.destroy(one.custodian(), 0, hurry=True) == []
    stored = {row.key.name: row.state for row in await keystore.key_rows(one.database)}
    assert set(stored.values()) == {"active"}


async def test_old_root_keys_end_by_themselves(one: Member, ids: dict[int, str]) -> None:
    """A root key that nothing is under ends when copies of the key store from its time are not kept any more."""
    await roots.rotate(one.custodian(), "contact")
    [kept] = await ends.plan(one.custodian(), KEEP, hurry=False)
    assert (kept.use, kept.no, kept.verdict) == ("contact", None, Verdict.YOUNG)
    later = one.custodian(store=_Later(one, KEEP + DAY))
    assert await named(await ends.destroy(later, KEEP, hurry=False)) == {"contact root": "ready"}
    assert len(one.provider.roots("contact")) == 1
    await each_is_whole(one, ids)


async def test_an_epoch_is_gone_when_every_root_key_that_wrapped_it_is(one: Member, ids: dict[int, str]) -> None:
    """A copy of the key store from before a root rotation still opens with the old root key: the end waits for that."""
    first = [row.key for row in await keystore.key_rows(one.database)]
    await roots.rotate(one.custodian(), "identity")
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    [old] = [key for key in first if key.use == "identity"]
    await keystore.drained(one.database, old, now() - KEEP)
    assert await named(await ends.destroy(one.custodian(), KEEP, hurry=False)) == {"identity 1": "ready"}

    async def ended() -> int | None:
        [row] = [row for row in await keystore.key_rows(one.database) if row.state == "destroyed"]
        return row.destroyed_at

    assert await ended() is None
    KeySet.load(one.provider, ENV, first)  # the control: whoever has a copy of then can open it
    later = one.custodian(store=_Later(one, KEEP + DAY))
    assert await named(await ends.destroy(later, KEEP, hurry=False)) == {"identity root": "ready"}
    assert await ended() is not None
    with pytest.raises(Unsafe, match="does not fit"):
        KeySet.load(one.provider, ENV, first)
    await each_is_whole(one, ids)


async def test_an_epoch_that_shares_its_root_key(one: Member, ids: dict[int, str]) -> None:
    """A root rotation brought old and new under one: the survivor comes under another before that one is destroyed."""
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    shared = (await roots.rotate(one.custodian(), "identity")).key_ref
    await ends.destroy(one.custodian(), KEEP, hurry=True)
    rows = {row.no: row for row in await keystore.key_rows(one.database) if row.key.use == "identity"}
    assert (rows[1].state, rows[1].key.key_ref, rows[2].state) == ("destroyed", shared, "active")
    assert rows[1].destroyed_at is not None
    assert rows[2].key.key_ref != shared
    assert one.provider.roots("identity") == [rows[2].key.key_ref]
    await each_is_whole(one, ids)


async def test_a_key_store_from_a_copy_does_not_hide_a_root_key(one: Member, database_url: str) -> None:
    """Put back from before a root rotation, its rows know nothing of the newer root key; copies from in between do."""
    it = Intruder(database_url)
    [before] = [row for row in await keystore.key_rows(one.database) if row.key.use == "identity"]
    await roots.rotate(one.custodian(), "identity")
    between = [row.key for row in await keystore.key_rows(one.database)]
    await it.run(
        "UPDATE crypto_key SET key_ref = ?, wrapped = ?, former_refs = '[]', wrapped_at = NULL "
        "WHERE key_class = 'identity'",
        before.key.key_ref, before.key.wrapped,
    )  # fmt: skip
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    KeySet.load(one.provider, ENV, between)  # the control
    await ends.destroy(one.custodian(), KEEP, hurry=True)
    [row] = [row for row in await keystore.key_rows(one.database) if row.state == "destroyed"]
    assert row.destroyed_at is not None
    with pytest.raises(Unsafe, match="does not fit"):
        KeySet.load(one.provider, ENV, between)


async def test_nothing_is_stored_under_an_epoch_that_ended(database_url: str, tmp_path: Path) -> None:
    """A replica that was taken for gone, whatever its clock says: its write is refused, not lost for ever."""
    async with member(database_url, tmp_path) as one, member(database_url, tmp_path, node="stale") as stale:
        hasty = one.custodian(max_age=0)
        for key_class in KeyClass:
            await wraps.rotate(hasty, key_class)
        await stale.house.register(person(0))  # the control: under the old epoch, which is still there
        assert "identity 1" not in await named(await ends.destroy(hasty, KEEP, hurry=True))
        for key_class in KeyClass:
            await wraps.rotate(hasty, key_class)
        ended = await named(await ends.destroy(hasty, KEEP, hurry=True))
        assert {f"{key_class} 1" for key_class in KeyClass} <= ended.keys()
        with pytest.raises(KeyDestroyed):
            await stale.house.register(person(1))
        await stale.keyroom.look()
        await stale.house.register(person(1))


async def test_copies_of_what_lives_outlast_the_end_of_an_epoch(one: Member, ids: dict[int, str]) -> None:
    """The key store as it was after a rotation still opens when the old epoch is destroyed: a restore needs it."""
    await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
    copy = [row.key for row in await keystore.key_rows(one.database) if row.state != "retiring"]
    later = one.custodian(store=_Later(one, KEEP + DAY))
    assert await named(await ends.destroy(later, KEEP, hurry=False)) == {
        "identity 1": "ready", "identity root": "ready",
    }  # fmt: skip
    KeySet.load(one.provider, ENV, copy)


class _Frail:
    """A key ring whose process ends before or after one of its calls."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring
        self.calls = 0
        self.last = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._ring, name)
        if name not in ("rotate", "destroy", "rewrap"):
            return found

        def call(*words: Any) -> Any:
            self._stop()
            answer = found(*words)
            self._stop()
            return answer

        return call

    @property
    def name(self) -> str:
        return "keyring"

    def _stop(self) -> None:
        self.calls += 1
        if self.calls == self.last:
            raise Stopped


async def test_an_end_that_is_stopped_anywhere(database_url: str, tmp_path: Path) -> None:
    """Killed before or after each call of the provider, everything that lives opens; run again, it comes to its end."""
    frail: list[_Frail] = []

    def keeper(ring: KeyRing) -> Any:
        frail.append(_Frail(ring))
        return frail[-1]

    async with member(database_url, tmp_path, provider=keeper) as one:
        ids = {number: str((await one.house.register(person(number)))["id"]) for number in (0, 1, 3)}
        await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
        await indexes.rotate(one.custodian())
        stops = 0
        for last in range(1, 30):
            frail[0].calls, frail[0].last = 0, last
            try:
                await ends.destroy(one.custodian(), KEEP, hurry=True)
                break
            except Stopped:
                stops += 1
            frail[0].last = 0
            # A process that starts now has to find everything in order.
            async with member(database_url, tmp_path, node=f"later-{last}") as other:
                await each_is_whole(other, ids)
        assert stops > 3
        frail[0].last = 0
        assert await states(one, "identity") == {1: "destroyed", 2: "active"}
        assert await states(one, "index") == {1: "destroyed", 2: "active"}
        assert [len(one.provider.roots(use)) for use in ("identity", "index")] == [1, 1]
        rows = [row for row in await keystore.key_rows(one.database) if row.state == "destroyed"]
        assert all(row.destroyed_at for row in rows)
        await each_is_whole(one, ids)


async def test_a_waiting_period_of_the_provider_is_told(database_url: str, tmp_path: Path) -> None:
    """Where a root key can be brought back for some days, the end is told as lying ahead."""

    class Waiting(_Frail):
        def destroy(self, key_ref: str) -> Destruction:
            return Destruction(key_ref, self._ring.destroy(key_ref).at + 7 * DAY)

    async with member(database_url, tmp_path, provider=Waiting) as one:
        await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
        await ends.destroy(one.custodian(), KEEP, hurry=True)
        [row] = [row for row in await keystore.key_rows(one.database) if row.state == "destroyed"]
        assert (row.destroyed_at or 0) > now() + 6 * DAY


async def test_old_copies_are_noise_after_the_end(database_url: str, tmp_path: Path) -> None:
    """A data key as an old copy has it, and an old copy of the key store: not even with every key of today."""
    async with member(database_url, tmp_path) as one:
        patient_id = str((await one.house.register(person(0)))["id"])
        wrapped = (await Intruder(database_url).row(patient_id, "identity"))["wrapped"]
        one.keys.data_key(ORG, patient_id, KeyClass.IDENTITY, 1, wrapped)  # the control
        await wraps.rotate(one.custodian(), KeyClass.IDENTITY)
        await ends.destroy(one.custodian(), KEEP, hurry=True)
        with pytest.raises(KeyDestroyed):
            one.keys.data_key(ORG, patient_id, KeyClass.IDENTITY, 1, wrapped)
