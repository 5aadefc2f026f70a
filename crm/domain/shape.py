"""Owns how a submitted value is validated and made canonical; knows nothing of any particular field."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    StrictBool,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError, from_json

from crm.errors import Invalid

__all__ = ["CELL_LIMIT", "RULES", "Entry", "Shape", "broken", "broken_at", "distinct", "entry_of", "parse"]

CELL_LIMIT: Final = 32 * 1024
"""Octets that one value may take as JSON: what a single sealed cell is meant to hold."""

# pydantic's own errors in the words that callers are promised; whatever is not named here is `type`.
_RENAMED: Mapping[str, str] = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "enum": "unknown_code",
    "string_unicode": "unicode",
    "string_too_long": "too_long",
    "too_long": "too_many",
    "too_short": "too_few",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
}
# Rules that the types of this package raise by their own name.
_RAISED = frozenset(
    {
        "bcp47", "control_character", "date", "duplicate", "e164", "email", "empty", "id", "missing",
        "period_order", "time", "time_zone", "unicode", "unknown_code", "unknown_field", "url", "window_empty",
    }
)  # fmt: skip

RULES: Final[frozenset[str]] = _RAISED | frozenset(_RENAMED.values()) | {"too_large", "type"}
"""Every word that `Invalid.rule` can be when it comes from `parse`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How a value came in.

    `region` is the ISO 3166 region in which a telephone number without `+` is read. `lenient` is for imports: what
    another system already holds is kept as it wrote it where a strict entry would be refused.
    """

    region: str | None = None
    lenient: bool = False


_STRICT = Entry()


class Shape(BaseModel):
    """The base of every structured value: immutable, closed, and silent about its input when it refuses."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True
    )

    @model_validator(mode="before")
    @classmethod
    def _null_is_unset(cls, data: Any) -> Any:
        """GraphQL clients send null for what they leave out; it means the same as leaving it out."""
        if isinstance(data, dict) and None in data.values():
            return {key: part for key, part in data.items() if part is not None}
        return data


def broken(rule: str) -> PydanticCustomError:
    """The error a validator raises when `rule` is broken; it never quotes the value."""
    return PydanticCustomError(rule, "the value breaks the rule of its field")


def broken_at(place: str, rule: str) -> ValidationError:
    """The error a validator of a whole shape raises when its part `place` breaks `rule`."""
    return ValidationError.from_exception_data(
        "value", [InitErrorDetails(type=broken(rule), loc=(place,), input=None)], hide_input=True
    )


def distinct(key: Callable[[Any], object]) -> AfterValidator:
    """A validator for lists of which no two entries may have the same `key`."""

    def check(entries: list[Any]) -> list[Any]:
        if len({key(entry) for entry in entries}) < len(entries):
            raise broken("duplicate")
        return entries

    return AfterValidator(check)


def entry_of(info: ValidationInfo) -> Entry:
    """How the value under validation came in; strict when nobody said."""
    return info.context if isinstance(info.context, Entry) else _STRICT


@lru_cache(maxsize=256)
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(StrictBool if kind is bool else kind)


def parse(kind: Any, value: Any, path: str, *, region: str | None = None, lenient: bool = False) -> Any:
    """The canonical JSON-able form of `value`, which is of the domain type `kind`, such as `values.ContactPoints`.

    `value` is plain python (snake_case dicts; codes as members or strings; None where nothing was said). Optional keys
    that are unset are left out, lists are always there, ids that are missing are made up. Parsing what was returned
    returns it again.

    Raises `Invalid(field, rule)` for the first broken rule, in the order in which the fields are declared; `field` is
    `path` and what lies below it in camelCase, `rule` one of `RULES`.
    """
    adapter = _adapter(kind)
    try:
        parsed = adapter.validate_python(value, context=Entry(region, lenient))
    except ValidationError as refused:
        place, rule = _fault(refused)
    else:
        written = adapter.dump_json(parsed, exclude_none=True, by_alias=True)
        if len(written) <= CELL_LIMIT:
            return from_json(written)
        place, rule = (), "too_large"
    # Raised out here so that the refusal does not carry pydantic's error, which holds the input.
    raise Invalid(".".join([path, *place]), rule)


def _fault(refused: ValidationError) -> tuple[tuple[str, ...], str]:
    first = refused.errors(include_url=False, include_context=False, include_input=False)[0]
    place: tuple[int | str, ...] = first["loc"]
    if first["type"] in {"extra_forbidden", "invalid_key"}:
        place = place[:-1]  # the name of an unknown key is input too
    rule = first["type"] if first["type"] in _RAISED else _RENAMED.get(first["type"], "type")
    return tuple(_camel(str(step)) for step in place), rule


def _camel(name: str) -> str:
    head, *tail = name.rstrip("_").split("_")
    return head + "".join(part.capitalize() for part in tail)
