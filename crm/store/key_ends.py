"""When the keys of the key store came to their end, or have yet to: what a receipt of an erasure is computed from."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import select

from crm.store.database import NO_ORG, Database
from crm.store.statements import prepare
from crm.store.tables import crypto_key

__all__ = ["KeyEnd", "KeyEnds", "key_ends"]

_C: Final = crypto_key.c
_ALL: Final = prepare(
    select(_C.kind, _C.key_class, _C.no, _C.state, _C.created_at, _C.activated_at, _C.drained_at, _C.destroyed_at)
    .where(_C.kind.in_(("wrap", "index")))
)  # fmt: skip


class KeyEnd(NamedTuple):
    """Times of one key, in microseconds since 1970: since when it is used, needed by nothing, and gone for everybody.

    `destroyed_at` is None while the key can be used, and may lie ahead where its keeper waits before it destroys.
    """

    used_since: int
    drained_at: int | None
    destroyed_at: int | None


KeyEnds = Mapping[tuple[str, int], KeyEnd]
"""By use (a key class, or `index`) and number."""


async def key_ends(database: Database) -> KeyEnds:
    """Every wrap and index key that there ever was. Raises StoreUnavailable."""
    return {
        (row["key_class"] or "index", row["no"]): KeyEnd(
            row["activated_at"] or row["created_at"],
            row["drained_at"],
            row["destroyed_at"] if row["state"] == "destroyed" else None,
        )
        for row in await database.fetch(NO_ORG, _ALL)
    }
