"""Attacks on a log by whoever owns the database, without and with the key that signs it, and what gives them away.

A log of 1,000 events of two replicas, with published checkpoints at every 50, and checkpoints at 250, 500, 750 and 990
that others keep. Each attack is made three times: on the rows alone; with everything else made to fit, but the
signatures; and with those too. The last is judged without and with the checkpoints from outside.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio

from crm.audit.checkpoint import Checkpoint
from crm.audit.damage import LogFault
from crm.audit.event import encode
from crm.crypto.note import open_note
from crm.services.log_verification import Outside, VerifiedLog, verify_log
from crm.store.database import Database
from tests.conftest import Databases
from tests.forger import Book, Forger, Row, refitted, relisted
from tests.logs import database_at, event, signer, verifier_key, writer_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

SIZE = 1_000
PINS = (250, 500, 750, 990)
BASE = "heed.test"
ORG = "north"

Change = Callable[[list[Row]], None]


@dataclass(frozen=True)
class Scene:
    """A log, what it was, what it was at 700 events, and what others keep of it."""

    database: Database
    forger: Forger
    book: Book
    younger: Book
    pins: tuple[Outside, ...]

    async def verified(self, *pins: Outside) -> VerifiedLog:
        """What verification finds."""
        return await verify_log(self.database, ORG, BASE, verifier_key, pins, {}, lambda _done, _of: None)

    async def attacked(self, book: Book, *pins: Outside) -> VerifiedLog:
        """What verification finds once the log is `book`."""
        await self.forger.write(book)
        return await self.verified(*pins)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared_engine: str, databases: Databases) -> AsyncIterator[Scene]:
    """The log on each engine. Whoever changes it gets it from `Scene.book`, and writes all of it."""
    url = databases.create(shared_engine)
    forger = Forger(url)
    pins, published = [], []
    younger: Book = {}
    async with database_at(url) as database, writer_on(database) as one, writer_on(database, "ra-2") as two:
        for turn in range(SIZE // 10):
            await (one, two)[turn % 2].append(ORG, [event(10 * turn + number) for number in range(10)])
            size = 10 * (turn + 1)
            if size % 50 == 0 or size in PINS:
                book = await forger.read()
                note = book["audit_head"][0]["checkpoint"]
                if size % 50 == 0:
                    published.append(row(size, note))
                if size in PINS:
                    pins.append(Outside(f"kept at {size}", note))
                if size == 700:
                    younger = {**book, "audit_checkpoint": list(published)}
        book = {**await forger.read(), "audit_checkpoint": published}
        yield Scene(database, forger, book, younger, tuple(pins))
    databases.drop(url)


def row(size: int, note: str) -> Row:
    """A published checkpoint."""
    return {
        "org": ORG,
        "epoch": 1,
        "size": size,
        "note": note,
        "published_at": 1,
        "cosignatures": "",
        "witnessed_at": None,
    }


def content_of(row: Row) -> dict[str, Any]:
    """The members of a stored leaf."""
    content: dict[str, Any] = orjson.loads(row["leaf"])
    return content


def edited(at: int) -> Change:
    """Somebody else did it."""

    def change(rows: list[Row]) -> None:
        rows[at]["leaf"] = encode({**content_of(rows[at]), "who": {"sub": "somebody-else"}})

    return change


def deleted(at: int) -> Change:
    """It never happened."""

    def change(rows: list[Row]) -> None:
        del rows[at]

    return change


def swapped(at: int) -> Change:
    """The one came before the other."""

    def change(rows: list[Row]) -> None:
        rows[at], rows[at + 1] = rows[at + 1], rows[at]

    return change


def inserted(at: int) -> Change:
    """It did happen, as a process says that nobody has heard of."""

    def change(rows: list[Row]) -> None:
        name = "019ab000-0000-7000-8000-000000000000"
        content = {**content_of(rows[at]), "id": name, "src": {"node": "ra-3/of-nobody", "n": 1}}
        rows.insert(at, {**rows[at], "id": name, "leaf": encode(content)})

    return change


def truncated(count: int) -> Change:
    """The newest never happened."""

    def change(rows: list[Row]) -> None:
        del rows[-count:]

    return change


Range = tuple[int, int]
BETWEEN_REPLICAS = 599  # the last event of one batch, and the first of another replica's

ATTACKS: dict[str, tuple[Change, Range, Range, Range | None, Range | None]] = {
    # what is done: first bad number by the rows alone; refitted; signed again; signed again, with checkpoints outside
    "edit": (edited(600), (600, 601), (600, 650), None, (500, 750)),
    "delete": (deleted(605), (605, 606), (605, 606), (605, 606), (605, 606)),
    "swap": (swapped(602), (602, 603), (602, 603), (602, 603), (602, 603)),
    "swap between replicas": (swapped(BETWEEN_REPLICAS), (599, 600), (550, 600), None, (500, 750)),
    "insert": (inserted(600), (600, 601), (600, 650), None, (500, 750)),
    "truncate past a checkpoint": (truncated(300), (700, 701), (700, 701), None, (700, 701)),
    "truncate after the last": (truncated(5), (995, 996), (995, 996), None, None),
    "edit after the last": (edited(995), (995, 996), (950, 1000), None, None),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_change_of_rows(scene: Scene, attack: str) -> None:
    """Rows alone: the first bad number is named exactly."""
    change, expected, *_ = ATTACKS[attack]
    found = await scene.attacked(relisted(scene.book, change))
    assert found.damages.first == expected


@pytest.mark.parametrize("attack", ATTACKS)
async def test_everything_but_the_signatures(scene: Scene, attack: str) -> None:
    """Columns, hashes, tiles and edge rebuilt: what was signed before brackets the first bad number."""
    change, _, expected, *_ = ATTACKS[attack]
    found = await scene.attacked(refitted(relisted(scene.book, change), key=False))
    assert found.damages.first == expected
    assert LogFault.CHECKPOINT_WRONG in found.damages.counts


@pytest.mark.parametrize("attack", ATTACKS)
async def test_with_the_key(scene: Scene, attack: str) -> None:
    """All signed again: counters may tell; else only what others keep, up to the newest of that."""
    change, _, _, alone, outside = ATTACKS[attack]
    found = await scene.attacked(refitted(relisted(scene.book, change), key=True))
    assert (found.damages.first, found.vouched) == (alone, None)
    compared = await scene.verified(*scene.pins)
    assert compared.damages.first == outside
    if outside is None:  # and the report says from where on nobody else vouches
        assert (compared.sound, compared.vouched) == (True, 990)
    else:
        assert compared.damages.counts.keys() & {LogFault.FORK, LogFault.ROLLBACK}


async def test_duplicate(scene: Scene, databases: Databases, shared_engine: str) -> None:
    """An event twice, the index that forbids it gone: the count of its process repeats, key or not."""
    twice = relisted(scene.book, lambda rows: rows.insert(601, dict(rows[600])))
    url = databases.create(shared_engine)
    forger = Forger(url)
    await forger.run("DROP INDEX ix_audit_event_id")
    async with database_at(url) as database:
        for key in (False, True):
            await forger.write(refitted(twice, key=key))
            found = await verify_log(database, ORG, BASE, verifier_key, (), {}, lambda _done, _of: None)
            assert found.damages.first == (601, 602)
            assert found.damages.counts[LogFault.ID_REPEATED] == found.damages.counts[LogFault.RUN_BROKEN] == 1
    databases.drop(url)


async def test_older_genuine_checkpoint(scene: Scene) -> None:
    """A whole older state with the checkpoint of its time: only what others keep tells, and names both sizes."""
    found = await scene.attacked(scene.younger)
    assert (found.sound, found.size, found.vouched) == (True, 700, None)
    compared = await scene.verified(*scene.pins)
    assert compared.damages.first == (700, 701)
    assert [each.part for each in compared.damages.named] == ["kept at 750", "kept at 990"]
    assert {each.fault for each in compared.damages.named} == {LogFault.ROLLBACK}


async def test_restored_and_continued(scene: Scene) -> None:
    """An older state that genuine events were added to: the checkpoints behind it are of another past."""
    await scene.forger.write(scene.younger)
    async with writer_on(scene.database, "ra-4") as writer:
        await writer.append(ORG, [event(number) for number in range(300)])
    assert (await scene.verified()).sound
    found = await scene.verified(*scene.pins)
    assert found.damages.first == (500, 750)
    assert set(found.damages.counts) == {LogFault.FORK}


async def test_two_auditors(scene: Scene) -> None:
    """Two auditors who were shown different ends: each holds a signed note, and both together are the proof."""
    other = refitted(relisted(scene.book, edited(800)), key=True)
    shown = other["audit_head"][0]["checkpoint"]
    found = await scene.attacked(scene.book, *scene.pins, Outside("the other auditor", shown))
    [damage] = found.damages.named
    assert (damage.fault, damage.part, damage.seq, damage.until) == (LogFault.FORK, "the other auditor", 990, 1000)
    texts = [open_note(note, verifier_key(f"{BASE}/{ORG}/1")) for note in damage.proofs]
    assert [text.split("\n")[1] for text in texts] == ["1000", "1000"]
    assert texts[0] != texts[1]


async def test_a_checkpoint_of_another_key(scene: Scene) -> None:
    """A note that the log did not sign proves nothing of it, and does not pass as a checkpoint from outside."""
    forged = signer("south", 1).sign(Checkpoint(f"{BASE}/{ORG}/1", 250, bytes(32)).text())
    found = await scene.attacked(scene.book, Outside("forged", forged))
    assert dict(found.damages.counts) == {LogFault.SIGNATURE_WRONG: 1}
    assert found.vouched is None


async def test_whole(scene: Scene) -> None:
    """Nothing is found where nothing was done, and everything from outside fits."""
    found = await scene.attacked(scene.book, *scene.pins)
    assert (found.sound, found.size, found.events, found.vouched) == (True, SIZE, SIZE, 990)
