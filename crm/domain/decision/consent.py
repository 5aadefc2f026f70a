"""Owns how consent directives are weighed: which of them stand at a moment, and what they say about one way of contact.

A DENY binds unless a PERMIT is newer and at least as specific. Being silent is not consent where a purpose is opt-in.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from crm.domain.codes import CommunicationPurpose, ConsentDecision
from crm.domain.decision.verdict import Reason
from crm.domain.times import micros

__all__ = ["Directive", "Directives", "directives", "ends", "overridden", "refusal"]


class Directive(NamedTuple):
    """One directive about the purpose and the sender in question: what else its scope names, and when it holds.

    `named` are the members that its scope sets. `since` and `until` are `Instant`s: ordered as text they are in time.
    """

    channel: str | None
    point: str | None
    named: frozenset[str]
    since: str
    until: str | None = None


class Directives(NamedTuple):
    """The directives of one person about one purpose and sender at one moment.

    `denies` and `permits` are in force; `lapsed` are permissions that ended. `passed_over` are prohibitions in force
    that do not bind in an emergency. `next_deny` is when the next prohibition begins, whatever it is about, in
    microseconds since 1970.
    """

    denies: tuple[Directive, ...] = ()
    permits: tuple[Directive, ...] = ()
    lapsed: tuple[Directive, ...] = ()
    passed_over: tuple[Directive, ...] = ()
    next_deny: int | None = None


_NOTHING: Final = Directives()
_CONFIDENTIAL: Final = frozenset({"channel", "contact_point_id", "purpose"})


def directives(
    rows: Iterable[Mapping[str, Any]],
    purpose: CommunicationPurpose,
    sender: str,
    moment: str,
    confidential: Mapping[str, Any] | None,
) -> Directives:
    """What of `rows` (`values.consents`) concerns the purpose and the sender at `moment`, an `Instant`.

    A confidential communication counts as the person's own PERMIT for its channel, its end and the purpose, from when
    it was set.
    """
    if not rows and confidential is None:
        return _NOTHING
    denies, permits, lapsed, passed_over, later = [], [], [], [], []
    for row in rows:
        scope = row.get("scope") or {}
        denied = row["decision"] == ConsentDecision.DENY
        if row["effective_from"] > moment:
            if denied:
                later.append(row["effective_from"])
            continue
        if scope.get("purpose", purpose) != purpose or scope.get("sender", sender) != sender:
            continue
        until = row.get("effective_to")
        directive = Directive(
            scope.get("channel"), scope.get("contact_point_id"), frozenset(scope), row["effective_from"], until
        )
        if until is not None and until <= moment:
            if not denied:
                lapsed.append(directive)
        elif not denied:
            permits.append(directive)
        elif purpose == CommunicationPurpose.EMERGENCY and "purpose" not in scope:
            passed_over.append(directive)
        else:
            denies.append(directive)
    if confidential is not None and confidential["set_at"] <= moment:
        permits.append(Directive(confidential["channel"], confidential["id"], _CONFIDENTIAL, confidential["set_at"]))
    next_deny = micros(min(later)) if later else None
    return Directives(tuple(denies), tuple(permits), tuple(lapsed), tuple(passed_over), next_deny)


def refusal(of: Directives, channel: str, point: str | None, *, opt_in: bool) -> Reason | None:
    """Why contact by `channel` at the contact point with the id `point` is not permitted; None if it is."""
    if of is _NOTHING:
        return Reason.CONSENT_UNKNOWN if opt_in else None
    permits = _about(of.permits, channel, point)
    if _unbeaten(of.denies, permits, channel, point):
        return Reason.OPTED_OUT
    if permits or not opt_in:
        return None
    return Reason.CONSENT_EXPIRED if _about(of.lapsed, channel, point) else Reason.CONSENT_UNKNOWN


def overridden(of: Directives, channel: str, point: str | None) -> bool:
    """Whether a prohibition would have stood in the way, had this not been an emergency."""
    return bool(of.passed_over) and _unbeaten(of.passed_over, _about(of.permits, channel, point), channel, point)


def ends(of: Directives, channel: str, point: str | None) -> Iterable[int]:
    """The moments at which what permits this, or does not forbid it yet, changes; microseconds since 1970."""
    for permit in of.permits:
        if permit.until is not None and _concerns(permit, channel, point):
            yield micros(permit.until)
    if of.next_deny is not None:
        yield of.next_deny


def _concerns(directive: Directive, channel: str, point: str | None) -> bool:
    return (directive.channel is None or directive.channel == channel) and (
        directive.point is None or directive.point == point
    )


def _about(all_of: tuple[Directive, ...], channel: str, point: str | None) -> list[Directive]:
    return [directive for directive in all_of if _concerns(directive, channel, point)]


def _unbeaten(denies: tuple[Directive, ...], permits: list[Directive], channel: str, point: str | None) -> bool:
    """Whether one of `denies` concerns this and has no newer permission beside it that is at least as specific."""
    return any(
        not any(permit.since > deny.since and deny.named <= permit.named for permit in permits)
        for deny in denies
        if _concerns(deny, channel, point)
    )
