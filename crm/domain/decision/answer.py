"""Owns the answer that the ladder arrives at: the one way to send, in which words, with what is told behind OK.

It also says how long the answer may be used, and which parts of the profile it shows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from crm.domain.addressing import display_name_of
from crm.domain.codes import Channel
from crm.domain.confidential import SYSTEMS
from crm.domain.decision import consent
from crm.domain.decision.candidates import Candidate, objectors, preferred
from crm.domain.decision.copies import Copying, copies
from crm.domain.decision.hours import Hours
from crm.domain.decision.question import Question
from crm.domain.decision.recipient import period_ends
from crm.domain.decision.rules import STANDARD
from crm.domain.decision.speech import Format, Speech, format_for, language_for, serves
from crm.domain.decision.verdict import ContactDecision, Outcome, Reason

__all__ = ["Finding", "Recipient", "allowed", "considered", "in_order", "refused"]

_PLACES: Final = {reason: place for place, reason in enumerate(Reason)}
_PLAIN: Final = (Reason.OK,)
_RELATED: Final = frozenset({"relatedPersons"})


class Recipient(NamedTuple):
    """Who is contacted: `party` is the patient's profile or the `stand_in`, a `RelatedPerson`.

    `confidential` is the confidential communication that is in force, always the patient's own.
    """

    party: Mapping[str, Any]
    stand_in: Mapping[str, Any] | None = None
    confidential: Mapping[str, Any] | None = None


class Finding(NamedTuple):
    """What the rungs arrived at: whom to contact by which of the ways that were tried, the best of which come first.

    `clock` is what the hours say of it, None where they do not bind. `lacking` are needs that go unmet all the same.
    """

    recipient: Recipient
    tried: Sequence[Candidate]
    chosen: Candidate
    clock: Hours | None
    lacking: Sequence[str]


def in_order(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """`reasons`, each once, in the order in which `Reason` lists them."""
    return tuple(sorted(set(reasons), key=_PLACES.__getitem__))


def considered(tried: Sequence[Candidate], chosen: Candidate | None) -> tuple[tuple[Channel, str | None, Reason], ...]:
    """What was looked at and not chosen, the best first; OK where nothing but its place spoke against it."""
    return tuple((way.channel, way.id, way.refusal or Reason.OK) for way in tried if way is not chosen)


def refused(
    expires_at: int,
    *reasons: Reason,
    outcome: Outcome = Outcome.DENY,
    considered: tuple[tuple[Channel, str | None, Reason], ...] = (),
) -> ContactDecision:
    """An answer that shows nothing but its reasons."""
    return ContactDecision(outcome, reasons, expires_at=expires_at, considered=considered)


def allowed(question: Question, finding: Finding) -> ContactDecision:
    """ALLOW, by the way that was chosen."""
    recipient, channel = finding.recipient, finding.chosen.channel
    spoken = _speech(question, recipient, channel)
    form = format_for(recipient.party, channel, question.sender)
    other = recipient.stand_in
    copied = [] if recipient.confidential is not None else copies(question, finding.chosen if other is None else None)
    telling = _telling(question, finding, spoken, form)
    point = _shown(finding.chosen, recipient.confidential)
    letter = channel is Channel.LETTER
    return ContactDecision(
        Outcome.ALLOW,
        (Reason.OK, *in_order(telling)) if telling else _PLAIN,
        channel=channel,
        contact_point=None if letter else point,
        address=point if letter else None,
        confidential=recipient.confidential is not None,
        stand_in=None if other is None else other["id"],
        copies=tuple([copying.copy for copying in copied]),
        language=spoken.language,
        format=form.format,
        salutation=display_name_of(question.values, question.today) if other is None else other["name"],
        expires_at=min(_ends(question, finding, copied)),
        unmet=(*finding.lacking, *form.unmet),
        considered=considered(finding.tried, finding.chosen),
        objectors=objectors(question, finding.tried),
        disclosed=_disclosed(finding, spoken, form, copied),
    )


def _telling(question: Question, finding: Finding, spoken: Speech, form: Format) -> list[Reason]:
    """What stands behind OK: what was overridden, who is reached, what failed before, and what falls short."""
    recipient, chosen, clock = finding.recipient, finding.chosen, finding.clock
    telling = []
    if _overridden(question, chosen, clock):
        telling.append(Reason.EMERGENCY_OVERRIDE)
    if recipient.confidential is not None:
        telling.append(Reason.CONFIDENTIAL_OVERRIDE_APPLIED)
    if recipient.stand_in is not None:
        telling.append(Reason.STAND_IN_CONTACTED)
    telling += _better(question, finding)
    if spoken.fallback is not None:
        telling.append(spoken.fallback)
    if form.unmet:
        telling.append(Reason.FORMAT_FALLBACK)
    if finding.lacking or form.unmet:
        telling.append(Reason.ACCESS_NEED_UNMET)
    return telling


def _overridden(question: Question, chosen: Candidate, clock: Hours | None) -> bool:
    """Whether only an emergency lets this through: the hours, a stop from there, or a prohibition would not have."""
    if clock is not None and not clock.permitted:
        return True
    silenced = question.emergency and question.silenced(chosen.point)
    return silenced or consent.overridden(question.directives, chosen.channel, chosen.id)


def _better(question: Question, finding: Finding) -> Iterator[Reason]:
    """Why ways failed that the person asked for before the one that was chosen; what nobody asked for is no news."""
    wanted = preferred(question.values, question.purpose)
    for way in finding.tried if wanted else ():
        if way.channel == finding.chosen.channel:
            break
        if way.refusal is not None and way.channel in wanted:
            yield way.refusal


def _speech(question: Question, recipient: Recipient, channel: Channel) -> Speech:
    if recipient.confidential is not None:
        asked = recipient.confidential.get("language")
        if asked is not None and serves(question.sender.languages, asked):
            return Speech(asked, own=False)
    return language_for(recipient.party, channel, question.sender)


def _shown(chosen: Candidate, confidential: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The contact point or address as the answer has it; the number or mailbox of a confidential one looks like one."""
    if confidential is None or chosen.channel is Channel.LETTER:
        return chosen.point
    if chosen.channel not in SYSTEMS:
        return None
    return {"id": confidential["id"], "system": SYSTEMS[chosen.channel], "value": confidential["value"]}


def _ends(question: Question, finding: Finding, copied: Sequence[Copying]) -> Iterator[int]:
    """The moments, all of them later than now, from which the answer might be another."""
    chosen, clock, other = finding.chosen, finding.clock, finding.recipient.stand_in
    yield question.now + question.rules.lasting
    if clock is not None and clock.until is not None:
        yield clock.until
    yield from consent.ends(question.directives, chosen.channel, chosen.id)
    if chosen.point is not None:
        yield from period_ends(chosen.point)
    if other is not None:
        yield from period_ends(other)
    for copying in copied:
        yield from copying.ends


def _disclosed(finding: Finding, spoken: Speech, form: Format, copied: Sequence[Copying]) -> frozenset[str]:
    """The public paths of the profile that the answer shows something of."""
    recipient, chosen = finding.recipient, finding.chosen
    if recipient.stand_in is not None:
        return _RELATED
    paths = ["displayName"]
    if recipient.confidential is not None:
        paths.append("confidentialCommunication")
    elif chosen.point is not None:
        paths.append("addresses" if chosen.channel is Channel.LETTER else "contactPoints")
    if spoken.own:
        paths.append("languages")
    if form.format != STANDARD or form.unmet:
        paths.append("accessibleFormats")
    if finding.lacking:
        paths.append("accessNeeds")
    if copied:
        paths.append("relatedPersons")
    return frozenset(paths)
