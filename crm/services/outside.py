"""What is known of the logs outside the database, and whether the database still agrees with it.

The journal and the witnesses remember the newest checkpoints. A database that was put back to an older state has fewer
events than they know of (a rollback); one in which the past was changed has another tree over them (a fork). Neither
may be served from: the next checkpoint would contradict one that was signed.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from crm.audit.checkpoint import Checkpoint, epoch_of, origin_of, parse
from crm.audit.tree import EMPTY, Frontier
from crm.crypto.cosignature import COSIGNATURE
from crm.crypto.note import open_note, verifier_key
from crm.errors import CrmError, Tampered, Unsafe
from crm.services.publishing import KeyOf
from crm.services.witnesses import Witness
from crm.store import organisations, proofs
from crm.store.checkpoint_journal import CheckpointJournal
from crm.store.database import Database
from crm.store.proofs import LogHead

__all__ = ["Known", "Outside", "Trouble"]

_AT_ONCE = 8
_log = logging.getLogger("heed.checkpoints")


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint that somebody outside the database remembers."""

    org: str
    source: str
    checkpoint: Checkpoint


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a log may not go on: what it says in one line, and the newest checkpoint that it lost, if any is known."""

    org: str
    text: str
    lost: Checkpoint | None = None


class Outside:
    """What the journal and the witnesses know of the logs in a database, whose names begin with `base`."""

    def __init__(
        self,
        database: Database,
        journal: CheckpointJournal,
        witnesses: Sequence[Witness],
        key_of: KeyOf,
        base: str,
    ) -> None:
        self._database = database
        self._journal = journal
        self._witnesses = witnesses
        self._key_of = key_of
        self._base = base

    async def troubles(self) -> list[Trouble]:
        """What forbids to go on, a line for each log; empty where all is as it is remembered.

        Cheap: it looks at the heads, and at a handful of tiles for each. A witness that is away is warned about and
        passed over. Raises StoreUnavailable, and Unsafe for a journal that cannot be believed.
        """
        remembered = await self._remembered()
        orgs = sorted({*await organisations.every(self._database), *(known.org for known in remembered)})
        self._refuse_own_keys(orgs)
        heads = {org: await proofs.head(self._database, org) for org in orgs}
        seen = await self._seen(heads)
        found = []
        for org in orgs:
            known = [each for each in (*remembered, *seen) if each.org == org]
            trouble = await self._trouble(org, heads[org], known)
            if trouble is not None:
                found.append(trouble)
        return found

    def _refuse_own_keys(self, orgs: Sequence[str]) -> None:
        """A witness that signs with a key of a log vouches for nothing."""
        own = {verifier_key(self._key_of(origin_of(self._base, org, 1))).public for org in orgs}
        if any(verifier_key(each.key, COSIGNATURE).public in own for each in self._witnesses):
            raise Unsafe("HEED_WITNESSES names the key of a log as that of a witness: a witness has a key of its own")

    async def _remembered(self) -> list[Known]:
        """What the journal has. Raises Unsafe where it has what our keys did not sign."""
        found = []
        for org, note in (await asyncio.to_thread(self._journal.notes)).items():
            try:
                origin = note.partition("\n")[0]
                found.append(Known(org, str(self._journal), parse(open_note(note, self._key_of(origin)))))
            except Tampered:
                raise Unsafe(
                    f"{self._journal} holds a checkpoint of {org} that no key of ours has signed: it is that of "
                    "another installation, or somebody wrote to it"
                ) from None
        return found

    async def _seen(self, heads: dict[str, LogHead | None]) -> list[Known]:
        """What the witnesses have."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def ask(witness: Witness, org: str, epoch: int) -> Known | None:
            origin = origin_of(self._base, org, epoch)
            async with gate:
                try:
                    note = await witness.latest(origin)
                    found = None if note is None else parse(open_note(note, self._key_of(origin)))
                except (CrmError, OSError) as failure:
                    _log.warning("witness %s: %s: not asked: %s", witness.name, origin, type(failure).__name__)
                    return None
            return Known(org, f"witness {witness.name}", found) if found and found.origin == origin else None

        asked = [ask(each, org, head.epoch if head else 1) for org, head in heads.items() for each in self._witnesses]
        return [known for known in await asyncio.gather(*asked) if known is not None]

    async def _trouble(self, org: str, head: LogHead | None, known: Sequence[Known]) -> Trouble | None:
        lost = max((each.checkpoint for each in known), key=_age, default=None)
        if head is not None and head.note and epoch_of(head.note.partition("\n")[0]) < head.epoch:
            return Trouble(org, f"the log of {org} was to begin anew, and did not: run `audit renew --org {org}`", lost)
        if head is not None and not await self._sound(org, head, known=bool(known)):
            return Trouble(
                org,
                f"FORK DETECTED: the log of {org} is not what its own checkpoint says: somebody changed it, or "
                "HEED_LOG_ORIGIN; run `audit verify`, and put back a copy that is whole",
                lost,
            )
        size, epoch = (head.size, head.epoch) if head else (0, 1)
        for each in known:
            was = each.checkpoint
            then = epoch_of(was.origin)
            if then < epoch:
                continue
            if then > epoch or was.size > size:
                return Trouble(
                    org,
                    f"ROLLBACK DETECTED: the log of {org} has {size} events, and {each.source} knows one of {was.size} "
                    f"({was.origin}): the database was put back to an older state; put back a newer one, or run "
                    f"`audit renew --org {org}`, which goes on from here and records what was lost",
                    lost,
                )
            if was.root != await self._root(org, was.size):
                return Trouble(
                    org,
                    f"FORK DETECTED: the first {was.size} of {size} events of {org} are not those that {each.source} "
                    f"knows ({was.origin}): the log was changed, or this is another database; run `audit verify`",
                    lost,
                )
        return None

    async def _sound(self, org: str, head: LogHead, *, known: bool) -> bool:
        """Whether size, edge, tiles and the checkpoint that this log, and no other, signed say the same.

        One that is `known` outside was signed before.
        """
        try:
            root = Frontier(head.size, head.frontier).root()
            if root != await self._root(org, head.size):
                return False
            if head.note is None:  # of a release that signed none; the next batch will
                if known:
                    return False
                _log.warning("the log of %s has %d events and no signature yet", org, head.size)
                return True
            origin = origin_of(self._base, org, head.epoch)
            return parse(open_note(head.note, self._key_of(origin))) == Checkpoint(origin, head.size, root)
        except Tampered:
            return False

    async def _root(self, org: str, size: int) -> bytes | None:
        try:
            return await proofs.root_at(self._database, org, size) if size else EMPTY
        except Tampered:
            return None


def _age(checkpoint: Checkpoint) -> tuple[int, int]:
    return epoch_of(checkpoint.origin), checkpoint.size
