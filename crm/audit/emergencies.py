"""Looks under break-glass grants held against the events by which the grants were given. Pure; reads no database.

A grant's row can be forged by whoever has the database. The event of giving it cannot, and each look names its grant.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from crm.audit.event import Act

__all__ = ["Emergencies"]

_FLAG: Final = "break_glass"
_ANSWERED: Final = frozenset({"ok", "partial"})

Given = tuple[str, str, str]
"""Whose record (the name in the log), and who may look: issuer and subject."""


class Emergencies:
    """Gathers grants and looks in the order of the log; `unknown` tells in the end which looks had no grant.

    In the end, because a replica may answer a look while the event of the grant, which is committed, still waits.
    """

    __slots__ = ("_given", "_looks", "_since")

    def __init__(self) -> None:
        self._given: dict[str, Given] = {}
        self._looks: list[tuple[int, str, Given]] = []
        self._since = ""

    def note(self, seq: int, content: Mapping[str, Any]) -> None:
        """One event, by its leaf."""
        self._since = self._since or content["id"]
        if _FLAG not in content.get("flg", ()) or content["out"] not in _ANSWERED or content["act"] == Act.REVIEW:
            return
        who = content.get("who", {})
        given = (content.get("pat", ""), who.get("iss", ""), who.get("sub", ""))
        grant = str(content.get("ref", ""))
        if content["act"] == Act.BREAKGLASS:
            self._given[grant] = given
        elif self._given.get(grant) != given:
            self._looks.append((seq, grant, given))

    def unknown(self, *, pruned: bool) -> Iterator[int]:
        """The numbers of looks without a grant. Where the beginning was `pruned`, older grants are believed.

        Ids are UUIDv7, whose order is that of time.
        """
        for seq, grant, given in self._looks:
            older = pruned and grant not in self._given and grant < self._since
            if self._given.get(grant) != given and not older:
                yield seq
