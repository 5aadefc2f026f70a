"""A service with a key store, a key ring and an erasure journal of its own, opened as often as a test needs.

What lies on the disk is a `Place`; copies of its databases are made as backups are, and put back as restores do.
"""

import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.writer import LogWriter
from crm.catalogue import KeyClass
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.domain.erasure import ErasureReason
from crm.services import services
from crm.services.erasures import Erasures, Receipt
from crm.services.key_life import ends, indexes, wraps
from crm.services.key_life.custodian import Custodian
from crm.store.database import Database
from crm.store.journal import Journal
from crm.store.keyroom import KeyRoom
from crm.store.keystore import bootstrap
from crm.store.ledger_copies import JournalCopy, KeystoreCopy, LedgerCopies
from crm.store.log import LogSink
from crm.store.unit import Store
from tests.conftest import Databases
from tests.house import ORG, REQUEST, House, actor, now
from tests.keys import ENV
from tests.logs import signer
from tests.store import opened as database_at

__all__ = ["DAY", "Place", "Premises", "copied", "opened"]

DAY = 86_400_000_000
_HOUR = 3600.0


@dataclass(frozen=True)
class Place:
    """Where records, keys and the journal lie; without `keystore_url` the keys are beside the records."""

    url: str
    folder: Path
    keystore_url: str | None = None

    @property
    def journal(self) -> Journal:
        """The file outside the databases."""
        return Journal(self.folder / "erasures.ndjson")

    @property
    def ring(self) -> KeyRing:
        """The root keys, made when they are first asked for."""
        path = self.folder / "keyring.json"
        return KeyRing.load(path) if path.exists() else KeyRing.create(path)

    async def left(self, patient_id: str) -> dict[str, int]:
        """How many rows still hold something of a patient, by what they hold."""
        asked = {
            "keys": "patient_key WHERE patient_id = ? AND (wrapped IS NOT NULL OR state = 'live')",
            "cells": "sealed_row WHERE patient_id = ? AND cells IS NOT NULL",
            "seals": "sealed_row WHERE patient_id = ? AND seal IS NOT NULL",
            "provenance": "sealed_row WHERE patient_id = ? AND provenance <> '{}'",
            "terms": "blind_index WHERE patient_id = ?",
            "reports": "source_record WHERE patient_id = ?",
            "former": "sealed_version WHERE patient_id = ?",
            "versions": "patient_version WHERE patient_id = ? AND act <> 'erase'",
        }
        return {name: await _count(self.url, where, patient_id) for name, where in asked.items()}


async def _count(url: str, where: str, patient_id: str) -> int:
    """Counted past the service, and without disturbing its triggers."""
    if url.startswith("sqlite:"):
        file = sqlite3.connect(f"file:{url.removeprefix('sqlite:///')}?mode=ro", uri=True)
        try:
            return int(file.execute(f"SELECT count(*) FROM {where}", (patient_id,)).fetchone()[0])
        finally:
            file.close()
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(f"SELECT count(*) FROM {where.replace('?', '$1')}", patient_id))
    finally:
        await connection.close()


@dataclass(frozen=True)
class Premises:
    """An opened place."""

    house: House
    keystore: Database
    keyroom: KeyRoom
    copies: LedgerCopies
    ring: KeyRing

    @property
    def erasures(self) -> Erasures:
        """The use cases of erasure."""
        return self.house.services.erasures

    async def erase(
        self,
        patient_id: str,
        *classes: KeyClass,
        org: str = ORG,
        reason: ErasureReason = ErasureReason.PATIENT_REQUEST,
        version: int | None = None,
    ) -> Receipt:
        """Erases these classes, or the whole patient, as a privacy officer; whatever version there is by default."""
        officer = actor(Role.PRIVACY_OFFICER, org=org)
        chosen = frozenset(classes) or None
        return await self.erasures.erase(
            officer, REQUEST, patient_id, version, chosen, reason, any_version=version is None
        )

    async def receipts(self, patient_id: str, *, org: str = ORG) -> list[Receipt]:
        """What was erased of the patient, as of now."""
        return await self.erasures.receipts(actor(Role.PRIVACY_OFFICER, org=org), REQUEST, patient_id)

    async def replay(self) -> int:
        """Does again what is missing; how many erasures that were."""
        missing = await self.erasures.missing()
        for org, chain in missing.items():
            await self.erasures.replay(actor(Role.PRIVACY_OFFICER, org=org), REQUEST, chain)
        return sum(map(len, missing.values()))

    async def end_all_epochs(self) -> None:
        """Rotates every wrap key and the index key, and destroys the old ones with their root keys."""
        custodian = Custodian(
            self.house.services.store,
            self.keystore,
            self.keyroom,
            self.ring,
            ENV,
            lambda org: REQUEST.context(actor(Role.OPERATOR, org=org, purpose=Purpose.HSYSADMIN)),
            _Unwatched(),
            _HOUR,
        )
        for key_class in KeyClass:
            await wraps.rotate(custodian, key_class)
        await indexes.rotate(custodian)
        await ends.destroy(custodian, 0, hurry=True)


class _Unwatched:
    """Nobody is told how far it is."""

    def at(self, step: str, done: int, of: int | None) -> None:
        """See `Watch.at`."""

    def note(self, line: str) -> None:
        """See `Watch.note`."""


@asynccontextmanager
async def opened(
    place: Place,
    *,
    forgetful: bool = False,
    around: Callable[[Database], Database] = lambda database: database,
    clock: Callable[[], int] = now,
) -> AsyncIterator[Premises]:
    """The service of a place, as `commands.house` composes it; `around` may stand before its database."""
    async with database_at(place.url) as real, database_at(place.keystore_url or place.url) as keystore:
        apart = [KeystoreCopy(keystore)] if place.keystore_url else []
        copies = LedgerCopies(real, [*apart, JournalCopy(place.journal)])
        if not forgetful:
            await copies.check()
        rows = await bootstrap(keystore, lambda: KeySet.bootstrap(place.ring, ENV), clock())
        keys = KeySet.load(place.ring, ENV, rows)
        keyroom = KeyRoom(keystore, place.ring, ENV, keys, node="one", clock=clock, refresh=_HOUR, max_age=_HOUR)
        await keyroom.start()
        log = LogWriter(LogSink(real, signer), node="one", clock=clock, deadline=30.0)
        await log.start()
        try:
            store = Store(around(real), keys, log, clock, keyroom.renew)
            use_cases = services(store, region="GB", erasures=Erasures(store, keystore, copies))
            yield Premises(House(real, use_cases, log), keystore, keyroom, copies, place.ring)
            await use_cases.access_log.close()
        finally:
            await log.stop()
            await keyroom.stop()


def copied(databases: Databases, url: str, folder: Path) -> str:
    """The URL of a copy of a database that nobody has open; SQLite's goes into the new `folder`."""
    if not url.startswith("sqlite:"):
        return databases.postgres.create(url)
    shutil.copytree(Path(url.removeprefix("sqlite:///")).parent, folder)
    return f"sqlite:///{folder / 'heed.db'}"
