"""Merging two records about one person into one, undoing that, and showing what was merged.

The rule is `crm.domain.merging`: who merges chooses the records, not the values. Both records, what hangs at them, the
log and the feed change in one transaction.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from uuid_utils import uuid7

from auth import policy
from auth.actor import Actor
from auth.policy import Action, Group, ReadGrant
from crm.audit.event import Act, recorded_subject, rfc3339
from crm.catalogue import BY_NAME, FIELDS
from crm.domain import merging, values
from crm.domain.merging import Merged, Side
from crm.domain.precedence import Note, SourceRules
from crm.domain.superseding import MERGED, MergeReason, UnmergeReason
from crm.domain.unmerging import unmerge
from crm.errors import Erased, Invalid, NotFound, RestrictedRecord, VersionConflict, VersionRequired
from crm.services import conflicts
from crm.services.editing import system_of
from crm.services.held_keys import require_to_change
from crm.services.profiles import Profile, Profiles, view
from crm.services.request import Request
from crm.store.changing import Turn
from crm.store.context import Context
from crm.store.feed import ChangeKind
from crm.store.merges import Merge, Taken
from crm.store.provenance import stored
from crm.store.record import Record
from crm.store.retries import Effect, Kind
from crm.store.unit import Store, Unit, WritingUnit

__all__ = ["Merging", "Which"]

_DUPLICATE: Final = "input.duplicateId"
_SEALED: Final = frozenset(row.name for row in FIELDS if row.key_class is not None)
_WHOLE: Final = _SEALED | {"restricted"}


class Which(NamedTuple):
    """The record that stays and the one that is merged into it, each with the version that the caller has seen."""

    patient_id: str
    expected_version: int | None
    duplicate_id: str
    duplicate_version: int | None = None

    @property
    def ids(self) -> list[str]:
        """Both ids, as they were given."""
        return [self.patient_id, self.duplicate_id]


class _Admitted(NamedTuple):
    actor: Actor
    context: Context
    grant: ReadGrant


class Merging:
    """The use cases of merging."""

    def __init__(self, store: Store, profiles: Profiles) -> None:
        self._store = store
        self._profiles = profiles

    async def merge(
        self, actor: Actor, request: Request, which: Which, reason: MergeReason, asked: frozenset[str]
    ) -> Profile:
        """The survivor after it took in the duplicate, whose id answers with the survivor from then on.

        Raises `VersionRequired`, `VersionConflict` (with the field of the version to blame, for the duplicate's),
        `NotFound`, `Erased`, `RestrictedRecord` where one of them withholds something from the actor, `Invalid` for a
        pair that cannot be merged, and what the policy refuses.
        """
        if which.duplicate_version is None:
            async with self._store.recording(request.context(actor), Act.MERGE, [which.patient_id]):
                raise VersionRequired
        admitted = await self._admit(actor, request, which, asked)
        async with self._store.writing(admitted.context, Act.MERGE, which.ids) as unit:
            survivor, duplicate = await _pair(unit, admitted, which)
            if duplicate.status == MERGED:
                raise Invalid(_DUPLICATE, "already_merged")
            await _expect(unit, duplicate, admitted, which.duplicate_version, "input.duplicateVersion")
            _require_seen(admitted.actor, survivor, duplicate)
            joined, carried = _joined(unit, survivor, duplicate, admitted, self._store.sources)
            system, why, above = system_of(actor), reason.value, max(survivor.version, duplicate.version)
            unit.turn(survivor, joined.values, system, Turn(ChangeKind.MERGED, above=above), why, carried)
            away = Turn(ChangeKind.MERGED, MERGED, above=above)
            unit.turn(duplicate, {"merged_into": survivor.id}, system, away, why)
            if survivor.version <= above:  # nothing changes of it: what would name the duplicate was erased
                raise Erased
            choices = tuple(Taken(each.name, each.taken.value, each.rule.value) for each in joined.choices)
            versions = (survivor.id, survivor.version, duplicate.id, duplicate.version)
            by = recorded_subject(actor.subject)
            await unit.join(Merge(str(uuid7()), *versions, why, by, unit.now, choices))
            unit.effect = Effect(Kind.PROFILE, survivor.id, survivor.version)
            return unit.open(survivor, view(admitted.grant, actor, restricted=survivor.restricted))

    async def unmerge(
        self, actor: Actor, request: Request, which: Which, reason: UnmergeReason, asked: frozenset[str]
    ) -> Profile:
        """The survivor without what came from the duplicate, which is a record of its own again.

        Raises what `merge` raises, and `Invalid` where the duplicate is not merged into this very record, the survivor
        has been merged itself, or another one was merged into it later, which has to be undone first.
        """
        admitted = await self._admit(actor, request, which, asked)
        async with self._store.writing(admitted.context, Act.UNMERGE, which.ids) as unit:
            survivor, duplicate = await _pair(unit, admitted, which)
            merge = await unit.merge_of(duplicate.id) if duplicate.status == MERGED else None
            if merge is None:
                raise Invalid(_DUPLICATE, "not_merged")
            if merge.survivor_id != survivor.id:
                raise Invalid(_DUPLICATE, "merged_into_another")
            if _newer(await unit.merges(survivor), merge):
                raise Invalid(_DUPLICATE, "merged_later")
            _require_seen(admitted.actor, survivor, duplicate)
            before, joined = await _around(unit, survivor, merge)
            was, became, now, other = (_values(unit, each) for each in (before, joined, survivor, duplicate))
            parted = unmerge(was, became, now, other, unit.now, actor.subject)
            carried = _returned(before, joined, survivor, parted.survivor)
            system, why, above = system_of(actor), reason.value, max(survivor.version, duplicate.version)
            back = Turn(ChangeKind.UNMERGED, takes_back=True, above=above)
            unit.turn(survivor, _canonical(parted.survivor, survivor), system, back, why, carried)
            new = {**_canonical(parted.duplicate, duplicate), "merged_into": None}
            unit.turn(duplicate, new, system, Turn(ChangeKind.UNMERGED, "active", above=above), why)
            waiting = [each["id"] for each in other.get("suspensions") or ()]
            await unit.part(merge, survivor, other.get("source_records") or (), waiting, parted.left)
            unit.effect = Effect(Kind.PROFILE, survivor.id, survivor.version)
            return unit.open(survivor, view(admitted.grant, actor, restricted=survivor.restricted))

    async def merges(self, actor: Actor, request: Request, patient_id: str) -> list[dict[str, Any]]:
        """The merges of a record, the oldest first, also those that were undone; and of what had been merged into it.

        Fields are named as far as the actor may read them. Raises `NotFound`, `Erased`, or what the policy refuses.
        """
        grant = await self._profiles.admit(actor, request, frozenset(), [patient_id], Action.MERGE, Act.READ)
        async with self._store.reading(request.context(actor, grant.rule), Act.READ, [patient_id]) as unit:
            record = (await unit.load([patient_id], {"restricted"})).get(patient_id)
            if record is None:
                raise NotFound
            if record.status == "erased":
                raise Erased
            restricted = unit.current(record, {"restricted"})["restricted"]
            hidden = policy.withheld_when_restricted(actor) if restricted else frozenset()
            found = await unit.merges(record)
            unit.touch(record)
            return [_told(merge, grant.groups - hidden) for merge in found]

    async def _admit(self, actor: Actor, request: Request, which: Which, asked: frozenset[str]) -> _Admitted:
        """Everything that can be refused before a row is read; a refusal is recorded."""
        ids = which.ids
        grant = await self._profiles.admit(actor, request, asked, ids, Action.MERGE)
        async with self._store.recording(request.context(actor), Act.MERGE, ids):
            require_to_change(self._store.keys, [path for name in _SEALED for path in BY_NAME[name].paths])
            if which.expected_version is None:
                raise VersionRequired
        return _Admitted(actor, request.context(actor, grant.rule), grant)


async def _pair(unit: WritingUnit, admitted: _Admitted, which: Which) -> tuple[Record, Record]:
    """Both records, locked; the first is the one that its id leads to, in the version that the caller has seen."""
    found = await unit.load([which.patient_id], ())
    if which.patient_id not in found:
        raise NotFound
    name = found[which.patient_id].id
    if name == which.duplicate_id:
        raise Invalid(_DUPLICATE, "same_record")
    locked = await unit.lock_as_they_are([name, which.duplicate_id])
    survivor, duplicate = locked.get(name), locked.get(which.duplicate_id)
    if survivor is None or duplicate is None:
        raise NotFound
    if "erased" in (survivor.status, duplicate.status):
        raise Erased
    if survivor.status == MERGED:  # since it was looked for
        raise VersionConflict(survivor.version)
    await _expect(unit, survivor, admitted, which.expected_version, None)
    return survivor, duplicate


async def _expect(
    unit: WritingUnit, record: Record, admitted: _Admitted, version: int | None, field: str | None
) -> None:
    if version is None:
        raise VersionRequired
    if record.version != version:
        names = frozenset[str]()
        try:
            await conflicts.meet(unit, record, admitted.actor, admitted.grant, names, version, merge=False)
        except VersionConflict as conflict:
            raise VersionConflict(conflict.current, conflict.changed, field) from None


def _require_seen(actor: Actor, *records: Record) -> None:
    """Raises `RestrictedRecord` where one of them withholds from the actor what they would put together."""
    if any(record.restricted for record in records) and policy.withheld_when_restricted(actor):
        raise RestrictedRecord


def _require_no_test(grant: ReadGrant, *both: Mapping[str, Any]) -> None:
    """Whoever may not see confidential communications does not learn here whether two of them are the same either.

    Raises `Invalid` where both records have one, as the rule does for two that differ.
    """
    if Group.CONFIDENTIAL not in grant.groups and all(values.get("confidential_communication") for values in both):
        raise Invalid(_DUPLICATE, "confidential_communication_conflict")


def _joined(
    unit: WritingUnit, survivor: Record, duplicate: Record, admitted: _Admitted, rules: SourceRules
) -> tuple[Merged, dict[Group, dict[str, Any]]]:
    """What becomes of the survivor, in canonical form, and the notes that it takes over from the duplicate."""
    mine, theirs = _values(unit, survivor), _values(unit, duplicate)
    theirs = {name: value for name, value in theirs.items() if BY_NAME[name].key_class not in survivor.erased}
    _require_no_test(admitted.grant, mine, theirs)
    notes = {Side.SURVIVOR: unit.notes(survivor), Side.DUPLICATE: unit.notes(duplicate)}

    def note(group: Group, side: Side) -> Note | None:
        return notes[side].get(group)

    actor = admitted.actor
    found = merging.merge(mine, theirs, note, lambda name: BY_NAME[name].group, rules, unit.now, actor.subject)
    new = found.values
    taken_in = (*(mine.get("superseded_ids") or ()), duplicate.id, *(theirs.get("superseded_ids") or ()))
    new["superseded_ids"] = list(dict.fromkeys(taken_in))
    raw = stored(duplicate)
    carried = {
        group: raw[group.value] for group, side in found.sides.items() if side is Side.DUPLICATE and group.value in raw
    }
    return Merged(_canonical(new, survivor), found.sides, found.choices), carried


def _values(unit: Unit, record: Record) -> dict[str, Any]:
    return unit.current(record, _WHOLE)


def _canonical(new: Mapping[str, Any], record: Record) -> dict[str, Any]:
    """The values as the record stores them: what was erased of it is not filled again.

    Raises `Invalid` where one is too large for its field.
    """
    gone = record.erased
    return {name: _parsed(name, value) for name, value in new.items() if BY_NAME[name].key_class not in gone}


def _parsed(name: str, value: Any) -> Any:
    if value is None or name == "restricted":
        return value
    try:
        return values.parse(BY_NAME[name].kind, value, _DUPLICATE, lenient=True)
    except Invalid as broken:
        raise Invalid(_DUPLICATE, broken.rule) from None


def _newer(merges: Iterable[Merge], merge: Merge) -> bool:
    """Whether another merge into the same survivor stands that is newer.

    What both of two merged records said came with the first of them: taking that one back would take it from the other.
    """
    standing = (each for each in merges if each.undone_at is None and each.survivor_id == merge.survivor_id)
    return any(each.survivor_version > merge.survivor_version for each in standing)


async def _around(unit: WritingUnit, survivor: Record, merge: Merge) -> tuple[Record, Record]:
    """The survivor as it was before a merge, and as that left it. Raises `Invalid` where that is not kept."""
    known = (await unit.versions(survivor.id, merge.survivor_version + 1, 2))[::-1]
    if len(known) < 2 or known[-1].version != merge.survivor_version:
        raise Invalid(_DUPLICATE, "not_kept")
    before, joined = await unit.load_past(survivor, known, _WHOLE)
    return before, joined


def _returned(before: Record, joined: Record, now: Record, values: Mapping[str, Any]) -> dict[Group, dict[str, Any]]:
    """The notes of groups that get back what they had before the merge, and of which nobody has spoken since."""
    was, became, present = stored(before), stored(joined), stored(now)
    groups = {BY_NAME[name].group for name in values if name in _SEALED}
    return {
        group: was[group.value]
        for group in groups
        if group.value in was and present.get(group.value) == became.get(group.value)
    }


def _told(merge: Merge, groups: frozenset[Group]) -> dict[str, Any]:
    """A merge as it is answered, as far as whoever reads these groups may know of it."""

    def paths(names: Iterable[str]) -> list[str]:
        known = (BY_NAME[name] for name in names if name in BY_NAME)
        return sorted(path for row in known if row.group in groups for path in row.paths)

    return {
        "id": merge.id,
        "patient_id": merge.survivor_id,
        "duplicate_id": merge.duplicate_id,
        "reason": merge.reason,
        "merged_by": merge.by,
        "merged_at": rfc3339(merge.at),
        "choices": [
            {"field": path, "taken": choice.side, "rule": choice.rule}
            for choice in merge.choices
            for path in paths([choice.name])
        ],
        "undone_by": merge.undone_by,
        "undone_at": None if merge.undone_at is None else rfc3339(merge.undone_at),
        "to_review": paths(merge.to_review),
    }
