"""Owns sets of time that come back every week; knows no zone and no date.

A set is a `Week`: the seconds since Monday 00:00 UTC at which one is in it, and out again, in turn and ascending.
"""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Final, TypeAlias

__all__ = ["DAY", "NEVER", "WEEK", "Week", "change", "holds", "rest", "second_of_week", "spans", "union"]

DAY: Final = 86_400
WEEK: Final = 7 * DAY
_MONDAY: Final = 3 * DAY  # from a Monday 00:00 to 1970-01-01 00:00, a Thursday

Week: TypeAlias = tuple[int, ...]

NEVER: Final[Week] = ()


def second_of_week(at: int) -> int:
    """The seconds since Monday 00:00 UTC of a moment, in seconds since 1970."""
    return (at + _MONDAY) % WEEK


def spans(days: Iterable[int], start: int, end: int, offset: int) -> Week:
    """From minute `start` until before minute `end` of `days` (Monday 0), on a clock `offset` seconds ahead of UTC.

    Where `end` is before `start` it goes on into the next day; where the two are equal there is nothing of it.
    """
    length = (end - start) * 60 if start <= end else (end - start) * 60 + DAY
    found = []
    for day in days if length else ():
        first = (day * DAY + start * 60 - offset) % WEEK
        last = first + length
        found.append((first, min(last, WEEK)))
        if last > WEEK:
            found.append((0, last - WEEK))
    return _joined(found)


def union(weeks: Iterable[Week]) -> Week:
    """The set of all that lies in one of `weeks`."""
    several = [week for week in weeks if week]
    if len(several) < 2:
        return several[0] if several else NEVER
    return _joined([span for week in several for span in zip(week[::2], week[1::2], strict=True)])


def _joined(parts: list[tuple[int, int]]) -> Week:
    merged: list[int] = []
    for start, end in sorted(parts):
        if merged and start <= merged[-1]:
            merged[-1] = max(merged[-1], end)
        else:
            merged += start, end
    return tuple(merged)


def rest(week: Week) -> Week:
    """The set of all that does not lie in `week`."""
    head = week[1:] if week and week[0] == 0 else (0, *week)
    return head[:-1] if head[-1] == WEEK else (*head, WEEK)


def holds(week: Week, second: int) -> bool:
    """Whether a second of the week lies in the set."""
    return bisect_right(week, second) % 2 == 1


def change(week: Week, second: int) -> int | None:
    """In how many seconds the set is left, or entered where one is not in it, going round; None for never."""
    if week and week[0] == 0 and week[-1] == WEEK:
        week = week[1:-1]  # the night from Sunday to Monday is one span
    if not week:
        return None
    at = bisect_right(week, second)
    return (week[at] if at < len(week) else week[0] + WEEK) - second
