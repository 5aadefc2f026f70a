"""What officers sum up, on both engines: groups, disclosures, the roll-up of days, and who did more than before."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import product

import pytest
from sqlalchemy import bindparam, select

from crm.audit.event import Act, Event, Outcome, Who, rfc3339
from crm.store.database import Database
from crm.store.log_days import differing
from crm.store.log_reading import EventFilter, events
from crm.store.log_rollup import DAY, Excess, excesses, rebuild, roll_up
from crm.store.log_summing import DIMENSIONS, disclosures, summary
from crm.store.statements import prepare
from crm.store.tables import audit_actor_day
from tests.forger import Forger
from tests.logs import START, Clock, database_at, event, logged, writer_on

ADA, GRACE, LINUS = "a" * 32, "b" * 32, "c" * 32
MIDNIGHT = START - START % DAY
NURSE, CLERK = Who(sub="nurse", roles=("clinician",)), Who(sub="clerk", roles=("front_desk", "care_coordinator"))

_DAYS = prepare(
    select(audit_actor_day)
    .where(audit_actor_day.c.org == bindparam("org"))
    .order_by(audit_actor_day.c.day, audit_actor_day.c.actor)
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh, migrated and opened database on each engine."""
    async with database_at(database_url) as made:
        yield made


async def log(database: Database, *samples: tuple[int, Event], org: str = "north") -> None:
    """Events at their times."""
    clock = Clock()
    async with writer_on(database, clock=clock) as writer:
        for moment, sample in samples:
            clock.now = moment
            await writer.append(org, [sample])


async def days(database: Database, org: str = "north") -> list[tuple[int, str, int, int, int]]:
    """The roll-up: day (from the first), actor, events, patients, refused."""
    rows = await database.fetch(org, _DAYS)
    names = ("actor", "events", "patients", "refused")
    return [(row["day"] - MIDNIGHT // DAY, *(row[name] for name in names)) for row in rows]


SAMPLES: Sequence[tuple[int, Event]] = [
    (MIDNIGHT + 1, event(who=NURSE, pat=ADA, pou="TREAT", flg=("vip", "after_hours"))),
    (MIDNIGHT + 2, event(who=NURSE, pat=ADA, pou="TREAT", out=Outcome.DENIED, why="FORBIDDEN")),
    (MIDNIGHT + 3, event(who=NURSE, pat=GRACE, pou="TREAT", flg=("vip",))),
    (MIDNIGHT + 4, event(who=CLERK, pat=ADA, pou="PATADMIN")),
    (MIDNIGHT + DAY + 7 * 3_600_000_000, event(who=NURSE, pat=ADA, pou="TREAT", act=Act.UPDATE)),
    (MIDNIGHT + DAY + 8 * 3_600_000_000, event(who=CLERK, act=Act.QUERY)),
]


async def test_groups(database: Database) -> None:
    """Each dimension groups by what its name says; counts, refusals, different patients and times are right."""
    await log(database, *SAMPLES)
    by_actor = await summary(database, "north", EventFilter(), ["actor"], 10)
    assert [(one.key["actor"], one.events, one.refused, one.patients) for one in by_actor] == [
        ("nurse", 4, 1, 2),
        ("clerk", 2, 0, 1),
    ]
    stamped = [entry.content["t"] for entry in reversed(await events(database, "north", EventFilter(actor="nurse"), 9))]
    assert [rfc3339(by_actor[0].first_at), rfc3339(by_actor[0].last_at)] == [stamped[0], stamped[-1]]

    async def groups(*dimensions: str, **chosen: object) -> dict[tuple[object, ...], int]:
        found = await summary(database, "north", EventFilter(**chosen), dimensions, 100)  # type: ignore[arg-type]
        return {tuple(one.key[name] for name in dimensions): one.events for one in found}

    assert await groups("patient") == {(ADA,): 4, (GRACE,): 1, (None,): 1}
    assert await groups("outcome", actor="nurse") == {(0,): 3, (8,): 1}
    assert await groups("role") == {("clinician",): 4, ("care_coordinator,front_desk",): 2}
    assert await groups("purpose") == {("TREAT",): 4, ("PATADMIN",): 1, (None,): 1}
    assert await groups("action") == {("read",): 4, ("update",): 1, ("query",): 1}
    assert await groups("day") == {(MIDNIGHT // DAY,): 4, (MIDNIGHT // DAY + 1,): 2}
    assert await groups("hour", patient=ADA) == {(0,): 3, (7,): 1}
    assert await groups("flag", flags=["vip"]) == {(16,): 2, (2,): 1, (256,): 2}  # and the clock is the tests' own
    assert await groups("actor", "patient", patient=ADA) == {("nurse", ADA): 3, ("clerk", ADA): 1}
    assert await groups("actor", flags=["after_hours"]) == {("nurse",): 1}
    assert await groups() == {(): 6}
    assert len(await summary(database, "north", EventFilter(), ["patient"], 2)) == 2
    assert await summary(database, "south", EventFilter(), ["actor"], 9) == []


async def test_every_pair_of_dimensions_is_answered(database: Database) -> None:
    """Both engines take each combination, and the groups of a pair add up to those of one alone."""
    await log(database, *SAMPLES)
    for one, other in product(DIMENSIONS, repeat=2):
        found = await summary(database, "north", EventFilter(), [one, other], 1000)
        flags = 9  # of the samples: one after hours, two of a VIP, and six while the clocks disagree
        assert sum(each.events for each in found) == (flags if "flag" in (one, other) else len(SAMPLES))


async def test_filters_of_circumstances_and_sessions(database: Database) -> None:
    """Flags find events that have any of them; a token's id finds exactly its own, whatever it looks like."""
    token = Who(sub="nurse", jti="t-1")
    other = Who(sub="nurse", jti="t-10")
    await log(
        database,
        (START, event(0, who=token, flg=("self_access",))),
        (START + 10, event(1, who=other, flg=("vip", "break_glass"))),
        (START + 20, event(2, who=token, op="jti")),
        (START + 30, event(3, who=Who(sub="nurse", jti="Zoë"), flg=("minor",))),
    )

    async def found(**chosen: object) -> list[int]:
        entries = await events(database, "north", EventFilter(**chosen), 10)  # type: ignore[arg-type]
        return [entry.content["obj"][0]["ver"] for entry in entries]

    assert await found(flags=["self_access"]) == [0]
    assert await found(flags=["vip", "self_access"]) == [1, 0]
    assert await found(flags=["break_glass"]) == [1]
    assert await found(flags=["minor", "restricted"]) == [3]
    assert await found(flags=["deceased"]) == []
    assert await found(token="t-1") == [2, 0]
    assert await found(token="t-10", actor="nurse") == [1]
    assert await found(token="Zoë") == [3]
    assert await found(token='x"y') == []


async def test_disclosures(database: Database) -> None:
    """By recipient and purpose: how often, the first and the last; neither refusals nor other patients."""
    given = {"act": Act.EXPORT, "pat": ADA}
    lab, insurer = Who(sub="lab"), Who(sub="insurer")
    await log(
        database,
        (START, event(0, who=lab, pou="RECORDMGT", **given)),
        (START + 10, event(1, who=insurer, pou="RECORDMGT", **given)),
        (START + 20, event(2, who=lab, pou="RECORDMGT", **given)),
        (START + 30, event(3, who=lab, pou="PATADMIN", **given)),
        (START + 40, event(4, who=lab, pou="RECORDMGT", out=Outcome.DENIED, **given)),
        (START + 50, event(5, who=lab, pou="RECORDMGT", act=Act.EXPORT, pat=GRACE)),
        (START + 60, event(6, who=lab, pou="RECORDMGT", pat=ADA)),
    )
    found = await disclosures(database, "north", ADA, START, START + DAY, 10)
    assert [(one.count, one.first.seq, one.last.seq) for one in found] == [(2, 0, 2), (1, 1, 1), (1, 3, 3)]
    assert found[0].first.content["who"] == {"sub": "lab"}
    assert [one.first.seq for one in await disclosures(database, "north", ADA, START + 15, START + 25, 10)] == [2]
    assert await disclosures(database, "north", LINUS, START, START + DAY, 10) == []


async def test_the_roll_up_counts_each_event_once(database: Database) -> None:
    """However it is cut, a day has its events, its different patients and its refusals; and the same again from new."""
    assert await roll_up(database, "north")
    await log(database, *SAMPLES)
    expected = [(0, "clerk", 1, 1, 0), (0, "nurse", 3, 2, 1), (1, "clerk", 1, 0, 0), (1, "nurse", 1, 1, 0)]
    assert not await roll_up(database, "north", most=3, chunk=2)
    assert await roll_up(database, "north", chunk=1)
    assert await days(database) == expected
    assert await roll_up(database, "north")
    assert await days(database) == expected
    await rebuild(database, "north")
    assert await days(database) == []
    assert await roll_up(database, "north")
    assert await days(database) == expected
    assert await days(database, "south") == []
    assert len(await logged(database)) == len(SAMPLES)


async def test_somebody_who_does_more_than_before(database: Database) -> None:
    """Judged by their own days, not by those of others; few days, and few patients, are nothing to judge by."""
    subjects = [f"{number:032x}" for number in range(40)]
    samples = []
    for day in range(6):
        looks = 30 if day == 5 else 2 + day % 2
        for who, count in (("calm", 2), ("wild", looks), ("busy", 30), ("new", 30 if day == 5 else 0)):
            moment = MIDNIGHT + day * DAY
            samples += [(moment + at, event(who=Who(sub=who), pat=subjects[at])) for at in range(count)]
    clock = Clock()
    async with writer_on(database, clock=clock) as writer:
        for moment, sample in samples:
            clock.now = moment
            await writer.append("north", [sample])
    assert await roll_up(database, "north")
    last = MIDNIGHT // DAY + 5
    asked = {"history": 90, "sigmas": 4.0, "known": 5}
    [found] = await excesses(database, "north", last, last, least=10, **asked)  # type: ignore[arg-type]
    assert replace(found, deviation=0) == Excess(last, "wild", 30, 30, 0, 5, 2.4, 0)
    assert found.deviation == pytest.approx(0.24**0.5)
    assert await excesses(database, "north", last, last, least=31, **asked) == []  # type: ignore[arg-type]
    assert await excesses(database, "north", last - 1, last - 1, least=1, **asked) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("statement", "wrong"),
    [
        ("UPDATE audit_actor_day SET patients = 1 WHERE org = ? AND actor = 'nurse' AND patients = 2", [(0, "nurse")]),
        ("UPDATE audit_actor_day SET refused = 0 WHERE org = ?", [(0, "nurse")]),
        ("UPDATE audit_actor_day SET events = 99 WHERE org = ?",
         [(0, "clerk"), (0, "nurse"), (1, "clerk"), (1, "nurse")]),
        ("DELETE FROM audit_actor_day WHERE org = ? AND actor = 'clerk'", [(0, "clerk"), (1, "clerk")]),
        ("UPDATE audit_actor_day SET day = day + 7 WHERE org = ? AND actor = 'clerk' AND events = 1 AND patients = 0",
         [(1, "clerk"), (8, "clerk")]),
        ("UPDATE audit_rollup SET seq = 5 WHERE org = ?", [(1, "clerk")]),
    ],
)  # fmt: skip
async def test_edited_sums_are_found(
    database: Database, database_url: str, statement: str, wrong: list[tuple[int, str]]
) -> None:
    """Whatever is changed in the sums of days is named by day and person, and gone once they are counted anew."""
    await log(database, *SAMPLES)
    fetch = partial(database.fetch, "north")
    while not await roll_up(database, "north", chunk=2):
        pass
    assert await differing(fetch) == []
    await Forger(database_url).run(statement, "north")
    assert [(day - MIDNIGHT // DAY, actor) for day, actor in await differing(fetch)] == wrong
    await rebuild(database, "north")
    assert await differing(fetch) == [], "what is not counted yet is not wrong"
    await roll_up(database, "north")
    assert await differing(fetch) == []


async def test_counting_begins_anew_behind_the_end(database: Database, database_url: str) -> None:
    """A place behind the end of the log does not keep what comes from being counted."""
    await log(database, *SAMPLES)
    await roll_up(database, "north")
    expected = await days(database)
    await Forger(database_url).run("UPDATE audit_rollup SET seq = 1000000 WHERE org = ?", "north")
    await Forger(database_url).run("UPDATE audit_actor_day SET patients = 0 WHERE org = ?", "north")
    assert await roll_up(database, "north")
    assert await days(database) == expected
    await log(database, (MIDNIGHT + 5 * DAY, event(who=NURSE, pat=ADA)))
    assert await roll_up(database, "north")
    assert (5, "nurse", 1, 1, 0) in await days(database)


async def test_days_that_were_pruned_are_not_judged(database: Database, database_url: str) -> None:
    """Of days whose events may be gone the sums stay as they were counted; later days are judged."""
    await log(database, *SAMPLES, *((MIDNIGHT + 9 * DAY + at, event(who=NURSE, pat=ADA)) for at in range(2)))
    await roll_up(database, "north")
    forger, fetch = Forger(database_url), partial(database.fetch, "north")
    await forger.run("DELETE FROM audit_event WHERE org = ? AND seq < 2", "north")
    await forger.run("UPDATE audit_head SET pruned = 2 WHERE org = ?", "north")
    assert await differing(fetch) == []
    await forger.run("UPDATE audit_actor_day SET patients = 0 WHERE org = ?", "north")
    assert await differing(fetch) == [(MIDNIGHT // DAY + 9, "nurse")]
