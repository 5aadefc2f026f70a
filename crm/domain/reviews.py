"""Owns when a review of a need is overdue, and the months in which to look for those that are."""

from typing import Final

__all__ = ["due_months", "is_overdue"]

_FIRST_YEAR: Final = 2000
"""No review can have been due before: the standard that asks for them is younger."""


def is_overdue(due: str, day: str) -> bool:
    """Whether a review that was due at `due`, as precisely as that is known, is late on `day` (`YYYY-MM-DD`).

    What is due in a month or year is late when that is over; what is due today is not late.
    """
    known = due[:10]
    return known < day[: len(known)]


def due_months(day: str) -> list[bytes]:
    """The months, as the index `review_due` has them, in which reviews that are late on `day` can have been due."""
    last_year, last_month = int(day[:4]), int(day[5:7])
    months = [(year, month) for year in range(_FIRST_YEAR, last_year + 1) for month in range(1, 13)]
    return [f"{year:04}-{month:02}".encode() for year, month in months if (year, month) <= (last_year, last_month)]
