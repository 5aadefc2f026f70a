"""Owns the normalised terms by which a record can be found; hashes nothing and stores nothing.

A term of a record and a term of a query are made by the same functions, so a record is found by whatever gives the same
term. A search finds candidates by the hash of a term and keeps those whose opened values still give it.
Changing how a term is made means indexing every record anew: count `VERSION` up.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any, Final

from crm.domain.addressing import composed
from crm.domain.contact_points import dialled, mailbox
from crm.domain.shape import parse
from crm.domain.times import PartialDate
from crm.errors import Invalid

__all__ = [
    "VERSION", "email", "emails", "families", "family_birth_date", "family_birth_dates", "fold", "full_name",
    "full_names", "identifier", "identifiers", "phone", "phones",
]  # fmt: skip

VERSION: Final = 2

Values = Mapping[str, Any]

_GAPS = re.compile(r"[\s\-\u2010-\u2015\u2212\u30fb\u00b7_.,;/]+")
_APOSTROPHES = re.compile("['`\u00b4\u02b9-\u02bf\u2018-\u201b\u2032\u05f3\uff07]+")
_SPACES_AND_DASHES = re.compile(r"[\s\-\u2010-\u2015\u2212]+")
_DIALLED = frozenset({"PHONE", "SMS", "FAX", "PAGER"})
_FEWEST_DIGITS: Final = 4
# Letters that Unicode does not take apart and that keyboards without them replace like this.
_PLAIN: Final = str.maketrans(
    {"\u0131": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "æ": "ae", "œ": "oe", "þ": "th"}
)
# Marks that make another letter in Japanese, not an accent on the same one.
_VOICING: Final = frozenset("\u3099\u309a")


def fold(text: str) -> str:
    """`text` as names are compared: no case, no accents, no apostrophes, one space for any gap.

    What is folded stays as it is when it is folded again.

    >>> fold("O\u2019Brien-Müller")
    'obrien muller'
    """
    before, after = "", text
    while before != after:  # case folding may bring forth what decomposes again
        before, after = after, _without_marks(unicodedata.normalize("NFKD", after)).casefold().translate(_PLAIN)
    return _GAPS.sub(" ", _APOSTROPHES.sub("", after)).strip()


def _without_marks(text: str) -> str:
    return "".join(mark for mark in text if not unicodedata.combining(mark) or mark in _VOICING)


def _prefixed(*parts: str) -> bytes:
    """The parts, each after its length as u16, so that no two lists of parts look alike; absurd lengths are cut."""
    octets = (part.encode("utf-8", "surrogatepass")[:0xFFFF] for part in parts)
    return b"".join(len(part).to_bytes(2, "big") + part for part in octets)


# --- terms of a query ------------------------------------------------------------------------------------------------


def identifier(system: str | None, value: str) -> bytes:
    """A business identifier, without regard to case, spaces and dashes; the system counts as it stands."""
    # Again afterwards: the capital of a letter such as U+0390 comes in parts, which somebody may type as one.
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", value).upper())
    return _prefixed((system or "").strip(), _SPACES_AND_DASHES.sub("", folded) or folded)


def phone(text: str, region: str | None, path: str = "by.phone") -> bytes:
    """A telephone number as E.164, read in `region` where it has no `+`; where it cannot be one, its digits.

    The digits find numbers that an import kept as they were written. Raises `Invalid(path, "e164")` below four digits.
    """
    term = _phone(text, region)
    if term is None:
        raise Invalid(path, "e164")
    return term


def _phone(text: str, region: str | None) -> bytes | None:
    number = dialled(text, region)
    if number is not None:
        return number.encode()
    digits = "".join(str(unicodedata.decimal(mark)) for mark in text if mark.isdecimal())
    return digits.encode() if len(digits) >= _FEWEST_DIGITS else None


def email(text: str, path: str = "by.email") -> bytes:
    """An e-mail address without regard to case; dots and tags in its local part count.

    Raises `Invalid(path, "email")` where there is no `@` between two parts.
    """
    term = _email(text)
    if term is None:
        raise Invalid(path, "email")
    return term


# Of an address such as nearly all are, the term is known without reading it by the rules for all others.
_PLAIN_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@(?!.*xn--)[A-Za-z0-9.-]+", re.ASCII | re.IGNORECASE)


def _email(text: str) -> bytes | None:
    if _PLAIN_MAILBOX.fullmatch(text):
        return text.lower().encode()
    local, at, domain = unicodedata.normalize("NFKC", mailbox(text) or text.strip()).casefold().rpartition("@")
    if not (local and at and domain):
        return None
    try:
        ascii_domain = domain.encode("idna").decode("ascii")
    except UnicodeError:  # not a name that the domain name system could hold; still comparable
        ascii_domain = domain
    return f"{local}@{ascii_domain}".encode("utf-8", "surrogatepass")


def full_name(text: str, path: str = "by.fullName") -> bytes:
    """A whole name, typed as `given family` or `family, given`.

    Its term is the first word of the given part and the last of the family part: middle names and particles between
    them do not count, so that they can be typed or left out. Raises `Invalid(path, "empty")` where no letter is left.
    """
    if not fold(text):
        raise Invalid(path, "empty")
    return _full_name(text)


def _full_name(text: str) -> bytes:
    family, comma, given = text.partition(",")
    if comma and fold(family) and fold(given):
        return _name_term(fold(given), fold(family))
    words = fold(text)
    return _name_term(words, words) if " " in words else _prefixed("", words)


def _name_term(given: str, family: str) -> bytes:
    return _prefixed(family.rpartition(" ")[2], given.partition(" ")[0])


def family_birth_date(family: str, birth_date: str, path: str = "by") -> bytes:
    """A family name and a date of birth, as precise as it is on record.

    Raises `Invalid` for `familyName` or `birthDate` below `path`.
    """
    if not fold(family):
        raise Invalid(f"{path}.familyName", "empty")
    return _family_birth_date(fold(family), parse(PartialDate, birth_date, f"{path}.birthDate", lenient=True))


def _family_birth_date(family: str, birth_date: str) -> bytes:
    return _prefixed(family, birth_date)


# --- terms of a record -----------------------------------------------------------------------------------------------


def identifiers(values: Values) -> set[bytes]:
    """The terms of all identifiers; needs the cell `identifiers`."""
    return {identifier(row.get("system"), row["value"]) for row in values.get("identifiers") or ()}


def phones(values: Values) -> set[bytes]:
    """The terms of everything that is dialled; needs the cell `contact_points`."""
    rows = (row for row in values.get("contact_points") or () if row["system"] in _DIALLED)
    return {term for row in rows if (term := _phone(row["value"], None))}


def emails(values: Values) -> set[bytes]:
    """The terms of all e-mail addresses; needs the cell `contact_points`."""
    rows = (row for row in values.get("contact_points") or () if row["system"] == "EMAIL")
    return {term for row in rows if (term := _email(row["value"]))}


def full_names(values: Values) -> set[bytes]:
    """The terms of all ways to type one of the person's names; needs the cells `names` and `preferred_name`.

    Past names count. A given or preferred name goes with every word of the family name, because people use one of two
    surnames; and the family name may be typed first. A name of one word, which many people share and a thief could tell
    by how often its value occurs, is a term only of somebody who has no other.
    """
    preferred = values.get("preferred_name") or ""
    terms: set[bytes] = set()
    for name in values.get("names") or ():
        terms.update(_full_name(text) for text in (name.get("text"), composed(name)) if text and fold(text))
        family = fold(name.get("family") or "")
        called = [fold(" ".join(name.get("given") or ())), fold(preferred)]
        terms.update(_name_term(given, word) for given in called if given for word in family.split())
        terms.update(_name_term(family, given) for given in called[:1] if family and given)
    if " " in fold(preferred) or (fold(preferred) and not terms):
        terms.add(_full_name(preferred))
    return terms


def family_birth_dates(values: Values) -> set[bytes]:
    """The terms of every family name, whole and by its longer words, with the birth date.

    Needs the cells `names` and `birth_date`.
    """
    birth_date = values.get("birth_date")
    if not birth_date:
        return set()
    return {_family_birth_date(family, birth_date) for name in values.get("names") or () for family in families(name)}


def families(name: Mapping[str, Any]) -> Iterator[str]:
    """The family names one may be asked for; of a name that is only text, its last word or what precedes its comma."""
    text = name.get("text") or ""
    family = fold(name.get("family") or "")
    if not family and text:
        before, comma, _ = text.partition(",")
        family = fold(before) if comma else fold(text).rpartition(" ")[2]
    if family:
        yield family
        yield from (word for word in family.split() if len(word) > 3)  # not `van`, `de`, `al`
