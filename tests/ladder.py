"""Somebody to be contacted, a sender, and the shortest way to ask what the ladder says about the two."""

from collections.abc import Mapping
from typing import Any

from crm.catalogue import BY_NAME
from crm.domain import values
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision import ContactDecision, decide
from crm.domain.decision.rules import ContactRules, Sender
from crm.domain.times import micros

__all__ = [
    "AT", "EVERYTHING", "HOME", "MAILBOX", "MOBILE", "NOON", "ONE", "PARENT", "PATIENT", "RULES", "TEXTS_AND_MAIL",
    "TWO", "asked", "canonical", "directive", "relative", "sender_of", "somebody", "telephone",
]  # fmt: skip

NOON = "2026-11-18T12:00:00Z"
"""A Wednesday at noon where the person lives."""

AT = micros(NOON)
RULES = ContactRules("contact:test")
TEXTS_AND_MAIL = Sender("reminders", (Channel.SMS, Channel.EMAIL), ("en",), frozenset())
EVERYTHING = Sender("everything", tuple(Channel), ("en",))

MOBILE = "00000000-0000-7000-8000-000000000001"
MAILBOX = "00000000-0000-7000-8000-000000000002"
HOME = "00000000-0000-7000-8000-000000000003"
PARENT = {"role": "PARENT"}
PATIENT = {"role": "PATIENT"}
ONE = "00000000-0000-7000-8000-00000000000a"
TWO = "00000000-0000-7000-8000-00000000000b"

_SOMEBODY: dict[str, Any] = {
    "preferred_name": "Ada",
    "contact_points": [
        {"id": MOBILE, "system": "PHONE", "value": "+447700900321", "use": "MOBILE", "rank": 1},
        {"id": MAILBOX, "system": "EMAIL", "value": "ada@example.test", "rank": 2},
    ],
    "addresses": [{"id": HOME, "use": "HOME", "lines": ["17 Quay Street"], "city": "Leeds"}],
    "languages": [{"tag": "en", "rank": 1}],
    "time_zone": "Europe/London",
}


def canonical(fields: Mapping[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    """`fields` by catalogue name as they are stored, `lenient` as by an import; None takes one away."""
    return {
        name: values.parse(BY_NAME[name].kind, value, name, lenient=lenient)
        for name, value in fields.items()
        if value is not None
    }


def somebody(**fields: Any) -> dict[str, Any]:
    """A person with a mobile telephone, a mailbox and a home in England, who speaks English; `fields` change that."""
    return canonical({**_SOMEBODY, **fields})


def directive(
    decision: str,
    *,
    since: str = "2026-05-01",
    seq: int = 1,
    until: str | None = None,
    giver: Mapping[str, str] = PATIENT,
    said: str | None = None,
    message: str | None = None,
    **scope: str,
) -> Any:
    """A consent directive from the day `since` until before the day `until`, which the patient gave.

    It was `said` then unless it was on another day, perhaps by `message`.
    """
    return {
        "seq": seq,
        "decision": decision,
        "scope": scope,
        "giver": giver,
        "capture": {"at": said or since, "message_id": message},
        "effective_from": since,
        "effective_to": until,
        "received_at": since,
    }


def telephone(last: int = 1, **more: Any) -> dict[str, Any]:
    """A contact point with the id `ONE` unless `more` says otherwise; `last` is the end of its number."""
    return {"id": ONE, "system": "PHONE", "value": f"+44770090032{last}", **more}


def relative(**more: Any) -> dict[str, Any]:
    """Ben, with the id `ONE`, who is told beside the patient."""
    return {"id": ONE, "name": "Ben", "relationship": "CARER", "contact": "BESIDE", **more}


def sender_of(channel: Channel, languages: tuple[str, ...] = ("en",), formats: frozenset[str] | None = None) -> Sender:
    """A sender of one channel, called `only`."""
    return Sender("only", (channel,), languages, formats)


def asked(person: Mapping[str, Any], purpose: str = "APPOINTMENT_REMINDER", **more: Any) -> ContactDecision:
    """What is decided about `person`, on a Wednesday at noon, for a sender of texts and mail in English."""
    question = {"sender": TEXTS_AND_MAIL, "rules": RULES, "now": AT, "use": "COC", "reach": False, **more}
    return decide(person, CommunicationPurpose(purpose), **question)
