"""Places for requests: so many altogether, and a quarter of them for one caller. Owns the counting, and no queue."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from auth.actor import Actor
from crm.errors import Overloaded
from schema.errors import RateLimited

__all__ = ["Places"]


class Places:
    """So many places. Nobody waits for one: whoever finds none is told to come again."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._each = max(1, number // 4)
        self._taken: Counter[tuple[str, str]] = Counter()

    @contextmanager
    def taken(self, actor: Actor) -> Iterator[None]:
        """Takes a place while the block runs. Raises `RateLimited` for a caller with a quarter, else `Overloaded`."""
        caller = (actor.issuer, actor.subject)
        if self._taken[caller] >= self._each:
            raise RateLimited
        if self._taken.total() >= self._number:
            raise Overloaded
        self._taken[caller] += 1
        try:
            yield
        finally:
            self._taken[caller] -= 1
            if not self._taken[caller]:
                del self._taken[caller]
