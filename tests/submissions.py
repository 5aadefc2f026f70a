"""Made-up input for `registerPatient`, drawn from the schema's own input types: new fields are drawn as well."""

from datetime import date
from functools import cache
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    is_required_input_field,
)
from hypothesis import strategies as st

from schema.sdl import build_schema

__all__ = ["TEXTS", "registrations"]

_LETTERS = st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\0")
TEXTS = st.text(_LETTERS, min_size=1, max_size=40).filter(lambda text: not text.isspace())
"""One line of any script, with characters beyond the basic plane, direction marks and lone accents."""

_DAY = st.dates(min_value=date(1900, 1, 1), max_value=date(2100, 1, 1))
_PARTIAL = _DAY.map(str) | _DAY.map(lambda day: str(day)[:7]) | _DAY.map(lambda day: str(day)[:4])
_MOMENT = _PARTIAL | _DAY.map(lambda day: f"{day}T10:20:30+01:00")
_CLOCK = st.times().map(lambda time: f"{time:%H:%M}")
_ZONES = st.sampled_from(["Europe/London", "Africa/Nairobi", "Asia/Kathmandu", "America/Argentina/Ushuaia", "UTC"])
_IDS = st.from_regex(r"[A-Za-z0-9\-.]{1,64}", fullmatch=True)

_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "String": TEXTS,
    "Boolean": st.booleans(),
    "Int": st.integers(1, 99),
    "ID": _IDS,
    "PartialDate": _PARTIAL,
    "PartialDateTime": _MOMENT,
    "ClockTime": _CLOCK,
    "TimeZone": _ZONES,
    "LanguageTag": st.sampled_from(["en", "so", "bfi", "zh-Hant", "es-MX", "sr-Latn-RS", "ar-EG", "cy"]),
}
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "RegisterPatientInput.religionCode": st.sampled_from(["1001", "1020", "1041", "1082"]),
    "RegisterPatientInput.careTeam": st.lists(TEXTS.filter(str.isprintable), max_size=3, unique=True),
    "RegisterPatientInput.instructions": st.lists(TEXTS, min_size=1, max_size=4).map("\n".join),
}
_POINTS = st.one_of(
    st.tuples(st.sampled_from(["PHONE", "SMS", "FAX"]), st.integers(0, 99999).map(lambda tail: f"+4477009{tail:05}")),
    st.tuples(st.just("EMAIL"), st.integers(0, 99999).map(lambda tail: f"a.{tail}+x@example.test")),
    st.tuples(st.just("URL"), st.integers(0, 99999).map(lambda tail: f"https://example.test/{tail}")),
    st.tuples(st.sampled_from(["OTHER", "PAGER"]), TEXTS),
)


def _ordered(period: dict[str, Any]) -> bool:
    return not ("start" in period and "end" in period and period["start"][:4] >= period["end"][:4])


def _rules(name: str, drawn: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """What the domain asks of a shape beyond its types."""
    match name:
        case "PeriodInput":
            return drawn.filter(_ordered)
        case "LanguageInput":  # of a sign language it is known how it is used
            return drawn.filter(lambda language: language["tag"] != "bfi" or language.get("modes") != [])
        case "HumanNameInput":
            return drawn.filter(lambda entry: any(entry.get(part) for part in ("text", "family", "given")))
        case "AccessNeedInput":
            return drawn.filter(lambda need: need["kind"] != "OTHER" or "text" in need)
        case "CulturalNeedInput":
            return drawn.filter(lambda need: "kind" in need or "detail" not in need)
        case "ContactWindowInput":
            return drawn.filter(lambda window: window["from"] != window["to"] and window["days"])
        case "ChannelPreferenceInput":
            return drawn.filter(lambda row: row["channels"])
        case "ContactPointInput":
            return st.tuples(drawn, _POINTS).map(lambda both: {**both[0], "system": both[1][0], "value": both[1][1]})
        case _:
            return drawn


_UNIQUE = {
    "AccessNeedInput": "id",
    "CulturalNeedInput": "id",
    "AddressInput": "id",
    "ChannelPreferenceInput": "purpose",
}


def _of(kind: Any) -> st.SearchStrategy[Any]:
    if isinstance(kind, GraphQLNonNull):
        return _of(kind.of_type)
    if isinstance(kind, GraphQLList):
        inner = kind.of_type.of_type if isinstance(kind.of_type, GraphQLNonNull) else kind.of_type
        if isinstance(inner, GraphQLEnumType):
            return st.lists(_of(inner), max_size=3, unique=True)
        key = _UNIQUE.get(inner.name)
        return st.lists(_of(inner), max_size=3, unique_by=(lambda entry: entry.get(key)) if key else None)
    if isinstance(kind, GraphQLEnumType):
        return st.sampled_from(sorted(kind.values))
    if isinstance(kind, GraphQLScalarType):
        return _SCALARS[kind.name]
    assert isinstance(kind, GraphQLInputObjectType)
    return _object(kind.name)


@cache
def _object(name: str) -> st.SearchStrategy[dict[str, Any]]:
    kind = build_schema().get_type(name)
    assert isinstance(kind, GraphQLInputObjectType)
    drawn = {
        field: _FIELDS[place] if (place := f"{name}.{field}") in _FIELDS else _of(each.type)
        for field, each in kind.fields.items()
    }
    required = {field for field, each in kind.fields.items() if is_required_input_field(each)}
    return _rules(
        name,
        st.fixed_dictionaries(
            {field: drawn[field] for field in sorted(required)},
            optional={field: drawn[field] for field in sorted(drawn.keys() - required)},
        ),
    )


def registrations() -> st.SearchStrategy[dict[str, Any]]:
    """Inputs of `registerPatient` that break no rule."""
    return _object("RegisterPatientInput")
