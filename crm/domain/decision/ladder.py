"""The ladder: the rungs of the contact decision in their order. docs/contact-decisions.md has each with an example.

Pure: no clock, no database. Nothing here prefers one order of rows over another; ties are broken by ids.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision import consent, methods, record
from crm.domain.decision.answer import Finding, Recipient, allowed, considered, in_order, refused
from crm.domain.decision.candidates import Candidate, best_first, candidates, confidential_candidate, objectors
from crm.domain.decision.clocks import is_zone
from crm.domain.decision.hours import Hours, hours
from crm.domain.decision.question import Question
from crm.domain.decision.recipient import stand_in
from crm.domain.decision.rules import ContactRules, LegalClass, Sender
from crm.domain.decision.verdict import ContactDecision, Outcome, Reason
from crm.domain.need_codes import AccessNeedKind
from crm.domain.times import instant

__all__ = ["decide"]

_BINDING: Final = frozenset(
    {Reason.LEGAL_RESTRICTION, Reason.OPTED_OUT, Reason.CONSENT_EXPIRED, Reason.CONSENT_UNKNOWN}
)
"""Why a way is closed on purpose: staff are not asked to find another one to a stand-in."""


def decide(
    values: Mapping[str, Any],
    purpose: CommunicationPurpose,
    sender: Sender,
    rules: ContactRules,
    now: int,
    *,
    use: str,
    reach: bool,
    status: str = "active",
    restricted: bool = False,
    erased: bool = False,
    channels: Collection[Channel] | None = None,
    suppressed: frozenset[str] = frozenset(),
) -> ContactDecision:
    """Whether, how, where and in which words `sender` may contact the patient about `purpose` at `now`.

    `values` are the patient's cells by their names in the catalogue, canonical as `values.parse` gives them; what is
    absent nobody said. `now` is microseconds since 1970, UTC. `use` is the HL7 purpose of use of the caller, `reach`
    whether they may reach restricted records. `erased` says that a class of keys this needs was destroyed. `channels`
    narrows those of the sender. `suppressed` are values of contact points from which somebody said stop.

    Raises `KeyError` for a purpose without a rule.
    """
    rule = rules.purposes[purpose]
    communication = values.get("confidential_communication")
    confidential = communication if communication is not None and record.covers(communication, purpose) else None
    sales = rule.legal_class is LegalClass.TELEMARKETING
    let_in = reach or not restricted or (confidential is not None and not sales and use in rule.uses)
    closed = record.closed(values, status, erased) or _guarded(communication, sales=sales, let_in=let_in)
    ends = now + rules.lasting
    if closed is not None:
        return refused(ends, closed)
    moment = instant(now)
    barred = record.barred(values, purpose, moment)
    if barred is None:
        return refused(ends, Reason.LEGAL_RESTRICTION)
    able = [channel for channel in sender.channels if channels is None or channel in channels]
    if not able:
        return refused(ends, Reason.CHANNEL_NOT_SUPPORTED_BY_CALLER)
    if confidential is not None and confidential["channel"] not in able:
        return refused(ends, Reason.CHANNEL_NOT_SUPPORTED_BY_CALLER, Reason.CONFIDENTIAL_OVERRIDE_APPLIED)
    stated = consent.directives(values, purpose, sender.id, moment, confidential, opt_in=rule.opt_in)
    able = best_first(values, purpose, able)
    question = Question(
        values, purpose, rule, sender, able, rules, now, moment, moment[:10], barred, stated, suppressed
    )
    return _judged(question, use, _recipient(question, confidential))


def _guarded(communication: Mapping[str, Any] | None, *, sales: bool, let_in: bool) -> Reason | None:
    """Rungs 2 and 3. Who may not know of a restricted record hears of that alone, and nothing else of it."""
    if not let_in:
        return Reason.RESTRICTED_RECORD
    return Reason.CONFIDENTIAL_OVERRIDE_APPLIED if sales and communication is not None else None


def _recipient(question: Question, confidential: Mapping[str, Any] | None) -> Recipient:
    """Rung 5: the patient, in confidence or not, or whoever stands in for them."""
    if confidential is not None:
        return Recipient(question.values, confidential=confidential)
    other = stand_in(question.values, question.purpose, question.today)
    return Recipient(question.values) if other is None else Recipient(other, stand_in=other)


def _tried(question: Question, recipient: Recipient) -> list[Candidate]:
    """Rungs 7 and 8, of one way or of all."""
    if recipient.confidential is not None:
        return [confidential_candidate(question, recipient.confidential)]
    return candidates(question, recipient.party)


def _judged(question: Question, use: str, recipient: Recipient) -> ContactDecision:
    """Rungs 9 to 12: what is left of the ways that were tried, and whether it is the time for the best of them."""
    tried = _tried(question, recipient)
    left = [candidate for candidate in tried if candidate.refusal is None]
    ends = question.now + question.rules.lasting
    if left and use not in question.rule.uses:
        return refused(ends, Reason.PURPOSE_OF_USE_MISMATCH)
    if left and not question.emergency and record.review_pending(question.values):
        return refused(ends, Reason.REVIEW_PENDING, outcome=Outcome.MANUAL)
    needs = methods.methods(recipient.party, has_carer=recipient.stand_in is not None)
    lacking = methods.unmet(needs, left) if needs else ()
    if lacking and recipient.confidential is None:
        return _needs_a_person(question, recipient, lacking, tried)
    if not left:
        reasons = _refusals(tried)
        lost = recipient.stand_in is not None and not reasons <= _BINDING
        outcome = Outcome.MANUAL if lost else Outcome.DENY
        found = refused(ends, *in_order(reasons), outcome=outcome, considered=considered(tried, None))
        return replace(found, objectors=objectors(question, tried))
    if needs and recipient.confidential is None:
        left = methods.meeting(needs, left)
    chosen = left[0]
    clock = None
    if question.emergency or question.rule.quiet_hours:
        clock = hours(question.values, question.purpose, chosen.channel, question.rules, question.now)
        if not clock.permitted and not question.emergency:
            return _deferred(question, chosen, clock, tried)
    return allowed(question, Finding(recipient, tried, chosen, clock, lacking))


def _needs_a_person(
    question: Question, recipient: Recipient, lacking: tuple[AccessNeedKind, ...], tried: Sequence[Candidate]
) -> ContactDecision:
    reasons = (methods.shortfall(lacking, tried), *in_order(_refusals(tried)))
    return ContactDecision(
        Outcome.MANUAL, reasons, expires_at=question.now + question.rules.lasting, unmet=lacking,
        considered=considered(tried, None), objectors=objectors(question, tried),
        disclosed=frozenset({"accessNeeds" if recipient.stand_in is None else "relatedPersons"}),
    )  # fmt: skip


def _deferred(question: Question, chosen: Candidate, clock: Hours, tried: Sequence[Candidate]) -> ContactDecision:
    """DEFER. What waits for its time stands first among what was considered, with the reason that it waits for."""
    waiting = (chosen.channel, chosen.id, clock.reasons[0])
    zone = question.values.get("time_zone")
    known = zone is not None and is_zone(zone)
    return ContactDecision(
        Outcome.DEFER, clock.reasons, next_permitted_at=clock.next,
        expires_at=clock.next or question.now + question.rules.lasting,
        considered=(waiting, *considered(tried, chosen)), objectors=objectors(question, tried),
        zone=zone if known else None, disclosed=frozenset({"timeZone"}) if known else frozenset(),
    )  # fmt: skip


def _refusals(tried: Sequence[Candidate]) -> set[Reason]:
    return {candidate.refusal for candidate in tried if candidate.refusal is not None}
