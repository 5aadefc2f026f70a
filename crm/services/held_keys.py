"""Whether this process was given the keys of what somebody asks for. Opens nothing, and decides nothing about roles."""

from collections.abc import Iterable
from functools import cache

from crm.catalogue import BY_PATH, KeyClass
from crm.crypto.keyset import KeySet
from crm.errors import KeyUnavailable
from crm.store.record import sources

__all__ = ["require"]


def require(keys: KeySet, paths: Iterable[str]) -> None:
    """Raises KeyUnavailable, naming the paths to blame, unless this process may open every one of these fields.

    Asked before any row is read, and so about every record alike: nobody shall take the absence of a key for the
    absence of a value, nor learn from the difference which patients have one.
    """
    if missing := [path for path in paths if not _needed(path) <= keys.held]:
        raise KeyUnavailable("this process was not given the class", missing)


@cache
def _needed(path: str) -> frozenset[KeyClass]:
    """The classes behind a field. Provenance stands beside the cells of each of them, and only their keys prove it.

    The restriction needs none in particular: every class vouches for it.
    """
    name = BY_PATH[path].name
    if name == "provenance":
        return frozenset(KeyClass)
    return frozenset(field.key_class for field in sources([name]) if field.key_class is not None)
