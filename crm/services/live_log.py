"""Following the access log: officers are told of events as they are appended, from any place in it on.

Owns where each follower is, and one look at the end of a log for all who follow it in this process; there is no queue:
who is slow finds more the next time. What is told is on record before, by events that are not told of in turn: two
officers who follow the log would else never come to rest.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from auth.actor import Actor
from crm.audit.event import Act
from crm.errors import Invalid, PositionExpired, StoreUnavailable
from crm.services.access_log import AccessLog, node_of
from crm.services.log_questions import understood
from crm.services.profiles import decode_cursor, encode_cursor
from crm.services.request import Request
from crm.store import log_tail
from crm.store.database import Database
from crm.store.log_reading import LoggedEvent
from crm.store.subjects import patients_of
from crm.store.unit import Store

__all__ = ["FOLLOWED", "LIVE", "Appended", "LiveLog"]

FOLLOWED: Final = "FOLLOWED"
"""Why an officer's event is there: they began to follow the log."""
LIVE: Final = "LIVE"
"""Why an officer's event is there: they were told of events as they were appended. Nobody is told of it that way."""

EVERY: Final = 0.05
"""Seconds between two looks at the end of a log that another process may have appended to."""
_PAUSE: Final = 0.01
"""Seconds between two looks at a log that is appended to without a pause."""
_AT_ONCE: Final = 100
"""Events in one answer."""
_STRETCH: Final = 5_000
"""Events that are walked through by one statement."""
_EMPTY: Final = "-"
"""The position in a log that has no event yet."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Events of the log of `org` that fit a question, oldest first, up to the number `place`; none at the beginning.

    `subject` is the audit subject that the question is about, if it is about one patient.
    """

    org: str
    place: int
    events: Sequence[LoggedEvent] = ()
    subject: str | None = None


class LiveLog:
    """The use case of following the log; `log` says who may."""

    def __init__(self, store: Store, log: AccessLog) -> None:
        self._store = store
        self._log = log
        self._tails: dict[str, _Tail] = {}
        store.log.appended = self._appended

    async def follow(
        self, actor: Actor, request: Request, question: Mapping[str, Any], after: str | None
    ) -> AsyncGenerator[Appended, None]:
        """What is appended behind the position `after`, by default from now on; first where that is. To be closed.

        `question` as in `crm.services.log_questions`. That somebody follows is recorded. Raises what the policy
        refuses, `Invalid`, and `PositionExpired` for a position that the log does not have, or not any more.
        """
        rule = await self._log.admit(actor, request)
        database = self._store.database
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            asked = await understood(partial(database.fetch, actor.org), actor.org, question)
            place = _place_of(after)
            end = await log_tail.end(database, asked.org)
            if place is not None and not end.pruned <= place + 1 <= end.size:
                raise PositionExpired
            unit.remark(cnt=0, why=FOLLOWED, pat=asked.chosen.patient)
        if place is None:
            place = (await log_tail.end(database, asked.org)).size - 1
        return self._behind(actor.org, asked.org, question, place)

    async def told(self, actor: Actor, request: Request, appended: Appended) -> dict[str, Any]:
        """The answer that tells of these events; it is recorded, with their count.

        Raises what the policy refuses, whatever it allowed when this began.
        """
        rule = await self._log.admit(actor, request)
        answer: dict[str, Any] = {"edges": [], "position": _position(appended.place)}
        if appended.events:
            async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
                leaves = [(entry.seq, entry.content) for entry in appended.events]
                fetch = partial(self._store.database.fetch, actor.org)
                names = await patients_of(fetch, actor.org, {leaf["pat"] for _, leaf in leaves if "pat" in leaf})
                unit.remark(cnt=len(leaves), why=LIVE, pat=appended.subject)
            answer["edges"] = [
                {"node": node_of(seq, leaf, names), "cursor": encode_cursor(str(seq))} for seq, leaf in leaves
            ]
        return answer

    async def _behind(
        self, own: str, org: str, question: Mapping[str, Any], place: int
    ) -> AsyncGenerator[Appended, None]:
        """See `follow`. The question is understood anew each time: a patient may be erased meanwhile."""
        database = self._store.database
        yield Appended(org, place)
        with self._tail(org) as tail:
            while True:
                size = await tail.beyond(place + 1)
                last = min(size - 1, place + _STRETCH)
                asked = await understood(partial(database.fetch, own), own, question)
                found: Sequence[LoggedEvent] = ()
                if not asked.nothing:
                    found = await log_tail.behind(database, org, asked.chosen, place, last, _AT_ONCE)
                place = found[-1].seq if len(found) == _AT_ONCE else last
                told = [entry for entry in found if not _is_echo(entry.content)]
                if told:
                    yield Appended(org, place, told, asked.chosen.patient)

    @contextmanager
    def _tail(self, org: str) -> Iterator["_Tail"]:
        tail = self._tails.get(org)
        if tail is None:
            tail = self._tails[org] = _Tail(self._store.database, org)
        tail.followers += 1
        try:
            yield tail
        finally:
            tail.followers -= 1
            if not tail.followers:
                self._tails.pop(org).close()

    def _appended(self, org: str) -> None:
        """Events of this process are in the log."""
        if tail := self._tails.get(org):
            tail.look()


class _Tail:
    """Knows how long one log is, as long as somebody follows it."""

    def __init__(self, database: Database, org: str) -> None:
        self.followers = 0
        self._database = database
        self._org = org
        self._size = 0
        self._grown = asyncio.Event()
        self._called = asyncio.Event()
        self._task = asyncio.create_task(self._watch(), name="following the log")

    def look(self) -> None:
        """There is something new."""
        self._called.set()

    async def beyond(self, size: int) -> int:
        """The size of the log, once it is larger than `size`."""
        while self._size <= size:
            await self._grown.wait()
        return self._size

    def close(self) -> None:
        """Nobody follows any more."""
        self._task.cancel()

    async def _watch(self) -> None:
        while True:
            with suppress(StoreUnavailable):  # the next look may succeed, and readiness tells of it
                size = (await log_tail.end(self._database, self._org)).size
                if size > self._size:
                    self._size = size
                    self._grown.set()
                    self._grown = asyncio.Event()
            await asyncio.sleep(_PAUSE)
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY - _PAUSE):
                    await self._called.wait()
            self._called.clear()


def _is_echo(leaf: Mapping[str, Any]) -> bool:
    """Whether an event is there only because somebody was told of others."""
    return leaf["act"] == Act.AUDIT_READ and leaf.get("why") == LIVE


def _position(place: int) -> str:
    return encode_cursor(_EMPTY if place < 0 else str(place))


def _place_of(position: str | None) -> int | None:
    """The number of the event behind which to go on, -1 for the first. Raises `Invalid`."""
    if position is None:
        return None
    text = decode_cursor(position)
    if text == _EMPTY:
        return -1
    if not text.isdigit() or len(text) > 18:
        raise Invalid("after", "cursor")
    return int(text)
