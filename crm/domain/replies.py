"""Owns whose a message is, and the directives that follow when it says stop or is taken for an opt-in. Pure.

Law: 47 CFR 64.1200(a)(10). A revocation, whatever medium brought it, ends robocalls and robotexts alike (FCC 24-24), so
SMS and VOICE always go together. That it ends messages about unrelated matters as well binds from
`REVOKE_ALL_FROM` on, when the waiver of that part ends. Chats are not in that law: that they end together with calls
and texts is part of `RevokeScope.ALL`, for people do not tell apart what arrives at one number.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.rules import ContactRules, RevokeScope
from crm.domain.search_terms import emails, phones
from crm.domain.times import holds_on, instant

__all__ = [
    "CHANNELS", "NEEDED", "REVOKE_ALL_FROM", "End", "Incoming", "Origin", "Whose", "ends", "forbids_all", "limited_to",
    "opted_in", "origins_of", "released_by", "silent_ends", "stopped", "together",
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


class End(NamedTuple):
    """A number or mailbox of a record: whose it is, and its `system` and `value` at least."""

    origin: Origin
    point: Values


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


def limited_to(rules: ContactRules, message: Incoming) -> dict[str, Any]:
    """The members of a scope to which a message that says stop is limited; empty where it ends everything.

    Under LEGAL_MINIMUM the day of receipt decides: before `REVOKE_ALL_FROM` the programme that was answered, from then
    on all that the sender sends. What is not known of them limits nothing.
    """
    if rules.revoke_scope is RevokeScope.ALL:
        return {}
    if _one_programme(rules, message):
        return {"purpose": message.purpose} if message.purpose else {}
    return {"sender": message.sender} if message.sender else {}


def _one_programme(rules: ContactRules, message: Incoming) -> bool:
    return rules.revoke_scope is RevokeScope.LEGAL_MINIMUM and instant(message.received_at)[:10] < REVOKE_ALL_FROM


def ends(values: Values, today: str) -> list[End]:
    """Every number and mailbox of a record with these values of `NEEDED`: the patient's own in use come first.

    Behind them the confidential one, those of related persons, and those that the patient no longer uses. `today` is
    YYYY-MM-DD.
    """
    points = values.get("contact_points") or ()
    found = [End(Origin(Whose.OWN, point["id"]), point) for point in points if _in_use(point, today)]
    if (confidential := values.get("confidential_communication") or {}).get("value"):
        system = "EMAIL" if confidential["channel"] == "EMAIL" else "PHONE"
        point = {"system": system, "value": confidential["value"]}
        found.append(End(Origin(Whose.CONFIDENTIAL, confidential["id"]), point))
    for person in values.get("related_persons") or ():
        theirs = person.get("contact_points") or ()
        found += [End(Origin(Whose.RELATED, point["id"], person["id"]), point) for point in theirs]
    return found + [End(Origin(Whose.FORMER, point["id"]), point) for point in points if not _in_use(point, today)]


def origins_of(values: Values, term: bytes, today: str) -> list[Origin]:
    """Whose the number or mailbox of `term` is in a record, once for each place that has it; in the order of `ends`."""
    return [end.origin for end in ends(values, today) if _is(end.point, term)]


def _is(point: Values, term: bytes) -> bool:
    one = {"contact_points": [point]}
    return term in phones(one) or term in emails(one)


def _in_use(point: Values, today: str) -> bool:
    period = point.get("period") or {}
    return point.get("use") != "OLD" and holds_on(period.get("start"), period.get("end"), today)


def stopped(rules: ContactRules, message: Incoming, origins: Sequence[Origin], by: str) -> list[dict[str, Any]]:
    """The prohibitions that follow from a message that says stop; `by` is who brought it, or who read it.

    They bind from when they are stored, as all prohibitions do. Where the number is the patient's own, the person is
    left alone on these channels altogether, unless no more than one programme ends; every other place that has the
    number is forbidden by itself. What they are limited to is as in `limited_to`.
    """
    limits = limited_to(rules, message)
    own = [origin for origin in origins if origin.whose is Whose.OWN]
    rest = origins
    scopes: list[tuple[Origin, dict[str, Any]]] = []
    if own and not _one_programme(rules, message):
        scopes.append((own[0], limits))
        rest = [origin for origin in origins if origin.whose in {Whose.CONFIDENTIAL, Whose.RELATED}]
    scopes += [(origin, {**limits, "contact_point_id": origin.point_id}) for origin in rest]
    return [
        _prohibition(rules, message, origin, {"channel": channel, **scope}, by)
        for origin, scope in scopes
        for channel in together(message.channel, rules.revoke_scope)
    ]


def _prohibition(
    rules: ContactRules, message: Incoming, origin: Origin, scope: dict[str, Any], by: str
) -> dict[str, Any]:
    received = instant(message.received_at)
    return {
        "decision": "DENY",
        "scope": scope,
        "giver": _giver(origin),
        "capture": {**_capture(rules, message, origin), "at": received, "by": by},
        "received_at": received,
    }


def opted_in(
    rules: ContactRules,
    message: Incoming,
    origins: Sequence[Origin],
    history: Sequence[Values],
    by: str,
    now: int,
    *,
    silent: bool,
) -> list[dict[str, Any]]:
    """The permissions by which `by`, of staff, confirms that the person wants messages there again, from `now` on.

    For the channel, the programme that the message answered, if that is known, and each place that has the number as
    the first of `origins` has it. One without more, and one for each programme or sender that a prohibition of this
    channel names, since only what is as specific beats it; but none for a programme that needs a consent of its own.
    Where the number is `silent`, which ends now, and the programme is known, the rest is forbidden by the record.
    """
    scopes = _permitted(rules, message, history)
    said: list[dict[str, Any]] = []
    for origin in (each for each in origins if each.whose is origins[0].whose):
        place = {"channel": message.channel, "contact_point_id": origin.point_id}
        if silent and message.purpose and not forbids_all(history, message.channel, origin.point_id):
            before = instant(min(message.received_at, now - 1))
            said.append({**_prohibition(rules, message, origin, place, by), "effective_from": before})
        said += [
            {
                "decision": "PERMIT",
                "scope": {**place, **scope},
                "giver": _giver(origin),
                "capture": {**_capture(rules, message, origin), "at": instant(now), "by": by},
                "confirmed_at": instant(now),
                "effective_from": instant(now),
            }
            for scope in scopes
        ]
    return said


def _permitted(rules: ContactRules, message: Incoming, history: Sequence[Values]) -> list[dict[str, Any]]:
    answered = {"purpose": message.purpose} if message.purpose else {}
    scopes: list[dict[str, Any]] = [answered]
    for old in history:
        scope = old["scope"]
        if old["decision"] != "DENY" or scope.get("channel", message.channel) != message.channel:
            continue
        narrower = answered | {name: scope[name] for name in ("purpose", "sender") if name in scope}
        another = message.purpose is not None and narrower["purpose"] != message.purpose
        own_consent = message.purpose is None and "purpose" in scope and _opt_in(rules, scope["purpose"])
        if narrower not in scopes and not another and not own_consent:
            scopes.append(narrower)
    return scopes


def _opt_in(rules: ContactRules, purpose: str) -> bool:
    rule = rules.purposes.get(CommunicationPurpose(purpose))
    return rule is None or rule.opt_in


def forbids_all(history: Sequence[Values], channel: str, point_id: str) -> bool:
    """Whether the record itself forbids all contact by `channel` at the contact point, for as long as it lasts."""
    return any(
        one["decision"] == "DENY"
        and "effective_to" not in one
        and one["scope"].keys() <= {"channel", "contact_point_id"}
        and one["scope"].get("channel", channel) == channel
        and one["scope"].get("contact_point_id", point_id) == point_id
        for one in history
    )


def released_by(values: Values, permit: Values, today: str, now: int) -> list[tuple[str, str]]:
    """The (channel, number or mailbox) that a PERMIT which the patient gave lets be used again; none for any other.

    They are the patient's own in use that its scope covers. A PERMIT for one programme or sender, or for a while,
    releases only what the record itself forbids besides, so that the rest stays forbidden. Needs `consents` as well.
    """
    scope = {name: value for name, value in (permit.get("scope") or {}).items() if value is not None}
    giver, until = permit.get("giver") or {}, permit.get("effective_to")
    if permit["decision"] != "PERMIT" or _giver(Origin(Whose.OWN, "")) != giver or (until and until <= instant(now)):
        return []
    whole = until is None and scope.keys() <= {"channel", "contact_point_id"}
    found = []
    for origin, point in ends(values, today):
        if origin.whose is not Whose.OWN or scope.get("contact_point_id", origin.point_id) != origin.point_id:
            continue
        for channel in _BY_SYSTEM.get(point["system"], frozenset()) & {*_ALL_BY_NUMBER, "EMAIL"}:
            if scope.get("channel", channel) != channel:
                continue
            if whole or forbids_all(values.get("consents") or (), channel, origin.point_id):
                found.append((channel, point["value"]))
    return found


def silent_ends(values: Values, now: int) -> set[tuple[str, str | bytes]]:
    """The (channel, number or mailbox) of a record at which something forbids contact; hashed ones of messages as such.

    Prohibitions in force, restrictions of contact, texts that a point does not permit, and messages that may mean to
    stop and that nobody has read. Needs the cells of `NEEDED`, `consents`, `restrictions` and `suspensions`. What is
    limited to a purpose or a sender counts as well: a number that outlives its record has no purposes. A prohibition
    that names no contact point is about the patient's own.
    """
    at = instant(now)
    found: set[tuple[str, str | bytes]] = set()
    for origin, point in ends(values, at[:10]):
        usable = _BY_SYSTEM.get(point["system"], frozenset())
        own = origin.whose in {Whose.OWN, Whose.FORMER}
        silent = {"SMS"} & usable if point.get("text_permitted") == "NO" else set()
        for one in values.get("consents") or ():
            scope = one["scope"]
            denied = one["decision"] == "DENY" and one["effective_from"] <= at < one.get("effective_to", "~")
            if denied and scope.get("contact_point_id", origin.point_id if own else None) == origin.point_id:
                silent |= usable & {scope["channel"]} if "channel" in scope else usable
        for one in values.get("restrictions") or ():
            bound = one["kind"] == "CONTACT" and "lifted_at" not in one and at < one.get("until", "~")
            if bound and origin.whose is not Whose.RELATED:
                silent |= usable & set(one["channels"]) if one.get("channels") else usable
        found |= {(channel, point["value"]) for channel in silent}
    for one in values.get("suspensions") or ():
        if one["kind"] == "UNCLEAR" and "verdict" not in one and "origin" in one:
            channels = together(Channel(one["channel"]), RevokeScope.ALL)
            found |= {(channel.value, bytes.fromhex(one["origin"])) for channel in channels}
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
