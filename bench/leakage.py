"""What a stolen index tells without any key: the part `leakage` of `make bench`.

A thief has the index column and knows exactly how often each name occurs, which no real thief does. He counts: the
commonest value must be the commonest term. Rank by rank he gives every value a name, and everybody who has that name
indeed is known to him. The people are synthetic, because no list of names is shipped: surnames follow 1 / (rank + 5) to
the power 0.85 over 150,000 names (the commonest has 0.8 %), given names 1 / (rank + 12) to the power 1.1 over 5,000.
One in seven has two surnames, one in three a second given name, one in eight is called otherwise, one in ten had
another surname before: so a person has one to six terms in the index of whole names, or more where all of that meets.
"""

import random
import statistics
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import Any

from crm.catalogue import INDEXES, Index
from crm.crypto import index
from crm.domain.search_terms import fold

FAMILIES = list(accumulate(1 / (rank + 5) ** 0.85 for rank in range(150_000)))
GIVEN = list(accumulate(1 / (rank + 12) ** 1.1 for rank in range(5_000)))
KNOWLEDGE = 500_000
"""People of the same kind by whom the thief learns how often each term occurs."""
GUESSES = 20_000
"""Ranks that he tries; further down, counts are one or two, and their order means nothing."""
TRIED = 500
"""Searches by which it is told how many rows one brings."""

Person = dict[str, Any]


def _word(kind: str, rank: int) -> str:
    syllables = [kind]
    for _ in range(4):
        rank, part = divmod(rank, 50)
        syllables.append("bdfgklmnpr"[part // 5] + "aeiou"[part % 5])
    return "".join(syllables)


def people(seed: int) -> Iterator[Person]:
    """People without end, the same for the same seed."""
    dice = random.Random(seed)
    families, given = range(len(FAMILIES)), range(len(GIVEN))

    def family() -> str:
        return _word("s", dice.choices(families, cum_weights=FAMILIES)[0])

    def first() -> str:
        return _word("g", dice.choices(given, cum_weights=GIVEN)[0])

    while True:
        surname = family() if dice.random() > 1 / 7 else f"{family()} {family()}"
        called = [first()] if dice.random() > 1 / 3 else [first(), first()]
        names = [{"use": "OFFICIAL", "family": surname, "given": called}]
        if dice.random() < 1 / 10:
            names.append({"use": "MAIDEN", "family": family(), "given": called})
        born = f"{dice.randrange(1930, 2020)}-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}"
        person: Person = {"names": names, "birth_date": born}
        if dice.random() < 1 / 8:
            person["preferred_name"] = first()
        yield person


def _surnames(values: Mapping[str, Any]) -> set[bytes]:
    return {fold(name["family"]).encode() for name in values["names"]}


def _of(name: str) -> Callable[[Mapping[str, Any]], set[bytes]]:
    return next(entry.terms for entry in INDEXES if entry.name == name)


CASES = {
    "surname alone, whole": Index(90, "family", 256, ("names",), _surnames),
    "surname alone, 12 bits": Index(91, "family", 12, ("names",), _surnames),
    "surname alone, 8 bits": Index(92, "family", 8, ("names",), _surnames),
    "full_name, whole": Index(93, "full_name", 256, ("names",), _of("full_name")),
    "full_name, 20 bits (ours)": next(entry for entry in INDEXES if entry.name == "full_name"),
    "family_birth_date, 128 bits (ours)": next(entry for entry in INDEXES if entry.name == "family_birth_date"),
}


@dataclass(frozen=True)
class Taken:
    """Shares of people who are known to the thief, terms of a person, and rows that a search brings."""

    top_ten: float
    everybody: float
    terms: float
    most_terms: int
    rows: float


def attack(entry: Index, count: int) -> Taken:
    """What the thief makes of the index of so many people."""
    seen = Counter(term for one in islice(people(2), KNOWLEDGE) for term in entry.terms(one))
    guesses = [term for term, _ in seen.most_common(GUESSES)]
    hmac = index.started(bytes(32), index.search_info("bench", "patient", entry.name))
    mine = [entry.terms(one) for one in islice(people(1), count)]
    value = {term: index.value(hmac, term, entry.bits) for terms in mine for term in terms}
    holders = Counter(each for terms in mine for each in {value[term] for term in terms})
    named = dict(zip((each for each, _ in holders.most_common(GUESSES)), guesses, strict=False))
    right = [any(named.get(value[term]) == term for term in terms) for terms in mine]
    commonest = set(guesses[:10])
    known = [hit for hit, terms in zip(right, mine, strict=True) if terms & commonest]
    asked = random.Random(3).sample(sorted(value), min(TRIED, len(value)))
    return Taken(
        sum(known) / len(known) if known else 0.0,
        sum(right) / count,
        statistics.fmean(map(len, mine)),
        max(map(len, mine)),
        statistics.fmean(holders[value[term]] for term in asked),
    )


def show(count: int) -> None:
    """Prints a line for each index."""
    print(f"\na thief without a key counts the index values of {count} synthetic people:")
    print(f"{'index':36}{'holders of the ten':>20}{'everybody':>12}{'terms a':>10}{'at':>6}{'rows a':>9}")
    print(f"{'':36}{'commonest, known':>20}{'known':>12}{'person':>10}{'most':>6}{'search':>9}")
    for name, entry in CASES.items():
        taken = attack(entry, count)
        print(
            f"{name:36}{taken.top_ten:>19.1%} {taken.everybody:>11.3%} {taken.terms:>9.2f} {taken.most_terms:>5}"
            f" {taken.rows:>8.1f}",
            flush=True,
        )
