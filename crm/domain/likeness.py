"""Owns how alike two records are: which facts agree, and what that weighs. Pure: finds no candidates, merges nobody.

The weights are those of Fellegi and Sunter (1969): an outcome of a comparison weighs log2(m/u) bits, where m is how
often it comes out so for two records about one person, and u how often for those of two people. `docs/duplicates.md`
says where m and u come from. The model takes facts to be independent, which those of a household are not: what people
share at home counts only where nothing that tells them apart speaks against it.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from math import log2
from typing import Any, Final, NamedTuple, Self

from crm.domain import search_terms
from crm.domain.search_terms import families, fold

__all__ = ["COMPARED", "POSSIBLE", "PROBABLE", "Agreement", "Band", "Fact", "Likeness", "Traits", "compare"]

COMPARED: Final = ("names", "preferred_name", "birth_date", "identifiers", "contact_points")
"""The catalogue fields that are compared."""

POSSIBLE: Final = 10.0
PROBABLE: Final = 18.0
"""Bits from which two records are worth a look, and from which they are rather one person than two."""


class Fact(StrEnum):
    """What is compared."""

    IDENTIFIER = "IDENTIFIER"
    BIRTH_DATE = "BIRTH_DATE"
    FAMILY_NAME = "FAMILY_NAME"
    GIVEN_NAME = "GIVEN_NAME"
    PHONE = "PHONE"
    EMAIL = "EMAIL"


class Agreement(StrEnum):
    """How a fact compares that both records state."""

    SAME = "SAME"
    CLOSE = "CLOSE"
    DIFFERENT = "DIFFERENT"


class Band(StrEnum):
    """What the weight comes to."""

    PROBABLE = "PROBABLE"
    POSSIBLE = "POSSIBLE"
    UNLIKELY = "UNLIKELY"


class Likeness(NamedTuple):
    """The weight in bits, the facts that were compared, and what it comes to."""

    bits: float
    facts: Mapping[Fact, Agreement]
    band: Band


_Outcome = tuple[Fact, Agreement]

_DAY: Final = 1 / (80 * 365.25)  # birth dates of eighty years, spread evenly
_YEAR: Final = 1 / 80
_LIVE_TOGETHER: Final = 1 / 50  # of those whom a look-up brings together, how many share a number or mailbox

_ODDS: Final[Mapping[_Outcome, tuple[float, float]]] = {
    (Fact.IDENTIFIER, Agreement.SAME): (0.9, 1e-6),
    (Fact.IDENTIFIER, Agreement.DIFFERENT): (0.02, 1.0),
    (Fact.BIRTH_DATE, Agreement.SAME): (0.93, _DAY),
    (Fact.BIRTH_DATE, Agreement.CLOSE): (0.04, 40 * _DAY),  # so many dates are one slip away
    (Fact.BIRTH_DATE, Agreement.DIFFERENT): (0.03, 1.0),
    (Fact.FAMILY_NAME, Agreement.SAME): (0.85, 0.003),
    (Fact.FAMILY_NAME, Agreement.CLOSE): (0.07, 0.003),
    (Fact.FAMILY_NAME, Agreement.DIFFERENT): (0.08, 0.994),
    (Fact.GIVEN_NAME, Agreement.SAME): (0.85, 0.01),
    (Fact.GIVEN_NAME, Agreement.CLOSE): (0.13, 0.02),
    (Fact.GIVEN_NAME, Agreement.DIFFERENT): (0.02, 0.97),
    (Fact.PHONE, Agreement.SAME): (0.6, _LIVE_TOGETHER),
    (Fact.EMAIL, Agreement.SAME): (0.5, _LIVE_TOGETHER),
}
"""m and u of each outcome; one that is not listed weighs nothing."""

_BITS: Final = {outcome: log2(m / u) for outcome, (m, u) in _ODDS.items()}
_SAME_YEAR: Final = log2(0.93 / _YEAR)
_AT_HOME: Final = frozenset({Fact.FAMILY_NAME, Fact.PHONE, Fact.EMAIL})
_TELLS_APART: Final = (Fact.GIVEN_NAME, Fact.BIRTH_DATE)

_LIFELONG: Final = frozenset({"NI", "SS"})
"""Types of identifiers (HL7 table 0203) of which a person has one: two of one system are rather two people's."""

_SHORTEST: Final = 4
_LONG: Final = 8
_NICKNAME: Final = 3
_FULL_DATE: Final = 10
_GENERATION: Final = 13
"""Years from which a slip of one digit is rather a parent of the same name."""


class _Name(NamedTuple):
    """Folded: the whole family name and the given names; either may be empty."""

    family: str
    given: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Traits:
    """What of a record is compared. Never shown in a repr."""

    names: tuple[_Name, ...] = field(repr=False)
    preferred: str = field(repr=False)
    birth_date: str = field(repr=False)
    identifiers: frozenset[bytes] = field(repr=False)
    lifelong: frozenset[tuple[str, bytes]] = field(repr=False)
    phones: frozenset[bytes] = field(repr=False)
    emails: frozenset[bytes] = field(repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The traits of canonical `values` by catalogue name; whatever is absent is not compared."""
        known = [row for row in values.get("identifiers") or () if len(set(row["value"])) > 1]  # 9999999999 is nobody's
        return cls(
            tuple(_names(values.get("names") or ())),
            fold(values.get("preferred_name") or ""),
            (values.get("birth_date") or ""),
            frozenset(search_terms.identifiers({"identifiers": known})),
            frozenset(_lifelong(known)),
            frozenset(search_terms.phones(values)),
            frozenset(search_terms.emails(values)),
        )


def compare(one: Traits, other: Traits) -> Likeness:
    """How alike two records are; the same whichever comes first."""
    facts = dict(_facts(one, other))
    apart = any(facts.get(fact) is Agreement.DIFFERENT for fact in _TELLS_APART)
    bits = 0.0
    for fact, agreement in facts.items():
        weight = _BITS.get((fact, agreement), 0.0)
        if fact is Fact.BIRTH_DATE and agreement is Agreement.SAME and _vague(one.birth_date, other.birth_date):
            weight = _SAME_YEAR
        bits += min(weight, 0.0) if apart and fact in _AT_HOME else weight
    return Likeness(bits, facts, _band(bits, facts))


def _band(bits: float, facts: Mapping[Fact, Agreement]) -> Band:
    """What the weight comes to. Given names that are one slip apart may be those of twins: a person has to look."""
    if bits < POSSIBLE:
        return Band.UNLIKELY
    twins = facts.get(Fact.GIVEN_NAME) is Agreement.CLOSE and facts.get(Fact.BIRTH_DATE) is Agreement.SAME
    if bits < PROBABLE or (twins and facts.get(Fact.IDENTIFIER) is not Agreement.SAME):
        return Band.POSSIBLE
    return Band.PROBABLE


def _facts(one: Traits, other: Traits) -> Iterator[_Outcome]:
    if agreement := _compared_identifiers(one, other):
        yield Fact.IDENTIFIER, agreement
    if one.birth_date and other.birth_date:
        yield Fact.BIRTH_DATE, _compared_dates(one.birth_date, other.birth_date)
    yield from _compared_names(one, other)
    if one.phones & other.phones:
        yield Fact.PHONE, Agreement.SAME
    if one.emails & other.emails:
        yield Fact.EMAIL, Agreement.SAME


def _compared_identifiers(one: Traits, other: Traits) -> Agreement | None:
    if one.identifiers & other.identifiers:
        return Agreement.SAME
    systems = {system for system, _ in one.lifelong} & {system for system, _ in other.lifelong}
    return Agreement.DIFFERENT if systems else None


def _lifelong(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, bytes]]:
    for row in rows:
        if (row.get("type") or {}).get("code") in _LIFELONG and row.get("system"):
            yield row["system"], search_terms.identifier(row["system"], row["value"])


# --- birth dates -----------------------------------------------------------------------------------------------------


def _vague(one: str, other: str) -> bool:
    """Whether two dates that agree say little more than the year: 1 January is what is entered for an unknown day."""
    return min(len(one), len(other)) < _FULL_DATE or one.endswith("-01-01")


def _compared_dates(one: str, other: str) -> Agreement:
    if one.startswith(other) or other.startswith(one):
        return Agreement.SAME
    if len(one) != len(other) or len(one) < _FULL_DATE:
        return Agreement.DIFFERENT
    swapped = f"{one[:4]}-{one[8:]}-{one[5:7]}"
    slip = _distance(one.replace("-", ""), other.replace("-", "")) == 1
    generation = abs(int(one[:4]) - int(other[:4])) >= _GENERATION and sorted(one) != sorted(other)
    return Agreement.CLOSE if other == swapped or (slip and not generation) else Agreement.DIFFERENT


# --- names -----------------------------------------------------------------------------------------------------------


def _names(rows: Iterable[Mapping[str, Any]]) -> Iterator[_Name]:
    for row in rows:
        family = next(families(row), "")
        given = tuple(filter(None, (word for part in row.get("given") or () for word in fold(part).split())))
        if not given and not row.get("family"):
            given = tuple(word for word in fold((row.get("text") or "").replace(",", " ")).split() if word != family)
        if family or given:
            yield _Name(family, given)


def _compared_names(one: Traits, other: Traits) -> list[_Outcome]:
    """How the two of their names compare that fit best: people keep former names, and change one of two at a time."""
    compared = [_compared_pair(a, b, one, other) for a, b in product(one.names, other.names)]
    return max(compared, key=lambda facts: sum(_BITS[outcome] for outcome in facts), default=[])


def _compared_pair(a: _Name, b: _Name, one: Traits, other: Traits) -> list[_Outcome]:
    if a.family != b.family and a.family == " ".join(b.given) and b.family == " ".join(a.given):
        return [(Fact.FAMILY_NAME, Agreement.SAME), (Fact.GIVEN_NAME, Agreement.SAME)]  # the wrong way round
    facts = []
    if a.family and b.family:
        facts.append((Fact.FAMILY_NAME, _compared_families(a.family, b.family)))
    if (a.given or one.preferred) and (b.given or other.preferred):
        facts.append((Fact.GIVEN_NAME, _compared_given(a, b, one.preferred, other.preferred)))
    return facts


def _compared_families(one: str, other: str) -> Agreement:
    if one.replace(" ", "") == other.replace(" ", ""):
        return Agreement.SAME
    shared = {word for word in one.split() if len(word) >= _SHORTEST} & set(other.split())
    return Agreement.CLOSE if shared or _slip(one, other) else Agreement.DIFFERENT


def _compared_given(a: _Name, b: _Name, one: str, other: str) -> Agreement:
    """By the first given name and what the person is called; a second given name that is the other's first is close."""
    called, also = {*a.given[:1], one} - {""}, {*b.given[:1], other} - {""}
    if called & also or "".join(a.given) == "".join(b.given) != "":
        return Agreement.SAME
    near = (
        called & set(b.given)
        or also & set(a.given)
        or any(_short(x, y) or _slip(x, y) for x, y in product(called, also))
    )
    return Agreement.CLOSE if near else Agreement.DIFFERENT


def _short(one: str, other: str) -> bool:
    """Whether one is the other's initial, or how it begins, as in Sam and Samantha."""
    less, more = sorted((one, other), key=len)
    return more.startswith(less) and (len(less) == 1 or len(less) >= _NICKNAME)


def _slip(one: str, other: str) -> bool:
    """Whether they are one slip apart, in a long name two."""
    length = min(len(one), len(other))
    allowed = 0 if length < _SHORTEST else 1 if length < _LONG else 2
    return abs(len(one) - len(other)) <= allowed and 0 < _distance(one, other) <= allowed


def _distance(one: str, other: str) -> int:
    """Letters to add, leave out, replace, or swap with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        above, row = row, [i]
        for j, mark in enumerate(other, start=1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != mark))
            if before and j > 1 and letter == other[j - 2] and mark == one[i - 2]:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before = above
    return row[-1]
