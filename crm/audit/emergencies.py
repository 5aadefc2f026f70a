"""Break-glass held against the events by which grants were given and judged: looks, and stored rows. Reads no database.

A grant's row can be forged by whoever has the database. The event of giving it cannot, and each look names its grant.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import UUID

from crm.audit.damage import Damages, LogFault
from crm.audit.event import EPOCH, Act
from crm.domain.break_glass import AGAIN, DRIFT, LASTING, LATE, MINUTE, STANDING

__all__ = ["Emergencies", "StoredGrant"]

_FLAG: Final = "break_glass"
_ANSWERED: Final = frozenset({"ok", "partial"})
_MICROSECOND: Final = timedelta(microseconds=1)

Holder = tuple[str, str, str]
"""Whose record (the name in the log), and who may look: issuer and subject."""


class StoredGrant(NamedTuple):
    """The row of a grant. Times are microseconds since 1970; the last four are None until the review."""

    id: str
    subject: str
    issuer: str
    actor: str
    role: str
    reason: str
    requested_at: int
    expires_at: int
    reviewer_issuer: str | None
    reviewer: str | None
    reviewed_at: int | None
    verdict: str | None


class _Given(NamedTuple):
    seq: int
    holder: Holder
    role: str
    reason: str
    at: int
    minutes: int


class _Review(NamedTuple):
    seq: int
    reviewer: tuple[str, str]
    subject: str
    verdict: str
    at: int


class _Look(NamedTuple):
    seq: int
    grant: str
    holder: Holder
    at: int


class Emergencies:
    """Gathers grants, reviews and looks in the order of the log, to be judged in the end.

    In the end, because a replica may answer a look while the event of the grant, which is committed, still waits.
    """

    __slots__ = ("_given", "_looks", "_reviews", "_since")

    def __init__(self) -> None:
        self._given: dict[str, _Given] = {}
        self._reviews: dict[str, _Review] = {}
        self._looks: list[_Look] = []
        self._since = ""

    def note(self, seq: int, content: Mapping[str, Any]) -> None:
        """One event, by its leaf. Raises KeyError, TypeError or ValueError for what is no leaf."""
        self._since = self._since or content["id"]
        act, grant = content["act"], str(content.get("ref", ""))
        if content["out"] not in _ANSWERED or not (act == Act.REVIEW or _FLAG in content.get("flg", ())):
            return
        who, why = content.get("who", {}), content.get("why", "")
        person = (who.get("iss", ""), who.get("sub", ""))
        holder = (content.get("pat", ""), *person)
        at = (datetime.fromisoformat(content["t"]) - EPOCH) // _MICROSECOND
        if act == Act.REVIEW:
            self._reviews.setdefault(grant, _Review(seq, person, holder[0], why, at))
        elif act != Act.BREAKGLASS:
            self._looks.append(_Look(seq, grant, holder, at))
        elif why != AGAIN:
            role = ",".join(who.get("roles", ()))
            self._given.setdefault(grant, _Given(seq, holder, role, why, at, int(content.get("cnt", 0))))

    def unknown(self, *, pruned: bool) -> Iterator[int]:
        """The numbers of looks that no grant allowed. Where the beginning was `pruned`, older grants are believed.

        But none that would have ended before the look. Ids are UUIDv7, whose order is that of time.
        """
        for look in self._looks:
            given = self._given.get(look.grant)
            if given is None:
                allowed = pruned and look.grant < self._since and look.at <= _time(look.grant) + LASTING + LATE
            else:
                end = given.at + given.minutes * MINUTE
                allowed = given.holder == look.holder and given.at - LATE - DRIFT <= look.at <= end + LATE + DRIFT
            if not allowed or self._ended(look):
                yield look.seq

    def _ended(self, look: _Look) -> bool:
        review = self._reviews.get(look.grant)
        return review is not None and review.verdict != STANDING and look.at > review.at + LATE + DRIFT

    def compare(
        self,
        before: Iterable[StoredGrant],
        after: Iterable[StoredGrant],
        waiting: Collection[tuple[str, str]],
        damages: Damages,
        *,
        pruned: bool,
    ) -> None:
        """Notes where stored rows and the log say different things.

        The rows as they were `before` the log was read must have their events, unless those wait (by id and act) or
        were `pruned`; the events must have their rows as they are `after` it.
        """
        for row in before:
            gone = pruned and row.id < self._since and row.id not in self._given
            if row.id not in self._given and not gone and (row.id, Act.BREAKGLASS) not in waiting:
                damages.add(LogFault.GRANT_WRONG, part=f"{row.id}: no event gave it")
            if row[8:] == (None,) * 4 or row.id in self._reviews or (row.id, Act.REVIEW) in waiting:
                continue
            if not (gone and (row.reviewed_at or 0) <= _time(self._since)):
                damages.add(LogFault.REVIEW_WRONG, part=f"{row.id}: no event reviewed it")
        rows = {row.id: row for row in after}
        for name, given in self._given.items():
            if wrong := _differing(rows.get(name), given):
                damages.add(LogFault.GRANT_WRONG, given.seq, part=f"{name}: {wrong}")
        for name, review in self._reviews.items():
            if wrong := _differing_review(rows.get(name), review):
                damages.add(LogFault.REVIEW_WRONG, review.seq, part=f"{name}: {wrong}")


def _differing(row: StoredGrant | None, given: _Given) -> str:
    """The columns in which a row is not as its grant was given; empty if it is."""
    if row is None:
        return "no row"
    same = {
        "subject": row.subject == given.holder[0],
        "issuer": row.issuer == given.holder[1],
        "actor": row.actor == given.holder[2],
        "role": row.role == given.role,
        "reason": row.reason == given.reason,
        "requested_at": given.at - LATE <= row.requested_at <= given.at + DRIFT,
        "expires_at": row.expires_at - row.requested_at == given.minutes * MINUTE,
    }
    return ", ".join(name for name, equal in same.items() if not equal)


def _differing_review(row: StoredGrant | None, review: _Review) -> str:
    """The columns in which a row is not as it was reviewed; empty if it is."""
    if row is None:
        return "no row"
    same = {
        "subject": row.subject == review.subject,
        "reviewer": (row.reviewer_issuer, row.reviewer) == review.reviewer,
        "reviewed_at": row.reviewed_at is not None and review.at - LATE <= row.reviewed_at <= review.at + DRIFT,
        "verdict": row.verdict == review.verdict,
    }
    return ", ".join(name for name, equal in same.items() if not equal)


def _time(name: str) -> int:
    """The microseconds since 1970 of a UUIDv7, up to the end of its millisecond; 0 for what is none."""
    try:
        return (UUID(name).int >> 80) * 1_000 + 999
    except ValueError:
        return 0
