"""Values to the plaintext of an envelope and back, by the codec that the catalogue names. Knows no keys."""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from crm.catalogue import Codec, Field


def encode(field: Field, value: Any) -> bytes:
    """The plaintext of `value`: UTF-8 text, `1`/`0`, or canonical JSON with sorted keys."""
    if field.codec is Codec.JSON:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if field.codec is Codec.BOOL:
        return b"1" if value else b"0"
    return str(value).encode()


def decode(field: Field, plaintext: bytes) -> Any:
    """The inverse of `encode`."""
    return _DECODE[field.codec](plaintext)


_DECODE: Mapping[Codec, Callable[[bytes], Any]] = {
    Codec.JSON: orjson.loads,
    Codec.BOOL: lambda plaintext: plaintext == b"1",
    Codec.TEXT: bytes.decode,
    Codec.DATE: bytes.decode,
}
