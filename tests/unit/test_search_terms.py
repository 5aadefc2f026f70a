"""Which spellings find the same record, and which do not."""

from typing import Any

import pytest

from crm.domain import search_terms, values
from crm.errors import Invalid


def name(**parts: Any) -> dict[str, Any]:
    """A record with one name."""
    return {"names": values.parse(values.HumanNames, [parts], "names")}


def phone_record(number: str, **how: Any) -> dict[str, Any]:
    """A record with one telephone number."""
    row = {"system": "PHONE", "value": number}
    return {"contact_points": values.parse(values.ContactPoints, [row], "contactPoints", **how)}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("José", "Jose\u0301", True),
        ("José", "Jose", True),
        ("Strauß", "STRAUSS", True),
        ("İpek", "ipek", True),
        ("Işık", "isik", True),
        ("O'Brien", "O\u2019Brien", True),
        ("O'Brien", "OBrien", True),
        ("Smith-Jones", "Smith Jones", True),
        ("Smith\u2010Jones", "Smith  Jones", True),
        ("Smith\u00a0Jones", "Smith Jones", True),
        ("\uff33\uff4d\uff49\uff54\uff48", "Smith", True),
        ("Øster", "Oster", True),
        ("Łukasz", "Lukasz", True),
        ("Æther", "Aether", True),
        ("ΣΊΣΥΦΟΣ", "σίσυφος", True),
        ("\ufb01n", "fin", True),
        ("ガ\u3000", "カ\u3099", True),
        ("ガ", "カ", False),
        ("Müller", "Mueller", False),
        ("Ann", "Anne", False),
        ("Smith Jones", "SmithJones", False),
    ],
)
def test_folding(one: str, other: str, same: bool) -> None:
    """Names are compared without case, accents, width, apostrophes and kinds of gap; letters still count."""
    assert (search_terms.fold(one) == search_terms.fold(other)) == same


@pytest.mark.parametrize("plane", [0, 1, 2, 3, 14])
def test_folding_twice_is_folding_once(plane: int) -> None:
    """Every character of Unicode, alone and inside a word, is fully folded the first time."""
    for point in range(plane << 16, (plane + 1) << 16):
        for text in (chr(point), f"a{chr(point)}b"):
            once = search_terms.fold(text)
            assert search_terms.fold(once) == once


@pytest.mark.parametrize(
    "typed",
    [
        "+44 7700 900123", "07700 900123", "07700-900-123", "(07700) 900123", "0044 7700 900123",
        "tel:+44-7700-900123",
        "\uff10\uff17\uff17\uff10\uff10\uff19\uff10\uff10\uff11\uff12\uff13", "07700\u00a0900123",
        "+447700900123 ext. 4",
    ],
)  # fmt: skip
def test_a_number_is_found_by_any_spelling(typed: str) -> None:
    """However a number is typed, it is the same term as the stored one."""
    assert search_terms.phone(typed, "GB") in search_terms.phones(phone_record("+447700900123"))


def test_another_number_is_not_found() -> None:
    """One digit makes another term, and e-mail addresses are no numbers."""
    record = phone_record("+447700900123")
    assert search_terms.phone("07700900124", "GB") not in search_terms.phones(record)
    assert search_terms.emails(record) == set()


def test_a_number_kept_as_written_is_found_by_its_digits() -> None:
    """What an import kept without a region can still be looked up as it is written."""
    record = phone_record("555-806-9773", lenient=True)
    assert search_terms.phone("(555) 806 9773", None) in search_terms.phones(record)


@pytest.mark.parametrize("typed", ["", "123", "Mary", "\0", "٣"])
def test_what_is_no_number_cannot_be_looked_up(typed: str) -> None:
    """A search for nothing is refused, and the refusal does not repeat it."""
    with pytest.raises(Invalid) as caught:
        search_terms.phone(typed, "GB")
    assert (caught.value.field, caught.value.rule) == ("by.phone", "e164")


@pytest.mark.parametrize(
    ("stored", "typed", "same"),
    [
        ("Jo.Smith@Example.com", "jo.smith@example.COM", True),
        ("Jo.Smith@Example.com", " jo.smith@example.com\u00a0", True),
        ("jo@exämple.de", "jo@xn--exmple-cua.de", True),
        ("jo+a@example.com", "jo@example.com", False),
        ("jo.smith@example.com", "josmith@example.com", False),
        ("\uff4ao@example.com", "jo@example.com", True),
    ],
)
def test_mailboxes(stored: str, typed: str, same: bool) -> None:
    """Case, width and the spelling of the domain do not count; dots and tags do."""
    row = {"system": "EMAIL", "value": stored}
    record = {"contact_points": values.parse(values.ContactPoints, [row], "contactPoints", lenient=True)}
    assert (search_terms.email(typed) in search_terms.emails(record)) == same


@pytest.mark.parametrize("typed", ["", "jo", "@example.com", "jo@", "@"])
def test_what_is_no_mailbox_cannot_be_looked_up(typed: str) -> None:
    """A search without both parts of an address is refused."""
    with pytest.raises(Invalid) as caught:
        search_terms.email(typed)
    assert (caught.value.field, caught.value.rule) == ("by.email", "email")


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("Maria Garcia Lopez", True),
        ("maria ann garcia lopez", True),
        ("María García-López", True),
        ("Maria Lopez", True),
        ("Maria Garcia", True),
        ("Garcia Lopez, Maria", True),
        ("LOPEZ, MARIA ANN", True),
        ("Garcia Lopez Maria Ann", True),
        ("Mia Garcia Lopez", True),
        ("Lopez, Mia", True),
        ("Mia", False),
        ("Ann Lopez", False),
        ("Maria Perez", False),
        ("Maria", False),
        ("Garcia Lopez", False),
    ],
)
def test_names_are_found_as_people_type_them(typed: str, found: bool) -> None:
    """Given name or preferred name with a family name, in either order; never one of them alone."""
    record = name(given=["María", "Ann"], family="García López") | {"preferred_name": "Mia"}
    assert (search_terms.full_name(typed) in search_terms.full_names(record)) == found


def test_a_name_of_one_word_is_found_where_it_is_the_only_one() -> None:
    """Otherwise the index of whole names would hold given names, which can be told by how often they occur."""
    term = search_terms.full_name("Mia")
    assert search_terms.full_names({"preferred_name": "Mia"}) == {term}
    assert term in search_terms.full_names(name(text="Mia"))
    assert term not in search_terms.full_names(name(given=["María"], family="Lopez") | {"preferred_name": "Mia"})
    whole = search_terms.full_names(name(given=["María"], family="Lopez") | {"preferred_name": "Mia Perez"})
    assert search_terms.full_name("Mia Perez") in whole


@pytest.mark.parametrize("typed", ["山田太郎", "山田 太郎", "山田\u3000太郎", "太郎 山田", "山田, 太郎"])
def test_names_without_spaces(typed: str) -> None:
    """A family-first name is found with a space, without one, and the other way round."""
    assert search_terms.full_name(typed) in search_terms.full_names(name(given=["太郎"], family="山田"))


def test_names_that_are_only_text() -> None:
    """A name that was never taken apart is found as it is written, and by its last word with the birth date."""
    record = name(text="Jan van der Berg") | {"birth_date": "1980-05-17"}
    assert search_terms.full_name("jan berg") in search_terms.full_names(record)
    assert search_terms.family_birth_date("BERG", "1980-05-17") in search_terms.family_birth_dates(record)
    comma = name(text="van der Berg, Jan") | {"birth_date": "1980-05-17"}
    assert search_terms.full_name("Jan van der Berg") in search_terms.full_names(comma)
    assert search_terms.family_birth_date("van der Berg", "1980-05-17") in search_terms.family_birth_dates(comma)


def test_former_names_are_found() -> None:
    """A maiden name leads to the record."""
    assert search_terms.full_name("Ann Ng") in search_terms.full_names(name(use="MAIDEN", given=["Ann"], family="Ng"))


@pytest.mark.parametrize("typed", ["", " ", "'", "-", ",", " , ", "\u0301"])
def test_no_name_cannot_be_looked_up(typed: str) -> None:
    """A search for marks and gaps is refused."""
    with pytest.raises(Invalid) as caught:
        search_terms.full_name(typed)
    assert (caught.value.field, caught.value.rule) == ("by.fullName", "empty")


@pytest.mark.parametrize(
    ("family", "date", "found"),
    [
        ("Smith-Jones", "1980-05-17", True),
        ("smith jones", "1980-05-17", True),
        ("Jones", "1980-05-17", True),
        ("Smith", "1980-05-17", True),
        ("Smith", "1980-05-18", False),
        ("Smith", "1980", False),
        ("Smit", "1980-05-17", False),
    ],
)
def test_family_name_with_birth_date(family: str, date: str, found: bool) -> None:
    """A family name, whole or one of two, goes with the date exactly as it is on record."""
    record = name(given=["Ann"], family="Smith-Jones") | {"birth_date": "1980-05-17"}
    assert (search_terms.family_birth_date(family, date) in search_terms.family_birth_dates(record)) == found


def test_refused_family_and_birth_date() -> None:
    """Both parts are checked, each under its own path."""
    with pytest.raises(Invalid) as caught:
        search_terms.family_birth_date("-", "1980")
    assert (caught.value.field, caught.value.rule) == ("by.familyName", "empty")
    with pytest.raises(Invalid) as caught:
        search_terms.family_birth_date("Ng", "17/05/1980")
    assert (caught.value.field, caught.value.rule) == ("by.birthDate", "date")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("urn:a", "943 476 5919"), ("urn:a", "9434765919"), True),
        (("urn:a", "ab-12\u00a0c"), (" urn:a ", "AB12C"), True),
        (("urn:a", "\uff11\uff12"), ("urn:a", "12"), True),
        (("urn:a", "1"), ("urn:A", "1"), False),
        (("urn:a", "1"), (None, "1"), False),
        ((None, "1"), ("", "1"), True),
        (("urn:a", "01"), ("urn:a", "1"), False),
        (("urn:a", "bc"), ("urn:ab", "c"), False),
        (("urn:a", "-"), ("urn:a", "--"), False),
    ],
)
def test_identifiers(one: tuple[str | None, str], other: tuple[str | None, str], same: bool) -> None:
    """Spaces, dashes, width and case do not count; the system, leading zeros and everything else do."""
    stored = {"identifiers": [{"system": one[0], "value": one[1]}]}
    assert (search_terms.identifier(*other) in search_terms.identifiers(stored)) == same


def test_known_terms() -> None:
    """The bytes of a term are stored as hashes: changing them means counting `VERSION` up and indexing anew."""
    assert search_terms.VERSION == 2
    assert search_terms.identifier("urn:a", "b-1") == b"\x00\x05urn:a\x00\x02B1"
    assert search_terms.phone("+44 7700 900123", None) == b"+447700900123"
    assert search_terms.email("Jo@Example.com") == b"jo@example.com"
    assert search_terms.full_name("Zoë de Ng") == b"\x00\x02ng\x00\x03zoe"
    assert search_terms.full_name("Sukarno") == b"\x00\x00\x00\x07sukarno"
    assert search_terms.family_birth_date("de Ng", "1980-05") == b"\x00\x05de ng\x00\x071980-05"


def test_an_empty_record_has_no_terms() -> None:
    """Cells that are absent or null give no terms."""
    terms = (
        search_terms.identifiers, search_terms.phones, search_terms.emails, search_terms.full_names,
        search_terms.family_birth_dates,
    )  # fmt: skip
    for of in terms:
        assert of({}) == set()
        assert of({"names": None, "contact_points": None, "identifiers": None, "birth_date": "1980"}) == set()
    assert search_terms.full_names({"names": [{"given": [], "prefix": ["Dr"]}], "preferred_name": "-"}) == set()
