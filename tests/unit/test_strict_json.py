"""Strict JSON takes one object with one meaning, and fails in one way."""

import pytest

from auth.strict_json import parse_object


@pytest.mark.parametrize(
    ("octets", "parsed"),
    [
        (b"{}", {}),
        (b' {"a": [1, -2.5, true, null, "\\u00e9"]} ', {"a": [1, -2.5, True, None, "é"]}),
        ('{"ключ": {"a": {}, "b": {"a": 1}}}'.encode(), {"ключ": {"a": {}, "b": {"a": 1}}}),
    ],
)
def test_objects(octets: bytes, parsed: dict[str, object]) -> None:
    """An ordinary object is what JSON says it is; the same name may stand in different objects."""
    assert parse_object(octets) == parsed


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"[]",
        b"1",
        b'"a"',
        b"null",
        b"{} {}",
        b'{"a":1,}',
        b"{'a':1}",
        b'{"a":1,"a":1}',
        b'{"a":1,"\\u0061":2}',
        b'{"b":{"a":1,"a":2}}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":"\xff"}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\xc0\x80"}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\x00"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":' + b"[" * 200_000,
    ],
    ids=range(22),
)
def test_everything_else(octets: bytes) -> None:
    """What is not strictly one UTF-8 object with distinct names is a ValueError, and never a crash."""
    with pytest.raises(ValueError):
        parse_object(octets)
