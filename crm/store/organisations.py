"""The list of organisations that have a log: the one question about all of them that may be asked from no scope."""

from typing import Final

from sqlalchemy import select

from crm.store.database import NO_ORG, Database
from crm.store.statements import prepare
from crm.store.tables import organisation

__all__ = ["any_founded"]

_ONE: Final = prepare(select(organisation.c.org).limit(1))


async def any_founded(database: Database) -> bool:
    """Whether anything was ever recorded here, which it cannot be without keys. Raises StoreUnavailable."""
    return bool(await database.fetch(NO_ORG, _ONE))
