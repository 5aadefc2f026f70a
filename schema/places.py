"""Places for requests: so many altogether, and a quarter of them for one caller. Owns the counting, and no queue."""

from types import TracebackType

from auth.actor import Actor
from crm.errors import Overloaded
from schema.errors import RateLimited

__all__ = ["Places"]


_Caller = tuple[str, str]
"""Issuer and subject of a token."""


class Places:
    """So many places. Nobody waits for one: whoever finds none is told to come again."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._each = max(1, number // 4)
        self._all = 0
        self._of: dict[_Caller, int] = {}

    @property
    def full(self) -> bool:
        """Whether nobody at all would find a place now: then nothing of a request is worth looking at."""
        return self._all >= self._number

    def look(self, actor: Actor) -> None:
        """Takes none. Raises as `take` does where there is none for this caller."""
        self._look((actor.issuer, actor.subject))

    def taken(self, actor: Actor) -> "_Place":
        """Takes a place while the block runs. Raises `RateLimited` for a caller with a quarter, else `Overloaded`."""
        return _Place(self, (actor.issuer, actor.subject))

    def take(self, caller: _Caller) -> None:
        """One more for a caller. Raises as `taken` does."""
        self._look(caller)
        self._all += 1
        self._of[caller] = self._of.get(caller, 0) + 1

    def _look(self, caller: _Caller) -> None:
        if self._of.get(caller, 0) >= self._each:
            raise RateLimited
        if self._all >= self._number:
            raise Overloaded

    def leave(self, caller: _Caller) -> None:
        """One less; callers without any are forgotten."""
        self._all -= 1
        if left := self._of[caller] - 1:
            self._of[caller] = left
        else:
            del self._of[caller]


class _Place:
    """One place, for as long as a block runs."""

    __slots__ = ("_caller", "_places")

    def __init__(self, places: Places, caller: _Caller) -> None:
        self._places = places
        self._caller = caller

    def __enter__(self) -> None:
        self._places.take(self._caller)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._places.leave(self._caller)
