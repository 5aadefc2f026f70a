"""Telling of changes: to whom, what of them, and only once it is on record. Owns positions, and no transport.

A change tells an id, a version and which fields changed, never a value. Of a field somebody is told only what they
might read: what the policy keeps from them, and what the record withholds while it is restricted, has not changed for
them. What is told is decided by the policy and the record of the moment it is told, not of the change.
"""

import asyncio
import base64
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol

from auth import policy
from auth.actor import Actor
from auth.policy import Action, Group, Ruling
from crm.audit.event import Act, rfc3339
from crm.catalogue import BY_NAME
from crm.crypto.keyset import KeySet
from crm.crypto.positions import open_position, seal_position
from crm.errors import BatchTooLarge, BreakGlassRequired, Erased, Invalid, NotFound, PositionExpired, Tampered
from crm.services.profiles import AT_A_STRETCH, MAX_BATCH, Refused, visible
from crm.services.request import Request
from crm.store import feed
from crm.store.feed import Change, ChangeKind
from crm.store.history import changed_since
from crm.store.record import Record
from crm.store.refusing import reason
from crm.store.unit import Store, Unit

__all__ = ["ChangesPage", "Feed", "Source", "groups_told", "told"]

_NOBODY: Final[frozenset[Group]] = frozenset()
_VOUCHED: Final = frozenset({"restricted"})
"""What must be believed of a record before anything of it is told."""


_RENAMING: Final = frozenset({ChangeKind.MERGED, ChangeKind.UNMERGED})
_DERIVED: Final = {name: frozenset(row.derived_from) for name, row in BY_NAME.items() if row.derived_from}


class Source(Protocol):
    """Where changes come from as they are made (`crm.delivery.changes`)."""

    def follow(self, org: str, after: int, of: Callable[[], Collection[str] | None]) -> AsyncGenerator[Change, None]:
        """Every change behind number `after`, without end, of the patients that `of` gives at the time, None for all.

        To be closed by who stops.
        """
        ...


@dataclass(frozen=True, slots=True)
class ChangesPage:
    """Some changes in order. `end` is the position up to which they were looked at, `newest` that of the last one."""

    nodes: list[dict[str, Any]]
    cursors: list[str]
    end: str
    newest: str
    has_next_page: bool


_OWN_AT_ONCE: Final = 500


def _position_of(keys: KeySet, org: str, change: Change | None, *, drawn: bool = False) -> str:
    """The opaque position behind a change; with None, before the first. A `drawn` one is another one each time."""
    seq, at = (0, 0) if change is None else (change.seq, change.at)
    return base64.urlsafe_b64encode(seal_position(keys, org, seq, at, drawn=drawn)).decode().rstrip("=")


def _place(keys: KeySet, org: str, position: str) -> tuple[int, int]:
    """Number and time of the change behind which a position lies. Raises `Invalid` for what was never one."""
    try:
        sealed = base64.b64decode(position + "=" * (-len(position) % 4), altchars=b"-_", validate=True)
        return open_position(keys, org, sealed)
    except (ValueError, Tampered):
        raise Invalid("after", "cursor") from None


def groups_told(actor: Actor, ruling: Ruling, *, restricted: bool) -> frozenset[Group]:
    """The groups of fields of which `actor` may be told that they changed."""
    hidden = policy.withheld_when_restricted(actor) if restricted else _NOBODY
    return ruling.reading({}).groups - hidden


def told(names: Collection[str], groups: frozenset[Group]) -> frozenset[str]:
    """Those of the catalogue names, and of what is derived from them, that belong to these groups and have a path."""
    changed = BY_NAME.keys() & {*names, *(name for name, sources in _DERIVED.items() if not sources.isdisjoint(names))}
    return frozenset(name for name in changed if BY_NAME[name].group in groups and BY_NAME[name].paths)


class Feed:
    """The use cases of following changes. Without `source` only what is on record can be asked for."""

    def __init__(self, store: Store, source: Source | None = None) -> None:
        self._store = store
        self._source = source

    async def follow(
        self, actor: Actor, request: Request, ids: Sequence[str] | None, after: str | None
    ) -> AsyncGenerator[Change, None]:
        """What may have to be told of, from a position or from now on: of these patients, or of all.

        Each is to be given to `tell`. Raises what the policy refuses, `Invalid` and `PositionExpired`, on record.
        """
        await self._ruling(actor, request, [], named=ids is not None)
        org = actor.org
        async with self._store.recording(request.context(actor), Act.NOTIFY):
            await feed.settle(self._store.database, org)
            start = await self._newest(org) if after is None else await self.found(org, after)
        return self._chosen(actor, request, ids, 0 if start is None else start.seq)

    async def _chosen(
        self, actor: Actor, request: Request, ids: Sequence[str] | None, after: int
    ) -> AsyncGenerator[Change, None]:
        if self._source is None:
            raise RuntimeError("this process follows no changes")
        meant = await self._meant(actor, request, ids)
        async with aclosing(self._source.follow(actor.org, after, lambda: meant)) as changes:
            async for change in changes:
                yield change
                if change.kind in _RENAMING:
                    meant = await self._meant(actor, request, ids)

    async def _meant(self, actor: Actor, request: Request, ids: Sequence[str] | None) -> frozenset[str] | None:
        """The ids under which changes of these records stand, that others were merged into too; None for all."""
        own = policy.scope(actor)
        if own is None and ids is None:
            return None
        asked = [own] if own is not None and ids is None else list(ids or ())
        async with self._store.reading(request.context(actor), Act.NOTIFY) as unit:
            known = frozenset(await visible(unit, actor, asked))
            found = await unit.load(known, ()) if known else {}
        return known | {record.id for record in found.values()}

    async def tell(self, actor: Actor, request: Request, change: Change, *, named: bool) -> dict[str, Any] | None:
        """What the actor is told of a change, once that is on record; None where it is nothing.

        `named` says that they named the patient. Raises what the policy refuses now.
        """
        ids = [change.patient_id]
        ruling = await self._ruling(actor, request, ids, named=named)
        async with self._store.reading(request.context(actor, ruling.rule), Act.NOTIFY, ids) as unit:
            found = await _tellings(unit, actor, ruling, self._store.keys, [change])
        return found[0] if found else None

    async def page(self, actor: Actor, request: Request, first: int, after: str | None) -> ChangesPage:
        """The oldest changes behind a position, of `first` that were looked at those that may be told.

        From the oldest that is kept without one. To patients, and to those who act for them, only changes count that
        they may be told of: nothing of the answer tells of any other, not even that it was made. Raises what the policy
        refuses, `Invalid` and `PositionExpired`.
        """
        ruling = await self._ruling(actor, request, [], named=False)
        org, fetch = actor.org, partial(self._store.database.fetch, actor.org)
        own = await self._meant(actor, request, None)
        async with self._store.reading(request.context(actor, ruling.rule), Act.NOTIFY) as unit:
            await feed.settle(self._store.database, org)
            start = None if after is None else await self.found(org, after)
            newest = await self._newest(org)
            place = 0 if start is None else start.seq
            if own is None:
                found = await feed.read(fetch, org, place, first + 1)
            else:
                found = await self._tellable(unit, actor, ruling, sorted(own), place, first + 1)
            shown, keys = found[:first], self._store.keys
            nodes = await _tellings(unit, actor, ruling, keys, shown)
            unit.remark(cnt=len(nodes))
        more = len(found) > first
        last = _position_of(keys, org, newest, drawn=own is not None)
        behind = shown and (more or newest is None or newest.seq < shown[-1].seq)
        end = _position_of(keys, org, shown[-1]) if behind else last
        return ChangesPage(nodes, [node["position"] for node in nodes], end, last, more)

    async def _tellable(
        self, unit: Unit, actor: Actor, ruling: Ruling, ids: Sequence[str], after: int, limit: int
    ) -> list[Change]:
        """The oldest changes of these records behind number `after` of which something may be told, at most `limit`."""
        fetch, tellable = partial(self._store.database.fetch, actor.org), list[Change]()
        records = await unit.load(ids, _VOUCHED) if ids else {}
        teller = await _Teller.of(unit, actor, ruling, records.values())
        while len(tellable) < limit:
            found = await feed.read(fetch, actor.org, after, _OWN_AT_ONCE, ids)
            known = [change for change in found if change.patient_id in records]
            tellable += [change for change in known if teller.may(records[change.patient_id], change)]
            if len(found) < _OWN_AT_ONCE:
                break
            after = found[-1].seq
        return tellable[:limit]

    async def changed_since(
        self, actor: Actor, request: Request, known: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any] | Refused]:
        """Of records known in a version those that the actor sees changed, and a refusal for each they may not know.

        In input order. `changed_fields` is None where it is not known which fields changed. Raises what the policy
        refuses, and `BatchTooLarge`.
        """
        versions: dict[str, int] = {}
        for each in known:
            versions[each["id"]] = min(each["version"], versions.get(each["id"], each["version"]))
        ruling = await self._ruling(actor, request, list(versions), named=True)
        async with self._store.recording(request.context(actor), Act.NOTIFY):
            if len(known) > MAX_BATCH:
                raise BatchTooLarge(MAX_BATCH)
        async with self._store.reading(request.context(actor, ruling.rule), Act.NOTIFY, list(versions)) as unit:
            return await self._since(unit, actor, ruling, versions)

    async def _since(
        self, unit: Unit, actor: Actor, ruling: Ruling, versions: Mapping[str, int]
    ) -> list[dict[str, Any] | Refused]:
        fetch = partial(self._store.database.fetch, actor.org)
        seen = {name: versions[name] for name in await visible(unit, actor, list(versions))}
        since = await changed_since(fetch, actor.org, seen)
        moved = [name for name, found in since.items() if found.version != versions[name]]
        loaded = await unit.load(since if ruling.needs_grant else moved, _VOUCHED)
        shut = await _shut(unit, loaded) if ruling.needs_grant else frozenset[str]()
        records = {each: loaded[each] for each in moved if each in loaded}
        # Of a merged record its survivor is told, and whoever knows that in its version knows all.
        records = {each: one for each, one in records.items() if one.id == each or one.version != versions[each]}
        teller = await _Teller.of(unit, actor, ruling, records.values())
        answers: dict[str, dict[str, Any] | Refused] = {}
        for number, name in enumerate(versions, start=1):
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            record = records.get(name)
            if name not in since or (record is not None and record.status == "erased"):
                answers[name] = Refused(name, reason(NotFound() if name not in since else Erased()))
            elif name in shut:
                answers[name] = Refused(name, reason(BreakGlassRequired()))
            elif record is not None:
                found = since[name]
                known = found.known and found.version > versions[name] and record.id == name
                paths = teller.tell(record, found.names, anyhow=not known)
                if paths is not None:
                    changed, version = paths if known else None, found.version if record.id == name else record.version
                    answers[name] = {"id": name, "version": version, "changed_fields": changed}
        refused = [answer for answer in answers.values() if isinstance(answer, Refused)]
        for code in sorted({answer.code for answer in refused}):
            await unit.refuse([answer.id for answer in refused if answer.code == code], code)
        unit.remark(cnt=len(versions))
        return list(answers.values())

    async def _ruling(self, actor: Actor, request: Request, ids: Sequence[str], *, named: bool) -> Ruling:
        """What the policy says now; whoever does not name records needs leave to follow. A refusal is recorded."""
        async with self._store.recording(request.context(actor), Act.NOTIFY, ids):
            return policy.ruling(actor, Action.READ if named else Action.FOLLOW)

    async def _newest(self, org: str) -> Change | None:
        fetch = partial(self._store.database.fetch, org)
        return await feed.find(fetch, org, await feed.head(fetch, org))

    async def found(self, org: str, position: str) -> Change | None:
        """The change behind which a position lies; None for the beginning. Raises `Invalid`, `PositionExpired`."""
        seq, at = _place(self._store.keys, org, position)
        fetch = partial(self._store.database.fetch, org)
        if seq == 0:
            if await feed.head(fetch, org) and await feed.find(fetch, org, 1) is None:
                raise PositionExpired
            return None
        found = await feed.find(fetch, org, seq)
        # The same number with another time: the database was put back from a copy, and went on from there.
        if found is None or found.at != at:
            raise PositionExpired
        return found


class _Teller:
    """What one caller is told of records in one unit of work, each noted for the log."""

    def __init__(self, unit: Unit, actor: Actor, ruling: Ruling, broken: Mapping[str, str]) -> None:
        self._unit = unit
        self._actor = actor
        self._ruling = ruling
        self._broken = broken

    @classmethod
    async def of(cls, unit: Unit, actor: Actor, ruling: Ruling, records: Collection[Record]) -> "_Teller":
        """One for these records; who needs a break-glass grant is told of those that they have one for."""
        broken = await unit.grants(records) if ruling.needs_grant else {}
        return cls(unit, actor, ruling, broken)

    def tell(self, record: Record, names: Collection[str], *, anyhow: bool) -> list[str] | None:
        """The paths that the actor may be told of, noted; None where it is nothing. `anyhow` tells that it changed."""
        if self._ruling.needs_grant and record.id not in self._broken:
            return None
        shown = self._shown(record, names)
        if not shown and not anyhow:
            return None
        self._unit.notify(record, shown, self._broken.get(record.id))
        return sorted(path for name in shown for path in BY_NAME[name].paths)

    def may(self, record: Record, change: Change) -> bool:
        """Whether there is anything to `tell` of a change; notes nothing, because nothing is told yet."""
        if self._ruling.needs_grant and record.id not in self._broken:
            return False
        return change.kind is not ChangeKind.CHANGED or bool(self._shown(record, change.names))

    def _shown(self, record: Record, names: Collection[str]) -> frozenset[str]:
        if record.status == "erased":
            return frozenset()
        restricted = self._unit.current(record, _VOUCHED)["restricted"]
        return told(names, groups_told(self._actor, self._ruling, restricted=restricted))


async def _shut(unit: Unit, records: Mapping[str, Record]) -> frozenset[str]:
    """The ids of which the caller is told nothing without a break-glass grant, not even that nothing changed."""
    broken = await unit.grants(records.values())
    return frozenset(each for each, one in records.items() if one.status != "erased" and one.id not in broken)


async def _tellings(
    unit: Unit, actor: Actor, ruling: Ruling, keys: KeySet, changes: Sequence[Change]
) -> list[dict[str, Any]]:
    """What the actor is told of these changes, in order, without those of which it is nothing."""
    ids = await visible(unit, actor, list(dict.fromkeys(change.patient_id for change in changes)))
    records = await unit.load(ids, _VOUCHED) if ids else {}
    teller = await _Teller.of(unit, actor, ruling, records.values())
    nodes = []
    for number, change in enumerate(changes, start=1):
        if number % AT_A_STRETCH == 0:
            await asyncio.sleep(0)
        record = records.get(change.patient_id)
        if record is None:
            continue
        paths = teller.tell(record, change.names, anyhow=change.kind is not ChangeKind.CHANGED)
        if paths is not None:
            nodes.append(
                {
                    "id": change.patient_id,
                    "version": change.version,
                    "changed_fields": paths,
                    "kind": change.kind.value,
                    "position": _position_of(keys, actor.org, change),
                    "changed_at": rfc3339(change.at),
                }
            )
    return nodes
