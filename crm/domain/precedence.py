"""Source precedence: whose word about a field group stands, as a pure rule. Knows no record, and changes none.

Persons who change a record through the API have seen the version that they change, so their word is taken whoever spoke
before. Feeds (imports, and programs that write through the API) bring what some system holds, often without anybody
having asked the person: they do not overwrite what a higher voice said. The order is configured; by default the
patient's own word comes first, then that of who acts for them, then staff, then systems. Among equals the newest
stands.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, NamedTuple

from auth.roles import PERSONAL, STAFF, Role
from auth.vocabulary import Group

__all__ = ["DEFAULT_ORDER", "Note", "Rule", "SourceRules", "Verdict", "Voice", "may_replace", "voice_of", "wins"]


class Voice(StrEnum):
    """Who spoke: the patient, somebody who acts for them, a member of staff, or a program."""

    PATIENT = "PATIENT"
    PROXY = "PROXY"
    STAFF = "STAFF"
    SYSTEM = "SYSTEM"


class Rule(StrEnum):
    """Why a word was taken, or why the one before it stands."""

    ONLY_WORD = "ONLY_WORD"
    IN_PERSON = "IN_PERSON"
    HIGHER_SOURCE = "HIGHER_SOURCE"
    NEWEST = "NEWEST"


class Note(NamedTuple):
    """One word about a field group: who spoke, through which channel (`api` or `import`), which system, and when.

    `recorded_at` is fixed-width RFC 3339 in UTC, so that texts compare as times do. A system is named `channel:source`,
    because applications and imported sources both choose their own names.
    """

    voice: Voice
    channel: str
    source: str
    recorded_at: str

    @property
    def system(self) -> str:
        """The name of the system in an order of sources."""
        return f"{self.channel}:{self.source}"


class Verdict(NamedTuple):
    """Whether the new word is taken, and by which rule that, or the opposite, follows."""

    takes: bool
    rule: Rule


DEFAULT_ORDER: Final[tuple[str, ...]] = tuple(voice.value for voice in Voice)
"""The highest first."""


@dataclass(frozen=True, slots=True)
class SourceRules:
    """The order of sources, the highest first, and for single groups another one.

    An order names voices and systems (`import:pas`, `api:booking`). A system that it does not name has the rank of
    `SYSTEM`; voices that it does not name follow at the end, in the default order. Naming a system ranks what that
    program says for itself: what a person enters in an application is the person's word.
    """

    order: tuple[str, ...] = DEFAULT_ORDER
    groups: Mapping[Group, tuple[str, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def rank(self, group: Group, note: Note) -> int:
        """The place of a word in the order of its group; 0 is the highest."""
        said = self.groups.get(group, self.order)
        order = (*said, *(voice for voice in DEFAULT_ORDER if voice not in said))
        named = note.system if note.voice is Voice.SYSTEM else note.voice.value
        return order.index(named if named in order else note.voice.value)


def voice_of(roles: frozenset[Role]) -> Voice:
    """Who speaks, by the roles of the token: a program that also has a role of staff is a program."""
    if roles & PERSONAL:
        return Voice.PATIENT if Role.PATIENT in roles else Voice.PROXY
    return Voice.STAFF if roles and roles <= STAFF else Voice.SYSTEM


def wins(group: Group, stored: Note | None, new: Note, rules: SourceRules) -> Verdict:
    """Which of two words about a group stands by rank and age alone; at equal age the stored one.

    For whoever has to choose between two words that nobody compared, such as a merge. See `may_replace` for a change.
    """
    if stored is None:
        return Verdict(True, Rule.ONLY_WORD)
    before, after = rules.rank(group, stored), rules.rank(group, new)
    if before != after:
        return Verdict(after < before, Rule.HIGHER_SOURCE)
    return Verdict(new.recorded_at > stored.recorded_at, Rule.NEWEST)


def may_replace(group: Group, stored: Note | None, new: Note, rules: SourceRules) -> Verdict:
    """Whether a change that is made now is taken: of a person always, of a feed by `wins`.

    A feed may correct what it said itself even where the clock went back between the two.
    """
    if new.voice is not Voice.SYSTEM:
        return Verdict(True, Rule.IN_PERSON)
    verdict = wins(group, stored, new, rules)
    return Verdict(True, Rule.NEWEST) if verdict.rule is Rule.NEWEST else verdict
