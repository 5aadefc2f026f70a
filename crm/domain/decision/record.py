"""Owns what forbids contact before anybody asks how: the record's state, restrictions, and messages nobody has read."""

from collections.abc import Mapping
from typing import Any, Final

from crm.domain.codes import CommunicationPurpose, RestrictionKind, SuspensionKind
from crm.domain.decision.verdict import Reason

__all__ = ["NO_CHANNEL", "barred", "closed", "covers", "review_pending"]

NO_CHANNEL: Final[frozenset[str]] = frozenset()
MERGED: Final = "merged"


def closed(values: Mapping[str, Any], status: str, erased: bool) -> Reason | None:
    """Why nobody is contacted by this record at all; None where nothing in its state forbids it."""
    if erased:
        return Reason.RECORD_ERASED
    if status == MERGED:
        return Reason.MERGED
    deceased = values.get("deceased")
    if deceased or (deceased is None and values.get("deceased_at") is not None):
        return Reason.DECEASED
    return Reason.RECORD_INACTIVE if values.get("active") is False else None


def covers(row: Mapping[str, Any], purpose: CommunicationPurpose) -> bool:
    """Whether `row` is about `purpose`: what names no purposes is about all of them."""
    purposes = row.get("purposes")
    return not purposes or purpose in purposes


def barred(values: Mapping[str, Any], purpose: CommunicationPurpose, moment: str) -> frozenset[str] | None:
    """The channels that restrictions in force close for `purpose`; None where they close all of them."""
    rows = values.get("restrictions")
    if not rows:
        return NO_CHANNEL
    shut: set[str] = set()
    for row in rows:
        if row["kind"] != RestrictionKind.CONTACT or row.get("lifted_at") or not covers(row, purpose):
            continue
        until = row.get("until")
        if until is not None and until <= moment:
            continue
        if not row.get("channels"):
            return None
        shut.update(row["channels"])
    return frozenset(shut)


def review_pending(values: Mapping[str, Any]) -> bool:
    """Whether the person wrote something that may mean to stop, and nobody has read it."""
    return any(
        row["kind"] == SuspensionKind.UNCLEAR and row.get("verdict") is None for row in values.get("suspensions", ())
    )
