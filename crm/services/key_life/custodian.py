"""What all who change keys share: the parts of the process, and the steps by which replicas never miss a key.

Publish a key as pending; wait until every replica says that it holds it; make it active by compare-and-set; wait until
every replica says so: from then on nobody writes under the old one. `docs/decisions/0015` has the reasons.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from crm.audit.event import Act
from crm.crypto.provider import KeyProvider
from crm.crypto.stored_key import StoredKey
from crm.errors import Unsafe
from crm.services.refusals import NOBODY
from crm.store import keystore, organisations, rotating
from crm.store.context import Context
from crm.store.database import Database
from crm.store.keyroom import SILENT, KeyRoom
from crm.store.keystore import KeyRow
from crm.store.refusing import event
from crm.store.replicas import Replica, replicas
from crm.store.unit import Store

__all__ = ["Custodian", "Watch"]

_EACH: Final = 0.2
_MOMENT: Final = 0.05
_PATIENCE: Final = 5.0
"""Seconds of waiting after which it is said for whom, and again after as many."""


class Watch(Protocol):
    """Who is told how far it is."""

    def at(self, step: str, done: int, of: int | None) -> None:
        """A step advances: so many of so many."""
        ...

    def note(self, line: str) -> None:
        """Something that a person should know."""
        ...


@dataclass(frozen=True, slots=True)
class Custodian:
    """The parts of a process that changes keys.

    `context` gives the context in which an organisation's event is recorded; `max_age`, in seconds, is the most that
    any replica has.
    """

    store: Store
    keystore: Database
    keyroom: KeyRoom
    provider: KeyProvider
    env: str
    context: Callable[[str], Context]
    watch: Watch
    max_age: float

    def now(self) -> int:
        """Microseconds since 1970, UTC."""
        return self.store.clock()

    async def rows(self, use: str) -> list[KeyRow]:
        """The keys of a use, ascending by number. Raises Unsafe when there are none."""
        found = [row for row in await keystore.key_rows(self.keystore) if row.key.use == use]
        if not found:
            raise Unsafe(f"the key store has no key for {use}: restore the table crypto_key")
        return sorted(found, key=lambda row: row.no)

    async def publish(self, key: StoredKey) -> None:
        """Stores a pending key, unless somebody else published that number before."""
        await keystore.add(self.keystore, key, self.now())

    async def activate(self, use: str, no: int) -> None:
        """Makes a pending key the one that is written under, once every replica holds it, and waits until all do so.

        A key that is active already, or more, is only waited for.
        """
        await self.known_to_all(use, no, "hold it", lambda replica: replica.knows(use, no))
        rows = {row.no: row for row in await self.rows(use)}
        old = next((row for row in rows.values() if row.state == "active"), None)
        if rows[no].state == "pending" and old is not None:
            await keystore.activate(self.keystore, old.key, rows[no].key, self.now())
        await self.known_to_all(use, no, "write under it", lambda replica: not replica.relies_on_older(use, no))

    async def known_to_all(self, use: str, no: int, what: str, done: Callable[[Replica], bool]) -> None:
        """Waits until every replica that lives is `done`; says for whom when that takes long."""
        await self.keyroom.look()
        spoken = time.monotonic()
        while True:
            live = await self.live()
            behind = [replica for replica in live if not done(replica)]
            self.watch.at(f"{use} {no}: replicas that {what}", len(live) - len(behind), len(live))
            if not behind:
                return
            if time.monotonic() - spoken >= _PATIENCE:
                spoken = time.monotonic()
                self.watch.note(f"{use} {no}: waiting for {self._named(behind)}")
            await asyncio.sleep(_EACH)

    async def live(self) -> list[Replica]:
        """The replicas that may still write: those that reported lately."""
        now = self.now()
        return [replica for replica in await self.replicas() if replica.seen_at + self._patience(replica) >= now]

    async def replicas(self) -> list[Replica]:
        """All that reported and did not leave, the oldest first."""
        return await replicas(self.keystore)

    def _named(self, behind: Iterable[Replica]) -> str:
        now = self.now()
        return ", ".join(
            f"{replica.node} (last heard {max(0, now - replica.seen_at) // 1_000_000} s ago; counts as gone after "
            f"{self._patience(replica) // 1_000_000} s)"
            for replica in behind
        )

    def _patience(self, replica: Replica) -> int:
        """Microseconds of silence after which a replica counts as gone."""
        return int(min(self.max_age * 1_000_000, replica.max_age) * SILENT)

    async def pause(self, begun: float) -> None:
        """Leaves the one writer of a SQLite file to others for as long as it was taken since `begun`, up to a moment.

        No longer, because the time includes the wait for it, in which it was theirs.
        """
        taken = time.monotonic() - begun
        await asyncio.sleep(min(taken, _MOMENT) if self.store.database.dialect == "sqlite" else 0)

    async def settled(self) -> None:
        """Waits for transactions that began before what the replicas said last."""
        await rotating.settled(self.store.database)

    async def organisations(self) -> list[str]:
        """Whose records there are now."""
        return [org for org in await organisations.every(self.store.database) if org != NOBODY]

    async def record(self, org: str, what: str, count: int) -> None:
        """Puts into an organisation's log what is about to be done to so many rows; nothing is done without it."""
        happened = event(self.context(org), act=Act.KEY_ROTATE, why=what, cnt=count)
        await self.store.log.append(org, [happened])

    async def record_everywhere(self, what: str) -> None:
        """The same for what concerns the keys of all organisations."""
        for org in await self.organisations():
            await self.record(org, what, 1)
