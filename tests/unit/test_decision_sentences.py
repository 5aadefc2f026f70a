"""How decisions read: what staff are told to do, why, by whom each way is closed, and in words instead of codes."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crm.domain.codes import Channel
from crm.domain.decision import Outcome, Reason, explained
from crm.domain.decision.rules import Sender
from crm.domain.decision.words import format_name, language_name, local_time, need_name
from crm.domain.need_codes import AccessibleFormat
from crm.domain.times import micros
from tests.ladder import MOBILE, ONE, PARENT, TWO, asked, directive, relative, sender_of, somebody, telephone

PAGE = (Path(__file__).resolve().parents[2] / "docs/contact-decisions.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"(?:^> .+\n)+", PAGE.partition("## As sentences")[2].partition("\n## ")[0], re.MULTILINE)
NIGHT = micros("2026-11-18T23:00:00Z")
MESSAGE = {"kind": "UNCLEAR", "message_id": "SM-1", "gateway": "texts", "channel": "SMS", "text": "not now please",
           "received_at": "2026-11-01"}  # fmt: skip
PLAYED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {
            "accessible_formats": ["BRAILLE"],
            "channel_preferences": [{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS"]}],
            "consents": [directive("DENY", channel="SMS", giver=PARENT)],
        },
        {},
    ),
    ({"time_zone": "America/New_York"}, {"now": micros("2026-11-24T10:00:00Z")}),
    ({"suspensions": [MESSAGE]}, {}),
]


@pytest.mark.parametrize("number", range(3))
def test_the_examples_of_the_page(number: int) -> None:
    """What the page shows is what staff are told."""
    person, question = PLAYED[number]
    shown = [line.removeprefix("> ") for line in EXAMPLES[number].splitlines()]
    assert explained(asked(somebody(**person), **question)) == shown
    assert len(EXAMPLES) == len(PLAYED)


def _told(person: dict[str, Any], **question: Any) -> list[str]:
    return explained(asked(person, **question))


@pytest.mark.parametrize(
    ("more", "question", "why"),
    [
        ({"consents": [directive("DENY")]}, {}, "the person themself said no to it"),
        ({"consents": [directive("DENY", giver=PARENT)]}, {},
         "a related person, or somebody who acts for the person, said no to it"),
        ({"consents": [directive("DENY", giver=PARENT), directive("DENY", seq=2, channel="SMS")]}, {},
         "the person themself said no to it"),
        ({"consents": [directive("DENY"), directive("PERMIT", seq=2, since="2026-06-01"),
                       directive("DENY", seq=3, since="2026-07-01", giver=PARENT)]}, {},
         "a related person, or somebody who acts for the person, said no to it"),
        ({"contact_points": [telephone(capabilities=["SMS"], text_permitted="NO")]}, {},
         "the person wants no texts at this number"),
        ({}, {"suppressed": frozenset({"+447700900321"})}, "a message from there said stop"),
    ],
)  # fmt: skip
def test_who_said_no(more: dict[str, Any], question: dict[str, Any], why: str) -> None:
    """The patient, somebody for them, or a message from the number; said once, of the channel that it is about."""
    told = _told(somebody(**more), channels=[Channel.SMS], **question)
    assert told == ["Do not contact the person.", f"Not by text message: {why}."]


def test_an_objection_to_one_of_two_numbers() -> None:
    """Each way is told, the same words about the same channel once."""
    points = [telephone(last, id=name, capabilities=["SMS"]) for last, name in ((1, MOBILE), (2, ONE), (3, TWO))]
    said = [directive("DENY", contact_point_id=MOBILE), directive("DENY", seq=2, contact_point_id=ONE, giver=PARENT)]
    told = _told(somebody(contact_points=points, consents=said), sender=sender_of(Channel.SMS))
    assert told == [
        "Contact the person now by text message, in English.",
        "Not by text message: the person themself said no to it.",
        "Not by text message: a related person, or somebody who acts for the person, said no to it.",
    ]


def test_what_is_sent_to_whom() -> None:
    """The confidential way, somebody in the person's place, a copy, and the format."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "language": "cy", "set_at": "2026-05-02"}
    sender = Sender("s", (Channel.SMS, Channel.EMAIL), ("cy", "en"))
    assert _told(somebody(confidential_communication=confidential), sender=sender) == [
        "Contact the person now by e-mail, in Welsh, and in no other way: they asked for this one in confidence."
    ]
    other = relative(contact_points=[telephone(2, system="SMS")])
    assert _told(somebody(related_persons=[{**other, "contact": "INSTEAD"}]), channels=[Channel.SMS]) == [
        "Contact somebody else in the person's place now, by text message, in English."
    ]
    person = somebody(related_persons=[other], accessible_formats=["EASY_READ"], languages=[])
    assert _told(person, sender=sender_of(Channel.SMS, ())) == [
        "Contact the person now by text message, as easy read.",
        "Send a copy to one more person, by text message.",
    ]
    two = [other, {**relative(contact_points=[telephone(3, id=TWO, system="SMS")]), "id": TWO}]
    assert _told(somebody(related_persons=two), channels=[Channel.SMS])[1] == (
        "Send a copy to 2 more people, by text message."
    )


def test_what_is_needed() -> None:
    """Methods of contact and formats in words; a conflict is told besides."""
    person = somebody(access_needs=[{"kind": "CONTACT_BY_SMS"}, {"kind": "CONTACT_VIA_CARER"}],
                      consents=[directive("DENY", channel="SMS")])  # fmt: skip
    assert _told(person) == [
        "Do not contact the person before a member of staff has decided how.",
        "The person needs a method of contact that a refusal or a restriction forbids.",
        "Needed, and not met: contact by text message, contact through a carer. See to it by hand.",
        "Not by text message: the person themself said no to it.",
        "It would also be possible by e-mail.",
    ]


def test_a_way_that_is_closed_where_the_ways_are_not_told() -> None:
    """Senders hear why a better way is closed, and not by whom; and a refusal as such."""
    wish = [{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS"]}]
    decision = asked(somebody(channel_preferences=wish, consents=[directive("DENY", channel="SMS")]))
    assert explained(replace(decision, considered=())) == [
        "Contact the person now by e-mail, in English.",
        "A way that the person would like better is closed: somebody said no to it.",
    ]
    decision = asked(somebody(consents=[directive("DENY")]))
    assert explained(replace(decision, considered=())) == [
        "Do not contact the person.",
        "The person said no to this contact, or somebody who speaks for them.",
    ]


def test_when_to_ask_again() -> None:
    """On the person's clocks where their zone is known, else in UTC; or never, as far as is known."""
    again = "Do not contact the person now. Ask again from Thursday 19 November, 08:00 "
    assert _told(somebody(), now=NIGHT)[0] == again + "in London."
    assert _told(somebody(time_zone=None), now=NIGHT)[0] == again + "UTC."
    week = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"]
    always = {"days": week, "from": "00:00", "to": "24:00", "time_zone": "UTC", "quiet": True}
    assert _told(somebody(contact_windows=[always]))[0] == (
        "Do not contact the person now. No time is known at which it will be."
    )


def test_the_zone_is_told_only_with_a_time() -> None:
    """Who is answered otherwise does not learn where the person lives; nor is a zone told that nobody here knows."""
    assert (asked(somebody()).zone, asked(somebody(), status="merged").zone) == (None, None)
    deferred = asked(somebody(), now=NIGHT)
    assert (deferred.outcome, deferred.zone) == (Outcome.DEFER, "Europe/London")
    assert deferred.disclosed == {"timeZone"}
    newer = {**somebody(), "time_zone": "Europe/Atlantis"}
    assert (asked(newer, now=NIGHT).zone, asked(newer, now=NIGHT).disclosed) == (None, frozenset())


def test_no_codes_in_words() -> None:
    """Formats, needs, languages and places as people call them; a language without a name is told by its tag."""
    names = [format_name(each) for each in AccessibleFormat]
    assert len(set(names)) == len(names)
    assert not [name for name in names if "_" in name or name.isupper()]
    assert need_name("CONTACT_BY_LETTER") == "contact by letter"
    assert [language_name(tag) for tag in ("cy", "zh-Hant", "bfi", "qaa")] == [
        "Welsh", "Chinese (Traditional)", "British Sign Language", "language qaa",
    ]  # fmt: skip
    assert local_time(micros("2026-11-24T13:00:00Z"), "America/Argentina/Buenos_Aires") == (
        "Tuesday 24 November, 10:00 in Buenos Aires"
    )


def test_every_reason_of_a_way_has_words() -> None:
    """Whatever closes a way can be told of it."""
    decision = asked(somebody(), status="merged")
    for reason in (Reason.LEGAL_RESTRICTION, Reason.OPTED_OUT, Reason.CONSENT_EXPIRED, Reason.CONSENT_UNKNOWN,
                   Reason.CONTACT_POINT_UNVERIFIED, Reason.CONTACT_POINT_UNDELIVERABLE, Reason.CONTACT_POINT_EXPIRED,
                   Reason.NO_USABLE_CONTACT_POINT, Reason.QUIET_HOURS_LEGAL, Reason.QUIET_HOURS_PATIENT,
                   Reason.QUIET_HOURS_DEFAULT):  # fmt: skip
        for channel in Channel:
            told = explained(replace(decision, considered=((channel, None, reason),)))[-1]
            assert re.fullmatch(r"Not (by|in) [a-z -]+: .+\.", told)
