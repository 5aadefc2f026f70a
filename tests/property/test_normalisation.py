"""How what is searched for is made comparable: equal and unequal exactly as tabled, and once is as good as twice.

The unit tests of the search terms hold the long tables; here stand the cases that an index would miss or mix up at the
highest price, asked of a real service, and the laws for any text.
"""

import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from auth.roles import Role
from crm.domain import search_terms
from crm.errors import Invalid
from tests.client import client

FOUND = "query F($by: PatientSearch!) { searchPatients(by: $by) { edges { node { id } } } }"
SYSTEM = "urn:example:mrn"

PERSON: dict[str, Any] = {
    "names": [
        {"use": "OFFICIAL", "family": "Groß", "given": ["Renée"]},
        {"use": "MAIDEN", "family": "Işık", "given": ["İpek"]},
    ],
    "birth_date": "1948-12-10",
    "contact_points": [
        {"system": "PHONE", "value": "+447700900123"},
        {"system": "EMAIL", "value": "Renee.Gross@Exämple.test"},
    ],
    "identifiers": [{"system": SYSTEM, "value": "NHS 943 476 5919"}],
}

EQUAL: dict[str, dict[str, Any]] = {
    "phone as stored": {"phone": "+447700900123"},
    "phone with spaces": {"phone": "+44 7700 900 123"},
    "national": {"phone": "07700 900123"},
    "with brackets and dashes": {"phone": "(07700) 900-123"},
    "international prefix": {"phone": "0044 7700 900123"},
    "full-width digits": {"phone": "\uff10\uff17\uff17\uff10\uff10\uff19\uff10\uff10\uff11\uff12\uff13"},
    "no-break spaces": {"phone": "07700\u00a0900\u00a0123"},
    "sharp s as two": {"fullName": "RENÉE GROSS"},
    "accent as a mark of its own": {"fullName": "Rene\u0301e Groß"},
    "no accent": {"fullName": "renee gross"},
    "dotted and dotless i": {"fullName": "ipek isik"},
    "Turkish capitals": {"fullName": "İPEK IŞIK"},
    "full-width letters": {"fullName": "\uff32\uff45\uff4e\uff45\uff45 Gross"},
    "no-break space in a name": {"fullName": "Renée\u00a0Groß"},
    "family name and date": {"familyName": "GROSS", "birthDate": "1948-12-10"},
    "identifier without spaces": {"identifier": {"system": SYSTEM, "value": "nhs9434765919"}},
    "identifier with other dashes": {"identifier": {"system": SYSTEM, "value": "NHS\u2010943\u2013476-5919"}},
    "identifier in full width": {"identifier": {"system": SYSTEM, "value": "ＮＨＳ９４３４７６５９１９"}},
    "e-mail in another case": {"email": "renee.gross@EXÄMPLE.test"},
    "e-mail as the network writes it": {"email": "renee.gross@xn--exmple-cua.test"},
}
UNEQUAL: dict[str, dict[str, Any]] = {
    "one digit": {"phone": "07700 900124"},
    "another country": {"phone": "+337700900123"},
    "an umlaut written out": {"fullName": "Renée Grooss"},
    "another given name": {"fullName": "Rene Gross"},
    "the given name alone": {"fullName": "Renée"},
    "another day": {"familyName": "Gross", "birthDate": "1948-12-11"},
    "only the year": {"familyName": "Gross", "birthDate": "1948"},
    "another system": {"identifier": {"system": "urn:example:other", "value": "NHS 943 476 5919"}},
    "without the prefix": {"identifier": {"system": SYSTEM, "value": "943 476 5919"}},
    "a dot less": {"email": "reneegross@exämple.test"},
    "a tag": {"email": "renee.gross+a@exämple.test"},
}


async def test_e22_found_exactly_as_tabled(database_url: str, tmp_path: Path) -> None:
    """Every spelling that means the person finds her, and none that means somebody else."""
    async with client(database_url, tmp_path) as it:
        patient_id = (await it.house.register(PERSON))["id"]
        for table, ids in ((EQUAL, [patient_id]), (UNEQUAL, [])):
            for what, by in table.items():
                found = await it.data(FOUND, Role.CLINICIAN, variables={"by": by})
                assert [edge["node"]["id"] for edge in found["searchPatients"]["edges"]] == ids, what


@given(st.text(max_size=40))
def test_e22_folding_is_idempotent(text: str) -> None:
    """A name that was folded stays as it is; so does one that was first composed or taken apart."""
    once = search_terms.fold(text)
    assert search_terms.fold(once) == once
    assert search_terms.fold(unicodedata.normalize("NFC", text)) == search_terms.fold(
        unicodedata.normalize("NFD", text)
    )


@given(st.text(max_size=40))
def test_e22_case_width_and_gaps_of_an_identifier_do_not_count(text: str) -> None:
    """An identifier gives one term in capitals, in compatible forms and with spaces around it."""
    term = search_terms.identifier(SYSTEM, text)
    capitals = unicodedata.normalize("NFKC", text).upper()
    for spelled in (capitals, unicodedata.normalize("NFC", capitals), unicodedata.normalize("NFD", capitals)):
        assert search_terms.identifier(SYSTEM, spelled) == term
    assume(text.strip())
    assert search_terms.identifier(f" {SYSTEM} ", text) == term


@given(st.integers(7_000_000_000, 7_999_999_999), st.sampled_from(["", " ", "-", "\u00a0", "."]))
def test_e22_a_number_gives_one_term_however_it_is_spaced(number: int, gap: str) -> None:
    """The term of a telephone number is its international form, and that is its own term."""
    digits = str(number)
    term = search_terms.phone(f"0{digits[:4]}{gap}{digits[4:7]}{gap}{digits[7:]}", "GB")
    assert term == search_terms.phone(f"+44{digits}", None) == search_terms.phone(term.decode(), "US")


@given(st.emails())
def test_e22_an_address_gives_one_term_in_any_case(address: str) -> None:
    """Case and space around an address do not count, and the term of a term is the same."""
    try:
        term = search_terms.email(address)
    except Invalid:
        pytest.fail("an address that is one by the standard")
    assert search_terms.email(f" {address.upper().casefold()} ") == term
    assert search_terms.email(term.decode()) == term
