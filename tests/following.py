"""Subscriptions of a client in this process: everything but the transport, which tests of their own look at."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, cast
from uuid import uuid4

from starlette.applications import Starlette

from auth.roles import Role
from crm.services.request import Request
from schema.execution import Answer, Parameters
from schema.streams import Streams
from tests.client import Client
from tests.sockets import PATIENCE

__all__ = ["Follower", "following"]


class Follower:
    """One subscription. `request_id` is what its events in the log have."""

    def __init__(self, answers: AsyncGenerator[Answer, None], request_id: str) -> None:
        self._answers = answers
        self.request_id = request_id

    async def hear(self) -> Any:
        """The value of the root field of the next answer, which must be without errors."""
        answer = await self.answer()
        assert not answer.problems, [problem.as_json() for problem in answer.problems]
        [value] = answer.data.values()
        return value

    async def refused(self) -> list[str]:
        """The codes of the next answer, which must tell nothing."""
        answer = await self.answer()
        assert not any((answer.data or {}).values())
        return [problem.code.value for problem in answer.problems]

    async def answer(self) -> Answer:
        """The next answer, as it is."""
        async with asyncio.timeout(PATIENCE):
            return await anext(self._answers)

    async def quiet(self, seconds: float = 0.5) -> None:
        """Fails when something is told in the next moments: more than the time between two looks."""
        listening = asyncio.ensure_future(anext(self._answers))
        done, _ = await asyncio.wait({listening}, timeout=seconds)
        assert not done, listening.result()
        listening.cancel()
        await asyncio.wait({listening})


@asynccontextmanager
async def following(
    it: Client, query: str, role: Role, variables: Mapping[str, Any] | None = None, **who: Any
) -> AsyncIterator[Follower]:
    """A subscription with a token of `role`, until the block ends; `who` as `Client.token` takes it."""
    streams = cast(Starlette, it.app).state.streams
    assert isinstance(streams, Streams)
    request = Request(uuid4().hex, "test")
    caller = await streams.recognise([f"Bearer {it.token(role, **who)}"], [], request)
    async with aclosing(streams.answers(caller, request, Parameters(query, None, variables or {}))) as answers:
        yield Follower(answers, request.id)
