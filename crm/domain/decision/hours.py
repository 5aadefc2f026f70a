"""Owns at which times contact is permitted: by law, by the person's own windows, by the organisation's quiet hours.

Everything is read off the clock on the wall where the person is: where it is turned back a window comes twice, where it
is turned forward a part of it does not come at all.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final, NamedTuple

from crm.domain.codes import Channel, CommunicationPurpose, Day
from crm.domain.decision.clocks import is_zone, offset
from crm.domain.decision.rules import ContactRules, LegalHours
from crm.domain.decision.verdict import Reason
from crm.domain.decision.weeks import DAY, NEVER, Week, change, holds, rest, second_of_week, spans, union

__all__ = ["ALWAYS", "Hours", "hours"]

_SEARCHED: Final = 366 * DAY
"""Seconds for which a change is looked for: a year, so that every window and every date has come by."""

_SECOND: Final = 1_000_000
_EVERY_DAY: Final = range(7)
_DAYS: Final = {str(day): number for number, day in enumerate(Day)}
_SILENT: Final = frozenset({Channel.LETTER, Channel.PORTAL})  # the person opens them when it suits
_ANYWHERE: Final = tuple(f"Etc/GMT{hour:+d}" for hour in range(-14, 13))
_BEGINNING: Final = date(1970, 1, 1).toordinal()


class Hours(NamedTuple):
    """Whether contact is permitted at the moment that was asked about; other moments are microseconds since 1970, UTC.

    `reasons` say why not: QUIET_HOURS_LEGAL, QUIET_HOURS_PATIENT and QUIET_HOURS_DEFAULT as far as they apply, and last
    TIME_ZONE_UNKNOWN. `until` is the first moment at which a permission ends, `next` the first later moment at which
    contact is permitted where it is not; each is None where the year to come has none.
    """

    permitted: bool
    reasons: tuple[Reason, ...]
    until: int | None
    next: int | None


ALWAYS: Final = Hours(True, (), None, None)
"""What nobody limits."""


def hours(
    values: Mapping[str, Any], purpose: CommunicationPurpose, channel: Channel, rules: ContactRules, now: int
) -> Hours:
    """The hours of a contact by `channel` about `purpose`; whether they bind the purpose is for the caller to know.

    `values` are the patient's `time_zone` and `contact_windows` by catalogue name, whoever is contacted. Where the zone
    is unknown, contact must be permitted in each of `rules.zones`.
    """
    windows = () if channel in _SILENT else values.get("contact_windows") or ()
    quiet = (rules.quiet_from, rules.quiet_to) if channel in rules.audible else (0, 0)
    laws = _laws(rules, purpose, channel)
    if not (windows or laws or quiet[0] != quiet[1]):
        return ALWAYS
    zone = values.get("time_zone") or ""
    known = is_zone(zone)
    zones = (zone,) if known else rules.zones or _ANYWHERE
    question = _Question(zones, laws, quiet, _windows(windows, zones))
    found = (_searched if windows else _searched_for_all)(question, now // _SECOND)
    if found.permitted or known:
        return found
    return found._replace(reasons=(*found.reasons, Reason.TIME_ZONE_UNKNOWN))


def _laws(rules: ContactRules, purpose: CommunicationPurpose, channel: Channel) -> tuple[LegalHours, ...]:
    if not (rules.jurisdictions and rules.legal_hours):
        return ()
    legal_class = rules.purposes[purpose].legal_class
    return tuple(
        law for law in rules.legal_hours
        if legal_class in law.classes and channel in law.channels and law.jurisdiction in rules.jurisdictions
    )  # fmt: skip


class _Window(NamedTuple):
    """A window of the person, from minute `start` to `end` of `days`, wherever of `zones` they meant it."""

    days: tuple[int, ...]
    start: int
    end: int
    zones: tuple[str, ...]
    quiet: bool


def _windows(stored: Iterable[Mapping[str, Any]], zones: tuple[str, ...]) -> tuple[_Window, ...]:
    return tuple(
        _Window(
            tuple(_DAYS[day] for day in window["days"]), _minute(window["from"]), _minute(window["to"]),
            (window["time_zone"],) if is_zone(window["time_zone"]) else zones, bool(window.get("quiet")),
        )
        for window in stored
    )  # fmt: skip


def _minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


class _Question(NamedTuple):
    """What limits the time: laws and the organisation's quiet hours (minutes of a day) in all `zones`, and windows."""

    zones: tuple[str, ...]
    laws: tuple[LegalHours, ...]
    quiet: tuple[int, int]
    windows: tuple[_Window, ...]


class _Forbidden(NamedTuple):
    """The times of a week at which contact is not permitted: by whom, and by any of them."""

    legal: Week
    patient: Week
    default: Week
    all: Week


def _searched(question: _Question, start: int) -> Hours:
    """The answer at the moment `start`; moments are seconds since 1970 here."""
    forbidden, end = _until_it_changes(question, start)
    second = second_of_week(start)
    if holds(forbidden.all, second):
        ends = _changes(question, forbidden, start, end)
        return Hours(False, _reasons(forbidden, second), None, ends)
    return Hours(True, (), _changes(question, forbidden, start, end), None)


@lru_cache(maxsize=256)
def _searched_for_all(question: _Question, start: int) -> Hours:
    """The same for a question without windows: nothing in it is one person's, and a batch asks it again and again."""
    return _searched(question, start)


def _changes(question: _Question, forbidden: _Forbidden, start: int, end: int) -> int | None:
    """The first moment at which it is otherwise than at `start`, in microseconds; `forbidden` holds to `end`."""
    now = holds(forbidden.all, second_of_week(start))
    at, last = start, start + _SEARCHED
    while at <= last:
        second = second_of_week(at)
        if holds(forbidden.all, second) is not now:
            return at * _SECOND
        ahead = change(forbidden.all, second)
        if ahead is not None and at + ahead < end:
            return (at + ahead) * _SECOND if at + ahead <= last else None
        at = end
        forbidden, end = _until_it_changes(question, at)
    return None


def _reasons(forbidden: _Forbidden, second: int) -> tuple[Reason, ...]:
    by = (
        (Reason.QUIET_HOURS_LEGAL, forbidden.legal),
        (Reason.QUIET_HOURS_PATIENT, forbidden.patient),
        (Reason.QUIET_HOURS_DEFAULT, forbidden.default),
    )
    return tuple(reason for reason, week in by if holds(week, second))


def _until_it_changes(question: _Question, at: int) -> tuple[_Forbidden, int]:
    """What is forbidden at `at`, and a later moment before which every week is like that one."""
    ends = []
    here = []
    for zone in question.zones:
        ahead, end = offset(zone, at)
        ends.append(end)
        today = (at + ahead) // DAY
        in_force = []
        for law in question.laws:
            since, until = _day(law.since), _day(law.until)
            ends += (day * DAY - ahead for day in (since, until) if day > today)
            if since <= today < until:
                in_force.append(law)
        here.append((ahead, tuple(in_force)))
    others = _of_the_others(tuple(here), question.quiet)
    if not question.windows:
        return others, min(ends)
    ahead_of = {}
    for zone in {zone for window in question.windows for zone in window.zones}:
        ahead_of[zone], end = offset(zone, at)
        ends.append(end)
    patient = _unwanted(question.windows, ahead_of)
    return others._replace(patient=patient, all=union((others.all, patient))), min(ends)


@lru_cache(maxsize=256)
def _day(text: str | None) -> int:
    return (date.max if text is None else date.fromisoformat(text)).toordinal() - _BEGINNING


_Place = tuple[int, tuple[LegalHours, ...]]
"""How far the clocks of one zone are ahead, in seconds, and the laws in force on that day."""


@lru_cache(maxsize=1024)
def _of_the_others(places: tuple[_Place, ...], quiet: tuple[int, int]) -> _Forbidden:
    """What is forbidden by everybody but the person: the same for very many of them."""
    legal = union(_against_the_law(ahead, laws) for ahead, laws in places)
    default = union(spans(_EVERY_DAY, *quiet, ahead) for ahead, _ in places)
    return _Forbidden(legal, NEVER, default, union((legal, default)))


def _unwanted(windows: tuple[_Window, ...], ahead_of: Mapping[str, int]) -> Week:
    """What is forbidden by the person: all that lies in no window they wish for, and their quiet windows."""
    wished = [_surely(window, ahead_of) for window in windows if not window.quiet]
    quiet = [_perhaps(window, ahead_of) for window in windows if window.quiet]
    return union([rest(union(wished)), *quiet] if wished else quiet)


def _perhaps(window: _Window, ahead_of: Mapping[str, int]) -> Week:
    """When the window may be: at its time in one of its zones."""
    return union(spans(window.days, window.start, window.end, ahead_of[zone]) for zone in window.zones)


def _surely(window: _Window, ahead_of: Mapping[str, int]) -> Week:
    """When the window is, whichever of its zones was meant."""
    if len(window.zones) == 1:
        return _perhaps(window, ahead_of)
    return rest(union(rest(spans(window.days, window.start, window.end, ahead_of[zone])) for zone in window.zones))


def _against_the_law(ahead: int, laws: tuple[LegalHours, ...]) -> Week:
    """All that not every jurisdiction permits; the rows of one of them add up to what it permits."""
    permitted: dict[str, list[Week]] = {}
    for law in laws:
        permitted.setdefault(law.jurisdiction, []).append(spans(law.days, law.start, law.end, ahead))
    return union(rest(union(weeks)) for weeks in permitted.values())
