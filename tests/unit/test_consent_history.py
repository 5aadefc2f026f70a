"""Appending consent directives: what is filled in, what repeats, what is refused, and by when others must honour."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from crm.domain import consent_history
from crm.domain.consent_history import appended, honour_by
from crm.domain.consents import MOST_DIRECTIVES, ConsentDirectives, mark_of
from crm.domain.shape import parse
from crm.domain.times import instant, micros
from crm.errors import Invalid

MONDAY = micros("2026-11-23T09:00:00Z")
HOUR = 3_600_000_000
DAY = 24 * HOUR

History = list[Mapping[str, Any]]


def said(decision: str = "DENY", **more: Any) -> dict[str, Any]:
    """A directive as somebody enters it."""
    return {"decision": decision, **more}


def told(*directives: dict[str, Any], start: int = MONDAY, step: int = HOUR) -> History:
    """The history of directives that were entered one after the other."""
    history: History = []
    for number, directive in enumerate(directives):
        history = appended(history, [directive], start + number * step)
    return history


def refusal(directive: dict[str, Any], history: History | None = None, now: int = MONDAY) -> tuple[str, str]:
    """The place and the rule for which a directive is refused."""
    with pytest.raises(Invalid) as refused:
        appended(history or [], [directive], now, path="input")
    return refused.value.field, refused.value.rule


def test_a_bare_denial_is_filled_in() -> None:
    """It holds from now for every contact, was received and said now, and gets an id, a number and a deadline."""
    [entry] = told(said())
    now = "2026-11-23T09:00:00.000000Z"
    assert entry == {
        "id": entry["id"],
        "seq": 1,
        "decision": "DENY",
        "scope": {},
        "giver": {"role": "PATIENT"},
        "capture": {"at": now},
        "effective_from": now,
        "received_at": now,
        "honour_by": "2026-12-07T09:00:00.000000Z",
    }
    assert parse(ConsentDirectives, [entry], "consents") == [entry]


def test_a_permission_holds_from_when_it_was_said_and_a_denial_from_now() -> None:
    """A form of last week that is entered today beats no STOP of the days between; a late STOP beats what was said."""
    last_week = {"at": instant(MONDAY - 7 * DAY)}
    [permit] = told(said("PERMIT", capture=last_week))
    [deny] = told(said("DENY", capture=last_week))
    assert permit["effective_from"] == last_week["at"]
    assert deny["effective_from"] == instant(MONDAY)
    assert "honour_by" not in permit


def test_the_deadline_counts_from_receipt_and_is_never_taken_from_input() -> None:
    """A letter that lay for a day has one day less; a deadline that somebody states is not believed."""
    [entry] = told(said(received_at=instant(MONDAY - DAY), honour_by="2030-01-01"))
    assert entry["honour_by"] == instant(honour_by(MONDAY - DAY))


@pytest.mark.parametrize(
    ("received", "zone", "due"),
    [
        ("2026-11-23T09:00:00Z", None, "2026-12-07T09:00:00Z"),  # a Monday, with Thanksgiving in between
        ("2026-11-27T09:00:00Z", None, "2026-12-11T09:00:00Z"),  # a Friday
        ("2026-11-28T09:00:00Z", None, "2026-12-11T09:00:00Z"),  # a Saturday: as from the Friday before
        ("2026-11-29T09:00:00Z", None, "2026-12-11T09:00:00Z"),  # a Sunday
        ("2026-11-23T01:00:00Z", "America/New_York", "2026-12-05T01:00:00Z"),  # there it is still Sunday evening
        ("2026-11-23T01:00:00Z", "Asia/Tokyo", "2026-12-07T01:00:00Z"),
        ("2027-03-05T15:00:00Z", "America/New_York", "2027-03-19T14:00:00Z"),  # clocks go forward: ten in the morning
    ],
)
def test_ten_business_days(received: str, zone: str | None, due: str) -> None:
    """Monday to Friday in the person's zone, the day of receipt not counted, public holidays counted."""
    assert honour_by(micros(received), zone) == micros(due)


def test_ten_business_days_are_ten_from_every_day_of_a_month() -> None:
    """Counted day by day as a clerk would, the deadline falls on the tenth business day."""
    for day in range(28):
        received = MONDAY + day * DAY
        days = [received + number * DAY for number in range(1, 20)]
        business = [at for at in days if datetime.fromtimestamp(at / 1e6, UTC).weekday() < 5]
        assert honour_by(received) == business[9]


def test_repeating_what_is_in_force_adds_nothing() -> None:
    """Who says STOP five times has said it once; the first receipt and its deadline stand."""
    history = told(*[said(scope={"channel": "SMS"})] * 5)
    assert [(entry["seq"], entry["received_at"]) for entry in history] == [(1, instant(MONDAY))]


@pytest.mark.parametrize(
    "other",
    [
        said("PERMIT", scope={"channel": "SMS"}),
        said(scope={"channel": "VOICE"}),
        said(scope={"channel": "SMS", "purpose": "BILLING"}),
        said(),
        said(scope={"channel": "SMS"}, giver={"role": "GUARDIAN"}),
        said(scope={"channel": "SMS"}, effective_from=instant(MONDAY - DAY)),
    ],
)
def test_what_is_not_the_same_is_appended(other: dict[str, Any]) -> None:
    """Another decision, scope, giver or an earlier beginning is another directive."""
    history = told(said(scope={"channel": "SMS"}), other)
    assert [entry["seq"] for entry in history] == [1, 2]


def test_what_was_answered_in_between_is_appended_again() -> None:
    """STOP, then a permission for reminders, then STOP: without the third the permission would still beat the first."""
    stop = said(scope={"channel": "SMS"})
    permit = said("PERMIT", scope={"channel": "SMS", "purpose": "APPOINTMENT_REMINDER"})
    assert [entry["decision"] for entry in told(stop, permit, stop)] == ["DENY", "PERMIT", "DENY"]
    assert [entry["decision"] for entry in told(permit, said(), permit)] == ["PERMIT", "DENY", "PERMIT"]


def test_what_is_about_something_else_answers_nothing() -> None:
    """A permission of letters between two equal STOPs leaves the second a repetition."""
    stop = said(scope={"channel": "SMS"})
    assert len(told(stop, said("PERMIT", scope={"channel": "LETTER"}), stop)) == 2


def test_what_has_ended_is_no_repetition() -> None:
    """A pause that is over, or shorter than the new one, covers nothing; a shorter one within it does."""
    pause = said(effective_to=instant(MONDAY + 2 * HOUR))
    assert len(told(pause, said())) == 2
    assert len(told(said(), pause)) == 1
    assert len(told(pause, pause)) == 1


def test_better_evidence_of_a_permission_is_appended() -> None:
    """A confirmation, or agreement to another wording, is news; the same wording again is not."""
    asked = said("PERMIT", capture={"wording_id": "texts", "wording_version": "1"})
    newer = said("PERMIT", capture={"wording_id": "texts", "wording_version": "2"})
    confirmed = {**newer, "confirmed_at": instant(MONDAY)}
    assert len(told(asked, asked, newer, newer, confirmed, newer)) == 3


@pytest.mark.parametrize(
    ("directive", "expected"),
    [
        (said("MAYBE"), ("input.decision", "unknown_code")),
        ({"scope": {}}, ("input.decision", "missing")),
        (said(scope={"channel": "PIGEON"}), ("input.scope.channel", "unknown_code")),
        (said(colour="red"), ("input", "unknown_field")),
        (said(effective_to=instant(MONDAY)), ("input.effectiveTo", "period_order")),
        (said(capture={"at": instant(MONDAY + 1)}), ("input.capture.at", "future")),
        (said(received_at=instant(MONDAY + 1)), ("input.receivedAt", "future")),
        (said("PERMIT", confirmed_at=instant(MONDAY + 1)), ("input.confirmedAt", "future")),
        (said("PERMIT", effective_from=instant(MONDAY + 1)), ("input.effectiveFrom", "future")),
        (said(note="x" * 4001), ("input.note", "too_long")),
    ],
)
def test_refusals(directive: dict[str, Any], expected: tuple[str, str]) -> None:
    """Each names the place and the rule, and quotes nothing."""
    assert refusal(directive) == expected


def test_a_denial_may_begin_later() -> None:
    """`Not after the first of the month` is a prohibition that waits."""
    [entry] = told(said(effective_from=instant(MONDAY + DAY)))
    assert entry["effective_from"] == instant(MONDAY + DAY)


def test_an_id_is_used_once() -> None:
    """Who brings an id that the record has is refused, even with the same words."""
    history = told(said(id="a-1"))
    assert refusal(said(id="a-1", scope={"channel": "SMS"}), history) == ("input.id", "duplicate")


def test_several_at_once_are_counted_on() -> None:
    """One call may append several, which repeat each other no more than anything else."""
    sms, voice = said(scope={"channel": "SMS"}), said(scope={"channel": "VOICE"})
    assert [entry["seq"] for entry in appended([], [sms, voice, sms], MONDAY)] == [1, 2]


def test_a_full_history_still_takes_denials() -> None:
    """Permissions end at four fifths of the limit; the last places are for who wants to be left alone."""
    history = told(*(said("PERMIT", scope={"sender": f"s{number}"}) for number in range(400)), step=1)
    assert len(history) == 400
    assert refusal(said("PERMIT"), history, MONDAY + DAY) == ("input", "too_many")
    for number in range(100):
        history = appended(history, [said(scope={"sender": f"s{number}"})], MONDAY + DAY)
    assert len(history) == MOST_DIRECTIVES
    assert refusal(said(), history, MONDAY + DAY) == ("input", "too_many")


def test_who_speaks_for_somebody_cannot_fill_their_history() -> None:
    """Each other giver has a fifth; none of them, nor all together, takes the last fifth from the patient's denials."""
    givers = [{"role": "LASTING_POWER_OF_ATTORNEY"}, {"role": "OTHER", "related_person_id": "r1"},
              {"role": "OTHER", "related_person_id": "r2"}, {"role": "PARENT"}]  # fmt: skip
    history: History = []
    for giver in givers:
        for number in range(100):
            history = appended(history, [said(scope={"sender": f"s{number}"}, giver=giver)], MONDAY)
        if giver != givers[-1]:
            assert refusal(said(giver=giver), history) == ("input", "too_many")
            assert len(appended(history, [said("PERMIT")], MONDAY)) == len(history) + 1
    assert refusal(said(giver={"role": "GUARDIAN"}), history) == ("input", "too_many")
    assert refusal(said("PERMIT"), history) == ("input", "too_many")
    assert len(appended(history, [said()], MONDAY)) == 401


def test_a_confidential_communication_is_said_in_between() -> None:
    """STOP, a confidential communication, STOP: the second is news, for the first does not bind there any more."""
    stop = said(scope={"channel": "SMS"})
    history = told(stop)
    for channel, hours, expected in (("SMS", 1, 2), ("SMS", 0, 1), ("EMAIL", 1, 1), ("SMS", 3, 1)):
        confidential = {"id": "c1", "channel": channel, "set_at": instant(MONDAY + hours * HOUR)}
        after = appended(history, [stop], MONDAY + 2 * HOUR, confidential=confidential)
        assert len(after) == expected


@pytest.mark.parametrize(("stated", "effective"), [(-1, -2), (-2, -2), (-3, -3)])
def test_a_permission_takes_effect_no_later_than_it_was_said(stated: int, effective: int) -> None:
    """An old form does not beat a STOP by saying that it takes effect after it."""
    capture = {"at": instant(MONDAY - 2 * DAY)}
    [entry] = told(said("PERMIT", capture=capture, effective_from=instant(MONDAY + stated * DAY)))
    assert entry["effective_from"] == instant(MONDAY + effective * DAY)


def test_a_permission_by_message_covers_less() -> None:
    """The same words on a form are news after a message, and a message after a form is not."""
    form, message = said("PERMIT"), said("PERMIT", capture={"message_id": "SM-1"})
    assert len(told(message, form, form)) == 2
    assert len(told(form, message)) == 1


def test_a_permission_of_a_contact_point_is_for_its_number() -> None:
    """It is marked with the number of now; said again of another number it is news, and of the same it is not."""
    permit = said("PERMIT", scope={"contact_point_id": "c1"}, mark="beef")
    one, other = {"c1": "+447700900321"}, {"c1": "+447700900322"}
    history = appended([], [permit], MONDAY, ends=one)
    assert history[0]["mark"] == mark_of(history[0]["id"], "+447700900321")
    assert len(appended(history, [permit], MONDAY + HOUR, ends=one)) == 1
    assert len(appended(history, [permit], MONDAY + HOUR, ends=other)) == 2
    assert "mark" not in appended([], [said(scope={"contact_point_id": "c1"})], MONDAY, ends=one)[0]
    assert "mark" not in appended([], [permit], MONDAY)[0]


def test_a_history_of_long_notes_is_refused_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit in octets counts the whole history, and leaves a fifth of it to denials."""
    monkeypatch.setattr(consent_history, "MOST_OCTETS", 2_000)
    long = "x" * 1_500
    assert refusal(said("PERMIT", note=long)) == ("input", "too_large")
    assert len(told(said(note=long))) == 1
    assert refusal(said(note=long * 2)) == ("input", "too_large")
