"""What proves the log: checkpoints, proofs that an event is in it and that it only grew, and whether it is whole."""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from auth.actor import Actor
from crm.audit.bundle import proof
from crm.audit.checkpoint import Checkpoint
from crm.audit.event import Act, leaf_hash, rfc3339
from crm.audit.tiles import WIDTH
from crm.audit.tree import HASH
from crm.crypto.cosignature import good_lines
from crm.errors import Invalid, KeyUnavailable, NotFound, Tampered
from crm.services.access_log import AccessLog
from crm.services.believing import believing
from crm.services.request import Request
from crm.store import checkpoints, log_state, proofs
from crm.store.checkpoints import Published
from crm.store.log_reading import LoggedEvent, event_of, events_at
from crm.store.proofs import LogHead
from crm.store.unit import Store

__all__ = ["Evidence", "VerifierKey"]

VerifierKey = Callable[[str], str]
"""The verifier key (C2SP signed-note) of the log of this name. Raises KeyUnavailable."""

CHECKED: Final = 50_000
"""Of how many events, the newest, it is looked whether one is missing; `audit verify` looks at all."""


@dataclass(frozen=True, slots=True)
class _Tree:
    """The end of a log to prove things by, with the checkpoint over it."""

    head: LogHead
    checkpoint: Checkpoint
    note: str


class Evidence:
    """The use cases around proofs; `witnesses` are the verifier keys of those whose cosignatures are shown."""

    def __init__(self, store: Store, log: AccessLog, verifier_key: VerifierKey, witnesses: Sequence[str] = ()) -> None:
        self._store = store
        self._log = log
        self._verifier_key = verifier_key
        self._witnesses = tuple(witnesses)

    async def checkpoint(self, actor: Actor, request: Request, *, witnessed: bool = False) -> dict[str, Any] | None:
        """The newest checkpoint, or the newest that a witness cosigned; None where there is none.

        Names no patient and nobody else, and so leaves no event; a refusal does.
        """
        await self._log.admit(actor, request)
        if witnessed:
            return await self._newest(actor.org, witnessed=True)
        tree = await self._tree(actor.org)
        return None if tree is None else await self._signed(actor.org, tree)

    async def consistency(self, actor: Actor, request: Request, first: int, second: int | None) -> dict[str, Any]:
        """The proof that the log of `first` events is the beginning of that of `second`, or of the log of now.

        Leaves no event, as with `checkpoint`. Raises `Invalid` for sizes that the log never had.
        """
        await self._log.admit(actor, request)
        head = await proofs.head(self._store.database, actor.org)
        size = 0 if head is None else head.size
        second = size if second is None else second
        if not 0 <= second <= size:
            raise Invalid("toSize", "out_of_range")
        if not 0 <= first <= second:
            raise Invalid("fromSize", "out_of_range")
        hashes = await proofs.consistency(self._store.database, actor.org, first, second)
        return {"from_size": first, "to_size": second, "hashes": [_encoded(each) for each in hashes]}

    async def inclusion(
        self, actor: Actor, request: Request, event_id: str | None, index: int | None
    ) -> dict[str, Any]:
        """The proof that an event, named by its id or its place, is in the log. The look at it is recorded.

        Of an event that was pruned, which only its place still names, the hash is known and not the leaf. Raises
        `NotFound`, and `Invalid` unless it is named in one way.
        """
        rule = await self._log.admit(actor, request)
        database = self._store.database
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            if (event_id is None) == (index is None):
                raise Invalid("eventId", "one_of")
            tree = await self._tree(actor.org)
            event: LoggedEvent | None = None
            if event_id is not None:
                event = await event_of(database, actor.org, event_id)
                index = None if event is None else event.seq
            if tree is None or index is None or not 0 <= index < tree.checkpoint.size:
                raise NotFound
            if event_id is None:
                event = (await events_at(database, actor.org, [index])).get(index)
            hashes = {index: None if event is None else leaf_hash(event.leaf)}
            proved = (await self.prove(actor.org, hashes, {} if event is None else {index: event.leaf}))[index]
            unit.remark(cnt=1, pat=None if event is None else event.content.get("pat"))
        return proved

    async def prove(
        self, org: str, hashes: Mapping[int, bytes | None], told: Mapping[int, bytes]
    ) -> dict[int, dict[str, Any]]:
        """Proofs for events by their places, all by one checkpoint; a leaf's hash that is None is looked up.

        `told` are the leaves that go along. The caller has seen to it that they may be shown. Raises `Tampered`
        where the log does not bear them out.
        """
        tree = await self._tree(org)
        if tree is None:
            raise Tampered("a log without a checkpoint")
        checkpoint = await self._signed(org, tree)
        size = tree.checkpoint.size
        paths = await proofs.inclusions(self._store.database, org, hashes, size)
        found: dict[int, dict[str, Any]] = {}
        for index, known in hashes.items():
            found[index] = {
                "index": index,
                "size": size,
                "leaf_hash": _encoded(known if known is not None else await self._leaf_hash(org, index, size)),
                "hashes": [_encoded(each) for each in paths[index]],
                "checkpoint": checkpoint,
                "leaf": told[index].decode() if index in told else None,
                "tlog_proof": proof(index, paths[index], checkpoint["note"], told.get(index)),
            }
        return found

    async def completeness(self, actor: Actor, request: Request) -> dict[str, Any]:
        """Whether numbers are missing among the newest events, what waits outside, and what others have seen.

        Leaves no event, as with `checkpoint`.
        """
        await self._log.admit(actor, request)
        database, org = self._store.database, actor.org
        waiting = await log_state.waiting(database, org)
        tree = await self._tree(org)
        size, pruned = (tree.head.size, tree.head.pruned) if tree else (0, 0)
        start = max(pruned, size - CHECKED)
        missing = await log_state.first_missing(database, org, start, size)
        return {
            "size": size,
            "epoch": tree.head.epoch if tree else 1,
            "oldest_kept": pruned,
            "checked_from": start,
            "contiguous": missing is None,
            "first_missing": missing,
            "waiting": waiting.count,
            "waiting_since": None if waiting.oldest is None else rfc3339(waiting.oldest),
            "checkpoint": None if tree is None else await self._signed(org, tree),
            "published": await self._newest(org),
            "witnessed": await self._newest(org, witnessed=True),
        }

    async def _tree(self, org: str) -> _Tree | None:
        head = await proofs.head(self._store.database, org)
        if head is None or head.note is None or head.checkpoint is None:
            return None
        return _Tree(head, head.checkpoint, head.note)

    async def _leaf_hash(self, org: str, index: int, size: int) -> bytes:
        tile = await proofs.tile(self._store.database, org, (0, index // WIDTH), size)
        at = index % WIDTH * HASH
        return tile[at : at + HASH]

    async def _signed(self, org: str, tree: _Tree) -> dict[str, Any]:
        """The checkpoint at the end, with what is known of it outside, if it is the very one that was published."""
        end = Published(tree.head.epoch, tree.checkpoint.size, tree.note, 0, "", None)
        known = await checkpoints.upto(self._store.database, org, end.epoch, end.size)
        same = [self._vouched(each) for each in known if (each.size, each.note) == (end.size, end.note)]
        return self._checkpoint(tree.checkpoint, same[0] if same else end)

    async def _newest(self, org: str, *, witnessed: bool = False) -> dict[str, Any] | None:
        """The newest checkpoint that was published, or cosigned, and is to be believed; None where there is none."""
        head = await proofs.head(self._store.database, org)
        try:
            known = believing(self._store.database, org, head, self._verifier_key, _passed)
        except KeyUnavailable:
            return None
        if known is None:
            return None
        async for row in known.newest(witnessed=witnessed):
            vouched = self._vouched(row)
            if not witnessed or vouched.witnessed_at is not None:
                return self._checkpoint(vouched.checkpoint, vouched)
        return None

    def _vouched(self, row: Published) -> Published:
        """A row with the lines of the witnesses that are known here; with all, where none is known."""
        if not self._witnesses:
            return row
        text = row.note.rpartition("\n\n")[0] + "\n"
        lines = "".join(line for each in self._witnesses for line in good_lines(text, row.cosignatures, each))
        return replace(row, cosignatures=lines, witnessed_at=row.witnessed_at if lines else None)

    def _checkpoint(self, checkpoint: Checkpoint, known: Published) -> dict[str, Any]:
        try:
            verifier_key = self._verifier_key(checkpoint.origin)
        except KeyUnavailable:
            verifier_key = None
        return {
            "origin": checkpoint.origin,
            "size": checkpoint.size,
            "root_hash": _encoded(checkpoint.root),
            "note": known.note + known.cosignatures,
            "verifier_key": verifier_key,
            "published_at": rfc3339(known.published_at) if known.published_at else None,
            "witnessed_at": None if known.witnessed_at is None else rfc3339(known.witnessed_at),
            "cosignatures": known.cosignatures.splitlines(),
        }


def _passed(row: Published) -> None:
    """A row that is not believed: it is publishing that counts them and raises the alarm."""


def _encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode()
