"""What a contact decision says: its outcome, its reasons in order, and the one way that it found. Decides nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from crm.domain.codes import Channel

__all__ = ["ContactDecision", "Copy", "Objector", "Outcome", "Reason"]


class Outcome(StrEnum):
    """What a sender does next: send, do not send, ask again later, or let a person look."""

    ALLOW = "ALLOW"
    DENY = "DENY"
    DEFER = "DEFER"
    MANUAL = "MANUAL"
    NOT_FOUND = "NOT_FOUND"


class Reason(StrEnum):
    """Why, in the order of the ladder: the first reason of a decision is the one that decided.

    What stands behind OK tells how the answer departs from what the person would like best.
    """

    OK = "OK"
    EMERGENCY_OVERRIDE = "EMERGENCY_OVERRIDE"
    DECEASED = "DECEASED"
    MERGED = "MERGED"
    RECORD_INACTIVE = "RECORD_INACTIVE"
    RECORD_ERASED = "RECORD_ERASED"
    RESTRICTED_RECORD = "RESTRICTED_RECORD"
    LEGAL_RESTRICTION = "LEGAL_RESTRICTION"
    CONFIDENTIAL_OVERRIDE_APPLIED = "CONFIDENTIAL_OVERRIDE_APPLIED"
    STAND_IN_CONTACTED = "STAND_IN_CONTACTED"
    OPTED_OUT = "OPTED_OUT"
    CONSENT_EXPIRED = "CONSENT_EXPIRED"
    CONSENT_UNKNOWN = "CONSENT_UNKNOWN"
    PURPOSE_OF_USE_MISMATCH = "PURPOSE_OF_USE_MISMATCH"
    REVIEW_PENDING = "REVIEW_PENDING"
    ACCESS_NEED_CONFLICT = "ACCESS_NEED_CONFLICT"
    CONTACT_POINT_UNVERIFIED = "CONTACT_POINT_UNVERIFIED"
    CONTACT_POINT_UNDELIVERABLE = "CONTACT_POINT_UNDELIVERABLE"
    CONTACT_POINT_EXPIRED = "CONTACT_POINT_EXPIRED"
    NO_USABLE_CONTACT_POINT = "NO_USABLE_CONTACT_POINT"
    CHANNEL_NOT_SUPPORTED_BY_CALLER = "CHANNEL_NOT_SUPPORTED_BY_CALLER"
    TIME_ZONE_UNKNOWN = "TIME_ZONE_UNKNOWN"
    QUIET_HOURS_LEGAL = "QUIET_HOURS_LEGAL"
    QUIET_HOURS_PATIENT = "QUIET_HOURS_PATIENT"
    QUIET_HOURS_DEFAULT = "QUIET_HOURS_DEFAULT"
    LANGUAGE_FALLBACK = "LANGUAGE_FALLBACK"
    FORMAT_FALLBACK = "FORMAT_FALLBACK"
    ACCESS_NEED_UNMET = "ACCESS_NEED_UNMET"


class Objector(StrEnum):
    """Who said no to one way: the patient, somebody else for them, by `textPermitted`, or by a message from there."""

    PATIENT = "PATIENT"
    OTHER = "OTHER"
    TEXTS = "TEXTS"
    STOP = "STOP"


@dataclass(frozen=True, slots=True)
class Copy:
    """Somebody who is contacted as well as the patient, with what is theirs; values as in `ContactDecision`."""

    related_person_id: str
    channel: Channel
    contact_point: Mapping[str, Any]
    language: str | None
    format: str
    salutation: str


@dataclass(frozen=True, slots=True)
class ContactDecision:
    """One decision. Times are microseconds since 1970, UTC.

    `contact_point` has `id`, `system`, `value` and more as stored (a `ContactPoint`), `address` an `Address`; at most
    one of them is there, and only with ALLOW. `confidential` says that they are those of a confidential communication.
    `stand_in` is the id of the related person who is contacted instead. `format` is an accessible format, or STANDARD.
    `next_permitted_at` comes with DEFER; None there means that no time is known. `expires_at` is the moment from which
    the decision must not be used any more. `unmet` are the needs and formats that it does not meet. `considered` names
    what else was looked at and why it was not chosen: (channel, contact point's id or None, reason).
    `objectors` are who said no to those of them that are OPTED_OUT, by channel and id. `zone` is the person's time zone
    and comes with DEFER, if it is known. `disclosed` are the public paths of the profile that the decision shows.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    channel: Channel | None = None
    contact_point: Mapping[str, Any] | None = None
    address: Mapping[str, Any] | None = None
    confidential: bool = False
    stand_in: str | None = None
    copies: tuple[Copy, ...] = ()
    language: str | None = None
    format: str | None = None
    salutation: str | None = None
    next_permitted_at: int | None = None
    expires_at: int | None = None
    unmet: tuple[str, ...] = ()
    considered: tuple[tuple[Channel, str | None, Reason], ...] = ()
    objectors: Mapping[tuple[Channel, str | None], Objector] = field(default_factory=dict)
    zone: str | None = None
    disclosed: frozenset[str] = frozenset()
