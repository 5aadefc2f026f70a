"""Whether what clients saw of records is what one single record, in one place, would have shown them. Pure; no clients.

Each key is a register with a version: a write names the version that it follows, and makes the next one; a read shows a
version and a value. The versions say in which order the operations must have happened, so there is nothing to search
for, unlike in the general case (Wing and Gong, 1993): a history is linearizable exactly when no version was made twice,
every read shows what was written as that version, and nothing happened against the order of the clock: what ended
before another began stands before it.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Conflict", "Operation", "Read", "Write", "violations"]


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client saw of one key between `began` and `ended`, by one clock."""

    key: str
    began: float
    ended: float


@dataclass(frozen=True, slots=True)
class Read(Operation):
    """The record was this."""

    version: int
    value: str


@dataclass(frozen=True, slots=True)
class Write(Operation):
    """The record became this: `version` is the one that the write made, from the one that it named."""

    based_on: int
    version: int
    value: str


@dataclass(frozen=True, slots=True)
class Conflict(Operation):
    """A write was refused, because the record was at `version` by then."""

    based_on: int
    version: int


def violations(history: Iterable[Operation]) -> list[str]:
    """What one single record would not have shown, a line on each; none for a linearizable history."""
    keys: dict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        keys[operation.key].append(operation)
    return [line for key in sorted(keys) for line in _of_register(key, keys[key])]


def _of_register(key: str, history: Sequence[Operation]) -> list[str]:
    found, written = [], dict[int, Write]()
    for write in (each for each in history if isinstance(each, Write)):
        if write.version != write.based_on + 1:
            found.append(f"{key}: a write on version {write.based_on} made version {write.version}")
        if write.version in written:
            found.append(f"{key}: version {write.version} was made twice")
        written[write.version] = write
    values = {version: write.value for version, write in written.items()}
    for each in history:
        if isinstance(each, Read) and values.setdefault(each.version, each.value) != each.value:
            found.append(f"{key}: version {each.version} was read as another value than was written, or read before")
        if isinstance(each, Conflict) and each.version <= each.based_on:
            found.append(f"{key}: a write on version {each.based_on} was refused at version {each.version}")
    return found + _against_the_clock(key, history)


def _against_the_clock(key: str, history: Sequence[Operation]) -> list[str]:
    """Operations that saw less than one that had ended before they began; a write makes its version, others see it."""
    found = []
    by_end = sorted(history, key=lambda each: each.ended)
    newest, at = -1, 0
    for each in sorted(history, key=lambda each: each.began):
        while at < len(by_end) and by_end[at].ended < each.began:
            newest = max(newest, _version(by_end[at]))
            at += 1
        if _version(each) < newest or (isinstance(each, Write) and each.version == newest):
            kind = type(each).__name__.lower()
            found.append(f"{key}: a {kind} of version {_version(each)} began after version {newest} had been seen")
    return found


def _version(each: Operation) -> int:
    if isinstance(each, Read | Write | Conflict):
        return each.version
    raise TypeError(type(each).__name__)
