"""What the events of a unit of work will say, gathered while it touches records: one note for each patient.

A record as it was has a note of its own for each version, which its event names.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from uuid_utils import uuid7

from crm.audit.event import Act, Event, Outcome
from crm.catalogue import BY_NAME
from crm.errors import Erased
from crm.store.context import Context
from crm.store.record import Record
from crm.store.refusing import of_context
from crm.store.watching import Watcher

__all__ = ["Note", "Notebook"]

_NONE: Mapping[str, Any] = MappingProxyType({})
_NOTHING: Final[frozenset[str]] = frozenset()
_QUESTIONS = frozenset({Act.READ, Act.QUERY, Act.DECIDE, Act.NOTIFY})
"""Acts whose events of one unit share an id; imports and exports have the id of their request."""


_Alike = tuple[object, ...]
_Key = tuple[str, int | None]
"""A patient, and the version if it is a former one."""

_OF_THE_CALLER = frozenset({"after_hours", "self_access"})


@dataclass(slots=True)
class Note:
    """`returned` and `masked` are public paths, `changed` catalogue names; `broken` is a break-glass grant's id.

    `about` is the id of a contact decision, which the event names where no grant was used; `found` are its flags.

    `count` are the minutes for which one was given; `sealed` is the digest of words that were stored beside the event;
    `circumstances` are flags, decided at the first touch.
    """

    record: Record
    act: Act
    circumstances: tuple[str, ...] = ()
    returned: frozenset[str] = _NOTHING
    masked: frozenset[str] = _NOTHING
    changed: frozenset[str] = _NOTHING
    out: Outcome = Outcome.OK
    why: str = ""
    broken: str | None = None
    about: str | None = None
    found: tuple[str, ...] = ()
    sealed: str | None = None
    count: int | None = None

    def erased(self, name: str) -> Erased:
        """What is answered in place of a field that was erased; then its paths are not among those returned."""
        paths = frozenset(BY_NAME[name].paths)
        self.returned -= paths
        self.masked -= paths
        self.out, self.why = Outcome.PARTIAL, "ERASED"
        return Erased()

    def show(self, paths: frozenset[str], masked: frozenset[str]) -> None:
        """Notes that `paths` are answered, and that `masked` are masked or withheld."""
        self.returned = self.returned | paths if self.returned else paths
        self.masked = self.masked | masked if self.masked else masked

    def alike(self) -> "_Alike":
        """What makes two notes say the same, but for whose record it was and in which version."""
        record = self.record
        return (
            self.act, self.circumstances, self.returned, self.masked, self.changed, self.out, self.why, self.broken,
            self.about, self.found, self.sealed, self.count, record.status, record.guarded,
        )  # fmt: skip

    def facts(self, crowd: tuple[str, ...]) -> dict[str, Any]:
        """The members of the event that are about the patient; `crowd` are flags of all events of the unit."""
        return {
            "act": self.act,
            "out": self.out,
            "why": self.why,
            "pat": self.record.audit_subject,
            "fld": _in_order(self.returned),
            "msk": _in_order(self.masked),
            "chg": _changed(self.changed) if self.changed else (),
            "obj": self.record.version,
            "flg": (*self._flags(), *crowd),
            "ref": self.broken or self.about,
            "sealed": self.sealed,
            "cnt": self.count,
        }

    def _flags(self) -> tuple[str, ...]:
        known = (*self.circumstances, *self.found)
        if self.record.status == "erased":  # nothing about the person shall stand under the name that still leads here
            known = tuple(flag for flag in known if flag in _OF_THE_CALLER)
        flags = ("restricted",) if self.record.guarded else ()
        return (*known, *flags, "break_glass") if self.broken else (*known, *flags)


@lru_cache(maxsize=1024)
def _in_order(paths: frozenset[str]) -> tuple[str, ...]:
    """Kept, because the same questions come again."""
    return tuple(sorted(paths))


def _changed(names: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted({path for name in names for path in (BY_NAME[name].paths or (name,))}))


class Notebook:
    """The notes of one unit, and its remarks of its own, such as the count of a search."""

    def __init__(self, context: Context, act: Act, watcher: Watcher) -> None:
        self._context = context
        self._act = act
        self._watcher = watcher
        self._notes: dict[_Key, Note] = {}
        self._remarks: list[Mapping[str, Any]] = []

    def of(self, record: Record, values: Mapping[str, Any] = _NONE, opened: frozenset[str] = frozenset()) -> Note:
        """The note of a record, new at the first touch; `values` is what was opened by then of the fields `opened`."""
        key = (record.id, record.version if record.past else None)
        note = self._notes.get(key)
        if note is None:
            if record.past:  # what is remarkable of the look follows from who the patient is now
                flags = self._watcher.flags(record.past.present, _NONE, _NOTHING)
            else:
                flags = self._watcher.flags(record, values, opened)
            note = self._notes[key] = Note(record, self._act, flags)
        return note

    def remark(self, facts: Mapping[str, Any]) -> None:
        """Adds one event beside those of the patients."""
        self._remarks.append({"flg": self._watcher.always, **facts})

    def events(self) -> list[Event]:
        """One event per patient touched, and per version as it was, in the order of touching, then the remarks.

        Several events of one question share an id; many patients are a crowd.
        """
        common = {**of_context(self._context), "act": self._act, "out": Outcome.OK}
        if self._act in _QUESTIONS and len(self._notes) + len(self._remarks) > 1:
            common["qid"] = str(uuid7())
        crowd = self._watcher.crowd(len({patient_id for patient_id, _ in self._notes}))
        patterns: dict[_Alike, Event] = {}
        events: list[Event] = []
        for note in self._notes.values():
            alike, subject = note.alike(), note.record.audit_subject
            pattern = patterns.get(alike)
            if pattern is None or subject is None:
                pattern = Event(**common | note.facts(crowd))
                if subject is not None:
                    patterns[alike] = pattern
                events.append(pattern)
            else:
                events.append(pattern.about(subject, note.record.version))
        events += [Event(**common | {**facts, "flg": (*facts["flg"], *crowd)}) for facts in self._remarks]
        return events
