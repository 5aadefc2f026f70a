"""Owns the needs for a method of contact: more than a preference, and less than a consent."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from crm.domain.codes import Channel
from crm.domain.decision.candidates import Candidate
from crm.domain.decision.verdict import Reason
from crm.domain.need_codes import AccessNeedKind

__all__ = ["METHODS", "meeting", "methods", "shortfall", "unmet"]

METHODS: Final[Mapping[AccessNeedKind, Channel | None]] = {
    AccessNeedKind.CONTACT_BY_EMAIL: Channel.EMAIL,
    AccessNeedKind.CONTACT_BY_LETTER: Channel.LETTER,
    AccessNeedKind.CONTACT_BY_SMS: Channel.SMS,
    AccessNeedKind.CONTACT_BY_TELEPHONE: Channel.VOICE,
    AccessNeedKind.CONTACT_BY_TEXT_RELAY: Channel.TEXTPHONE,
    AccessNeedKind.CONTACT_VIA_CARER: None,
}
"""The needs that bind a decision, in the order of their code list; one asks for a person instead of a channel."""

_FORBIDDEN: Final = frozenset({Reason.OPTED_OUT, Reason.LEGAL_RESTRICTION})


def methods(party: Mapping[str, Any], *, has_carer: bool) -> tuple[AccessNeedKind, ...]:
    """The methods of contact that `party` needs. With a stand-in somebody else is reached already (`has_carer`)."""
    rows = party.get("access_needs")
    if not rows:
        return ()
    kinds = {row["kind"] for row in rows}
    return tuple(kind for kind, channel in METHODS.items() if kind in kinds and not (has_carer and channel is None))


def _channels(needs: Iterable[AccessNeedKind]) -> frozenset[Channel]:
    """The channels of which `needs` ask for one."""
    return frozenset(channel for need in needs if (channel := METHODS[need]) is not None)


def unmet(needs: Sequence[AccessNeedKind], survivors: Iterable[Candidate]) -> tuple[AccessNeedKind, ...]:
    """Those of `needs` that none of `survivors` meets. One channel is enough for a person who can use several."""
    channels = _channels(needs)
    met = any(candidate.channel in channels for candidate in survivors)
    return tuple(need for need in needs if METHODS[need] is None or not met)


def meeting(needs: Sequence[AccessNeedKind], survivors: list[Candidate]) -> list[Candidate]:
    """Those of `survivors` that are on a channel of which `needs` ask for one; all of them where none is asked for."""
    channels = _channels(needs)
    return [candidate for candidate in survivors if candidate.channel in channels] if channels else survivors


def shortfall(needs: Iterable[AccessNeedKind], tried: Iterable[Candidate]) -> Reason:
    """Whether somebody's prohibition stands against the needs, or they simply cannot be met."""
    channels = _channels(needs)
    conflict = any(candidate.channel in channels and candidate.refusal in _FORBIDDEN for candidate in tried)
    return Reason.ACCESS_NEED_CONFLICT if conflict else Reason.ACCESS_NEED_UNMET
