"""Owns when and how the person wants to be reached and seen; decides nothing about a particular contact."""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, Strict, model_validator

from crm.domain.codes import Channel, ClinicianGender, CommunicationPurpose, Day, TimeOfDay
from crm.domain.shape import Shape, broken, distinct
from crm.domain.texts import ShortText, Subject
from crm.domain.times import PartialDateTime, TimeZone

__all__ = [
    "AppointmentPreferences", "CareTeam", "CaseManager", "ChannelPreference", "ChannelPreferences",
    "ContactWindow", "ContactWindows",
]  # fmt: skip

_CLOCK = re.compile(r"(?:[01]\d|2[0-3]):[0-5]\d", re.ASCII)
END_OF_DAY: Final = "24:00"


def _clock(text: str) -> str:
    if not _CLOCK.fullmatch(text):
        raise broken("time")
    return text


def _clock_or_end_of_day(text: str) -> str:
    return text if text == END_OF_DAY else _clock(text)


_distinct_words = distinct(str)
_Days = Annotated[list[Day], _distinct_words]


class ChannelPreference(Shape):
    """The channels for one purpose of communication, the most wanted first. It ranks; it does not permit."""

    purpose: CommunicationPurpose
    channels: Annotated[list[Channel], Field(min_length=1), _distinct_words]


class ContactWindow(Shape):
    """On `days`, from `from` (inclusive) to `to` (exclusive), `HH:MM` on the clock of `time_zone`.

    The person wants to be contacted then, or with `quiet` not. Where `to` is before `from` the window ends on the
    next day. Equal times are refused: they could mean always or never. A whole day is `00:00` to `24:00`.
    """

    days: Annotated[_Days, Field(min_length=1)]
    from_: Annotated[str, Strict(), AfterValidator(_clock)] = Field(alias="from")
    to: Annotated[str, Strict(), AfterValidator(_clock_or_end_of_day)]
    time_zone: TimeZone
    quiet: Annotated[bool, Strict()] | None = None

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.from_ == self.to:
            raise broken("window_empty")
        return self if self.quiet else self.model_copy(update={"quiet": None})  # as it was stored before there were any


class AppointmentPreferences(Shape):
    """When the person would rather be seen, and by whom."""

    times: Annotated[list[TimeOfDay], _distinct_words] = []
    days: _Days = []
    clinician_gender: ClinicianGender | None = None


class CaseManager(Shape):
    """The member of staff who is responsible for the person's care relationship."""

    name: ShortText
    reference: ShortText | None = None
    organisation: ShortText | None = None
    since: PartialDateTime | None = None


CareTeam = Annotated[list[Subject], Field(max_length=100), _distinct_words]
ChannelPreferences = Annotated[list[ChannelPreference], Field(max_length=50), distinct(lambda row: row.purpose)]
ContactWindows = Annotated[list[ContactWindow], Field(max_length=50)]
