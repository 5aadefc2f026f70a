"""When contact is permitted: the person's clock, their windows, the organisation's quiet hours, and the law's."""

from pathlib import Path
from typing import Any

import pytest

from crm.domain.codes import Channel, CommunicationPurpose, Day
from crm.domain.decision.hours import ALWAYS, Hours, hours
from crm.domain.decision.legal_hours import JURISDICTIONS, LEGAL_HOURS, with_countries
from crm.domain.decision.rules import ContactRules, LegalClass, LegalHours
from crm.domain.decision.verdict import Reason
from crm.domain.times import micros

REMINDER = CommunicationPurpose.APPOINTMENT_REMINDER
MARKETING = CommunicationPurpose.MARKETING
EVERY_DAY = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]
NEW_YORK = {"time_zone": "America/New_York"}
RULES = ContactRules("test")
NOT_QUIET = ContactRules("test", quiet_from=0, quiet_to=0)


def window(start: str, end: str, zone: str = "America/New_York", days: list[str] = EVERY_DAY, **more: Any) -> Any:
    """A window as it is stored."""
    return {"days": days, "from": start, "to": end, "time_zone": zone, **more}


def asked(
    at: str, values: dict[str, Any], rules: ContactRules = RULES, channel: Channel = Channel.SMS,
    purpose: CommunicationPurpose = REMINDER,
) -> Hours:  # fmt: skip
    """The hours at a moment that is written as text."""
    return hours(values, purpose, channel, rules, micros(at))


def deferred(next_: str | None, *reasons: Reason) -> Hours:
    """What is answered where contact is not permitted."""
    return Hours(False, reasons, None, None if next_ is None else micros(next_))


# --- over the change of the clocks -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [NEW_YORK, NEW_YORK | {"contact_windows": [window("21:00", "08:00", quiet=True)]}],
    ids=["organisation", "patient"],
)
@pytest.mark.parametrize(
    ("now", "next_"),
    [
        ("2026-11-01T05:30:00Z", "2026-11-01T13:00:00Z"),  # 01:30, and the clocks go back at 02:00
        ("2026-11-01T06:30:00Z", "2026-11-01T13:00:00Z"),  # 01:30 once more
        ("2027-03-14T06:30:00Z", "2027-03-14T12:00:00Z"),  # 01:30, and the clocks go forward at 02:00
        ("2027-03-14T07:30:00Z", "2027-03-14T12:00:00Z"),
    ],
)
def test_a_night_on_which_the_clocks_change(values: dict[str, Any], now: str, next_: str) -> None:
    """Eight in the morning is read off the wall, however many hours the night had."""
    rules, reason = (
        (NOT_QUIET, Reason.QUIET_HOURS_PATIENT) if "contact_windows" in values else (RULES, Reason.QUIET_HOURS_DEFAULT)
    )
    assert asked(now, values, rules) == deferred(next_, reason)


def test_a_time_that_comes_twice_is_quiet_twice() -> None:
    """Half past one to two: quiet, over at two when the clocks are turned back to one, and quiet again."""
    values = NEW_YORK | {"contact_windows": [window("01:30", "02:00", quiet=True)]}
    first = asked("2026-11-01T05:45:00Z", values, NOT_QUIET)
    assert first == deferred("2026-11-01T06:00:00Z", Reason.QUIET_HOURS_PATIENT)
    again = asked("2026-11-01T06:10:00Z", values, NOT_QUIET)
    assert again == Hours(True, (), micros("2026-11-01T06:30:00Z"), None)


def test_a_time_that_does_not_come_is_not_waited_for() -> None:
    """Wanted from two to three, which the clocks leave out on that night: the next is a day later."""
    values = NEW_YORK | {"contact_windows": [window("02:00", "03:00")]}
    found = asked("2027-03-14T06:59:00Z", values, NOT_QUIET)
    assert found == deferred("2027-03-15T06:00:00Z", Reason.QUIET_HOURS_PATIENT)


# --- windows ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("windows", "now", "found"),
    [
        ([window("09:00", "17:00")], "2027-01-04T14:00:00Z", Hours(True, (), micros("2027-01-04T22:00:00Z"), None)),
        ([window("09:00", "17:00")], "2027-01-04T13:59:59.999999Z",
         deferred("2027-01-04T14:00:00Z", Reason.QUIET_HOURS_PATIENT)),
        ([window("09:00", "17:00")], "2027-01-04T22:00:00Z",
         deferred("2027-01-05T14:00:00Z", Reason.QUIET_HOURS_PATIENT)),
        # The night from Sunday to Monday, at the seam of the week, and its day is the one on which it begins.
        ([window("22:00", "06:00", days=["SUN"], quiet=True)], "2027-01-04T04:30:00Z",
         deferred("2027-01-04T11:00:00Z", Reason.QUIET_HOURS_PATIENT)),
        ([window("22:00", "06:00", days=["SUN"], quiet=True)], "2027-01-04T11:00:00Z",
         Hours(True, (), micros("2027-01-11T03:00:00Z"), None)),
        # A window in another zone than the person's, and two that together leave nothing.
        ([window("09:00", "10:00", "Asia/Kathmandu")], "2027-01-04T03:00:00Z",
         deferred("2027-01-04T03:15:00Z", Reason.QUIET_HOURS_PATIENT)),
        ([window("09:00", "12:00", days=["MON"]), window("08:00", "13:00", days=["MON"], quiet=True)],
         "2027-01-04T15:00:00Z", deferred(None, Reason.QUIET_HOURS_PATIENT)),
        ([window("00:00", "24:00", days=["TUE"], quiet=True)], "2027-01-05T05:00:00Z",
         deferred("2027-01-06T05:00:00Z", Reason.QUIET_HOURS_PATIENT)),
        ([window("00:00", "24:00")], "2027-01-05T05:00:00Z", ALWAYS),
    ],
)  # fmt: skip
def test_windows_of_the_person(windows: list[Any], now: str, found: Hours) -> None:
    """Outside all that are wanted, or inside one that is quiet, is not permitted; ends are exact and not included."""
    assert asked(now, NEW_YORK | {"contact_windows": windows}, NOT_QUIET) == found


@pytest.mark.parametrize("channel", list(Channel))
def test_what_binds_a_channel(channel: Channel) -> None:
    """The person's windows bind all but letters and the portal, the organisation's quiet hours what makes a sound."""
    night = "2027-01-04T07:00:00Z"
    answer = asked(night, NEW_YORK | {"contact_windows": [window("09:00", "17:00")]}, RULES, channel)
    patient = () if channel in {Channel.LETTER, Channel.PORTAL} else (Reason.QUIET_HOURS_PATIENT,)
    default = (Reason.QUIET_HOURS_DEFAULT,) if channel in RULES.audible else ()
    assert answer.reasons == patient + default
    assert answer.permitted is not bool(patient + default)


def test_who_wants_nothing_but_the_night_is_not_woken() -> None:
    """No window beats the organisation's quiet hours; with nothing left of a window, no time is known."""
    night = "2027-01-05T04:00:00Z"  # 23:00
    late = window("22:30", "23:30")
    assert asked(night, NEW_YORK | {"contact_windows": [late]}) == deferred(None, Reason.QUIET_HOURS_DEFAULT)
    both = [late, window("12:00", "13:00")]
    assert asked(night, NEW_YORK | {"contact_windows": both}) == deferred(
        "2027-01-05T17:00:00Z", Reason.QUIET_HOURS_DEFAULT
    )
    silent = asked(night, NEW_YORK | {"contact_windows": [late]}, RULES, Channel.EMAIL)
    assert silent.until == micros("2027-01-05T04:30:00Z")


# --- zones -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("zone", [{}, {"time_zone": None}, {"time_zone": "Mars/Olympus"}])
def test_of_unknown_zone_every_configured_one_must_permit(zone: dict[str, Any]) -> None:
    """Nine in the morning in New York is not enough where the person may live in Los Angeles."""
    rules = ContactRules("test", zones=("America/New_York", "America/Los_Angeles"))
    found = asked("2027-01-04T14:00:00Z", zone, rules)
    assert found == deferred("2027-01-04T16:00:00Z", Reason.QUIET_HOURS_DEFAULT, Reason.TIME_ZONE_UNKNOWN)
    assert asked("2027-01-04T16:00:00Z", zone, rules) == Hours(True, (), micros("2027-01-05T02:00:00Z"), None)


def test_nowhere_is_anywhere() -> None:
    """With no zone configured it is night somewhere at every time, and what makes no sound may still be sent."""
    rules = ContactRules("test", zones=())
    assert asked("2027-01-04T14:00:00Z", {}, rules) == deferred(
        None, Reason.QUIET_HOURS_DEFAULT, Reason.TIME_ZONE_UNKNOWN
    )
    assert asked("2027-01-04T14:00:00Z", {}, rules, Channel.EMAIL) == ALWAYS


def test_a_window_of_a_zone_that_is_unknown_here() -> None:
    """It may be meant in any of the zones in which the person may live: wanted in all of them, quiet in one."""
    rules = ContactRules("test", quiet_from=0, quiet_to=0, zones=("America/New_York", "America/Los_Angeles"))
    wanted = {"contact_windows": [window("09:00", "13:00", "Mars/Olympus")]}
    assert asked("2027-01-04T16:59:00Z", wanted, rules).next == micros("2027-01-04T17:00:00Z")
    assert asked("2027-01-04T17:00:00Z", wanted, rules).until == micros("2027-01-04T18:00:00Z")
    quiet = {"contact_windows": [window("09:00", "13:00", "Mars/Olympus", quiet=True)]}
    assert asked("2027-01-04T14:00:00Z", quiet, rules).next == micros("2027-01-04T21:00:00Z")


# --- the law ---------------------------------------------------------------------------------------------------------


def under(*jurisdictions: str) -> ContactRules:
    """Rules without quiet hours of the organisation's own, under the laws of these places."""
    return ContactRules("test", quiet_from=0, quiet_to=0, jurisdictions=jurisdictions, legal_hours=LEGAL_HOURS)


@pytest.mark.parametrize(
    ("place", "channel", "now", "next_"),
    [
        (("US",), Channel.SMS, "2027-01-04T12:59:59Z", "2027-01-04T13:00:00Z"),
        (("US",), Channel.VOICE, "2027-01-05T02:00:00Z", "2027-01-05T13:00:00Z"),
        (("US", "US-FL"), Channel.SMS, "2027-01-05T01:00:00Z", "2027-01-05T13:00:00Z"),
        (("US", "US-TX"), Channel.SMS, "2027-01-03T16:00:00Z", "2027-01-03T17:00:00Z"),  # a Sunday: from noon
        (("US", "US-RI"), Channel.SMS, "2027-01-02T22:00:00Z", "2027-01-04T14:00:00Z"),  # no Sunday at all
        (("FR",), Channel.VOICE, "2027-01-04T18:30:00Z", "2027-01-04T19:00:00Z"),  # the hour after one o'clock
        (("CA",), Channel.FAX, "2027-01-05T02:30:00Z", "2027-01-05T14:00:00Z"),
    ],
)
def test_marketing_waits_for_the_hours_of_the_law(
    place: tuple[str, ...], channel: Channel, now: str, next_: str
) -> None:
    """All jurisdictions must permit; the rows of one add up."""
    found = asked(now, NEW_YORK, under(*place), channel, MARKETING)
    assert found == deferred(next_, Reason.QUIET_HOURS_LEGAL)
    assert asked(now, NEW_YORK, under(*place), channel, REMINDER) == ALWAYS
    assert asked(now, NEW_YORK, under(*place), Channel.EMAIL, MARKETING) == ALWAYS
    assert asked(now, NEW_YORK, under(), channel, MARKETING) == ALWAYS


def test_the_law_is_not_beaten_by_a_wish() -> None:
    """Who asks for the night is not called at night where a law forbids it, though the organisation would."""
    rules = ContactRules("test", quiet_from=0, quiet_to=0, jurisdictions=("US",), legal_hours=LEGAL_HOURS)
    values = NEW_YORK | {"contact_windows": [window("23:00", "24:00")]}
    assert asked("2027-01-05T04:30:00Z", values, rules).permitted
    found = asked("2027-01-05T04:30:00Z", values, rules, purpose=MARKETING)
    assert found == deferred(None, Reason.QUIET_HOURS_LEGAL)


def test_a_law_begins_and_ends_with_a_day_where_the_person_is() -> None:
    """A row binds from the first moment of its day on their clock; the search for a time goes over that moment."""
    before = asked("2024-03-26T03:59:59Z", NEW_YORK, under("US"), purpose=MARKETING)
    assert before == Hours(True, (), micros("2024-03-26T04:00:00Z"), None)
    assert asked("2024-03-26T04:00:00Z", NEW_YORK, under("US"), purpose=MARKETING).next == micros(
        "2024-03-26T12:00:00Z"
    )


def row(jurisdiction: str, since: str, until: str | None, start: int, end: int) -> LegalHours:
    """A law about marketing by text that permits the minutes from `start` to `end` of each day."""
    texts = frozenset({Channel.SMS})
    return LegalHours(jurisdiction, since, start, end, frozenset({LegalClass.TELEMARKETING}), texts, "test", until)


@pytest.mark.parametrize(
    ("since", "until"), [("2028-01-02", "2028-01-02T05:00:00Z"), ("2028-01-03", None)], ids=["in reach", "out of reach"]
)
def test_a_year_is_searched_and_no_longer(since: str, until: str | None) -> None:
    """What changes within 366 days is told, and nothing later; midnight in New York is five o'clock."""
    ban = ContactRules(
        "test", quiet_from=0, quiet_to=0, jurisdictions=("A",), legal_hours=(row("A", since, None, 0, 0),)
    )
    found = asked("2027-01-01T05:00:00Z", NEW_YORK, ban, purpose=MARKETING)
    assert found == Hours(True, (), None if until is None else micros(until), None)


@pytest.mark.parametrize(("start", "next_"), [(60, "2028-01-02T06:00:00Z"), (61, None)])
def test_an_hour_just_out_of_reach(start: int, next_: str | None) -> None:
    """A ban ends on the last day of the search, and another law opens at its very end, or a minute later."""
    laws = (row("A", "2026-01-01", "2028-01-02", 0, 0), row("B", "2026-01-01", None, start, 24 * 60))
    rules = ContactRules("test", quiet_from=0, quiet_to=0, jurisdictions=("A", "B"), legal_hours=laws)
    assert asked("2027-01-01T06:00:00Z", NEW_YORK, rules, purpose=MARKETING) == deferred(
        next_, Reason.QUIET_HOURS_LEGAL
    )


def test_every_row_says_where_it_stands_and_is_open_for_a_while() -> None:
    """Rows are of known places with a source each, open for some hours of some days."""
    assert {law.jurisdiction for law in LEGAL_HOURS} == JURISDICTIONS
    for law in LEGAL_HOURS:
        assert law.source
        assert law.days <= set(range(7))
        assert 0 <= law.start < law.end <= 24 * 60


def test_the_page_for_compliance_has_these_rows() -> None:
    """What docs/contact-hours.md says of the law is what binds: every row, and no other."""
    names = [day.value.title() for day in Day]

    def days(numbers: frozenset[int]) -> str:
        first, last = min(numbers), max(numbers)
        return "every day" if len(numbers) == 7 else names[first] if first == last else f"{names[first]}–{names[last]}"

    rows = [
        (f"`{law.jurisdiction}`", law.since, days(law.days), f"{law.start // 60:02}:{law.start % 60:02}",
         f"{law.end // 60:02}:{law.end % 60:02}", " ".join(it for it in Channel if it in law.channels), law.source)
        for law in LEGAL_HOURS
    ]  # fmt: skip
    page = (Path(__file__).parents[2] / "docs" / "contact-hours.md").read_text()
    table = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in page.splitlines() if "| 20" in line]
    assert table == rows


def test_a_state_brings_its_country() -> None:
    """Federal law binds in each state, so naming the state is enough."""
    assert with_countries(["US-FL", "FR"]) == ("FR", "US", "US-FL")
    assert with_countries([]) == ()
