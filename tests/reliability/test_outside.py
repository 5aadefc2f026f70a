"""Checkpoints outside the database: published, repeated in a journal, cosigned by witnesses over HTTP (T29)."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from crm.crypto.cosignature import Cosigner, cosigned_at
from crm.crypto.note import Signer, open_note, with_signatures
from crm.errors import AuditUnavailable, Unsafe
from crm.services.publishing import Publisher
from crm.services.rounds import Chore, Rounds
from crm.services.witnesses import Witness
from crm.store import checkpoints, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.database import Database
from tests.answering import answering, nobody, silence
from tests.conftest import Databases
from tests.forger import Forger, refitted, relisted
from tests.logs import Clock, database_at, event, signer, until, writer_on
from tests.premises import copied
from tests.witnesses import COSIGNER, NOW, attending, witness

ORG = "north"
LOG = signer(ORG, 1)


def key_of(origin: str) -> str:
    """The verifier key of one of the tests' logs."""
    _, org, epoch = origin.split("/")
    return signer(org, int(epoch)).verifier_key


@dataclass
class Yard:
    """A log that is published."""

    database: Database
    journal: CheckpointJournal
    clock: Clock

    async def grow(self, count: int, first: int = 0) -> None:
        """More events in the log, each in a batch of its own."""
        async with writer_on(self.database) as writer:
            for number in range(first, first + count):
                await writer.append(ORG, [event(number)])

    def publisher(self, *urls: str, max_age: float = 3_600.0) -> Publisher:
        """A replica that brings checkpoints to witnesses at these addresses."""
        witnesses = [Witness(url, COSIGNER.verifier_key) for url in urls]
        return Publisher(self.database, self.journal, witnesses, key_of, clock=self.clock, max_age=max_age)

    def later(self, seconds: float = 60.0) -> None:
        """Time goes by."""
        self.clock.now += int(seconds * 1_000_000)


@pytest.fixture
async def yard(database_url: str, tmp_path: Path) -> AsyncIterator[Yard]:
    """A published log of three events."""
    async with database_at(database_url) as database:
        made = Yard(database, CheckpointJournal(tmp_path / "outside" / "checkpoints.ndjson"), Clock())
        await made.grow(3)
        yield made


async def sizes(yard: Yard, *, witnessed: bool = False) -> list[int]:
    """Of the published checkpoints, the newest first."""
    return [each.size for each in await checkpoints.newest(yard.database, ORG, witnessed=witnessed)]


async def test_a_log_that_grew_is_published(yard: Yard) -> None:
    """Once for each size, by whichever replica comes first, and word for word in the journal."""
    one, two = yard.publisher(), yard.publisher()
    await asyncio.gather(one.publish(), two.publish())
    await one.publish()
    assert await sizes(yard) == [3]
    await yard.grow(2, 3)
    yard.later()
    await two.publish()
    await one.publish()
    assert await sizes(yard) == [5, 3]
    head = await proofs.head(yard.database, ORG)
    assert head
    assert yard.journal.notes() == {ORG: head.note}
    assert yard.journal.path.stat().st_mode & 0o777 == 0o600
    assert one.logs[ORG].size == two.logs[ORG].size == 5


async def test_a_witness_cosigns_what_was_published(yard: Yard, tmp_path: Path) -> None:
    """Over HTTP, with a proof from what it had seen; its line is stored beside the checkpoint and verifies."""
    it = witness(tmp_path / "w", LOG)
    with attending(it) as url:
        publisher = yard.publisher(url)
        for size in (3, 260, 600):
            await yard.grow(size - publisher.logs[ORG].size if ORG in publisher.logs else 0)
            yard.later()
            await publisher.publish()
            await publisher.visit()
            assert await sizes(yard, witnessed=True) == [each for each in (600, 260, 3) if each <= size]
    newest = (await checkpoints.newest(yard.database, ORG))[0]
    whole = with_signatures(newest.note, newest.cosignatures)
    assert cosigned_at(whole, COSIGNER.verifier_key) == NOW
    assert open_note(whole, LOG.verifier_key)
    assert it.latest(LOG.name) == whole
    assert publisher.logs[ORG].waiting_since is None
    assert publisher.logs[ORG].seen[COSIGNER.name][0] == 600
    assert not publisher.logs[ORG].failures


async def test_replicas_do_not_ask_twice(yard: Yard, tmp_path: Path) -> None:
    """What one replica brought, the other does not bring again; and one that knows nothing learns from the first."""
    with attending(witness(tmp_path / "w", LOG)) as url:
        one, two = yard.publisher(url), yard.publisher(url)
        await one.publish()
        await one.visit()
    await two.publish()
    await two.visit()  # nobody would answer
    assert not two.logs[ORG].failures
    assert two.logs[ORG].seen[COSIGNER.name][0] == 3


async def test_two_that_come_at_once(yard: Yard, tmp_path: Path) -> None:
    """Both are answered, whichever was first; nothing is taken for a fork."""
    with attending(witness(tmp_path / "w", LOG)) as url:
        replicas = [yard.publisher(url) for _ in range(4)]
        await replicas[0].publish()
        await asyncio.gather(*(each.visit() for each in replicas))
    assert [each.logs[ORG].failures.total() for each in replicas] == [0] * 4
    assert list((tmp_path / "w" / "evidence").iterdir()) == []


async def test_a_witness_that_is_away_and_comes_back(yard: Yard, tmp_path: Path) -> None:
    """The log goes on, it is counted and said; back again, one proof covers all; away for too long, it closes."""
    with nobody() as nowhere:
        publisher = yard.publisher(nowhere, max_age=3600)
    async with writer_on(yard.database, overdue=publisher.overdue) as writer:
        for _ in range(4):
            await publisher.publish()
            await publisher.visit()
            await writer.append(ORG, [event()])
            yard.later(600)
        assert publisher.logs[ORG].failures == {(COSIGNER.name, "away"): 4}
        yard.later(1300)
        assert not writer.accepting(ORG)
        assert writer.accepting("south")
        with pytest.raises(AuditUnavailable):
            await writer.append(ORG, [event()])
        with attending(witness(tmp_path / "w", LOG)) as url:
            back = yard.publisher(url, max_age=3600)
            await back.publish()
            await back.visit()
        assert await sizes(yard, witnessed=True) == [7]
        await publisher.visit()
        assert writer.accepting(ORG)
        await writer.append(ORG, [event()])


async def test_silence_is_an_absence(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A witness that accepts a connection and says nothing holds up nobody for longer than the deadline."""
    monkeypatch.setattr("crm.services.witnesses.DEADLINE", 0.2)
    with silence() as url:
        publisher = yard.publisher(url)
        await publisher.publish()
        await publisher.visit()
    assert publisher.logs[ORG].failures == {(COSIGNER.name, "away"): 1}


BAD_ANSWERS = [
    (409, "1000000\n", "larger"),
    (409, "3\n", "fork"),
    (409, "many\n", "no"),
    (422, "no\n", "inconsistent"),
    (404, "no\n", "unknown"),
    (403, "no\n", "unsigned"),
    (500, "no\n", "no"),
    (302, "", "no"),
    (200, "", "away"),
    (200, "\u2014 witness.test/w1 AAAA\n", "away"),
    (200, "\u2014 witness.test/w1 " + "A" * 100 + "=\n", "away"),
    (200, "x" * 70_000, "away"),
]


async def test_what_a_witness_must_not_say(yard: Yard) -> None:
    """Nothing that its key did not sign is stored, and no word of a stranger closes the log; it is counted and said."""
    await yard.publisher().publish()
    for status, body, reason in BAD_ANSWERS:
        with answering(status, body, {"content-type": "text/plain"}) as there:
            publisher = yard.publisher(there.address)
            await publisher.visit()
        assert publisher.logs[ORG].failures == {(COSIGNER.name, reason): 1}, (status, body[:20])
        assert not publisher.overdue(ORG)
    assert await sizes(yard, witnessed=True) == []


async def test_a_database_put_back_under_a_running_process(
    database_url: str, databases: Databases, tmp_path: Path
) -> None:
    """A witness that can show what our key signed closes the log: nothing more may be signed under this name."""
    clock = Clock()
    async with database_at(database_url) as database:
        await Yard(database, CheckpointJournal(tmp_path / "journal"), clock).grow(3)
    old = copied(databases, database_url, tmp_path / "copy")
    with attending(witness(tmp_path / "w", LOG)) as url:
        async with database_at(database_url) as database:
            yard = Yard(database, CheckpointJournal(tmp_path / "journal"), clock)
            await yard.grow(4)
            publisher = yard.publisher(url)
            await publisher.publish()
            await publisher.visit()
            assert not publisher.overdue(ORG)
        async with database_at(old) as database:
            back = Yard(database, CheckpointJournal(tmp_path / "elsewhere"), clock)
            for size in (4, 8):  # behind what the witness saw, and then grown past it
                await back.grow(size - 3 if size == 4 else 4)
                back.later()
                fooled = back.publisher(url)
                await fooled.publish()
                await fooled.visit()
                assert fooled.logs[ORG].failures == {(COSIGNER.name, "larger" if size == 4 else "inconsistent"): 1}
                assert fooled.overdue(ORG)
    assert len(list((tmp_path / "w" / "evidence").iterdir())) == 2
    if not old.startswith("sqlite:"):
        databases.drop(old)


# --- what somebody with the database writes ---------------------------------------------------------------------------

FORGED = "INSERT INTO audit_checkpoint VALUES (?, ?, ?, ?, ?, ?, ?)"


def errors(caplog: pytest.LogCaptureFixture, word: str) -> int:
    """How many lines raise this alarm."""
    return sum(record.levelname == "ERROR" and record.message.startswith(word) for record in caplog.records)


def made_up(size: int, name: str = LOG.name) -> str:
    """A note of the right form that no key of ours signed."""
    return Signer(name, bytes(32)).sign(f"{name}\n{size}\n{'A' * 43}=\n")


async def test_forged_rows_blind_nobody(
    yard: Yard, database_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows far ahead, among the true ones, and where the next would come: passed by, counted, and said once."""
    forger, it = Forger(database_url), witness(tmp_path / "w", LOG)
    with attending(it) as url:
        publisher = yard.publisher(url)
        await publisher.publish()
        await publisher.visit()
        line = f"\u2014 {COSIGNER.name} AAAAAAAA\n"
        for size in (2**52, 5, *range(10, 10 + 2 * checkpoints.PAGE)):
            row = (1, size, made_up(size), yard.clock.now + 10**12, line, yard.clock.now + 10**12)
            await forger.run(FORGED, ORG, *row)
        for size in (5, 50):
            await yard.grow(size - publisher.logs[ORG].size)
            yard.later()
            await publisher.publish()
            await publisher.visit()
            assert (it.latest(LOG.name) or "").split("\n")[1] == str(size)
    state = publisher.logs[ORG]
    assert (state.published, state.covered, state.waiting_since) == (50, 50, None)
    assert state.seen[COSIGNER.name][0] == 50
    assert len(state.forged) >= 2
    assert errors(caplog, "FORGED") == 1
    assert yard.journal.notes()[ORG].split("\n")[1] == "50"


async def test_forged_cosignatures_cover_nothing(yard: Yard, database_url: str) -> None:
    """Lines that the witness's key did not make, and times that nobody signed, keep no log open."""
    with nobody() as nowhere:
        publisher = yard.publisher(nowhere, max_age=3_600)
    await publisher.publish()
    await publisher.visit()
    stranger = Cosigner(COSIGNER.name, bytes(32))
    other = COSIGNER.cosign("another text\n", NOW)
    text = (await checkpoints.newest(yard.database, ORG))[0].note.partition("\n\n")[0] + "\n"
    for line in (f"\u2014 {COSIGNER.name} AAAAAAAA\n", stranger.cosign(text, NOW), other, "\n\u2028nonsense"):
        yard.later(1_000)
        forged = "UPDATE audit_checkpoint SET cosignatures = ?, witnessed_at = ?, published_at = ?"
        await Forger(database_url).run(forged, line, yard.clock.now, yard.clock.now)
        await publisher.visit()
        assert publisher.logs[ORG].covered == 0
        assert COSIGNER.name not in publisher.logs[ORG].seen
    assert publisher.overdue(ORG)
    genuine = COSIGNER.cosign(text, NOW)
    await Forger(database_url).run("UPDATE audit_checkpoint SET cosignatures = ?", other + "junk" + "\n" + genuine)
    await publisher.visit()
    assert not publisher.overdue(ORG)
    assert publisher.logs[ORG].covered == 3


async def test_the_end_of_another_log(yard: Yard, database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A signed end of another log of ours, or an unsigned one, is not published under this one's name, and is said."""
    text = f"heed.test/south/1\n3\n{'A' * 43}=\n"
    for number, note in enumerate((signer("south", 1).sign(text), made_up(3)), start=1):
        await Forger(database_url).run("UPDATE audit_head SET checkpoint = ? WHERE org = ?", note, ORG)
        publisher = yard.publisher()
        await publisher.publish()
        await publisher.publish()
        assert errors(caplog, "FORGED") == number
    assert yard.journal.notes() == {}
    assert await sizes(yard) == []


@pytest.mark.parametrize("key", [False, True])
async def test_a_log_that_is_rewritten_under_a_running_process(
    yard: Yard, database_url: str, caplog: pytest.LogCaptureFixture, key: bool
) -> None:
    """With the key of the log or without, and grown since: the log closes, and the journal stays as it is."""
    publisher = yard.publisher()
    await publisher.publish()
    before = yard.journal.path.read_bytes()
    forger = Forger(database_url)
    forged = refitted(relisted(await forger.read(), list.reverse), key=key)
    forged["audit_checkpoint"] = []
    await forger.write(forged)
    with suppress(AuditUnavailable):
        await yard.grow(1)
    yard.later()
    assert not publisher.overdue(ORG)
    for _ in range(2):
        await publisher.publish()
    assert publisher.overdue(ORG)
    assert not publisher.overdue("south")
    assert errors(caplog, "FORK DETECTED") == 1
    assert yard.journal.path.read_bytes() == before
    assert await sizes(yard) == []


@pytest.mark.parametrize("lost", ["some", "all"])
async def test_a_log_that_lost_its_end_under_a_running_process(
    yard: Yard, database_url: str, caplog: pytest.LogCaptureFixture, lost: str
) -> None:
    """Put back to what it once was, signature and all, or gone: the journal remembers more, and the log closes."""
    forger = Forger(database_url)
    old = await forger.read()
    await yard.grow(2)
    publisher = yard.publisher()
    await publisher.publish()
    before = yard.journal.path.read_bytes()
    await forger.write(old if lost == "some" else {table: [] for table in old})
    await publisher.publish()
    assert publisher.overdue(ORG)
    assert errors(caplog, "ROLLBACK DETECTED") == 1
    assert yard.journal.path.read_bytes() == before


async def test_a_journal_that_cannot_be_read_stops_no_witness(yard: Yard, tmp_path: Path) -> None:
    """What was recorded is still published and cosigned; the journal's own trouble is told to whoever asked."""
    it = witness(tmp_path / "w", LOG)
    yard.journal.path.parent.mkdir()
    yard.journal.path.write_bytes(b"nonsense\n")
    with attending(it) as url:
        publisher = yard.publisher(url)
        with pytest.raises(Unsafe, match="damaged"):
            await publisher.publish()
        await publisher.visit()
    assert (it.latest(LOG.name) or "").split("\n")[1] == "3"


# --- the journal ------------------------------------------------------------------------------------------------------


async def test_the_journal_never_goes_back(yard: Yard) -> None:
    """An older checkpoint of the same epoch does not replace a newer one; a newer epoch does."""
    await yard.publisher().publish()
    three = yard.journal.notes()[ORG]
    await yard.grow(1)
    yard.later()
    await yard.publisher().publish()
    four = yard.journal.notes()[ORG]
    assert not yard.journal.follow({ORG: three})
    assert yard.journal.notes() == {ORG: four}
    anew = signer(ORG, 2).sign(three.partition("\n\n")[0].replace(f"{ORG}/1", f"{ORG}/2") + "\n")
    assert yard.journal.follow(
        {ORG: anew, "south": signer("south", 1).sign("heed.test/south/1\n0\n" + "A" * 43 + "=\n")}
    )
    assert set(yard.journal.notes()) == {ORG, "south"}
    assert yard.journal.notes()[ORG] == anew


async def test_a_journal_of_others_is_not_believed(yard: Yard, tmp_path: Path) -> None:
    """One that is a link, open to others, or not what we write is refused with what to do."""
    await yard.publisher().publish()
    path = yard.journal.path
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(Unsafe, match="symbolic link"):
        CheckpointJournal(tmp_path / "link").notes()
    path.chmod(0o666)
    with pytest.raises(Unsafe, match="chmod go-w"):
        yard.journal.notes()
    path.chmod(0o600)
    for damage in (b"{}\n", b"nonsense\n", b'{"note":"a","org":"b"}\n'):
        path.write_bytes(damage)
        with pytest.raises(Unsafe, match="damaged at line 1"):
            yard.journal.notes()
        with pytest.raises(Unsafe, match="damaged at line 1"):
            await yard.publisher().publish()
        assert path.read_bytes() == damage
    path.unlink()
    assert yard.journal.notes() == {}


# --- the rounds -------------------------------------------------------------------------------------------------------


async def test_a_chore_that_fails_is_done_again() -> None:
    """Whatever ails it once does not end it, nor another; and each is done a last time at the end."""
    done: list[str] = []

    async def fails() -> None:
        done.append("fails")
        raise OSError

    async def works() -> None:
        done.append("works")

    rounds = Rounds(Chore("fails", 0.01, fails), Chore("works", 0.01, works))
    rounds.start()
    await until(lambda: min(done.count("fails"), done.count("works")) >= 3)
    before = len(done)
    await rounds.stop()
    assert len(done) >= before + 2
