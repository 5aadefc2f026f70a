"""A client's word that it asks again for the same thing: the key it gives, and what it asked. Stores nothing."""

import re
from dataclasses import dataclass, field
from typing import Final

from crm.errors import Invalid

__all__ = ["KEY", "LONGEST", "REQUEST_ID", "Retry", "checked", "is_key", "is_request_id"]

KEY: Final = "idempotency-key"
REQUEST_ID: Final = "x-request-id"
"""Where a key comes from, as errors name it. The same text under the one and the other are two keys."""

LONGEST: Final = 255
_KEY: Final = re.compile(rf"[\x21-\x7e]{{1,{LONGEST}}}")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True, slots=True)
class Retry:
    """One root field of a request that may come again.

    `source` is `KEY` or `REQUEST_ID`, and `payload` the SHA-256 of all that was asked; `step` numbers the root fields
    of the request from 0.
    """

    source: str
    key: str = field(repr=False)
    payload: bytes = field(repr=False)
    step: int = 0


def is_key(text: str) -> bool:
    """Whether it is 1 to 255 visible ASCII characters."""
    return _KEY.fullmatch(text) is not None


def is_request_id(text: str) -> bool:
    """Whether it is fit to be repeated in answers and the log: 1 to 64 letters and digits of ASCII, and any of . _ -"""
    return _REQUEST_ID.fullmatch(text) is not None


def checked(key: str) -> str:
    """The value of the header `KEY`, if it is a key. Raises `Invalid`."""
    if not is_key(key):
        raise Invalid(KEY, "retry_key")
    return key
