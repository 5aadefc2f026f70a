"""The hours of the contact decision once more, as plainly as can be: every moment is asked for itself, one by one.

Nothing here is clever and nothing is shared with the code under test; it is slow on purpose.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from crm.domain.codes import Channel
from crm.domain.decision.rules import ContactRules, LegalHours, PurposeRule
from crm.domain.decision.verdict import Reason

__all__ = ["next_permitted", "permitted_until", "refusals"]

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
MINUTE = 60 * 1_000_000
QUARTER = 15 * MINUTE
SEARCHED = 366 * 24 * 60 * MINUTE
DAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
WINDOWLESS = {Channel.LETTER, Channel.PORTAL}


def refusals(
    values: Mapping[str, Any], rules: ContactRules, rule: PurposeRule, channel: Channel, moment: int
) -> list[Reason]:
    """Which hours do not permit contact by `channel` at `moment` (microseconds, UTC); empty where all do."""
    found = list(_refusing(values, rules, rule, channel, moment))
    return [*found, Reason.TIME_ZONE_UNKNOWN] if found and not values.get("time_zone") else found


def _refusing(
    values: Mapping[str, Any], rules: ContactRules, rule: PurposeRule, channel: Channel, moment: int
) -> Iterator[Reason]:
    zones = [values["time_zone"]] if values.get("time_zone") else list(rules.zones)
    if any(not _legal(rules, rule, channel, zone, moment) for zone in zones):
        yield Reason.QUIET_HOURS_LEGAL
    windows = values.get("contact_windows") or []
    if channel not in WINDOWLESS and not _wished(windows, moment):
        yield Reason.QUIET_HOURS_PATIENT
    if channel in rules.audible and any(
        _between(rules.quiet_from, rules.quiet_to, _clock(zone, moment)[2]) for zone in zones
    ):
        yield Reason.QUIET_HOURS_DEFAULT


def _refused(values: Mapping[str, Any], rules: ContactRules, rule: PurposeRule, channel: Channel, moment: int) -> bool:
    return any(True for _ in _refusing(values, rules, rule, channel, moment))


def next_permitted(
    values: Mapping[str, Any], rules: ContactRules, rule: PurposeRule, channel: Channel, now: int
) -> int | None:
    """The first moment after `now` at which nothing refuses, within 366 days.

    Clocks of different zones differ by whole quarters of an hour, so nothing changes at a minute of the quarter at
    which no hours begin or end.
    """
    turns = _turns(values, rules)
    for quarter in range(now // QUARTER, (now + SEARCHED) // QUARTER + 1):
        for moment in (quarter * QUARTER + turn * MINUTE for turn in turns):
            if now < moment <= now + SEARCHED and not _refused(values, rules, rule, channel, moment):
                return moment
    return None


def permitted_until(
    values: Mapping[str, Any], rules: ContactRules, rule: PurposeRule, channel: Channel, now: int, limit: int
) -> int:
    """The first moment after `now` at which something refuses, or `limit` where that comes first."""
    turns = _turns(values, rules)
    for quarter in range(now // QUARTER, limit // QUARTER + 1):
        for moment in (quarter * QUARTER + turn * MINUTE for turn in turns):
            if now < moment < limit and _refused(values, rules, rule, channel, moment):
                return moment
    return limit


def _turns(values: Mapping[str, Any], rules: ContactRules) -> list[int]:
    """The minutes of a quarter of an hour at which any hours may begin or end."""
    bounds = [rules.quiet_from, rules.quiet_to]
    for row in rules.legal_hours:
        bounds += [row.start, row.end]
    for window in values.get("contact_windows") or []:
        bounds += [_minutes(window["from"]), _minutes(window["to"])]
    return sorted({0, *(bound % 15 for bound in bounds)})


def _legal(rules: ContactRules, rule: PurposeRule, channel: Channel, zone: str, moment: int) -> bool:
    for jurisdiction in rules.jurisdictions:
        rows = [
            row
            for row in rules.legal_hours
            if row.jurisdiction == jurisdiction and rule.legal_class in row.classes and channel in row.channels
        ]
        if rows and not _by_law(rows, *_clock(zone, moment)):
            return False
    return True


def _by_law(rows: list[LegalHours], day: str, weekday: int, minute: int) -> bool:
    rows = [row for row in rows if row.since <= day and (row.until is None or day < row.until)]
    return not rows or any(weekday in row.days and row.start <= minute < row.end for row in rows)


def _wished(windows: list[Mapping[str, Any]], moment: int) -> bool:
    wanted = [window for window in windows if not window.get("quiet")]
    unwanted = [window for window in windows if window.get("quiet")]
    if wanted and not any(_inside(window, moment) for window in wanted):
        return False
    return not any(_inside(window, moment) for window in unwanted)


def _inside(window: Mapping[str, Any], moment: int) -> bool:
    _, weekday, minute = _clock(window["time_zone"], moment)
    start, end = _minutes(window["from"]), _minutes(window["to"])
    today, yesterday = DAYS[weekday], DAYS[weekday - 1]
    if start < end:
        return today in window["days"] and start <= minute < end
    return (today in window["days"] and minute >= start) or (yesterday in window["days"] and minute < end)


def _between(start: int, end: int, minute: int) -> bool:
    if start <= end:
        return start <= minute < end
    return minute >= start or minute < end


@lru_cache
def _minutes(clock: str) -> int:
    hours, minutes = clock.split(":")
    return int(hours) * 60 + int(minutes)


@lru_cache(maxsize=100_000)
def _clock(zone: str, moment: int) -> tuple[str, int, int]:
    """What clocks of `zone` show: the day (YYYY-MM-DD), the weekday (Monday 0) and the minute of the day."""
    local = (BEGINNING + timedelta(microseconds=moment)).astimezone(ZoneInfo(zone))
    return local.date().isoformat(), local.weekday(), local.hour * 60 + local.minute
