"""A thousand random changes of what is stored of a log, one at a time: each is found.

What is left out says nothing that anybody believes: the times at which rows were written (`audit_head.db_time`,
`audit_checkpoint.published_at` and `witnessed_at`; those that witnesses signed are in their lines), and whether one
more or one less of the log's own checkpoints is kept in the log's own database.
"""

import hashlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from crm.audit.event import Act
from crm.crypto.cosignature import Cosigner
from crm.services.log_verification import VerifiedLog, verify_log
from crm.store.database import Database
from tests.conftest import Databases
from tests.forger import Book, Forger, Row
from tests.logs import database_at, event, verifier_key, writer_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

ORG = "north"
SEED = 20_261_122
KEYS = {
    "audit_event": ("seq",),
    "audit_tile": ("level", "n"),
    "audit_head": (),
    "audit_checkpoint": ("epoch", "size"),
    "audit_detail": ("id", "kind"),
}
UNSAID = {
    ("audit_head", "db_time"),
    ("audit_checkpoint", "published_at"),
    ("audit_checkpoint", "witnessed_at"),
    ("audit_checkpoint", "org"),  # the row is then one of another log, and one less of this
}
WITNESS = Cosigner("witness.test", bytes(range(32)))
SMALL = {"level", "out", "disc", "epoch", "flags"}


@dataclass(frozen=True)
class Scene:
    """A log of 600 events, with checkpoints that a witness cosigned and with sealed words."""

    database: Database
    forger: Forger
    book: Book

    async def verified(self) -> VerifiedLog:
        """What verification finds."""
        keys = {WITNESS.name: WITNESS.verifier_key}
        return await verify_log(self.database, ORG, "heed.test", verifier_key, (), keys, lambda _done, _of: None)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(shared_engine: str, databases: Databases) -> AsyncIterator[Scene]:
    """The log on each engine."""
    url = databases.create(shared_engine)
    forger = Forger(url)
    details: list[Row] = []
    published: list[Row] = []
    async with database_at(url) as database, writer_on(database) as writer:
        for turn in range(12):
            words = str(uuid4()), f"sealed {turn}".encode()
            details.append({"org": ORG, "id": words[0], "kind": Act.BREAKGLASS.value, "octets": words[1]})
            digest = "sha256:" + hashlib.sha256(words[1]).hexdigest()
            glass = event(act=Act.BREAKGLASS, ref=words[0], sealed=digest)
            await writer.append(ORG, [event(number, req=f"request-{turn}") for number in range(49)] + [glass])
            head = (await forger.read())["audit_head"][0]
            line = WITNESS.cosign(head["checkpoint"].partition("\n\n")[0] + "\n", 1_790_000_000)
            published.append(
                {"org": ORG, "epoch": 1, "size": head["size"], "note": head["checkpoint"], "published_at": 1}
                | {"cosignatures": line, "witnessed_at": 1}
            )
        book = {**await forger.read(), "audit_checkpoint": published, "audit_detail": details}
        await forger.write(book)
        yield Scene(database, forger, book)
    databases.drop(url)


@dataclass(frozen=True)
class Change:
    """One row as it was, and as it becomes: None where there is none."""

    table: str
    before: Row | None
    after: Row | None

    async def make(self, forger: Forger) -> None:
        """Changes the database."""
        await _replace(forger, self.table, self.before, self.after)

    async def undo(self, forger: Forger) -> None:
        """Changes it back."""
        await _replace(forger, self.table, self.after, self.before)


async def _replace(forger: Forger, table: str, old: Row | None, new: Row | None) -> None:
    named = ("org", *KEYS[table])
    if old is not None and new is not None:
        sets, where = (" = ?, ".join(new) + " = ?"), " AND ".join(f"{name} = ?" for name in named)
        await forger.run(f"UPDATE {table} SET {sets} WHERE {where}", *new.values(), *(old[name] for name in named))
    elif old is not None:
        where = " AND ".join(f"{name} = ?" for name in named)
        await forger.run(f"DELETE FROM {table} WHERE {where}", *(old[name] for name in named))
    elif new is not None:
        places = ", ".join("?" * len(new))
        await forger.run(f"INSERT INTO {table} ({', '.join(new)}) VALUES ({places})", *new.values())


def drawn(chance: random.Random, book: Book) -> Change:
    """A random change of a random row."""
    table = chance.choices(list(KEYS), weights=(10, 3, 2, 3, 2))[0]
    row = chance.choice(book[table])
    kind = chance.choices(("update", "delete", "insert"), weights=(8, 1, 1))[0]
    if kind == "delete" and table != "audit_checkpoint":
        return Change(table, row, None)
    if kind == "insert" and table != "audit_head":
        return Change(table, None, _another(chance, table, row))
    column = chance.choice([name for name in row if (table, name) not in UNSAID])
    return Change(table, row, {**row, column: _other(chance, column, row[column])})


def _another(chance: random.Random, table: str, row: Row) -> Row:
    """A row that is not there yet, otherwise like one that is."""
    fresh: dict[str, Row] = {
        "audit_event": {"seq": chance.choice((600, -1, 10**9)), "id": str(UUID(int=chance.getrandbits(128)))},
        "audit_tile": chance.choice(({"n": chance.randrange(2, 10**6)}, {"level": 1}, {"level": -1}, {"n": -1})),
        "audit_checkpoint": chance.choice(({"epoch": 2}, {"size": row.get("size", 0) + 1}, {"size": 10**9})),
        "audit_detail": {"id": str(UUID(int=chance.getrandbits(128)))},
    }
    return {**row, **fresh[table]}


def _other(chance: random.Random, column: str, value: Any) -> Any:
    """Another value of the same kind."""
    if value is None:
        return "x"
    if isinstance(value, int):
        return value + chance.choice((1, -1, 3, 1_000)) if column in SMALL else value + chance.choice((1_000, -10_000))
    if isinstance(value, bytes):
        at = chance.randrange(len(value))
        flipped = value[:at] + bytes([value[at] ^ 1 << chance.randrange(8)]) + value[at + 1 :]
        return chance.choice((flipped, flipped, value[:-1], value + b"\0", b""))
    at = chance.randrange(len(value) + 1)
    made = value[:at] + chance.choice("abcXYZ019 \n") + value[at + chance.randrange(2) :]
    return made if made != value else value + "x"


async def _found(scene: Scene, count: int) -> list[Change]:
    """The changes of the first `count` that verification did not see."""
    chance = random.Random(SEED)
    missed = []
    assert (await scene.verified()).sound
    for _ in range(count):
        change = drawn(chance, scene.book)
        await change.make(scene.forger)
        found = await scene.verified()
        await change.undo(scene.forger)
        if found.sound and not found.strangers:
            missed.append(change)
    assert (await scene.verified()).sound
    return missed


async def test_some_changes(scene: Scene) -> None:
    """Each of the first twenty-five changes is found on each engine."""
    assert await _found(scene, 25) == []


@pytest.mark.slow
async def test_a_thousand_changes(scene: Scene) -> None:
    """A thousand changes, five hundred on each engine: a thousand found."""
    assert await _found(scene, 500) == []
