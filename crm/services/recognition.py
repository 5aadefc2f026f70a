"""Owns the rule by which an incoming record is recognised as a stored patient, or as nobody yet. Pure: reads no store.

docs/decisions/0012 gives the reasons. The service looks candidates up and asks here; taking two people for one is the
worse mistake, so every doubt makes a patient of its own or a refusal.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, Self

from crm.domain.search_terms import fold

__all__ = ["Candidate", "Incoming", "Known", "Obstacle", "Pair", "Person", "named", "recognise"]

Pair = tuple[str, str]
"""An identifier: the system that gives it out, and its value."""

_PAST_USES = frozenset({"OLD", "TEMP"})


@dataclass(frozen=True, slots=True)
class Person:
    """What tells people apart: identifiers in use (system, value), folded family names, birth date as far as known."""

    identifiers: frozenset[Pair] = field(default=frozenset(), repr=False)
    families: frozenset[str] = field(default=frozenset(), repr=False)
    birth_date: str | None = field(default=None, repr=False)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The person of canonical `values` by catalogue name. Old and temporary identifiers do not count."""
        identifiers = (entry for entry in values.get("identifiers") or () if entry.get("use") not in _PAST_USES)
        families = (fold(name.get("family") or "") for name in values.get("names") or ())
        return cls(
            frozenset((entry["system"].strip(), entry["value"].strip()) for entry in identifiers if "system" in entry),
            frozenset(filter(None, families)),
            values.get("birth_date"),
        )

    def contradicts(self, other: Self) -> bool:
        """Whether both family name and birth date, known on both sides, say that these are two people."""
        dates = self.birth_date and other.birth_date and not self._same_birth(other)
        return bool(dates and self.families and other.families and self.families.isdisjoint(other.families))

    def agrees(self, other: Self) -> bool:
        """Whether a family name or the birth date is the same."""
        return self._same_birth(other) or not self.families.isdisjoint(other.families)

    def nameless(self) -> bool:
        """Whether nothing is known by which it could agree with another."""
        return not self.families and not self.birth_date

    def _same_birth(self, other: Self) -> bool:
        """Whether the dates are equal as far as both are known."""
        mine, theirs = self.birth_date or "", other.birth_date or ""
        return bool(mine and theirs) and (mine.startswith(theirs) or theirs.startswith(mine))


@dataclass(frozen=True, slots=True)
class Incoming:
    """Everything by which a record from elsewhere may be recognised.

    `source` names the system that sent it; `heed_id` is set when it says that it is our own export; `source_id` is its
    id there; `identifiers` are its business identifiers in use, the primary one first; `digest_material` is the SHA-256
    of its content in canonical form, or of all that this run said under its key so far; it is stored only under a keyed
    digest. `beside` is set for a record that is about the person and does not describe them: our own export of it has
    nothing by which it could agree with them.
    """

    source: str
    heed_id: str | None
    source_id: str | None
    identifiers: tuple[Pair, ...] = field(repr=False)
    digest_material: bytes = field(repr=False)
    person: Person = Person()
    beside: bool = False

    @property
    def key(self) -> str:
        """How the source itself tells its records apart: the id, else the primary identifier, else the content.

        The last two cannot be mistaken for an id: FHIR 4.0.1 allows no colon there.
        """
        if self.source_id is not None:
            return self.source_id
        if self.identifiers:
            # The length in front, so that no two pairs look alike.
            system, value = self.identifiers[0]
            pair = f"{len(system)}:{system}{value}".encode("utf-8", "surrogatepass")
            return f"identifier:{hashlib.sha256(pair).hexdigest()}"
        return f"content:{self.digest_material.hex()}"

    @property
    def source_record(self) -> dict[str, str]:
        """The key as a patient's record keeps it (`crm.domain.source_records`)."""
        return {"source": self.source, "id": self.key}


class Obstacle(StrEnum):
    """Why a record cannot be stored although it is about somebody we know."""

    IDENTITY_CONFLICT = "identity_conflict"
    PATIENT_MERGED = "patient_merged"
    PATIENT_ERASED = "patient_erased"
    PATIENT_DAMAGED = "patient_damaged"


@dataclass(frozen=True, slots=True)
class Known:
    """The stored patient that an incoming record is; `digest` is what its key last said, empty if it never did.

    With an `obstacle` there is no such patient (`patient_id` is empty), and none may be made.
    """

    patient_id: str
    version: int
    digest: bytes = field(repr=False)
    restricted: bool = False
    obstacle: Obstacle | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A stored patient whom an incoming record may be about.

    `named`: the patient's own sealed record says that this source brought it under this key; `said`: what the source
    now says is word for word what it last said of this patient. `obstacle` is what stands in the way of changing the
    patient; `person` is None where nothing can be opened.
    """

    patient_id: str
    person: Person | None
    named: bool = False
    said: bool = False
    obstacle: Obstacle | None = None


class _Kinship(IntEnum):
    """How much speaks for it that record and patient are one person."""

    NONE = 0
    NAMED = 1  # the same key, and nothing against it
    AGREES = 2  # and a family name or the birth date is the same
    ALIKE = 3  # and everything that tells people apart is the same
    SHARED = 4  # and they share an identifier
    SAID = 5  # the very words
    OWN = 6  # our own export


def recognise(incoming: Incoming, candidates: Sequence[Candidate]) -> Candidate | Obstacle | None:
    """The one patient whom `incoming` is about; None: nobody, or nobody in particular; or why it has to be refused."""
    kin = [(_kinship(incoming, one, one.person), one) for one in candidates if one.person is not None]
    best = max((degree for degree, _ in kin), default=_Kinship.NONE)
    if best < _Kinship.SHARED:
        # Whoever cannot be opened may be the one.
        for one in candidates:
            if one.person is None:
                return one.obstacle
    if best is _Kinship.NONE:
        return None
    found = [one for degree, one in kin if degree is best]
    found = [one for one in found if one.obstacle is None] or found
    if len(found) > 1:
        return Obstacle.IDENTITY_CONFLICT if best >= _Kinship.ALIKE else None
    return found[0].obstacle or found[0]


def _kinship(incoming: Incoming, candidate: Candidate, stored: Person) -> _Kinship:
    mine = incoming.person
    if candidate.patient_id == incoming.heed_id and (incoming.beside or _came_from_here(mine, stored)):
        return _Kinship.OWN
    if not candidate.named:
        return _Kinship.NONE
    if candidate.said:
        return _Kinship.SAID
    if not mine.identifiers.isdisjoint(stored.identifiers):
        # Without a resource id the identifier is all there is, and `9999999999` is given to many.
        stranger = incoming.source_id is None and mine.contradicts(stored)
        return _Kinship.NONE if stranger else _Kinship.SHARED
    if (mine.identifiers and stored.identifiers) or mine.contradicts(stored):
        return _Kinship.NONE
    if mine == stored:
        return _Kinship.ALIKE
    return _Kinship.AGREES if mine.agrees(stored) else _Kinship.NAMED


def _came_from_here(mine: Person, stored: Person) -> bool:
    """Whether a record that claims to be our own export can be one: anybody may write our name and an id."""
    if mine.identifiers or stored.identifiers:
        return not mine.identifiers.isdisjoint(stored.identifiers)
    if mine.contradicts(stored):
        return False
    return mine.agrees(stored) or (mine.nameless() and stored.nameless())


def named(values: Mapping[str, Any], incoming: Incoming) -> bool:
    """Whether `values` of a patient say that this source brought them under this key."""
    entries: Iterable[Mapping[str, str]] = values.get("source_records") or ()
    return incoming.source_record in entries
