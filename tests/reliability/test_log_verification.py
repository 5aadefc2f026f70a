"""What verification of a log finds and says, kind by kind, on both engines: rows, sealed words, epochs, what waits."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from crm.audit.checkpoint import Checkpoint, parse
from crm.audit.damage import LogFault
from crm.audit.event import Act, Outcome, Who
from crm.audit.writer import LogWriter
from crm.crypto.note import open_note
from crm.services.log_verification import STRETCH, Outside, VerifiedLog, verify_log
from crm.store import epochs, proofs
from crm.store.database import Database
from crm.store.log import LogSink, stage_rows
from tests.forger import Forger, refitted
from tests.logs import START, Clock, database_at, event, signer, verifier_key, writer_on
from tests.witnesses import COSIGNER

ORG = "north"
SIZE = 300
WORDS = "00000000-0000-4000-8000-000000000001"


@dataclass(frozen=True)
class Scene:
    """A database with a log of 300 events, and its owner."""

    database: Database
    writer: LogWriter
    forger: Forger

    async def verified(self, *outside: Outside, witnesses: dict[str, str] | None = None) -> VerifiedLog:
        """What verification finds."""
        keys = witnesses or {}
        return await verify_log(self.database, ORG, "heed.test", verifier_key, outside, keys, lambda _done, _of: None)

    async def grow(self, count: int, **facts: Any) -> str:
        """The signed checkpoint after more events."""
        await self.writer.append(ORG, [event(label, **facts) for label in range(count)])
        head = await proofs.head(self.database, ORG)
        assert head is not None
        assert head.note is not None
        return head.note


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    """The scene on each engine."""
    async with database_at(database_url) as database, writer_on(database) as writer:
        made = Scene(database, writer, Forger(database_url, ORG))
        await made.grow(SIZE)
        yield made


async def test_leaf_and_hash_replaced(scene: Scene) -> None:
    """An event that was replaced together with its hash and columns: its tile names it, and nothing else is bad."""
    book = await scene.forger.read()
    rows = book["audit_event"]
    other = {name: value for name, value in rows[78].items() if name != "seq"}
    rows[77] |= {**other, "id": rows[77]["id"]}
    await scene.forger.write(book, ["audit_event"])
    found = await scene.verified()
    assert found.damages.first == (77, 78)
    assert LogFault.TILE_DIFFERS in found.damages.counts
    assert LogFault.HASH_WRONG not in found.damages.counts


@pytest.mark.parametrize("column", ["ts", "pat", "actor", "role", "pou", "act", "out", "flags", "disc", "req"])
async def test_searched_column(scene: Scene, column: str) -> None:
    """A column by which officers search that says otherwise than the leaf is named, and the leaf is not blamed."""
    value = 4 if column in {"ts", "out", "flags", "disc"} else "else"
    await scene.forger.run(f"UPDATE audit_event SET {column} = ? WHERE seq = 77", value)
    [damage] = (await scene.verified()).damages.named
    assert (damage.fault, damage.seq, damage.part) == (LogFault.INDEX_WRONG, 77, column)


async def test_stored_hash(scene: Scene) -> None:
    """A stored hash that is not that of its leaf, behind the last full tile: its event is named, and nothing else."""
    await scene.forger.run("UPDATE audit_event SET leaf_hash = ? WHERE seq = 290", bytes(32))
    [damage] = (await scene.verified()).damages.named
    assert (damage.fault, damage.seq) == (LogFault.HASH_WRONG, 290)


async def test_a_hole_over_several_stretches(scene: Scene) -> None:
    """A long hole is one finding, and the checkpoint behind it still tells that nothing else was touched."""
    await scene.grow(2 * STRETCH)
    await scene.forger.run("DELETE FROM audit_event WHERE seq >= ? AND seq < ?", 200, STRETCH + 200)
    found = await scene.verified()
    [hole] = [each for each in found.damages.named if each.fault == LogFault.EVENT_MISSING]
    assert (hole.seq, hole.part) == (200, f"{STRETCH} of them")
    # The run of the process jumps once, behind the hole; the hashes of what is gone stand in the tiles.
    assert found.damages.counts.total() == 2


async def test_while_the_service_writes(scene: Scene) -> None:
    """A log that grows meanwhile is not taken for one that was changed."""
    done = asyncio.Event()

    async def write() -> None:
        while not done.is_set():
            await scene.grow(40)

    writing = asyncio.create_task(write())
    looks: list[VerifiedLog] = []
    while len(looks) < 8 or looks[-1].size == SIZE:
        looks.append(await scene.verified())
        await asyncio.sleep(0.02)
    done.set()
    await writing
    assert [each.damages.named for each in looks] == [[]] * len(looks)


# --- sealed words and what waits -------------------------------------------------------------------------------------


async def spoken(scene: Scene) -> None:
    """An event that speaks of sealed words, and the words."""
    digest = "sha256:" + hashlib.sha256(b"sealed").hexdigest()
    await scene.grow(1, act=Act.BREAKGLASS, ref=WORDS, sealed=digest)
    await write_words(scene, "breakglass")


async def write_words(scene: Scene, kind: str) -> None:
    """Sealed words."""
    values = (ORG, WORDS, kind, b"sealed")
    await scene.forger.run("INSERT INTO audit_detail (org, id, kind, octets) VALUES (?, ?, ?, ?)", *values)


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit_detail SET octets = octets", None),
        ("DELETE FROM audit_detail", LogFault.DETAIL_MISSING),
        ("UPDATE audit_detail SET id = 'x'", LogFault.DETAIL_MISSING),
        ("UPDATE audit_detail SET octets = kind", LogFault.DETAIL_WRONG),
    ],
)
async def test_sealed_words(scene: Scene, statement: str, fault: LogFault | None) -> None:
    """Words that are gone or others than the event speaks of, by the event's number."""
    await spoken(scene)
    if scene.database.dialect == "postgresql":
        statement = statement.replace("= kind", "= convert_to(kind, 'UTF8')")
    else:
        statement = statement.replace("= kind", "= CAST(kind AS BLOB)")
    await scene.forger.run(statement)
    found = await scene.verified()
    assert found.damages.first == (None if fault is None else (SIZE, SIZE + 1))
    assert fault is None or fault in found.damages.counts


async def test_words_of_no_event(scene: Scene) -> None:
    """Words that no event speaks of are named; those of an event that still waits are not."""
    await write_words(scene, "review")
    assert dict((await scene.verified()).damages.counts) == {LogFault.DETAIL_BEYOND: 1}
    digest = "sha256:" + hashlib.sha256(b"sealed").hexdigest()
    idle = LogWriter(LogSink(scene.database, signer), node="idle", clock=Clock(2**52))
    staged = idle.stage(ORG, [event(act=Act.REVIEW, ref=WORDS, sealed=digest)])
    async with scene.database.transaction(ORG) as connection:
        await stage_rows(connection, ORG, staged)
    found = await scene.verified()
    assert (found.sound, found.waiting, found.oldest) == (True, 1, staged[0].created_at)


# --- checkpoints, witnesses, epochs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"checkpoint": None}, LogFault.CHECKPOINT_MISSING),
        ({"checkpoint": "nothing\n"}, LogFault.SIGNATURE_WRONG),
        ({"epoch": 2}, LogFault.EPOCH_UNEXPLAINED),
        ({"frontier": bytes(4 * 32)}, LogFault.FRONTIER_WRONG),
        ({"size": SIZE - 1}, LogFault.EVENT_BEYOND),
        ({"size": 10**12}, LogFault.EVENT_MISSING),
        ({"pruned": 256}, LogFault.EVENT_UNPRUNED),
        ({"pruned": 10**12}, LogFault.EVENT_UNPRUNED),
    ],
)
async def test_head(scene: Scene, change: dict[str, Any], fault: LogFault) -> None:
    """The row that says where the log ends is held against the events."""
    [(column, value)] = change.items()
    await scene.forger.run(f"UPDATE audit_head SET {column} = ? WHERE org = 'north'", value)
    assert fault in (await scene.verified()).damages.counts


async def test_only_the_head_tells(scene: Scene) -> None:
    """An event that was changed with all that is computed from it, before anything was published: the head tells."""
    book = await scene.forger.read()
    row = book["audit_event"][290]
    row["leaf"] = row["leaf"].replace(b'"act":"read"', b'"act":"query"')
    await scene.forger.write(refitted(book, key=False))
    found = await scene.verified()
    assert (found.damages.first, dict(found.damages.counts)) == ((0, SIZE), {LogFault.CHECKPOINT_WRONG: 1})


async def test_no_head(scene: Scene) -> None:
    """Events without the row that says where they end."""
    await scene.forger.run("DELETE FROM audit_head")
    assert dict((await scene.verified()).damages.counts) == {LogFault.HEAD_MISSING: 1}


async def test_cosignatures(scene: Scene) -> None:
    """A witness's line under a stored checkpoint is verified where its key is known, and said to be unverified else."""
    note = await scene.grow(1)
    line = COSIGNER.cosign(open_note(note, verifier_key("heed.test/north/1")), 1_790_000_000)
    row = (ORG, 1, SIZE + 1, note, 1, line, 1)
    places = "org, epoch, size, note, published_at, cosignatures, witnessed_at"
    await scene.forger.run(f"INSERT INTO audit_checkpoint ({places}) VALUES (?, ?, ?, ?, ?, ?, ?)", *row)
    keys = {COSIGNER.name: COSIGNER.verifier_key}
    assert (await scene.verified(witnesses=keys)).sound
    assert (await scene.verified()).strangers == {COSIGNER.name}
    earlier = COSIGNER.cosign(Checkpoint("heed.test/north/1", 1, bytes(32)).text(), 1_790_000_000)
    await scene.forger.run("UPDATE audit_checkpoint SET cosignatures = ?", earlier)
    assert dict((await scene.verified(witnesses=keys)).damages.counts) == {LogFault.COSIGNATURE_WRONG: 1}


async def renewed(scene: Scene) -> tuple[Outside, Outside, Outside]:
    """The log after a restore and a renewal; checkpoints of 300 (kept), of 350 and of 360 events (lost)."""
    kept = (await proofs.head(scene.database, ORG)) or pytest.fail("no log")
    book = await scene.forger.read()
    first, second = await scene.grow(50), await scene.grow(10)
    await scene.forger.write(book)
    lost = parse(open_note(second, verifier_key("heed.test/north/1")))
    await epochs.begin(scene.database, ORG, 2)
    async with writer_on(scene.database, "ra-2") as writer:
        await writer.append(ORG, [event(act=Act.BOOT, why="RENEWED", old=lost), *(event(n) for n in range(100))])
    return Outside("kept", kept.note or ""), Outside("lost", first), Outside("newest", second)


async def test_a_log_that_began_anew(scene: Scene) -> None:
    """A new epoch: what it kept of the old one fits, and what it lost is explained by its first event."""
    kept, lost, newest = await renewed(scene)
    found = await scene.verified(kept, lost, newest)
    assert (found.sound, found.epoch, found.size, found.vouched) == (True, 2, SIZE + 101, SIZE)
    assert [line.split(":")[0] for line in found.lost] == ["lost", "newest"]


async def test_a_log_that_lost_more_than_it_said(scene: Scene) -> None:
    """A checkpoint of the old epoch over more events than the new epoch says that were lost is a rollback."""
    await renewed(scene)
    origin = "heed.test/north/1"
    longer = signer(ORG, 1).sign(Checkpoint(origin, SIZE + 80, bytes(32)).text())
    found = await scene.verified(Outside("longer", longer))
    assert set(found.damages.counts) == {LogFault.FORK}  # the new epoch has more events, but others
    longest = signer(ORG, 1).sign(Checkpoint(origin, SIZE + 2_000, bytes(32)).text())
    assert set((await scene.verified(Outside("longest", longest))).damages.counts) == {LogFault.ROLLBACK}


async def test_an_epoch_that_the_database_forgot(scene: Scene) -> None:
    """A checkpoint of an epoch that the log has not reached: it was put back to before its renewal."""
    note = signer(ORG, 2).sign(Checkpoint("heed.test/north/2", 10, bytes(32)).text())
    assert dict((await scene.verified(Outside("witness", note))).damages.counts) == {LogFault.ROLLBACK: 1}


# --- break-glass -----------------------------------------------------------------------------------------------------

ADA, BOB = "a" * 32, "b" * 32
GRANTED = Who(iss="https://idp.example", sub="dr-1", roles=("clinician",))
LOOK: dict[str, Any] = {"act": Act.READ, "who": GRANTED, "pat": ADA, "flg": ("break_glass",), "ref": WORDS}
GIVEN: dict[str, Any] = {**LOOK, "act": Act.BREAKGLASS, "why": "PUBLIC_SAFETY", "cnt": 30}
OTHER_GRANT = "00000000-0000-4000-8000-000000000002"
HALF_AN_HOUR = 1_800_000_000


async def row_of_the_grant(scene: Scene) -> None:
    """What is stored of the grant, beside its event."""
    row = (ORG, WORDS, ADA, GRANTED.iss, "dr-1", "clinician", "PUBLIC_SAFETY", START, START + HALF_AN_HOUR)
    columns = "org, id, subject, issuer, actor, role, reason, requested_at, expires_at"
    await scene.forger.run(f"INSERT INTO break_glass ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)


async def give(scene: Scene) -> None:
    """A grant of half an hour: the event and the row."""
    await scene.grow(1, **GIVEN)
    await row_of_the_grant(scene)


@pytest.mark.parametrize(
    ("look", "found"),
    [
        ({}, False),
        ({"ref": OTHER_GRANT}, True),
        ({"pat": BOB}, True),
        ({"who": Who(iss="https://idp.example", sub="dr-2", roles=("clinician",))}, True),
        ({"who": Who(iss="https://other.example", sub="dr-1", roles=("clinician",))}, True),
        ({"ref": OTHER_GRANT, "out": Outcome.DENIED}, False),
    ],
)
async def test_looks_under_a_grant_that_nobody_gave(scene: Scene, look: dict[str, Any], found: bool) -> None:
    """A forged row of a grant does not help: the look names a grant, and no event gave it to that person for her."""
    await give(scene)
    await scene.grow(1, **{**LOOK, **look})
    verified = await scene.verified()
    assert dict(verified.damages.counts) == ({LogFault.GRANT_UNKNOWN: 1} if found else {})
    assert verified.damages.first == ((SIZE + 1, SIZE + 2) if found else None)


async def test_a_look_before_the_event_of_its_grant(scene: Scene) -> None:
    """The grant is committed before its event has its number, so another replica may answer a look first."""
    await scene.grow(1, **LOOK)
    await give(scene)
    assert (await scene.verified()).sound


async def test_a_grant_whose_events_wait(scene: Scene) -> None:
    """Grant and review are committed before their events have numbers; nobody is blamed for that."""
    judge = Who(iss="https://idp.example", sub="officer-1", roles=("privacy_officer",))
    review = {"act": Act.REVIEW, "ref": WORDS, "pat": ADA, "who": judge, "why": "JUSTIFIED"}
    idle = LogWriter(LogSink(scene.database, signer), node="idle", clock=Clock())
    for facts in (GIVEN, review):
        async with scene.database.transaction(ORG) as connection:
            await stage_rows(connection, ORG, idle.stage(ORG, [event(**facts)]))
    await row_of_the_grant(scene)
    judged = "UPDATE break_glass SET reviewer_issuer = ?, reviewer = ?, reviewed_at = ?, verdict = ?"
    await scene.forger.run(judged, judge.iss, "officer-1", START, "JUSTIFIED")
    found = await scene.verified()
    assert (found.sound, found.waiting) == (True, 2)
    await scene.forger.run("DELETE FROM audit_outbox")
    gone = dict((await scene.verified()).damages.counts)
    assert gone == {LogFault.GRANT_WRONG: 1, LogFault.REVIEW_WRONG: 1}


async def test_a_damaged_log_is_no_second_history(scene: Scene) -> None:
    """An event is gone, and a checkpoint from outside does not fit any more: nobody is said to have signed twice."""
    kept = Outside("kept", await scene.grow(10))
    await scene.forger.run("DELETE FROM audit_event WHERE seq = 305")
    found = await scene.verified(kept)
    assert found.damages.counts.keys() & {LogFault.EVENT_MISSING, LogFault.CHECKPOINT_WRONG}
    assert not found.damages.counts.keys() & {LogFault.FORK, LogFault.ROLLBACK}
    assert not any(damage.proofs for damage in found.damages.named)
