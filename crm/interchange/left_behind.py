"""Owns the account of what a record held and the profile does not take: paths of elements, never a value."""

import re
from collections.abc import Collection, Mapping
from typing import Any

__all__ = ["LeftBehind"]

# A URL is named only when it looks like one of a definition: anybody can write anything into this place.
_DEFINITION = re.compile(r"(?:https?://|urn:)[A-Za-z0-9.:/_#-]{1,150}", re.ASCII)


class LeftBehind:
    """The paths left behind of one record, each once, without indices: `maritalStatus`, `name.id`, `extension(url)`."""

    def __init__(self) -> None:
        self._paths: set[str] = set()

    def add(self, path: str) -> None:
        self._paths.add(path)

    def rest(self, element: Mapping[str, Any], path: str, taken: Collection[str]) -> None:
        """Notes every member of `element` that is not among `taken`; `path` is where it stands, empty for the whole."""
        for key in element:
            if key in taken:
                continue
            if key == "extension":
                for entry in element[key]:
                    self.extension(entry, path)
            else:
                self._paths.add(f"{path}.{key}" if path else key)

    def extension(self, entry: Mapping[str, Any], path: str) -> None:
        """Notes one extension of the element at `path`."""
        url = entry["url"]
        if not _DEFINITION.fullmatch(url):
            url = "other"
        self._paths.add(f"{path}.extension({url})" if path else f"extension({url})")

    def paths(self) -> frozenset[str]:
        return frozenset(self._paths)
