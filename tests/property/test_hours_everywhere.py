"""When contact is permitted, against a plain reading of the clock: in every zone, at every change of two years."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from hypothesis import given, settings
from hypothesis import strategies as st

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.clocks import offset
from crm.domain.decision.hours import hours
from crm.domain.decision.rules import ContactRules, LegalClass, LegalHours
from crm.domain.decision.verdict import Reason
from crm.domain.times import TimeZone
from crm.domain.values import parse

DAYS = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]
STEP = 15 * 60
"""Every clock of these years is ahead of UTC by a multiple of it, and changes at one."""
MICRO = 1_000_000
FROM = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp())
TO = int(datetime(2028, 11, 22, tzinfo=UTC).timestamp())
QUIET = (21 * 60, 8 * 60)


@cache
def zones() -> tuple[str, ...]:
    """Every zone that a profile may have."""
    return tuple(sorted(available_timezones() - {"Factory", "localtime", "posixrules"}))


def ahead(zone: str, at: int) -> int:
    """Seconds that the clocks of a zone are ahead of UTC."""
    shift = datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset()
    assert shift is not None
    return shift // timedelta(seconds=1)


@cache
def transitions(zone: str) -> tuple[int, ...]:
    """The moments within the two years at which the clocks of a zone change."""
    found = []
    before = ahead(zone, FROM)
    for first in range(FROM, TO, 3 * 86_400):
        last = first + 3 * 86_400
        if ahead(zone, last) != before:
            found.append(next(at for at in range(first, last + STEP, STEP) if ahead(zone, at) != before))
            before = ahead(zone, last)
    return tuple(found)


@cache
def clocks() -> tuple[str, ...]:
    """A zone for each way in which the clocks of any go during the two years; hundreds of zones go alike."""
    alike: dict[tuple[object, ...], str] = {}
    for zone in zones():
        changes = transitions(zone)
        alike.setdefault((ahead(zone, FROM), *((at, ahead(zone, at)) for at in changes)), zone)
    return tuple(alike.values())


def within(days: list[int], start: int, end: int, zone: str, at: int) -> bool:
    """Whether the clock of a zone shows a time between two minutes of these days, or of the night after them."""
    shown = datetime.fromtimestamp(at, ZoneInfo(zone))
    minute = shown.hour * 60 + shown.minute
    if start < end:
        return shown.weekday() in days and start <= minute < end
    evening = shown.weekday() in days and minute >= start
    return evening or ((shown.weekday() - 1) % 7 in days and minute < end)


def in_window(window: Mapping[str, Any], at: int) -> bool:
    """Whether a stored window is open at a moment."""
    start, end = (int(window[name][:2]) * 60 + int(window[name][3:]) for name in ("from", "to"))
    return within([DAYS.index(day) for day in window["days"]], start, end, window["time_zone"], at)


def against(
    windows: list[Any], zone: str, laws: tuple[LegalHours, ...], quiet: tuple[int, int], at: int
) -> list[Reason]:  # fmt: skip
    """What is against contact at a moment, read as plainly as it can be said. Windows are in the person's own zone."""
    found = []
    for jurisdiction in {law.jurisdiction for law in laws}:
        today = datetime.fromtimestamp(at, ZoneInfo(zone)).date().isoformat()
        rows = [
            law for law in laws
            if law.jurisdiction == jurisdiction and law.since <= today and (law.until is None or today < law.until)
        ]  # fmt: skip
        if rows and not any(within(sorted(law.days), law.start, law.end, zone, at) for law in rows):
            found.append(Reason.QUIET_HOURS_LEGAL)
    wanted = [window for window in windows if not window.get("quiet")]
    unwelcome = any(in_window(window, at) for window in windows if window.get("quiet"))
    if unwelcome or (wanted and not any(in_window(window, at) for window in wanted)):
        found.append(Reason.QUIET_HOURS_PATIENT)
    if quiet[0] != quiet[1] and within(list(range(7)), *quiet, zone, at):
        found.append(Reason.QUIET_HOURS_DEFAULT)
    return [reason for reason in Reason if reason in found]


def check(
    windows: list[Any], zone: str, at: int, laws: tuple[LegalHours, ...] = (), quiet: tuple[int, int] = QUIET,
    days: int = 3,
) -> None:  # fmt: skip
    """The answer at a moment is the plain one, and so is what comes next, within some days."""
    rules = ContactRules(
        "test", quiet_from=quiet[0], quiet_to=quiet[1], legal_hours=laws,
        jurisdictions=tuple({law.jurisdiction for law in laws}),
    )  # fmt: skip
    values = {"time_zone": zone, "contact_windows": windows}
    found = hours(values, CommunicationPurpose.MARKETING, Channel.SMS, rules, at * MICRO)
    now = against(windows, zone, laws, quiet, at)
    assert list(found.reasons) == now
    assert found.permitted is (not now)
    assert (found.next if found.permitted else found.until) is None
    change = found.until if found.permitted else found.next
    walk = range(at // STEP * STEP + STEP, at + days * 86_400, STEP)
    first = next((then for then in walk if bool(against(windows, zone, laws, quiet, then)) is not bool(now)), None)
    if first is None:
        assert change is None or change >= walk[-1] * MICRO
    else:
        assert change == first * MICRO


def test_zones_are_those_that_a_profile_may_have() -> None:
    """None is left out: each of them is taken as a value."""
    assert len(zones()) > 400
    assert all(parse(TimeZone, zone, "zone") == zone for zone in zones())


def test_the_offset_of_every_zone_at_every_transition() -> None:
    """Just before a change of the clocks and just after it the offset is that of the zone, and so it stays."""
    for zone in zones():
        assert all(offset(zone, at)[0] == ahead(zone, at) for at in range(FROM, TO, 28 * 86_400))
        for change in transitions(zone):
            old, ends = offset(zone, change - 1)
            assert (old, ends) == (ahead(zone, change - 1), change)
            new, later = offset(zone, change)
            assert new == ahead(zone, change) != old
            assert all(ahead(zone, at) == new for at in range(change, later, 7 * 86_400))


def test_every_zone_and_every_transition() -> None:
    """Around each change of two years: quiet hours, a wanted night, and the hour that changes itself.

    One of the zones that go alike is walked, as the offset is all that the hours know of a zone: it is checked above
    for each of them.
    """
    for zone in clocks():
        for change in transitions(zone):
            shown = datetime.fromtimestamp(change - 1, ZoneInfo(zone))
            day = DAYS[shown.weekday()]
            turn = {"days": [day], "from": f"{shown.hour:02}:15", "to": f"{(shown.hour + 1) % 24:02}:45"}
            night = {"days": DAYS, "from": "22:00", "to": "06:30"}
            for at in (change - 3 * 3600, change - 1, change):
                check([], zone, at, days=2)
                check([{**turn, "time_zone": zone, "quiet": True}], zone, at, quiet=(0, 0), days=1)
                check([{**turn, "time_zone": zone}], zone, at, quiet=(0, 0), days=1)
                check([{**night, "time_zone": zone}, {**turn, "time_zone": zone, "quiet": True}], zone, at, days=1)


def clock(minute: int) -> str:
    """A minute of the day as it is written."""
    return f"{minute // 60:02}:{minute % 60:02}"


minutes = st.integers(0, 95).map(lambda quarter: quarter * 15)
days_of_week = st.lists(st.sampled_from(DAYS), min_size=1, max_size=7, unique=True)


@st.composite
def window(draw: st.DrawFn, zone: str) -> dict[str, Any]:
    """A window as it is stored."""
    start, end = draw(minutes), draw(st.integers(0, 96).map(lambda quarter: quarter * 15))
    more = {"quiet": True} if draw(st.booleans()) else {}
    end = end if end != start else 24 * 60
    return {"days": draw(days_of_week), "from": clock(start), "to": clock(end), "time_zone": zone, **more}


@st.composite
def law(draw: st.DrawFn) -> LegalHours:
    """A row of some law that may begin or end close to the transitions."""
    start = draw(st.integers(0, 90))
    since = draw(st.sampled_from(["2020-01-01", "2027-03-14", "2027-03-28", "2027-11-07"]))
    until = draw(st.sampled_from([None, "2027-10-31", "2028-03-26"]))
    return LegalHours(
        draw(st.sampled_from(["A", "B"])), since, start * 15, draw(st.integers(start + 1, 96)) * 15,
        frozenset({LegalClass.TELEMARKETING}), frozenset({Channel.SMS}), "test", until,
        frozenset(DAYS.index(day) for day in draw(days_of_week)),
    )  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_windows_and_laws_of_any_kind(data: st.DataObject) -> None:
    """Whatever is combined, at whatever moment: the same as the plain reading, for the days that it can be walked."""
    zone = data.draw(st.sampled_from(zones()))
    changes = transitions(zone) or (FROM,)
    at = data.draw(st.sampled_from(changes)) + data.draw(st.integers(-4 * 86_400, 4 * 86_400))
    windows = data.draw(st.lists(window(zone), max_size=4))
    laws = tuple(data.draw(st.lists(law(), max_size=3)))
    quiet = data.draw(st.sampled_from([QUIET, (0, 0), (0, 24 * 60), (12 * 60, 13 * 60)]))
    check(windows, zone, at, laws, quiet, days=4)
