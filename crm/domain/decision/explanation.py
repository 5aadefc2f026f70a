"""Owns how a decision reads as sentences, for staff: what comes of it and why, in the order of its reasons.

The sentences name no value of a contact point: whoever reads them may not be allowed to see it.
"""

from collections.abc import Mapping
from typing import Final

from crm.domain.codes import Channel
from crm.domain.decision.rules import STANDARD
from crm.domain.decision.verdict import ContactDecision, Objector, Outcome, Reason
from crm.domain.decision.words import BY, format_name, language_name, local_time, need_name

__all__ = ["REASONS", "explained"]

OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.ALLOW: "Contact is permitted now.",
    Outcome.DENY: "Do not contact the person.",
    Outcome.DEFER: "Do not contact the person now.",
    Outcome.MANUAL: "Do not contact the person before a member of staff has decided how.",
    Outcome.NOT_FOUND: "There is no such patient.",
}

REASONS: Final[Mapping[Reason, str]] = {
    Reason.OK: "Nothing stands in the way.",
    Reason.EMERGENCY_OVERRIDE: "An emergency: a refusal or quiet hours that would have stopped it were passed over.",
    Reason.DECEASED: "The person has died.",
    Reason.MERGED: "This record was merged into another one about the same person.",
    Reason.RECORD_INACTIVE: "The record is not in use any more.",
    Reason.RECORD_ERASED: "What a decision needs of this record was erased.",
    Reason.RESTRICTED_RECORD: "The record is restricted, and this caller may not reach the person.",
    Reason.LEGAL_RESTRICTION: "A restriction forbids contact about this purpose or by a channel.",
    Reason.CONFIDENTIAL_OVERRIDE_APPLIED: "The person asked to be reached in one confidential way, and in no other.",
    Reason.STAND_IN_CONTACTED: "Somebody else is contacted in the person's place.",
    Reason.OPTED_OUT: "The person said no to this contact, or somebody who speaks for them.",
    Reason.CONSENT_EXPIRED: "This purpose needs a permission, and the one there was has ended.",
    Reason.CONSENT_UNKNOWN: "This purpose needs a permission, and the person gave none.",
    Reason.PURPOSE_OF_USE_MISMATCH: "The caller's purpose of use does not go with this purpose of contact.",
    Reason.REVIEW_PENDING: "The person wrote something that may mean to stop: staff have to read it first, in the list "
    "of messages that wait (waitingMessages).",
    Reason.ACCESS_NEED_CONFLICT: "The person needs a method of contact that a refusal or a restriction forbids.",
    Reason.CONTACT_POINT_UNVERIFIED: "Nobody verified that the contact point is the person's, as this purpose demands.",
    Reason.CONTACT_POINT_UNDELIVERABLE: "Messages to the contact point come back.",
    Reason.CONTACT_POINT_EXPIRED: "The contact point is out of use, or not in use today.",
    Reason.NO_USABLE_CONTACT_POINT: "No contact point can be used by a channel that the sender has.",
    Reason.CHANNEL_NOT_SUPPORTED_BY_CALLER: "The sender cannot use the channel that would be right.",
    Reason.TIME_ZONE_UNKNOWN: "Nobody knows the person's time zone, so it has to be permitted in all that are likely.",
    Reason.QUIET_HOURS_LEGAL: "The law forbids contact at this hour.",
    Reason.QUIET_HOURS_PATIENT: "The person does not want to be contacted at this hour.",
    Reason.QUIET_HOURS_DEFAULT: "These are the organisation's own quiet hours.",
    Reason.LANGUAGE_FALLBACK: "The sender has none of the person's languages for this channel.",
    Reason.FORMAT_FALLBACK: "The sender has none of the formats that the person needs.",
    Reason.ACCESS_NEED_UNMET: "A need of the person is not met.",
}
"""One sentence for each reason; docs/contact-decisions.md says what a sender does about it."""


_WAYS: Final[Mapping[Reason, str]] = {
    Reason.LEGAL_RESTRICTION: "a restriction forbids it",
    Reason.OPTED_OUT: "somebody said no to it",
    Reason.CONSENT_EXPIRED: "it needs a permission, and the one there was has ended",
    Reason.CONSENT_UNKNOWN: "it needs a permission, and the person gave none",
    Reason.CONTACT_POINT_UNVERIFIED: "nobody has checked that the number or address is the person's",
    Reason.CONTACT_POINT_UNDELIVERABLE: "messages to the number or address come back",
    Reason.CONTACT_POINT_EXPIRED: "the number or address is out of use, or not in use today",
    Reason.NO_USABLE_CONTACT_POINT: "there is no number or address for it",
    Reason.QUIET_HOURS_LEGAL: "the law forbids it at this hour",
    Reason.QUIET_HOURS_PATIENT: "the person does not want it at this hour",
    Reason.QUIET_HOURS_DEFAULT: "these are the organisation's quiet hours",
}
"""Why one way is closed."""

_OBJECTIONS: Final[Mapping[Objector, str]] = {
    Objector.PATIENT: "the person themself said no to it",
    Objector.OTHER: "a related person, or somebody who acts for the person, said no to it",
    Objector.TEXTS: "the person wants no texts at this number",
    Objector.STOP: "a message from there said stop",
}
"""Who said no to one way."""

_IN_THE_FIRST: Final = frozenset({Reason.OK, Reason.CONFIDENTIAL_OVERRIDE_APPLIED, Reason.STAND_IN_CONTACTED})
"""What the first sentence of an ALLOW tells."""

_OF_NEEDS: Final = frozenset({Reason.FORMAT_FALLBACK, Reason.ACCESS_NEED_UNMET})
"""What the sentence about needs tells, if there is one."""


def explained(decision: ContactDecision) -> list[str]:
    """`decision` as sentences, what to do first, each of them once.

    No value of a contact point is in them. Where the decision has what was considered, each way is told with why it is
    closed, and by whom; else only what its reasons say.
    """
    sentences = [_first(decision)]
    said = {reason for _, _, reason in decision.considered}
    if decision.outcome is Outcome.ALLOW:
        said |= _IN_THE_FIRST
    if decision.unmet:
        said |= _OF_NEEDS
    for reason in decision.reasons:
        if reason in said:
            continue
        if decision.outcome is Outcome.ALLOW and reason in _WAYS:
            sentences.append(f"A way that the person would like better is closed: {_WAYS[reason]}.")
        else:
            sentences.append(REASONS[reason])
    if decision.unmet:
        missing = ", ".join(map(need_name, decision.unmet))
        sentences.append(f"Needed, and not met: {missing}. See to it by hand.")
    if decision.copies:
        ways = ", ".join(sorted({BY[copy.channel] for copy in decision.copies}))
        more = "one more person" if len(decision.copies) == 1 else f"{len(decision.copies)} more people"
        sentences.append(f"Send a copy to {more}, {ways}.")
    sentences += [_way(decision, *way) for way in decision.considered]
    return list(dict.fromkeys(sentences))


def _first(decision: ContactDecision) -> str:
    """What to do."""
    if decision.outcome is Outcome.DEFER:
        if decision.next_permitted_at is None:
            return f"{OUTCOMES[Outcome.DEFER]} No time is known at which it will be."
        return f"{OUTCOMES[Outcome.DEFER]} Ask again from {local_time(decision.next_permitted_at, decision.zone)}."
    if decision.channel is None:
        return OUTCOMES[decision.outcome]
    how = BY[decision.channel]
    if decision.language:
        how += f", in {language_name(decision.language)}"
    if decision.format not in {None, STANDARD}:
        how += f", as {format_name(decision.format or STANDARD)}"
    if decision.confidential:
        return f"Contact the person now {how}, and in no other way: they asked for this one in confidence."
    if Reason.STAND_IN_CONTACTED in decision.reasons:
        return f"Contact somebody else in the person's place now, {how}."
    return f"Contact the person now {how}."


def _way(decision: ContactDecision, channel: Channel, point: str | None, reason: Reason) -> str:
    """What speaks against one way, or nothing but a better one."""
    if reason is Reason.OK:
        return f"It would also be possible {BY[channel]}."
    objector = decision.objectors.get((channel, point)) if reason is Reason.OPTED_OUT else None
    return f"Not {BY[channel]}: {_WAYS[reason] if objector is None else _OBJECTIONS[objector]}."
