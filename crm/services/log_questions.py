"""What a caller asks of the log, understood: times, patients and flags in the terms of the store. Reads no event."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from crm.audit.event import EPOCH, Who
from crm.domain.break_glass import DRIFT, LASTING, LATE
from crm.errors import Invalid
from crm.services.refusals import NOBODY
from crm.store.database import Fetch
from crm.store.log_reading import EventFilter
from crm.store.subjects import subjects_of

__all__ = ["DAY", "SPAN", "Asked", "bounded", "micros", "understood", "walkable"]

DAY: Final = 86_400_000_000
"""Microseconds of a day."""
SPAN: Final = 31 * DAY
"""How much of an organisation's log is walked through at once."""
SPAN_OF_ACTOR: Final = 366 * DAY
"""How much of one actor's part; of one patient, one request or one session it may be everything."""

_SUBJECT = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question about the log of `org`; `nothing` where it names a patient whom nobody knows."""

    org: str
    chosen: EventFilter
    nothing: bool = False


async def understood(fetch: Fetch, org: str, question: Mapping[str, Any]) -> Asked:
    """The question in the terms of the store.

    `question` may hold `patient_id` or `audit_subject` (the patient's random name in the log), `actor`, `token_id`
    (together with `actor`), `reference` (the UUIDv7 of a decision or a grant), `from_` (inclusive) and `to` (exclusive)
    as RFC 3339 text, `outcome` (ok, partial, denied, error), `purpose` (HL7 code), `act`, `request_id` and `flags` (any
    of which an event must have); with `unattributed` it is about the attempts without a valid token, which belong to no
    organisation. Raises `Invalid`.
    """
    if question.get("token_id") is not None and question.get("actor") is None:
        raise Invalid("filter.tokenId", "needs_actor")
    times = {"since": micros(question.get("from_"), "filter.from"), "until": micros(question.get("to"), "filter.to")}
    patient_id, subject = question.get("patient_id"), question.get("audit_subject")
    if subject is not None and not _SUBJECT.fullmatch(subject):
        raise Invalid("filter.auditSubject", "audit_subject")
    unknown = False
    if patient_id is not None:
        known = (await subjects_of(fetch, org, [patient_id])).get(patient_id)
        unknown = known is None or subject not in {None, known}
        subject = known
    reference = question.get("reference")
    if reference is not None:
        times = _around(reference, times)
    chosen = EventFilter(
        patient=subject,
        # A subject that is no plain identifier stands in the log as its digest.
        actor=None if question.get("actor") is None else Who(sub=question["actor"]).sub,
        outcome=question.get("outcome"),
        purpose=question.get("purpose"),
        act=question.get("act"),
        request=question.get("request_id"),
        flags=tuple(question.get("flags") or ()),
        token=question.get("token_id"),
        reference=reference,
        **times,
    )
    return Asked(NOBODY if question.get("unattributed") else org, chosen, unknown)


def _around(reference: str, times: Mapping[str, int | None]) -> dict[str, int | None]:
    """The times narrowed to when something with this id can have happened: the id itself says when it was made.

    Decisions are recorded at once; looks under a grant until it ends. Raises `Invalid` for what is no UUIDv7.
    """
    try:
        uuid = UUID(reference)
    except ValueError:
        uuid = None
    if uuid is None or uuid.version != 7 or str(uuid) != reference:
        raise Invalid("filter.reference", "id")
    made = (uuid.int >> 80) * 1_000
    since, until = made - DRIFT, made + LASTING + LATE
    return {
        "since": max(since, times["since"] or 0),
        "until": until if times["until"] is None else min(until, times["until"]),
    }


def bounded(asked: Asked, now: int) -> Asked:
    """The same question about a time that can be added up: the last of that length where it does not say.

    Raises `Invalid` for a longer one.
    """
    chosen = asked.chosen
    if chosen.patient is not None or chosen.request is not None or chosen.token is not None:
        return asked
    longest = SPAN if chosen.actor is None else SPAN_OF_ACTOR
    until = now + 1 if chosen.until is None else chosen.until
    since = until - longest if chosen.since is None else chosen.since
    if until - since > longest:
        raise Invalid("filter.from", "span_too_long")
    return replace(asked, chosen=replace(chosen, since=since, until=until))


def walkable(asked: Asked, now: int) -> Asked:
    """The same question about a time through which a page of events can be looked for.

    Action and purpose have no index: where they are rare, and no patient, actor or request narrows the question, every
    event of that time is looked at. So it is bounded as sums are. Raises `Invalid` for a longer one.
    """
    chosen = asked.chosen
    walks = chosen.act is not None or chosen.purpose is not None
    return bounded(asked, now) if walks and chosen.actor is None else asked


def micros(text: str | None, path: str) -> int | None:
    """Microseconds since 1970 of RFC 3339 text with an offset. Raises `Invalid`."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(path, "date_time") from None
    if moment.tzinfo is None:
        raise Invalid(path, "date_time")
    return (moment - EPOCH) // timedelta(microseconds=1)
