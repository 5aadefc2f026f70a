"""Deciding what is remarkable about the looks of one unit of work: opens what that takes, and answers none of it.

It fails no request: what this process cannot open, or what was erased, decides nothing.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from crm.audit.event import rfc3339
from crm.catalogue import BY_NAME, CLASSES, KeyClass
from crm.crypto.keyset import KeySet
from crm.domain.circumstances import Caller, Onlooker, Watch
from crm.errors import CrmError
from crm.store import opening
from crm.store.record import Record, sources

__all__ = ["Watcher"]

_NOTHING: Final[frozenset[str]] = frozenset()


class Watcher:
    """The flags of one caller's looks in one unit; none at all where the caller is no person of staff."""

    def __init__(self, watch: Watch, keys: KeySet, caller: Caller | None, now: int) -> None:
        self._keys = keys
        self._bulk = watch.bulk
        self._onlooker = None if caller is None else _onlooker(caller)
        self.today = rfc3339(now)[:10]
        self.always = watch.always(caller, now)
        self.fields = _NOTHING if self._onlooker is None else _held(self._onlooker.fields, keys.held)
        """What has to be loaded of a record, by catalogue name."""

    def beside(self, record: Record, names: frozenset[str]) -> frozenset[str]:
        """Those of `fields` that can be opened at once with `names`, because their classes are opened anyway."""
        return _beside(names, self.fields) if record.rows else _NOTHING

    def flags(self, record: Record, values: Mapping[str, Any], opened: frozenset[str]) -> tuple[str, ...]:
        """The flags of a look at `record`; `values` is what was opened already, of the fields `opened`."""
        if self._onlooker is None:
            return ()
        left = self.fields - opened
        if left:
            values = dict(values)
            lost = record.erased
            for key_class, names in _by_class(left):
                if key_class in record.rows and key_class not in lost:
                    values |= self._opened(record, names)
        return (*self.always, *self._onlooker.flags(record.id, values, self.today))

    def crowd(self, patients: int) -> tuple[str, ...]:
        """The flags of a unit that touched so many patients."""
        return ("bulk",) if self._onlooker is not None and patients > self._bulk else ()

    def _opened(self, record: Record, names: frozenset[str]) -> dict[str, Any]:
        """The values of fields that nobody asked for; nothing of a class that does not open: `verify` finds those."""
        try:
            return opening.reveal(self._keys, record, names, self.today)
        except (CrmError, ValueError):
            return {}


@lru_cache(maxsize=1024)
def _onlooker(caller: Caller) -> Onlooker:
    """Kept, because the same people ask again: to fold their names anew each time would cost more than to compare."""
    return Onlooker(caller)


@lru_cache(maxsize=1024)
def _held(names: frozenset[str], held: frozenset[KeyClass]) -> frozenset[str]:
    """Those of the fields whose class this process was given."""
    return frozenset(name for name in names if BY_NAME[name].key_class in held)


@lru_cache(maxsize=1024)
def _beside(names: frozenset[str], fields: frozenset[str]) -> frozenset[str]:
    opened = {row.key_class for row in sources(names)}
    return frozenset(name for name in fields - names if BY_NAME[name].key_class in opened)


@lru_cache(maxsize=1024)
def _by_class(names: frozenset[str]) -> tuple[tuple[KeyClass, frozenset[str]], ...]:
    """The names of each class, so that one that does not open takes no other along."""
    return tuple(
        (key_class, found) for key_class in KeyClass if (found := names & {row.name for row in CLASSES[key_class]})
    )
