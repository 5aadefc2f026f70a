"""What a message that says stop forbids, place by place, and what a permission lets be used again."""

from typing import Any

import pytest

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.fingerprint import named
from crm.domain.decision.rules import ContactRules, RevokeScope
from crm.domain.replies import Incoming, limited_to, opted_in, origins_of, released_by, silent_ends, stopped
from crm.domain.suspensions import MOST, with_one_more
from crm.domain.times import micros

NUMBER = "+12025550142"
TODAY = "2026-11-23"
NOW = micros("2026-11-23T09:00:00Z")
ALL = named(ContactRules(""))
LEAST = named(ContactRules("", revoke_scope=RevokeScope.LEGAL_MINIMUM))


def point(point_id: str, **more: Any) -> dict[str, Any]:
    """A contact point with the number."""
    return {"id": point_id, "system": "PHONE", "value": NUMBER, **more}


def related(person_id: str, *points: dict[str, Any]) -> dict[str, Any]:
    """A related person with these points."""
    return {"id": person_id, "contact_points": list(points)}


def message(**more: Any) -> Incoming:
    """A STOP from the number."""
    found: dict[str, Any] = {"gateway": "texts", "message_id": "M1", "channel": Channel.SMS, "received_at": NOW,
                             "term": NUMBER.encode(), "value": NUMBER, "text": "STOP", **more}  # fmt: skip
    return Incoming(**found)


def forbidden(values: dict[str, Any], rules: ContactRules = ALL, **more: Any) -> list[tuple[str | None, str]]:
    """The contact point and the giver of each prohibition of texts that follows."""
    said = stopped(rules, message(**more), origins_of(values, NUMBER.encode(), TODAY), "gateway")
    return [
        (one["scope"].get("contact_point_id"), one["giver"]["role"])
        for one in said
        if one["scope"]["channel"] == Channel.SMS
    ]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"contact_points": [point("a"), point("b", system="SMS")]}, [(None, "PATIENT")]),
        ({"contact_points": [point("a", use="OLD"), point("b", use="OLD")]}, [("a", "PATIENT"), ("b", "PATIENT")]),
        (
            {"related_persons": [related("mum", point("m")), related("dad", point("d"))]},
            [("m", "OTHER"), ("d", "OTHER")],
        ),
        (
            {"related_persons": [related("mum", point("m"))],
             "confidential_communication": {"id": "c", "channel": "SMS", "value": NUMBER}},
            [("c", "PATIENT"), ("m", "OTHER")],
        ),
        (
            {"contact_points": [point("a")], "related_persons": [related("mum", point("m"))]},
            [(None, "PATIENT"), ("m", "OTHER")],
        ),
    ],
)  # fmt: skip
def test_every_place_that_has_the_number(values: dict[str, Any], expected: list[tuple[str | None, str]]) -> None:
    """Each place in a record is forbidden, whosever it is there; the patient's own by one prohibition for all."""
    assert forbidden(values) == expected


def test_every_entry_of_a_number_under_the_legal_minimum() -> None:
    """A number that is entered twice stops twice, where only one programme ends."""
    values = {"contact_points": [point("a"), point("b", system="SMS")]}
    assert forbidden(values, LEAST, purpose=CommunicationPurpose.BILLING) == [("a", "PATIENT"), ("b", "PATIENT")]
    assert forbidden(values, LEAST, received_at=micros("2027-02-01T00:00:00Z")) == [(None, "PATIENT")]


@pytest.mark.parametrize(
    ("rules", "more", "limits"),
    [
        (ALL, {"purpose": "BILLING", "sender": "clinic"}, set()),
        (LEAST, {"purpose": "BILLING", "sender": "clinic"}, {"purpose"}),
        (LEAST, {"sender": "clinic"}, set()),
        (LEAST, {"sender": "clinic", "received_at": micros("2027-01-31T00:00:00Z")}, {"sender"}),
    ],
)
def test_what_limits_a_stop(rules: ContactRules, more: dict[str, Any], limits: set[str]) -> None:
    """Only the legal minimum limits it, and only by what is known of the message that was answered."""
    assert limited_to(rules, message(**more)).keys() == limits


def permits(purpose: str | None, history: list[dict[str, Any]], *, silent: bool = False) -> list[tuple[str, Any, Any]]:
    """The directives of a verdict OPTED_IN: what each says, its purpose and its sender."""
    origins = origins_of({"contact_points": [point("a")]}, NUMBER.encode(), TODAY)
    asked = message(purpose=CommunicationPurpose(purpose) if purpose else None)
    said = opted_in(ALL, asked, origins, history, "staff", NOW + 1, silent=silent)
    assert all(one["capture"]["message_id"] == "M1" for one in said)
    return [(one["decision"], one["scope"].get("purpose"), one["scope"].get("sender")) for one in said]


def deny(**scope: str) -> dict[str, Any]:
    """A prohibition of the patient."""
    return {"decision": "DENY", "scope": scope, "effective_from": "2026-01-01T00:00:00Z"}


def test_an_opt_in_is_for_what_was_answered() -> None:
    """What the message answered is permitted, and no other; of none known, nothing that needs a consent."""
    history = [deny(channel="SMS"), deny(purpose="MARKETING"), deny(purpose="BILLING"), deny(sender="clinic")]
    assert permits("BILLING", history) == [("PERMIT", "BILLING", None), ("PERMIT", "BILLING", "clinic")]
    assert permits(None, history) == [
        ("PERMIT", None, None), ("PERMIT", "BILLING", None), ("PERMIT", None, "clinic")
    ]  # fmt: skip


def test_the_rest_of_a_silent_number_stays_silent() -> None:
    """Where only the suppression forbade the rest, the record does once it ends, from before the permission."""
    assert permits("BILLING", [], silent=True) == [("DENY", None, None), ("PERMIT", "BILLING", None)]
    assert permits("BILLING", [deny(channel="SMS")], silent=True) == [("PERMIT", "BILLING", None)]
    assert permits(None, [], silent=True) == [("PERMIT", None, None)]


@pytest.mark.parametrize(
    ("permit", "released"),
    [
        ({}, {"SMS", "VOICE", "CHAT"}),
        ({"scope": {"channel": "SMS"}}, {"SMS"}),
        ({"scope": {"contact_point_id": "a", "channel": None}}, {"SMS", "VOICE", "CHAT"}),
        ({"scope": {"contact_point_id": "m"}}, set()),
        ({"scope": {"purpose": "BILLING"}}, {"VOICE"}),
        ({"effective_to": "2026-12-01T00:00:00Z"}, {"VOICE"}),
        ({"effective_to": "2026-11-01T00:00:00Z"}, set()),
        ({"decision": "DENY"}, set()),
        ({"giver": {"role": "LASTING_POWER_OF_ATTORNEY"}}, set()),
        ({"giver": {"role": "PATIENT", "related_person_id": "mum"}}, set()),
    ],
)
def test_what_a_permission_releases(permit: dict[str, Any], released: set[str]) -> None:
    """The patient's own points that it covers; a narrow one only what the record forbids besides."""
    values = {"contact_points": [point("a"), point("o", use="OLD", value="+12025550143")],
              "related_persons": [related("mum", point("m", value="+12025550144"))],
              "consents": [deny(channel="VOICE")]}  # fmt: skip
    said = {"decision": "PERMIT", "giver": {"role": "PATIENT"}, **permit}
    assert set(released_by(values, said, TODAY, NOW)) == {(channel, NUMBER) for channel in released}


def test_what_stays_silent_of_an_erased_record() -> None:
    """Not only prohibitions: texts that are not permitted, restrictions in force, and what nobody has read."""
    values = {
        "contact_points": [point("a", text_permitted="NO"), {"id": "e", "system": "EMAIL", "value": "a@example.test"}],
        "related_persons": [related("mum", point("m", value="+12025550144"))],
        "restrictions": [
            {"kind": "CONTACT", "channels": ["EMAIL"]},
            {"kind": "CONTACT", "lifted_at": "2026-01-01T00:00:00Z"},
            {"kind": "CONTACT", "until": "2026-01-01T00:00:00Z"},
            {"kind": "RECORD"},
        ],
        "suspensions": [
            {"kind": "UNCLEAR", "channel": "VOICE", "origin": "ab" * 32},
            {"kind": "UNCLEAR", "channel": "EMAIL", "origin": "cd" * 32, "verdict": "NOT_STOP"},
            {"kind": "OPT_IN_REQUEST", "channel": "EMAIL", "origin": "ef" * 32},
        ],
    }
    unread = {(channel, b"\xab" * 32) for channel in ("SMS", "VOICE", "CHAT")}
    assert silent_ends(values, NOW) == {("SMS", NUMBER), ("EMAIL", "a@example.test"), *unread}


def waiting(kind: str, number: int, **more: Any) -> dict[str, Any]:
    """A message that waits."""
    return {"id": f"{kind[0].lower()}-{number}", "kind": kind, "message_id": f"M{number}", "gateway": "texts",
            "channel": "SMS", "contact_point_id": f"p{number}", "text": "…", "received_at": "2026-11-23T09:00:00Z",
            **more}  # fmt: skip


def test_requests_make_room_for_what_may_mean_stop() -> None:
    """A record full of requests takes an unclear message, for the oldest request; one full of those takes no more."""
    requests = [waiting("OPT_IN_REQUEST", number) for number in range(MOST)]
    unclear = waiting("UNCLEAR", 99)
    kept = with_one_more(requests, unclear)
    assert kept is not None
    assert [one["id"] for one in kept] == [one["id"] for one in [*requests[1:], unclear]]
    read = [*requests[:3], {**requests[3], "verdict": "DISMISSED"}, *requests[4:]]
    kept = with_one_more(read, unclear)
    assert kept is not None
    assert [one["id"] for one in kept] == [one["id"] for one in [*requests[:3], *requests[4:], unclear]]
    assert with_one_more([waiting("UNCLEAR", number) for number in range(MOST)], unclear) is None
    assert with_one_more(requests, waiting("OPT_IN_REQUEST", 99)) is None


def test_one_request_of_a_contact_point_waits() -> None:
    """START again adds nothing while one waits; once it was read it does."""
    first = waiting("OPT_IN_REQUEST", 1)
    assert with_one_more([first], waiting("OPT_IN_REQUEST", 1, id="again")) is None
    assert len(with_one_more([{**first, "verdict": "DISMISSED"}], waiting("OPT_IN_REQUEST", 1, id="again")) or ()) == 2
    assert len(with_one_more([first], waiting("OPT_IN_REQUEST", 2)) or ()) == 2
