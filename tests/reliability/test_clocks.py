"""Replicas whose clocks are wrong: nothing is ordered by a clock, so nothing goes back or gets lost, and it shows."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from auth.roles import Role
from crm.store import feed
from tests.house import ORG, REQUEST, actor, now
from tests.premises import Place, Premises, opened

MINUTES = 60_000_000
CLERK = actor(Role.INTEGRATION)


def wrong(minutes: int) -> Callable[[], int]:
    """A clock that is so many minutes ahead."""
    return lambda: now() + minutes * MINUTES


async def renamed(it: Premises, patient: str, version: int) -> int:
    """The version that a change makes."""
    values = {"preferred_name": f"Sam {version}"}
    made = await it.house.services.changes.update(CLERK, REQUEST, patient, version, values, frozenset({"displayName"}))
    return int(made["version"])


async def test_clocks_that_differ_by_ten_minutes(engine: str, database_url: str, tmp_path: Path) -> None:
    """Changes by turns, five minutes ahead, five behind, and right: versions, times, feed and log go forth only."""
    place = Place(database_url, tmp_path)
    clocks = [wrong(5), wrong(-5), wrong(0), wrong(-5), wrong(5), wrong(-5)]
    patient, version = "", 0
    async with AsyncExitStack() as replicas:
        if engine == "postgresql":  # all at once; a file serves one process after the other
            parallel = [await replicas.enter_async_context(opened(place, clock=clock)) for clock in clocks[:3]]
        for turn, clock in enumerate(clocks):
            async with AsyncExitStack() as one:
                it = (
                    parallel[turn % 3]
                    if engine == "postgresql"
                    else await one.enter_async_context(opened(place, clock=clock))
                )
                if not patient:
                    patient, version = str((await it.house.register())["id"]), 1
                for _ in range(2):
                    assert await renamed(it, patient, version) == version + 1
                    version += 1
    async with opened(place) as it:
        database = it.house.database
        while await feed.sequence(database, ORG):
            pass

        async def fetch(statement: object, /, **params: object) -> object:
            return await database.fetch(ORG, statement, **params)  # type: ignore[arg-type]

        changes = await feed.read(fetch, ORG, 0, 100)  # type: ignore[arg-type]
        assert [change.version for change in changes] == list(range(1, version + 1))
        assert [change.seq for change in changes] == list(range(1, version + 1))
        leaves = [leaf for leaf in await it.house.leaves() if leaf["act"] == "update"]
        assert len(leaves) == version - 1
        assert sum("clock_skew" in leaf.get("flg", ()) for leaf in leaves) >= 6, "wrong clocks are marked"
