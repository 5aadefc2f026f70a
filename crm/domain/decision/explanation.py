"""Owns how a decision reads as sentences, for staff: what comes of it and why, in the order of its reasons.

The sentences name no value of a contact point: whoever reads them may not be allowed to see it.
"""

from collections.abc import Mapping
from typing import Final

from crm.domain.decision.rules import STANDARD
from crm.domain.decision.verdict import ContactDecision, Outcome, Reason
from crm.domain.times import instant

__all__ = ["REASONS", "explained"]

OUTCOMES: Final[Mapping[Outcome, str]] = {
    Outcome.ALLOW: "Contact is permitted now.",
    Outcome.DENY: "Contact is not permitted.",
    Outcome.DEFER: "Contact is not permitted at this time.",
    Outcome.MANUAL: "A member of staff has to decide how this person is contacted.",
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
    Reason.OPTED_OUT: "The person said no to this contact.",
    Reason.CONSENT_EXPIRED: "This purpose needs a permission, and the one there was has ended.",
    Reason.CONSENT_UNKNOWN: "This purpose needs a permission, and the person gave none.",
    Reason.PURPOSE_OF_USE_MISMATCH: "The caller's purpose of use does not go with this purpose of contact.",
    Reason.REVIEW_PENDING: "The person wrote something that may mean to stop; staff have to read it first.",
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


def explained(decision: ContactDecision) -> list[str]:
    """`decision` as sentences, the outcome first; no value of the profile but codes and language tags is in them."""
    sentences = [OUTCOMES[decision.outcome]]
    sentences += [REASONS[reason] for reason in decision.reasons if reason is not Reason.OK]
    if decision.unmet:
        sentences.append(f"Not met: {', '.join(decision.unmet)}.")
    if decision.channel is not None:
        language = f" in {decision.language}" if decision.language else ""
        form = "" if decision.format in {None, STANDARD} else f", as {decision.format}"
        sentences.append(f"Send by {decision.channel}{language}{form}.")
    if decision.copies:
        sentences.append(f"Send a copy to {len(decision.copies)} more.")
    if decision.outcome is Outcome.DEFER:
        sentences.append(
            "No time is known at which it will be."
            if decision.next_permitted_at is None
            else f"Ask again at {instant(decision.next_permitted_at)}."
        )
    for channel, _, reason in decision.considered:
        if reason is Reason.OK:
            sentences.append(f"{channel} would do too, and stands behind.")
        else:
            sentences.append(f"{channel} was looked at: {REASONS[reason]}")
    return sentences
