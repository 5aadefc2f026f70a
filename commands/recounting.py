"""`audit recount`: the sums of each person's days, counted anew from the events that are kept."""

from commands.log_verifying import opened
from crm.settings import Settings
from crm.store import log_rollup, organisations

__all__ = ["recount"]


async def recount(settings: Settings, org: str) -> None:
    """Raises Unsafe for an organisation that has no log, and StoreUnavailable. The service may run meanwhile."""
    async with opened(settings) as database:
        await organisations.require(database, org)
        await log_rollup.rebuild(database, org)
        while not await log_rollup.roll_up(database, org):
            pass
