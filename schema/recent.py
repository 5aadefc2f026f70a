"""A memory of what was used last, bounded by number and by weight. Owns forgetting; what it keeps is others' affair."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

__all__ = ["Recent"]

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """At most `count` values that weigh at most `weight` together, the least recently used forgotten first.

    A value that alone weighs more is not kept.
    """

    def __init__(self, count: int, weight: int) -> None:
        self._count = count
        self._most = weight
        self._weight = 0
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: Key) -> Value | None:
        """The value of `key`, which counts as a use of it."""
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, weight: int) -> None:
        """Keeps a value, in place of the one that `key` had."""
        former = self._kept.pop(key, None)
        if former is not None:
            self._weight -= former[1]
        if weight > self._most:
            return
        self._kept[key] = (value, weight)
        self._weight += weight
        while len(self._kept) > self._count or self._weight > self._most:
            _, (_, lost) = self._kept.popitem(last=False)
            self._weight -= lost
