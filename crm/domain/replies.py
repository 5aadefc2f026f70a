"""Owns whose a message is, and the directives that follow when it says stop or is taken for an opt-in. Pure.

Law: 47 CFR 64.1200(a)(10). A revocation, whatever medium brought it, ends robocalls and robotexts alike (FCC 24-24), so
SMS and VOICE always go together. That it ends messages about unrelated matters as well binds from
`REVOKE_ALL_FROM` on, when the waiver of that part ends. Chats are not in that law: that they end together with calls
and texts is part of `RevokeScope.ALL`, for people do not tell apart what arrives at one number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.rules import ContactRules, RevokeScope
from crm.domain.reply_terms import replies
from crm.domain.search_terms import emails, phones
from crm.domain.times import holds_on, instant

__all__ = [
    "CHANNELS", "NEEDED", "REVOKE_ALL_FROM", "Incoming", "Origin", "Whose", "opted_in", "origin_of", "point_of",
    "silent_ends", "stopped", "together",
]  # fmt: skip

REVOKE_ALL_FROM: Final = "2027-01-31"
"""The day (UTC) from which a STOP has to end all that its sender sends, whatever it was about."""

CHANNELS: Final = frozenset({Channel.SMS, Channel.VOICE, Channel.EMAIL, Channel.FAX, Channel.TEXTPHONE, Channel.CHAT})
"""Channels on which messages come from a number or a mailbox."""

NEEDED: Final = frozenset({"contact_points", "related_persons", "confidential_communication"})
"""The fields that tell whose a message is."""

_CALLS_AND_TEXTS: Final = (Channel.SMS, Channel.VOICE)
_ALL_BY_NUMBER: Final = (*_CALLS_AND_TEXTS, Channel.CHAT)

_DIALLED: Final = frozenset({"SMS", "VOICE", "FAX", "TEXTPHONE", "CHAT"})
_BY_SYSTEM: Final[Mapping[str, frozenset[str]]] = {
    "PHONE": _DIALLED,
    "SMS": _DIALLED,
    "FAX": _DIALLED,
    "PAGER": _DIALLED,
    "EMAIL": frozenset({"EMAIL"}),
}
"""The channels that may end at a contact point of a system."""

Values = Mapping[str, Any]


class Whose(StrEnum):
    """Whose number or mailbox it is: the patient's, one they no longer use, a related person's, or the confidential."""

    OWN = "OWN"
    FORMER = "FORMER"
    RELATED = "RELATED"
    CONFIDENTIAL = "CONFIDENTIAL"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a message came from, within one record; `related` is the id of the related person, if it is theirs."""

    whose: Whose
    point_id: str
    related: str | None = None


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it was brought; times in microseconds since 1970, UTC. Nothing of the person is shown in a repr."""

    gateway: str
    message_id: str
    channel: Channel
    received_at: int
    term: bytes = field(repr=False)
    value: str = field(repr=False)
    text: str = field(repr=False)
    sender: str | None = None
    purpose: CommunicationPurpose | None = None


def together(channel: Channel, scope: RevokeScope) -> tuple[Channel, ...]:
    """The channels that a revocation on `channel` ends: calls and texts by law, and chats with them under ALL."""
    group = _ALL_BY_NUMBER if scope is RevokeScope.ALL else _CALLS_AND_TEXTS
    return group if channel in group else (channel,)


def origin_of(values: Values, term: bytes, today: str) -> Origin | None:
    """Whose the number or mailbox of `term` is in a record with these values of `NEEDED`; None if nobody's.

    The patient's own comes before all others. `today` is YYYY-MM-DD.
    """
    found = [point for point in values.get("contact_points") or () if _is(point, term)]
    current = [point for point in found if _in_use(point, today)]
    if current:
        return Origin(Whose.OWN, current[0]["id"])
    if term in replies({"confidential_communication": values.get("confidential_communication")}):
        return Origin(Whose.CONFIDENTIAL, values["confidential_communication"]["id"])
    for person in values.get("related_persons") or ():
        for point in person.get("contact_points") or ():
            if _is(point, term):
                return Origin(Whose.RELATED, point["id"], person["id"])
    return Origin(Whose.FORMER, found[0]["id"]) if found else None


def point_of(values: Values, point_id: str, today: str) -> tuple[Origin, str] | None:
    """Whose the contact point with this id is, and its number or mailbox; None if the record has it no more."""
    for point in values.get("contact_points") or ():
        if point["id"] == point_id:
            return Origin(Whose.OWN if _in_use(point, today) else Whose.FORMER, point_id), point["value"]
    confidential = values.get("confidential_communication") or {}
    if confidential.get("id") == point_id:
        return Origin(Whose.CONFIDENTIAL, point_id), confidential.get("value", "")
    for person in values.get("related_persons") or ():
        for point in person.get("contact_points") or ():
            if point["id"] == point_id:
                return Origin(Whose.RELATED, point_id, person["id"]), point["value"]
    return None


def _is(point: Values, term: bytes) -> bool:
    one = {"contact_points": [point]}
    return term in phones(one) or term in emails(one)


def _in_use(point: Values, today: str) -> bool:
    period = point.get("period") or {}
    return point.get("use") != "OLD" and holds_on(period.get("start"), period.get("end"), today)


def stopped(rules: ContactRules, message: Incoming, origin: Origin, by: str) -> list[dict[str, Any]]:
    """The prohibitions that follow from a message that says stop; `by` is who brought it, or who read it.

    They bind from when they are stored, as all prohibitions do. Under ALL the person, where the number is their own,
    is left alone on these channels altogether; who shares or used a number speaks for that number only. Under
    LEGAL_MINIMUM the day of receipt decides: before `REVOKE_ALL_FROM` the programme that was answered, from then on all
    that the sender sends.
    """
    scope: dict[str, Any] = {}
    personal = origin.whose is Whose.OWN
    if rules.revoke_scope is RevokeScope.LEGAL_MINIMUM:
        if instant(message.received_at)[:10] < REVOKE_ALL_FROM:
            personal, scope = False, {"purpose": message.purpose}
        else:
            scope = {"sender": message.sender}
    if not personal:
        scope["contact_point_id"] = origin.point_id
    received = instant(message.received_at)
    return [
        {
            "decision": "DENY",
            "scope": {"channel": channel, **{name: value for name, value in scope.items() if value}},
            "giver": _giver(origin),
            "capture": {**_capture(rules, message, origin), "at": received, "by": by},
            "received_at": received,
        }
        for channel in together(message.channel, rules.revoke_scope)
    ]


def opted_in(
    rules: ContactRules, message: Incoming, origin: Origin, history: Sequence[Values], by: str, now: int
) -> list[dict[str, Any]]:
    """The permissions by which `by`, of staff, confirms that the person wants messages there again, from `now` on.

    For the channel and contact point of the message alone: one without more, and one for each programme or sender that
    a prohibition of these channels names, since only what is as specific beats it.
    """
    scopes: list[dict[str, Any]] = [{}]
    for old in history:
        narrower = {name: old["scope"][name] for name in ("purpose", "sender") if name in old["scope"]}
        same = old["scope"].get("channel", message.channel) == message.channel
        if old["decision"] == "DENY" and same and narrower not in scopes:
            scopes.append(narrower)
    return [
        {
            "decision": "PERMIT",
            "scope": {"channel": message.channel, "contact_point_id": origin.point_id, **scope},
            "giver": _giver(origin),
            "capture": {**_capture(rules, message, origin), "at": instant(now), "by": by},
            "confirmed_at": instant(now),
            "effective_from": instant(now),
        }
        for scope in scopes
    ]


def silent_ends(values: Values, now: int) -> set[tuple[str, str]]:
    """The (channel, number or mailbox) of a record at which some prohibition in force forbids contact.

    Needs the cells of `NEEDED` and `consents`. One for a purpose or a sender counts as well: a number that outlives its
    record has no purposes. One that names no contact point is about the patient's own.
    """
    at = instant(now)
    points = [(point["id"], point, True) for point in values.get("contact_points") or ()]
    for person in values.get("related_persons") or ():
        points += [(point["id"], point, False) for point in person.get("contact_points") or ()]
    if (confidential := values.get("confidential_communication") or {}).get("value"):
        system = "EMAIL" if confidential["channel"] == "EMAIL" else "PHONE"
        points.append((confidential["id"], {"system": system, "value": confidential["value"]}, False))
    found: set[tuple[str, str]] = set()
    for one in values.get("consents") or ():
        if one["decision"] != "DENY" or not one["effective_from"] <= at < one.get("effective_to", "~"):
            continue
        scope = one["scope"]
        for point_id, point, own in points:
            if scope.get("contact_point_id") == point_id or (own and "contact_point_id" not in scope):
                forbidden = _BY_SYSTEM.get(point["system"], frozenset())
                if "channel" in scope:
                    forbidden &= {scope["channel"]}
                found |= {(channel, point["value"]) for channel in forbidden}
    return found


def _giver(origin: Origin) -> dict[str, Any]:
    return {"role": "PATIENT"} if origin.related is None else {"role": "OTHER", "related_person_id": origin.related}


def _capture(rules: ContactRules, message: Incoming, origin: Origin) -> dict[str, Any]:
    return {
        "channel": message.channel,
        "system": message.gateway,
        "message_id": message.message_id,
        "contact_point_id": origin.point_id,
        "evidence": rules.version,
    }
