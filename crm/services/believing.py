"""Which rows of published checkpoints are believed. Whoever owns the database can write any; signatures they cannot.

A row counts if its note opens under the key of the log, says the log's name and the row's size, and is over no more
events than the log has. A cosignature counts if the key of a witness that we were given verifies it. Times beside them
nobody signed, and so nothing is decided by one of them alone.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from crm.audit.checkpoint import epoch_of, origin_of, parse
from crm.crypto.cosignature import good_lines
from crm.crypto.note import may_be_a_name, open_note
from crm.errors import Tampered
from crm.store import checkpoints
from crm.store.checkpoints import PAGE, Published
from crm.store.database import Database
from crm.store.proofs import LogHead

__all__ = ["Believing", "believing"]

_PAGES = 64
"""How far behind made-up rows a good one is looked for: more of them are an alarm anyway."""

Passed = Callable[[Published], None]


@dataclass(frozen=True, slots=True)
class Believing:
    """What is to be believed of one log: `origin` is its name, `size` how many events it has, `key` its verifier key.

    passed    told of every row that is not believed
    """

    database: Database
    org: str
    origin: str
    epoch: int
    size: int
    key: str
    passed: Passed

    async def newest(self, *, witnessed: bool = False) -> AsyncIterator[Published]:
        """The believed rows, newest first, or those of them that say that they were cosigned."""
        size = self.size
        for _ in range(_PAGES):
            rows = await checkpoints.upto(self.database, self.org, self.epoch, size, witnessed=witnessed)
            for row in rows:
                if self._believed(row):
                    yield row
            if len(rows) < PAGE:
                return
            size = rows[-1].size - 1

    async def first_after(self, size: int) -> Published | None:
        """The oldest believed row over more events than that."""
        for _ in range(_PAGES):
            rows = await checkpoints.after(self.database, self.org, self.epoch, size)
            for row in rows:
                if row.size <= self.size and self._believed(row):
                    return row
            if len(rows) < PAGE or rows[-1].size > self.size:
                return None
            size = rows[-1].size
        return None

    def cosigned(self, row: Published, witness: str) -> dict[str, int]:
        """The lines of a believed row by which this witness cosigned it, with their times in seconds since 1970."""
        return good_lines(row.note.rpartition("\n\n")[0] + "\n", row.cosignatures, witness)

    def _believed(self, row: Published) -> bool:
        try:
            says = parse(open_note(row.note, self.key))
        except Tampered:
            says = None
        good = says is not None and (says.origin, says.size) == (self.origin, row.size)
        if not good:
            self.passed(row)
        return good


def believing(
    database: Database, org: str, head: LogHead | None, key_of: Callable[[str], str], passed: Passed
) -> Believing | None:
    """What to believe of the log with this end; None where that is not signed by our key, under the log's own name.

    Raises KeyUnavailable.
    """
    if head is None or head.note is None:
        return None
    origin = head.note.partition("\n")[0]
    # The end of the name is what another log of ours has otherwise; its beginning is in the key.
    if not may_be_a_name(origin) or not origin.endswith(origin_of("", org, head.epoch)):
        return None
    key = key_of(origin)
    try:
        says = parse(open_note(head.note, key))
    except Tampered:
        return None
    if (says.origin, says.size, epoch_of(says.origin)) != (origin, head.size, head.epoch):
        return None
    return Believing(database, org, origin, head.epoch, head.size, key, passed)
