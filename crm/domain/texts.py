"""Owns what counts as text and as an id: lengths, and the characters that no stored text may hold."""

import re
from typing import Annotated, Final

import uuid_utils
from pydantic import AfterValidator, Field, Strict, ValidationInfo

from crm.domain.shape import broken, entry_of

__all__ = ["Id", "LongText", "ShortText", "Subject", "new_id"]

SHORT: Final = 200
LONGEST_SUBJECT: Final = 255  # OpenID Connect Core 1.0, section 2: `sub`
LONG: Final = 4_000

# FHIR R4 `string`: no code point below U+0020 except tab, line feed and carriage return, and not white space alone.
# A lone surrogate is no character at all: neither UTF-8 nor a database can hold it.
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
_LINE_BREAK = re.compile(r"[\t\n\r]")
_ID = re.compile(r"[A-Za-z0-9\-.]{1,64}", re.ASCII)


def _text(text: str) -> str:
    forbidden = _FORBIDDEN.search(text)
    if forbidden:
        raise broken("unicode" if forbidden[0] >= "\ud800" else "control_character")
    if not text or text.isspace():
        raise broken("empty")
    return text


def _one_line(text: str, info: ValidationInfo) -> str:
    lenient = entry_of(info).lenient
    if len(text) > (LONG if lenient else SHORT):
        raise broken("string_too_long")  # by the name that pydantic has for it; `too_long` is its word for lists
    if not lenient and _LINE_BREAK.search(text):
        raise broken("control_character")
    return _text(text)


def _subject(text: str) -> str:
    if len(text) > LONGEST_SUBJECT:
        raise broken("string_too_long")
    if not text.isprintable():
        raise broken("control_character")
    return _text(text)


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise broken("id")
    return text


def new_id() -> str:
    """A fresh UUIDv7 (RFC 9562) as text."""
    return str(uuid_utils.uuid7())


_Str = Annotated[str, Strict()]

ShortText = Annotated[_Str, AfterValidator(_one_line)]
"""One line of at most 200 characters, stored as given; imports may bring 4,000 and line breaks."""

LongText = Annotated[_Str, Field(max_length=LONG), AfterValidator(_text)]
"""At most 4,000 characters in any number of lines, stored as given."""

Subject = Annotated[_Str, AfterValidator(_subject)]
"""A member of staff as the claim `sub` of their token has it, compared character by character; at most 255."""

Id = Annotated[_Str, AfterValidator(_id)]
"""An opaque id in the alphabet of FHIR's `id`: at most 64 letters, digits, `-` and `.`."""
