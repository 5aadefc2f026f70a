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
from crm.store.history import Version
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
"""What changes how the whole record is seen, and who said what: nothing is put on top of it unseen."""

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
) -> None:
    """Lets a change of the fields `names` go on that expects another version of a locked record, or refuses it.

    Raises `VersionConflict`, which tells what changed as far as `grant` lets the actor be told.
    """
    unit.current(record, _VOUCHED)  # believed only where a row vouches for it
    found = await changes_since(unit, record, expected)
    paths = told_since(record, actor, grant, found) if found else None
    if not (merge and found and disjoint(names, found)):
        raise VersionConflict(record.version, paths)
    unit.put_on_top(record, Merged(expected, tuple(sorted(paths or ()))), MERGED)


async def changes_since(unit: Unit, record: Record, version: int) -> list[Version] | None:
    """Every version newer than `version`, none for the newest; None where not all of them are described."""
    missing = max(0, record.version - version)
    if not missing:
        return []
    if missing > MOST or version < 1:
        return None
    found = await unit.versions(record.id, record.version + 1, missing)
    whole = len(found) == missing and all(each.maker is not None for each in found)
    return found if whole else None


def told_since(record: Record, actor: Actor, grant: ReadGrant, found: Iterable[Version]) -> frozenset[str]:
    """The public paths of what changed in these versions, of which the actor may be told now."""
    hidden = policy.withheld_when_restricted(actor) if _ever_restricted(record, found) else frozenset[Group]()
    groups = frozenset[Group]() if grant.needs_grant else grant.groups - hidden
    return frozenset(path for name in told(_names(found), groups) for path in BY_NAME[name].paths)


def disjoint(names: frozenset[str], found: Iterable[Version]) -> bool:
    """Whether a change of the fields `names` can be put on top of these versions."""
    found = list(found)
    changed = _names(found)
    ordinary = all(each.maker is not None and each.maker.act in _ORDINARY for each in found)
    known = bool(names) and (names | changed) <= BY_NAME.keys()
    apart = all(not (one & names and one & changed) for one in (*_TOGETHER, *map(_alone, names)))
    return ordinary and known and apart and changed.isdisjoint(_NEVER)


def _alone(name: str) -> frozenset[str]:
    return frozenset({name})


def _names(found: Iterable[Version]) -> frozenset[str]:
    return frozenset[str]().union(*(each.changed for each in found))


def _ever_restricted(record: Record, found: Iterable[Version]) -> bool:
    return record.restricted or any(each.restricted for each in found)
