"""Owns how far the clocks of a time zone are ahead of UTC, and until when; has no clock itself."""

from bisect import bisect_right
from datetime import datetime
from functools import cache, lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

__all__ = ["is_zone", "offset"]

_BLOCK: Final = 1 << 24
"""Seconds of which the offsets of a zone are kept together: about 194 days."""

_STEP: Final = 86_400
"""Seconds between two looks at a zone: the closest two changes of its database are four days apart (Freetown, 1939)."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_zone(key: str) -> bool:
    """Whether the time zone database of this system knows the zone: a stored one may come from a newer database."""
    return key in _zones()


def offset(key: str, at: int) -> tuple[int, int]:
    """Seconds that the clocks of zone `key` are ahead of UTC at `at`, and a later moment before which that stays so.

    Moments are seconds since 1970, UTC. Nothing need change at the moment that is given.
    """
    starts, offsets = _block(key, at // _BLOCK)
    found = bisect_right(starts, at) - 1
    return offsets[found], starts[found + 1]


@lru_cache(maxsize=4096)
def _block(key: str, number: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The moments in one block at which another offset begins, with the end of the block, and those offsets."""
    zone = ZoneInfo(key)
    first, end = number * _BLOCK, (number + 1) * _BLOCK
    starts, offsets = [first], [_ahead(zone, first)]
    for at in range(first + _STEP, end + _STEP, _STEP):
        low, high = at - _STEP, min(at, end - 1)
        ahead = _ahead(zone, high)
        if ahead != offsets[-1]:
            while high - low > 1:
                middle = (low + high) // 2
                if _ahead(zone, middle) == ahead:
                    high = middle
                else:
                    low = middle
            starts.append(high)
            offsets.append(ahead)
    return (*starts, end), tuple(offsets)


def _ahead(zone: ZoneInfo, at: int) -> int:
    shift = datetime.fromtimestamp(at, zone).utcoffset()
    assert shift is not None
    return shift.days * 86_400 + shift.seconds
