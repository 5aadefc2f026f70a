"""What the policy grants on one record, as a unit of work is told. Decides nothing."""

from dataclasses import dataclass

from auth.policy import Group

__all__ = ["View"]


@dataclass(frozen=True, slots=True)
class View:
    """What the policy grants on one record: public paths opened as they are, opened masked, or withheld unopened.

    `groups` are those of which the provenance may be told. `broken` is the id of the break-glass grant under which the
    record is opened: its event is flagged, and refers to it.
    """

    clear: frozenset[str]
    masked: frozenset[str] = frozenset()
    withheld: frozenset[str] = frozenset()
    groups: frozenset[Group] = frozenset()
    broken: str | None = None
