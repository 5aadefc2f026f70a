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
    found = []
    for person in beside(question.values, question.purpose, question.today):
        way = _way(question, person)
        if way is not None and way.point is not None:
            copy = Copy(
                person["id"], way.channel, way.point, language_for(person, way.channel, question.sender).language,
                format_for(person, way.channel, question.sender).format, person["name"],
            )  # fmt: skip
            ends = (
                *consent.ends(question.directives, way.channel, way.id), *period_ends(way.point), *period_ends(person)
            )  # fmt: skip
            found.append(Copying(copy, ends))
    return found


def _way(question: Question, person: Mapping[str, Any]) -> Candidate | None:
    """The best way to reach `person` now by a contact point of their own; None where there is none."""
    left = [way for way in candidates(question, person) if way.refusal is None and way.point is not None]
    needs = methods.methods(person, has_carer=True)
    for way in methods.meeting(needs, left):
        if _is_time_for(question, way):
            return way
    return None


def _is_time_for(question: Question, way: Candidate) -> bool:
    """Nobody's telephone rings at night because the patient is told by letter."""
    if question.purpose == CommunicationPurpose.EMERGENCY or not question.rule.quiet_hours:
        return True
    return hours(question.values, question.purpose, way.channel, question.rules, question.now).permitted
