"""What patients see of the log: who looked at their own record, when, what, why, and the proof that it is on record."""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act, Who, leaf_hash
from crm.catalogue import BY_PATH
from crm.errors import NotFound
from crm.services.access_log import AccessLog, place_of
from crm.services.evidence import Evidence
from crm.services.profiles import Page, encode_cursor
from crm.services.request import Request
from crm.store import log_reading
from crm.store.log_reading import EventFilter, LoggedEvent
from crm.store.subjects import subjects_of
from crm.store.unit import Store

__all__ = ["OwnLog", "PageProofs"]

SHOWN: Final = frozenset({"after_hours", "break_glass", "bulk", "restricted"})
"""Circumstances that a patient is told of. The others say something about a member of staff, or about themselves that
they know better."""


class PageProofs:
    """The proofs of one page: made when the first of them is asked for, all together, and not at all otherwise."""

    def __init__(self, evidence: Evidence, org: str, events: list[LoggedEvent], *, leaves: bool) -> None:
        self._evidence = evidence
        self._org = org
        self._events = {event.seq: event for event in events}
        self._leaves = leaves
        self._lock = asyncio.Lock()
        self._found: Mapping[int, dict[str, Any]] | None = None

    async def of(self, seq: int) -> dict[str, Any]:
        """The proof for one event of the page. Raises `Tampered`."""
        async with self._lock:
            if self._found is None:
                hashes = {seq: leaf_hash(event.leaf) for seq, event in self._events.items()}
                told = {seq: event.leaf for seq, event in self._events.items()} if self._leaves else {}
                self._found = await self._evidence.prove(self._org, hashes, told)
        return self._found[seq]


class OwnLog:
    """The use case of patients who ask who looked at their record.

    `names`: patients are told the subjects of the members of staff, and get the leaves, which hold them too.
    """

    def __init__(self, store: Store, log: AccessLog, evidence: Evidence, *, names: bool = False) -> None:
        self._store = store
        self._log = log
        self._evidence = evidence
        self._names = names

    async def events(self, actor: Actor, request: Request, first: int, after: str | None) -> Page:
        """The events that name the actor's own record, or one merged into it, newest first. The look is one of them.

        Raises what the policy refuses, `NotFound` for a record that does not exist, and `Invalid` for a cursor.
        """
        rule = await self._log.admit(actor, request, Action.SELF_AUDIT)
        own = policy.scope(actor)
        ids = [] if own is None else [own]
        database = self._store.database
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ, ids) as unit:
            record = (await unit.load(ids, ())).get(ids[0]) if ids else None
            if record is None:
                raise NotFound
            names = [record.id, *await unit.superseded(record)]
            known = await subjects_of(partial(database.fetch, actor.org), actor.org, names)
            found: list[LoggedEvent] = []
            for subject in known.values():
                chosen = EventFilter(patient=subject)
                found += await log_reading.events(database, actor.org, chosen, first + 1, place_of(after))
            found.sort(key=lambda event: (event.content["t"], event.seq), reverse=True)
            shown = found[:first]
            unit.remark(cnt=len(shown), pat=known[record.id])
        proofs = PageProofs(self._evidence, actor.org, shown, leaves=self._names)
        who = request.context(actor).who
        nodes = [{**self._node(who, entry.content), "seq": entry.seq, "proofs": proofs} for entry in shown]
        cursors = [encode_cursor(str(entry.seq)) for entry in shown]
        return Page(nodes, cursors, len(found) > first, after is not None)

    def _node(self, caller: Who, leaf: Mapping[str, Any]) -> dict[str, Any]:
        """An event as the person it is about is told of it."""
        who = leaf.get("who", {})
        yourself = (who.get("iss"), who.get("sub")) == (caller.iss, caller.sub)
        paths = sorted({*leaf.get("fld", ()), *leaf.get("chg", ())})
        return {
            "id": leaf["id"],
            "recorded_at": leaf["t"],
            "action": leaf["act"],
            "outcome": leaf["out"],
            "purpose_of_use": next(iter(leaf.get("pou", ())), None),
            "roles": who.get("roles", []),
            "organisation": who.get("org"),
            "yourself": yourself,
            "subject": who.get("sub") if self._names or yourself else None,
            "fields": [{"path": path, "label": _label(path)} for path in paths],
            "circumstances": [flag for flag in leaf.get("flg", ()) if flag in SHOWN],
        }


def _label(path: str) -> str:
    """What a field is, in words."""
    known = BY_PATH.get(path)
    return path if known is None else known.description
