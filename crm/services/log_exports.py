"""Giving events of the log out, for officers, patients and machines. Each export is one event, recorded beforehand."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.bundle import proof
from crm.audit.event import Act
from crm.errors import NotFound, Unsafe
from crm.services.log_questions import understood
from crm.services.request import Request
from crm.store import log_reading, proofs
from crm.store.leaves import count
from crm.store.log_reading import EventFilter
from crm.store.proofs import LogHead
from crm.store.refusing import event
from crm.store.subjects import patients_of
from crm.store.unit import Store

__all__ = ["Exported", "LogExport", "LogExports"]

CHUNK = 500


@dataclass(frozen=True, slots=True)
class Exported:
    """An event on its way out: its number, its octets, what they say, and whose record it is about.

    `patient_id` is None where no patient is concerned, or the patient was erased.
    """

    seq: int
    leaf: bytes
    content: Mapping[str, Any]
    patient_id: str | None


@dataclass(frozen=True, slots=True)
class LogExport:
    """One export: the log's name, how many events it holds, and a way to read them."""

    store: Store
    org: str
    chosen: EventFilter
    head: LogHead
    origin: str
    events: int

    async def pages(self) -> AsyncIterator[Sequence[Exported]]:
        """The events, newest first; none that was logged after the export was recorded."""
        after: int | None = None
        while found := await log_reading.events(self.store.database, self.org, self.chosen, CHUNK, after):
            after = found[-1].seq
            contents = {each.seq: each.content for each in found if each.seq < self.head.size}
            subjects = {content["pat"] for content in contents.values() if "pat" in content}
            names = await patients_of(partial(self.store.database.fetch, self.org), self.org, subjects)
            yield [
                Exported(each.seq, each.leaf, contents[each.seq], names.get(contents[each.seq].get("pat", "")))
                for each in found
                if each.seq in contents
            ]

    async def proof(self, exported: Exported) -> str:
        """A `.tlog-proof` that the event stands in the log, under the newest checkpoint."""
        path = await proofs.inclusion(self.store.database, self.org, exported.seq, self.head.size)
        return proof(exported.seq, path, self.head.note or "", exported.leaf)


class LogExports:
    """The use case of an export by `actor` of the log of its organisation."""

    def __init__(self, store: Store, actor: Actor, request: Request) -> None:
        self._store = store
        self._actor = actor
        self._request = request

    async def begin(self, question: Mapping[str, Any]) -> LogExport:
        """Records the export, with the number of its events; `question` as in `log_questions`.

        Raises Forbidden, Invalid, NotFound for a patient whom nobody knows, and Unsafe for a log without events.
        """
        org, database = self._actor.org, self._store.database
        async with self._store.recording(self._request.context(self._actor), Act.AUDIT_EXPORT):
            rule = policy.decide(self._actor, Action.AUDIT_READ)
            asked = await understood(partial(database.fetch, org), org, question)
            if asked.nothing:
                raise NotFound
        head = await proofs.head(database, asked.org)
        if head is None or head.checkpoint is None:
            raise Unsafe(f"nothing was ever recorded of an organisation {org}")
        events = await count(database, asked.org, asked.chosen, head.size)
        facts = {"act": Act.AUDIT_EXPORT, "cnt": events, "pat": asked.chosen.patient}
        await self._store.log.append(org, [event(self._request.context(self._actor, rule), **facts)])
        return LogExport(self._store, asked.org, asked.chosen, head, head.checkpoint.origin, events)
