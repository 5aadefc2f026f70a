"""What the table of rungs has no room for: ranks, languages, ends of an answer, and what it shows."""

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from crm.domain.codes import Channel, CommunicationPurpose, Day
from crm.domain.decision import Outcome, Reason, explained
from crm.domain.decision.rules import PURPOSES, ContactRules, Sender
from crm.domain.decision.speech import serves
from crm.domain.times import day_after, instant, micros
from tests.ladder import AT, HOME, MAILBOX, MOBILE, NOON, RULES, asked, canonical, directive, somebody

MINUTE = 60 * 1_000_000
ONE = "00000000-0000-7000-8000-00000000000a"
TWO = "00000000-0000-7000-8000-00000000000b"
EVERYTHING = Sender("everything", tuple(Channel), ("en",))
REMINDER = CommunicationPurpose.APPOINTMENT_REMINDER
ALWAYS_QUIET = {
    "days": [day.value for day in Day], "from": "00:00", "to": "24:00", "time_zone": "Europe/London", "quiet": True,
}  # fmt: skip
LONG = ContactRules("contact:long", lasting=400 * 24 * 60 * MINUTE, quiet_from=0, quiet_to=0)


def _only(channel: Channel, languages: tuple[str, ...] = ("en",), formats: frozenset[str] | None = None) -> Sender:
    return Sender("only", (channel,), languages, formats)


def _point(number: int = 1, **more: Any) -> dict[str, Any]:
    return {"id": ONE, "system": "PHONE", "value": f"+44770090032{number}", **more}


def _related(**more: Any) -> dict[str, Any]:
    return {"id": ONE, "name": "Ben", "relationship": "CARER", "contact": "BESIDE", **more}


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
    person = somebody(contact_points=[_point(**point)], addresses=[])
    decision = asked(person, sender=_only(Channel(channel)))
    if carries:
        assert (decision.outcome, decision.contact_point) == (Outcome.ALLOW, person["contact_points"][0])
    else:
        assert decision.reasons == (Reason.NO_USABLE_CONTACT_POINT,)


@pytest.mark.parametrize("channel", ["PORTAL", "IN_PERSON"])
def test_some_channels_end_at_no_contact_point(channel: str) -> None:
    """The portal and a conversation need none, and show none."""
    decision = asked(somebody(contact_points=[]), "TEST_RESULT", sender=_only(Channel(channel)))
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
    points = [_point(1, capabilities=["SMS"], **{"id": TWO, **better}), _point(2, capabilities=["SMS"], **worse)]
    if worse.get("id") is None:
        points[1]["id"] = ONE
    for rows in (points, points[::-1]):
        chosen = asked(somebody(contact_points=rows), sender=_only(Channel.SMS)).contact_point
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
        chosen = asked(somebody(contact_points=rows), sender=_only(Channel.EMAIL)).contact_point
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
    address = asked(person, purpose, sender=_only(Channel.LETTER)).address
    assert address is not None
    assert address.get("use") == chosen


def test_no_letters_to_old_or_physical_addresses() -> None:
    """Neither is somewhere to send to, and the reasons tell one from the other."""
    old = somebody(addresses=[{"use": "OLD"}])
    assert asked(old, sender=_only(Channel.LETTER)).reasons == (Reason.CONTACT_POINT_EXPIRED,)
    house = somebody(addresses=[{"use": "HOME", "type": "PHYSICAL"}])
    assert asked(house, sender=_only(Channel.LETTER)).reasons == (Reason.NO_USABLE_CONTACT_POINT,)


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
    decision = asked(somebody(consents=directives), sender=_only(Channel.SMS))
    assert decision.reasons == ((Reason.OK,) if reason is None else (reason,))


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
    decision = asked(somebody(confidential_communication=confidential, consents=[refusal]), sender=_only(Channel.EMAIL))
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
            _point(undeliverable={"since": "2026-11-01", "reason": "UNKNOWN"}, capabilities=["SMS"]),
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
    decision = asked(somebody(languages=languages), sender=_only(Channel(channel), offered))
    assert decision.language == language
    assert (Reason.LANGUAGE_FALLBACK in decision.reasons) is fallback
    assert ("languages" in decision.disclosed) is (bool(languages) and not fallback)


@pytest.mark.parametrize(("offered", "language"), [(("en", "so"), "so"), ((), "so"), (("en",), "en")])
def test_a_confidential_language(offered: tuple[str, ...], language: str) -> None:
    """It goes before the others, if the sender has it."""
    confidential = {"channel": "SMS", "value": "+447700900999", "language": "so", "set_at": "2026-05-02"}
    decision = asked(somebody(confidential_communication=confidential), sender=_only(Channel.SMS, offered))
    assert decision.language == language


@pytest.mark.parametrize("channel", ["VOICE", "IN_PERSON"])
def test_speech_has_no_format(channel: str) -> None:
    """Nobody speaks Braille, so nothing falls short."""
    person = somebody(accessible_formats=["BRAILLE"])
    decision = asked(person, sender=_only(Channel(channel), formats=frozenset()))
    assert (decision.format, decision.unmet, decision.reasons) == ("STANDARD", (), (Reason.OK,))


def test_a_sender_of_any_format() -> None:
    """Where nobody said what a sender can do, it is trusted with what the person needs first."""
    decision = asked(somebody(accessible_formats=["BRAILLE", "EASY_READ"]), sender=_only(Channel.EMAIL))
    assert decision.format == "BRAILLE"
    assert "accessibleFormats" in decision.disclosed


# --- to whom ---------------------------------------------------------------------------------------------------------


def test_a_stand_in_with_everything_of_their_own() -> None:
    """Contact points, language, format and needs are the stand-in's; nothing of the patient's is shown."""
    other = _related(
        contact="INSTEAD",
        contact_points=[{"system": "EMAIL", "value": "ben@example.test"}],
        languages=[{"tag": "so"}],
        accessible_formats=["EASY_READ"],
        access_needs=[{"kind": "CONTACT_BY_EMAIL"}],
    )
    person = somebody(related_persons=[other], access_needs=[{"kind": "CONTACT_VIA_CARER"}])
    decision = asked(person, sender=_only(Channel.EMAIL, ("so",)))
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
    person = somebody(related_persons=[_related(**{"contact": "INSTEAD", **out})])
    assert asked(person).stand_in is None


def test_copies_in_order_and_as_each_needs() -> None:
    """Each in their own language, by their own contact points; who has none, or not as needed, is left out."""
    numbers = [{"system": "SMS", "value": f"+44770090050{last}"} for last in range(5)]
    people = [
        _related(id=TWO, name="Cleo", rank=2, contact_points=numbers[:1], languages=[{"tag": "cy"}]),
        _related(id=ONE, name="Ben", rank=1, contact_points=numbers[1:2]),
        _related(id=HOME, name="Dan"),
        _related(id=MAILBOX, name="Eve", contact_points=numbers[2:3], access_needs=[{"kind": "CONTACT_BY_LETTER"}]),
        _related(id=MOBILE, name="Fay", contact_points=numbers[3:4], period={"end": "2025"}),
    ]
    decision = asked(somebody(related_persons=people), sender=_only(Channel.SMS, ("en", "cy")))
    assert [(copy.salutation, copy.related_person_id, copy.language) for copy in decision.copies] == [
        ("Ben", ONE, "en"),
        ("Cleo", TWO, "cy"),
    ]
    assert decision.salutation == "Ada"
    assert "relatedPersons" in decision.disclosed


def test_a_copy_keeps_quiet_at_night() -> None:
    """The patient has a letter at any hour; nobody's telephone rings for the copy, unless it is an emergency."""
    other = _related(contact_points=[{"system": "SMS", "value": "+447700900555"}])
    sender = Sender("both", (Channel.LETTER, Channel.SMS))
    person = somebody(related_persons=[other], contact_points=[])
    night: dict[str, Any] = {"sender": sender, "now": micros("2026-11-18T23:00:00Z")}
    assert [asked(person, now=AT, sender=sender).copies == (), asked(person, **night).copies == ()] == [False, True]
    assert len(asked(person, "EMERGENCY", **night).copies) == 1
    unbound = {REMINDER: replace(PURPOSES[REMINDER], quiet_hours=False)}
    assert len(asked(person, **night, rules=ContactRules("contact:unbound", purposes=unbound)).copies) == 1


def test_no_copy_without_a_contact_point() -> None:
    """The portal is the patient's own: a copy goes to a contact point of whoever has it, or is not made."""
    other = _related(contact_points=[])
    assert asked(somebody(related_persons=[other]), sender=_only(Channel.PORTAL)).copies == ()
    other = _related(contact_points=[_point(system="SMS")])
    person = somebody(related_persons=[other], consents=[directive("DENY", contact_point_id=ONE)])
    assert asked(person, sender=Sender("both", (Channel.LETTER, Channel.SMS))).copies == ()


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
                "related_persons": [_related(contact_points=[_point(system="SMS")])],
                "consents": [directive("PERMIT", until="2026-12-26", contact_point_id=ONE)],
            },
            micros("2026-12-26"),
        ),
        ({"consents": [directive("PERMIT", until="2026-12-25", channel="EMAIL")]}, AT + LONG.lasting),
        ({"contact_points": [_point(system="SMS", period={"end": "2026-11-20"})]}, micros("2026-11-21")),
        ({"contact_points": [_point(system="SMS", period={"end": "2026-11"})]}, micros("2026-12-01")),
        ({"contact_points": [_point(system="SMS", period={"end": "2026"})]}, micros("2027-01-01")),
        (
            {"contact_points": [_point(system="SMS", period={"end": "2026-11-20T08:00:00Z"})]},
            micros("2026-11-21"),
        ),
        (
            {"related_persons": [_related(contact="INSTEAD", contact_points=[_point()], period={"end": "2026-11-19"})]},
            micros("2026-11-20"),
        ),
        (
            {"related_persons": [_related(contact_points=[_point(system="SMS")], period={"end": "2026-11-19"})]},
            micros("2026-11-20"),
        ),
        (
            {"related_persons": [_related(contact_points=[_point(system="SMS", period={"end": "2026-11-18"})])]},
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
    other = _related(contact_points=[_point(system="SMS")])
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


def test_the_sentences() -> None:
    """The outcome, why, what is not met, what is sent and by which way, and what was looked at besides."""
    other = _related(contact_points=[_point(system="SMS", capabilities=["VOICE"])])
    person = somebody(
        related_persons=[other], accessible_formats=["BRAILLE"], consents=[directive("DENY", channel="SMS")]
    )
    sender = Sender("s", (Channel.SMS, Channel.EMAIL, Channel.VOICE), ("en",), frozenset())
    assert explained(asked(person, sender=sender)) == [
        "Contact is permitted now.",
        "The person said no to this contact.",
        "The sender has none of the formats that the person needs.",
        "A need of the person is not met.",
        "Not met: BRAILLE.",
        "Send by EMAIL in en.",
        "SMS was looked at: The person said no to this contact.",
        "VOICE would do too, and stands behind.",
    ]


def test_the_sentences_of_a_message_with_a_copy() -> None:
    """How many are told as well, and in which format."""
    other = _related(contact_points=[_point(system="SMS")])
    person = somebody(related_persons=[other], accessible_formats=["EASY_READ"], languages=[])
    assert explained(asked(person, sender=_only(Channel.SMS, ()))) == [
        "Contact is permitted now.",
        "Send by SMS, as EASY_READ.",
        "Send a copy to 1 more.",
    ]


def test_the_sentences_of_what_is_not_sent() -> None:
    """When to ask again, if there is such a time, and nothing about sending."""
    assert explained(asked(somebody(), now=micros("2026-11-18T23:00:00Z"), channels=[Channel.SMS])) == [
        "Contact is not permitted at this time.",
        "These are the organisation's own quiet hours.",
        "Ask again at 2026-11-19T08:00:00.000000Z.",
        "SMS was looked at: These are the organisation's own quiet hours.",
    ]
    assert explained(asked(somebody(contact_windows=[ALWAYS_QUIET])))[2] == "No time is known at which it will be."
    assert explained(asked(somebody(), status="merged")) == [
        "Contact is not permitted.",
        "This record was merged into another one about the same person.",
    ]


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
            "contact_points": [*numbers, _point(capabilities=["SMS"], period={"end": "2020"})],
            "addresses": [{"use": "HOME"}, {"use": "HOME"}, {"use": "WORK"}],
            "languages": [{"tag": "so"}, {"tag": "cy"}, {"tag": "en"}],
            "access_needs": [{"kind": "CONTACT_BY_SMS"}, {"kind": "CONTACT_BY_LETTER"}],
            "related_persons": [_related(id=ONE, contact_points=numbers), _related(id=TWO, contact_points=numbers)],
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
