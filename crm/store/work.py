"""Work: the body of a transaction without its I/O, a generator that yields statements and is sent their rows.

Because it awaits nothing, an engine may run it where that is nearest to the database: SQLite on the writer's thread, in
one visit instead of one for each statement. Touches no connection.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from crm.store.statements import Growth, Statement

__all__ = ["Grow", "Row", "Step", "Work", "alone", "step"]

T = TypeVar("T")


class Row(Protocol):
    """One row of an answer: by column name or by position."""

    def __getitem__(self, key: str | int, /) -> Any: ...

    def __iter__(self) -> Iterator[Any]:
        """The values in the order of the columns."""
        ...


class Step(NamedTuple):
    """One statement and its parameters. It is answered with its rows; those of a change are what it RETURNs."""

    statement: Statement
    params: Mapping[str, Any]


class Grow(NamedTuple):
    """The parameters of a change, and rows for the end of a table, each with `growth.columns`.

    It is answered with what the change RETURNs. Where that is nothing, nothing was added.
    """

    growth: Growth
    params: Mapping[str, Any]
    rows: Sequence[tuple[Any, ...]]


Work = Generator[Step | Grow, Sequence[Row], T]
"""Runs inside one transaction and gives a T. It may run on another thread, so it must not touch the event loop.

When a statement fails, the work is closed where it stands and hears nothing of it: a transaction can then only be left.
"""


def step(statement: Statement, /, **params: Any) -> Step:
    """A statement as `Connection.fetch` takes it."""
    return Step(statement, params)


def alone(grow: Grow) -> Work[Sequence[Row]]:
    """Nothing but this one step."""
    return (yield grow)
