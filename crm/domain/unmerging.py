"""Undoing a merge: what is left of either record, as a pure rule over canonical values. Loads and stores nothing.

What came with the merge and was not changed since goes; what was changed since stays, for a person to look at: nobody
can tell any more whom it is about. Prohibitions and restrictions stay on both records, also those of a contact point
that both have, because nobody can tell that either, and a wrong silence is the smaller harm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from crm.domain.codes import TriState
from crm.domain.merging_consents import said_again

__all__ = ["Unmerged", "unmerge"]

Values = Mapping[str, Any]
Entries = Sequence[Any]

_DIRECTIVES: Final = frozenset({"consents", "restrictions", "restricted", "suspensions"})
_OURS: Final = frozenset({"superseded_ids", "merged_into"})
"""What merging itself writes, which nobody has to look at."""


@dataclass(frozen=True, slots=True)
class Unmerged:
    """What changes of the survivor and of the duplicate, by catalogue name, and what was changed since the merge.

    `left` are catalogue names: these fields of the survivor were changed since, and need somebody to look at them.
    """

    survivor: dict[str, Any] = field(repr=False)
    duplicate: dict[str, Any] = field(repr=False)
    left: tuple[str, ...]


def unmerge(before: Values, joined: Values, now: Values, duplicate: Values, at: int, by: str) -> Unmerged:
    """What becomes of a survivor (`before` the merge, as the merge `joined` it, and `now`) and of its `duplicate`.

    All are canonical and whole, by catalogue name; `duplicate` is as it was merged. `at` is microseconds since 1970,
    `by` the subject of whoever undoes the merge. Raises `Invalid` where directives are too many.
    """
    names = {*before, *joined, *now} - _DIRECTIVES
    new = {name: _without(before.get(name), joined.get(name), now.get(name)) for name in names}
    left = [name for name in {*names, *_DIRECTIVES} - _OURS if now.get(name) != joined.get(name)]
    other: dict[str, Any] = {}
    new["consents"] = _directives(_without(*(each.get("consents") for each in (before, joined, now))), now, new, at, by)
    other["consents"] = _directives(duplicate.get("consents"), now, duplicate, at, by)
    new["restrictions"] = now.get("restrictions")
    other["restrictions"] = _restrictions(duplicate.get("restrictions") or (), now.get("restrictions") or ())
    new["restricted"] = bool(now.get("restricted"))
    other["restricted"] = bool(duplicate.get("restricted") or now.get("restricted"))
    theirs = {each["id"] for each in duplicate.get("suspensions") or ()} - _ids(before.get("suspensions") or ())
    new["suspensions"] = [each for each in now.get("suspensions") or () if each["id"] not in theirs] or None
    other["suspensions"] = _as_read(duplicate.get("suspensions") or (), now.get("suspensions") or ())
    other["contact_points"] = _forbidden_too(duplicate, _forbidden_since(joined, now))
    since = _forbidden_since(*({"contact_points": _of_others(each)} for each in (joined, now)))
    other["related_persons"] = [
        {**each, "contact_points": _forbidden_too(each, since)} if each.get("contact_points") else each
        for each in duplicate.get("related_persons") or ()
    ] or None
    return Unmerged(_changed(new, now), _changed(other, duplicate), tuple(sorted(left)))


def _changed(new: Values, old: Values) -> dict[str, Any]:
    silent: tuple[Any, ...] = (None, [])
    return {
        name: value
        for name, value in new.items()
        if value != old.get(name) and not (value in silent and old.get(name) in silent)
    }


def _without(before: Any, joined: Any, now: Any) -> Any:
    """The present value without what the merge brought, as far as nobody changed it since."""
    if now == joined:
        return before
    if joined == before or not all(isinstance(value, list | None) for value in (before, joined, now)):
        return now
    was, became = list(before or ()), list(joined or ())
    kept = [entry for entry in now or () if entry in was or entry not in became]
    known = {entry["id"] for entry in kept if isinstance(entry, Mapping) and "id" in entry}
    replaced = [entry for entry in was if entry not in became and entry not in kept]
    back = [entry for entry in replaced if not isinstance(entry, Mapping) or entry.get("id") not in known]
    return [*kept, *back] or None


def _directives(own: Entries | None, now: Values, holder: Values, at: int, by: str) -> Entries | None:
    """A record's own directives, and the prohibitions that the merged record had besides."""
    kept = list(own or ())
    known = _ids(kept)
    foreign = [each for each in now.get("consents") or () if each["id"] not in known]
    return said_again(kept, foreign, holder, now, at, by) or None


def _ids(entries: Entries) -> set[str]:
    return {each["id"] for each in entries}


def _restrictions(own: Entries, now: Entries) -> Entries | None:
    """A record's own, none of them lifted by the merged record, and those in force that it had besides."""
    known = _ids(own)
    return [*own, *(each for each in now if each["id"] not in known and "lifted_at" not in each)] or None


def _as_read(own: Entries, now: Entries) -> Entries | None:
    """The record's own messages, with what staff who read them in the merged record said of them."""
    read = {each["id"]: each for each in now}
    return [read.get(each["id"], each) for each in own] or None


_PERMISSIONS: Final = ("text_permitted", "voicemail_ok", "detailed_message_ok")


def _end(point: Mapping[str, Any]) -> tuple[Any, ...]:
    """By what merging knows two contact points as the same."""
    return tuple(point.get(member) for member in ("system", "value", "extension"))


def _of_others(values: Values) -> Entries:
    """The contact points of related persons."""
    return [point for person in values.get("related_persons") or () for point in person.get("contact_points") or ()]


def _forbids(points: Entries) -> dict[tuple[Any, ...], dict[str, Any]]:
    """What these contact points forbid, and which of them fail, as members of a point, by number or mailbox."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for point in points:
        strict = {member: point[member] for member in _PERMISSIONS if point.get(member) == TriState.NO}
        strict |= {"undeliverable": point["undeliverable"]} if "undeliverable" in point else {}
        found.setdefault(_end(point), {}).update(strict)
    return found


def _forbidden_since(joined: Values, now: Values) -> dict[tuple[Any, ...], dict[str, Any]]:
    """That of it which was not so when the records had been merged."""
    then = _forbids(joined.get("contact_points") or ())
    return {
        end: {member: word for member, word in strict.items() if then.get(end, {}).get(member) != word}
        for end, strict in _forbids(now.get("contact_points") or ()).items()
    }


def _forbidden_too(holder: Values, since: Mapping[tuple[Any, ...], dict[str, Any]]) -> Entries | None:
    """The contact points of a record or person, with what has been forbidden of them since."""
    return [{**point, **since.get(_end(point), {})} for point in holder.get("contact_points") or ()] or None
