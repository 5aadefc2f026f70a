"""The couriers of a serving process, by the settings: from the start of its house to the end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from crm.delivery.bell import Bell
from crm.delivery.destinations import Resolver
from crm.delivery.posting import Poster
from crm.delivery.webhooks import Couriers, Pace
from crm.services.webhooks import Webhooks
from crm.settings import Environment, Settings
from crm.store.unit import Store

__all__ = ["couriers"]


@asynccontextmanager
async def couriers(settings: Settings, store: Store, bell: Bell) -> AsyncIterator[Couriers | None]:
    """Running couriers; None where this process is to send no webhooks."""
    if not settings.webhooks:
        yield None
        return
    development = settings.env is Environment.DEVELOPMENT
    resolver = Resolver()
    poster = Poster(resolver, timeout=settings.webhook_timeout, development=development)
    hooks = Webhooks(store, development=development)
    pace = Pace(beat=settings.webhook_timeout / 3, lease=settings.webhook_timeout * 3)
    sending = Couriers(store, hooks, poster, bell, pace=pace, days=settings.webhook_days)
    sending.start()
    try:
        yield sending
    finally:
        await sending.stop()
        resolver.close()
