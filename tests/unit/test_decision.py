"""By which ways somebody can be contacted: what carries a channel, which of several is best, what binds and forbids."""

from typing import Any

import pytest

from crm.domain.codes import Channel
from crm.domain.decision import Outcome, Reason
from tests.ladder import (
    EVERYTHING,
    MAILBOX,
    MOBILE,
    NOON,
    ONE,
    PARENT,
    PATIENT,
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


# --- consent ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("directives", "reason"),
    [
        ([directive("DENY", channel="EMAIL")], None),
        ([directive("DENY", purpose="BILLING")], None),
        ([directive("DENY", sender="others")], None),
        ([directive("DENY", sender="only")], Reason.OPTED_OUT),
        ([directive("DENY", contact_point_id=MAILBOX)], None),
        ([directive("DENY", contact_point_id=MOBILE, channel="SMS")], Reason.OPTED_OUT),
        ([directive("DENY", since=NOON)], Reason.OPTED_OUT),
        ([directive("DENY", since="2026-11-18T12:00:00.000001Z")], None),
        ([directive("DENY", until="2026-11-18T12:00:00.000001Z")], Reason.OPTED_OUT),
        ([directive("DENY", until=NOON)], None),
        ([directive("DENY"), directive("PERMIT", seq=2, since="2026-11-18T12:00:00.000001Z")], Reason.OPTED_OUT),
        (
            [directive("DENY", channel="SMS"), directive("PERMIT", seq=2, since="2026-06-01", contact_point_id=MOBILE)],
            Reason.OPTED_OUT,
        ),
        (
            [
                directive("DENY", channel="SMS"),
                directive("PERMIT", seq=2, since="2026-06-01", contact_point_id=MOBILE, channel="SMS"),
            ],
            None,
        ),
        (
            [directive("DENY"), directive("PERMIT", seq=2, since="2026-06-01", until="2026-07-01")],
            Reason.OPTED_OUT,
        ),
        (
            [
                directive("DENY", seq=3, since="2026-07-01"),
                directive("PERMIT", seq=2, since="2026-06-01"),
                directive("DENY"),
            ],
            Reason.OPTED_OUT,
        ),
        (
            [
                directive("PERMIT", seq=3, since="2026-07-01"),
                directive("DENY", seq=2, since="2026-06-01"),
                directive("PERMIT"),
            ],
            None,
        ),
        (
            [
                directive("DENY"),
                directive("PERMIT", seq=2, since="2026-06-01"),
                directive("DENY", seq=3, since="2026-07-01", purpose="APPOINTMENT_REMINDER"),
            ],
            Reason.OPTED_OUT,
        ),
    ],
)
def test_directives(directives: list[Any], reason: Reason | None) -> None:
    """What a directive is about, when it holds, and which of two goes before."""
    decision = asked(somebody(consents=directives), sender=sender_of(Channel.SMS))
    assert decision.reasons == ((Reason.OK,) if reason is None else (reason,))


@pytest.mark.parametrize("role", ["PARENT", "GUARDIAN", "LASTING_POWER_OF_ATTORNEY", "BEST_INTEREST", "OTHER"])
@pytest.mark.parametrize("related", [{}, {"related_person_id": ONE}])
def test_whose_word_beats_whose(role: str, related: dict[str, str]) -> None:
    """In whatever right somebody else speaks, the patient's word stands against theirs, and theirs not against it."""
    for other in ({"role": role, **related}, {"role": "PATIENT", "related_person_id": ONE}):
        for mine, theirs, reason in ((PATIENT, other, Reason.OPTED_OUT), (other, other, Reason.OK),
                                     (other, PATIENT, Reason.OK)):  # fmt: skip
            said = [directive("DENY", giver=mine), directive("PERMIT", seq=2, since="2026-06-01", giver=theirs)]
            for rows in (said, said[::-1]):
                assert asked(somebody(consents=rows)).reasons == (reason,)


def test_two_words_of_one_scope_are_two_when_two_gave_them() -> None:
    """The newer DENY of somebody else does not stand for the patient's own, nor their PERMIT for the patient's."""
    said = [
        directive("DENY", since="2026-05-01"),
        directive("PERMIT", seq=2, since="2026-05-02"),
        directive("DENY", seq=3, since="2026-05-03", giver=PARENT),
        directive("PERMIT", seq=4, since="2026-05-04", giver=PARENT),
    ]
    assert asked(somebody(consents=said)).outcome is Outcome.ALLOW
    assert asked(somebody(consents=said[:3])).outcome is Outcome.DENY
    assert asked(somebody(consents=[said[0], *said[2:]])).outcome is Outcome.DENY


@pytest.mark.parametrize(("giver", "reason"), [(PATIENT, Reason.EMERGENCY_OVERRIDE), (PARENT, Reason.OK)])
def test_an_emergency_tells_whose_word_it_passes_over(giver: dict[str, str], reason: Reason) -> None:
    """What others permit does not hide that the patient forbade it; what they forbade themselves they may permit."""
    said = [directive("DENY", giver=giver), directive("PERMIT", seq=2, since="2026-06-01", giver=PARENT)]
    assert asked(somebody(consents=said), "EMERGENCY").reasons[-1] is reason


def test_nobody_else_forbids_a_confidential_communication_in_an_emergency() -> None:
    """Neither by a DENY that names emergencies, nor as something that was passed over."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-02"}
    for said in (
        directive("DENY", since="2026-06-01", giver=PARENT),
        directive("DENY", since="2026-06-01", giver=PARENT, purpose="EMERGENCY"),
    ):
        decision = asked(somebody(confidential_communication=confidential, consents=[said]), "EMERGENCY")
        assert decision.reasons == (Reason.OK, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)


@pytest.mark.parametrize(
    ("refusal", "reasons"),
    [
        (directive("DENY", since="2026-05-01"), (Reason.OK, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)),
        (directive("DENY", since="2026-05-03"), (Reason.OPTED_OUT,)),
        (directive("DENY", since="2026-05-01", sender="only"), (Reason.OPTED_OUT,)),
    ],
)
def test_a_confidential_communication_permits_itself(refusal: Any, reasons: tuple[Reason, ...]) -> None:
    """It beats an older refusal, and neither a newer one nor one of this very sender."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-02"}
    decision = asked(
        somebody(confidential_communication=confidential, consents=[refusal]), sender=sender_of(Channel.EMAIL)
    )
    assert decision.reasons == reasons


def test_a_confidential_communication_stands_for_opt_in() -> None:
    """Whoever names a way for a purpose permits that way for it."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "purposes": ["SURVEY"], "set_at": "2026-05-02"}
    assert asked(somebody(confidential_communication=confidential), "SURVEY").outcome is Outcome.ALLOW


def test_a_refusal_that_ended_is_no_permission() -> None:
    """Of an opt-in purpose nothing is known again when a DENY is over; only a PERMIT can expire."""
    assert asked(somebody(consents=[directive("DENY", until="2026-06-01")]), "SURVEY").reasons == (
        Reason.CONSENT_UNKNOWN,
    )


@pytest.mark.parametrize(
    ("set_at", "reason"), [(NOON, Reason.OK), ("2026-11-18T12:00:00.000001Z", Reason.CONSENT_UNKNOWN)]
)
def test_a_confidential_communication_of_the_future(set_at: str, reason: Reason) -> None:
    """It says at once where not to go, and permits nothing before it was set."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": set_at}
    decision = asked(somebody(confidential_communication=confidential), "SURVEY")
    assert decision.reasons[0] is reason


@pytest.mark.parametrize(
    ("end", "suppressed", "reason"),
    [
        ({"channel": "LETTER", "address": {"use": "OLD"}}, "", Reason.CONTACT_POINT_EXPIRED),
        ({"channel": "LETTER", "address": {"period": {"end": "2026-10"}}}, "", Reason.CONTACT_POINT_EXPIRED),
        ({"channel": "LETTER", "address": {"type": "PHYSICAL"}}, "", Reason.OK),
        ({"channel": "EMAIL", "value": "private@example.test"}, "private@example.test", Reason.OPTED_OUT),
    ],
)
def test_what_rules_a_confidential_end_out(end: dict[str, Any], suppressed: str, reason: Reason) -> None:
    """An address out of use and a stop from an unknown person; then there is no other way."""
    person = somebody(confidential_communication={"set_at": "2026-05-02", **end})
    assert asked(person, sender=EVERYTHING, suppressed=frozenset({suppressed})).reasons[0] is reason


@pytest.mark.parametrize("channel", ["EMAIL", "LETTER", "PORTAL"])
def test_a_confidential_end(channel: str) -> None:
    """The number or mailbox as a contact point with the id of the communication, an address, or nothing."""
    confidential = {"id": ONE, "channel": channel, "set_at": "2026-05-02"}
    ends: dict[str, Any] = {"EMAIL": {"value": "private@example.test"}, "LETTER": {"address": {"id": TWO}}}
    person = somebody(confidential_communication={**confidential, **ends.get(channel, {})})
    decision = asked(person, "TEST_RESULT", sender=EVERYTHING)
    assert (decision.channel, decision.confidential) == (channel, True)
    assert decision.disclosed == {"confidentialCommunication", "displayName", "languages"}
    shown = {"EMAIL": {"id": ONE, "system": "EMAIL", "value": "private@example.test"}}
    assert decision.contact_point == shown.get(channel)
    assert decision.address == ({"id": TWO, "lines": []} if channel == "LETTER" else None)


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
