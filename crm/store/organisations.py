"""The list of organisations that have a log: the one question about all of them that may be asked from no scope."""

from typing import Final

from sqlalchemy import BigInteger, bindparam, or_, select
from sqlalchemy.dialects.postgresql import insert as insert_unless

from crm.errors import Unsafe
from crm.store.database import NO_ORG, Connection, Database
from crm.store.statements import prepare
from crm.store.tables import audit_head, organisation

__all__ = ["any_founded", "every", "every_visible", "note", "require"]

_ONE: Final = prepare(select(organisation.c.org).limit(1))
_EVERY: Final = prepare(select(organisation.c.org).order_by(organisation.c.org))
# From no scope this is every log that the walls let anybody see: all on SQLite, none on PostgreSQL.
_WITH_A_LOG: Final = prepare(
    select(audit_head.c.org).where(or_(audit_head.c.org == bindparam("org"), bindparam("org") == NO_ORG))
)
# The PostgreSQL construct; both engines spell ON CONFLICT DO NOTHING alike.
_NOTE: Final = prepare(
    insert_unless(organisation)
    .values(org=bindparam("org"), created_at=bindparam("created_at", type_=BigInteger))
    .on_conflict_do_nothing(index_elements=["org"])
)


async def any_founded(database: Database) -> bool:
    """Whether anything was ever recorded here, which it cannot be without keys. Raises StoreUnavailable."""
    return bool(await database.fetch(NO_ORG, _ONE))


async def every(database: Database) -> list[str]:
    """Every organisation, sorted. Raises StoreUnavailable."""
    return [row["org"] for row in await database.fetch(NO_ORG, _EVERY)]


async def every_visible(database: Database) -> list[str]:
    """Every organisation, and whoever was taken off the list but has a log that can be seen. Raises StoreUnavailable.

    On PostgreSQL each sees its own log only; there a batch puts its organisation on the list again.
    """
    logs = {row["org"] for row in await database.fetch(NO_ORG, _WITH_A_LOG)}
    return sorted({*await every(database), *logs})


async def require(database: Database, org: str) -> None:
    """Raises Unsafe for an organisation of which nothing was ever recorded: its name may be mistyped."""
    if org not in await every(database):
        raise Unsafe(f"nothing was ever recorded of an organisation {org}")


async def note(connection: Connection, now: int = 0) -> None:
    """Puts the organisation of this transaction on the list, unless it stands there; `now` is microseconds since 1970.

    For a database that keeps something for an organisation without keeping its log.
    """
    await connection.execute(_NOTE, created_at=now)
