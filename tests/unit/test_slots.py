"""Turns at a few lanes: in order, refused soon where nothing moves, and never lost, whoever goes away."""

import asyncio
import random
import time

import pytest

from crm.errors import StoreUnavailable
from crm.store.slots import Slots


async def test_first_come_first_served() -> None:
    """Those who wait get the slot in the order in which they came."""
    slots, served = Slots(1, patience=30, longest=30), list[int]()

    async def turn(number: int) -> None:
        await slots.take()
        served.append(number)
        await asyncio.sleep(0)
        slots.give()

    await asyncio.gather(*(turn(number) for number in range(20)))
    assert served == list(range(20))


async def test_where_nothing_moves_everybody_is_refused_soon() -> None:
    """All slots are held: whoever waits is refused after the patience, long before the longest wait."""
    slots = Slots(2, patience=0.1, longest=60)
    await slots.take()
    await slots.take()
    began = time.monotonic()
    waiting = await asyncio.gather(*(slots.take() for _ in range(50)), return_exceptions=True)
    assert {type(each) for each in waiting} == {StoreUnavailable}
    assert time.monotonic() - began < 30
    slots.give()
    await slots.take()


async def test_a_queue_that_moves_is_waited_for() -> None:
    """Fifty wait for longer than the patience, and none is refused, because one after another gets a turn."""
    slots = Slots(1, patience=0.5, longest=60)

    async def turn() -> None:
        await slots.take()
        await asyncio.sleep(0.02)
        slots.give()

    await asyncio.gather(*(turn() for _ in range(50)))


async def test_nobody_waits_for_longer_than_the_longest() -> None:
    """A queue that moves too slowly for one of them refuses that one."""
    slots = Slots(1, patience=30, longest=0.05)
    await slots.take()
    with pytest.raises(StoreUnavailable):
        await slots.take()
    slots.give()
    await slots.take()


async def test_no_slot_is_lost() -> None:
    """Hundreds come, go away at any moment, and are refused: afterwards there are as many slots as before."""
    chance = random.Random(5)
    slots = Slots(3, patience=0.01, longest=0.02)

    async def turn(hold: float) -> None:
        await slots.take()
        try:
            await asyncio.sleep(hold)
        finally:
            slots.give()

    for _ in range(40):
        tasks = [asyncio.create_task(turn(chance.choice([0, 0.001, 0.03]))) for _ in range(12)]
        await asyncio.sleep(chance.choice([0, 0.001, 0.01]))
        for task in chance.sample(tasks, 6):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(3):
        await slots.take()
    with pytest.raises(StoreUnavailable):
        await slots.take()
