"""What people said, weighed: whose word goes before whose, from when, and what a confidential communication says."""

from typing import Any

import pytest

from crm.domain.codes import Channel
from crm.domain.consents import mark_of
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
    directive,
    sender_of,
    somebody,
)


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


@pytest.mark.parametrize(
    ("said", "reasons"),
    [
        ([], (Reason.CONSENT_UNKNOWN,)),
        ([directive("PERMIT", channel="EMAIL")], (Reason.OK, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)),
        ([directive("PERMIT", channel="EMAIL"), directive("DENY", seq=2)], (Reason.OPTED_OUT,)),
    ],
)
def test_a_confidential_communication_permits_nothing_that_needs_a_permission(
    said: list[Any], reasons: tuple[Reason, ...]
) -> None:
    """Whoever says where does not say that they want surveys, nor take back that they want none."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "purposes": ["SURVEY"], "set_at": "2026-05-02"}
    assert asked(somebody(confidential_communication=confidential, consents=said), "SURVEY").reasons == reasons


@pytest.mark.parametrize(
    ("scope", "reasons"),
    [
        ({}, (Reason.OK, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)),
        ({"channel": "EMAIL"}, (Reason.OK, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)),
        ({"purpose": "APPOINTMENT_REMINDER"}, (Reason.OPTED_OUT,)),
        ({"channel": "EMAIL", "purpose": "APPOINTMENT_REMINDER"}, (Reason.OPTED_OUT,)),
    ],
)
def test_a_confidential_communication_says_where_and_not_about_what(
    scope: dict[str, Any], reasons: tuple[Reason, ...]
) -> None:
    """Whoever wanted no reminders wants none there either, until they say so."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-02"}
    person = somebody(confidential_communication=confidential, consents=[directive("DENY", **scope)])
    assert asked(person).reasons == reasons


@pytest.mark.parametrize(
    ("said", "message", "scope", "reason"),
    [
        (None, None, {}, Reason.OK),
        (None, "SM-1", {}, Reason.CONSENT_UNKNOWN),
        (None, "SM-1", {"channel": "SMS"}, Reason.CONSENT_UNKNOWN),
        (None, "SM-1", {"purpose": "SURVEY"}, Reason.OK),
    ],
)
def test_a_message_permits_what_it_names(
    said: str | None, message: str | None, scope: dict[str, Any], reason: Reason
) -> None:
    """START permits no survey, unless it is known that it answered one; what needs no permission it permits again."""
    permit = directive("PERMIT", seq=2, since="2026-06-01", said=said, message=message, **scope)
    assert asked(somebody(consents=[permit]), "SURVEY", sender=sender_of(Channel.SMS)).reasons == (reason,)
    again = somebody(consents=[directive("DENY", channel="SMS"), {**permit, "scope": {"channel": "SMS"}}])
    assert asked(again, sender=sender_of(Channel.SMS)).reasons == (Reason.OK,)


@pytest.mark.parametrize(
    ("since", "said", "reason"),
    [
        ("2026-06-01", None, Reason.OK),
        ("2026-06-01", "2019-01-01", Reason.OPTED_OUT),
        ("2026-04-01", "2026-06-01", Reason.OPTED_OUT),
        ("2026-06-01", "2026-05-02", Reason.OK),
    ],
)
def test_a_permission_is_no_newer_than_its_words(since: str, said: str | None, reason: Reason) -> None:
    """What was said before somebody's refusal does not lift it by taking effect after it; a simulated one has none."""
    permit = directive("PERMIT", seq=2, since=since, said=said)
    person = somebody(consents=[directive("DENY"), permit])
    assert asked(person).reasons == (reason,)
    del person["consents"][1]["capture"]
    assert asked(person).reasons == ((Reason.OK,) if since > "2026-05-01" else (Reason.OPTED_OUT,))


def test_a_refusal_that_ended_is_no_permission() -> None:
    """Of an opt-in purpose nothing is known again when a DENY is over; only a PERMIT can expire."""
    assert asked(somebody(consents=[directive("DENY", until="2026-06-01")]), "SURVEY").reasons == (
        Reason.CONSENT_UNKNOWN,
    )


@pytest.mark.parametrize(("set_at", "reason"), [(NOON, Reason.OK), ("2026-11-18T12:00:00.000001Z", Reason.OPTED_OUT)])
def test_a_confidential_communication_of_the_future(set_at: str, reason: Reason) -> None:
    """It says at once where not to go, and permits nothing before it was set."""
    confidential = {"channel": "EMAIL", "value": "private@example.test", "set_at": set_at}
    decision = asked(somebody(confidential_communication=confidential, consents=[directive("DENY")]))
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


def test_a_permission_of_a_number_ends_with_the_number() -> None:
    """A contact point keeps its id when its number is corrected; whose that is now has not been asked."""
    refused = directive("DENY", contact_point_id=MOBILE)
    permit = directive("PERMIT", seq=2, since="2026-06-01", contact_point_id=MOBILE)
    for value, reason in (("+447700900321", Reason.OK), ("+447700900322", Reason.OPTED_OUT)):
        marked = {**permit, "id": ONE, "mark": mark_of(ONE, value)}
        person = somebody(consents=[refused, marked])
        assert asked(person, sender=sender_of(Channel.SMS)).reasons == (reason,)
    gone = somebody(consents=[{**permit, "id": ONE, "mark": mark_of(ONE, "+447700900321")}], contact_points=[])
    assert asked(gone, sender=sender_of(Channel.SMS)).reasons == (Reason.NO_USABLE_CONTACT_POINT,)
