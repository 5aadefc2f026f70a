"""Whatever an event holds, its leaf is canonical, small, free of floats and nulls, and says what the index says."""

import json
import re
import uuid
from dataclasses import replace
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from crm.audit.entry import draft, drafts, index_of, number, restore
from crm.audit.event import FLAGS, MAX_LEAF, Act, Event, Outcome, Who

PATHS = st.lists(
    st.from_regex(re.compile(r"[a-z][A-Za-z0-9]{0,20}(\.[a-z][A-Za-z0-9]{0,20})?", re.ASCII), fullmatch=True)
)
CODES = st.from_regex(re.compile(r"[A-Z][A-Z_]{0,20}", re.ASCII), fullmatch=True)
COUNTS = st.none() | st.integers(0, 2**53 - 1)
ANYTHING = st.text(st.characters(), max_size=300)

CALLERS = st.builds(
    Who, iss=ANYTHING, sub=ANYTHING, roles=st.lists(CODES, max_size=10), org=ANYTHING, client=ANYTHING, jti=ANYTHING
)
EVENTS = st.builds(
    Event,
    act=st.sampled_from(Act),
    out=st.sampled_from(Outcome),
    op=ANYTHING,
    req=ANYTHING,
    who=CALLERS,
    pou=st.none() | st.sampled_from(["TREAT", "HMARKT"]),
    pat=st.none() | st.uuids().map(lambda value: value.hex),
    fld=PATHS,
    msk=PATHS,
    chg=PATHS,
    obj=COUNTS,
    cnt=COUNTS,
    qid=st.none() | st.uuids().map(str),
    ref=st.none() | st.uuids().map(str),
    sealed=st.none() | st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}"),
    flg=st.lists(st.sampled_from(sorted(FLAGS))),
    why=st.just("") | CODES,
    pol=st.just("") | st.just("sha256:ab12"),
    rul=st.lists(CODES, max_size=10),
)
TIMES = st.integers(0, 4_102_444_800_000_000)
PLACES = st.integers(1, 2**53 - 1)


def leaves(value: Any) -> list[Any]:
    """Every scalar and every key of a parsed document."""
    if isinstance(value, dict):
        return [*value, *(inner for part in value.values() for inner in leaves(part))]
    if isinstance(value, list):
        return [inner for part in value for inner in leaves(part)]
    return [value]


@given(EVENTS, TIMES, PLACES)
def test_leaf_is_rfc_8785(event: Event, now: int, n: int) -> None:
    """Orjson with sorted keys and the independent `rfc8785` agree on every event, within the size limit."""
    entry = number(draft(event, now), "ra-1/boot", n)
    content = json.loads(entry.leaf)
    assert rfc8785.dumps(content) == entry.leaf
    assert len(entry.leaf) <= MAX_LEAF
    assert all(type(part) in {str, int} and part != "" for part in leaves(content))
    assert entry.leaf.isascii()


@given(EVENTS, TIMES, PLACES)
def test_index_says_what_the_leaf_says(event: Event, now: int, n: int) -> None:
    """The columns stored beside a leaf can be computed again from its octets."""
    entry = number(draft(event, now), "ra-1/boot", n)
    assert index_of(json.loads(entry.leaf)) == entry.index
    assert entry.index.ts == now


@given(EVENTS, TIMES, PLACES, st.uuids(), st.integers(0, 2**53 - 1), st.booleans())
def test_copies_are_written_as_if_alone(
    event: Event, now: int, n: int, patient: uuid.UUID, version: int, skewed: bool
) -> None:
    """Copies of an event about other patients get the octets and the columns that events of their own would get."""
    subjects = [patient.hex, uuid.UUID(int=0).hex]
    made = drafts([event, *(event.about(subject, version) for subject in subjects)], now)
    assert [each.shape is None for each in made] == [True, False, False]
    for subject, copy in zip(subjects, made[1:], strict=True):
        alone = replace(draft(replace(event, pat=subject, obj=version), now), id=copy.id)
        alone = replace(alone, content={**alone.content, "id": copy.id})
        assert copy.content == alone.content
        assert number(copy, "ra-1/boot", n, skewed=skewed) == number(alone, "ra-1/boot", n, skewed=skewed)


@pytest.mark.parametrize(("pat", "obj"), [("Sam Okafor", 1), ("0" * 31, 1), ("0" * 32, -1), ("0" * 32, True)])
def test_a_copy_is_about_a_subject_and_a_version(pat: str, obj: int) -> None:
    """What differs in a copy is checked as in any event."""
    with pytest.raises(RuntimeError, match="audit event"):
        Event(Act.READ).about(pat, obj)


@given(EVENTS, TIMES)
def test_outbox_keeps_everything(event: Event, now: int) -> None:
    """An event that waited in the outbox gets the same leaf as one that did not."""
    staged = draft(event, now, staged_by="ra-1/boot")
    assert number(restore(staged.octets()), "ra-1/boot", 1).leaf == number(staged, "ra-1/boot", 1).leaf


@given(EVENTS, ANYTHING)
def test_no_foreign_text_is_readable(event: Event, text: str) -> None:
    """Text with a space in it, as names and sentences have, never stands in a leaf, whatever a caller sends it as."""
    value = f"{text} and more"
    loud = replace(event, op=value, req=value, who=Who(value, value, (), value, value, value))
    assert " " not in number(draft(loud, 0), "ra-1/boot", 1).leaf.decode()
