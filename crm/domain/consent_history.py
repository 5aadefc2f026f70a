"""Owns how consent directives are appended to those of a record, and by when others must honour a prohibition.

What is there is never looked at again by the rules of an entry, never changed and never removed. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic_core import to_json

from crm.domain.consents import MOST_DIRECTIVES, ConsentDirective, by_patient, mark_of, weighs_from
from crm.domain.shape import parse
from crm.domain.times import instant, micros
from crm.errors import Invalid

__all__ = ["BUSINESS_DAYS", "MOST_OCTETS", "appended", "honour_by"]

BUSINESS_DAYS: Final = 10
"""Within how many business days a revocation has to be honoured (47 CFR 64.1200(a)(10))."""

MOST_OCTETS: Final = 256 * 1024
"""Octets of the whole history as JSON; a directive without a note takes about 400."""

_KEPT_FREE: Final = 0.2
"""The part of both limits that is for what the patient forbids, so that nobody can fill the history before them."""

_SHARE: Final = 0.2
"""The part of both limits that anybody may use who is not the patient; each relative and each role has one."""

_A_WEEK: Final = 5
_FRIDAY: Final = 4

Directive = Mapping[str, Any]


def appended(
    directives: Sequence[Directive],
    new: Iterable[Directive],
    now: int,
    *,
    zone: str | None = None,
    confidential: Mapping[str, Any] | None = None,
    ends: Mapping[str, str] | None = None,
    path: str = "directives",
) -> list[Directive]:
    """The canonical `directives` of a record with those of `new` behind them; what repeats one in force adds nothing.

    A new one needs its `decision`; `seq` is counted here. What it leaves out: it was received and said at `now`
    (microseconds, UTC); a DENY holds from `now` on. A PERMIT holds from when it was said, or earlier if it says so and
    never later, so that it beats no prohibition of the time between. `honour_by` of a DENY is counted in `zone`, the
    person's IANA time zone, else in UTC. `confidential` is the record's confidential communication, if it has one: it
    permits as a PERMIT does, so that a DENY before it is not repeated by one behind it. `ends` are the numbers and
    mailboxes of the record by the ids of their contact points: a PERMIT for one is for what it is now.

    Raises `Invalid` with a place below `path`: as `parse` does; `duplicate` for an id that the record has; `future` for
    what was said, confirmed or received after `now`, and for a PERMIT that begins later; `too_many` and `too_large`.
    """
    history: list[Directive] = list(directives)
    silent = [_as_permit(confidential)] if confidential else []
    for said in new:
        entry = _entered(said, history, now, zone, path)
        if any(old["id"] == entry["id"] for old in history):
            raise Invalid(f"{path}.id", "duplicate")
        end = (ends or {}).get(entry["scope"].get("contact_point_id", ""))
        if end is not None and entry["decision"] == "PERMIT":
            entry = {**entry, "mark": mark_of(entry["id"], end)}
        if not _repeats(entry, history, silent, end):
            history.append(entry)
            _within_limits(history, path)
    return history


def honour_by(received: int, zone: str | None = None) -> int:
    """The moment ten business days after `received` (both in microseconds, UTC), at the same time of day in `zone`.

    The day of receipt is not counted, nor are Saturdays and Sundays. Public holidays are counted as business days: the
    moment is then too early for whom they are free, and never too late.
    """
    local = datetime.fromtimestamp(received // 1_000_000, ZoneInfo(zone or "UTC"))
    days_since_friday = max(local.weekday() - _FRIDAY, 0)  # from a weekend on, one counts as from the Friday before
    due = local + timedelta(weeks=BUSINESS_DAYS // _A_WEEK, days=-days_since_friday)
    return received + (due.astimezone(UTC) - local.astimezone(UTC)) // timedelta(microseconds=1)


def _entered(said: Directive, history: Sequence[Directive], now: int, zone: str | None, path: str) -> Directive:
    """One new directive in its canonical form, with what it left out."""
    capture = {"at": instant(now), **_stated(said.get("capture"))}
    filled: dict[str, Any] = {"received_at": instant(now), **_stated(said), "capture": capture}
    filled["seq"] = history[-1]["seq"] + 1 if history else 1
    permits = said.get("decision") == "PERMIT"
    filled.setdefault("effective_from", capture["at"] if permits else instant(now))
    filled.pop("honour_by", None)
    filled.pop("mark", None)
    entry: dict[str, Any] = parse(ConsentDirective, filled, path)
    told = {"capture.at": entry["capture"]["at"], "confirmedAt": entry.get("confirmed_at")}
    told |= {"receivedAt": entry["received_at"]} | ({"effectiveFrom": entry["effective_from"]} if permits else {})
    for place, at in told.items():
        if at is not None and at > instant(now):
            raise Invalid(f"{path}.{place}", "future")
    if permits:
        entry["effective_from"] = weighs_from(entry)
    else:
        entry["honour_by"] = instant(honour_by(micros(entry["received_at"]), zone))
    return entry


def _stated(members: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (members or {}).items() if value is not None}


def _as_permit(communication: Mapping[str, Any]) -> Directive:
    """What a confidential communication permits, as `crm.domain.decision.consent` weighs it."""
    scope = {"channel": communication["channel"], "contact_point_id": communication["id"]}
    return {"decision": "PERMIT", "scope": scope, "effective_from": communication["set_at"]}


def _repeats(new: Directive, history: Sequence[Directive], silent: Sequence[Directive], end: str | None = None) -> bool:
    """Whether an earlier one says all that `new` says, and nothing has been said in between that `new` would beat."""
    told = [*history, *silent]
    return any(
        _covers(old, new) and _same_end(old, end) and not any(_between(other, old, new) for other in told)
        for old in history
    )


def _same_end(old: Directive, end: str | None) -> bool:
    """Whether `old`, if it was for a number or mailbox, was for this one."""
    return "mark" not in old or (end is not None and old["mark"] == mark_of(old["id"], end))


def _covers(old: Directive, new: Directive) -> bool:
    """Whether `old` says all that `new` says: the same, by the same giver, for at least as long, as well proved."""
    if any(old.get(member) != new.get(member) for member in ("decision", "scope", "giver")):
        return False
    if weighs_from(old) > weighs_from(new):
        return False
    if "effective_to" in old and old["effective_to"] < new.get("effective_to", "~"):  # `~` is after every instant
        return False
    if new["decision"] == "DENY":
        return True
    if "message_id" in old["capture"] and "message_id" not in new["capture"]:  # which permits less: see the decision
        return False
    words = ("wording_id", "wording_version")
    same_words = all(old["capture"].get(word) == new["capture"].get(word) for word in words)
    return same_words and ("confirmed_at" in old or "confirmed_at" not in new)


def _between(other: Directive, old: Directive, new: Directive) -> bool:
    """Whether `other` says the opposite of something that both say, so that `new` beats it and `old` does not.

    The later beats the earlier; at the same moment a DENY beats a PERMIT.
    """
    if other["decision"] == new["decision"]:
        return False
    since, then, now = weighs_from(old), weighs_from(other), weighs_from(new)
    if not (since < then <= now if new["decision"] == "DENY" else since <= then < now):
        return False
    scope, ours = other["scope"], new["scope"]
    return all(scope[member] == ours[member] for member in scope.keys() & ours.keys())


def _within_limits(history: Sequence[Directive], path: str) -> None:
    """Raises `Invalid` where the newest is too much: for all, or for whoever gave it."""
    newest = history[-1]
    own = by_patient(newest)
    _require_room(history, 1 if own and newest["decision"] == "DENY" else 1 - _KEPT_FREE, path)
    if not own:
        _require_room([entry for entry in history if entry["giver"] == newest["giver"]], _SHARE, path)


def _require_room(entries: Sequence[Directive], share: float, path: str) -> None:
    if len(entries) > MOST_DIRECTIVES * share:
        raise Invalid(path, "too_many")
    if len(to_json(entries)) > MOST_OCTETS * share:
        raise Invalid(path, "too_large")
