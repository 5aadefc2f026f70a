"""Owns what is remarkable about a person of staff looking at a record; pure, and silent about what it compares.

Each answer is a word of `crm.audit.event.FLAGS`. What cannot be decided, because a fact is not known, is not flagged:
a flag that is missing proves nothing.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from crm.domain.codes import AddressUse, Sensitivity
from crm.domain.search_terms import families, fold
from crm.domain.times import holds_on

__all__ = ["ADULT", "ALWAYS", "BULK", "Caller", "Hours", "Onlooker", "Watch", "office_hours"]

ADULT: Final = 18
"""Years at which a child stops being one (UN Convention on the Rights of the Child, Art. 1)."""

_WEEK: Final = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")
_DAY: Final = f"({'|'.join(_WEEK)})"
_RANGE: Final = re.compile(rf"{_DAY}(?:-{_DAY})? (\d\d):(\d\d)-(\d\d):(\d\d)", re.ASCII)
_MIDNIGHT: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """Office hours: for each day from Monday on, spans of minutes since midnight, on the clocks of `zone`."""

    spans: tuple[tuple[tuple[int, int], ...], ...]
    zone: ZoneInfo

    def cover(self, micros: int) -> bool:
        """Whether a time, in microseconds since 1970, lies within them."""
        return _covered(self, micros // 1_000_000)


@lru_cache(maxsize=64)
def _covered(hours: Hours, second: int) -> bool:
    """Kept, because many ask within a second."""
    there = datetime.fromtimestamp(second, UTC).astimezone(hours.zone)
    minute = there.hour * 60 + there.minute
    return any(start <= minute < end for start, end in hours.spans[there.weekday()])


def office_hours(text: str, zone: str) -> Hours:
    """`Mo-Fr 07:00-19:00`, and more such ranges after commas, on the clocks of the IANA time zone `zone`.

    The end does not belong to a range, and may be `24:00`; one whose end is before its start goes on into the next day.
    Days may go round the week, as in `Sa-Mo`. Raises ValueError for anything else, which repeats nothing of `text`.
    """
    spans: list[set[tuple[int, int]]] = [set() for _ in _WEEK]
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise ValueError("must be ranges such as `Mo-Fr 07:00-19:00`, with commas between them")
        start, end = _minute(found[3], found[4]), _minute(found[5], found[6])
        if start in (end, _MIDNIGHT):
            raise ValueError("has a range that is empty")
        first = _WEEK.index(found[1])
        last = _WEEK.index(found[2] or found[1])
        for day in range(first, first + (last - first) % 7 + 1):
            spans[day % 7].add((start, end if start < end else _MIDNIGHT))
            if end < start:
                spans[(day + 1) % 7].add((0, end))
    return Hours(tuple(tuple(sorted(day)) for day in spans), ZoneInfo(zone))


def _minute(hour: str, minute: str) -> int:
    if int(minute) > 59 or int(hour) * 60 + int(minute) > _MIDNIGHT:
        raise ValueError("has a time that no clock shows")
    return int(hour) * 60 + int(minute)


BULK: Final = 50
"""Patients of one question above which somebody of staff sees many, where nobody said otherwise."""

ALWAYS: Final = office_hours("Mo-Su 00:00-24:00", "UTC")
"""The hours of a place that never closes: nothing happens after them."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A person of staff, as their token tells: `subject` and what it says of them as a private person, where it does.

    `treats` says that their work is with patients of their own: then looking at others is worth a note.
    """

    subject: str
    treats: bool = False
    own_record: str | None = None
    family_name: str | None = field(default=None, repr=False)
    postal_code: str | None = field(default=None, repr=False)
    street_address: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Watch:
    """What the organisation takes for remarkable: looks outside `hours`, and more than `bulk` patients at once."""

    hours: Hours = ALWAYS
    bulk: int = BULK

    def always(self, caller: Caller | None, now: int) -> tuple[str, ...]:
        """The flags of whatever a caller does at this time, also where no patient is concerned."""
        return () if caller is None or self.hours.cover(now) else ("after_hours",)


class Onlooker:
    """One caller with what is compared of them, made comparable once. `fields` are the catalogue names it looks at."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self._families = frozenset(families({"family": caller.family_name or ""}))
        self._home = _home(caller.postal_code, caller.street_address)
        named = ("names",) if self._families else ()
        housed = ("addresses",) if self._home else ()
        treating = ("care_team", "case_manager") if caller.treats else ()
        always = ("birth_date", "deceased", "deceased_at", "sensitivity")
        self.fields: frozenset[str] = frozenset((*always, *named, *housed, *treating))

    def flags(self, patient_id: str, values: Mapping[str, Any], on: str) -> frozenset[str]:
        """The flags of a look at a patient on the day `on` (`YYYY-MM-DD`).

        `values` has what is known of `fields`, by catalogue name; more than those are not looked at.
        """
        sensitivity = values.get("sensitivity") or ()
        decided = (
            ("self_access", patient_id == self.caller.own_record),
            ("same_surname", bool(self._families) and self._shares_name(values.get("names") or ())),
            ("same_address", self._home is not None and self._shares_home(values.get("addresses") or (), on)),
            ("vip", Sensitivity.CELEBRITY in sensitivity),
            ("coworker", Sensitivity.EMPLOYEE in sensitivity),
            ("no_relationship", self.caller.treats and self._is_no_carer(values)),
            ("minor", _is_minor(values.get("birth_date"), on)),
            ("deceased", _has_died(values)),
        )
        return frozenset([name for name, yes in decided if yes])

    def _shares_name(self, names: Sequence[Mapping[str, Any]]) -> bool:
        """Whether one of the record's names, of today or before, has a family name in common, or a part of one.

        Parts count as in a search: of compound names people carry one or the other, and children one of each parent.
        """
        return any(not self._families.isdisjoint(families(name)) for name in names)

    def _shares_home(self, addresses: Sequence[Mapping[str, Any]], on: str) -> bool:
        """Whether an address that is in use has the same postal code and the same first line."""
        return any(
            _home(address.get("postal_code"), next(iter(address.get("lines") or ()), None)) == self._home
            for address in addresses
            if address.get("use") != AddressUse.OLD and _holds(address.get("period") or {}, on)
        )

    def _is_no_carer(self, values: Mapping[str, Any]) -> bool:
        """Whether the record names who cares for the person, by the subjects of tokens, and the caller is no such."""
        manager = (values.get("case_manager") or {}).get("reference")
        carers = {*(values.get("care_team") or ()), *([manager] if manager else [])}
        return bool(carers) and self.caller.subject not in carers


def _home(postal_code: str | None, line: str | None) -> tuple[str, str] | None:
    """A place as it is compared; None unless both parts are known."""
    code, first = fold(postal_code or "").replace(" ", ""), fold(line or "")
    return (code, first) if code and first else None


def _holds(period: Mapping[str, str], on: str) -> bool:
    return holds_on(period.get("start"), period.get("end"), on)


def _is_minor(birth_date: str | None, on: str) -> bool:
    """Whether somebody born on a date, as far as it is known, may be under age on the day `on`."""
    if birth_date is None:
        return False
    adult_on = f"{int(birth_date[:4]) + ADULT:04}{birth_date[4:]}"
    return on < adult_on if len(adult_on) == len(on) else on[: len(adult_on)] <= adult_on


def _has_died(values: Mapping[str, Any]) -> bool:
    return values.get("deceased") is True or ("deceased_at" in values and values.get("deceased") is not False)
