"""What holds for every value, not only for the examples."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.catalogue import FIELDS
from crm.domain import addressing, masks, search_terms, values
from crm.domain.times import holds_on
from crm.errors import Invalid

KINDS = [field.kind for field in FIELDS if field.kind is not None and field.paths]
KEYS = st.sampled_from(
    [
        "id",
        "use",
        "text",
        "family",
        "given",
        "prefix",
        "suffix",
        "period",
        "start",
        "end",
        "system",
        "value",
        "type",
        "other",
        "rank",
        "tag",
        "modes",
        "kind",
        "days",
        "from",
        "to",
        "time_zone",
        "purpose",
        "channels",
        "handling",
        "detail",
        "lines",
        "city",
        "name",
        "status",
        "verification",
        "capabilities",
    ]
)
WORDS = st.sampled_from(
    [
        "USUAL",
        "OFFICIAL",
        "OLD",
        "PHONE",
        "EMAIL",
        "URL",
        "SMS",
        "OTHER",
        "HOME",
        "MOBILE",
        "MON",
        "YES",
        "en",
        "bfi",
        "09:00",
        "2020",
        "2020-13",
    ]
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | WORDS
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=20
)
ANY_STRING = st.text(st.characters(exclude_categories=()), max_size=60)
NAMES = st.lists(
    st.fixed_dictionaries(
        {"given": st.lists(st.text(min_size=1), max_size=3)},
        optional={
            "use": st.sampled_from(list(values.NameUse)),
            "family": st.text(min_size=1),
            "text": st.text(min_size=1),
            "period": st.fixed_dictionaries({}, optional={"start": st.dates().map(str), "end": st.dates().map(str)}),
        },
    ),
    max_size=5,
)


@pytest.mark.parametrize("kind", KINDS)
@given(value=ANYTHING, lenient=st.booleans())
def test_anything_is_taken_or_refused(kind: Any, value: Any, lenient: bool) -> None:
    """Any JSON gives a canonical value, which parses to itself and survives JSON, or a refusal by a known rule."""
    try:
        kept = values.parse(kind, value, "input.x", lenient=lenient)
    except Invalid as refused:
        assert refused.rule in values.RULES
        assert refused.field.startswith("input.x")
        return
    assert values.parse(kind, kept, "input.x", lenient=lenient) == kept
    assert json.loads(json.dumps(kept)) == kept


@given(text=ANY_STRING)
def test_text_is_kept_or_refused(text: str) -> None:
    """No text is ever changed: it is stored as given, or refused."""
    for kind in (values.ShortText, values.LongText):
        try:
            assert values.parse(kind, text, "x") == text
        except Invalid:
            assert not text.strip() or any(ord(mark) < 0x20 or 0xD800 <= ord(mark) <= 0xDFFF for mark in text)


@given(text=ANY_STRING | st.from_regex(r"\+?[0-9 ()x.-]{1,20}") | st.emails())
def test_contact_points_lose_nothing(text: str) -> None:
    """What an import brings can be read back as it was written, whichever system it is said to be."""
    for system in values.ContactPointSystem:
        row = {"system": system, "value": text}
        try:
            kept = values.parse(values.ContactPoint, row, "x", region="GB", lenient=True)
        except Invalid:
            assert not text.strip() or any(ord(mark) < 0x20 or 0xD800 <= ord(mark) <= 0xDFFF for mark in text)
        else:
            assert kept.get("as_written", kept["value"]) == text


@given(text=ANY_STRING, more=ANY_STRING)
def test_folding_is_idempotent(text: str, more: str) -> None:
    """What is folded stays as it is; case, and the form of accents, never count."""
    once = search_terms.fold(text + more)
    assert search_terms.fold(once) == once
    assert search_terms.fold(f" {text}  {more} ") == search_terms.fold(f"{text} {more}")


@given(digits=st.from_regex(r"7[1-9][0-9]{8}", fullmatch=True))
def test_numbers_are_found_in_every_form(digits: str) -> None:
    """National, international, grouped and prefixed forms of one number are one term."""
    forms = [
        f"+44{digits}",
        f"0{digits}",
        f"0044{digits}",
        f"+44 (0) {digits[:4]} {digits[4:]}",
        f"0{digits[:4]}-{digits[4:]}",
    ]
    assert {search_terms.phone(form, "GB") for form in forms} == {f"+44{digits}".encode()}


@given(names=NAMES, preferred=st.none() | st.text(min_size=1))
def test_every_stored_name_can_be_searched(names: list[dict[str, Any]], preferred: str | None) -> None:
    """Whatever a person is shown as can be typed into the search and finds the record, or with the family name."""
    cells = {"names": names, "preferred_name": preferred}
    displayed = addressing.display_name_of(cells, "2025-06-15")
    assert displayed
    if displayed != addressing.UNNAMED and (folded := search_terms.fold(displayed)):
        families = [one["family"] for one in names if search_terms.fold(one.get("family") or "")]
        others = families or search_terms.full_names({"names": names})
        alone = displayed == preferred and " " not in folded and bool(others)
        typed = [f"{family}, {displayed}" for family in families if "," not in family] if alone else [displayed]
        assert {search_terms.full_name(text) for text in typed} <= search_terms.full_names(cells)


@given(names=NAMES, day=st.dates().map(str))
def test_the_order_of_names_of_different_uses_does_not_count(names: list[dict[str, Any]], day: str) -> None:
    """With one name of each use, the display name does not depend on how the list is sorted."""
    one_each = list({name.get("use"): name for name in names}.values())
    assert addressing.display_name(one_each, None, day) == addressing.display_name(one_each[::-1], None, day)


@given(start=st.none() | st.dates().map(str), end=st.none() | st.dates().map(str), day=st.dates().map(str))
def test_less_precise_bounds_hold_at_least_as_often(start: str | None, end: str | None, day: str) -> None:
    """Knowing less of a period never makes a name end earlier or begin later."""
    if holds_on(start, end, day):
        for cut in (4, 7):
            assert holds_on(start and start[:cut], end and end[:cut], day)


@given(value=st.text(min_size=6, max_size=40))
def test_masks_show_two_characters_at_most(value: str) -> None:
    """A masked value says the same for all values with the same last two characters."""
    assert masks.identifiers([{"value": value}]) == masks.identifiers([{"value": "another" + value[-2:]}])
