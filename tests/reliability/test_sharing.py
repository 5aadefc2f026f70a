"""Look-ups that share a statement: each gets its own rows, sees what was committed, and suffers for nobody else."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crm.errors import StoreUnavailable
from crm.store.database import Database
from crm.store.sharing import MOST, PATIENCE, Sharing
from crm.store.statements import Statement, prepare
from crm.store.work import Row
from tests.store import ADD, LOOK_UP, NORTH, OTHER_LOOK_UP, RAISE, SOUTH, opened, record


@dataclass
class Server:
    """Answers look-ups when it is told to: what was sent, and what it will do with it."""

    sent: list["Sent"] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    async def run(self, org: str, statement: Statement, params: dict[str, Any]) -> Sequence[Row]:
        """Sends one statement; its rows are those of this moment, and arrive when it is answered."""
        wanted = [params["id"]] if "id" in params else list(params["ids"])
        rows = [(each, org, self.versions.get(each, 0)) for each in wanted]
        one = Sent(org, statement, wanted, rows, asyncio.get_running_loop().create_future())
        self.sent.append(one)
        await one.answered
        return cast(Sequence[Row], one.rows)


@dataclass
class Sent:
    """One statement on its way."""

    org: str
    statement: Statement
    ids: list[str]
    rows: list[tuple[str, str, int]]
    answered: "asyncio.Future[None]"

    def answer(self, failure: Exception | None = None) -> None:
        """Let it arrive, or fail."""
        if not self.answered.done():
            self.answered.set_exception(failure) if failure else self.answered.set_result(None)


async def settled() -> None:
    """Everything that can go on has gone on."""
    for _ in range(10):
        await asyncio.sleep(0)


async def behind(sharing: Sharing, first: str, *ids: str) -> list["asyncio.Task[Any]"]:
    """One task for each id, all of which have asked: those behind the first while its statement was under way."""
    return [*await asking(sharing, first), *await asking(sharing, *ids)]


async def asking(sharing: Sharing, *ids: str, org: str = NORTH, by: Statement = LOOK_UP) -> list["asyncio.Task[Any]"]:
    """One task for each id, all of which have asked."""
    tasks = [asyncio.create_task(sharing.look_up(org, by, each)) for each in ids]
    await settled()
    return tasks


async def test_alone_it_is_sent_at_once_and_as_one() -> None:
    """Nobody waits for company, and one id goes by the statement for one."""
    server = Server()
    [task] = await asking(Sharing(server.run), "a")
    assert [(each.statement, each.ids) for each in server.sent] == [(LOOK_UP, ["a"])]
    server.sent[0].answer()
    assert await task == [("a", NORTH, 0)]


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_who_asks_in_the_same_turn_shares_the_first_statement(gone: int) -> None:
    """It is sent when everybody who could ask in that turn has asked; somebody who went away by then is not in it."""
    left = [at for at in range(3) if at != gone]
    server = Server()
    sharing = Sharing(server.run)
    tasks = [asyncio.create_task(sharing.look_up(NORTH, LOOK_UP, each)) for each in ("a", "b", "c")]
    await asyncio.sleep(0)
    assert not server.sent
    tasks[gone].cancel()
    await settled()
    assert [(each.statement, sorted(each.ids)) for each in server.sent] == [(LOOK_UP.many, ["abc"[at] for at in left])]
    server.sent[0].answer()
    assert [(await tasks[at])[0][0] for at in left] == ["abc"[at] for at in left]
    assert not sharing._lines


async def test_a_line_of_which_everybody_went_away_is_forgotten() -> None:
    """Nothing is sent for nobody, and the next who asks is answered."""
    server = Server()
    sharing = Sharing(server.run)
    task = asyncio.create_task(sharing.look_up(NORTH, LOOK_UP, "a"))
    await asyncio.sleep(0)
    task.cancel()
    await settled()
    assert not server.sent
    assert not sharing._lines
    [again] = await asking(sharing, "a")
    server.sent[0].answer()
    assert (await again)[0][0] == "a"


async def test_those_who_wait_share_one_statement_and_each_gets_its_own() -> None:
    """Of what came while the first was under way, one statement asks each id once; an unknown id has no rows."""
    server = Server()
    sharing = Sharing(server.run)
    tasks = await behind(sharing, "first", "a", "b", "a", "nobody")
    server.sent[0].answer()
    await settled()
    assert [(each.statement, each.ids) for each in server.sent[1:]] == [(LOOK_UP.many, ["a", "b", "nobody"])]
    server.sent[1].rows.remove(("nobody", NORTH, 0))
    server.sent[1].answer()
    rows = [list(each) for each in await asyncio.gather(*tasks)]
    assert rows == [[(each, NORTH, 0)] for each in ("first", "a", "b", "a")] + [[]]
    assert not sharing._lines
    assert not sharing._tasks


async def test_organisations_and_shapes_do_not_mix() -> None:
    """A statement is for one organisation and one selection, and those who ask for another go their own way."""
    server = Server()
    sharing = Sharing(server.run)
    questions = [(NORTH, LOOK_UP), (SOUTH, LOOK_UP), (NORTH, OTHER_LOOK_UP)]
    tasks = [asyncio.create_task(sharing.look_up(org, by, each)) for org, by in questions for each in ("a", "b", "c")]
    await settled()
    assert [(each.org, each.statement, sorted(each.ids)) for each in server.sent] == [
        (org, by.many, ["a", "b", "c"]) for org, by in questions
    ]
    for each in server.sent:
        each.answer()
    organisations = [rows[0][1] for rows in await asyncio.gather(*tasks)]
    assert organisations == [NORTH] * 3 + [SOUTH] * 3 + [NORTH] * 3


async def test_a_statement_under_way_is_not_joined() -> None:
    """What is committed after it was sent is seen by whoever asks afterwards, also for the same id."""
    server = Server()
    [before] = await asking(sharing := Sharing(server.run), "a")
    server.versions["a"] = 1  # committed and acknowledged
    [after] = await asking(sharing, "a")
    server.sent[0].answer()
    await settled()
    server.sent[1].answer()
    assert [(await before)[0][2], (await after)[0][2]] == [0, 1]


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_whoever_is_cancelled_takes_nobody_along(gone: int) -> None:
    """Neither the first, who sends its own statement, nor one who waits; and nobody looks up what nobody wants."""
    server = Server()
    tasks = await behind(Sharing(server.run), "a", "b", "c")
    tasks[gone].cancel()
    await settled()
    for each in server.sent[:]:
        each.answer()
    await settled()
    for each in server.sent:
        each.answer()
    answers: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers.pop(gone), asyncio.CancelledError)
    assert [rows[0][0] for rows in answers] == [each for each in ("a", "b", "c") if each != "abc"[gone]]
    assert (gone == 0) or "abc"[gone] not in [one for each in server.sent for one in each.ids]


async def test_one_of_a_shared_statement_may_go_while_it_is_under_way() -> None:
    """It was sent for three; two are answered."""
    server = Server()
    tasks = await behind(sharing := Sharing(server.run), "first", "a", "b", "c")
    server.sent[0].answer()
    await settled()
    tasks[2].cancel()
    await settled()
    server.sent[1].answer()
    answers: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[2], asyncio.CancelledError)
    assert [answers[1][0][0], answers[3][0][0]] == ["a", "c"]
    assert not sharing._tasks


async def test_an_outage_reaches_everybody_who_waits_for_the_statement() -> None:
    """Each hears it by an error of its own, and the next look-up is sent again."""
    server = Server()
    tasks = await behind(sharing := Sharing(server.run), "first", "a", "b")
    server.sent[0].answer()
    await settled()
    server.sent[1].answer(StoreUnavailable())
    answers: list[Any] = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert [type(each) for each in answers] == [StoreUnavailable, StoreUnavailable]
    assert answers[0] is not answers[1]
    [again] = await asking(sharing, "a")
    server.sent[2].answer()
    assert (await again)[0][0] == "a"


async def test_an_id_that_a_database_may_refuse_is_shared_with_nobody() -> None:
    """It is sent by itself, whoever is asked for beside it: nobody can spoil, or hold up, the look-ups of strangers."""
    server = Server()
    sharing = Sharing(server.run)
    wanted = ("a", "nul\0", "lone\ud800", "b", "nul\0")
    tasks = [asyncio.create_task(sharing.look_up(NORTH, LOOK_UP, each)) for each in wanted]
    await settled()
    assert sorted(sorted(each.ids) for each in server.sent) == [["a", "b"], ["lone\ud800"], ["nul\0"], ["nul\0"]]
    for each in server.sent:
        odd = each.statement is LOOK_UP
        each.answer(RuntimeError("a value is not one that PostgreSQL can hold") if odd else None)
    answers: list[Any] = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[0][0][0], answers[3][0][0]] == ["a", "b"]
    assert [type(answers[at]) for at in (1, 2, 4)] == [RuntimeError] * 3
    assert not sharing._lines


async def test_a_failure_is_not_tried_again_for_each() -> None:
    """Whatever a shared statement fails with, each who waits hears it at once and by an error of its own."""
    server = Server()
    tasks = await behind(sharing := Sharing(server.run), "first", "a", "b", "a")
    server.sent[0].answer()
    await settled()
    server.sent[1].answer(RuntimeError("PostgreSQL refused a statement"))
    answers: list[Any] = await asyncio.wait_for(asyncio.gather(*tasks[1:], return_exceptions=True), 5)
    assert [(type(each), str(each)) for each in answers] == [(RuntimeError, "PostgreSQL refused a statement")] * 3
    assert len(set(map(id, answers))) == 3
    assert len(server.sent) == 2
    assert not sharing._lines


async def test_a_crowd_is_split() -> None:
    """No statement asks for more than `MOST` ids, and those behind need not wait for those in front."""
    server = Server()
    tasks = await behind(Sharing(server.run), "first", *(f"p{number}" for number in range(2 * MOST + 1)))
    server.sent[0].answer()
    await settled()
    assert [len(each.ids) for each in server.sent[1:]] == [MOST, MOST, 1]
    assert server.sent[-1].statement is LOOK_UP
    for each in server.sent:
        each.answer()
    assert len({rows[0][0] for rows in await asyncio.gather(*tasks)}) == 2 * MOST + 2


async def test_nobody_waits_long_behind_a_statement_that_hangs() -> None:
    """After `PATIENCE` another one is sent beside it, by another connection."""
    server = Server()
    tasks = await behind(sharing := Sharing(server.run), "hangs", "a", "b")
    await asyncio.sleep(PATIENCE * 1.5)
    assert [each.ids for each in server.sent] == [["hangs"], ["a", "b"]]
    server.sent[1].answer()
    assert [rows[0][0] for rows in await asyncio.gather(*tasks[1:])] == ["a", "b"]
    server.sent[0].answer(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await tasks[0]
    assert not sharing._lines


@pytest.mark.parametrize("turns", range(5))
async def test_closing_refuses_those_who_wait(turns: int) -> None:
    """Nobody is left waiting for a database that was let go, not even by a statement that was about to be sent."""
    server = Server()
    tasks = await behind(sharing := Sharing(server.run), "first", "a", "b")
    server.sent[0].answer()
    for _ in range(turns):
        await asyncio.sleep(0)
    await sharing.close()
    await settled()
    for each in server.sent:
        each.answer()
    answers: list[Any] = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert [type(each) for each in answers] == [StoreUnavailable, StoreUnavailable]


Step = tuple[str, int]
_STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "ask", "commit", "answer", "fail", "cancel", "turn"]), st.integers(0, 5)),
    min_size=5,
    max_size=60,
)


@given(_STEPS)
@settings(max_examples=150)
def test_reads_are_linearizable_and_nobody_is_forgotten(steps: list[Step]) -> None:
    """In any order of asking, committing, answering, failing and cancelling: own rows, never older than the asking."""
    asyncio.run(_played(steps))


async def _played(steps: list[Step]) -> None:
    server, asked = Server(), list[tuple[str, int, "asyncio.Task[Any]"]]()
    sharing = Sharing(server.run)
    for what, number in steps:
        name, under_way = f"p{number}", [each for each in server.sent if not each.answered.done()]
        if what == "ask":
            asked.append(
                (name, server.versions.get(name, 0), asyncio.create_task(sharing.look_up(NORTH, LOOK_UP, name)))
            )
        elif what == "commit":
            server.versions[name] = server.versions.get(name, 0) + 1
        elif what in {"answer", "fail"} and under_way:
            under_way[number % len(under_way)].answer(StoreUnavailable() if what == "fail" else None)
        elif what == "cancel" and asked:
            asked[number % len(asked)][2].cancel()
        await (settled() if what == "turn" else asyncio.sleep(0))
    while sharing._tasks or any(not task.done() for _, _, task in asked):
        for each in server.sent:
            each.answer()
        await settled()
    for name, at_least, task in asked:
        if not task.cancelled() and task.exception() is None:
            [(found, org, version)] = task.result()
            assert (found, org) == (name, NORTH)
            assert version >= at_least
        elif not task.cancelled():
            assert isinstance(task.exception(), StoreUnavailable)
    assert not sharing._lines
    assert not sharing._tasks


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A fresh database of each engine, opened, with few connections."""
    async with opened(database_url, pool_size=3) as made:
        yield made


async def test_on_a_real_database_everybody_sees_its_own_and_the_newest(database: Database) -> None:
    """Two organisations with the same ids, readers and writers at once: own rows, at least as new as acknowledged."""
    ids = [f"p{number}" for number in range(8)]
    for org, first in ((NORTH, 1), (SOUTH, 1001)):
        async with database.transaction(org) as connection:
            subjects = {each: f"{org}-{each}" for each in ids}
            rows = [record(each, version=first, audit_subject=subjects[each]) for each in ids]
            await connection.execute_many(ADD, rows)
    newest = {(org, each): first for org, first in ((NORTH, 1), (SOUTH, 1001)) for each in ids}

    async def write(org: str) -> None:
        for number in range(40):
            name = ids[number % len(ids)]
            async with database.transaction(org) as connection:
                await connection.fetch(RAISE, key=name, expected=newest[org, name])
            newest[org, name] += 1

    async def read(org: str, start: int) -> None:
        for number in range(40):
            name = ids[(start + number) % len(ids)]
            acknowledged = newest[org, name]
            [row] = await database.fetch(org, LOOK_UP, id=name)
            assert (row["id"], row["audit_subject"]) == (name, f"{org}-{name}")
            assert acknowledged <= row["version"] <= acknowledged + 40
            assert not await database.fetch(org, LOOK_UP, id="nobody")

    await asyncio.gather(
        *(write(org) for org in (NORTH, SOUTH)), *(read(org, at) for org in (NORTH, SOUTH) for at in range(8))
    )


async def test_on_a_real_database_a_foreign_id_spoils_nothing(database: Database) -> None:
    """What no database can hold fails alone, among look-ups of others."""
    async with database.transaction(NORTH) as connection:
        await connection.execute(ADD, **record("a"))
    wanted = ["a", "canary-\ud800", "a", "nobody", "canary-\ud800", "a"]
    answers: list[Any] = await asyncio.gather(
        *(database.fetch(NORTH, LOOK_UP, id=each) for each in wanted), return_exceptions=True
    )
    for name, answer in zip(wanted, answers, strict=True):
        if isinstance(answer, BaseException):
            assert "canary" in name
            assert isinstance(answer, RuntimeError)
            assert "canary" not in str(answer)
        else:
            assert [row["id"] for row in answer] == ([name] if name == "a" else [])


def test_what_takes_other_parameters_is_no_look_up() -> None:
    """A statement that would lose a parameter in the shared form is refused when it is made."""
    with pytest.raises(RuntimeError, match="look-up"):
        prepare(LOOK_UP._element, many=LOOK_UP)
