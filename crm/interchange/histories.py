"""Owns what a run says under each key: one digest over all versions in their order, known before the first is applied.

Published files hold one id in up to seven versions. A key's digest is the content itself where it says one thing, else
a chain: the first version as it stands, then every further acceptable one that differs from the one before. `survey`
and `take` follow the same rule, so the chain of the last version taken is the whole that was surveyed.
"""

import hashlib
from collections.abc import Callable

__all__ = ["Histories"]


class Histories:
    """A small number and 32 octets for each key of a run, and a little more for the few that repeat."""

    def __init__(self) -> None:
        self._whole: dict[int, bytes] = {}
        self._last: dict[int, bytes] = {}
        self._taken: dict[int, tuple[bytes, bytes]] = {}

    def survey(self, key: str, content: bytes, acceptable: Callable[[], bool]) -> None:
        """Notes one version. `acceptable` is asked only where it matters: to check a record is most of the work."""
        slot = hash(key)
        whole = self._whole.setdefault(slot, content)
        if content == self._last.get(slot, whole) or not acceptable():
            return
        self._last[slot] = content
        self._whole[slot] = _chained(whole, content)

    def take(self, key: str, content: bytes, *, acceptable: bool) -> bytes:
        """What the run has said under `key` once this version is applied."""
        slot = hash(key)
        if slot not in self._last:
            return content
        chain, last = self._taken.setdefault(slot, (content, content))
        if content != last and acceptable:
            chain = _chained(chain, content)
            self._taken[slot] = chain, content
        return chain

    def whole(self, key: str, content: bytes) -> bytes:
        """What the run says under `key` from beginning to end; `content` where it was not surveyed."""
        return self._whole.get(hash(key), content)


def _chained(chain: bytes, content: bytes) -> bytes:
    return hashlib.sha256(chain + content).digest()
