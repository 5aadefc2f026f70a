"""Bundles of a log for outsiders: a folder with checkpoint, tiles and events that is checked without Heed.

A bundle is whole or not there. That it was made is recorded before it is begun, with one event, which is in it.
"""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.bundle import CHECKPOINT, WITNESSED, beside, entries
from crm.audit.event import Act
from crm.audit.tiles import WIDTH, entries_path, path_of, width_of
from crm.crypto.cosignature import cosigned_at, lines_of
from crm.errors import Tampered, Unsafe
from crm.services.believing import believing
from crm.services.request import Request
from crm.store import proofs
from crm.store.checkpoints import Published
from crm.store.leaves import leaves
from crm.store.log import SignerOf
from crm.store.proofs import LogHead
from crm.store.refusing import event
from crm.store.unit import Store

__all__ = ["Advance", "Bundle", "Bundles"]

STRETCH = 16
"""Files of events that are read with one statement."""

Advance = Callable[[int, int | None], None]
"""Called with how many events are written, and of how many."""

_Files = AsyncIterator[tuple[str, bytes, int]]
"""Path in the bundle, octets, and how many events are written with it."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """What was written: the events `first` to `size`, exclusive, of the log `origin`, and whose keys verify it.

    `witnessed` is how many of the events the named `witnesses` (verifier keys) had seen; 0 without any.
    """

    folder: Path
    origin: str
    first: int
    size: int
    key: str
    witnessed: int
    witnesses: Sequence[str]


class Bundles:
    """Writes bundles of the log of the actor's organisation.

    `signer` is who signs the log's checkpoints, `witnesses` are the verifier keys of those who may have cosigned them,
    and `verifier` is the program that goes along.
    """

    def __init__(
        self,
        store: Store,
        actor: Actor,
        request: Request,
        signer: SignerOf,
        *,
        witnesses: Sequence[str] = (),
        verifier: Path,
    ) -> None:
        self._store = store
        self._actor = actor
        self._request = request
        self._signer = signer
        self._witnesses = witnesses
        self._verifier = verifier

    async def write(self, folder: Path, advance: Advance = lambda _done, _of: None) -> Bundle:
        """Writes the whole log into `folder`, which must be empty or not there, and comes into being at the end.

        Raises Unsafe for another folder or a log without any event, Tampered for one that misses some.
        """
        verifier = self._verifier.read_bytes()
        head = await self._recorded(folder)
        org, note = self._actor.org, head.note or ""
        key = self._signer(org, head.epoch).verifier_key
        checkpoint = head.checkpoint
        if checkpoint is None or checkpoint.size != head.size:
            raise Tampered("the checkpoint of a log")
        witnessed, seen, lines = await self._cosigned(head, key)
        aside = {CHECKPOINT: (note + "".join(lines.values()) if witnessed == head.size else note).encode()}
        if seen is not None and witnessed != head.size:
            aside[WITNESSED] = (seen + "".join(lines.values())).encode()
        aside |= beside(checkpoint.origin, head.pruned, head.size, key, list(lines), verifier)
        await _fill(folder, self._files(head, aside), advance, head.size - head.pruned)
        return Bundle(folder, checkpoint.origin, head.pruned, head.size, key, witnessed, list(lines))

    async def _recorded(self, folder: Path) -> LogHead:
        """The head of the log, once the export is recorded in it."""
        org, database = self._actor.org, self._store.database
        async with self._store.recording(self._request.context(self._actor), Act.AUDIT_EXPORT):
            rule = policy.decide(self._actor, Action.AUDIT_READ)
        head = await proofs.head(database, org)
        if head is None or not head.size:
            raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        await asyncio.to_thread(_free, folder)
        context = self._request.context(self._actor, rule)
        count = head.size - head.pruned + 1
        await self._store.log.append(org, [event(context, act=Act.AUDIT_EXPORT, cnt=count)])
        return await proofs.head(database, org) or head

    async def _cosigned(self, head: LogHead, key: str) -> tuple[int, str | None, dict[str, str]]:
        """The newest checkpoint that a known witness cosigned: its size, its note, and the witnesses' lines."""
        known = believing(self._store.database, self._actor.org, head, lambda _origin: key, lambda _row: None)
        if known is not None:
            async for found in known.newest(witnessed=True):
                if lines := self._lines(found):
                    return found.size, found.note, lines
        return 0, None, {}

    def _lines(self, found: Published) -> dict[str, str]:
        """The good lines of known witnesses, by their verifier keys."""
        whole, lines = found.note + found.cosignatures, {}
        try:
            for witness in self._witnesses:
                if line := lines_of(whole, witness):
                    cosigned_at(whole, witness)
                    lines[witness] = line
        except Tampered:  # not what a witness signed
            return {}
        return lines

    async def _files(self, head: LogHead, aside: dict[str, bytes]) -> _Files:
        """Every file of the bundle: the events with their tiles, the tiles above them, the rest."""
        org, database = self._actor.org, self._store.database
        count = -(-head.size // WIDTH)
        for start in range(head.pruned // WIDTH, count, STRETCH):
            end = min(start + STRETCH, count)
            stretch = await leaves(database, org, start * WIDTH, min(end * WIDTH, head.size))
            for n in range(start, end):
                these = stretch[(n - start) * WIDTH : (n - start + 1) * WIDTH]
                yield entries_path(n, len(these)), entries(these), len(these)
        level = 0
        while width_of((level, 0), head.size):
            n = 0
            while width := width_of((level, n), head.size):
                yield path_of((level, n), width), await proofs.tile(database, org, (level, n), head.size), 0
                n += 1
            level += 1
        for name, octets in aside.items():
            yield name, octets, 0


def _free(folder: Path) -> None:
    """Raises Unsafe where something is already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Unsafe(f"{folder} is not an empty folder: choose one that does not exist yet")


async def _fill(folder: Path, files: _Files, advance: Advance, of: int) -> None:
    """Writes the files beside their place, and puts them there when all are on the disk."""
    growing = folder.with_name(f".{folder.name}.{os.urandom(4).hex()}")
    try:
        growing.mkdir(mode=0o700, parents=True)
        done = 0
        async for name, octets, events in files:
            await asyncio.to_thread(_write, growing / name, octets)
            done += events
            advance(done, of)
        for each in (growing, *(path for path in growing.rglob("*") if path.is_dir())):
            _settle(each)
        growing.rename(folder)
        _settle(folder.parent)
    except OSError as error:
        shutil.rmtree(growing, ignore_errors=True)
        raise Unsafe(f"cannot write {folder}: {error.strerror}") from None
    except BaseException:
        shutil.rmtree(growing, ignore_errors=True)
        raise


def _write(file: Path, octets: bytes) -> None:
    """A file that only its owner may change, and that is on the disk."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(octets)
        stream.flush()
        os.fsync(stream.fileno())


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
