"""Connections that last, whatever they speak: how many there may be, who is behind them, and when they must end.

Owns no protocol. The token of a connection is kept as long as that, and looked at again and again, because a permission
must not outlive its token.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

import orjson

from auth.actor import Actor
from auth.errors import AuthError
from crm.errors import Overloaded, StoreUnavailable
from crm.services.request import Request
from schema.callers import Callers
from schema.errors import problem_of
from schema.execution import Answer, Engine, Parameters, SubscriptionAsked
from schema.metrics import Metrics
from schema.places import Places
from schema.settings import Settings
from schema.subscriptions import subscribe

__all__ = ["Caller", "Ended", "Expired", "Left", "Stopping", "Streams", "written"]

_ENCODE = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS


class Ended(Exception):
    """The connection is over; the kinds of this say why."""


class Left(Ended):
    """The other side is gone, or takes nothing any more."""


class Expired(Ended):
    """The token behind the connection is not good any more."""


class Stopping(Ended):
    """This process ends."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is behind a connection, and the token and purpose that were stated when it began."""

    actor: Actor
    token: str = field(repr=False)
    purpose: str | None


class Streams:
    """The open connections of one process. Their operations take places `at_work`, as all requests do.

    An event that wakes every subscriber does not fill those: so many answers as a quarter of them are made at a time,
    and the others wait for their turn.
    """

    def __init__(self, engine: Engine, callers: Callers, settings: Settings, metrics: Metrics, at_work: Places) -> None:
        self._engine = engine
        self._callers = callers
        self._settings = settings
        self._metrics = metrics
        self.at_work = at_work
        self._places = Places(settings.streams)
        self._turns = asyncio.Semaphore(max(1, settings.in_flight // 4))
        self._watched: dict[asyncio.Future[Ended], Caller] = {}
        self._round: asyncio.TimerHandle | None = None
        self.stopping = False

    def stop(self) -> None:
        """Lets all connections end in their own way: what is being answered is still answered, nothing new begins."""
        self.stopping = True
        for ended in self._watched:
            _end(ended, Stopping())

    async def recognise(self, tokens: Sequence[str], purposes: Sequence[str], request: Request) -> Caller:
        """The caller who begins a connection; raises like `Callers.recognise`."""
        actor = await self._callers.recognise(tokens, purposes, request)
        return Caller(actor, tokens[0], next(iter(purposes), None))

    @contextmanager
    def opened(self, transport: str, caller: Caller) -> Iterator[None]:
        """Counts a connection while the block runs. Raises like `Places.taken`, and `Overloaded` once stopping."""
        if self.stopping:
            raise Overloaded
        with self._places.taken(caller.actor), self._metrics.streaming(transport):
            yield

    def told(self, transport: str, answer: Answer) -> None:
        """Counts an answer."""
        self._metrics.streamed(transport, answer.problems[0].code.value if answer.problems else "none")

    def check(self, caller: Caller) -> None:
        """Raises `Expired` as soon as the token is not good any more, and StoreUnavailable where nobody knows."""
        try:
            self._callers.verify(caller.token, caller.purpose)
        except AuthError:
            raise Expired from None

    async def watch(self, caller: Caller) -> None:
        """Waits until the connection must end, and raises `Expired` or `Stopping` then."""
        ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._watched[ended] = caller
        if self.stopping:
            _end(ended, Stopping())
        self._go_round_later()
        try:
            raise await ended
        finally:
            del self._watched[ended]

    def _go_round_later(self) -> None:
        if self._round is None and self._watched:
            self._round = asyncio.get_running_loop().call_later(self._settings.stream_check, self._go_round)

    def _go_round(self) -> None:
        """One timer for all of them costs a sixth of one for each."""
        self._round = None
        self.look()
        self._go_round_later()

    def look(self) -> None:
        """Looks at all tokens now, because some may have been revoked."""
        for ended, caller in self._watched.items():
            try:
                self.check(caller)
            except Expired as expired:
                _end(ended, expired)
            except StoreUnavailable:
                return  # nothing can be told meanwhile, so nobody needs to come again

    async def answer(self, caller: Caller, request: Request, parameters: Parameters) -> Answer:
        """The answer to a query or a mutation, which takes a place among all that are at work.

        Raises `SubscriptionAsked`, and `Expired` for an operation that is asked with a token that is not good any more:
        that is on record.
        """
        try:
            actor = await self._callers.recognise([caller.token], _stated(caller.purpose), request)
            with self.at_work.taken(actor):
                async with asyncio.timeout(self._settings.deadline):
                    return await self._engine.answer(actor, request.id, parameters)
        except SubscriptionAsked:
            raise
        except AuthError:
            raise Expired from None
        except TimeoutError:
            return Answer([problem_of(Overloaded())])
        except Exception as error:  # noqa: BLE001 - the closed table decides what is told about it
            return Answer([problem_of(error)])

    async def answers(self, caller: Caller, request: Request, parameters: Parameters) -> AsyncGenerator[Answer, None]:
        """The answers to a subscription; raises `Expired` in place of one that the token does not reach any more."""
        deadline = self._settings.deadline
        told = subscribe(self._engine, caller.actor, request.id, parameters, deadline, self._turns)
        async with aclosing(told) as answers:
            async for answer in answers:
                try:
                    self.check(caller)
                except StoreUnavailable as unknown:
                    yield Answer([problem_of(unknown)])
                    return
                yield answer


def _end(ended: asyncio.Future[Ended], why: Ended) -> None:
    if not ended.done():
        ended.set_result(why)


def _stated(purpose: str | None) -> Sequence[str]:
    return () if purpose is None else (purpose,)


def written(answer: Answer) -> tuple[Answer, bytes]:
    """An answer and its octets; one that cannot be written as JSON is a failure of ours, and not shown."""
    try:
        return answer, orjson.dumps(answer.as_json(), option=_ENCODE)
    except TypeError as error:
        failed = Answer([problem_of(error)])
        return failed, orjson.dumps(failed.as_json(), option=_ENCODE)
