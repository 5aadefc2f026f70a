"""Owns how consent directives are weighed: which of them stand at a moment, and what they say about one way of contact.

A DENY binds unless a PERMIT is newer and at least as specific; the patient's own only yields to a PERMIT of their own.
Being silent is not consent where a purpose is opt-in, nor is what was said to something else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from crm.domain.codes import CommunicationPurpose, ConsentDecision
from crm.domain.consents import by_patient, mark_of, weighs_from
from crm.domain.decision.verdict import Reason
from crm.domain.times import micros

__all__ = ["Directive", "Directives", "Kept", "directives", "ends", "objectors", "overridden", "refusal"]


class Directive(NamedTuple):
    """What directives of one scope come to: the newest `since`, and the first `until` at which one of them ends.

    `since` is from when they are weighed (`crm.domain.consents.weighs_from`).

    `named` are the members that the scope sets; `own` are those that the patient gave, and nobody else for them. Both
    times are `Instant`s: ordered as text they are in time.
    """

    named: frozenset[str]
    own: bool
    since: str
    until: str | None


Kept = dict[tuple[str | None, str | None], dict[tuple[frozenset[str], bool], Directive]]
"""Directives by the channel and the contact point of their scope, then by `named` and `own`: a few, however many."""


class Directives(NamedTuple):
    """The directives of one person about one purpose and sender at one moment.

    `denies` and `permits` are in force; `lapsed` are permissions that ended. `passed_over` are prohibitions in force
    that do not bind in an emergency. `next_deny` is when the next prohibition begins, whatever it is about, in
    microseconds since 1970.
    """

    denies: Kept
    permits: Kept
    lapsed: Kept
    passed_over: Kept
    next_deny: int | None


_NOTHING: Final = Directives({}, {}, {}, {}, None)
_EMPTY: Final[dict[tuple[frozenset[str], bool], Directive]] = {}
_CONFIDENTIAL: Final = frozenset({"channel", "contact_point_id"})


def directives(
    values: Mapping[str, Any],
    purpose: CommunicationPurpose,
    sender: str,
    moment: str,
    confidential: Mapping[str, Any] | None,
    *,
    opt_in: bool,
) -> Directives:
    """What of `values["consents"]` concerns the purpose and the sender at `moment`, an `Instant`.

    A confidential communication counts as the person's own PERMIT for its channel and its end, from when it was set: it
    says where, so it beats no DENY that names a purpose, and permits nothing that is `opt_in`. Nobody else's DENY is
    one against it: whoever it hides from could otherwise silence it.
    """
    rows = values.get("consents", ())
    if not rows and confidential is None:
        return _NOTHING
    denies, permits, lapsed, passed_over = Kept(), Kept(), Kept(), Kept()
    later = []
    for row in rows:
        scope, since, until = row.get("scope") or {}, row["effective_from"], row.get("effective_to")
        denied = row["decision"] == ConsentDecision.DENY
        if since > moment:
            if denied:
                later.append(since)
            continue
        if scope.get("purpose", purpose) != purpose or scope.get("sender", sender) != sender:
            continue
        own = by_patient(row)
        if (not own and confidential is not None) if denied else _of_something_else(row, values, opt_in=opt_in):
            continue
        if until is not None and until <= moment:
            if denied:
                continue
            kept = lapsed
        elif not denied:
            kept = permits
        elif purpose == CommunicationPurpose.EMERGENCY and "purpose" not in scope:
            kept = passed_over
        else:
            kept = denies
        weighed = Directive(frozenset(scope), own, weighs_from(row), until)
        _keep(kept, scope.get("channel"), scope.get("contact_point_id"), weighed)
    if confidential is not None and not opt_in and confidential["set_at"] <= moment:
        consented = Directive(_CONFIDENTIAL, own=True, since=confidential["set_at"], until=None)
        _keep(permits, confidential["channel"], confidential["id"], consented)
    return Directives(denies, permits, lapsed, passed_over, micros(min(later)) if later else None)


def refusal(of: Directives, channel: str, point: str | None, *, opt_in: bool) -> Reason | None:
    """Why contact by `channel` at the contact point with the id `point` is not permitted; None if it is."""
    if of is _NOTHING:
        return Reason.CONSENT_UNKNOWN if opt_in else None
    permits = _about(of.permits, channel, point)
    if _unbeaten(_about(of.denies, channel, point), permits):
        return Reason.OPTED_OUT
    if permits or not opt_in:
        return None
    return Reason.CONSENT_EXPIRED if _about(of.lapsed, channel, point) else Reason.CONSENT_UNKNOWN


def objectors(of: Directives, channel: str, point: str | None) -> set[bool]:
    """Whose prohibitions stand in the way: True for the patient's own, False for somebody else's."""
    permits = _about(of.permits, channel, point)
    return {deny.own for deny in _about(of.denies, channel, point) if _unbeaten([deny], permits)}


def overridden(of: Directives, channel: str, point: str | None) -> bool:
    """Whether a prohibition would have stood in the way, had this not been an emergency."""
    return _unbeaten(_about(of.passed_over, channel, point), _about(of.permits, channel, point))


def ends(of: Directives, channel: str, point: str | None) -> Iterator[int]:
    """The moments at which what permits this, or does not forbid it yet, changes; microseconds since 1970."""
    for permit in _about(of.permits, channel, point):
        if permit.until is not None:
            yield micros(permit.until)
    if of.next_deny is not None:
        yield of.next_deny


def _of_something_else(row: Mapping[str, Any], values: Mapping[str, Any], *, opt_in: bool) -> bool:
    """Whether the PERMIT `row` was not given for this: for another number, or by a message that did not say for what.

    A contact point that got another number or mailbox may be somebody else's. From START nobody can tell to what.
    """
    if "mark" in row and row["mark"] != _mark(row, values):
        return True
    return opt_in and "purpose" not in (row.get("scope") or {}) and "message_id" in (row.get("capture") or {})


def _mark(row: Mapping[str, Any], values: Mapping[str, Any]) -> str | None:
    """The mark of `row` if it were given for what its contact point is now; None where the record has it no more."""
    parties = (values, *values.get("related_persons", ()))
    for party in parties:
        for point in party.get("contact_points", ()):
            if point["id"] == row["scope"]["contact_point_id"]:
                return mark_of(row["id"], point["value"])
    return None


def _keep(kept: Kept, channel: str | None, point: str | None, directive: Directive) -> None:
    """Add `directive`: of several alike the newest decides, and the first that ends is where the answer may."""
    same = kept.setdefault((channel, point), {})
    alike = directive.named, directive.own
    other = same.get(alike)
    if other is not None:
        ending = [until for until in (directive.until, other.until) if until is not None]
        directive = Directive(*alike, max(directive.since, other.since), min(ending, default=None))
    same[alike] = directive


def _about(kept: Kept, channel: str, point: str | None) -> list[Directive]:
    """The directives that apply to `channel` at `point`: whatever a scope sets is so there."""
    found: list[Directive] = []
    if kept:
        found += kept.get((channel, None), _EMPTY).values()
        found += kept.get((None, None), _EMPTY).values()
        if point is not None:
            found += kept.get((channel, point), _EMPTY).values()
            found += kept.get((None, point), _EMPTY).values()
    return found


def _unbeaten(denies: Iterable[Directive], permits: Sequence[Directive]) -> bool:
    """Whether one of `denies` has no newer permission beside it that is at least as specific, and may lift it."""
    return not all(any(_beats(permit, deny) for permit in permits) for deny in denies)


def _beats(permit: Directive, deny: Directive) -> bool:
    """Nobody else permits what the patient forbade, however new and exact their word is."""
    return (permit.own or not deny.own) and permit.since > deny.since and deny.named <= permit.named
