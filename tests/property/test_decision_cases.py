"""The contact decision against its plain twin, over thousands of made-up people, and what holds for all of them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from crm.catalogue import BY_NAME
from crm.domain import values
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.consents import mark_of
from crm.domain.decision import ContactDecision, Outcome, Reason, decide
from tests import ladder
from tests.decision_cases import DAY, GIVERS, HOUR, Case, case, cases, directive, window
from tests.reference_decision import plainly

COUNT = 6_000
CHUNK = 500
SIFTED = settings(suppress_health_check=[HealthCheck.filter_too_much])  # most people may not be contacted
QUESTIONS = st.integers(0, 2**32 - 1).map(lambda seed: case(Random(seed)))
CHANCES = st.integers(0, 2**32 - 1).map(Random)
CHANNELS = st.sampled_from(list(Channel))
OTHERS = st.sampled_from(GIVERS[1:])
PREFERENCES = st.lists(CHANNELS, min_size=1, max_size=5, unique=True)
SCOPES = st.fixed_dictionaries(
    {},
    optional={
        "channel": CHANNELS.map(str),
        "contact_point_id": st.sampled_from(["p0", "p1", "p2", "a0", "a1", "r0p0", "r1p0", "confidential"]),
        "purpose": st.sampled_from(CommunicationPurpose).map(str),
        "sender": st.sampled_from(["default", "clinic", "everything"]),
    },
)
CONFIDENTIAL = {"id": "mine", "channel": "EMAIL", "value": "mine@example.org", "purposes": [],
                "set_at": "2026-01-01T00:00:00.000000Z"}  # fmt: skip
WEEK = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
ROWS = ("contact_points", "addresses", "related_persons", "languages", "access_needs", "channel_preferences",
        "contact_windows", "consents", "suspensions", "restrictions")  # fmt: skip


@cache
def _table() -> tuple[tuple[Case, ContactDecision], ...]:
    return tuple((asked, asked.asked_of(plainly)) for asked in cases(COUNT, seed=2026))


def _preferring(asked: Case, channels: list[Channel]) -> Case:
    rows = [row for row in asked.values.get("channel_preferences", []) if row["purpose"] != asked.purpose]
    wanted = {"purpose": asked.purpose.value, "channels": [str(channel) for channel in channels]}
    return asked.with_values(channel_preferences=[*rows, wanted])


@pytest.mark.parametrize("start", range(0, COUNT, CHUNK))
def test_a_made_up_person_is_decided_as_the_description_says(start: int) -> None:
    """Every member of the decision is what the plain reference makes of the same question."""
    for number, (asked, expected) in enumerate(_table()[start : start + CHUNK], start):
        decided = asked.asked_of(decide)
        differing = [
            (member.name, getattr(expected, member.name), getattr(decided, member.name))
            for member in fields(ContactDecision)
            if getattr(expected, member.name) != getattr(decided, member.name)
        ]
        assert differing == [], f"case {number}: {asked}"


def test_the_table_leaves_nothing_out() -> None:
    """The cases reach every outcome that a decision about a known record can have, every reason, and every answer."""
    seen = Counter[object]()
    for _, decision in _table():
        seen.update([decision.outcome, *decision.reasons, *((decision.outcome, reason) for reason in decision.reasons)])
        seen.update(decision.disclosed)
        seen.update(f"copies: {bool(decision.copies)}" for _ in decision.copies)
        seen.update({"address" if decision.address else "none", "confidential" if decision.confidential else "none"})
        seen.update({(decision.outcome, "no time known") if decision.next_permitted_at is None else "a time"})
    assert set(Outcome) - set(seen) == {Outcome.NOT_FOUND}, "unknown people are the service's affair"
    assert [reason for reason in Reason if seen[reason] < 3] == []
    assert {"address", "confidential", "copies: True", "a time", (Outcome.DEFER, "no time known")} <= set(seen)
    everything = {"contactPoints", "addresses", "relatedPersons", "confidentialCommunication", "languages"}
    assert everything | {"accessibleFormats", "accessNeeds", "displayName"} <= set(seen)


def test_every_reason_behind_ok_is_told_as_such() -> None:
    """The page tells senders what to do about whatever may stand behind OK, and about nothing else."""
    page = (Path(__file__).resolve().parents[2] / "docs/contact-decisions.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([A-Z_]+)` \|.+Behind `OK`:", page.partition("## What to do")[2], re.MULTILINE)
    wish = [{"purpose": "SURVEY", "channels": ["SMS", "EMAIL"]}]
    mail = ladder.directive("PERMIT", purpose="SURVEY", channel="EMAIL")
    texts = ladder.directive("PERMIT", seq=2, purpose="SURVEY", channel="SMS", until="2026-06-01")
    rare = [ladder.asked(ladder.somebody(channel_preferences=wish, consents=said), "SURVEY")
            for said in ([mail], [mail, texts])]  # fmt: skip
    decisions = [*(decision for _, decision in _table()), *rare]
    behind = {reason for one in decisions if one.outcome is Outcome.ALLOW for reason in one.reasons[1:]}
    assert set(rows) == {reason.value for reason in behind}


def test_the_people_of_the_table_are_stored_as_people_are() -> None:
    """What the cases are made of is canonical: to store it, as an import does, changes nothing."""
    for asked, _ in _table()[:400]:
        for name, value in asked.values.items():
            assert values.parse(BY_NAME[name].kind, value, name, lenient=True) == value


# --- the properties --------------------------------------------------------------------------------------------------


@given(QUESTIONS, CHANNELS, PREFERENCES)
def test_no_preference_outweighs_a_prohibition(asked: Case, channel: Channel, wanted: list[Channel]) -> None:
    """A channel that somebody has just forbidden is never used, however much they or others prefer it."""
    assume(asked.purpose is not CommunicationPurpose.EMERGENCY)
    forbidden = asked.with_more("consents", [directive("now", "DENY", asked.now, {"channel": channel.value})])
    decision = _preferring(forbidden, [channel, *(other for other in wanted if other is not channel)]).asked_of(decide)
    assert decision.channel is not channel
    assert channel not in {copy.channel for copy in decision.copies}


@given(QUESTIONS, PREFERENCES, CHANCES)
def test_nothing_somebody_prefers_opens_what_is_forbidden(asked: Case, wanted: list[Channel], chance: Random) -> None:
    """Whoever forbade all contact is not contacted, whatever languages, formats, windows and channels they prefer."""
    assume(asked.purpose is not CommunicationPurpose.EMERGENCY)
    other = case(chance).values
    preferences = {name: other.get(name, []) for name in ("languages", "accessible_formats", "contact_windows")}
    forbidden = asked.with_more("consents", [directive("now", "DENY", asked.now, {})]).with_values(**preferences)
    assert _preferring(forbidden, wanted).asked_of(decide).outcome in {Outcome.DENY, Outcome.MANUAL}


@given(QUESTIONS, PREFERENCES)
def test_a_preference_only_ranks(asked: Case, wanted: list[Channel]) -> None:
    """Channel preferences turn no refusal into a permission, and no permission into a refusal."""
    before, after = asked.asked_of(decide), _preferring(asked, wanted).asked_of(decide)
    assert (before.outcome in {Outcome.DENY, Outcome.MANUAL}) == (after.outcome in {Outcome.DENY, Outcome.MANUAL})
    if before.outcome in {Outcome.DENY, Outcome.MANUAL}:
        assert (after.outcome, after.reasons, after.unmet) == (before.outcome, before.reasons, before.unmet)


@settings(max_examples=200)
@given(QUESTIONS, CHANCES)
def test_a_narrower_window_never_widens_the_answer(asked: Case, chance: Random) -> None:
    """Who asks for less time is not contacted at a time at which they were not before, nor any sooner."""
    windows = [*asked.values.get("contact_windows", []), window("08:15", "20:45", WEEK, "UTC", quiet=False)]
    wanted = [number for number, row in enumerate(windows) if not row.get("quiet")]
    asked = asked.with_values(contact_windows=windows)
    number = chance.choice(wanted)
    narrower = asked.with_values(
        contact_windows=[_narrowed(row, chance) if at == number else row for at, row in enumerate(windows)]
    )
    before, after = asked.asked_of(decide), narrower.asked_of(decide)
    if after.outcome is Outcome.ALLOW:
        assert before.outcome is Outcome.ALLOW
        assert len(after.copies) <= len(before.copies)
    if after.next_permitted_at is not None and before.outcome is Outcome.DEFER:
        assert before.next_permitted_at is not None
        assert before.next_permitted_at <= after.next_permitted_at


def _narrowed(row: dict[str, Any], chance: Random) -> dict[str, Any]:
    """A window that lies within `row`."""
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in (row["from"], row["to"]))
    length = end - start if start < end else end - start + 24 * 60
    first = chance.randrange(length)
    last = chance.randint(first + 1, length)
    days = [day for day in row["days"] if chance.random() < 0.7] or row["days"]
    opens, closes = start + first, start + last
    if opens >= 24 * 60:
        days = [WEEK[(WEEK.index(day) + 1) % 7] for day in days]
        opens, closes = opens - 24 * 60, closes - 24 * 60
    closes = closes if closes <= 24 * 60 else closes - 24 * 60
    return window(_clock(opens), _clock(closes), days, row["time_zone"], quiet=False)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@given(QUESTIONS, CHANCES)
def test_a_wider_quiet_window_never_widens_the_answer(asked: Case, chance: Random) -> None:
    """Who asks to be left alone for longer is not contacted any sooner."""
    zone = asked.values.get("time_zone", "UTC")
    quiet = window(_clock(chance.randrange(1440)), "24:00", chance.sample(WEEK, 3), zone, quiet=True)
    before, after = asked.asked_of(decide), asked.with_more("contact_windows", [quiet]).asked_of(decide)
    if after.outcome is Outcome.ALLOW:
        assert before.outcome is Outcome.ALLOW
    if after.next_permitted_at is not None and before.next_permitted_at is not None:
        assert before.next_permitted_at <= after.next_permitted_at


@SIFTED
@given(QUESTIONS, SCOPES, st.integers(0, 400))
def test_more_consent_never_forbids(asked: Case, scope: dict[str, Any], days: int) -> None:
    """A permission more turns no ALLOW into a refusal; at most a better way now waits for its time."""
    assume(asked.asked_of(decide).outcome is Outcome.ALLOW)
    more = asked.with_more("consents", [directive("more", "PERMIT", asked.now - days * DAY, scope)])
    assert more.asked_of(decide).outcome in {Outcome.ALLOW, Outcome.DEFER}


@given(QUESTIONS, SCOPES, st.integers(0, 400))
def test_a_prohibition_more_never_permits(asked: Case, scope: dict[str, Any], days: int) -> None:
    """A DENY more turns no refusal into a permission, neither now nor later."""
    assume(asked.asked_of(decide).outcome in {Outcome.DENY, Outcome.MANUAL})
    more = asked.with_more("consents", [directive("more", "DENY", asked.now - days * DAY, scope)])
    assert more.asked_of(decide).outcome in {Outcome.DENY, Outcome.MANUAL}


@given(QUESTIONS, SCOPES, st.lists(st.sampled_from(GIVERS), min_size=3, max_size=3))
def test_several_words_are_weighed_as_the_description_says(
    asked: Case, scope: dict[str, Any], givers: list[dict[str, str]]
) -> None:
    """A refusal and two permissions of one scope, by whoever gave them, come to what the plain reference says."""
    said = [
        directive(f"said-{days}", decision, asked.now - days * DAY, scope, giver=giver)
        for decision, days, giver in zip(("PERMIT", "DENY", "PERMIT"), (50, 5, 2), givers, strict=True)
    ]
    asked = asked.with_more("consents", said)
    assert asked.asked_of(decide) == asked.asked_of(plainly)


@given(QUESTIONS, CHANCES, st.booleans(), st.booleans())
def test_a_permission_of_a_number_is_for_that_number(asked: Case, chance: Random, same: bool, mixed: bool) -> None:
    """Refused and permitted again at each contact point: where the number is another one by now, it stays refused."""
    assume(asked.purpose is not CommunicationPurpose.EMERGENCY)
    parties = [asked.values, *asked.values["related_persons"]]
    said = [directive("no", "DENY", asked.now - 9 * DAY, {})] if mixed else []
    for number, point in enumerate(point for one in parties for point in one["contact_points"]):
        value = point["value"] if same else f"+4477009{chance.randrange(10**6)}"
        permit = directive(f"y{number}", "PERMIT", asked.now - DAY, {"contact_point_id": point["id"]})
        said.append(permit | {"mark": mark_of(permit["id"], value)})
    asked = asked.with_values(consents=said)
    assert asked.asked_of(decide) == asked.asked_of(plainly)


@given(QUESTIONS, SCOPES, OTHERS)
def test_nobody_else_permits_what_somebody_forbade(asked: Case, scope: dict[str, Any], giver: dict[str, str]) -> None:
    """After somebody's own DENY a permission that others give, however new and exact, opens nothing."""
    assume(asked.purpose is not CommunicationPurpose.EMERGENCY)
    refused = directive("mine", "DENY", asked.now - DAY, {})
    permitted = [
        directive("theirs", "PERMIT", asked.now - HOUR, more, giver=giver)
        for more in (scope, {"purpose": asked.purpose.value, "sender": asked.sender.id})
    ]
    asked = asked.with_values(consents=[refused, *permitted])
    assert asked.asked_of(decide).outcome in {Outcome.DENY, Outcome.MANUAL}


@given(QUESTIONS, SCOPES, OTHERS, st.integers(0, 400))
def test_nobody_else_closes_a_confidential_communication(
    asked: Case, scope: dict[str, Any], giver: dict[str, str], days: int
) -> None:
    """Where one is in force, a DENY that somebody else gives changes no member of the answer."""
    asked = asked.with_values(confidential_communication=CONFIDENTIAL)
    theirs = directive("theirs", "DENY", asked.now - days * DAY, scope, giver=giver)
    assert asked.with_more("consents", [theirs]).asked_of(decide) == asked.asked_of(decide)


@given(QUESTIONS, CHANCES, PREFERENCES)
def test_a_confidential_communication_is_never_out_ranked(asked: Case, chance: Random, wanted: list[Channel]) -> None:
    """Whatever is added about other ways and other people, contact is there, or nowhere."""
    other = case(chance)
    asked = asked.with_values(
        confidential_communication=CONFIDENTIAL,
        related_persons=other.values["related_persons"],
        access_needs=other.values.get("access_needs", []),
        contact_points=other.values["contact_points"],
    ).with_more("consents", [directive("more", "PERMIT", asked.now - DAY, {})])
    decision = _preferring(asked, wanted).asked_of(decide)
    assert decision.outcome is not Outcome.MANUAL or decision.reasons == (Reason.REVIEW_PENDING,)
    if decision.outcome is Outcome.ALLOW:
        assert decision.contact_point == {"id": "mine", "system": "EMAIL", "value": "mine@example.org"}
        assert (decision.confidential, decision.stand_in, decision.copies) == (True, None, ())


@given(QUESTIONS, CHANCES)
def test_the_order_of_rows_does_not_matter(asked: Case, chance: Random) -> None:
    """The same rows in another order are the same person, and the answer is the same in every member."""
    assert _shuffled(asked, chance).asked_of(decide) == asked.asked_of(decide)


def _shuffled(asked: Case, chance: Random) -> Case:
    mixed = {name: chance.sample(rows, len(rows)) for name, rows in asked.values.items() if name in ROWS}
    mixed["related_persons"] = [
        {name: chance.sample(part, len(part)) if name in ROWS else part for name, part in person.items()}
        for person in mixed["related_persons"]
    ]
    return asked.with_values(**mixed)


@given(QUESTIONS)
def test_only_a_permission_shows_anything(asked: Case) -> None:
    """Nothing of the person is in an answer that permits nothing, but the needs for which somebody must act."""
    decision = asked.asked_of(decide)
    if decision.outcome is Outcome.ALLOW:
        assert decision.reasons[0] is Reason.OK
        assert decision.contact_point is None or decision.address is None
        assert "displayName" in decision.disclosed or decision.stand_in is not None
        return
    shown = (decision.channel, decision.contact_point, decision.address, decision.stand_in, decision.language)
    assert (shown, decision.format, decision.salutation, decision.copies) == ((None,) * 5, None, None, ())
    assert decision.confidential is False
    needs = {"accessNeeds", "relatedPersons"} if decision.unmet else set()
    assert decision.disclosed <= needs | ({"timeZone"} if decision.outcome is Outcome.DEFER else set())
    assert not decision.unmet or decision.outcome is Outcome.MANUAL


@SIFTED
@given(QUESTIONS)
def test_what_is_chosen_was_asked_for(asked: Case) -> None:
    """The channel is one that the sender has and the caller named, and no stop came from there, but for emergencies."""
    decision = asked.asked_of(decide)
    assume(decision.outcome is Outcome.ALLOW)
    assert decision.channel in asked.sender.channels
    assert decision.channel in asked.more.get("channels", Channel)
    for point in (decision.contact_point, *(copy.contact_point for copy in decision.copies)):
        if point is not None and point["value"] in asked.more.get("suppressed", ()):
            assert asked.purpose is CommunicationPurpose.EMERGENCY
        assert point is None or point["system"] in {"URL", "OTHER"} or point["value"][0] == "+" or "@" in point["value"]
    chosen = (decision.channel, (decision.contact_point or {}).get("value"))
    assert decision.stand_in is not None or chosen not in {
        (copy.channel, copy.contact_point["value"]) for copy in decision.copies
    }


@given(QUESTIONS)
def test_emergencies_do_not_wait(asked: Case) -> None:
    """No hours and no unread message hold up a warning."""
    decision = replace(asked, purpose=CommunicationPurpose.EMERGENCY).asked_of(decide)
    assert decision.outcome is not Outcome.DEFER
    assert Reason.REVIEW_PENDING not in decision.reasons


@given(QUESTIONS)
def test_no_answer_has_expired_already(asked: Case) -> None:
    """An answer may be used for a while, and no longer than the rules say; a DEFER until there is another answer."""
    decision = asked.asked_of(decide)
    assert decision.expires_at is not None
    assert decision.expires_at > asked.now
    if decision.next_permitted_at is None:
        assert decision.expires_at <= asked.now + asked.rules.lasting
    else:
        assert decision.expires_at == decision.next_permitted_at


@SIFTED
@given(QUESTIONS)
def test_an_answer_holds_until_it_expires(asked: Case) -> None:
    """Who may be contacted now may be contacted, or asked about again, at the last moment of the answer."""
    alone = asked.with_values(related_persons=[])
    decision = alone.asked_of(decide)
    assume(decision.outcome is Outcome.ALLOW)
    assert decision.expires_at is not None
    at_last = replace(alone, now=decision.expires_at - 1).asked_of(decide)
    assert at_last.outcome in {Outcome.ALLOW, Outcome.DEFER}


@SIFTED
@given(QUESTIONS, st.integers(0, 23))
def test_the_next_permitted_moment_is_one_and_the_first(asked: Case, hour: int) -> None:
    """Asked again at that moment, the answer is ALLOW, and a microsecond before it is not, if nothing else happens."""
    lasting = replace(asked.with_values(**dict(_without_ends(asked))), now=asked.now // DAY * DAY + hour * HOUR)
    decision = lasting.asked_of(decide)
    assume(decision.next_permitted_at is not None)
    moment = decision.next_permitted_at or 0
    assert replace(lasting, now=moment).asked_of(decide).outcome is Outcome.ALLOW
    assert replace(lasting, now=moment - 1).asked_of(decide).outcome is Outcome.DEFER


def _without_ends(asked: Case) -> Iterator[tuple[str, Any]]:
    """Everything known of the person that may begin or end, without beginnings and ends."""
    for name in ("contact_points", "addresses", "related_persons", "restrictions"):
        yield name, [_endless(row) for row in asked.values.get(name, [])]
    yield (
        "consents",
        [
            directive(row["id"], row["decision"], asked.now - 400 * DAY, row["scope"])
            for row in asked.values["consents"]
        ],
    )
    if "confidential_communication" in asked.values:
        yield "confidential_communication", _endless(asked.values["confidential_communication"])


def _endless(row: dict[str, Any]) -> dict[str, Any]:
    kept = {name: part for name, part in row.items() if name not in {"period", "until"}}
    if "contact_points" in kept:
        kept["contact_points"] = [_endless(point) for point in kept["contact_points"]]
    if "address" in kept:
        kept["address"] = _endless(kept["address"])
    return kept
