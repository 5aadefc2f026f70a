"""The setting of source precedence: whose word about a record stands where several speak. Decides nothing."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode

from auth.vocabulary import Group
from crm.domain.precedence import DEFAULT_ORDER, SourceRules, Voice

__all__ = ["SourceOrder", "SourceSettings"]

_VOICES: Final = frozenset(voice.value for voice in Voice)
_CHANNELS: Final = ("api:", "import:")


def _ranked(order: tuple[str, ...]) -> tuple[str, ...]:
    """The order itself. Raises ValueError for a word that names neither a voice nor a system, and for one twice."""
    for name in order:
        if name not in _VOICES and not any(name.startswith(each) and name != each for each in _CHANNELS):
            raise ValueError("each must be a voice such as STAFF, or a system as `import:name` or `api:name`")
    if len(set(order)) < len(order):
        raise ValueError("names something twice")
    return order


_Order = Annotated[tuple[str, ...], AfterValidator(_ranked)]


class SourceOrder(BaseModel):
    """The order of sources, the highest first, and other ones for single groups; see `SourceRules`."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    order: _Order = DEFAULT_ORDER
    groups: Mapping[Group, _Order] = {}

    @property
    def rules(self) -> SourceRules:
        """The same for the domain."""
        return SourceRules(self.order, MappingProxyType(dict(self.groups)))


class SourceSettings(BaseSettings):
    """The settings around sources; `Settings` is one of these."""

    sources: Annotated[SourceOrder, NoDecode] = Field(
        default=SourceOrder(),
        json_schema_extra={"shown": "the patient, who acts for them, staff, systems"},
        description='Whose word stands before that of a feed, as JSON: `{"order": ["PATIENT", "PROXY", "STAFF", '
        '"import:pas", "SYSTEM"], "groups": {"LEGAL_NAME": ["import:pas"]}}`, the highest first '
        "(`docs/sources.md`).",
    )

    @field_validator("sources", mode="before")
    @classmethod
    def _read_order(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return SourceOrder.model_validate(json.loads(value))
        except ValidationError as error:
            problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
            place = ".".join(str(part) for part in problem["loc"] if part != "[key]")
            raise ValueError(f"{place}: {problem['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None
        except ValueError:
            raise ValueError("is not JSON; docs/settings.md shows its shape") from None
