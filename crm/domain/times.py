"""Owns dates as far as they are known, periods between them, and time zones; has no clock."""

import re
from calendar import monthrange
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import Annotated, Final, Self
from zoneinfo import available_timezones

from pydantic import AfterValidator, Strict, ValidationInfo, model_validator

from crm.domain.shape import Shape, broken, entry_of

__all__ = [
    "Instant",
    "PartialDate",
    "PartialDateTime",
    "Period",
    "TimeZone",
    "day_after",
    "ended",
    "ends_at",
    "holds_on",
    "instant",
    "micros",
]

FIRST_YEAR: Final = 1800
LAST_YEAR: Final = 2200

_DATE = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
# FHIR R4 `dateTime`: a time of day always has seconds and an offset of at most 14 hours.
_INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)T([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,9})?(Z|[+-]((0\d|1[0-3]):[0-5]\d|14:00))", re.ASCII
)
_REST_OF_DAY = timedelta(days=1) - timedelta(microseconds=1)


def _partial_date(text: str, info: ValidationInfo) -> str:
    parts = _DATE.fullmatch(text)
    if parts is None:
        raise broken("date")
    year, month, day = int(parts[1]), int(parts[2] or 1), int(parts[3] or 1)
    first = 1 if entry_of(info).lenient else FIRST_YEAR
    if not (first <= year <= LAST_YEAR and 1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):
        raise broken("date")
    return text


def _partial_date_time(text: str, info: ValidationInfo) -> str:
    instant = _INSTANT.fullmatch(text)
    _partial_date(text if instant is None else instant[1], info)
    return text


PartialDate = Annotated[str, Strict(), AfterValidator(_partial_date)]
"""`YYYY`, `YYYY-MM` or `YYYY-MM-DD` (FHIR R4 `date`), a real date from 1800 to 2200; imports may go back to year 1."""

PartialDateTime = Annotated[str, Strict(), AfterValidator(_partial_date_time)]
"""A partial date, or an RFC 3339 time with seconds and offset (FHIR R4 `dateTime`); kept as written."""


def _earliest(text: str) -> datetime:
    """The first instant that `text` may mean; a plain date is taken in UTC."""
    if "T" in text:
        # A leap second is compared as the second before it: datetime knows none.
        return datetime.fromisoformat(text[:17] + "59" + text[19:] if text[17:19] == "60" else text)
    return datetime.fromisoformat(text + "0000-01-01"[len(text) :]).replace(tzinfo=UTC)


def _latest(text: str) -> datetime:
    """The last instant that `text` may mean."""
    first = _earliest(text)
    match len(text):
        case 4:
            return first.replace(month=12, day=31) + _REST_OF_DAY
        case 7:
            return first.replace(day=monthrange(first.year, first.month)[1]) + _REST_OF_DAY
        case 10:
            return first + _REST_OF_DAY
        case _:
            return first


class Period(Shape):
    """From `start` to `end`, both inclusive and both as precise as is known (FHIR R4 `Period`)."""

    start: PartialDateTime | None = None
    end: PartialDateTime | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        """Refused only where the end is before the start however the unknown parts are filled in (FHIR per-1)."""
        if self.start and self.end and _latest(self.end) < _earliest(self.start):
            raise broken("period_order")
        return self


def holds_on(start: str | None, end: str | None, on: str) -> bool:
    """Whether a period may hold on the day `on` (`YYYY-MM-DD`): unknown parts of its bounds speak for it.

    Bounds with a time count by the calendar day they were written in, so that no name changes at midnight UTC.
    """
    return (start is None or start[:10] <= on) and (end is None or end[:10] >= on[: len(end)])


def ended(period: Mapping[str, str], on: str) -> dict[str, str]:
    """`period` with an end on the day `on` (`YYYY-MM-DD`) at the latest, and a start that is not behind it."""
    end, start = period.get("end"), period.get("start")
    stays = end is not None and end[:10] <= on and not on.startswith(end)
    return {**period, "end": end if stays and end else on} | ({"start": on} if start and start[:10] > on else {})


@cache
def _zones() -> frozenset[str]:
    # Some systems keep files beside the database that are no zones of it.
    return frozenset(available_timezones()) - {"Factory", "localtime", "posixrules"}


def _zone(text: str) -> str:
    if text not in _zones():
        raise broken("time_zone")
    return text


TimeZone = Annotated[str, Strict(), AfterValidator(_zone)]
"""A key of the IANA time zone database, spelled as there, such as `Europe/London`."""


def _instant(text: str, info: ValidationInfo) -> str:
    return instant(micros(_partial_date_time(text, info)))


Instant = Annotated[str, Strict(), AfterValidator(_instant)]
"""A moment, stored in UTC with microseconds and `Z`, so that order as text is order in time; a date is its start."""


def ends_at(text: str) -> str:
    """The `Instant` at which what holds until `text` no longer holds: after the whole of a day, month or year.

    A bound with a time of day is that moment itself.
    """
    last = (_latest(text) - _EPOCH) // _MICROSECOND
    return instant(last if "T" in text else last + 1)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def instant(at: int) -> str:
    """Microseconds since 1970 as an `Instant`."""
    seconds, rest = divmod(at, 1_000_000)
    return f"{_second(seconds)}.{rest:06}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    """The whole seconds: all of a batch is asked, and most of it ends, at the same ones."""
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def micros(text: str) -> int:
    """The first moment that a valid `PartialDateTime` may mean, in microseconds since 1970, UTC."""
    return (_earliest(text) - _EPOCH) // _MICROSECOND


def day_after(end: str) -> int:
    """The first moment at which `holds_on` says no because of the bound `end`, in microseconds since 1970, UTC."""
    return (_latest(end[:10]) - _EPOCH) // _MICROSECOND + 1
