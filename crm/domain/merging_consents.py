"""What becomes of consent directives when two records are merged, or a merge is undone: no prohibition gets weaker.

In a record the newer and more exact permission beats a prohibition of the same person (`decision.consent`). Across two
records that would let a permission of the one undo a prohibition of the other, which nobody who gave it knew. So such a
prohibition is said again, as narrow as the permission and newer than it.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import to_json

from crm.domain.codes import CommunicationPurpose, ConsentDecision
from crm.domain.consent_history import appended
from crm.domain.consents import by_patient, weighs_from
from crm.domain.times import instant

__all__ = ["joined", "said_again"]

Directive = Mapping[str, Any]
Values = Mapping[str, Any]

SYSTEM: Final = "merge"
"""The capturing system of a directive that a merge, or the end of one, says again."""

_PATH: Final = "input.duplicateId"
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


def joined(
    survivor: Values,
    duplicate: Values,
    renamed: Mapping[str, str],
    confidential: Mapping[str, Any] | None,
    now: int,
    by: str,
) -> list[Directive] | None:
    """The directives of both, the survivor's first, then what has to be said again so that nothing is permitted anew.

    `renamed` maps ids of the duplicate's contact points and related persons to those that they have now;
    `confidential` is the confidential communication after the merge. Raises `Invalid` where they are too many.
    """
    mine = list(survivor.get("consents") or ())
    known = {each["id"] for each in mine}
    theirs = [_renamed(each, renamed) for each in duplicate.get("consents") or () if each["id"] not in known]
    history = [*mine, *({**each, "seq": number} for number, each in enumerate(theirs, _next(mine)))]
    ours = ends(survivor)
    others = {point: end for point, end in ends(duplicate, renamed).items() if point not in ours}
    again = [
        *_beaten(mine, [*theirs, *_as_permit(duplicate)]),
        *_beaten(theirs, [*mine, *_as_permit(survivor)]),
        *_elsewhere(mine, ours, others),
        *_elsewhere(theirs, others, ours),
    ]
    said = [_again(deny, scope, now, by) for deny, scope in again if not _over(deny, instant(now))]
    zone = survivor.get("time_zone") or duplicate.get("time_zone")
    return appended(history, said, now, zone=zone, confidential=confidential, path=_PATH) or None


def said_again(
    kept: Sequence[Directive], other: Sequence[Directive], holder: Values, merged: Values, now: int, by: str
) -> list[Directive]:
    """`kept` and every prohibition in force of `other`, without its words: which of two people forbade it is not sure.

    `holder` are the values of the record that they are for, `merged` those of the one in which they stood: what was
    about a contact point is about those of the same number or mailbox, and nothing where there are none.
    """
    here, there = ends(holder), ends(merged)
    said = []
    for deny in other:
        if not _denies(deny) or _over(deny, instant(now)):
            continue
        point = deny["scope"].get("contact_point_id")
        same = [None] if point is None else [each for each in here if each == point or here[each] == there.get(point)]
        for each in same:
            scope = deny["scope"] if each is None else {**deny["scope"], "contact_point_id": each}
            said.append(_again({**deny, "giver": {}}, scope, now, by))
    return appended(kept, said, now, path=_PATH)


def _next(history: Sequence[Directive]) -> int:
    return history[-1]["seq"] + 1 if history else 1


def _renamed(directive: Directive, renamed: Mapping[str, str]) -> Directive:
    """The same directive, about the contact point and by the person under the ids that they have now."""
    scope, giver = {**directive["scope"]}, {**directive["giver"]}
    for part, member in ((scope, "contact_point_id"), (giver, "related_person_id")):
        if member in part:
            part[member] = renamed.get(part[member], part[member])
    return {**directive, "scope": scope, "giver": giver}


def _denies(directive: Directive) -> bool:
    return bool(directive["decision"] == ConsentDecision.DENY)


def _over(directive: Directive, moment: str) -> bool:
    return "effective_to" in directive and directive["effective_to"] <= moment


def _beaten(own: Sequence[Directive], foreign: Sequence[Directive]) -> Iterator[tuple[Directive, Mapping[str, Any]]]:
    """Each prohibition of one record that a permission of the other would beat, and the scope in which it would."""
    permits = [each for each in own if not _denies(each)]
    for deny in filter(_denies, own):
        for permit in foreign:
            if _denies(permit) or not _beats(permit, deny):
                continue
            if not any(_beats(each, deny) and each["scope"].items() <= permit["scope"].items() for each in permits):
                yield deny, permit["scope"]


def _beats(permit: Directive, deny: Directive) -> bool:
    """As `crm.domain.decision.consent` weighs them, for a contact that both are about."""
    scope, wider = permit["scope"], deny["scope"]
    if scope.get("purpose") == CommunicationPurpose.EMERGENCY and "purpose" not in wider:
        return False  # there the prohibition does not bind
    may = by_patient(permit) or not by_patient(deny)
    return may and weighs_from(permit) > weighs_from(deny) and wider.items() <= scope.items()


def _as_permit(values: Values) -> list[Directive]:
    """What a confidential communication permits, as it is weighed."""
    communication = values.get("confidential_communication")
    if communication is None:
        return []
    scope = {"channel": communication["channel"], "contact_point_id": communication["id"]}
    return [{"decision": "PERMIT", "scope": scope, "giver": {}, "effective_from": communication["set_at"]}]


def ends(values: Values, renamed: Mapping[str, str] = _NONE) -> dict[str, str]:
    """The numbers and mailboxes of a record and its related persons, by the ids that their contact points have now."""
    parties = (values, *(values.get("related_persons") or ()))
    points = [point for party in parties for point in party.get("contact_points") or ()]
    return {renamed.get(point["id"], point["id"]): point["value"] for point in points}


def _elsewhere(
    own: Sequence[Directive], here: Mapping[str, str], there: Mapping[str, str]
) -> Iterator[tuple[Directive, Mapping[str, Any]]]:
    """Prohibitions about a contact point, for each one of the other record that ends at the same number or mailbox."""
    for deny in filter(_denies, own):
        end = here.get(deny["scope"].get("contact_point_id", ""))
        for point, other in there.items():
            if end == other:
                yield deny, {**deny["scope"], "contact_point_id": point}


def _again(deny: Directive, scope: Mapping[str, Any], now: int, by: str) -> Directive:
    """A new prohibition in `scope`, by who gave `deny`, for as long as that; under the same id if it is made again."""
    mark = hashlib.sha256(to_json([deny["id"], sorted(scope.items()), now])).hexdigest()[:32]
    again: dict[str, Any] = {"id": mark, "decision": "DENY", "scope": dict(scope), "giver": dict(deny["giver"])}
    again["capture"] = {"at": instant(now), "system": SYSTEM, "by": by}
    return again | ({"effective_to": deny["effective_to"]} if "effective_to" in deny else {})
