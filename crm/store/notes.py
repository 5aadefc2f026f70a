"""What the event of one patient will say, gathered while a unit of work touches the record."""

from dataclasses import dataclass, field
from typing import Any

from crm.audit.event import Act, Outcome
from crm.catalogue import BY_NAME
from crm.errors import Erased
from crm.store.record import Record

__all__ = ["Note"]


@dataclass(slots=True)
class Note:
    """`returned` and `masked` are public paths, `changed` catalogue names; `broken` is a break-glass grant's id.

    `sealed` is the digest of words that were stored beside the event.
    """

    record: Record
    act: Act
    returned: set[str] = field(default_factory=set)
    masked: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    out: Outcome = Outcome.OK
    why: str = ""
    broken: str | None = None
    sealed: str | None = None

    def erased(self, name: str) -> Erased:
        """What is answered in place of a field that was erased; then its paths are not among those returned."""
        paths = set(BY_NAME[name].paths)
        self.returned -= paths
        self.masked -= paths
        self.out, self.why = Outcome.PARTIAL, "ERASED"
        return Erased()

    def facts(self) -> dict[str, Any]:
        """The members of the event that are about the patient."""
        return {
            "act": self.act,
            "out": self.out,
            "why": self.why,
            "pat": self.record.audit_subject,
            "fld": tuple(sorted(self.returned)),
            "msk": tuple(sorted(self.masked)),
            "chg": tuple(sorted({path for name in self.changed for path in (BY_NAME[name].paths or (name,))})),
            "obj": self.record.version,
            "flg": self._flags(),
            "ref": self.broken,
            "sealed": self.sealed,
        }

    def _flags(self) -> tuple[str, ...]:
        flags = ("restricted",) if self.record.restricted else ()
        return (*flags, "break_glass") if self.broken else flags
