"""Owns who is contacted: the patient, or a related person in their place, and who is told beside them."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any

from crm.domain.codes import CommunicationPurpose, StandIn
from crm.domain.decision.record import covers
from crm.domain.times import day_after, holds_on

__all__ = ["beside", "period_ends", "stand_in"]


def stand_in(values: Mapping[str, Any], purpose: CommunicationPurpose, today: str) -> Mapping[str, Any] | None:
    """The `RelatedPerson` who is contacted about `purpose` on the day `today` instead of the patient, if any."""
    rows = values.get("related_persons")
    return next(iter(_in_force(rows, StandIn.INSTEAD, purpose, today)), None) if rows else None


def beside(values: Mapping[str, Any], purpose: CommunicationPurpose, today: str) -> Sequence[Mapping[str, Any]]:
    """The related persons who are contacted about `purpose` as well, in their order."""
    rows = values.get("related_persons")
    return _in_force(rows, StandIn.BESIDE, purpose, today) if rows else ()


def period_ends(row: Mapping[str, Any]) -> Iterator[int]:
    """When the period of `row` is over, if it has an end: microseconds since 1970."""
    end = (row.get("period") or {}).get("end")
    if end is not None:
        yield day_after(end)


def _in_force(
    rows: Sequence[Mapping[str, Any]], contact: StandIn, purpose: CommunicationPurpose, today: str
) -> list[Mapping[str, Any]]:
    found = []
    for row in rows:
        period = row.get("period") or {}
        if (
            row.get("contact") == contact
            and covers(row, purpose)
            and holds_on(period.get("start"), period.get("end"), today)
        ):
            found.append(row)
    found.sort(key=lambda row: (row.get("rank") or inf, row["id"]))
    return found
