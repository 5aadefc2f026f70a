"""The erasure ledger's copies outside the records' database: brings them up to date, and says when one knows more.

A database that was put back from an old copy has forgotten erasures; whoever kept a copy of the ledger has not. The
copies are the key store, where that is another database, and the journal file.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, Protocol

from crm.errors import CrmError, Unsafe
from crm.store import ledger, organisations
from crm.store.database import Database
from crm.store.journal import Journal
from crm.store.ledger import Link, sound_until

__all__ = ["Chains", "Copy", "JournalCopy", "KeystoreCopy", "LedgerCopies"]

Chains = Mapping[str, Sequence[Link]]
"""Links by organisation, each chain in order."""

_log = logging.getLogger("heed.erasure")

_REPLAY: Final = "run `python server.py replay-erasures`"


class Copy(Protocol):
    """One place that repeats the ledger. Raises Unsafe, StoreUnavailable, OSError."""

    name: str

    async def chains(self) -> Chains:
        """All that it holds."""
        ...

    async def follow(self, chains: Chains) -> None:
        """Takes in what it does not hold yet."""
        ...


class KeystoreCopy:
    """The table `erasure_ledger` of a key store that is a database of its own."""

    name = "the key store"

    def __init__(self, database: Database) -> None:
        self._database = database

    async def chains(self) -> Chains:
        """See `Copy.chains`."""
        return await _stored(self._database)

    async def follow(self, chains: Chains) -> None:
        """See `Copy.follow`."""
        for org, chain in chains.items():
            async with self._database.transaction(org) as connection:
                await organisations.note(connection)
                await ledger.repeat(connection, chain)


class JournalCopy:
    """The journal file."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.name = str(journal)

    async def chains(self) -> Chains:
        """See `Copy.chains`."""
        return await asyncio.to_thread(self._journal.chains)

    async def follow(self, chains: Chains) -> None:
        """See `Copy.follow`."""
        await asyncio.to_thread(self._journal.follow, chains)


class LedgerCopies:
    """The ledger in `database`, and its copies."""

    def __init__(self, database: Database, copies: Sequence[Copy] = ()) -> None:
        self._database = database
        self._copies = copies

    async def check(self) -> None:
        """Returns when the ledger is whole and no copy knows more; brings copies that know less up to date.

        Raises Unsafe, with what to do, for a chain that was edited or cut, for a copy that is ahead (a database put
        back from an old copy) and for one that tells another story; StoreUnavailable.
        """
        ahead = await self.missing()
        if count := sum(map(len, ahead.values())):
            raise Unsafe(
                f"{count} erasures are missing from the database, as after putting back an old copy of it: {_REPLAY}"
            )
        await self.spread()

    async def missing(self) -> Chains:
        """What copies know and the ledger does not, in order. Raises Unsafe for a broken or foreign chain.

        Warns of a copy that is empty while the ledger is not: whoever puts back an old database and takes the copies
        away hides what was erased since, and so does losing them.
        """
        own = await _stored(self._database)
        _refuse_broken("the database", own)
        ahead: dict[str, Sequence[Link]] = {}
        for copy in self._copies:
            try:
                theirs = await copy.chains()
            except OSError as failure:
                raise Unsafe(f"{copy.name} cannot be read: {failure.strerror}") from None
            if own and not theirs:
                _log.warning(
                    "%s does not exist or is empty; it is written anew: was it lost, or put back from a copy?",
                    copy.name,
                )
            _refuse_broken(copy.name, theirs)
            for org, chain in theirs.items():
                _refuse_fork(copy.name, org, own.get(org, ()), chain)
                _refuse_fork(copy.name, org, ahead.get(org, ()), chain[len(own.get(org, ())) :])
                more = chain[len(own.get(org, ())) :]
                if len(more) > len(ahead.get(org, ())):
                    ahead[org] = more
        return ahead

    async def spread(self) -> bool:
        """Brings the copies up to date; False, with a warning, where one could not be. What fails is tried again.

        Every start and every erasure comes by here, so a copy that was away for a while misses nothing for good.
        """
        reached = True
        for copy in self._copies:
            try:
                await self._bring(copy)
            except (CrmError, OSError) as failure:
                reached = False
                text = str(failure) if isinstance(failure, Unsafe) else type(failure).__name__
                _log.warning("%s does not have the newest erasures: %s", copy.name, text)
        return reached

    async def _bring(self, copy: Copy) -> None:
        theirs = await copy.chains()
        news: dict[str, list[Link]] = {}
        for org in await organisations.every(self._database):
            held = theirs.get(org, ())
            chain = await ledger.links(partial(self._database.fetch, org), org, max(len(held) - 1, 0))
            _refuse_fork(copy.name, org, chain[:1], held[-1:])
            if more := chain[1:] if held else chain:
                news[org] = more
        if news:
            await copy.follow(news)


async def _stored(database: Database) -> dict[str, list[Link]]:
    found = {org: await ledger.links(partial(database.fetch, org), org) for org in await organisations.every(database)}
    return {org: chain for org, chain in found.items() if chain}


def _refuse_broken(where: str, chains: Chains) -> None:
    for org, chain in chains.items():
        if (sound := sound_until(chain)) < len(chain):
            raise Unsafe(
                f"the erasure ledger of {org} in {where} was edited, cut or damaged behind entry {sound}: find out by "
                "whom, and put it back from another copy"
            )


def _refuse_fork(where: str, org: str, own: Sequence[Link], theirs: Sequence[Link]) -> None:
    for mine, other in zip(own, theirs, strict=False):
        if mine.hash != other.hash:
            raise Unsafe(
                f"{where} and the database tell different stories of erasure {mine.seq} in {org}: the database was put "
                "back from an old copy and erased from since, or this copy belongs to another database"
            )
