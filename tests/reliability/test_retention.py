"""The end of an event's time: what may be pruned, what stays provable, and that nothing goes without a word."""

import hashlib
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import insert

from auth.roles import Role
from commands.house import house as real_house
from commands.log_verifying import Asked, check, lines
from commands.pruning import prune
from crm.audit.checkpoint import parse
from crm.audit.damage import LogFault
from crm.audit.event import Act
from crm.audit.tree import verify_consistency, verify_inclusion
from crm.audit.writer import LogWriter
from crm.errors import LegalHold, Unsafe
from crm.services.holds import HoldReason
from crm.services.log_verification import Outside, VerifiedLog, verify_log
from crm.services.retention import DAY, Plan, Retention
from crm.settings import Settings, load
from crm.store import proofs
from crm.store.log import LogSink, signer_of
from crm.store.statements import prepare
from crm.store.tables import audit_detail
from tests.conftest import Databases
from tests.forger import Forger
from tests.house import ORG, REQUEST, House, actor, house, now
from tests.logs import Clock, event, verifier_key
from tests.processes import founded

SIZE = 600
KEPT = 512
LATER = 2_300 * DAY
DIGEST = "sha256:" + hashlib.sha256(b"words").hexdigest()
WORDS = "00000000-0000-4000-8000-000000000001"
ADD_DETAIL = prepare(insert(audit_detail))


@dataclass(frozen=True)
class Place:
    """A house with a log of 600 events, the third of which speaks of sealed words."""

    url: str
    house: House
    forger: Forger

    def retention(self) -> Retention:
        """Of the house's organisation."""
        officer = actor(Role.COMPLIANCE_OFFICER)
        return Retention(self.house.services.store, self.url, officer, REQUEST, days=2_282)

    async def pruned(self) -> Plan:
        """What was pruned once its time was over."""
        plan = await self.retention().plan(now() + LATER)
        await self.retention().announce(plan)
        await self.retention().carry_out(plan, lambda _done, _of: None)
        return plan

    async def verified(self, *outside: Outside) -> VerifiedLog:
        """What verification finds."""
        return await verify_log(
            self.house.database, ORG, "heed.test", verifier_key, outside, {}, lambda _done, _of: None
        )


@pytest.fixture
async def place(database_url: str, tmp_path: Path) -> AsyncIterator[Place]:
    """The house on each engine."""
    async with house(database_url, tmp_path) as it:
        glass = event(act=Act.BREAKGLASS, ref=WORDS, sealed=DIGEST)
        await it.log.append(ORG, [event(0), event(1), glass, *(event(label) for label in range(3, SIZE))])
        async with it.database.transaction(ORG) as connection:
            await connection.execute(ADD_DETAIL, id=WORDS, kind="breakglass", octets=b"words")
        yield Place(database_url, it, Forger(database_url, ORG))


async def test_what_may_go(place: Place) -> None:
    """Whole tiles of events that are old enough, and none that is younger than the retention."""
    assert (await place.retention().plan(now())).events == 0
    assert await place.retention().plan(now() + LATER) == Plan(ORG, 0, KEPT)
    assert (await place.retention().plan(now() + LATER, before=now() - DAY)).events == 0
    with pytest.raises(Unsafe, match="2282 days"):
        await place.retention().plan(now(), before=now() - 2_000 * DAY)


@pytest.mark.parametrize("column", ["ts = 1", "pat = NULL", "act = 'other'"])
async def test_columns_decide_nothing(place: Place, column: str) -> None:
    """Who edits the columns cannot have young events, or those under a hold, pruned: what leaves say is decisive."""
    patient = "0" * 31 + "1"
    await place.house.log.append(ORG, [event(0, pat=patient), *(event(label) for label in range(500))])
    await place.forger.run(f"UPDATE audit_event SET {column} WHERE org = ? AND (seq < 300 OR pat = ?)", ORG, patient)
    with pytest.raises(Unsafe, match="columns and its leaf disagree"):
        await place.retention().plan(now() + LATER)
    with pytest.raises(Unsafe, match="columns and its leaf disagree"):
        await place.retention().carry_out(Plan(ORG, 0, 768), lambda _done, _of: None)
    book = await place.forger.read()
    assert len(book["audit_event"]) == SIZE + 501
    assert (book["audit_head"][0]["pruned"], len(book["audit_detail"])) == (0, 1)


async def test_a_young_event_stays_whatever_its_column_says(place: Place) -> None:
    """Young events whose column was set to 1970: the plan takes none of them."""
    await place.forger.run("UPDATE audit_event SET ts = 1 WHERE org = ? AND seq BETWEEN 1 AND 511", ORG)
    assert (await place.retention().plan(now())).events == 0


async def test_proofs_outlive_the_events(place: Place) -> None:
    """After pruning old proofs verify, new ones of old events can be made, and verification explains what is gone."""
    database = place.house.database
    before = await proofs.head(database, ORG)
    assert before is not None
    assert before.note is not None
    [old] = [row["leaf_hash"] for row in (await place.forger.read())["audit_event"] if row["seq"] == 77]
    path = await proofs.inclusion(database, ORG, 77, SIZE)
    await place.pruned()
    head = await proofs.head(database, ORG)
    assert head is not None
    assert head.checkpoint is not None
    book = await place.forger.read()
    assert [row["seq"] for row in book["audit_event"]] == list(range(KEPT, SIZE + 1))
    assert (len(book["audit_tile"]), book["audit_detail"], head.pruned) == (2, [], KEPT)
    root = parse(before.note.partition("\n\n")[0] + "\n").root
    verify_inclusion(old, 77, SIZE, path, root)
    verify_inclusion(old, 77, head.size, await proofs.inclusion(database, ORG, 77, head.size), head.checkpoint.root)
    proof = await proofs.consistency(database, ORG, SIZE, head.size)
    verify_consistency(SIZE, head.size, proof, root, head.checkpoint.root)
    found = await place.verified(Outside("kept", before.note))
    assert (found.sound, found.pruned, found.pruned_by, found.vouched) == (True, KEPT, SIZE, SIZE)
    assert found.events == SIZE + 1 - KEPT


async def test_the_fence_is_back(place: Place) -> None:
    """Once pruned, nobody deletes more by the way: the triggers are there again."""
    await place.pruned()
    if place.url.startswith("postgres"):
        owner = await asyncpg.connect(place.url)
        for table in ("audit_event", "audit_detail"):
            with pytest.raises(asyncpg.RestrictViolationError):
                await owner.execute(f"DELETE FROM {table}")
        await owner.close()
    else:
        with sqlite3.connect(place.url.removeprefix("sqlite:///")) as owner:
            for table in ("audit_event", "audit_detail"):
                names = {name for (name,) in owner.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")}
                assert {f"{table}_no_delete", f"{table}_no_update"} <= names
        owner.close()


@pytest.mark.parametrize(
    ("statement", "fault", "first"),
    [
        ("UPDATE audit_head SET pruned = 256", LogFault.PRUNE_UNEXPLAINED, (0, 1)),
        ("UPDATE audit_head SET pruned = 0", LogFault.EVENT_MISSING, (0, 1)),
    ],
)
async def test_gone_without_a_word(place: Place, statement: str, fault: LogFault, first: tuple[int, int]) -> None:
    """Events that went without an event that says so are missing, whatever the head claims."""
    await place.forger.run("DELETE FROM audit_event WHERE seq < 256")
    await place.forger.run("DELETE FROM audit_detail")
    await place.forger.run(statement)
    found = await place.verified()
    assert found.damages.first == first
    assert fault in found.damages.counts


async def test_more_gone_than_announced(place: Place) -> None:
    """An honest pruning does not cover for what was taken away behind it."""
    await place.house.log.append(ORG, [event(label) for label in range(200)])  # 800: three full tiles
    await place.retention().announce(Plan(ORG, 0, 256))
    await place.retention().carry_out(Plan(ORG, 0, 256), lambda _done, _of: None)
    assert (await place.verified()).sound
    await place.forger.run("DELETE FROM audit_event WHERE seq < 512")
    assert (await place.verified()).damages.first == (256, 257)
    await place.forger.run("UPDATE audit_head SET pruned = 512")
    assert set((await place.verified()).damages.counts) == {LogFault.PRUNE_UNEXPLAINED}


async def test_legal_hold(place: Place) -> None:
    """While a patient under a hold has events in the range, nothing of it goes; once the hold is lifted, it does."""
    record = await place.house.register()
    officer = actor(Role.PRIVACY_OFFICER)
    holds = place.house.services.holds
    hold = await holds.place(officer, REQUEST, record["id"], HoldReason.LITIGATION)
    await place.house.log.append(ORG, [event(label) for label in range(300)])
    with pytest.raises(LegalHold):
        await place.retention().plan(now() + LATER)
    earlier = Plan(ORG, 0, 512)  # planned before the hold was placed over them
    await place.retention().carry_out(earlier, lambda _done, _of: None)  # the patient's events are not among these
    with pytest.raises(LegalHold):
        await place.retention().carry_out(Plan(ORG, 512, 768), lambda _done, _of: None)
    head = await proofs.head(place.house.database, ORG)
    assert head is not None
    assert head.pruned == KEPT
    await holds.lift(officer, REQUEST, record["id"], hold.id)
    assert (await place.retention().plan(now() + LATER)).minimum >= 768


async def old_log(settings: Settings) -> None:
    """A log of north from the year 2017."""
    async with real_house(settings) as it:
        sink = LogSink(it.database, signer_of(it.services.store.keys, settings.log_origin))
        old = LogWriter(sink, node="old", clock=Clock(1_500_000_000_000_000), deadline=30.0)
        await old.start()
        await old.append("north", [event(label) for label in range(SIZE)])
        await old.stop()


async def test_the_command(databases: Databases, tmp_path: Path) -> None:
    """`audit prune`: bundle, check, announcement, and the events are gone; what is young stays and is said."""
    url = databases.create("sqlite")
    settings = load(**founded(tmp_path, url))
    await old_log(settings)
    folder = tmp_path / "given-out"
    said = await prune(settings, folder, org="north", before=None, yes=True)
    assert said[0] == f"north: events 0 to {KEPT - 1} are in {folder}, checked, and gone from the log"
    rows = (await Forger(url).read())["audit_event"]
    assert rows[0]["seq"] == KEPT
    assert (folder / "tile" / "entries" / "000").exists()
    again = await prune(settings, tmp_path / "again", org="north", before=None, yes=True)
    assert again == ["north: no event is old enough to be pruned"]
    verified = await check(settings, Asked(["north"]), quiet=True)
    assert verified.sound, lines(verified)
    assert any(line.startswith(f"north: events before {KEPT} were pruned, as event") for line in lines(verified))
    databases.drop(url)


async def test_a_bundle_that_does_not_verify(databases: Databases, tmp_path: Path) -> None:
    """Nothing goes where the stranger's program finds the bundle wrong."""
    url = databases.create("sqlite")
    settings = load(**founded(tmp_path, url))
    await old_log(settings)
    forger = Forger(url)
    book = await forger.read()
    other = book["audit_event"][301]
    book["audit_event"][300] |= {"leaf": other["leaf"], "ts": other["ts"]}  # so that columns and leaf agree
    await forger.write(book, ["audit_event"])
    with pytest.raises(Unsafe, match="nothing was pruned"):
        await prune(settings, tmp_path / "given-out", org="north", before=None, yes=True)
    assert len((await forger.read())["audit_event"]) >= SIZE
    databases.drop(url)
