"""Owns one-time codes: how long and how often one serves, what it is bound to, and where one may be sent. No secret."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from crm.domain.codes import Capability, Channel, ContactPointSystem, ContactPointUse, TriState
from crm.domain.contact_points import mailbox
from crm.domain.times import holds_on

__all__ = ["ATTEMPTS", "LASTING", "SENDS_IN", "bound", "channel_of", "obstacle", "wait"]

_SECOND: Final = 1_000_000
LASTING: Final = 10 * 60 * _SECOND
"""Microseconds that a code serves (NIST SP 800-63B-4, 3.1.3.2: at most ten minutes)."""

ATTEMPTS: Final = 5
"""How often one code may be tried."""

SENDS_IN: Final = 60 * 60 * _SECOND
"""Microseconds in which sends are counted."""

_TO_ONE_POINT: Final = 3
_ABOUT_ONE_PERSON: Final = 10
"""Sends within `SENDS_IN`; the second bound is for whoever enters one number after the other to have them called."""


def bound(patient_id: str, point: Mapping[str, Any], code: str) -> bytes:
    """What a keyed hash of a code is computed over, so that it serves this person, point and value and no other."""
    return orjson.dumps([patient_id, point["id"], point["system"], point["value"], point.get("extension"), code])


def channel_of(point: Mapping[str, Any]) -> Channel | None:
    """The channel on which a code can reach a contact point in writing; None where there is none."""
    if point["system"] == ContactPointSystem.EMAIL:
        return Channel.EMAIL if mailbox(point["value"]) else None
    texts = point["system"] == ContactPointSystem.PHONE and Capability.SMS in point.get("capabilities", ())
    return Channel.SMS if texts or point["system"] == ContactPointSystem.SMS else None


def obstacle(point: Mapping[str, Any], confidential: Any, on: str, *, own: bool) -> str | None:
    """The rule by which no code is sent to `point` on the day `on`, None where nothing stands against it.

    `confidential` is the person's confidential communication: whoever asked to be reached there alone is sent nothing
    elsewhere, unless they ask for it themselves (`own`).
    """
    period = point.get("period") or {}
    if point.get("use") == ContactPointUse.OLD or not holds_on(period.get("start"), period.get("end"), on):
        return "not_in_use"
    if confidential is not None and not own:
        return "confidential_communication"
    if channel_of(point) is Channel.SMS and point.get("text_permitted") == TriState.NO:
        return "texts_not_permitted"
    return None


def wait(sent: Iterable[tuple[str, int]], point_id: str, now: int) -> int | None:
    """Seconds until another code may be sent to the point, None where one may be sent at once.

    `sent` are the points of the person's codes and when they were sent (microseconds), the newest first.
    """
    recent = [(point, at) for point, at in sent if at > now - SENDS_IN]
    to_point = [at for point, at in recent if point == point_id]
    free = [at + SENDS_IN for at in to_point[_TO_ONE_POINT - 1 : _TO_ONE_POINT]]
    free += [at + SENDS_IN for _, at in recent[_ABOUT_ONE_PERSON - 1 : _ABOUT_ONE_PERSON]]
    return -(-(max(free) - now) // _SECOND) if free else None
