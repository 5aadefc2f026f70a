"""The composition of one process: settings become database, keys, log, use cases and verifier, and end in order."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from auth.development import DevelopmentIssuer
from auth.issuers import IssuerKeys, UnsafeIssuer
from auth.key_download import download
from auth.tokens import TokenVerifier
from crm.audit.writer import LogWriter
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.errors import Unsafe
from crm.services import Services, services
from crm.settings import Environment, KeyProvider, Settings
from crm.store import keystore, migrations, organisations
from crm.store.database import Database, connect
from crm.store.log import LogSink
from crm.store.unit import Store

DEFAULT_ORG = "demo"
"""The organisation of commands that name none."""


@dataclass(frozen=True, slots=True)
class House:
    """The parts of a running process that its commands use."""

    settings: Settings
    database: Database
    services: Services
    log: LogWriter

    async def ready(self) -> dict[str, bool]:
        """What readiness rests on: the database answers, keys are held, the log takes events."""
        try:
            await self.database.probe()
            reachable = True
        except Exception:  # noqa: BLE001 - whatever ails it, the answer is no
            reachable = False
        return {"database": reachable, "keys": bool(self.services.store.keys.held), "log": self.log.healthy}


def clock() -> int:
    """Microseconds since 1970, UTC."""
    return time.time_ns() // 1000


@asynccontextmanager
async def house(settings: Settings) -> AsyncIterator[House]:
    """An opened house. The first one in a migrated database also founds its keys.

    Raises `Unsafe` when database, keys or durability are not in order, with what to do, and `StoreUnavailable`.
    """
    provider = _provider(settings)
    migrations.check(settings.database_url)
    database = connect(settings.database_url, pool_size=settings.database_connections)
    await database.open()
    try:
        keys = await _keys(settings, provider, database)
        log = LogWriter(
            LogSink(database),
            node=f"{os.uname().nodename}-{os.getpid()}",
            clock=clock,
            deadline=settings.audit_deadline,
            queue=settings.audit_queue,
            batch=settings.audit_batch,
        )
        await log.start()
        try:
            store = Store(database, keys, log, clock)
            opened = services(store, region=settings.default_region)
            try:
                yield House(settings, database, opened, log)
            finally:
                await opened.access_log.close()
        finally:
            await log.stop()
    finally:
        await database.close()


async def _keys(settings: Settings, provider: KeyRing, database: Database) -> KeySet:
    """The key set, unwrapped by the provider from the rows of the key store, which may be another database."""
    if settings.keystore_url == settings.database_url:
        return await _founded(settings, provider, database, database)
    migrations.check(settings.keystore_url)
    store = connect(settings.keystore_url, pool_size=2)
    await store.open()
    try:
        return await _founded(settings, provider, database, store)
    finally:
        await store.close()


async def _founded(settings: Settings, provider: KeyRing, database: Database, store: Database) -> KeySet:
    """The stored keys; new ones only where nothing was ever recorded, since new keys would open none of it."""
    # In this order: another replica that founds the house at this moment stores its keys before its first event.
    in_use = await organisations.any_founded(database)
    stored = await keystore.stored_keys(store)
    environment = settings.env.value
    if not stored:
        if in_use:
            raise Unsafe(
                "the database holds records, but the key store holds no keys for them: restore the table crypto_key, "
                "or point HEED_KEYSTORE_URL to the database that has it"
            )
        stored = await keystore.bootstrap(store, lambda: KeySet.bootstrap(provider, environment), clock())
    return KeySet.load(provider, environment, stored)


def _provider(settings: Settings) -> KeyRing:
    match settings.key_provider:
        case KeyProvider.KEYRING:
            return KeyRing.load(settings.keyring)
        case other:
            raise Unsafe(f"HEED_KEY_PROVIDER: this version has no provider {other}")


def verifier(settings: Settings) -> TokenVerifier:
    """The verifier of the configured issuers; in development without any, of the embedded one. Raises `Unsafe`."""
    development = settings.env is Environment.DEVELOPMENT
    issuers = settings.issuers
    try:
        if not issuers and development:
            issuers = (DevelopmentIssuer(settings.data_dir).issuer,)
        return TokenVerifier(IssuerKeys(issuer, download, development=development) for issuer in issuers)
    except UnsafeIssuer as error:
        raise Unsafe(f"HEED_ISSUERS: {error}") from None
