"""What is refused because too much is asked costs next to nothing, and nobody gains by asking sooner than told."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from schema.settings import Settings
from tests.security.test_floods import POST, READ, asked, listening
from tests.speaking import FakeServices, Speaker, code, speaking

BODY = b'{"query": "{ viewer { org } }"}'


@asynccontextmanager
async def busy(places: int, *callers: str) -> AsyncIterator[Speaker]:
    """An application with so many places, of which each of these callers holds one while the block runs."""
    gate, taken = asyncio.Event(), asyncio.Barrier(len(callers) + 1)

    async def wait() -> None:
        await taken.wait()
        await gate.wait()

    async with speaking(Settings(in_flight=places), FakeServices(before=wait)) as speaker:
        held = [asyncio.create_task(speaker.ask(READ, f"front_desk@{caller}")) for caller in callers]
        await taken.wait()
        speaker.services.before = None
        yield speaker
        gate.set()
        assert {status for status, _ in await asyncio.gather(*held)} == {200}
        assert (await speaker.ask(READ))[0] == 200


async def test_where_no_place_is_free_nothing_is_looked_at() -> None:
    """OVERLOADED whatever the token and the body are, on nobody's account: no service and no log is asked."""
    async with busy(4, "ada", "bo", "cy", "di") as speaker:
        for body, role in (({"query": READ}, "front_desk"), ({"query": READ}, "nobody"), (b"{", "front_desk")):
            calls = list(speaker.services.calls)
            response = await speaker.post(body, role)
            assert (response.status_code, response.headers["retry-after"]) == (503, "1")
            assert (code(response.json()), "data" in response.json()) == ("OVERLOADED", False)
            assert (speaker.services.calls, speaker.services.refusals) == (calls, [])


async def test_a_caller_with_a_quarter_is_refused_before_its_body_is_read() -> None:
    """RATE_LIMITED, even where the body is none; another caller's is read, and refused for what it is."""
    async with busy(8, "ada", "ada") as speaker:
        assert code((await speaker.post(b"{", "front_desk@ada")).json()) == "RATE_LIMITED"
        assert code((await speaker.post(b"{", "front_desk@bo")).json()) == "GRAPHQL_PARSE_FAILED"


async def test_who_comes_back_too_soon_waits() -> None:
    """Each refusal in a row makes the next answer of the connection come later; a good one ends that."""
    settings = Settings(in_flight=1, body_deadline=60)
    async with listening(settings, pause=0.1, longest_pause=0.3) as connect:
        half = await connect()
        half[1].write(POST + b"content-length: %d\r\n\r\n{" % len(BODY))  # the caller's one place is taken
        while await asked(await connect()) == 200:  # noqa: ASYNC110 - until the half request has arrived
            await asyncio.sleep(0)
        again = await connect()
        waits = [await _timed(lambda: asked(again), 429) for _ in range(4)]
        assert waits[1] > 0.09
        assert waits[2] > 0.18
        assert waits[3] > 0.28
        assert await asked(await connect()) == 429, "another connection is not made to wait for this one"
        half[1].write(BODY[1:])
        await half[0].readuntil(b"\r\n\r\n")
        assert await asked(again) == 200
        assert await _timed(lambda: asked(again), 200) < 30


async def _timed(ask: Callable[[], Awaitable[int]], status: int) -> float:
    """Seconds until an answer of this status."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await ask() == status
    return loop.time() - began
