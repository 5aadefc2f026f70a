"""The running processes and the keys that each says it holds: rows of `replica`, in the key store's database.

Knows no key. A process writes its row before it first looks at the key store, so that whoever publishes a key either is
seen by that look or sees the row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from crm.store.database import NO_ORG, Database
from crm.store.statements import prepare
from crm.store.tables import replica

__all__ = ["Holds", "Replica", "forget", "leave", "replicas", "report"]

Holds = Mapping[str, Mapping[int, str]]
"""States of keys by use and number."""

_NEW: Final = insert(replica)
_REPORT: Final = prepare(
    _NEW.on_conflict_do_update(
        index_elements=["node"], set_={"seen_at": _NEW.excluded.seen_at, "holds": _NEW.excluded.holds}
    )
)
_LEAVE: Final = prepare(delete(replica).where(replica.c.node == bindparam("node")))
_FORGET: Final = prepare(delete(replica).where(replica.c.seen_at < bindparam("before")))
_ALL: Final = prepare(
    select(replica.c.node, replica.c.started_at, replica.c.seen_at, replica.c.holds, replica.c.max_age).order_by(
        replica.c.started_at, replica.c.node
    )
)


@dataclass(frozen=True, slots=True)
class Replica:
    """A process as it last reported itself; times are microseconds since 1970, UTC.

    `holds` is None for one that is starting and has not said yet. It stops changing records `max_age` microseconds
    after its last look at the key store.
    """

    node: str
    started_at: int
    seen_at: int
    holds: Holds | None
    max_age: int = 0

    def knows(self, use: str, no: int) -> bool:
        """Whether it holds that key, or nothing of that use at all and so never will."""
        return self.holds is not None and (use not in self.holds or no in self.holds[use])

    def relies_on_older(self, use: str, no: int) -> bool:
        """Whether it may still write under a key of that use from before number `no`."""
        if self.holds is None:
            return True
        return any(state == "active" and number < no for number, state in self.holds.get(use, {}).items())


async def replicas(database: Database) -> list[Replica]:
    """All that have reported and not left, the oldest first. Raises StoreUnavailable."""
    rows = await database.fetch(NO_ORG, _ALL)
    return [
        Replica(row["node"], row["started_at"], row["seen_at"], _holds(row["holds"]), row["max_age"]) for row in rows
    ]


async def report(database: Database, node: str, started_at: int, now: int, holds: Holds | None, max_age: int) -> None:
    """Says that this process runs, what it holds, and its `max_age`, microseconds. Raises StoreUnavailable."""
    said = orjson.dumps(holds, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SORT_KEYS).decode()
    async with database.transaction(NO_ORG) as connection:
        await connection.execute(_REPORT, node=node, started_at=started_at, seen_at=now, holds=said, max_age=max_age)


async def leave(database: Database, node: str) -> None:
    """Says that this process ends, so that nobody waits for it. Raises StoreUnavailable."""
    async with database.transaction(NO_ORG) as connection:
        await connection.execute(_LEAVE, node=node)


async def forget(database: Database, before: int) -> None:
    """Removes processes that were last seen before that time and never said that they end. Raises StoreUnavailable."""
    async with database.transaction(NO_ORG) as connection:
        await connection.execute(_FORGET, before=before)


def _holds(said: str) -> Holds | None:
    holds = orjson.loads(said)
    if holds is None:
        return None
    return {use: {int(no): state for no, state in states.items()} for use, states in holds.items()}
