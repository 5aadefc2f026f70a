"""Strict JSON for what strangers send to prove who they are: one meaning per text, or none. Knows nothing of tokens."""

import json
from typing import Any, NoReturn

__all__ = ["parse_object"]


def parse_object(octets: bytes) -> dict[str, Any]:
    """The JSON object in `octets`, which must be UTF-8 (RFC 8259, 8.1).

    Raises ValueError for anything else, for a member named twice (RFC 8725, 2.4: two readers could see two tokens), for
    NaN and Infinity, for integers beyond Python's conversion limit, and for nesting that exhausts the parser.
    """
    try:
        parsed = _DECODER.decode(octets.decode("utf-8", "strict"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(parsed, dict):
        raise ValueError("not an object")  # noqa: TRY004  # bad text, not a bad argument
    return parsed


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is named twice")
    return members


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant)
