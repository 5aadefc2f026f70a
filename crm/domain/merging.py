"""Merging: what two records about one person become. A pure rule over canonical values; loads and stores nothing.

Lists are united, and of two entries about the same thing one is left. Of single values, and of such entries, the word
stands that `precedence` says is the higher or the newer. What protects the person is never weighed like that: the
stricter of both holds (`merging_consents` for directives). docs/merging.md has the table.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

from auth.vocabulary import Group
from crm.domain.codes import TriState
from crm.domain.merging_consents import joined
from crm.domain.precedence import Note, Rule, SourceRules, wins
from crm.domain.restrictions import withholds
from crm.errors import Invalid

__all__ = ["RULED", "Choice", "Merged", "Side", "merge"]

Values = Mapping[str, Any]
Entry = Mapping[str, Any]
Key = Callable[[Any], object]


class Side(StrEnum):
    """Which record a value is from."""

    SURVIVOR = "SURVIVOR"
    DUPLICATE = "DUPLICATE"


class Choice(NamedTuple):
    """Both records had a word about the field `name`, and not the same: whose was taken, and by which rule."""

    name: str
    taken: Side
    rule: Rule


@dataclass(frozen=True, slots=True)
class Merged:
    """What changes of the survivor, by catalogue name; whose note of provenance each changed group has; and why."""

    values: dict[str, Any] = field(repr=False)
    sides: Mapping[Group, Side]
    choices: tuple[Choice, ...]


_SINGLE: Final = (
    ("preferred_name",), ("birth_date",), ("interpreter_needed",), ("time_zone",), ("communication_style",),
    ("instructions",), ("appointment_preferences",), ("case_manager",), ("pronouns",), ("administrative_gender",),
    ("religion", "religion_code"),
)  # fmt: skip
"""Fields of which one value stands, and those that are only true together."""


def _whole(entry: Any) -> object:
    return _bare(entry) if isinstance(entry, Mapping) else entry


def _of(*members: str) -> Key:
    return lambda entry: tuple(str(entry.get(member)) for member in members)


_UNITED: Final[Mapping[str, Key]] = {
    "names": _whole,
    "identifiers": lambda entry: (
        (entry["system"].strip(), entry["value"].strip()) if "system" in entry else _whole(entry)
    ),
    "links": _whole,
    "source_records": _of("source", "id"),
    "sensitivity": _whole,
    "contact_points": _of("system", "value", "extension"),
    "addresses": _whole,
    "related_persons": _whole,
    "languages": _of("tag", "modes"),
    "accessible_formats": _whole,
    "access_needs": _of("kind", "text"),
    "cultural_need_handling": _of("handling"),
    "channel_preferences": _of("purpose"),
    "care_team": _whole,
}
"""Lists, and by what two entries are about the same thing."""

_STRICT: Final = ("restrictions", "suspensions")
"""Lists of what protects the person; an entry of either record stays, under its id."""

RULED: Final = frozenset(
    {name for names in _SINGLE for name in names} | _UNITED.keys() | {*_STRICT}
    | {"active", "deceased", "deceased_at", "contact_windows", "consents", "confidential_communication"}
    | {"cultural_need_detail", "restricted"}
)  # fmt: skip
"""Every field of which this module says what becomes of it."""


def merge(
    survivor: Values,
    duplicate: Values,
    notes: Callable[[Group, Side], Note | None],
    group_of: Callable[[str], Group],
    rules: SourceRules,
    now: int,
    by: str,
) -> Merged:
    """The values of `survivor` after it took in `duplicate`, as far as they change; the same for the same arguments.

    Both are canonical and whole, by catalogue name; of fields that are not to be touched neither has a value. `notes`
    gives the provenance of a group in one of the records. `now` is microseconds since 1970, `by` the subject of who
    merges. Raises `Invalid` where a person has to settle something before.
    """
    return _Merge(survivor, duplicate, notes, group_of, rules).done(now, by)


class _Merge:
    """One merge on its way; see `merge`."""

    def __init__(
        self,
        survivor: Values,
        duplicate: Values,
        notes: Callable[[Group, Side], Note | None],
        group_of: Callable[[str], Group],
        rules: SourceRules,
    ) -> None:
        self._old = {Side.SURVIVOR: _said(survivor), Side.DUPLICATE: _said(duplicate)}
        self._notes = notes
        self._group_of = group_of
        self._rules = rules
        self._choices: list[Choice] = []
        self._renamed: dict[str, str] = {}

    def done(self, now: int, by: str) -> Merged:
        mine, theirs = self._old[Side.SURVIVOR], self._old[Side.DUPLICATE]
        new: dict[str, Any] = {}
        for names in _SINGLE:
            new |= self._single(names)
        for name, key in _UNITED.items():
            new[name] = self._united(name, key)
        new["cultural_need_detail"] = self._details()
        new |= self._death() | {"active": _in_use(mine, theirs), "contact_windows": self._windows()}
        for name in _STRICT:
            new[name] = _side_by_side(mine.get(name, ()), theirs.get(name, ()))
        new["confidential_communication"] = _one_confidence(mine, theirs)
        new["restricted"] = bool(
            mine.get("restricted") or theirs.get("restricted") or withholds(new["restrictions"] or ())
        )
        new["consents"] = joined(mine, theirs, self._renamed, new["confidential_communication"], now, by)
        changed = {name: value for name, value in new.items() if value != mine.get(name)}
        return Merged(changed, self._sides(changed), tuple(sorted(self._choices)))

    def _winner(self, name: str) -> tuple[Side, Rule]:
        """Whose word stands where only one can."""
        group = self._group_of(name)
        mine, theirs = self._notes(group, Side.SURVIVOR), self._notes(group, Side.DUPLICATE)
        if theirs is None:
            return Side.SURVIVOR, Rule.ONLY_WORD
        verdict = wins(group, mine, theirs, self._rules)
        return Side.DUPLICATE if verdict.takes else Side.SURVIVOR, verdict.rule

    def _single(self, names: tuple[str, ...]) -> dict[str, Any]:
        mine, theirs = ({name: self._old[side].get(name) for name in names} for side in Side)
        if all(_silent(value) for value in theirs.values()) or mine == theirs:
            return mine
        if all(_silent(value) for value in mine.values()):
            return theirs
        side, rule = self._winner(names[0])
        self._choices += [Choice(name, side, rule) for name in names if mine[name] != theirs[name]]
        return mine if side is Side.SURVIVOR else theirs

    def _united(self, name: str, key: Key) -> list[Any] | None:
        """Both lists without repetitions: those of the higher word first, under the survivor's ids."""
        mine, theirs = self._old[Side.SURVIVOR].get(name), self._old[Side.DUPLICATE].get(name)
        if not mine or not theirs:
            return list(mine or theirs or ()) or None
        side, rule = self._winner(name)
        twins: dict[object, Any] = {}
        for entry in mine:
            twins.setdefault(_hashed(key(entry)), entry)
        met: set[object] = set()
        new, kept = [], {id(entry): entry for entry in mine}
        for entry in theirs:
            mark = _hashed(key(entry))
            twin = twins.get(mark)
            if twin is None:
                new.append(entry)
            elif mark not in met:
                met.add(mark)
                kept[id(twin)] = self._one(name, twin, entry, side, rule)
        stays = list(kept.values())
        first, last = (stays, new) if side is Side.SURVIVOR else (new, stays)
        return _ranked(first, last)

    def _one(self, name: str, mine: Any, theirs: Any, side: Side, rule: Rule) -> Any:
        """What is left of two entries about the same thing."""
        if not isinstance(mine, Mapping) or not isinstance(theirs, Mapping):
            return mine
        if "id" in mine and "id" in theirs:
            self._rename(mine, theirs)
        if _bare(mine) != _bare(theirs):
            self._choices.append(Choice(name, side, rule))
        taken = {**(mine if side is Side.SURVIVOR else theirs)}
        taken |= {"id": mine["id"]} if "id" in mine else {}
        return _strict_point(taken, mine, theirs) if name == "contact_points" else taken

    def _rename(self, mine: Entry, theirs: Entry) -> None:
        """Remembers that what spoke of the other record's entry is about ours from now on."""
        self._renamed[theirs["id"]] = mine["id"]
        for point, twin in zip(theirs.get("contact_points", ()), mine.get("contact_points", ()), strict=False):
            self._renamed[point["id"]] = twin["id"]

    def _details(self) -> list[Any] | None:
        """Why a cultural need is there, for each need that is left."""
        mine = list(self._old[Side.SURVIVOR].get("cultural_need_detail") or ())
        known = {entry["id"] for entry in mine}
        for entry in self._old[Side.DUPLICATE].get("cultural_need_detail") or ():
            one = {**entry, "id": self._renamed.get(entry["id"], entry["id"])}
            if one["id"] not in known:
                mine.append(one)
        return mine or None

    def _death(self) -> dict[str, Any]:
        """Where one of them says that the person has died, that stands: nobody writes to the dead."""
        pair = ("deceased", "deceased_at")
        mine, theirs = self._old[Side.SURVIVOR], self._old[Side.DUPLICATE]
        if _dead(mine) == _dead(theirs):
            return self._single(pair)
        return {name: (mine if _dead(mine) else theirs).get(name) for name in pair}

    def _windows(self) -> list[Any] | None:
        """When not to contact holds of both; when to, of the one whose word is higher."""
        mine, theirs = (list(self._old[side].get("contact_windows") or ()) for side in Side)
        wanted = {Side.SURVIVOR: _loud(mine), Side.DUPLICATE: _loud(theirs)}
        side = Side.SURVIVOR if wanted[Side.SURVIVOR] else Side.DUPLICATE
        if all(wanted.values()) and wanted[Side.SURVIVOR] != wanted[Side.DUPLICATE]:
            side, rule = self._winner("contact_windows")
            self._choices.append(Choice("contact_windows", side, rule))
        quiet = [window for window in mine if window.get("quiet")]
        quiet += [window for window in theirs if window.get("quiet") and window not in quiet]
        found = [*wanted[side], *quiet]
        return (mine if found == [*_loud(mine), *(w for w in mine if w.get("quiet"))] else found) or None

    def _sides(self, changed: Iterable[str]) -> dict[Group, Side]:
        sides: dict[Group, Side] = {}
        for name in changed:
            sides.setdefault(self._group_of(name), self._winner(name)[0])
        return sides


def _said(values: Values) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None and value != []}


def _silent(value: Any) -> bool:
    return value is None or value == TriState.UNKNOWN


def _bare(entry: Entry) -> dict[str, Any]:
    """An entry without the ids that only say which one it is."""
    bare = {member: value for member, value in entry.items() if member != "id"}
    if "contact_points" in bare:
        bare["contact_points"] = [_bare(point) for point in bare["contact_points"]]
    return bare


def _hashed(key: object) -> object:
    return repr(sorted(key.items())) if isinstance(key, dict) else key


def _ranked(first: Sequence[Any], last: Sequence[Any]) -> list[Any]:
    """One list; what is ranked in `last` comes behind what is ranked in `first`."""
    above = max((entry["rank"] for entry in first if isinstance(entry, Mapping) and "rank" in entry), default=0)
    return [
        *first,
        *(
            {**entry, "rank": entry["rank"] + above} if isinstance(entry, Mapping) and "rank" in entry else entry
            for entry in last
        ),
    ]


_PERMISSIONS: Final = ("text_permitted", "voicemail_ok", "detailed_message_ok")


def _strict_point(taken: dict[str, Any], mine: Entry, theirs: Entry) -> dict[str, Any]:
    """One contact point of two: what one of them forbids stays forbidden, and that it fails is not forgotten."""
    for member in _PERMISSIONS:
        said = {mine.get(member, TriState.UNKNOWN), theirs.get(member, TriState.UNKNOWN)}
        taken[member] = next(
            (word.value for word in (TriState.NO, TriState.YES) if word in said), TriState.UNKNOWN.value
        )
    both = [point for point in (taken, mine, theirs) if point.get("verified")]
    if both:
        taken |= {"verified": True, "verification": both[0]["verification"]}
    failed = [point["undeliverable"] for point in (taken, mine, theirs) if "undeliverable" in point]
    if failed:
        taken["undeliverable"] = failed[0]
    return taken


def _dead(values: Values) -> bool:
    deceased = values.get("deceased")
    return bool(deceased) or (deceased is None and values.get("deceased_at") is not None)


def _in_use(mine: Values, theirs: Values) -> bool | None:
    """Of the survivor alone: it is said of a record, and the other one goes out of use by being merged."""
    return mine["active"] if "active" in mine else True if theirs.get("active") else None


def _loud(windows: Sequence[Entry]) -> list[Entry]:
    return [window for window in windows if not window.get("quiet")]


def _side_by_side(mine: Sequence[Entry], theirs: Sequence[Entry]) -> list[Entry] | None:
    known = {entry["id"] for entry in mine}
    return [*mine, *(entry for entry in theirs if entry["id"] not in known)] or None


def _one_confidence(mine: Values, theirs: Values) -> Any:
    """Where the person asked to be reached instead. Two answers to that are for a person to settle, not for a rule."""
    ours, other = (values.get("confidential_communication") for values in (mine, theirs))
    if ours and other and _request(ours) != _request(other):
        raise Invalid("input.duplicateId", "confidential_communication_conflict")
    return ours or other


def _request(communication: Entry) -> dict[str, Any]:
    return {name: value for name, value in communication.items() if name not in {"id", "set_at", "set_by"}}
