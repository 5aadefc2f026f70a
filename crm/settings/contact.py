"""The policy of contact: a TOML file with purposes, senders, quiet hours and jurisdictions, read and checked at start.

Whatever the file does not say is as safe as `crm.domain.decision.rules` has it. Decides nothing.
"""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode

from auth.purposes import Purpose
from crm.domain.codes import Channel, CommunicationPurpose
from crm.domain.decision.fingerprint import named
from crm.domain.decision.legal_hours import JURISDICTIONS, LEGAL_HOURS, with_countries
from crm.domain.decision.rules import (
    PURPOSES,
    ContactRules,
    LegalClass,
    PurposeRule,
    RevokeScope,
    Sender,
    SharedNumbers,
)
from crm.domain.languages import LanguageTag
from crm.domain.need_codes import AccessibleFormat
from crm.domain.times import TimeZone
from crm.settings.gateways import GatewayEntry

__all__ = ["ContactPolicy", "ContactSettings"]

_DEFAULTS: Final = ContactRules("")
_MINUTE: Final = 60 * 1_000_000
_KNOWN_LAWS: Final = ", ".join(sorted(JURISDICTIONS))
_CLOCK: Final = r"^(?:[01]\d|2[0-3]):[0-5]\d$"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_CODE: Final = r"^[a-z][a-z0-9-]{0,63}$"
_TAG: Final[TypeAdapter[str]] = TypeAdapter(LanguageTag)
_ZONE: Final[TypeAdapter[str]] = TypeAdapter(TimeZone)


def _each(kind: TypeAdapter[str], texts: tuple[str, ...], what: str) -> tuple[str, ...]:
    """The texts in the normal form of `kind`. Raises ValueError with a text of our own; `kind` has codes only."""
    try:
        return tuple(kind.validate_python(text) for text in texts)
    except ValidationError:
        raise ValueError(f"each must be {what}") from None


class _Table(BaseModel):
    """One table of the file: frozen, and without room for a key that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class _Purpose(_Table):
    """What differs from the defaults of one purpose; see `PurposeRule`."""

    opt_in: bool | None = None
    legal_class: LegalClass | None = None
    quiet_hours: bool | None = None
    verified: bool | None = None
    uses: frozenset[Purpose] | None = Field(default=None, min_length=1)
    category: str | None = Field(default=None, pattern=_CODE)
    topic: str | None = Field(default=None, pattern=_CODE)

    def over(self, rule: PurposeRule) -> PurposeRule:
        """The rule with what the file says of it. Raises ValueError for what no law of telephone marketing permits."""
        said = {name: getattr(self, name) for name in self.model_fields_set}
        if "uses" in said:
            said["uses"] = frozenset(str(use.value) for use in said["uses"])
        made = replace(rule, **said)
        if made.legal_class is LegalClass.TELEMARKETING and not (made.quiet_hours and made.opt_in):
            raise ValueError("quiet hours always bind telemarketing, and it is always opt-in")
        return made


class _Sender(_Table):
    """One registered sender; see `Sender`."""

    channels: tuple[Channel, ...] = Field(min_length=1)
    languages: tuple[str, ...] = ()
    formats: frozenset[AccessibleFormat] = frozenset()
    clients: frozenset[str] = frozenset()
    numbers: frozenset[str] = frozenset()
    programme: CommunicationPurpose | None = None
    org: str | None = None

    @field_validator("channels", "languages")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names something twice")
        return value

    @field_validator("languages")
    @classmethod
    def _known_languages(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(_TAG, value, "a BCP 47 tag, such as `en-GB`")


class _QuietHours(_Table):
    """The organisation's own quiet hours, on the clock where the person is, and the channels that they silence."""

    from_: Annotated[str, Field(pattern=_CLOCK, alias="from")] = "21:00"
    to: Annotated[str, Field(pattern=_CLOCK)] = "08:00"
    channels: frozenset[Channel] = _DEFAULTS.audible

    @model_validator(mode="after")
    def _last(self) -> Self:
        if self.from_ == self.to:
            raise ValueError("from and to are equal, which could mean always or never; for never, let channels be []")
        return self


class ContactPolicy(_Table):
    """The whole file."""

    purposes: Mapping[CommunicationPurpose, _Purpose] = {}
    senders: Mapping[str, _Sender] = {}
    gateways: tuple[GatewayEntry, ...] = ()
    quiet_hours: _QuietHours = _QuietHours()
    zones: tuple[str, ...] = Field(default=_DEFAULTS.zones, min_length=1)
    jurisdictions: tuple[str, ...] = ()
    lasting_minutes: int = Field(default=_DEFAULTS.lasting // _MINUTE, ge=1, le=1_440)
    revoke_scope: RevokeScope = _DEFAULTS.revoke_scope
    shared_numbers: SharedNumbers = _DEFAULTS.shared_numbers

    @field_validator("zones")
    @classmethod
    def _known_zones(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _each(_ZONE, value, "a key of the IANA time zone database, such as `Europe/London`")

    @field_validator("jurisdictions")
    @classmethod
    def _known_jurisdictions(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if strangers := set(value) - JURISDICTIONS:
            raise ValueError(f"no hours are known of {', '.join(sorted(strangers))}, but of {_KNOWN_LAWS}")
        return with_countries(value)

    @field_validator("gateways")
    @classmethod
    def _each_its_own_address(cls, value: tuple[GatewayEntry, ...]) -> tuple[GatewayEntry, ...]:
        if len({entry.name for entry in value}) < len(value):
            raise ValueError("two gateways have one name")
        return value

    @field_validator("senders")
    @classmethod
    def _told_apart(cls, value: Mapping[str, _Sender]) -> Mapping[str, _Sender]:
        claimed: set[tuple[str | None, str]] = set()
        for name, sender in value.items():
            if not _NAME.fullmatch(name):
                raise ValueError("a sender's name has 1 to 64 letters, digits, dots, dashes and underscores")
            for client in sender.clients:
                if (sender.org, client) in claimed:
                    raise ValueError(f"two senders are registered for the client {client}")
                claimed.add((sender.org, client))
        return value

    @model_validator(mode="after")
    def _registered_senders(self) -> Self:
        for entry in self.gateways:
            if entry.sender is not None and entry.sender not in self.senders:
                raise ValueError(f"gateways: {entry.name} names a sender that is not registered")
        return self

    @model_validator(mode="after")
    def _lawful(self) -> Self:
        for purpose, said in self.purposes.items():
            try:
                said.over(PURPOSES[purpose])
            except ValueError as error:
                raise ValueError(f"purposes.{purpose}: {error}") from None
        return self

    def __getstate__(self) -> dict[Any, Any]:
        """What a worker process is given: the file, from which it makes the rules itself."""
        state = super().__getstate__()
        said = {name: value for name, value in state["__dict__"].items() if name != "rules"}
        return {**state, "__dict__": said}

    @cached_property
    def rules(self) -> ContactRules:
        """The rules of this file, with their version."""
        return named(
            ContactRules(
                "",
                purposes=MappingProxyType(
                    {purpose: self.purposes.get(purpose, _Purpose()).over(rule) for purpose, rule in PURPOSES.items()}
                ),
                senders=MappingProxyType({name: _registered(name, sender) for name, sender in self.senders.items()}),
                zones=self.zones,
                jurisdictions=self.jurisdictions,
                legal_hours=tuple(law for law in LEGAL_HOURS if law.jurisdiction in self.jurisdictions),
                quiet_from=_minutes(self.quiet_hours.from_),
                quiet_to=_minutes(self.quiet_hours.to),
                audible=self.quiet_hours.channels,
                lasting=self.lasting_minutes * _MINUTE,
                revoke_scope=self.revoke_scope,
                shared_numbers=self.shared_numbers,
            )
        )


class ContactSettings(BaseSettings):
    """The settings around contact; `Settings` is one of these."""

    contact_policy: Annotated[ContactPolicy, NoDecode] = Field(
        default=ContactPolicy(),
        json_schema_extra={"shown": "the safe defaults"},
        description="The policy of contact: a TOML file with purposes, registered senders, quiet hours, jurisdictions "
        "and time zones, as `docs/contact-decisions.md` describes it.",
    )

    @field_validator("contact_policy", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        return policy(Path(value)) if isinstance(value, str | Path) else value


def policy(path: Path) -> ContactPolicy:
    """The policy in a file. Raises ValueError with one line that says what is wrong and where."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError("the file cannot be read") from None
    except ValueError as error:  # of TOML, or of UTF-8
        raise ValueError(f"the file is not TOML: {error}") from None
    try:
        return ContactPolicy.model_validate(content)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        # A misspelled key is told of before the key that is missing for it.
        first = min(problems, key=lambda problem: problem["type"] != _UNKNOWN)
        place = [str(part) for part in first["loc"] if part != "[key]"]
        raise ValueError(_line(first["type"], place, first["msg"])) from None


_UNKNOWN: Final = "extra_forbidden"


def _line(kind: str, place: list[str], text: str) -> str:
    where = ".".join(place)
    if kind == _UNKNOWN:
        near = difflib.get_close_matches(place[-1], _keys(), n=1)
        return f"{where} is not a key of the policy" + (f"; did you mean {near[0]}?" if near else "")
    said = text.removeprefix("Value error, ")
    return f"{where}: {said}" if where else said


def _keys() -> list[str]:
    tables = (ContactPolicy, _Purpose, _Sender, _QuietHours, GatewayEntry)
    return sorted({field.alias or name for table in tables for name, field in table.model_fields.items()})


def _registered(name: str, sender: _Sender) -> Sender:
    return Sender(
        name,
        sender.channels,
        sender.languages,
        frozenset(str(each.value) for each in sender.formats),
        sender.clients,
        sender.numbers,
        sender.programme,
        sender.org,
    )


def _minutes(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])
