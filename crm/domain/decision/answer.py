"""Owns the answer that the ladder arrives at: the one way to send, in which words, with what is told behind OK.

It also says how long the answer may be used, and which parts of the profile it shows.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from crm.domain.addressing import display_name_of
from crm.domain.codes import Channel
from crm.domain.confidential import SYSTEMS
from crm.domain.decision import consent
from crm.domain.decision.candidates import Candidate
from crm.domain.decision.copies import Copying, copies
from crm.domain.decision.hours import Hours
from crm.domain.decision.question import Question
from crm.domain.decision.recipient import period_ends
from crm.domain.decision.rules import STANDARD
from crm.domain.decision.speech import Format, Speech, format_for, language_for, serves
from crm.domain.decision.verdict import ContactDecision, Outcome, Reason

__all__ = ["Recipient", "allowed", "considered", "in_order", "refused"]

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


def allowed(
    question: Question,
    recipient: Recipient,
    chosen: Candidate,
    tried: Sequence[Candidate],
    clock: Hours | None,
    lacking: Sequence[str],
) -> ContactDecision:
    """ALLOW, by `chosen`. `clock` is what the hours say, `lacking` the needs that go unmet all the same."""
    channel, stood_in, confidential = chosen.channel, recipient.stand_in, recipient.confidential
    spoken = _speech(question, recipient, channel)
    form = format_for(recipient.party, channel, question.sender)
    copied = [] if confidential is not None else copies(question)
    telling = _telling(question, recipient, chosen, tried, clock)
    if spoken.fallback is not None:
        telling.append(spoken.fallback)
    if form.unmet:
        telling.append(Reason.FORMAT_FALLBACK)
    if lacking or form.unmet:
        telling.append(Reason.ACCESS_NEED_UNMET)
    point = _shown(chosen, confidential)
    letter = channel is Channel.LETTER
    return ContactDecision(
        Outcome.ALLOW,
        (Reason.OK, *in_order(telling)) if telling else _PLAIN,
        channel,
        None if letter else point,
        point if letter else None,
        confidential is not None,
        None if stood_in is None else stood_in["id"],
        tuple([each.copy for each in copied]),
        spoken.language,
        form.format,
        display_name_of(question.values, question.today) if stood_in is None else stood_in["name"],
        None,
        min(_ends(question, recipient, chosen, clock, copied)),
        (*lacking, *form.unmet),
        considered(tried, chosen),
        _disclosed(recipient, chosen, spoken, form, lacking, copied),
    )


def _telling(
    question: Question, recipient: Recipient, chosen: Candidate, tried: Sequence[Candidate], clock: Hours | None
) -> list[Reason]:
    """What stands behind OK of the way that was chosen: what it overrode, whom it reaches, what failed before it."""
    telling = []
    if (clock is not None and not clock.permitted) or consent.overridden(
        question.directives, chosen.channel, chosen.id
    ):
        telling.append(Reason.EMERGENCY_OVERRIDE)
    if recipient.confidential is not None:
        telling.append(Reason.CONFIDENTIAL_OVERRIDE_APPLIED)
    if recipient.stand_in is not None:
        telling.append(Reason.STAND_IN_CONTACTED)
    for way in tried:
        if way.channel == chosen.channel:
            break
        if way.refusal is not None:
            telling.append(way.refusal)
    return telling


def _speech(question: Question, recipient: Recipient, channel: Channel) -> Speech:
    if recipient.confidential is not None:
        asked = recipient.confidential.get("language")
        if asked is not None and serves(question.sender.languages, asked):
            return Speech(asked, own=False)
    return language_for(recipient.party, channel, question.sender)


def _shown(chosen: Candidate, confidential: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """The contact point or address as the answer has it; a confidential one is made one of its number or mailbox."""
    if confidential is None or chosen.channel is Channel.LETTER:
        return chosen.point
    if chosen.channel not in SYSTEMS:
        return None
    return {"id": confidential["id"], "system": SYSTEMS[chosen.channel], "value": confidential["value"]}


def _ends(
    question: Question, recipient: Recipient, chosen: Candidate, clock: Hours | None, copied: Sequence[Copying]
) -> Iterator[int]:
    """The moments, all of them later than now, from which the answer might be another."""
    yield question.now + question.rules.lasting
    if clock is not None and clock.until is not None:
        yield clock.until
    yield from consent.ends(question.directives, chosen.channel, chosen.id)
    if chosen.point is not None:
        yield from period_ends(chosen.point)
    if recipient.stand_in is not None:
        yield from period_ends(recipient.stand_in)
    for each in copied:
        yield from each.ends


def _disclosed(
    recipient: Recipient,
    chosen: Candidate,
    spoken: Speech,
    form: Format,
    lacking: Sequence[str],
    copied: Sequence[Copying],
) -> frozenset[str]:
    """The public paths of the profile that the answer shows something of."""
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
    if lacking:
        paths.append("accessNeeds")
    if copied:
        paths.append("relatedPersons")
    return frozenset(paths)
