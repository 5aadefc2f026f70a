"""Revoked tokens as stored: what was revoked since a reader last looked, and new entries. Refuses nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import BigInteger, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from crm.store.database import NO_ORG, Connection, Database, Row
from crm.store.statements import prepare
from crm.store.tables import revoked_token

__all__ = ["Revocation", "every", "since"]

_R: Final = revoked_token.c
_VALUES: Final = ("id", "issuer", "token_id", "subject", "issued_until", "ends_at", "revoked_at", "revoked_by")

_SINCE: Final = prepare(
    select(revoked_token)
    .where(_R.seq > bindparam("known", type_=BigInteger), _R.ends_at > bindparam("now", type_=BigInteger))
    .order_by(_R.seq)
)
_EVERY: Final = prepare(select(revoked_token).order_by(_R.seq))
# The PostgreSQL construct; both engines spell it alike.
_ADD: Final = prepare(
    insert(revoked_token)
    .from_select(
        ["seq", *_VALUES],
        select(
            func.coalesce(func.max(_R.seq), 0) + 1,
            *(bindparam(name, type_=BigInteger() if name.endswith(("_until", "_at")) else Text()) for name in _VALUES),
        ).where(_R.seq > 0),  # SQLite would take the ON behind a SELECT without WHERE for that of a join
    )
    .on_conflict_do_nothing(index_elements=["seq"])
)


@dataclass(frozen=True, slots=True)
class Revocation:
    """One token by its `jti`, or all of a subject that were issued up to a time; the other of the two is None.

    Times are microseconds since 1970, UTC. From `ends_at` on every such token has expired of itself.
    """

    id: str
    issuer: str
    token_id: str | None
    subject: str | None
    issued_until: int
    ends_at: int
    revoked_at: int
    revoked_by: str

    async def store(self, connection: Connection) -> None:
        """Stores this with the next number.

        Who takes the same number at this moment goes first: this waits for their commit, and takes the one behind it.
        """
        values = {name: getattr(self, name) for name in _VALUES}
        while not await connection.execute(_ADD, **values):
            pass


async def since(database: Database, known: int, now: int) -> tuple[int, Sequence[Revocation]]:
    """What was revoked behind the number `known` and still has an effect, and the number to ask from next time.

    Raises StoreUnavailable.
    """
    rows = await database.fetch(NO_ORG, _SINCE, known=known, now=now)
    return max((row["seq"] for row in rows), default=known), [_revocation(row) for row in rows]


async def every(database: Database) -> list[Revocation]:
    """All that was ever revoked, in the order of time. Raises StoreUnavailable."""
    return [_revocation(row) for row in await database.fetch(NO_ORG, _EVERY)]


def _revocation(row: Row) -> Revocation:
    return Revocation(*(row[name] for name in _VALUES))
