"""Owns what codes are called in a sentence for people: channels, languages, formats, needs, and moments of a day."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

import langcodes

from crm.domain.codes import Channel
from crm.domain.decision.clocks import offset
from crm.domain.decision.methods import METHODS
from crm.domain.need_codes import AccessibleFormat, AccessNeedKind

__all__ = ["BY", "format_name", "language_name", "local_time", "need_name"]

BY: Final[Mapping[Channel, str]] = {
    Channel.SMS: "by text message",
    Channel.VOICE: "by telephone",
    Channel.EMAIL: "by e-mail",
    Channel.LETTER: "by letter",
    Channel.PORTAL: "in the patient portal",
    Channel.PUSH: "by notification of an app",
    Channel.CHAT: "by chat",
    Channel.TEXTPHONE: "by textphone",
    Channel.IN_PERSON: "in person",
    Channel.FAX: "by fax",
}
"""How somebody is contacted by each channel."""

_FORMATS: Final[Mapping[str, str]] = {
    AccessibleFormat.LARGE_PRINT_20: "large print of 20 points",
    AccessibleFormat.LARGE_PRINT_24: "large print of 24 points",
    AccessibleFormat.LARGE_PRINT_28: "large print of 28 points",
    AccessibleFormat.BRAILLE: "Braille",
    AccessibleFormat.BRAILLE_G1: "Braille of grade 1",
    AccessibleFormat.BRAILLE_G2: "Braille of grade 2",
    AccessibleFormat.MOON: "Moon type",
    AccessibleFormat.MAKATON_TEXT: "Makaton",
    AccessibleFormat.AUDIO_CD: "audio CD",
    AccessibleFormat.AUDIO_DVD: "audio DVD",
    AccessibleFormat.AUDIO_USB: "audio on a USB stick",
    AccessibleFormat.HTML_ELECTRONIC: "a web page",
    AccessibleFormat.INFO_BY_EMAIL: "information by e-mail",
}
"""Those of the accessible formats that are not called what their code says."""

_MONTHS: Final = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
                  "November", "December")  # fmt: skip
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


def format_name(code: str) -> str:
    """What an accessible format is called."""
    return _FORMATS.get(code, code.lower().replace("_", " "))


def need_name(code: str) -> str:
    """What a need for a method of contact, or an accessible format, is called where it is not met."""
    if code not in METHODS:
        return format_name(code)
    channel = METHODS[AccessNeedKind(code)]
    return "contact through a carer" if channel is None else f"contact {BY[channel]}"


@lru_cache(maxsize=1024)
def language_name(tag: str) -> str:
    """The English name of a language, or its tag where nobody has one."""
    name = langcodes.Language.get(tag).display_name("en")
    return f"language {tag}" if name.startswith("Unknown") else name


def local_time(moment: int, zone: str | None) -> str:
    """`moment` (microseconds since 1970) as weekday, day and time on the clocks of `zone`, or in UTC without one.

    Whole minutes, since hours of contact begin and end with one. The city of the zone is named as its database does.
    """
    seconds = moment // 1_000_000
    ahead, place = (0, "UTC") if zone is None else (offset(zone, seconds)[0], "in " + _city(zone))
    at = datetime.fromtimestamp(seconds, UTC) + timedelta(seconds=ahead)
    return f"{_DAYS[at.weekday()]} {at.day} {_MONTHS[at.month - 1]}, {at:%H:%M} {place}"


def _city(zone: str) -> str:
    return zone.rpartition("/")[2].replace("_", " ")
