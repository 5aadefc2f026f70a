"""What a change meets that is based on an older version than the one now stored: told what changed, or put on top.

It is put on top only where the caller asks for it, every version in between is described and is an ordinary change, and
none of them touched what the change touches, or what belongs together with it.
"""

from collections.abc import Iterable
from typing import Final

from auth import policy
from auth.actor import Actor
from auth.policy import Group, ReadGrant
from crm.audit.event import Act
from crm.catalogue import BY_NAME, FIELDS
from crm.errors import VersionConflict
from crm.services.feed import told
from crm.store.history import Version, unbroken
from crm.store.record import Record
from crm.store.unit import Unit, WritingUnit
from crm.store.writing import Merged

__all__ = ["MERGED", "MOST", "changes_since", "disjoint", "meet", "told_since"]

MERGED: Final = "MERGED_DISJOINT"
"""Why a change was made although the record had changed: as the log says it."""

MOST: Final = 200
"""Versions in between that are looked at. Who is further behind is not told what changed, and merges nothing."""

_VOUCHED: Final = frozenset({"restricted"})
_ORDINARY: Final = frozenset({Act.UPDATE.value, Act.IMPORT.value})
_NEVER: Final = frozenset({"provenance", "restricted", "restrictions", "superseded_ids"})
"""What changes how the whole record is seen, and who said what: nothing is put on top of it by who may know of it."""

_TOGETHER: Final = (
    frozenset({"cultural_need_handling", "cultural_need_detail"}),
    frozenset({"deceased", "deceased_at"}),
    frozenset({"languages", "interpreter_needed"}),
    frozenset({"religion", "religion_code"}),
    *(frozenset(field.derived_from) for field in FIELDS if field.derived_from),
    frozenset({"contact_points", "related_persons", "confidential_communication", "consents", "suspensions"}),
)
"""Fields that are read as one, so that half of each from two people would be what neither of them said."""


async def meet(
    unit: WritingUnit,
    record: Record,
    actor: Actor,
    grant: ReadGrant,
    names: frozenset[str],
    expected: int,
    *,
    merge: bool,
    own: bool = True,
) -> None:
    """Lets a change of the fields `names` go on that expects another version of a locked record, or refuses it.

    `own` says that the record was asked for by its own id. Raises `VersionConflict`, which tells what changed as far as
    `grant` lets the actor be told; nothing where the expected version may be that of another record, by a merge or the
    end of one.
    """
    unit.current(record, _VOUCHED)  # believed only where a row vouches for it
    found = await changes_since(unit, record, expected)
    turns = {Act.UNMERGE.value} if own else {Act.MERGE.value, Act.UNMERGE.value}
    if found and any(each.maker is not None and each.maker.act in turns for each in found):
        found = None
    paths = told_since(record, actor, grant, found) if found else None
    if not (merge and found and disjoint(names, found, _told_groups(record, actor, grant, found))):
        raise VersionConflict(record.version, paths)
    unit.put_on_top(record, Merged(expected, tuple(sorted(paths or ()))), MERGED)


async def changes_since(unit: Unit, record: Record, version: int) -> list[Version] | None:
    """Every version newer than `version`, none for the newest; None where not all of them are described."""
    if version >= record.version:
        return []
    if version < 1:
        return None
    found = await unit.versions(record.id, record.version + 1, MOST + 1)
    newer = [each for each in found if each.version > version]
    acts = [(each.version, each.maker.act) for each in newer if each.maker is not None]
    return newer if len(acts) == len(newer) <= MOST and unbroken(acts, version, record.version) else None


def told_since(record: Record, actor: Actor, grant: ReadGrant, found: Iterable[Version]) -> frozenset[str]:
    """The public paths of what changed in these versions, of which the actor may be told now."""
    groups = _told_groups(record, actor, grant, found)
    return frozenset(path for name in told(_names(found), groups) for path in BY_NAME[name].paths)


def disjoint(names: frozenset[str], found: Iterable[Version], groups: frozenset[Group]) -> bool:
    """Whether a change of the fields `names` by who is told of `groups` can be put on top of these versions.

    Nothing else that changed refuses it, or the refusal would tell of it; and to who reads again it would be nothing
    new. Of what they change themselves everybody knows.
    """
    found = list(found)
    known = names <= BY_NAME.keys() and _names(found) <= BY_NAME.keys()
    if not (names and known):
        return False
    seen = groups | {BY_NAME[name].group for name in names}
    changed = frozenset(name for name in _names(found) if BY_NAME[name].group in seen)
    ordinary = all(each.maker is not None and each.maker.act in _ORDINARY for each in found)
    apart = all(not (one & names and one & changed) for one in (*_TOGETHER, *map(_alone, names)))
    return ordinary and apart and changed.isdisjoint(_NEVER)


def _told_groups(record: Record, actor: Actor, grant: ReadGrant, found: Iterable[Version]) -> frozenset[Group]:
    hidden = policy.withheld_when_restricted(actor) if _ever_restricted(record, found) else frozenset[Group]()
    return frozenset[Group]() if grant.needs_grant else grant.groups - hidden


def _alone(name: str) -> frozenset[str]:
    return frozenset({name})


def _names(found: Iterable[Version]) -> frozenset[str]:
    return frozenset[str]().union(*(each.changed for each in found))


def _ever_restricted(record: Record, found: Iterable[Version]) -> bool:
    return record.restricted or any(each.restricted for each in found)
