"""The epoch of a log: each is a life under a name of its own, begun when the one before could not go on."""

from sqlalchemy import Integer, bindparam, update

from crm.store.database import Database
from crm.store.statements import prepare
from crm.store.tables import audit_head

__all__ = ["begin"]

_BEGIN = prepare(
    update(audit_head)
    .where(audit_head.c.org == bindparam("org"), audit_head.c.epoch < bindparam("of_epoch", type_=Integer))
    .values(epoch=bindparam("of_epoch", type_=Integer))
)


async def begin(database: Database, org: str, epoch: int) -> None:
    """The next batch of the log is the first of this epoch; nothing where it is that already. Raises StoreUnavailable.

    Until that batch is signed the log belongs to no epoch, and a start is refused.
    """
    async with database.transaction(org) as connection:
        await connection.execute(_BEGIN, of_epoch=epoch)
