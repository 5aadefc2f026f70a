"""Owns the ways in which somebody could be contacted: which contact point carries which channel, what rules one out.

A candidate is one channel with one contact point or address, judged. Which of those that are left is best stands in
their order.
"""

import re
from collections.abc import Mapping, Sequence
from math import inf
from typing import Any, Final, NamedTuple

from crm.domain.codes import (
    AddressType,
    AddressUse,
    Capability,
    Channel,
    CommunicationPurpose,
    ContactPointSystem,
    ContactPointUse,
    TriState,
    VerificationStatus,
)
from crm.domain.decision import consent
from crm.domain.decision.question import Question
from crm.domain.decision.verdict import Objector, Reason
from crm.domain.times import holds_on

__all__ = ["Candidate", "best_first", "candidates", "confidential_candidate", "objectors", "preferred"]

Point = Mapping[str, Any]

WITHOUT_POINT: Final = frozenset({Channel.PORTAL, Channel.IN_PERSON})
"""Channels that end at no contact point."""

_UNPROVEN: Final = WITHOUT_POINT | {Channel.LETTER}
"""Channels whose end nobody can verify, or need not."""

_NUMBER: Final = re.compile(r"\+[0-9]+")  # E.164
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    ContactPointSystem.PHONE: _NUMBER,
    ContactPointSystem.SMS: _NUMBER,
    ContactPointSystem.FAX: _NUMBER,
    ContactPointSystem.EMAIL: re.compile(".+@.+"),
}
"""What a value must look like for a message to arrive: an import keeps what has no normal form as it was written."""


class Candidate(NamedTuple):
    """One way of contact. `id` and `point` are of a `ContactPoint` or an `Address`, None where there is none.

    `refusal` is why this way is ruled out, None where nothing does.
    """

    channel: Channel
    id: str | None
    point: Point | None
    refusal: Reason | None


def best_first(values: Mapping[str, Any], purpose: CommunicationPurpose, channels: Sequence[Channel]) -> list[Channel]:
    """`channels` as the person ranks them for `purpose`; those not mentioned come last, in the order they had."""
    wanted = preferred(values, purpose)
    if not wanted:
        return list(channels)
    return sorted(channels, key=lambda channel: wanted.index(channel) if channel in wanted else len(wanted))


def preferred(values: Mapping[str, Any], purpose: CommunicationPurpose) -> Sequence[str]:
    """The channels that the person lists for `purpose`, the most wanted first."""
    for preference in values.get("channel_preferences", ()):
        if preference["purpose"] == purpose:
            wanted: Sequence[str] = preference["channels"]
            return wanted
    return ()


def candidates(question: Question, party: Mapping[str, Any]) -> list[Candidate]:
    """Every way to reach `party` (a profile, or a `RelatedPerson`) by the channels in question, in order, each judged.

    Of one channel the better contact point comes first. A channel without any has one candidate without contact point.
    """
    found: list[Candidate] = []
    points: Sequence[Point] = party.get("contact_points", ())
    for channel in question.channels:
        if channel in WITHOUT_POINT:
            ends = []
        elif channel is Channel.LETTER:
            ends = _letter_ends(party.get("addresses", ()), question.purpose)
        else:
            ends = _carrying(channel, points)
        if ends:
            found += [_judged(question, channel, point) for point in ends]
        else:
            found.append(_judged(question, channel, None))
    return found


def confidential_candidate(question: Question, communication: Mapping[str, Any]) -> Candidate:
    """The one way of a confidential communication: the person named it, so nobody asks whether it is verified."""
    channel, address = Channel(communication["channel"]), communication.get("address")
    refusal = _forbidden(question, channel, communication["id"])
    if refusal is None and address is not None and _over(address, question.today):
        refusal = Reason.CONTACT_POINT_EXPIRED
    if refusal is None and question.silenced(communication) and not question.emergency:
        refusal = Reason.OPTED_OUT
    return Candidate(channel, communication["id"], address or communication, refusal)


def objectors(question: Question, tried: Sequence[Candidate]) -> dict[tuple[Channel, str | None], Objector]:
    """Who said no to those of the ways that somebody said no to; the patient's own word is named before another's."""
    return {(way.channel, way.id): _objector(question, way) for way in tried if way.refusal is Reason.OPTED_OUT}


def _objector(question: Question, way: Candidate) -> Objector:
    said = consent.objectors(question.directives, way.channel, way.id)
    if said:
        return Objector.PATIENT if True in said else Objector.OTHER
    texts = way.channel is Channel.SMS and way.point is not None and way.point.get("text_permitted") == TriState.NO
    return Objector.TEXTS if texts else Objector.STOP


def _judged(question: Question, channel: Channel, point: Point | None) -> Candidate:
    if point is None:
        refusal = _forbidden(question, channel, None)
        if refusal is None and channel not in WITHOUT_POINT:
            refusal = Reason.NO_USABLE_CONTACT_POINT
        return Candidate(channel, None, None, refusal)
    return Candidate(
        channel, point["id"], point, _forbidden(question, channel, point["id"]) or _unusable(question, channel, point)
    )


def _forbidden(question: Question, channel: Channel, point: str | None) -> Reason | None:
    if channel in question.barred:
        return Reason.LEGAL_RESTRICTION
    return consent.refusal(question.directives, channel, point, opt_in=question.rule.opt_in)


def _unusable(question: Question, channel: Channel, point: Point) -> Reason | None:
    form = _FORMS.get(point.get("system", ""))
    if form is not None and form.fullmatch(point["value"]) is None:
        return Reason.NO_USABLE_CONTACT_POINT
    if _over(point, question.today):
        return Reason.CONTACT_POINT_EXPIRED
    if channel is Channel.SMS and point.get("text_permitted") == TriState.NO:
        return Reason.OPTED_OUT
    if point.get("undeliverable") is not None:
        return Reason.CONTACT_POINT_UNDELIVERABLE
    if question.rule.verified and channel not in _UNPROVEN and not _verified(point):
        return Reason.CONTACT_POINT_UNVERIFIED
    return Reason.OPTED_OUT if question.silenced(point) and not question.emergency else None


def _over(point: Point, today: str) -> bool:
    period = point.get("period")
    return point.get("use") == ContactPointUse.OLD or (
        period is not None and not holds_on(period.get("start"), period.get("end"), today)
    )


def _verified(point: Point) -> bool:
    verification = point.get("verification")
    return verification is not None and verification["status"] == VerificationStatus.VERIFIED


# --- which contact points carry which channel ------------------------------------------------------------------------


class _Carriers(NamedTuple):
    """What carries a channel: contact points of `systems`, and those of `able` that have the `capability`."""

    systems: frozenset[ContactPointSystem] = frozenset()
    able: frozenset[ContactPointSystem] = frozenset()
    capability: Capability | None = None


_PHONE: Final = frozenset({ContactPointSystem.PHONE})
_DIGITAL: Final = frozenset({ContactPointSystem.OTHER, ContactPointSystem.URL})
_ASSUMED: Final = (Capability.VOICE,)
"""What a telephone can do of which nobody said what it can."""

_CARRIERS: Final[Mapping[Channel, _Carriers]] = {
    Channel.SMS: _Carriers(frozenset({ContactPointSystem.SMS}), _PHONE, Capability.SMS),
    Channel.VOICE: _Carriers(able=_PHONE, capability=Capability.VOICE),
    Channel.EMAIL: _Carriers(frozenset({ContactPointSystem.EMAIL})),
    Channel.FAX: _Carriers(frozenset({ContactPointSystem.FAX}), _PHONE, Capability.FAX),
    Channel.TEXTPHONE: _Carriers(able=_PHONE | {ContactPointSystem.OTHER}, capability=Capability.TTY),
    Channel.PUSH: _Carriers(_DIGITAL),
    Channel.CHAT: _Carriers(_DIGITAL),
}


def _carrying(channel: Channel, points: Sequence[Point]) -> list[Point]:
    """Those of `points` that can carry `channel`, the better ones first."""
    systems, able, capability = _CARRIERS[channel]
    found = [
        point
        for point in points
        if (system := point["system"]) in systems
        or (system in able and capability in (point.get("capabilities") or _ASSUMED))
    ]
    if len(found) > 1:
        found.sort(key=_by_use if channel in _TELEPHONED else _by_rank)
    return found


# --- which of several is best ----------------------------------------------------------------------------------------

_TELEPHONED: Final = frozenset({Channel.SMS, Channel.VOICE})
_NEAREST: Final[Mapping[Any, int]] = {ContactPointUse.MOBILE: 0, ContactPointUse.HOME: 1}
_AT_HAND: Final[Mapping[Any, int]] = {
    AddressUse.TEMP: 1, AddressUse.HOME: 2, AddressUse.WORK: 3, None: 4, AddressUse.BILLING: 5, AddressUse.OLD: 6,
}  # fmt: skip


def _by_rank(point: Point) -> tuple[float, bool, str]:
    return point.get("rank") or inf, not _verified(point), point["id"]


def _by_use(point: Point) -> tuple[float, bool, int, str]:
    return point.get("rank") or inf, not _verified(point), _NEAREST.get(point.get("use"), 2), point["id"]


def _letter_ends(addresses: Sequence[Point], purpose: CommunicationPurpose) -> list[Point]:
    """The addresses that take letters, the best first; where bills go comes first for bills, and late otherwise."""

    def place(address: Point) -> tuple[int, str]:
        use = address.get("use")
        billed = purpose == CommunicationPurpose.BILLING and use == AddressUse.BILLING
        return 0 if billed else _AT_HAND.get(use, 4), address["id"]

    return sorted((row for row in addresses if row.get("type") != AddressType.PHYSICAL), key=place)
