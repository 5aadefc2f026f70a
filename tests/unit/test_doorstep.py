"""Places for requests of whom nobody knows: who must go when it is full, and that nobody waits for others."""

import asyncio

import pytest

from schema.doorstep import Doorstep


class Visitor:
    """Somebody who stays until their time is over."""

    def __init__(self, step: Doorstep, peer: str | None) -> None:
        self._step, self._peer = step, peer
        self.task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        async with self._step.standing(self._peer):
            await asyncio.Event().wait()

    @property
    def gone(self) -> bool:
        """Whether their time was ended."""
        return self.task.done() and isinstance(self.task.exception(), TimeoutError)


async def visitors(step: Doorstep, *peers: str | None) -> list[Visitor]:
    """Visitors who come one after another; all of them have had time to notice that they must go."""
    come = []
    for peer in peers:
        come.append(Visitor(step, peer))
        for _ in range(5):
            await asyncio.sleep(0)
    return come


def leave(come: list[Visitor]) -> None:
    """Ends those who are still there."""
    for one in come:
        one.task.cancel()


async def test_the_first_to_come_goes_first() -> None:
    """Where it is full a newcomer takes the place of whoever has waited longest, and only theirs."""
    come = await visitors(Doorstep(4, 60), "a", "b", "c", "d", "e")
    assert [one.gone for one in come] == [True, False, False, False, False]
    leave(come)


async def test_one_address_takes_half() -> None:
    """More of one address push out their own, and nobody else's; where no address is known all places are shared."""
    come = await visitors(Doorstep(4, 60), "other", "a", "a", "a")
    assert [one.gone for one in come] == [False, True, False, False]
    leave(come)
    come = await visitors(Doorstep(4, 60), None, None, None, None)
    assert not any(one.gone for one in come)
    leave(come)


async def test_who_left_has_no_place() -> None:
    """A place is free again after its block, however that ended."""
    step = Doorstep(2, 60)
    [stays] = await visitors(step, None)
    for _ in range(5):
        async with step.standing(None):
            pass
        with pytest.raises(LookupError):
            async with step.standing(None):
                raise LookupError
    assert not stays.gone
    leave([stays])


async def test_nobody_stays_for_long() -> None:
    """Without anybody else the time is over too."""
    with pytest.raises(TimeoutError):
        async with Doorstep(4, 0.01).standing(None):
            await asyncio.Event().wait()


async def test_a_visitor_is_not_told_twice() -> None:
    """Who is pushed out while their time is over anyway goes once, and the newcomer gets the place."""
    step = Doorstep(1, 0)
    first = Visitor(step, "a")
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        with pytest.raises(TimeoutError):
            async with step.standing("a"):
                await asyncio.Event().wait()
    assert first.gone
