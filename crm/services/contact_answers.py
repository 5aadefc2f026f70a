"""What of a contact decision is told to whom: the answer, and what its event says was shown. Decides no contact."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final, NamedTuple

from auth import policy
from auth.actor import Actor
from auth.policy import Action, Group, ReadGrant
from auth.purposes import Purpose
from auth.roles import Role
from crm.domain.decision import ContactDecision, Outcome, Reason, explained
from crm.domain.times import instant

__all__ = ["Answer", "Audience", "Judgement", "explained_to", "found", "not_found", "told", "unseen"]

Answer = dict[str, Any]
"""One decision as clients get it, by the names of the members of the GraphQL type."""

CONFIDENTIAL: Final = "confidentialCommunication"
_STAND_IN: Final = "relatedPersons"
_SAID: Final = frozenset({"languages", "accessNeeds", "accessibleFormats", CONFIDENTIAL, _STAND_IN})
_SHOWS: Final[Mapping[str, frozenset[str]]] = {
    "contact_point": frozenset({"contactPoints", CONFIDENTIAL, _STAND_IN}),
    "address": frozenset({"addresses", CONFIDENTIAL}),
    "confidential": frozenset({CONFIDENTIAL}),
    "recipient": frozenset({_STAND_IN}),
    "stand_in": frozenset({_STAND_IN}),
    "copies": frozenset({_STAND_IN}),
    "language": frozenset({"languages", CONFIDENTIAL, _STAND_IN}),
    "format": frozenset({"accessibleFormats", _STAND_IN}),
    "salutation": frozenset({"displayName", _STAND_IN}),
    "unmet_needs": frozenset({"accessNeeds", "accessibleFormats", _STAND_IN}),
    "explanation": _SAID,
    "sentences": _SAID | {"timeZone"},
}
"""Which paths of the profile a member of the answer may show; an outcome and its reasons are codes, and show none."""

_OF_SENDERS: Final = "COC"
"""The purpose of use with which senders usually ask."""

_CONSIDERED: Final = frozenset({"contactPoints", "consents"})
"""What a look at the ways that were not chosen counts as."""
_LOOKS: Final = frozenset({"considered", "sentences"})
"""Members of an explanation that tell of those ways."""
_CLOSED: Final = frozenset({Reason.DECEASED, Reason.MERGED, Reason.RECORD_INACTIVE, Reason.RECORD_ERASED})
_WHOM: Final = frozenset({"contactPoints", "addresses", CONFIDENTIAL, _STAND_IN, "displayName"})


@dataclass(frozen=True, slots=True)
class Audience:
    """What one caller may be told.

    `use` is the purpose of use. `reach`: restricted records withhold nothing from them; `governs`: they may know that
    a record is restricted. `confided`: they are given the confidential endpoint in clear, as whoever sends is, and
    whoever may read it. `sells`: they market, and are not told that there is one. `needs` and `consents`: they may be
    told which needs are not met, and what was considered.
    """

    use: str
    reach: bool
    governs: bool
    confided: bool
    needs: bool
    consents: bool
    sells: bool

    @classmethod
    def of(cls, actor: Actor, grant: ReadGrant) -> "Audience":
        """What `grant`, a yes to `Action.DECIDE`, lets the actor be told."""
        confided = Role.MESSAGING in actor.roles
        if Group.CONFIDENTIAL in grant.groups and not confided:
            asked = {CONFIDENTIAL: Group.CONFIDENTIAL}
            confided = CONFIDENTIAL in policy.decide_read(actor, asked, Action.DECIDE).clear
        return cls(
            actor.purpose.value if actor.purpose else "",
            reach=not policy.withheld_when_restricted(actor),
            governs=Group.GOVERNANCE in grant.groups,
            confided=confided,
            needs=Group.ACCESS in grant.groups,
            consents=Group.CONSENT in grant.groups,
            sells=actor.purpose is Purpose.HMARKT,
        )


class Judgement(NamedTuple):
    """A decision, and how it is told and recorded; see `crm.store.reading.Judged`.

    `ends` are the numbers and mailboxes that were chosen, each with its channel, whether they are told or not. Without
    an `id` the caller is answered as if there were no such patient.
    """

    decision: ContactDecision
    ends: tuple[tuple[str, str], ...]
    id: str | None
    disclosed: frozenset[str]
    masked: frozenset[str]
    refused: bool
    why: str
    flags: tuple[str, ...]


def found(
    decision: ContactDecision,
    decision_id: str,
    audience: Audience,
    asked: frozenset[str],
    *,
    simulated: bool,
    restricted: bool = False,
) -> Judgement:
    """How a decision is told to this audience, which asks for these members of the answer.

    `restricted` says that the record is: who may not know that does not learn either that its person has died.
    """
    first, ends = decision.reasons[0], tuple(_ends(decision))
    if Reason.EMERGENCY_OVERRIDE in decision.reasons:
        first = Reason.EMERGENCY_OVERRIDE  # on record as such, and not as an ordinary yes
    kept = first is Reason.RESTRICTED_RECORD
    if restricted and not (audience.reach or audience.governs):
        kept = kept or first in _CLOSED
    if kept and not audience.governs:
        decision = ContactDecision(Outcome.NOT_FOUND, ())
    if audience.sells:
        decision = replace(decision, reasons=_without_override(decision.reasons))
    shown = _shown_by(asked) & decision.disclosed
    if decision.considered and not asked.isdisjoint(_LOOKS):
        shown |= _CONSIDERED
    masked = frozenset[str]()
    if decision.confidential and not audience.confided:
        decision = replace(decision, contact_point=None, address=None)
        masked = shown & {CONFIDENTIAL}
    return Judgement(
        decision,
        ends,
        None if decision.outcome is Outcome.NOT_FOUND else decision_id,
        shown - masked,
        masked,
        kept,
        f"SIMULATED:{first}" if simulated else first.value,
        ("need_unmet",) if decision.unmet else (),
    )


def _without_override(reasons: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """The reasons for whoever sells: a list of who asked to be reached in confidence is not theirs to make."""
    hidden = Reason.CONFIDENTIAL_OVERRIDE_APPLIED
    return tuple(dict.fromkeys(Reason.OPTED_OUT if each is hidden else each for each in reasons))


@lru_cache(maxsize=1024)
def _shown_by(asked: frozenset[str]) -> frozenset[str]:
    return frozenset[str]().union(*(_SHOWS[name] for name in asked if name in _SHOWS))


def unseen(decision: ContactDecision, real: ContactDecision) -> ContactDecision:
    """A simulated decision, without whoever is not reached in the same way by `real`, what would be sent in truth."""
    if _reached(decision) == _reached(real) and real.outcome is Outcome.ALLOW:
        return replace(decision, copies=tuple(copy for copy in decision.copies if copy in real.copies))
    return replace(
        decision,
        contact_point=None,
        address=None,
        stand_in=None,
        copies=(),
        salutation=None,
        disclosed=decision.disclosed - _WHOM,
    )


def _reached(decision: ContactDecision) -> tuple[Any, ...]:
    return decision.channel, decision.contact_point, decision.address, decision.stand_in


def _ends(decision: ContactDecision) -> Iterator[tuple[str, str]]:
    if decision.channel is not None and decision.contact_point is not None:
        yield decision.channel.value, decision.contact_point["value"]
    for copy in decision.copies:
        if copy.contact_point is not None:
            yield copy.channel.value, copy.contact_point["value"]


def told(judgement: Judgement, patient_id: str, audience: Audience, version: str, *, simulated: bool) -> Answer:
    """The answer as clients get it; times are RFC 3339."""
    if judgement.id is None:
        return not_found(patient_id, version, simulated=simulated)
    decision = judgement.decision
    return {
        "patient_id": patient_id,
        "outcome": decision.outcome,
        "reasons": decision.reasons,
        "channel": decision.channel,
        "contact_point": decision.contact_point,
        "address": decision.address,
        "confidential": decision.confidential,
        "recipient": _recipient(decision),
        "stand_in": decision.stand_in,
        "copies": decision.copies,
        "language": decision.language,
        "format": decision.format,
        "salutation": decision.salutation,
        "next_permitted_at": _moment(decision.next_permitted_at),
        "policy_version": version,
        "decision_id": judgement.id,
        "expires_at": _moment(decision.expires_at),
        "unmet_needs": decision.unmet if audience.needs else (),
        "explanation": decision,
        "simulated": simulated,
    }


def not_found(patient_id: str, version: str, *, simulated: bool) -> Answer:
    """The answer about an id of which the caller may know nothing, whatever the reason."""
    return {
        "patient_id": patient_id,
        "outcome": Outcome.NOT_FOUND,
        "reasons": (),
        "confidential": False,
        "copies": (),
        "policy_version": version,
        "unmet_needs": (),
        "explanation": ContactDecision(Outcome.NOT_FOUND, ()),
        "simulated": simulated,
    }


def explained_to(
    judgement: Judgement | None,
    patient_id: str,
    audience: Audience,
    version: str,
    *,
    simulated: bool,
    uses: frozenset[str],
) -> Answer:
    """The answer to staff: the decision, its sentences, and what was considered and not chosen.

    `uses` are the purposes of use that go with the purpose. Where the usual one of senders is none of them, who asks
    with it is never told ALLOW, and a sentence says so.
    """
    if judgement is None or judgement.id is None:
        decision, answer = ContactDecision(Outcome.NOT_FOUND, ()), not_found(patient_id, version, simulated=simulated)
        sentences = explained(decision)
    else:
        decision, answer = judgement.decision, told(judgement, patient_id, audience, version, simulated=simulated)
        sentences = [*explained(decision), *_for_senders(uses)]
    considered = [
        {"channel": channel, "contact_point_id": point, "reason": reason}
        for channel, point, reason in decision.considered
    ]
    return {"decision": answer, "sentences": sentences, "considered": considered}


def _for_senders(uses: frozenset[str]) -> list[str]:
    if _OF_SENDERS in uses:
        return []
    return [f"A sender has to ask with a purpose of use that goes with this: {', '.join(sorted(uses))}."]


def _recipient(decision: ContactDecision) -> str | None:
    if decision.outcome is not Outcome.ALLOW:
        return None
    return "RELATED_PERSON" if Reason.STAND_IN_CONTACTED in decision.reasons else "PATIENT"


def _moment(at: int | None) -> str | None:
    return None if at is None else instant(at)
