"""The decision table of docs/contact-decisions.md, played: every row has an example, and says what comes of it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision import Reason, explained
from crm.domain.decision.explanation import REASONS
from crm.domain.decision.rules import PURPOSES, ContactRules, LegalClass, LegalHours, Sender
from crm.domain.times import micros
from tests.ladder import HOME, MAILBOX, MOBILE, PARENT, asked, canonical, directive, somebody, telephone

PAGE = (Path(__file__).resolve().parents[2] / "docs/contact-decisions.md").read_text(encoding="utf-8")
ROW = re.compile(r"\| `([a-z-]+)` \| (?:.+) \| `([A-Z]+)` \| ((?:`[A-Z_]+` ?)+)\|")
REASON = re.compile(r"^\| `([A-Z_]+)` \| .+ \| .+ \|$", re.MULTILINE)
TABLE = {row[1]: (row[2], tuple(re.findall("[A-Z_]+", row[3]))) for row in ROW.finditer(PAGE)}

REMINDER = CommunicationPurpose.APPOINTMENT_REMINDER
LETTERS = Sender("letters", (Channel.LETTER,))
NIGHT = micros("2026-11-18T23:00:00Z")
PRIVATE = {"channel": "EMAIL", "value": "private@example.test", "set_at": "2026-05-02"}
CARER = {
    "name": "Ben",
    "relationship": "CARER",
    "contact": "INSTEAD",
    "contact_points": [{"system": "SMS", "value": "+447700900777"}],
}
US_HOURS = LegalHours(
    "US", "2000-01-01", 8 * 60, 21 * 60, frozenset({LegalClass.HEALTHCARE}), frozenset({Channel.SMS}), "a test"
)


@dataclass(frozen=True)
class Example:
    """One person and one question; `shows` is what the answer has besides outcome and reasons."""

    person: Mapping[str, Any]
    purpose: str = "APPOINTMENT_REMINDER"
    question: Mapping[str, Any] = field(default_factory=dict)
    shows: Mapping[str, Any] = field(default_factory=dict)


def _restriction(**scope: Any) -> dict[str, Any]:
    return {"kind": "CONTACT", "basis": "OBJECTION", "placed_by": "officer", "placed_at": "2026-05-01", **scope}


def _mobile(**more: Any) -> dict[str, Any]:
    """Somebody with a mobile telephone and no mailbox."""
    return somebody(
        contact_points=[{"id": MOBILE, "system": "PHONE", "value": "+447700900321", "use": "MOBILE", **more}]
    )


def _needing(kind: str, **more: Any) -> dict[str, Any]:
    return somebody(access_needs=[{"kind": kind}], **more)


_NO = directive("DENY")
_NO_TEXTS = directive("DENY", channel="SMS")
_AT_THE_DESK = {"id": MOBILE, "system": "PHONE", "value": "ask at the desk", "capabilities": ["SMS"]}
_BY_MAIL = {"channel": Channel.EMAIL}
_TEXTS_FIRST = [{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS"]}]

EXAMPLES: dict[str, Example] = {
    "erased": Example(somebody(), question={"erased": True}),
    "merged": Example(somebody(), question={"status": "merged"}),
    "deceased": Example(somebody(deceased_at="2026-11")),
    "inactive": Example(somebody(active=False)),
    "restricted": Example(somebody(), question={"restricted": True}),
    "restricted-sales": Example(
        somebody(confidential_communication=PRIVATE), "MARKETING", {"use": "HMARKT", "restricted": True}
    ),
    "restricted-use": Example(
        somebody(confidential_communication=PRIVATE), question={"use": "HMARKT", "restricted": True}
    ),
    "confidential-sales": Example(
        somebody(confidential_communication={**PRIVATE, "purposes": ["BILLING"]}, consents=[directive("PERMIT")]),
        "MARKETING",
        {"use": "HMARKT"},
    ),
    "forbidden": Example(somebody(restrictions=[_restriction(purposes=["EMERGENCY"])]), "EMERGENCY"),
    "forbidden-channel": Example(
        somebody(restrictions=[_restriction(channels=["SMS"])], channel_preferences=_TEXTS_FIRST), shows=_BY_MAIL
    ),
    "no-channel": Example(somebody(), question={"channels": [Channel.FAX]}),
    "confidential-channel": Example(somebody(confidential_communication={"channel": "PORTAL", "set_at": "2026-05-02"})),
    "confidential": Example(
        somebody(confidential_communication=PRIVATE, related_persons=[CARER, {**CARER, "contact": "BESIDE"}]),
        question={"restricted": True},
        shows={"confidential": True, "stand_in": None, "copies": (), **_BY_MAIL},
    ),
    "confidential-denied": Example(
        _needing("CONTACT_BY_SMS", confidential_communication=PRIVATE, consents=[directive("DENY", since="2026-05-03")])
    ),
    "confidential-denied-by-others": Example(
        somebody(
            confidential_communication=PRIVATE,
            consents=[directive("DENY", since="2026-05-03", channel="EMAIL", sender="reminders", giver=PARENT)],
        ),
        shows=_BY_MAIL,
    ),
    "confidential-purpose": Example(
        somebody(confidential_communication=PRIVATE, consents=[directive("DENY", purpose="APPOINTMENT_REMINDER")])
    ),
    "confidential-permission": Example(somebody(confidential_communication=PRIVATE), "SURVEY"),
    "stand-in": Example(
        somebody(related_persons=[{**CARER, "rank": 2}, {**CARER, "name": "Cleo", "rank": 1}]),
        shows={"salutation": "Cleo", "disclosed": {"relatedPersons"}},
    ),
    "stand-in-unreachable": Example(somebody(related_persons=[{**CARER, "contact_points": []}])),
    "stand-in-denied": Example(somebody(related_persons=[CARER], consents=[_NO])),
    "opted-out": Example(somebody(consents=[directive("PERMIT", since="2026-04-01"), {**_NO, "seq": 2}])),
    "opted-in-again": Example(
        somebody(consents=[_NO_TEXTS, directive("PERMIT", seq=2, since="2026-06-01", channel="SMS")]),
        shows={"channel": Channel.SMS},
    ),
    "denied-at-once": Example(somebody(consents=[_NO, directive("PERMIT", seq=2)])),
    "denied-widely": Example(
        _mobile() | somebody(contact_points=None, consents=[_NO_TEXTS, directive("PERMIT", seq=2, since="2026-06-01")]),
        question={"channels": [Channel.SMS]},
    ),
    "permitted-by-others": Example(
        somebody(consents=[_NO, directive("PERMIT", seq=2, since="2026-06-01", giver=PARENT)])
    ),
    "permitted-before": Example(
        somebody(consents=[_NO, directive("PERMIT", seq=2, since="2026-06-01", said="2019-01-01")])
    ),
    "emergency-passes": Example(somebody(consents=[_NO]), "EMERGENCY"),
    "emergency-denied": Example(somebody(consents=[directive("DENY", purpose="EMERGENCY")]), "EMERGENCY"),
    "permission-ended": Example(somebody(consents=[directive("PERMIT", until="2026-06-01")]), "SURVEY"),
    "permission-missing": Example(somebody(), "SURVEY"),
    "permission": Example(somebody(consents=[directive("PERMIT", purpose="SURVEY")]), "SURVEY"),
    "permission-by-message": Example(somebody(consents=[directive("PERMIT", message="SM-1")]), "SURVEY"),
    "no-point": Example(somebody(contact_points=[])),
    "not-a-number": Example(
        canonical({"contact_points": [_AT_THE_DESK]}, lenient=True),
        question={"channels": [Channel.SMS]},
        shows={"considered": ((Channel.SMS, MOBILE, Reason.NO_USABLE_CONTACT_POINT),)},
    ),
    "expired-point": Example(_mobile(period={"end": "2026-11-17"}), question={"channels": [Channel.SMS]}),
    "no-texts": Example(_mobile(text_permitted="NO"), question={"channels": [Channel.SMS]}),
    "undeliverable": Example(
        _mobile(undeliverable={"since": "2026-11-01", "reason": "INVALID_PHONE_NUMBER"}),
        question={"channels": [Channel.SMS]},
    ),
    "unverified": Example(somebody(), "TEST_RESULT"),
    "suppressed": Example(somebody(), question={"suppressed": frozenset({"+447700900321"}), "channels": [Channel.SMS]}),
    "suppressed-emergency": Example(
        somebody(), "EMERGENCY", {"suppressed": frozenset({"+447700900321"}), "channels": [Channel.SMS]}
    ),
    "several-reasons": Example(
        somebody(
            consents=[_NO_TEXTS],
            contact_points=[
                {"system": "SMS", "value": "+447700900321"},
                {"system": "SMS", "value": "+447700900322"},
                {
                    "system": "EMAIL",
                    "value": "ada@example.test",
                    "undeliverable": {"since": "2026-11-01", "reason": "UNKNOWN"},
                },
            ],
        )
    ),
    "use-mismatch": Example(somebody(), question={"use": "HMARKT"}),
    "review-pending": Example(
        somebody(
            suspensions=[
                {
                    "kind": "UNCLEAR",
                    "message_id": "SM-1",
                    "gateway": "texts",
                    "channel": "SMS",
                    "text": "Please stop, or not.",
                    "received_at": "2026-11-01",
                }
            ]
        )
    ),
    "need-met": Example(
        _needing("CONTACT_BY_EMAIL", channel_preferences=[{"purpose": "APPOINTMENT_REMINDER", "channels": ["SMS"]}]),
        shows={"unmet": (), **_BY_MAIL},
    ),
    "need-forbidden": Example(_needing("CONTACT_BY_SMS", consents=[_NO_TEXTS]), shows={"unmet": ("CONTACT_BY_SMS",)}),
    "need-unmet": Example(
        _needing("CONTACT_BY_LETTER"), shows={"unmet": ("CONTACT_BY_LETTER",), "disclosed": {"accessNeeds"}}
    ),
    "need-carer": Example(_needing("CONTACT_VIA_CARER"), shows={"unmet": ("CONTACT_VIA_CARER",)}),
    "need-confidential": Example(
        _needing("CONTACT_BY_SMS", confidential_communication=PRIVATE),
        shows={
            "unmet": ("CONTACT_BY_SMS",),
            "disclosed": {"confidentialCommunication", "displayName", "languages", "accessNeeds"},
        },
    ),
    "preferred": Example(
        somebody(
            channel_preferences=[
                {"purpose": "BILLING", "channels": ["SMS"]},
                {"purpose": "APPOINTMENT_REMINDER", "channels": ["PORTAL", "EMAIL"]},
            ]
        ),
        shows=_BY_MAIL,
    ),
    "preferred-failed": Example(somebody(consents=[_NO_TEXTS], channel_preferences=_TEXTS_FIRST), shows=_BY_MAIL),
    "unasked-failed": Example(somebody(consents=[_NO_TEXTS]), shows=_BY_MAIL),
    "letter-address": Example(
        somebody(
            addresses=[
                {"id": HOME, "use": "HOME"},
                {"use": "TEMP", "period": {"end": "2026-10"}},
                {"use": "BILLING"},
                {"use": "TEMP", "type": "PHYSICAL"},
            ]
        ),
        question={"sender": LETTERS},
        shows={"address": {"id": HOME, "use": "HOME", "lines": []}, "contact_point": None},
    ),
    "legal-hours": Example(
        somebody(),
        question={
            "now": NIGHT,
            "rules": ContactRules("x", jurisdictions=("US",), legal_hours=(US_HOURS,), quiet_from=0, quiet_to=0),
        },
        shows={"next_permitted_at": micros("2026-11-19T08:00:00Z")},
    ),
    "own-hours": Example(
        somebody(contact_windows=[{"days": ["THU"], "from": "09:00", "to": "17:00", "time_zone": "Europe/London"}]),
        shows={"next_permitted_at": micros("2026-11-19T09:00:00Z"), "channel": None, "disclosed": {"timeZone"}},
    ),
    "default-hours": Example(
        somebody(), question={"now": NIGHT}, shows={"next_permitted_at": micros("2026-11-19T08:00:00Z")}
    ),
    "unknown-zone": Example(
        somebody(time_zone=None), question={"rules": ContactRules("x", zones=("Europe/London", "Asia/Tokyo"))}
    ),
    "emergency-hours": Example(somebody(), "EMERGENCY", {"now": NIGHT}),
    "unbound-hours": Example(
        somebody(),
        question={
            "now": NIGHT,
            "rules": ContactRules(
                "x",
                purposes={REMINDER: replace(PURPOSES[REMINDER], quiet_hours=False)},
            ),
        },
    ),
    "language": Example(
        somebody(languages=[{"tag": "cy", "rank": 1}, {"tag": "en-GB", "rank": 2}, {"tag": "bfi", "preferred": True}]),
        shows={"language": "en-GB"},
    ),
    "language-fallback": Example(somebody(languages=[{"tag": "so"}]), shows={"language": "en"}),
    "format": Example(
        somebody(accessible_formats=["BRAILLE", "EASY_READ"]),
        question={"sender": Sender("s", (Channel.EMAIL,), ("en",), frozenset({"EASY_READ"}))},
        shows={"format": "EASY_READ", "unmet": ()},
    ),
    "format-fallback": Example(
        somebody(accessible_formats=["BRAILLE", "EASY_READ"]),
        shows={"format": "STANDARD", "unmet": ("BRAILLE", "EASY_READ")},
    ),
    "copies": Example(somebody(related_persons=[{**CARER, "contact": "BESIDE"}]), shows={"salutation": "Ada"}),
    "copy-to-the-same": Example(
        somebody(related_persons=[{**CARER, "contact": "BESIDE", "contact_points": [telephone(system="SMS")]}]),
        shows={"contact_point": somebody()["contact_points"][0], "copies": ()},
    ),
    "plain": Example(
        somebody(),
        shows={
            "channel": Channel.SMS,
            "language": "en",
            "format": "STANDARD",
            "salutation": "Ada",
            "considered": ((Channel.EMAIL, MAILBOX, Reason.OK),),
            "disclosed": {"contactPoints", "languages", "displayName"},
        },
    ),
}


def test_every_row_has_an_example() -> None:
    """The page and the examples name the same rungs, in the same order."""
    assert list(TABLE) == list(EXAMPLES)


@pytest.mark.parametrize("rung", TABLE)
def test_a_row_is_what_is_decided(rung: str) -> None:
    """The example of a row is decided as the row says."""
    example = EXAMPLES[rung]
    decision = asked(example.person, example.purpose, **example.question)
    assert (decision.outcome.value, tuple(decision.reasons)) == TABLE[rung]
    assert {name: getattr(decision, name) for name in example.shows} == example.shows
    assert explained(decision)


def test_each_reason_is_in_the_table_of_what_to_do() -> None:
    """A messaging engineer finds every reason that there is, in their order, and staff a sentence for each."""
    table = PAGE.partition("## What to do")[2].partition("\n## ")[0]
    assert REASON.findall(table) == [reason.value for reason in Reason]
    assert set(REASONS) == set(Reason)
