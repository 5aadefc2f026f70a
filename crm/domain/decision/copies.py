"""Owns who is told beside the patient, and how: the same rungs as for the patient, for each of them alone."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from crm.domain.codes import Channel
from crm.domain.decision import consent, methods
from crm.domain.decision.candidates import Candidate, candidates
from crm.domain.decision.hours import ALWAYS, Hours, hours
from crm.domain.decision.question import Question
from crm.domain.decision.recipient import beside, period_ends
from crm.domain.decision.speech import format_for, language_for
from crm.domain.decision.verdict import Copy

__all__ = ["Copying", "copies"]


class Copying(NamedTuple):
    """One copy, and the moments from which it might not be permitted any more, in microseconds since 1970."""

    copy: Copy
    ends: tuple[int, ...]


def copies(question: Question, own: Candidate | None) -> list[Copying]:
    """Whoever is contacted as well, in their order; who cannot be reached now, as they need, is left out.

    So is whose copy would go where the patient is told: `own` is the way to them, None where somebody stands in.
    """
    clocks: dict[Channel, Hours] = {}
    people = beside(question.values, question.purpose, question.today)
    return [made for person in people if (made := _copied(question, person, own, clocks)) is not None]


def _copied(
    question: Question, person: Mapping[str, Any], own: Candidate | None, clocks: dict[Channel, Hours]
) -> Copying | None:
    left = [way for way in candidates(question, person) if way.refusal is None]
    needs = methods.methods(person, has_carer=True)
    for way in methods.meeting(needs, left):
        if way.point is None:  # the portal is the patient's own
            continue
        clock = clocks.get(way.channel)
        if clock is None:
            clock = clocks[way.channel] = _hours(question, way.channel)
        if clock.permitted:
            if own is not None and own.channel == way.channel and _same_end(own.point, way.point):
                return None
            language = language_for(person, way.channel, question.sender).language
            form = format_for(person, way.channel, question.sender).format
            copy = Copy(person["id"], way.channel, way.point, language, form, person["name"])
            ends = [] if clock.until is None else [clock.until]
            ends += consent.ends(question.directives, way.channel, way.id)
            return Copying(copy, (*ends, *period_ends(person), *period_ends(way.point)))
    return None


def _same_end(one: Mapping[str, Any] | None, other: Mapping[str, Any]) -> bool:
    return one is not None and bool(one["value"] == other["value"])


def _hours(question: Question, channel: Channel) -> Hours:
    """The hours of a copy: no telephone rings at night beside a letter."""
    if question.emergency or not question.rule.quiet_hours:
        return ALWAYS
    return hours(question.values, question.purpose, channel, question.rules, question.now)
