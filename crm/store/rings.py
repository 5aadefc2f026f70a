"""Rings between the processes of one database: that something happened to a topic of an organisation, and no more.

PostgreSQL carries them (NOTIFY, heard by LISTEN on a connection of its own); SQLite serves one process, which needs
none. A ring may be lost, so whoever waits for one looks for himself from time to time (`crm.delivery.bell`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import asyncpg
from sqlalchemy import Text, bindparam, func, literal_column, select

from crm.errors import StoreUnavailable
from crm.store.database import Connection
from crm.store.lanes import connection
from crm.store.statements import prepare
from crm.store.work import Step, step

__all__ = ["Heard", "hearing", "ring", "ringing"]

Heard = Callable[[str, str], None]
"""Told the topic and the organisation of a ring."""

_CHANNEL: Final = "heed"
_TOPIC = bindparam("topic", type_=Text)
_ORG = bindparam("org", type_=Text)
_RING = prepare(
    select(_TOPIC, _ORG),
    postgresql=select(
        func.pg_notify(literal_column(f"'{_CHANNEL}'"), func.concat(_TOPIC, literal_column("' '"), _ORG))
    ),
)

_PROBE = 5.0
"""Seconds after which a connection that hears nothing is asked whether it still could."""


def ringing(topic: str) -> Step:
    """The step that rings when its transaction is committed. `topic` is one of our words, without a space."""
    return step(_RING, topic=topic)


async def ring(connection: Connection, topic: str) -> None:
    """Rings when the caller's transaction is committed, for its organisation. Not on the way of a look-up.

    PostgreSQL lets only one transaction that rings commit at a time.
    """
    await connection.execute(_RING, topic=topic)


@asynccontextmanager
async def hearing(url: str, heard: Heard, *, within: float = 5.0) -> AsyncIterator[asyncio.Event]:
    """Tells `heard` of every ring in the PostgreSQL database at `url` from now on.

    The event that it gives is set as soon as the connection is lost: rings may be missed from then on. `within` are
    seconds to connect and to be answered. Raises StoreUnavailable, and Unsafe for a login that is refused.
    """
    opened = await connection(url, within=within, server_settings={"application_name": "heed-bell"})
    lost = asyncio.Event()
    probing = asyncio.create_task(_probe(opened, lost, within))

    def take(_connection: Any, _pid: int, _channel: str, payload: Any) -> None:
        topic, _, org = str(payload).partition(" ")
        heard(topic, org)

    try:
        opened.add_termination_listener(lambda _connection: lost.set())
        await _listen(opened, take)
        yield lost
    finally:
        probing.cancel()
        with suppress(asyncio.CancelledError):
            await probing
        opened.terminate()


async def _listen(opened: "asyncpg.Connection[asyncpg.Record]", take: Any) -> None:
    try:
        await opened.add_listener(_CHANNEL, take)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        raise StoreUnavailable from None


async def _probe(opened: "asyncpg.Connection[asyncpg.Record]", lost: asyncio.Event, within: float) -> None:
    """A server that vanished without a word would else be waited for until the system gives up."""
    try:
        while not opened.is_closed():
            await asyncio.sleep(_PROBE)
            await opened.execute("SELECT 1", timeout=within)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pass
    lost.set()
