"""Whether this process was given the keys of what somebody asks for. Opens nothing, and decides nothing about roles."""

from collections.abc import Iterable
from functools import cache, lru_cache

from crm.catalogue import BY_PATH, INDEXES, KeyClass
from crm.crypto.keyset import KeySet
from crm.errors import KeyUnavailable
from crm.store.record import sources

__all__ = ["require", "require_to_change"]

_SEARCHED = frozenset(name for index in INDEXES for name in index.fields)


def require(keys: KeySet, paths: Iterable[str]) -> None:
    """Raises KeyUnavailable, naming the paths to blame, unless this process may open every one of these fields.

    Asked before any row is read, and so about every record alike: nobody shall take the absence of a key for the
    absence of a value, nor learn from the difference which patients have one.
    """
    if missing := _missing(frozenset(paths), keys.held):
        raise KeyUnavailable("this process was not given the class", missing)


@lru_cache(maxsize=1024)
def _missing(paths: frozenset[str], held: frozenset[KeyClass]) -> tuple[str, ...]:
    """Kept, because the same questions come again; it follows from the catalogue alone."""
    return tuple(sorted(path for path in paths if not _needed(path) <= held))


def require_to_change(keys: KeySet, paths: Iterable[str]) -> None:
    """The same for a change: what can be searched by also needs the index key, or nobody would find it again.

    The restriction needs the keys of all classes: every row vouches for it, and is sealed anew when it changes.
    """
    changed = frozenset(paths)
    require(keys, changed)
    if "restricted" in changed and not keys.held >= frozenset(KeyClass):
        raise KeyUnavailable("this process was not given every class", ["restricted"])
    searched = [path for path in changed if BY_PATH[path].name in _SEARCHED]
    if searched and not keys.index_versions():
        raise KeyUnavailable("this process was given no index key", searched)


@cache
def _needed(path: str) -> frozenset[KeyClass]:
    """The classes behind a field. Provenance stands beside the cells of each of them, and only their keys prove it.

    The restriction needs none in particular: every class vouches for it.
    """
    name = BY_PATH[path].name
    if name == "provenance":
        return frozenset(KeyClass)
    return frozenset(field.key_class for field in sources([name]) if field.key_class is not None)
