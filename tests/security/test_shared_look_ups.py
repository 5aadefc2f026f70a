"""Callers whose look-ups share a statement share nothing else: neither an answer, nor a refusal, nor a record of it."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any, cast

from auth.roles import Role
from crm.errors import NotFound
from crm.services.request import Request
from crm.store.database import Database
from tests.house import ORG, OTHER_ORG, House, actor, house

PEOPLE = 6
ASKED = frozenset({"displayName", "contactPoints"})


class Sent:
    """Counts the statements by which a PostgreSQL database answers look-ups."""

    def __init__(self) -> None:
        self.statements = 0

    def around(self, inner: Database) -> Database:
        """Watch `inner`; SQLite shares no statements, since nobody waits for it."""
        sharing: Any = getattr(inner, "_sharing", None)
        if sharing is not None:
            send = sharing._run

            async def counted(*given: Any) -> Any:
                self.statements += 1
                return await send(*given)

            sharing._run = counted
        return inner


async def _asked(it: House, caller: Any, request: str, patient_id: str) -> Any:
    try:
        return await it.services.profiles.read(caller, Request(request, "Test"), patient_id, ASKED)
    except NotFound:
        return None


async def test_each_caller_gets_its_own_answer_and_its_own_event(
    database_url: str, tmp_path: Path, engine: str
) -> None:
    """Patients, proxies of nobody, and two organisations at once: what each gets is as if it had asked alone."""
    sent = Sent()
    async with house(database_url, tmp_path, database=sent.around) as it:
        ours = [await it.store({"preferred_name": f"Ours {number}"}) for number in range(PEOPLE)]
        theirs = [await it.store({"preferred_name": f"Theirs {number}"}, org=OTHER_ORG) for number in range(PEOPLE)]
        names = {each: f"Ours {at}" for at, each in enumerate(ours)}
        names |= {each: f"Theirs {at}" for at, each in enumerate(theirs)}
        questions: list[tuple[Any, str, str, str | None]] = []
        for each in (*ours, *theirs):
            for org, own in ((ORG, ours), (OTHER_ORG, theirs)):
                desk = actor(Role.FRONT_DESK, org=org, subject=f"desk of {org}")
                questions.append((desk, f"desk-{org}-{each}", each, names[each] if each in own else None))
            for number, patient in enumerate(ours):
                person = actor(Role.PATIENT, patient_id=patient, subject=f"patient {number}")
                questions.append((person, f"p{number}-{each}", each, names[each] if each == patient else None))
        sent.statements = 0
        answers = await asyncio.gather(*(_asked(it, caller, request, each) for caller, request, each, _ in questions))
        for (_, _, each, expected), answer in zip(questions, answers, strict=True):
            assert (answer and (answer["id"], answer["display_name"])) == (expected and (each, expected))
        if engine == "postgresql":
            assert 0 < sent.statements < len(questions) / 2  # the control: they did share

        told = [leaf for org in (ORG, OTHER_ORG) for leaf in await it.leaves(org=org)]
        outcomes = {leaf["req"]: leaf["out"] for leaf in told if leaf["req"] != "test-request"}
        assert outcomes == {request: "ok" if expected else "denied" for _, request, _, expected in questions}
        assert set(Counter(leaf["req"] for leaf in told if leaf["req"] in outcomes).values()) == {1}


async def test_a_caller_who_goes_away_takes_no_answer_from_others(database_url: str, tmp_path: Path) -> None:
    """Of callers who wait for one statement half are cancelled; the other half is answered, each with its own."""
    async with house(database_url, tmp_path) as it:
        ids = [await it.store({"preferred_name": f"Sam {number}"}) for number in range(PEOPLE)]
        desk = actor(Role.FRONT_DESK)
        tasks = [asyncio.create_task(_asked(it, desk, f"r-{each}", each)) for each in ids * 2]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        assert [cast(dict[str, Any], each)["id"] for each in answers[1::2]] == (ids * 2)[1::2]
