"""Owns the extensions of our own: what a profile holds and FHIR R4 has no element for, so that an export is whole.

Each is one JSON value in a `valueString`. What comes in through them is checked like any other input.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any, Final

import orjson

from crm.interchange.rejects import Reason, Refused

__all__ = [
    "CONTACT_POINT", "CONTACT_POINT_KEYS", "FIELDS", "LANGUAGE", "LANGUAGE_KEYS", "field_of", "pack", "unpack",
    "url_of",
]  # fmt: skip

_PREFIX: Final = "urn:heed:fhir:"
CONTACT_POINT: Final = "urn:heed:fhir:contact-point"
LANGUAGE: Final = "urn:heed:fhir:language"

CONTACT_POINT_KEYS: Final = frozenset(
    {"value", "capabilities", "text_permitted", "voicemail_ok", "detailed_message_ok"}
)
"""What `CONTACT_POINT` may carry. Not the verification: that a number was verified is not for a file to claim."""

LANGUAGE_KEYS: Final = frozenset({"rank"})

FIELDS: Final = (
    "accessible_formats",
    "access_needs",
    "cultural_need_handling",
    "cultural_need_detail",
    "channel_preferences",
    "contact_windows",
    "communication_style",
    "instructions",
    "appointment_preferences",
    "case_manager",
    "care_team",
)
"""Catalogue fields that travel whole in an extension of the Patient, in the order in which they are written."""

_BY_URL: Mapping[str, str] = {_PREFIX + name.replace("_", "-"): name for name in FIELDS}


def url_of(name: str) -> str:
    """The URL of the extension that carries the catalogue field `name`."""
    return _PREFIX + name.replace("_", "-")


def field_of(url: str) -> str | None:
    """The catalogue field that an extension carries, None when it is not one of ours."""
    return _BY_URL.get(url)


def pack(url: str, value: Any) -> dict[str, Any]:
    """The extension `url` that carries `value`; the same value gives the same bytes."""
    return {"url": url, "valueString": orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()}


def unpack(entry: Mapping[str, Any], path: str, keys: Collection[str] | None = None) -> Any:
    """The value that `pack` put in; with `keys`, an object of which only these members are taken.

    Raises `Refused` when the extension does not hold JSON, or no object where one is due.
    """
    try:
        value = json.loads(entry["valueString"])
    except (KeyError, TypeError, ValueError, RecursionError):
        raise Refused(Reason.BAD_EXTENSION, path) from None
    if keys is None:
        return value
    if not isinstance(value, dict):
        raise Refused(Reason.BAD_EXTENSION, path)
    return {key: value[key] for key in value if key in keys}
