"""One process at a time sends to an endpoint: leases, their beats, and what happens when one is lost."""

import asyncio
from pathlib import Path

from crm.delivery.webhooks import Pace
from crm.store import webhooks
from tests.hooked import OPERATOR, eventually, hooked
from tests.house import ORG, REQUEST


async def test_one_process_at_a_time(database_url: str, tmp_path: Path) -> None:
    """Of several processes one sends; when it ends in order another goes on at once, and nothing comes twice."""
    async with hooked(database_url, tmp_path, start=False) as it:
        crews = [it.couriers() for _ in range(3)]
        people = [(await it.house.register())["id"] for _ in range(3)]
        for number, crew in enumerate(crews):
            await it.change(people[0], f"A{number}", f"B{number}")
            await it.change(people[1], f"C{number}")
            await it.receiver.until(1)
            await crew.stop()
        it.couriers()
        await it.quiet()
        assert len(it.receiver.arrived) == len({each.id for each in it.receiver.arrived}) == 12
        assert it.receiver.versions(people[0]) == [1, 2, 3, 4, 5, 6, 7]


async def test_taken_over(database_url: str, tmp_path: Path) -> None:
    """A process that dies in the middle of an attempt is followed by another once its beat has been missed for long.

    What was on its way comes again under its id; nothing is lost.
    """
    async with hooked(database_url, tmp_path, start=False) as it:
        it.receiver.hold = asyncio.Event()
        dying = it.couriers(pace=Pace(look=0.05, beat=60, lease=120, due=0.02))
        sam = (await it.house.register())["id"]
        await it.number()
        await it.receiver.until(1)
        assert dying._looking is not None
        tasks = [dying._looking, *(task for _, task in dying._held.values())]
        held = (await it.stored()).lease_by
        it.running.clear()  # nobody ends it in order
        heir = it.couriers(pace=Pace(look=0.05, beat=0.2, lease=1.5, due=0.02))
        await asyncio.sleep(0.3)
        assert (await it.stored()).lease_by == held

        async def taken() -> bool:
            return (await it.stored()).lease_by != held

        await eventually(taken)
        it.receiver.hold.set()
        await asyncio.sleep(0.1)
        await it.change(sam, "A")
        await heir.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        it.couriers()
        await it.quiet()
        assert sorted(set(it.receiver.versions(sam))) == [1, 2]
        assert it.receiver.versions(sam)[-1] == 2


async def test_one_of_those_who_want_a_lease_gets_it(database_url: str, tmp_path: Path) -> None:
    """Of two who saw the same beat one gets the lease; nobody does who saw an older one, nor of a disabled endpoint."""
    async with hooked(database_url, tmp_path, start=False) as it:
        name, seen = it.endpoint.id, (await it.stored()).beat

        async def lease(by: str, beat: int) -> bool:
            async with it.house.database.transaction(ORG) as connection:
                return await webhooks.lease(connection, ORG, name, by, beat)

        async def beat(by: str) -> bool:
            async with it.house.database.transaction(ORG) as connection:
                return await webhooks.beat(connection, ORG, name, by)

        assert sorted(await asyncio.gather(lease("one", seen), lease("two", seen))) == [False, True]
        mine = (await it.stored()).lease_by or ""
        other = "one" if mine == "two" else "two"
        assert await beat(mine)
        assert not await beat(other)
        assert not await lease(other, seen + 1)
        assert await lease(other, (await it.stored()).beat)
        assert not await beat(mine)
        await it.hooks.disable(OPERATOR, REQUEST, name)
        assert not await lease(mine, (await it.stored()).beat)
        assert not await beat(other)


async def test_a_lease_that_was_lost_settles_nothing(database_url: str, tmp_path: Path) -> None:
    """Who was thought dead and comes back with an answer does not move the position that is another's now."""
    async with hooked(database_url, tmp_path, start=False) as it:
        it.receiver.hold = asyncio.Event()
        it.couriers()
        await it.house.register()
        await it.number()
        await it.receiver.until(1)
        await it.hooks.disable(OPERATOR, REQUEST, it.endpoint.id)
        it.receiver.hold.set()
        await asyncio.sleep(0.3)
        assert (await it.stored()).position == 0
        assert await it.counts() == (0, 0)
