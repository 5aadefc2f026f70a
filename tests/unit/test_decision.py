"""By which ways somebody can be contacted: what carries a channel, which of several is best, what binds and forbids."""

from typing import Any

import pytest

from crm.domain.codes import Channel
from crm.domain.decision import Outcome, Reason
from tests.ladder import (
    MAILBOX,
    NOON,
    ONE,
    TWO,
    asked,
    canonical,
    directive,
    sender_of,
    somebody,
    telephone,
)

# --- where -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "point", "carries"),
    [
        ("SMS", {"system": "SMS"}, True),
        ("SMS", {"capabilities": ["SMS"]}, True),
        ("SMS", {"capabilities": ["VOICE"]}, False),
        ("VOICE", {"capabilities": ["VOICE"]}, True),
        ("VOICE", {"capabilities": []}, True),
        ("VOICE", {"capabilities": ["SMS"]}, False),
        ("VOICE", {"system": "SMS"}, False),
        ("EMAIL", {"system": "EMAIL", "value": "a@example.test"}, True),
        ("EMAIL", {}, False),
        ("FAX", {"system": "FAX"}, True),
        ("FAX", {"capabilities": ["FAX"]}, True),
        ("FAX", {}, False),
        ("TEXTPHONE", {"capabilities": ["TTY"]}, True),
        ("TEXTPHONE", {"system": "OTHER", "capabilities": ["TTY"]}, True),
        ("TEXTPHONE", {"system": "SMS", "capabilities": ["TTY"]}, False),
        ("PUSH", {"system": "OTHER"}, True),
        ("CHAT", {"system": "URL", "value": "xmpp:a@example.test"}, True),
        ("CHAT", {}, False),
        ("SMS", {"system": "PAGER"}, False),
        ("LETTER", {}, False),
    ],
)
def test_a_contact_point_carries_what_it_can(channel: str, point: dict[str, Any], carries: bool) -> None:
    """The system and the capabilities of a contact point say which channels end at it."""
    person = somebody(contact_points=[telephone(**point)], addresses=[])
    decision = asked(person, sender=sender_of(Channel(channel)))
    if carries:
        assert (decision.outcome, decision.contact_point) == (Outcome.ALLOW, person["contact_points"][0])
    else:
        assert decision.reasons == (Reason.NO_USABLE_CONTACT_POINT,)


@pytest.mark.parametrize(
    ("channel", "point", "leads"),
    [
        ("VOICE", {"system": "PHONE", "value": "ask at the desk", "capabilities": ["VOICE"]}, False),
        ("VOICE", {"system": "PHONE", "value": "0113 496 0000", "capabilities": []}, False),
        ("VOICE", {"system": "PHONE", "value": "+44 7700 see notes", "capabilities": ["VOICE"]}, False),
        ("VOICE", {"system": "PHONE", "value": "+", "capabilities": ["VOICE"]}, False),
        ("VOICE", {"system": "PHONE", "value": "+441134960000", "capabilities": ["VOICE"]}, True),
        ("SMS", {"system": "SMS", "value": "as above"}, False),
        ("FAX", {"system": "FAX", "value": "as above"}, False),
        ("TEXTPHONE", {"system": "OTHER", "value": "relay 18001", "capabilities": ["TTY"]}, True),
        ("EMAIL", {"system": "EMAIL", "value": "none"}, False),
        ("EMAIL", {"system": "EMAIL", "value": "ada@example.test"}, True),
        ("CHAT", {"system": "URL", "value": "ada"}, True),
    ],
)
def test_what_an_import_kept_may_lead_nowhere(channel: str, point: dict[str, Any], leads: bool) -> None:
    """Text in the place of a number or mailbox is nowhere to send to; other systems have forms of their own."""
    person = canonical({"contact_points": [{"id": ONE, **point}]}, lenient=True)
    decision = asked(person, sender=sender_of(Channel(channel)))
    assert decision.reasons == ((Reason.OK,) if leads else (Reason.NO_USABLE_CONTACT_POINT,))
    assert decision.considered == (() if leads else ((Channel(channel), ONE, Reason.NO_USABLE_CONTACT_POINT),))


@pytest.mark.parametrize("channel", ["PORTAL", "IN_PERSON"])
def test_some_channels_end_at_no_contact_point(channel: str) -> None:
    """The portal and a conversation need none, and show none."""
    decision = asked(somebody(contact_points=[]), "TEST_RESULT", sender=sender_of(Channel(channel)))
    assert (decision.outcome, decision.contact_point, decision.address) == (Outcome.ALLOW, None, None)
    assert decision.disclosed == {"displayName", "languages"}


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"rank": 1}, {"rank": 2, "verification": {"status": "VERIFIED"}}),
        ({"rank": 9}, {}),
        ({"verification": {"status": "VERIFIED"}}, {"use": "MOBILE"}),
        ({"use": "MOBILE"}, {"use": "HOME"}),
        ({"use": "HOME"}, {"use": "WORK"}),
        ({"id": ONE}, {"id": TWO}),
    ],
)
def test_the_better_contact_point_of_a_channel(better: dict[str, Any], worse: dict[str, Any]) -> None:
    """Rank, then verified, then where it is, then the id; the place in the list says nothing."""
    points = [telephone(1, capabilities=["SMS"], **{"id": TWO, **better}), telephone(2, capabilities=["SMS"], **worse)]
    if worse.get("id") is None:
        points[1]["id"] = ONE
    for rows in (points, points[::-1]):
        chosen = asked(somebody(contact_points=rows), sender=sender_of(Channel.SMS)).contact_point
        assert chosen is not None
        assert chosen["value"] == "+447700900321"


@pytest.mark.parametrize(
    ("better", "worse"),
    [({"rank": 1}, {}), ({"verification": {"status": "VERIFIED"}}, {"use": "MOBILE"}), ({"id": ONE}, {"id": TWO})],
)
def test_the_better_mailbox(better: dict[str, Any], worse: dict[str, Any]) -> None:
    """As with telephones, but where it is used says nothing."""
    points = [
        {"id": TWO, "system": "EMAIL", "value": "better@example.test", **better},
        {"id": ONE, "system": "EMAIL", "value": "worse@example.test", **worse},
    ]
    for rows in (points, points[::-1]):
        chosen = asked(somebody(contact_points=rows), sender=sender_of(Channel.EMAIL)).contact_point
        assert chosen is not None
        assert chosen["value"] == "better@example.test"


@pytest.mark.parametrize(
    ("purpose", "uses", "chosen"),
    [
        ("BILLING", ["HOME", "TEMP", "BILLING"], "BILLING"),
        ("APPOINTMENT_REMINDER", ["BILLING", None, "WORK", "HOME", "TEMP"], "TEMP"),
        ("APPOINTMENT_REMINDER", ["BILLING", None, "WORK", "HOME"], "HOME"),
        ("APPOINTMENT_REMINDER", ["BILLING", None, "WORK"], "WORK"),
        ("APPOINTMENT_REMINDER", ["BILLING", None], None),
        ("APPOINTMENT_REMINDER", ["OLD", "BILLING"], "BILLING"),
    ],
)
def test_where_letters_go(purpose: str, uses: list[str | None], chosen: str | None) -> None:
    """The address by its use and the purpose."""
    person = somebody(addresses=[{"city": "Leeds", **({"use": use} if use else {})} for use in uses])
    address = asked(person, purpose, sender=sender_of(Channel.LETTER)).address
    assert address is not None
    assert address.get("use") == chosen


def test_no_letters_to_old_or_physical_addresses() -> None:
    """Neither is somewhere to send to, and the reasons tell one from the other."""
    old = somebody(addresses=[{"use": "OLD"}])
    assert asked(old, sender=sender_of(Channel.LETTER)).reasons == (Reason.CONTACT_POINT_EXPIRED,)
    house = somebody(addresses=[{"use": "HOME", "type": "PHYSICAL"}])
    assert asked(house, sender=sender_of(Channel.LETTER)).reasons == (Reason.NO_USABLE_CONTACT_POINT,)


# --- what binds, and what waits --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restriction", "binds"),
    [
        ({}, True),
        ({"until": "2026-11-18T12:00:00.000001Z"}, True),
        ({"until": NOON}, False),
        ({"purposes": ["BILLING"]}, False),
        ({"lifted_by": "officer", "lifted_at": "2026-06-01"}, False),
        ({"kind": "RECORD"}, False),
    ],
)
def test_restrictions(restriction: dict[str, Any], binds: bool) -> None:
    """One of contact that is about the purpose, until it ends or is lifted."""
    row = {"kind": "CONTACT", "basis": "LAW", "placed_by": "officer", "placed_at": "2026-05-01", **restriction}
    decision = asked(somebody(restrictions=[row]))
    assert decision.reasons == ((Reason.LEGAL_RESTRICTION,) if binds else (Reason.OK,))


@pytest.mark.parametrize(
    ("purpose", "more", "waits"),
    [
        ("APPOINTMENT_REMINDER", {}, True),
        ("EMERGENCY", {}, False),
        ("APPOINTMENT_REMINDER", {"verdict": "NOT_STOP"}, False),
        ("APPOINTMENT_REMINDER", {"kind": "OPT_IN_REQUEST"}, False),
    ],
)
def test_messages_that_nobody_has_read(purpose: str, more: dict[str, Any], waits: bool) -> None:
    """An unclear one stops everything but emergencies until it has a verdict; a wish for more stops nothing."""
    message = {
        "kind": "UNCLEAR", "message_id": "SM-1", "gateway": "texts", "channel": "SMS", "text": "Hm.",
        "received_at": "2026-11-01", **more,
    }  # fmt: skip
    assert (asked(somebody(suspensions=[message]), purpose).outcome is Outcome.MANUAL) is waits


@pytest.mark.parametrize(
    ("use", "reason"), [("COC", Reason.OK), ("HMARKT", Reason.RESTRICTED_RECORD), ("", Reason.RESTRICTED_RECORD)]
)
def test_who_asks_for_no_good_purpose_hears_of_no_restricted_record(use: str, reason: Reason) -> None:
    """A confidential communication opens one only to whoever may ask; else they would hear that it is there."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-02"}
    person = somebody(confidential_communication=confidential)
    assert asked(person, use=use, restricted=True).reasons[0] is reason
    assert asked(person, use="HMARKT", restricted=True, reach=True).reasons == (Reason.PURPOSE_OF_USE_MISMATCH,)


@pytest.mark.parametrize(
    ("more", "outcome"),
    [
        ({"consents": [directive("DENY")]}, Outcome.DENY),
        ({"consents": [directive("DENY", channel="SMS")]}, Outcome.MANUAL),
        ({"restrictions": [{"kind": "CONTACT", "basis": "LAW", "channels": ["SMS", "EMAIL"], "placed_by": "o",
                            "placed_at": "2026-01-01"}]}, Outcome.DENY),
    ],
)  # fmt: skip
def test_staff_look_for_a_stand_in_only_where_nobody_said_no(more: dict[str, Any], outcome: Outcome) -> None:
    """Ways that are closed on purpose are not to be opened by hand; where one is just missing, somebody looks."""
    other = {"name": "Ben", "relationship": "CARER", "contact": "INSTEAD", "contact_points": [telephone(system="SMS")]}
    assert asked(somebody(related_persons=[other], **more)).outcome is outcome


def test_a_stop_from_there_does_not_bind_in_an_emergency() -> None:
    """Neither at a contact point nor at a confidential end; the answer says that it was passed over."""
    stopped = frozenset({"+447700900321", "private@example.test"})
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-02"}
    for person in (somebody(), somebody(confidential_communication=confidential)):
        decision = asked(person, "EMERGENCY", suppressed=stopped)
        assert decision.reasons[:2] == (Reason.OK, Reason.EMERGENCY_OVERRIDE)
        assert asked(person, suppressed=stopped).contact_point != decision.contact_point


def test_a_prohibition_elsewhere_is_no_conflict_with_a_need() -> None:
    """The needed channel fails for another reason than a refusal, and the refused one is not needed."""
    person = somebody(
        contact_points=[
            telephone(undeliverable={"since": "2026-11-01", "reason": "UNKNOWN"}, capabilities=["SMS"]),
            {"id": MAILBOX, "system": "EMAIL", "value": "ada@example.test"},
        ],
        access_needs=[{"kind": "CONTACT_BY_SMS"}],
        consents=[directive("DENY", channel="EMAIL")],
    )
    assert asked(person).reasons == (
        Reason.ACCESS_NEED_UNMET,
        Reason.OPTED_OUT,
        Reason.CONTACT_POINT_UNDELIVERABLE,
    )
