"""Owns how consent directives are appended to those of a record, and by when others must honour a prohibition.

What is there is never looked at again by the rules of an entry, never changed and never removed. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from pydantic_core import to_json

from crm.domain.consents import MOST_DIRECTIVES, ConsentDirective
from crm.domain.shape import parse
from crm.domain.times import instant, micros
from crm.errors import Invalid

__all__ = ["BUSINESS_DAYS", "MOST_OCTETS", "appended", "honour_by"]

BUSINESS_DAYS: Final = 10
"""Within how many business days a revocation has to be honoured (47 CFR 64.1200(a)(10))."""

MOST_OCTETS: Final = 256 * 1024
"""Octets of the whole history as JSON; a directive without a note takes about 400."""

_KEPT_FREE: Final = 0.2
"""The part of both limits that no PERMIT may use, so that whoever permits often can still forbid."""

_A_WEEK: Final = 5
_FRIDAY: Final = 4

Directive = Mapping[str, Any]


def appended(
    directives: Sequence[Directive],
    new: Iterable[Directive],
    now: int,
    *,
    zone: str | None = None,
    path: str = "directives",
) -> list[Directive]:
    """The canonical `directives` of a record with those of `new` behind them; what repeats one in force adds nothing.

    A new one needs its `decision`; `seq` is counted here. What it leaves out: it was received and said at `now`
    (microseconds, UTC); a PERMIT holds from when it was said, so that it beats no prohibition of the time between, and
    a DENY from `now` on. `honour_by` of a DENY is counted in `zone`, the person's IANA time zone, else in UTC.

    Raises `Invalid` with a place below `path`: as `parse` does; `duplicate` for an id that the record has; `future` for
    what was said, confirmed or received after `now`, and for a PERMIT that begins later; `too_many` and `too_large`.
    """
    history: list[Directive] = list(directives)
    for said in new:
        entry = _entered(said, history, now, zone, path)
        if any(old["id"] == entry["id"] for old in history):
            raise Invalid(f"{path}.id", "duplicate")
        if not _repeats(entry, history):
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
    entry: dict[str, Any] = parse(ConsentDirective, filled, path)
    told = {"capture.at": entry["capture"]["at"], "confirmedAt": entry.get("confirmed_at")}
    told |= {"receivedAt": entry["received_at"]} | ({"effectiveFrom": entry["effective_from"]} if permits else {})
    for place, at in told.items():
        if at is not None and at > instant(now):
            raise Invalid(f"{path}.{place}", "future")
    if not permits:
        entry["honour_by"] = instant(honour_by(micros(entry["received_at"]), zone))
    return entry


def _stated(members: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (members or {}).items() if value is not None}


def _repeats(new: Directive, history: Sequence[Directive]) -> bool:
    """Whether an earlier one says all that `new` says, and nothing has been said in between that `new` would beat."""
    return any(_covers(old, new) and not any(_between(other, old, new) for other in history) for old in history)


def _covers(old: Directive, new: Directive) -> bool:
    """Whether `old` says all that `new` says: the same, by the same giver, for at least as long, as well proved."""
    if any(old.get(member) != new.get(member) for member in ("decision", "scope", "giver")):
        return False
    if old["effective_from"] > new["effective_from"]:
        return False
    if "effective_to" in old and old["effective_to"] < new.get("effective_to", "~"):  # `~` is after every instant
        return False
    if new["decision"] == "DENY":
        return True
    words = ("wording_id", "wording_version")
    same_words = all(old["capture"].get(word) == new["capture"].get(word) for word in words)
    return same_words and ("confirmed_at" in old or "confirmed_at" not in new)


def _between(other: Directive, old: Directive, new: Directive) -> bool:
    """Whether `other` says the opposite of something that both say, so that `new` beats it and `old` does not.

    The later beats the earlier; at the same moment a DENY beats a PERMIT.
    """
    if other["decision"] == new["decision"]:
        return False
    since, then, now = old["effective_from"], other["effective_from"], new["effective_from"]
    if not (since < then <= now if new["decision"] == "DENY" else since <= then < now):
        return False
    scope, ours = other["scope"], new["scope"]
    return all(scope[member] == ours[member] for member in scope.keys() & ours.keys())


def _within_limits(history: Sequence[Directive], path: str) -> None:
    share = 1 - _KEPT_FREE if history[-1]["decision"] == "PERMIT" else 1
    if len(history) > MOST_DIRECTIVES * share:
        raise Invalid(path, "too_many")
    if len(to_json(history)) > MOST_OCTETS * share:
        raise Invalid(path, "too_large")
