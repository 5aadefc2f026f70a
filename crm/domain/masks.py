"""Owns what a caller sees of a value that the policy grants only masked; each mask keeps the shape of its value."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = ["contact_points", "hide", "identifiers", "initial", "year"]

_DOTS: Final = "•••"
# Two characters of a short value would give most of it away.
_SHORTEST_WITH_TAIL: Final = 6


def hide(_value: Any) -> None:
    """Nothing at all."""


def initial(value: str | None) -> str | None:
    """`Sarah` as `S•••`, whatever its length; accents stay with their letter."""
    if value is None:
        return None
    text = value.lstrip()
    end = 1
    while end < len(text) and unicodedata.combining(text[end]):
        end += 1
    return text[:end] + _DOTS


def year(value: str | None) -> str | None:
    """`1980-05-17` as `1980`."""
    return None if value is None else value[:4]


def contact_points(value: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Each value as its last two characters; what was written and the extension are left out."""
    return _tails(value)


def identifiers(value: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    """Each value as its last two characters, with its system, use and type code; texts may name the person, and go."""
    if value is None:
        return None
    return [
        {key: row[key] for key in ("system", "use") if key in row}
        | ({"type": {"code": row["type"]["code"]}} if "code" in row.get("type", {}) else {})
        | {"value": _tail(row["value"])}
        for row in value
    ]


def _tails(rows: Sequence[Mapping[str, Any]] | None) -> list[dict[str, Any]] | None:
    if rows is None:
        return None
    return [
        {key: part for key, part in row.items() if key not in {"as_written", "extension"}}
        | {"value": _tail(row["value"])}
        for row in rows
    ]


def _tail(text: str) -> str:
    return _DOTS + (text[-2:] if len(text) >= _SHORTEST_WITH_TAIL else "")
