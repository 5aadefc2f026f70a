"""Learning of revoked tokens: at once where another process rings for it, and by looking in any case.

Owns when this process looks, not what it knows (`crm.services.revocations`).
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from crm.delivery.bell import Bell
from crm.services.revocations import EVERY, TOPIC, Revocations
from crm.store.database import NO_ORG

__all__ = ["learning", "tell"]

_log = logging.getLogger("heed.process")


@asynccontextmanager
async def learning(bell: Bell, revocations: Revocations) -> AsyncIterator[None]:
    """While the block runs, what is revoked is known here within moments. Raises StoreUnavailable before it runs."""
    await revocations.refresh()  # until then no token is believed
    task = asyncio.create_task(_learn(bell, revocations), name="revoked tokens")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def tell(bell: Bell) -> None:
    """Has every process look now. Raises StoreUnavailable; they look a little later then."""
    await bell.ring(TOPIC, NO_ORG)


async def _learn(bell: Bell, revocations: Revocations) -> None:
    async with bell.listening(TOPIC, NO_ORG) as wake:
        while True:
            await wake(EVERY)
            try:
                await revocations.refresh()
            except Exception as failure:  # noqa: BLE001 - the next look may succeed
                _log.warning("what was revoked cannot be read: %s", type(failure).__name__)
