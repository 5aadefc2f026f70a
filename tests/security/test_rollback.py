"""Attacks by old and changed logs, T3 to T5: a start compares the database with what is known of it outside."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from crm.audit.checkpoint import Checkpoint
from crm.audit.event import Act
from crm.crypto.cosignature import Cosigner
from crm.errors import Unsafe
from crm.services.outside import Outside, Trouble
from crm.services.publishing import Publisher
from crm.services.witnesses import Witness
from crm.store import epochs, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.database import Database
from tests.answering import answering, nobody
from tests.conftest import Databases
from tests.intruder import Intruder
from tests.logs import Clock, database_at, event, rows_of, signer, writer_on
from tests.premises import copied
from tests.reliability.test_outside import key_of
from tests.witnesses import COSIGNER, attending, witness

ORG = "north"


@dataclass(frozen=True)
class Site:
    """A database, the journal beside it, and perhaps a witness."""

    url: str
    journal: CheckpointJournal
    witness: str | None = None

    @property
    def witnesses(self) -> list[Witness]:
        """Those of the settings."""
        return [Witness(self.witness, COSIGNER.verifier_key)] if self.witness else []

    async def grow(self, count: int) -> None:
        """More events, published as a serving process does."""
        async with database_at(self.url) as database:
            async with writer_on(database) as writer:
                await writer.append(ORG, [event(number) for number in range(count)])
            publisher = Publisher(
                database, self.journal, self.witnesses, key_of, clock=Clock(), every=0, witness_every=0
            )
            await publisher.publish()
            await publisher.visit()

    async def troubles(self) -> list[Trouble]:
        """Why a start would be refused."""
        async with self._outside() as (_, outside):
            return await outside.troubles()

    @asynccontextmanager
    async def _outside(self) -> AsyncIterator[tuple[Database, Outside]]:
        async with database_at(self.url) as database:
            yield database, Outside(database, self.journal, self.witnesses, key_of, "heed.test")


@pytest.fixture
def site(database_url: str, tmp_path: Path) -> Site:
    """A site whose journal is outside."""
    return Site(database_url, CheckpointJournal(tmp_path / "outside" / "checkpoints.ndjson"))


@pytest.fixture
def backup(site: Site, databases: Databases, tmp_path: Path) -> Iterator[list[str]]:
    """Where copies are listed that go away with the test."""
    made: list[str] = []
    yield made
    for url in made:
        if not url.startswith("sqlite:"):
            databases.drop(url)


def copy(site: Site, made: list[str], databases: Databases, folder: Path) -> Site:
    """The site with its database as it is now, whatever happens to the other later."""
    made.append(copied(databases, site.url, folder / f"backup-{len(made)}"))
    return replace(site, url=made[-1])


async def test_t5_an_older_copy_is_refused(site: Site, backup: list[str], databases: Databases, tmp_path: Path) -> None:
    """The journal remembers more than the database has: no start, and both sizes are named, with what to do."""
    await site.grow(10)
    old = copy(site, backup, databases, tmp_path)
    await site.grow(300)
    assert await site.troubles() == []
    [trouble] = await old.troubles()
    assert trouble.text.startswith("ROLLBACK DETECTED: the log of north has 10 events, and the checkpoint journal")
    assert " knows one of 310 (heed.test/north/1)" in trouble.text
    assert "audit renew --org north" in trouble.text
    assert trouble.lost
    assert trouble.lost.size == 310


async def test_t5_the_journal_went_back_too(
    site: Site, backup: list[str], databases: Databases, tmp_path: Path
) -> None:
    """Without anything outside nobody can tell, which is a limit that is documented; a witness can."""
    with attending(witness(tmp_path / "w", signer(ORG, 1))) as url:
        site = replace(site, witness=url)
        await site.grow(10)
        old = copy(site, backup, databases, tmp_path)
        await site.grow(7)
        site.journal.path.unlink()
        assert await replace(old, witness=None).troubles() == []
        [trouble] = await old.troubles()
        assert "has 10 events, and witness witness.test/w1 knows one of 17" in trouble.text
        assert await site.troubles() == []


async def test_t5_an_empty_database(site: Site, databases: Databases, engine: str, backup: list[str]) -> None:
    """A new database where there was a full one is the oldest copy there is."""
    await site.grow(3)
    backup.append(databases.create(engine))
    [trouble] = await replace(site, url=backup[-1]).troubles()
    assert "the log of north has 0 events" in trouble.text


async def test_t4_a_log_that_went_two_ways(site: Site, backup: list[str], databases: Databases, tmp_path: Path) -> None:
    """A copy that went on by itself, and further: its size betrays nothing, its tree does."""
    await site.grow(10)
    other = copy(site, backup, databases, tmp_path)
    await site.grow(5)
    await replace(other, journal=CheckpointJournal(tmp_path / "elsewhere")).grow(270)
    [trouble] = await other.troubles()
    assert trouble.text.startswith(
        "FORK DETECTED: the first 15 of 280 events of north are not those that the checkpoint"
    )


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE audit_head SET size = size - 1 WHERE org = 'north'",
        "UPDATE audit_event SET leaf_hash = (SELECT min(leaf_hash) FROM audit_event) WHERE seq = 259",
        "DELETE FROM audit_event WHERE org = 'north' AND seq = 259",
        "DELETE FROM audit_tile WHERE org = 'north'",
        "UPDATE audit_head SET checkpoint = replace(checkpoint, 'north/1', 'north/2'), epoch = 2 WHERE org = 'north'",
        "UPDATE audit_head SET checkpoint = NULL, size = 0 WHERE org = 'north'",
    ],
)
async def test_t3_a_head_that_is_not_what_was_signed(database_url: str, tmp_path: Path, attack: str) -> None:
    """Size, edge, tiles and signed checkpoint contradict each other: seen without anything outside."""
    site = Site(database_url, CheckpointJournal(tmp_path / "checkpoints.ndjson"))
    await site.grow(260)
    site.journal.path.unlink()
    assert await site.troubles() == []
    await Intruder(site.url).run(attack)
    [trouble] = await site.troubles()
    assert trouble.text.startswith("FORK DETECTED: the log of north is not what its own checkpoint says")


async def test_what_was_pruned_is_still_known(site: Site) -> None:
    """A journal that is older than the oldest event: the tiles outlive the events, and its root can be told."""
    await site.grow(100)
    remembered = site.journal.path.read_bytes()
    await site.grow(200)
    await Intruder(site.url).run("DELETE FROM audit_event WHERE org = 'north' AND seq < 256")
    site.journal.path.write_bytes(remembered)
    assert await site.troubles() == []


async def test_t3_the_tail_cut_off_with_the_older_checkpoint(site: Site) -> None:
    """An older state put together by hand, signature and all, is one only the outside can tell from the truth."""
    await site.grow(5)
    async with database_at(site.url) as database:
        head = await proofs.head(database, ORG)
    assert head
    await site.grow(2)
    await Intruder(site.url).run("DELETE FROM audit_event WHERE org = 'north' AND seq >= 5")
    await Intruder(site.url).run(
        "UPDATE audit_head SET size = 5, frontier = ?, checkpoint = ? WHERE org = 'north'", head.frontier, head.note
    )
    [trouble] = await site.troubles()
    assert "has 5 events" in trouble.text
    site.journal.path.unlink()
    assert await site.troubles() == []


async def test_the_epoch_cannot_be_forged(site: Site) -> None:
    """A higher number in the head is not a log that began anew: nobody signed under that name."""
    await site.grow(3)
    await Intruder(site.url).run("UPDATE audit_head SET epoch = 2 WHERE org = 'north'")
    [trouble] = await site.troubles()
    assert "was to begin anew, and did not" in trouble.text


async def test_a_log_begins_anew(site: Site, backup: list[str], databases: Databases, tmp_path: Path) -> None:
    """Under a new name, over the old leaves, and its first new one says what was lost; then a start is allowed."""
    await site.grow(4)
    old = copy(site, backup, databases, tmp_path)
    await site.grow(6)
    [trouble] = await old.troubles()
    async with database_at(old.url) as database:
        await epochs.begin(database, ORG, 2)
        [unfinished] = await old.troubles()
        assert "audit renew --org north" in unfinished.text
        async with writer_on(database) as writer:
            await writer.append(ORG, [event(act=Act.BOOT, why="RENEWED", old=trouble.lost)])
        head = await proofs.head(database, ORG)
        assert head
        assert head.checkpoint == Checkpoint("heed.test/north/2", 5, await proofs.root_at(database, ORG, 5))
        leaf = bytes((await rows_of(database))[-1]["leaf"])
        assert b'"old":{"origin":"heed.test/north/1","root":"' in leaf
        assert b'"size":10}' in leaf
    assert await old.troubles() == []
    await old.grow(1)
    assert "heed.test/north/2" in old.journal.notes()[ORG]
    # Back in the copy of before, the new log is what is missing.
    [again] = await site.troubles()
    assert "ROLLBACK DETECTED" in again.text
    assert "heed.test/north/2" in again.text


async def test_a_witness_that_is_away_prevents_nothing(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """A start does not hang on an outsider, nor on one that talks nonsense; it is said."""
    await site.grow(3)
    with nobody() as url:
        assert await replace(site, witness=url).troubles() == []
    for body in ("nonsense", signer(ORG, 1).sign(f"heed.test/north/1\n900\n{'A' * 43}=\n")):
        with answering(200, body, {"content-type": "text/plain"}) as there:
            assert await replace(site, witness=there.address).troubles() == []
    assert [record.message.split(": ")[-2] for record in caplog.records] == ["not asked"] * 3


async def test_what_no_key_of_ours_signed_is_not_remembered(site: Site) -> None:
    """A journal with the checkpoint of another installation, or of somebody who can write to it, stops the start."""
    await site.grow(3)
    note = site.journal.notes()[ORG]
    site.journal.follow({ORG: note.replace("\n3\n", "\n9\n")})
    with pytest.raises(Unsafe, match="no key of ours has signed"):
        await site.troubles()


async def test_a_witness_has_a_key_of_its_own(site: Site) -> None:
    """The key of a log, dressed up as that of a witness, is refused: it would vouch for itself."""
    await site.grow(1)
    twin = Cosigner("witness.test/w2", b"a seed of thirty-two octets, so.")
    async with database_at(site.url) as database:
        outside = Outside(database, site.journal, [Witness("http://x", twin.verifier_key)], key_of, "heed.test")
        with pytest.raises(Unsafe, match="key of its own"):
            await outside.troubles()
