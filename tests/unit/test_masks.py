"""Masks hide what they should and keep the shape of what they mask."""

import pytest

from crm.domain import masks

POINT = {
    "id": "c1", "system": "PHONE", "value": "+447700900123", "as_written": "07700 900123 x9", "extension": "9",
    "rank": 1, "verified": False,
}  # fmt: skip


def test_hide_gives_nothing() -> None:
    """A hidden value is null, whatever it was."""
    assert masks.hide([{"family": "Smith"}]) is None  # type: ignore[func-returns-value]


@pytest.mark.parametrize(
    ("name", "masked"),
    [
        ("Sarah", "S•••"),
        ("S", "S•••"),
        ("  Ann", "A•••"),
        ("E\u0301mile", "E\u0301•••"),
        ("山田太郎", "山•••"),
        (None, None),
    ],
)
def test_initial_shows_one_letter(name: str | None, masked: str | None) -> None:
    """One letter with its accents stays, and the length of the name is not told."""
    assert masks.initial(name) == masked


@pytest.mark.parametrize(("date", "masked"), [("1980-05-17", "1980"), ("1980", "1980"), (None, None)])
def test_year_shows_the_year(date: str | None, masked: str | None) -> None:
    """Month and day are dropped."""
    assert masks.year(date) == masked


def test_contact_points_show_two_characters() -> None:
    """Each value ends in its last two characters; what was written and the extension are gone, the rest stays."""
    assert masks.contact_points([POINT]) == [
        {"id": "c1", "system": "PHONE", "value": "•••23", "rank": 1, "verified": False}
    ]
    assert POINT["value"] == "+447700900123"


def test_short_values_show_nothing() -> None:
    """Two characters of five would be too much."""
    assert masks.identifiers([{"system": "urn:x", "value": "12345"}]) == [{"system": "urn:x", "value": "•••"}]
    assert masks.identifiers([{"system": "urn:x", "value": "123456"}]) == [{"system": "urn:x", "value": "•••56"}]


def test_texts_beside_an_identifier_are_hidden() -> None:
    """Whoever gave it out, what its type is called and since when may name the person; only codes stay."""
    told = {
        "system": "urn:x",
        "value": "123456",
        "use": "USUAL",
        "type": {"system": "urn:types", "code": "MR", "text": "NHS 943 476 5919"},
        "assigner": "Ann Smith's GP",
        "period": {"start": "2020"},
    }
    masked = {"system": "urn:x", "value": "•••56", "use": "USUAL", "type": {"code": "MR"}}
    assert masks.identifiers([told]) == [masked]


def test_nothing_stays_nothing() -> None:
    """A value that is not there is not there behind a mask either."""
    assert masks.contact_points(None) is None
    assert masks.identifiers(None) is None
    assert masks.contact_points([]) == []
