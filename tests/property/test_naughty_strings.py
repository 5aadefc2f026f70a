"""Strings that break other systems: each is kept unchanged or refused by a rule, in every place that takes text."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crm.domain import search_terms, values
from crm.errors import Invalid

BIG_LIST = Path(__file__).resolve().parents[2] / "../shared/data/reference/blns_2.0.4.json"

EDGE = [
    "", " ", "\t", "\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\ufeffAnn",
    "\u200eAnn", "\u202eAnn\u202c", "\u2066Ann\u2069", "\0", "Ann\0", "\x1b[31mAnn",
    "\x07", "\x7f", "\x85", "\x9b31m", "\u2028", "\u2029", "Ann\r\nNg", "Ann\tNg",
    "\ud800", "\udfff", "Ann\ud83d", "\udc00\ud800", "\uffff", "\ufffe", "\ufdd0",
    "\U0010ffff", "\U000e0041", "\ufffd", "e\u0301", "é", "A" + "\u0301" * 150, "ﬁ",
    "ß", "ẞ", "İ", "ı", "\u212b", "👩‍👩‍👧‍👦", "🏴\U000e0067\U000e0062\U000e007f", "null",
    "NaN", "'; DROP TABLE patient; --", "${jndi:ldap://127.0.0.1/a}", "{{7*7}}",
    "<script>alert(1)</script>", "%00", "../../etc/passwd", "a" * 200, "a" * 201,
    "😀" * 200, "😀" * 201, "a" * 4001, "\u0627\u0644\u0644\u0647", "山田\u3000太郎", "١٢٣",
]  # fmt: skip


def strings() -> list[str]:
    """The published list where it is at hand, and our own."""
    return [*json.loads(BIG_LIST.read_text(encoding="utf-8")), *EDGE] if BIG_LIST.exists() else EDGE


def places(text: str) -> Iterator[tuple[Any, Any]]:
    """Every kind of place that takes text, with `text` in it."""
    yield values.ShortText, text
    yield values.LongText, text
    yield values.HumanNames, [{"given": [text, "x"], "prefix": [], "suffix": [text]}]
    yield values.HumanNames, [{"text": text, "family": text, "given": [], "prefix": [], "suffix": []}]
    yield values.Identifiers, [{"system": text, "value": text, "assigner": text}]
    yield values.Addresses, [{"id": "a", "text": text, "lines": [text], "postal_code": text}]
    yield (
        values.AccessNeeds,
        [{"id": "a", "kind": "OTHER", "category": "ADDITIONAL", "text": text, "flag_visible": True}],
    )
    yield values.CulturalNeedDetails, [{"id": "a", "kind": "OTHER", "detail": text}]
    yield values.CaseManager, {"name": text, "organisation": text}


def test_edge_strings_are_many() -> None:
    """The list of our own is long enough to say something where the published one is absent."""
    assert len(set(EDGE)) >= 50


def test_the_published_list_is_at_hand() -> None:
    """Says so when only our own strings were tried."""
    if not BIG_LIST.exists():
        pytest.skip("the Big List of Naughty Strings is not beside the project")
    assert len(strings()) > 500


@pytest.mark.parametrize("lenient", [False, True])
def test_kept_unchanged_or_refused(lenient: bool) -> None:
    """No naughty string is changed on its way in, and none gets past the rules with an error of another type."""
    for text in strings():
        for kind, value in places(text):
            try:
                assert values.parse(kind, value, "x", lenient=lenient) == value
            except Invalid as refused:
                assert refused.rule in {"empty", "control_character", "unicode", "too_long"}


@pytest.mark.parametrize("text", [text for text in EDGE if re.search("[\x00\ud800-\udfff]", text)])
def test_nul_and_lone_surrogates_are_refused(text: str) -> None:
    """What a database or UTF-8 cannot hold never gets in, from imports neither."""
    for lenient in (False, True):
        for kind, value in places(text):
            with pytest.raises(Invalid) as caught:
                values.parse(kind, value, "x", lenient=lenient)
            assert caught.value.rule in {"control_character", "unicode"}


def test_formats_refuse_or_keep() -> None:
    """Where a format is asked for, a naughty string is refused by the word of that format or becomes canonical."""
    for text in strings():
        for kind in (values.LanguageTag, values.TimeZone, values.PartialDateTime, values.ReligionCode, values.NameUse):
            try:
                kept = values.parse(kind, text, "x")
            except Invalid as refused:
                assert refused.rule in {"bcp47", "time_zone", "date", "unknown_code", "unicode"}
            else:
                assert values.parse(kind, kept, "x") == kept


def test_searching_for_them_is_safe() -> None:
    """A naughty string as a search term gives a term or a refusal, and a fold that folds no further."""
    for text in strings():
        assert search_terms.fold(search_terms.fold(text)) == search_terms.fold(text)
        assert search_terms.identifier(text, text)
        for term in (search_terms.full_name, search_terms.email, lambda text: search_terms.phone(text, "GB")):
            try:
                assert term(text)
            except Invalid as refused:
                assert refused.rule in {"empty", "email", "e164"}
