"""Attacks under a running service by whoever owns the database, without the key: it signs only what it wrote."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from crm.audit.checkpoint import Checkpoint
from crm.audit.damage import LogFault
from crm.audit.entry import draft
from crm.audit.event import Act, Who
from crm.audit.writer import LogWriter
from crm.errors import AuditUnavailable
from crm.services.log_verification import VerifiedLog, verify_log
from crm.services.outside import Outside
from crm.store import organisations
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.database import Database
from crm.store.log import LogSink, stage_rows
from crm.store.log_outbox import NO_EPOCH
from tests.forger import Book, Forger, Row, refitted, relisted
from tests.logs import START, Clock, database_at, event, labels, logged, rows_of, signer, until, verifier_key, writer_on

ORG = "north"
STAGED = "INSERT INTO audit_outbox (org, id, leaf, created_at) VALUES (?, ?, ?, 1)"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated and opened database on each engine."""
    async with database_at(database_url) as made:
        yield made


# A log that is shut is probed until its writer has waited one deadline for it.
opened_on = partial(writer_on, deadline=1.0)


async def verified(database: Database, org: str = ORG) -> VerifiedLog:
    """What verification with the log's key finds."""
    stamper = signer(org, NO_EPOCH)
    return await verify_log(database, org, "heed.test", verifier_key, [], {}, lambda _done, _of: None, stamper)


async def refused(writer: LogWriter, org: str = ORG) -> None:
    """The log is shut, and stays so."""
    for _ in range(3):
        with pytest.raises(AuditUnavailable):
            await writer.append(org, [event(99)])


async def grown(writer: LogWriter, count: int) -> None:
    """Events in batches of their own."""
    for label in range(count):
        await writer.append(ORG, [event(label, who=Who(sub="bob", org=ORG))])


def blamed(rows: list[Row]) -> None:
    """Somebody else did it."""
    rows[5]["leaf"] = rows[5]["leaf"].replace(b"bob", b"eve")


def cut(rows: list[Row]) -> None:
    """The last ten never happened."""
    del rows[20:]


@pytest.mark.parametrize("change", [blamed, cut])
@pytest.mark.parametrize("restarted", [False, True])
async def test_a_changed_past_is_not_signed(
    database: Database, database_url: str, change: object, restarted: bool
) -> None:
    """Events, tiles and edge fit each other, the signature does not: neither this process nor a new one goes on."""
    forger = Forger(database_url)
    async with opened_on(database) as writer:
        await grown(writer, 30)
        note = (await forger.read())["audit_head"][0]["checkpoint"]
        await forger.write(refitted(relisted(await forger.read(), change), key=False))  # type: ignore[arg-type]
        if restarted:
            async with opened_on(database, "ra-2") as other:
                await refused(other)
        else:
            await refused(writer)
    assert (await forger.read())["audit_head"][0]["checkpoint"] == note


async def test_the_end_of_another_replica_is_not_cut_off(database: Database, database_url: str) -> None:
    """The log ends again where this process had left it, but that is not what was signed last."""
    forger = Forger(database_url)
    async with opened_on(database) as writer, opened_on(database, "ra-2") as other:
        await grown(writer, 20)
        await grown(other, 10)
        await forger.write(refitted(relisted(await forger.read(), cut), key=False))
        await refused(writer)


@pytest.mark.parametrize("gone", [False, True])
async def test_an_older_genuine_head_is_refused_by_who_saw_more(
    database: Database, database_url: str, gone: bool
) -> None:
    """Signature and all; also where all of the log is gone, and also after failures in between."""
    forger = Forger(database_url)
    async with opened_on(database) as writer:
        await grown(writer, 10)
        older: Book = await forger.read()
        await grown(writer, 10)
        await forger.write({table: [] for table in older} if gone else older)
        await refused(writer)
        await database.close()
        with suppress(AuditUnavailable):
            await writer.append(ORG, [event(98)])
        await database.open()
        await refused(writer)
    assert len(await rows_of(database)) == (0 if gone else 10)


@pytest.mark.parametrize("published", [False, True])
async def test_a_log_without_signature(database: Database, database_url: str, published: bool) -> None:
    """That of a release that signed nothing goes on; one of which a checkpoint was published has lost its signature."""
    forger = Forger(database_url)
    async with opened_on(database) as writer:
        await grown(writer, 10)
        note = (await forger.read())["audit_head"][0]["checkpoint"]
        if published:
            row = "INSERT INTO audit_checkpoint (org, epoch, size, note, published_at) VALUES (?, 1, 10, ?, 1)"
            await forger.run(row, ORG, note)
        await forger.run("UPDATE audit_head SET checkpoint = NULL WHERE org = ?", ORG)
        await refused(writer)
    async with opened_on(database, "ra-2") as other:
        if published:
            await refused(other)
        else:
            await other.append(ORG, [event(10)])
            assert (await verified(database)).sound


async def test_an_epoch_begins_with_the_event_that_says_so(database: Database, database_url: str) -> None:
    """A number raised in the head shuts the log, until `audit renew` writes its event."""
    forger = Forger(database_url)
    async with opened_on(database) as writer:
        await grown(writer, 10)
        await forger.run("UPDATE audit_head SET epoch = 2 WHERE org = ?", ORG)
        await refused(writer)
        lost = Checkpoint("heed.test/north/1", 12, bytes(32))
        async with opened_on(database, "renew") as renewing:
            await renewing.append(ORG, [event(act=Act.BOOT, why="RENEWED", old=lost)])
        await until(lambda: writer.accepting(ORG))
        await writer.append(ORG, [event(11)])
        found = await verified(database)
    assert (found.sound, found.epoch, found.size) == (True, 2, 12)


async def test_two_logs_that_were_swapped(database: Database, database_url: str, tmp_path: object) -> None:
    """Each is whole and signed, but not under this name: no start, no event, and verification names the leaves."""
    north, south = Forger(database_url), Forger(database_url, "south")
    async with opened_on(database) as writer:
        for org, count in ((ORG, 20), ("south", 25)):
            await writer.append(org, [event(label, who=Who(sub="bob", org=org)) for label in range(count)])
    one, two = await north.read(), await south.read()
    for book, org in ((one, "south"), (two, ORG)):
        for rows in book.values():
            for row in rows:
                row["org"] = org
    await north.write(two)
    await south.write(one)
    journal = CheckpointJournal(tmp_path / "none")  # type: ignore[operator]
    troubles = await Outside(database, journal, [], verifier_key, "heed.test").troubles()
    assert [trouble.org for trouble in troubles] == [ORG, "south"]
    assert all(trouble.text.startswith("FORK DETECTED") for trouble in troubles)
    async with opened_on(database) as writer:
        await refused(writer)
        await refused(writer, "south")
    assert (await verified(database)).damages.counts[LogFault.ORG_WRONG] == 25


async def test_a_forged_row_of_the_outbox_is_never_signed(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it hold up ours, or other organisations, or readiness; it is counted, and verification names it."""
    forger = Forger(database_url)
    late = START + 60_000_000
    forged = draft(event(act=Act.PRUNE, cnt=256), START, staged_by="ra-9/x")
    async with opened_on(database) as writer:
        await writer.append(ORG, [event(0)])
    for name, leaf in (("0", b"{"), (forged.id, forged.octets())):
        await forger.run(STAGED, ORG, name, leaf)
    dead = LogWriter(LogSink(database, signer), node="dead", clock=Clock())
    for org in (ORG, "south"):
        async with database.transaction(org) as connection:
            await stage_rows(connection, org, dead.stage(org, [event(1)]))
    # One of ours, moved to another organisation, and one that says something else now, are nobody's either.
    moved = dead.stage("south", [event(2)])
    async with database.transaction(ORG) as connection:
        await stage_rows(connection, ORG, moved)
    with caplog.at_level(logging.ERROR, "heed.audit"):
        async with opened_on(database, "ra-2", clock=Clock(late), batch=2) as writer:
            await until(lambda: writer.healthy)
    assert (labels(await logged(database)), labels(await logged(database, "south"))) == ([0, 1], [1])
    assert {record.args for record in caplog.records} == {(3, ORG)}
    found = await verified(database)
    assert [(each.fault, each.part) for each in found.damages.named] == [(LogFault.STRANGERS_WAIT, "3 of them")]


async def test_a_row_put_back_is_not_logged_twice(database: Database, database_url: str) -> None:
    """Stamp and all: an event that has its number is passed over, and holds up nothing."""
    async with opened_on(database) as writer:
        staged = writer.stage(ORG, [event(1)])
        for _ in range(2):
            async with database.transaction(ORG) as connection:
                await stage_rows(connection, ORG, staged)
            if not await rows_of(database):
                await writer.sequence(ORG, staged)
    async with opened_on(database, "ra-2", clock=Clock(START + 60_000_000)) as other:
        await until(lambda: other.healthy)
        await other.append(ORG, [event(2)])
    assert labels(await logged(database)) == [1, 2]


@pytest.mark.parametrize("facts", [{"act": Act.PRUNE, "cnt": 0}, {"act": Act.BOOT, "why": "RENEWED"}])
async def test_acts_that_never_wait(database: Database, facts: dict[str, Any]) -> None:
    """A prune or a renewal that came out of the outbox explains nothing, even with a stamp."""
    dead = LogWriter(LogSink(database, signer), node="dead", clock=Clock())
    async with database.transaction(ORG) as connection:
        await stage_rows(connection, ORG, dead.stage(ORG, [event(**facts)]))
    async with opened_on(database, clock=Clock(START + 60_000_000)) as writer:
        await until(lambda: writer.healthy)
    found = await verified(database)
    assert found.damages.counts == {LogFault.WAY_WRONG: 1}


async def test_who_was_taken_off_the_list(database: Database, database_url: str) -> None:
    """The next batch that locks puts the organisation on it again; on SQLite its log is verified meanwhile too."""
    forger = Forger(database_url)
    async with opened_on(database) as writer:
        await grown(writer, 3)
    if database.dialect == "sqlite":
        await forger.run("PRAGMA foreign_keys = OFF")
    await forger.run("DELETE FROM organisation WHERE org = ?", ORG)
    assert await organisations.every_visible(database) == ([ORG] if database.dialect == "sqlite" else [])
    async with opened_on(database, "ra-2") as other:
        await other.append(ORG, [event(3)])
    assert await organisations.every(database) == [ORG]
