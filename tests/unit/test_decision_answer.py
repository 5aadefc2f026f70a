"""What an answer of the contact decision says: in which words, to whom, for how long, and what it shows."""

from random import Random
from typing import Any

import pytest

from crm.domain.codes import Channel, CommunicationPurpose, Day
from crm.domain.decision import Outcome, Reason
from crm.domain.decision.rules import ContactRules, Sender
from crm.domain.decision.speech import serves
from crm.domain.times import day_after, instant, micros
from tests.ladder import (
    AT,
    EVERYTHING,
    MAILBOX,
    MOBILE,
    ONE,
    RULES,
    TWO,
    asked,
    canonical,
    directive,
    relative,
    sender_of,
    somebody,
    telephone,
)

MINUTE = 60 * 1_000_000
REMINDER = CommunicationPurpose.APPOINTMENT_REMINDER
ALWAYS_QUIET = {
    "days": [day.value for day in Day], "from": "00:00", "to": "24:00", "time_zone": "Europe/London", "quiet": True,
}  # fmt: skip
LONG = ContactRules("contact:long", lasting=400 * 24 * 60 * MINUTE, quiet_from=0, quiet_to=0)


# --- in which words --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offer", "wish", "does"),
    [
        ("en", "en", True),
        ("en", "en-GB", True),
        ("pt-BR", "pt", True),
        ("zh-hant", "zh-Hant-TW", True),
        ("en-US", "en-GB", False),
        ("zh-Hans", "zh-Hant", False),
        ("e", "en", False),
        ("fil", "fi", False),
    ],
)
def test_who_serves_whom(offer: str, wish: str, does: bool) -> None:
    """A wider language serves a narrower wish and the other way round; siblings do not serve each other."""
    assert serves((offer,), wish) is does
    assert serves((), wish)


@pytest.mark.parametrize(
    ("channel", "languages", "offered", "language", "fallback"),
    [
        ("SMS", [], ("cy", "en"), "cy", False),
        ("SMS", [], (), None, False),
        ("SMS", [{"tag": "so"}], (), "so", False),
        ("SMS", [{"tag": "bfi"}], ("en",), "en", True),
        ("SMS", [{"tag": "bfi"}], (), None, True),
        ("SMS", [{"tag": "so", "modes": ["SPOKEN"]}, {"tag": "en"}], ("so", "en"), "en", False),
        ("VOICE", [{"tag": "so", "modes": ["SPOKEN"]}, {"tag": "en"}], ("en", "so"), "en", False),
        ("VOICE", [{"tag": "so", "modes": ["SPOKEN"], "rank": 1}, {"tag": "en"}], ("en", "so"), "so", False),
        ("VOICE", [{"tag": "bfi", "modes": ["SPOKEN"]}], ("en", "bfi"), "en", True),
        ("IN_PERSON", [{"tag": "bfi"}, {"tag": "en", "rank": 2}], ("en", "bfi"), "en", False),
        ("IN_PERSON", [{"tag": "bfi", "preferred": True}, {"tag": "en", "rank": 1}], ("en", "bfi"), "bfi", False),
        ("IN_PERSON", [{"tag": "en", "modes": ["WRITTEN"]}], ("cy", "en"), "cy", True),
        ("SMS", [{"tag": "so", "rank": 2}, {"tag": "en", "rank": 1}], ("so", "en"), "en", False),
        ("SMS", [{"tag": "so"}, {"tag": "en"}], ("so", "en"), "en", False),
    ],
)
def test_the_language(
    channel: str, languages: list[Any], offered: tuple[str, ...], language: str | None, fallback: bool
) -> None:
    """By mode, then preferred, rank and tag; and the sender's own first where none is left."""
    decision = asked(somebody(languages=languages), sender=sender_of(Channel(channel), offered))
    assert decision.language == language
    assert (Reason.LANGUAGE_FALLBACK in decision.reasons) is fallback
    assert ("languages" in decision.disclosed) is (bool(languages) and not fallback)


@pytest.mark.parametrize(("offered", "language"), [(("en", "so"), "so"), ((), "so"), (("en",), "en")])
def test_a_confidential_language(offered: tuple[str, ...], language: str) -> None:
    """It goes before the others, if the sender has it."""
    confidential = {"channel": "SMS", "value": "+447700900999", "language": "so", "set_at": "2026-05-02"}
    decision = asked(somebody(confidential_communication=confidential), sender=sender_of(Channel.SMS, offered))
    assert decision.language == language


@pytest.mark.parametrize("channel", ["VOICE", "IN_PERSON"])
def test_speech_has_no_format(channel: str) -> None:
    """Nobody speaks Braille, so nothing falls short."""
    person = somebody(accessible_formats=["BRAILLE"])
    decision = asked(person, sender=sender_of(Channel(channel), formats=frozenset()))
    assert (decision.format, decision.unmet, decision.reasons) == ("STANDARD", (), (Reason.OK,))


def test_a_sender_of_any_format() -> None:
    """Where nobody said what a sender can do, it is trusted with what the person needs first."""
    decision = asked(somebody(accessible_formats=["BRAILLE", "EASY_READ"]), sender=sender_of(Channel.EMAIL))
    assert decision.format == "BRAILLE"
    assert "accessibleFormats" in decision.disclosed


# --- to whom ---------------------------------------------------------------------------------------------------------


def test_a_stand_in_with_everything_of_their_own() -> None:
    """Contact points, language, format and needs are the stand-in's; nothing of the patient's is shown."""
    other = relative(
        contact="INSTEAD",
        contact_points=[{"system": "EMAIL", "value": "ben@example.test"}],
        languages=[{"tag": "so"}],
        accessible_formats=["EASY_READ"],
        access_needs=[{"kind": "CONTACT_BY_EMAIL"}],
    )
    person = somebody(related_persons=[other], access_needs=[{"kind": "CONTACT_VIA_CARER"}])
    decision = asked(person, sender=sender_of(Channel.EMAIL, ("so",)))
    assert decision.contact_point == person["related_persons"][0]["contact_points"][0]
    assert (decision.stand_in, decision.salutation, decision.language, decision.format) == (
        ONE,
        "Ben",
        "so",
        "EASY_READ",
    )
    assert (decision.unmet, decision.disclosed) == ((), frozenset({"relatedPersons"}))


@pytest.mark.parametrize("out", [{"period": {"end": "2026-11-17"}}, {"purposes": ["BILLING"]}, {"contact": "NONE"}])
def test_nobody_stands_in_out_of_their_scope(out: dict[str, Any]) -> None:
    """Outside of period or purposes, or by another role, the patient is contacted."""
    person = somebody(related_persons=[relative(**{"contact": "INSTEAD", **out})])
    assert asked(person).stand_in is None


# --- for how long, and what is shown ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("person", "expires"),
    [
        ({}, AT + LONG.lasting),
        ({"consents": [directive("DENY", since="2026-12-24", purpose="BILLING")]}, micros("2026-12-24")),
        ({"consents": [directive("PERMIT", until="2026-12-25"), directive("PERMIT", seq=2)]}, micros("2026-12-25")),
        ({"consents": [directive("PERMIT", since="2026-12-24")]}, AT + LONG.lasting),
        (
            {
                "related_persons": [relative(contact_points=[telephone(2, system="SMS")])],
                "consents": [directive("PERMIT", until="2026-12-26", contact_point_id=ONE)],
            },
            micros("2026-12-26"),
        ),
        ({"consents": [directive("PERMIT", until="2026-12-25", channel="EMAIL")]}, AT + LONG.lasting),
        ({"contact_points": [telephone(system="SMS", period={"end": "2026-11-20"})]}, micros("2026-11-21")),
        ({"contact_points": [telephone(system="SMS", period={"end": "2026-11"})]}, micros("2026-12-01")),
        ({"contact_points": [telephone(system="SMS", period={"end": "2026"})]}, micros("2027-01-01")),
        (
            {"contact_points": [telephone(system="SMS", period={"end": "2026-11-20T08:00:00Z"})]},
            micros("2026-11-21"),
        ),
        (
            {
                "related_persons": [
                    relative(contact="INSTEAD", contact_points=[telephone()], period={"end": "2026-11-19"})
                ]
            },
            micros("2026-11-20"),
        ),
        (
            {"related_persons": [relative(contact_points=[telephone(2, system="SMS")], period={"end": "2026-11-19"})]},
            micros("2026-11-20"),
        ),
        (
            {"related_persons": [relative(contact_points=[telephone(2, system="SMS", period={"end": "2026-11-18"})])]},
            micros("2026-11-19"),
        ),
        (
            {"contact_windows": [{"days": ["WED"], "from": "11:00", "to": "12:30", "time_zone": "Europe/London"}]},
            AT + 30 * MINUTE,
        ),
    ],
)
def test_until_when_an_answer_holds(person: dict[str, Any], expires: int) -> None:
    """The first moment at which it might be another, or as long as the organisation said."""
    decision = asked(somebody(**person), sender=Sender("s", (Channel.SMS, Channel.VOICE), ("en",)), rules=LONG)
    assert decision.outcome is Outcome.ALLOW
    assert decision.expires_at is not None
    assert instant(decision.expires_at) == instant(expires)


def test_a_refusal_holds_for_a_while_and_a_deferral_until_its_time() -> None:
    """DENY and MANUAL last as long as the rules say; DEFER until it is permitted, if that is ever."""
    assert asked(somebody(), status="merged").expires_at == AT + RULES.lasting
    decision = asked(somebody(contact_windows=[ALWAYS_QUIET]))
    assert (decision.outcome, decision.next_permitted_at) == (Outcome.DEFER, None)
    assert decision.expires_at == AT + RULES.lasting


def test_the_day_after_a_bound() -> None:
    """Partial dates end with their last day, leap years and ends of years too."""
    assert [instant(day_after(end))[:10] for end in ("2028-02", "2026", "2026-12-31", "2026-02-28T23:00:00-05:00")] == [
        "2028-03-01", "2027-01-01", "2027-01-01", "2026-03-01",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("person", "purpose", "outcome"),
    [
        ({"contact_points": []}, "APPOINTMENT_REMINDER", Outcome.DENY),
        ({"access_needs": [{"kind": "CONTACT_BY_LETTER"}]}, "APPOINTMENT_REMINDER", Outcome.MANUAL),
        (
            {"contact_windows": [{"days": ["FRI"], "from": "08:00", "to": "09:00", "time_zone": "Europe/London"}]},
            "APPOINTMENT_REMINDER",
            Outcome.DEFER,
        ),
    ],
)
def test_what_is_not_allowed_shows_nothing(person: dict[str, Any], purpose: str, outcome: Outcome) -> None:
    """No contact point, no name, no language: nobody needs them for a message that is not sent."""
    other = relative(contact_points=[telephone(2, system="SMS")])
    decision = asked(somebody(related_persons=[other], **person), purpose)
    assert decision.outcome is outcome
    shown = (decision.contact_point, decision.address, decision.channel, decision.language, decision.format)
    assert (*shown, decision.salutation, decision.stand_in, decision.copies) == (None,) * 7 + ((),)


def test_the_way_that_waits_comes_first() -> None:
    """A deferral names the way that it would choose, with the reason why it waits."""
    decision = asked(somebody(), now=micros("2026-11-18T23:00:00Z"))
    assert decision.considered == (
        (Channel.SMS, MOBILE, Reason.QUIET_HOURS_DEFAULT),
        (Channel.EMAIL, MAILBOX, Reason.OK),
    )


def _shuffled(value: Any, random: Random) -> Any:
    """`value` with the rows of each list in another order; lists of codes are left alone."""
    if isinstance(value, dict):
        return {key: _shuffled(of, random) for key, of in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return random.sample([_shuffled(row, random) for row in value], len(value))
    return value


@pytest.mark.parametrize("purpose", ["APPOINTMENT_REMINDER", "SURVEY", "EMERGENCY", "BILLING"])
def test_rows_in_any_order(purpose: str) -> None:
    """Somebody with several rows of everything: the answer is the same however they are ordered."""
    numbers = [{"system": "SMS", "value": f"+44770090060{last}"} for last in range(6)]
    person = canonical(
        {
            "contact_points": [*numbers, telephone(capabilities=["SMS"], period={"end": "2020"})],
            "addresses": [{"use": "HOME"}, {"use": "HOME"}, {"use": "WORK"}],
            "languages": [{"tag": "so"}, {"tag": "cy"}, {"tag": "en"}],
            "access_needs": [{"kind": "CONTACT_BY_SMS"}, {"kind": "CONTACT_BY_LETTER"}],
            "related_persons": [relative(id=ONE, contact_points=numbers), relative(id=TWO, contact_points=numbers)],
            "consents": [directive("PERMIT"), directive("DENY", seq=2, channel="EMAIL")],
            "restrictions": [
                {"kind": "CONTACT", "basis": "LAW", "channels": [channel], "placed_by": "o", "placed_at": "2026-01-01"}
                for channel in ("FAX", "CHAT")
            ],
            "contact_windows": [
                {"days": ["WED"], "from": "08:00", "to": end, "time_zone": "Europe/London"}
                for end in ("17:00", "19:00")
            ],
        }
    )
    expected = asked(person, purpose, sender=EVERYTHING)
    assert expected.outcome is Outcome.ALLOW
    for seed in range(20):
        assert asked(_shuffled(person, Random(seed)), purpose, sender=EVERYTHING) == expected
