"""Owns in which language and which format somebody is written or spoken to, and where the sender falls short of it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf
from typing import Any, Final, NamedTuple

from crm.domain.codes import Channel, LanguageMode
from crm.domain.decision.rules import STANDARD, Sender
from crm.domain.decision.verdict import Reason
from crm.domain.languages import SIGN_LANGUAGES

__all__ = ["Format", "Speech", "format_for", "language_for", "serves"]

_MODES: Final[Mapping[Channel, frozenset[str]]] = {
    Channel.VOICE: frozenset({LanguageMode.SPOKEN}),
    Channel.IN_PERSON: frozenset({LanguageMode.SPOKEN, LanguageMode.SIGNED}),
}
"""How a language is used on the channels that are not written."""

_WRITTEN: Final = frozenset({LanguageMode.WRITTEN})


class Speech(NamedTuple):
    """A language as a BCP 47 tag, whether it is one of the person's own, and why it is not what they would choose."""

    language: str | None
    own: bool
    fallback: Reason | None = None


class Format(NamedTuple):
    """An accessible format or STANDARD, and the formats that the person needs and the sender does not have."""

    format: str
    unmet: tuple[str, ...] = ()


_PLAIN: Final = Format(STANDARD)


def language_for(party: Mapping[str, Any], channel: Channel, sender: Sender) -> Speech:
    """The first language of `party` on `channel` that the sender can do, else the sender's own first."""
    offered = sender.languages
    known = party.get("languages")
    if not known:
        return Speech(offered[0] if offered else None, own=False)
    wanted = _wanted(known, channel)
    for tag in wanted:
        if not offered or serves(offered, tag):
            return Speech(tag, own=True)
    return Speech(offered[0] if offered else None, own=False, fallback=Reason.LANGUAGE_FALLBACK)


@lru_cache(maxsize=4096)
def serves(offered: tuple[str, ...], tag: str) -> bool:
    """Whether a sender of the languages `offered` can serve who wants `tag`; none offered means that nobody said.

    Lookup of RFC 4647 3.4: `en` serves `en-GB`. A narrower language of the sender serves the wider wish too.
    """
    wish = tag.lower()
    for offer in map(str.lower, offered):
        if wish == offer or wish.startswith(f"{offer}-") or offer.startswith(f"{wish}-"):
            return True
    return not offered


def format_for(party: Mapping[str, Any], channel: Channel, sender: Sender) -> Format:
    """The first format that `party` needs and the sender has, the person's order first; speech has no format."""
    wanted = party.get("accessible_formats")
    if not wanted or channel in _MODES:
        return _PLAIN
    for name in wanted:
        if sender.formats is None or name in sender.formats:
            return Format(name)
    return Format(STANDARD, tuple(wanted))


def _wanted(languages: Sequence[Mapping[str, Any]], channel: Channel) -> list[str]:
    """The tags that somebody understands on `channel`, the most wanted first."""
    modes = _MODES.get(channel, _WRITTEN)
    signed = LanguageMode.SIGNED in modes
    usable = [
        (not row.get("preferred"), row.get("rank") or inf, row["tag"])
        for row in languages
        if not (used := row.get("modes")) or not modes.isdisjoint(used)
    ]
    if len(usable) > 1:
        usable.sort()
    return [tag for _, _, tag in usable if signed or tag.partition("-")[0] not in SIGN_LANGUAGES]
