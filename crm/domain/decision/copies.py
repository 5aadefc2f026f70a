"""Owns who is told beside the patient, and how: the same rungs as for the patient, for each of them alone."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from crm.domain.codes import CommunicationPurpose
from crm.domain.decision import consent, methods
from crm.domain.decision.candidates import Candidate, candidates
from crm.domain.decision.hours import hours
from crm.domain.decision.question import Question
from crm.domain.decision.recipient import beside, period_ends
from crm.domain.decision.speech import format_for, language_for
from crm.domain.decision.verdict import Copy

__all__ = ["Copying", "copies"]


class Copying(NamedTuple):
    """One copy, and the moments from which it might not be permitted any more, in microseconds since 1970."""

    copy: Copy
    ends: tuple[int, ...]


def copies(question: Question) -> list[Copying]:
    """Whoever is contacted as well, in their order; who cannot be reached now, as they need, is left out."""
    return [
        copying
        for person in beside(question.values, question.purpose, question.today)
        if (copying := _copied(question, person)) is not None
    ]


def _copied(question: Question, person: Mapping[str, Any]) -> Copying | None:
    left = [way for way in candidates(question, person) if way.refusal is None]
    needs = methods.methods(person, has_carer=True)
    for way in methods.meeting(needs, left):
        if way.point is None:  # the portal is the patient's own
            continue
        permitted, until = _hours(question, way)
        if permitted:
            language = language_for(person, way.channel, question.sender).language
            form = format_for(person, way.channel, question.sender).format
            rests_on = consent.ends(question.directives, way.channel, way.id)
            ends = (*until, *rests_on, *period_ends(person), *period_ends(way.point))
            return Copying(Copy(person["id"], way.channel, way.point, language, form, person["name"]), ends)
    return None


def _hours(question: Question, way: Candidate) -> tuple[bool, tuple[int, ...]]:
    """Whether it is the time for a copy by this way, and until when: no telephone rings at night beside a letter."""
    if question.purpose == CommunicationPurpose.EMERGENCY or not question.rule.quiet_hours:
        return True, ()
    clock = hours(question.values, question.purpose, way.channel, question.rules, question.now)
    return clock.permitted, () if clock.until is None else (clock.until,)
