"""Replicas of one service in one process: a database and root keys that they share, and custodians who rotate keys."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auth.purposes import Purpose
from auth.roles import Role
from crm.audit.writer import LogWriter
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.provider import KeyProvider
from crm.services import services
from crm.services.key_life.custodian import Custodian
from crm.services.request import Request
from crm.store.database import Database, connect
from crm.store.keyroom import KeyRoom
from crm.store.keystore import bootstrap
from crm.store.log import LogSink
from crm.store.unit import Store
from tests.house import House, actor, now
from tests.keys import ENV
from tests.logs import signer

__all__ = ["Member", "Stopped", "StoppingWatch", "member"]

HOUR = 3600.0


class Stopped(Exception):
    """Stands for a kill: nothing of what follows is done."""


@dataclass
class StoppingWatch:
    """Remembers what it was told, and ends the work at the `at_most`-th word."""

    at_most: int | None = None
    steps: list[tuple[str, int, int | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def at(self, step: str, done: int, of: int | None) -> None:
        self.steps.append((step, done, of))
        if self.at_most is not None and len(self.steps) >= self.at_most:
            raise Stopped

    def note(self, line: str) -> None:
        self.notes.append(line)


@dataclass(frozen=True)
class Member:
    """One replica: a service with a key room of its own."""

    house: House
    database: Database
    keyroom: KeyRoom
    provider: KeyProvider

    @property
    def keys(self) -> KeySet:
        """What it holds."""
        return self.keyroom.keys

    def custodian(self, watch: StoppingWatch | None = None, **parts: Any) -> Custodian:
        """Somebody who changes keys from here."""
        request = Request("test-run", "command:keys-rotate")
        usual: dict[str, Any] = {
            "store": self.house.services.store,
            "keystore": self.database,
            "keyroom": self.keyroom,
            "provider": self.provider,
            "env": ENV,
            "context": lambda org: request.context(actor(Role.OPERATOR, org=org, purpose=Purpose.HSYSADMIN)),
            "watch": watch or StoppingWatch(),
            "max_age": HOUR,
        }
        return Custodian(**{**usual, **parts})


def ring_in(folder: Path) -> KeyRing:
    """The key ring of a folder, made when it is first asked for."""
    path = folder / "keyring.json"
    return KeyRing.load(path) if path.exists() else KeyRing.create(path)


@asynccontextmanager
async def member(
    url: str,
    folder: Path,
    *,
    node: str = "one",
    provider: Callable[[KeyRing], KeyProvider] = lambda ring: ring,
    refresh: float = HOUR,
    max_age: float = HOUR,
) -> AsyncIterator[Member]:
    """A replica on the migrated database at `url`, with the root keys in `folder`; `refresh` in seconds."""
    async with AsyncExitStack() as opened:
        database = connect(url, durable=False)
        await database.open()
        opened.push_async_callback(database.close)
        keeper = provider(ring_in(folder))
        rows = await bootstrap(database, lambda: KeySet.bootstrap(keeper, ENV), now())
        keys = KeySet.load(keeper, ENV, rows)
        keyroom = KeyRoom(database, keeper, ENV, keys, node=node, clock=now, refresh=refresh, max_age=max_age)
        await keyroom.start()
        opened.push_async_callback(keyroom.stop)
        log = LogWriter(LogSink(database, signer), node=node, clock=now, deadline=30.0)
        await log.start()
        opened.push_async_callback(log.stop)
        use_cases = services(Store(database, keys, log, now, keyroom.renew), region="GB")
        opened.push_async_callback(use_cases.access_log.close)
        yield Member(House(database, use_cases, log), database, keyroom, keeper)
