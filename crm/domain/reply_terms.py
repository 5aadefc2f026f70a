"""Owns the terms by which a message or a due review finds a record, besides those of searches; hashes nothing."""

from collections.abc import Iterator, Mapping
from typing import Any

from crm.domain.search_terms import email, emails, phone, phones
from crm.errors import Invalid

__all__ = ["endpoint", "replies", "review_months"]

Values = Mapping[str, Any]


def endpoint(channel: str, value: str, region: str | None = None) -> bytes | None:
    """The term of where messages of `channel` come from or go to, as `replies` and searches have it; None without one.

    EMAIL has mailboxes, every other channel numbers, which are read in `region` where they have no `+`.
    """
    try:
        return email(value) if channel == "EMAIL" else phone(value, region)
    except Invalid:
        return None


def replies(values: Values) -> set[bytes]:
    """The terms of all numbers and mailboxes that are not the person's own contact points.

    Needs the cells `related_persons` and `confidential_communication`. A number and a mailbox never share a term.
    """
    return {term for points in _points(values) for term in phones(points) | emails(points)}


def _points(values: Values) -> Iterator[Values]:
    for person in values.get("related_persons") or ():
        yield {"contact_points": person.get("contact_points") or ()}
    confidential = values.get("confidential_communication") or {}
    if value := confidential.get("value"):
        system = "EMAIL" if confidential["channel"] == "EMAIL" else "PHONE"
        yield {"contact_points": [{"system": system, "value": value}]}


def review_months(values: Values) -> set[bytes]:
    """The months, `YYYY-MM`, in which access needs are due for review; needs the cell `access_needs`.

    A review that is due in a year counts for its January.
    """
    due = (need.get("review_due_at") for need in values.get("access_needs") or ())
    return {f"{text}-01"[:7].encode() for text in due if text}
