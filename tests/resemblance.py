"""People who are registered twice, with the mistakes that happen at a desk, among families who share much."""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

from crm.catalogue import INDEXES
from crm.domain.likeness import Band, Traits, compare

__all__ = ["SLIPS", "Again", "pairs", "registered_twice"]

Values = dict[str, Any]
Slip = Callable[[Values, random.Random], None]

_NAMES = {"identifier", "phone", "email", "full_name", "family_birth_date"}
_BLOCKS = [index for index in INDEXES if index.name in _NAMES]
_CROWD = 50


def _slipped(word: str, rng: random.Random) -> str:
    """The word with two neighbours swapped, or a letter lost."""
    if len(word) < 4:
        return word
    at = rng.randrange(len(word) - 2)
    return word[:at] + word[at + 1] + word[at] + word[at + 2 :] if rng.random() < 0.5 else word[:at] + word[at + 1 :]


def _first(values: Values) -> dict[str, Any]:
    name = dict(values["names"][0])
    values["names"] = [name]
    return name


def _given(values: Values, rng: random.Random) -> None:
    name = _first(values)
    name["given"] = [_slipped(word, rng) for word in name.get("given") or ()]
    name.pop("text", None)


def _family(values: Values, rng: random.Random) -> None:
    name = _first(values)
    name["family"] = _slipped(name.get("family") or "", rng)
    name.pop("text", None)


def _swapped(values: Values, rng: random.Random) -> None:
    name = _first(values)
    name["family"], name["given"] = " ".join(name.get("given") or ()), [name.get("family") or ""]
    name.pop("text", None)


def _plain(values: Values, rng: random.Random) -> None:
    name = _first(values)
    ascii_only = {"family": name.get("family", ""), "given": " ".join(name.get("given") or ())}
    name["family"] = ascii_only["family"].upper().encode("ascii", "ignore").decode() or ascii_only["family"]
    name["given"] = ascii_only["given"].upper().split()
    name.pop("text", None)


def _called(values: Values, rng: random.Random) -> None:
    name = _first(values)
    name["given"] = [values.pop("preferred_name")] if values.get("preferred_name") else name.get("given", [])[:1]
    name.pop("text", None)


def _married(values: Values, rng: random.Random) -> None:
    name = _first(values)
    name["family"] = rng.choice(["Lindqvist", "Abara", "Castellanos", "Yilmaz"])
    name.pop("text", None)


def _day_and_month(values: Values, rng: random.Random) -> None:
    year, month, day = values["birth_date"].split("-")
    if int(day) <= 12:
        values["birth_date"] = f"{year}-{day}-{month}"


def _digit(values: Values, rng: random.Random) -> None:
    date = values["birth_date"]
    values["birth_date"] = date[:-1] + str((int(date[-1]) + rng.randrange(1, 9)) % 10 or 1)


def _nothing(values: Values, rng: random.Random) -> None:
    """Registered anew by somebody who did not search."""


SLIPS: Sequence[tuple[str, Slip, int]] = (
    ("none", _nothing, 30),
    ("letters of the given name", _given, 14),
    ("letters of the family name", _family, 10),
    ("names the wrong way round", _swapped, 6),
    ("capitals without accents", _plain, 8),
    ("short name", _called, 10),
    ("another family name", _married, 8),
    ("day and month", _day_and_month, 7),
    ("a digit of the birth date", _digit, 7),
)
"""What goes wrong, and how often of a hundred: assumptions, see `docs/duplicates.md`."""


class Again(NamedTuple):
    """A second registration: the place of the first one, and what went wrong."""

    first: int
    slip: str


def registered_twice(
    people: Iterable[Mapping[str, Any]], every: int, seed: int
) -> tuple[list[Values], dict[int, Again]]:
    """All of `people`, and one in `every` again at the end; beside them these second registrations by their places.

    They have no hospital number of the first, and of the national number, telephone numbers and mailboxes half.
    """
    rng = random.Random(seed)
    everybody = [dict(person) for person in people]
    known = [
        place for place, one in enumerate(everybody) if len(one.get("birth_date") or "") == 10 and one.get("names")
    ]
    again: dict[int, Again] = {}
    for place in rng.sample(known, len(everybody) // every):
        second = dict(everybody[place])
        numbers, points = second.get("identifiers") or [], second.get("contact_points") or []
        second["identifiers"] = [row for row in numbers if "hospital" not in row["system"] and rng.random() < 0.5]
        second["contact_points"] = [row for row in points if rng.random() < 0.5]
        name, slip, _ = rng.choices(SLIPS, weights=[weight for _, _, weight in SLIPS])[0]
        slip(second, rng)
        again[len(everybody)] = Again(place, name)
        everybody.append(second)
    return everybody, again


def pairs(everybody: Sequence[Mapping[str, Any]]) -> dict[tuple[int, int], Band]:
    """The pairs that indexes bring together and that are alike, by their places: the sweep without a store."""
    holders: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for place, values in enumerate(everybody):
        for index in _BLOCKS:
            for term in index.terms(values):
                holders[index.code, term].append(place)
    near = {pair for places in holders.values() if len(places) <= _CROWD for pair in combinations(places, 2)}
    traits = [Traits.of(values) for values in everybody]
    found = {pair: compare(traits[pair[0]], traits[pair[1]]).band for pair in near}
    return {pair: band for pair, band in found.items() if band is not Band.UNLIKELY}
