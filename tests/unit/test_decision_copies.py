"""Who is told beside the patient, where and when, and who is left out."""

from dataclasses import replace
from typing import Any

import pytest

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.rules import PURPOSES, ContactRules, Sender
from crm.domain.times import micros
from tests.ladder import (
    AT,
    HOME,
    MAILBOX,
    MOBILE,
    ONE,
    RULES,
    TWO,
    asked,
    directive,
    relative,
    sender_of,
    somebody,
    telephone,
)

REMINDER = CommunicationPurpose.APPOINTMENT_REMINDER


def test_copies_in_order_and_as_each_needs() -> None:
    """Each in their own language, by their own contact points; who has none, or not as needed, is left out."""
    numbers = [{"system": "SMS", "value": f"+44770090050{last}"} for last in range(5)]
    people = [
        relative(id=TWO, name="Cleo", rank=2, contact_points=numbers[:1], languages=[{"tag": "cy"}]),
        relative(id=ONE, name="Ben", rank=1, contact_points=numbers[1:2]),
        relative(id=HOME, name="Dan"),
        relative(id=MAILBOX, name="Eve", contact_points=numbers[2:3], access_needs=[{"kind": "CONTACT_BY_LETTER"}]),
        relative(id=MOBILE, name="Fay", contact_points=numbers[3:4], period={"end": "2025"}),
    ]
    decision = asked(somebody(related_persons=people), sender=sender_of(Channel.SMS, ("en", "cy")))
    assert [(copy.salutation, copy.related_person_id, copy.language) for copy in decision.copies] == [
        ("Ben", ONE, "en"),
        ("Cleo", TWO, "cy"),
    ]
    assert decision.salutation == "Ada"
    assert "relatedPersons" in decision.disclosed


def test_a_copy_keeps_quiet_at_night() -> None:
    """The patient has a letter at any hour; nobody's telephone rings for the copy, unless it is an emergency."""
    other = relative(contact_points=[{"system": "SMS", "value": "+447700900555"}])
    sender = Sender("both", (Channel.LETTER, Channel.SMS))
    person = somebody(related_persons=[other], contact_points=[])
    night: dict[str, Any] = {"sender": sender, "now": micros("2026-11-18T23:00:00Z")}
    assert [asked(person, now=AT, sender=sender).copies == (), asked(person, **night).copies == ()] == [False, True]
    assert len(asked(person, "EMERGENCY", **night).copies) == 1
    unbound = {REMINDER: replace(PURPOSES[REMINDER], quiet_hours=False)}
    assert len(asked(person, **night, rules=ContactRules("contact:unbound", purposes=unbound)).copies) == 1


def test_an_answer_ends_with_the_hours_of_its_copy() -> None:
    """A letter may be sent at any hour, but the copy that goes with it until the telephone must be quiet."""
    other = relative(contact_points=[telephone(2, system="SMS")])
    person = somebody(related_persons=[other], contact_points=[])
    sender = Sender("both", (Channel.LETTER, Channel.SMS))
    decision = asked(person, sender=sender, rules=replace(RULES, lasting=24 * 60 * 60 * 1_000_000))
    assert (decision.channel, decision.expires_at) == (Channel.LETTER, micros("2026-11-18T21:00:00Z"))


@pytest.mark.parametrize(
    ("point", "copied"),
    [
        (telephone(1, system="SMS"), False),
        (telephone(1, capabilities=["VOICE"]), True),
        (telephone(2, system="SMS"), True),
    ],
)
def test_no_copy_to_where_the_message_goes(point: dict[str, Any], copied: bool) -> None:
    """The same number by the same channel is told once; who could be told elsewhere as well is not told twice."""
    elsewhere = {"id": TWO, "system": "EMAIL", "value": "ben@example.test", "rank": 9}
    person = somebody(related_persons=[relative(contact_points=[{**point, "rank": 1}, elsewhere])])
    sender = Sender("both", (Channel.SMS, Channel.VOICE, Channel.EMAIL), ("en",))
    decision = asked(person, sender=sender)
    assert decision.contact_point is not None
    assert decision.contact_point["value"] == "+447700900321"
    assert [copy.contact_point["id"] for copy in decision.copies] == ([ONE] if copied else [])
    assert ("relatedPersons" in decision.disclosed) is copied


def test_a_copy_to_where_the_stand_in_is_told() -> None:
    """Two relatives who share a number are two: each message names whom it is for."""
    people = [relative(id=name, contact=contact, contact_points=[telephone(2, id=None, system="SMS")])
              for name, contact in ((ONE, "INSTEAD"), (TWO, "BESIDE"))]  # fmt: skip
    decision = asked(somebody(related_persons=people))
    assert (decision.stand_in, [copy.related_person_id for copy in decision.copies]) == (ONE, [TWO])


def test_no_copy_without_a_contact_point() -> None:
    """The portal is the patient's own: a copy goes to a contact point of whoever has it, or is not made."""
    other = relative(contact_points=[])
    assert asked(somebody(related_persons=[other]), sender=sender_of(Channel.PORTAL)).copies == ()
    other = relative(contact_points=[telephone(2, system="SMS")])
    person = somebody(related_persons=[other], consents=[directive("DENY", contact_point_id=ONE)])
    assert asked(person, sender=Sender("both", (Channel.LETTER, Channel.SMS))).copies == ()
