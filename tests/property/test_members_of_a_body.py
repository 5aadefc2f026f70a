"""Whether a body names a member twice is found without reading it twice: the same verdict as a reader that looks."""

import json
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from schema.body import read_json
from schema.errors import Refused

NAMES = st.sampled_from(['"a"', '"b"', '"a:"', '":"', '""', '"\\u0061"', '"\\""', '"\\\\u"', '"é"'])
SPACE = st.sampled_from(["", " ", "\n\t"])
LEAVES = st.sampled_from(["1", "-0.5e3", "null", "true", '"x"', '"::"', '"\\u003a"', '"a\\":\\"b"', "{}", "[]"])


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[str]) -> str:
    """An object whose members may have equal names."""
    members = draw(st.lists(st.tuples(NAMES, SPACE, inner), max_size=4))
    return "{" + ",".join(f"{name}{space}:{space}{value}" for name, space, value in members) + "}"


def lists(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """A list of whatever there is."""
    return st.lists(inner, max_size=3).map(lambda found: "[" + ",".join(found) + "]")


TEXTS = st.recursive(LEAVES, lambda inner: objects(inner) | lists(inner), max_leaves=12)


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The reference: an object in which no name comes twice."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


@given(TEXTS)
@example('{"a":1,"a":1}')
@example('{"a":{"b":1},"a":{"b":1}}')
@example('{"a":"\\u003a","a":1}')
@example('{"\\u0061":1,"a":1}')
@example('{"a":":","a":1}')
def test_a_name_that_comes_twice_is_always_found(text: str) -> None:
    """Nested as it may be, with colons in names and values, escaped or not."""
    try:
        expected = json.loads(text, object_pairs_hook=unique)
    except ValueError:
        expected = Refused
    try:
        found = read_json(text.encode(), 64)
    except Refused:
        found = Refused
    if expected is Refused:
        assert found is Refused
    else:
        assert orjson.dumps(found) == orjson.dumps(expected)
