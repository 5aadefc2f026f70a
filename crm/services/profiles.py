"""Reading profiles: by id, many at once, by identifier and by search. Asks the policy first, then the unit of work."""

import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.errors import ForbiddenField
from auth.policy import Action, Group, ReadGrant, Ruling
from crm.audit.event import Act
from crm.catalogue import BY_NAME, BY_PATH
from crm.errors import BatchTooLarge, BreakGlassRequired, Erased, Invalid, NotFound
from crm.services.held_keys import require
from crm.services.request import Request
from crm.services.search import Query, parse
from crm.store.record import Record
from crm.store.refusing import reason
from crm.store.unit import Store, Unit
from crm.store.view import View

Profile = dict[str, Any]

MAX_BATCH = 1_000

AT_A_STRETCH = 8
"""Records of a list that are opened before everybody else has a turn: a millisecond or so (`docs/decisions/0038`)."""

_NOTHING: frozenset[Group] = frozenset()
_POSITION = re.compile(r"[0-9a-f-]{1,36}", re.ASCII)
"""A patient's id or a number of the log: nothing else stands in a cursor."""

_ACTS = {
    Action.READ: Act.READ,
    Action.SELF_READ: Act.READ,
    Action.SEARCH: Act.QUERY,
    Action.REGISTER: Act.CREATE,
    Action.UPDATE: Act.UPDATE,
    Action.IMPORT: Act.IMPORT,
    Action.EXPORT: Act.EXPORT,
    Action.AUDIT_READ: Act.AUDIT_READ,
    Action.ERASE: Act.ERASE,
    Action.HOLD: Act.HOLD,
    Action.BREAK_GLASS: Act.BREAKGLASS,
    Action.REVIEW: Act.REVIEW,
    Action.DECIDE: Act.DECIDE,
    Action.CONSENT: Act.UPDATE,
    Action.CONFIDE: Act.UPDATE,
    Action.RESTRICT: Act.UPDATE,
    Action.INBOUND: Act.UPDATE,
    Action.RESOLVE: Act.UPDATE,
    Action.ATTEST: Act.UPDATE,
    Action.MERGE: Act.MERGE,
    Action.HISTORY: Act.READ,
}
"""What is written into the log about an action that was refused, where nothing more special is known."""


@dataclass(frozen=True, slots=True)
class Refused:
    """One id of a batch that gets no profile; `code` is a public error code."""

    id: str
    code: str


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a Relay connection: nodes and their cursors, in step."""

    nodes: list[Any]
    cursors: list[str]
    has_next_page: bool
    has_previous_page: bool = False


def act_of(action: Action) -> Act:
    """As what a refusal of the action is recorded, where nothing more special is known."""
    return _ACTS[action]


def groups(paths: Sequence[str] | frozenset[str]) -> Mapping[str, Group]:
    """The policy group of each path; an unknown path is the caller's mistake."""
    return {path: BY_PATH[path].group for path in paths}


def view(grant: ReadGrant, actor: Actor, *, restricted: bool, broken: str | None = None) -> View:
    """The view that a grant gives on one record, less what a restricted record withholds from this actor.

    `broken` is the id of the actor's active break-glass grant for the record. Raises `BreakGlassRequired` where it
    needs one and there is none.
    """
    if grant.needs_grant and broken is None:
        raise BreakGlassRequired
    seen = _seen(grant, policy.withheld_when_restricted(actor) if restricted else _NOTHING)
    return seen if broken is None else replace(seen, broken=broken)


@lru_cache(maxsize=1024)
def _seen(grant: ReadGrant, hidden: frozenset[Group]) -> View:
    """Kept, because the same questions come again; it follows from the grant alone."""
    withheld = frozenset(path for path in grant.clear | grant.masked if BY_PATH[path].group in hidden)
    return View(grant.clear - withheld, grant.masked - grant.clear - withheld, withheld, grant.groups - hidden)


@lru_cache(maxsize=1024)
def _reading(ruling: Ruling, asked: frozenset[str]) -> ReadGrant:
    """Kept, because the same questions come again: the policy is asked for the ruling each time, and this follows.

    Raises `ForbiddenField`.
    """
    return ruling.reading(groups(asked))


class Profiles:
    """The use cases of reading. `region` is the default region of telephone numbers in searches."""

    def __init__(self, store: Store, *, region: str | None = None) -> None:
        self._store = store
        self._region = region

    async def admit(
        self,
        actor: Actor,
        request: Request,
        asked: frozenset[str],
        ids: Sequence[str] = (),
        action: Action = Action.READ,
        act: Act | None = None,
    ) -> ReadGrant:
        """The grant for reading `asked`, before any row is read; a refusal is recorded, as one of `act`, and raised.

        Raises `PurposeRequired`, `PurposeNotPermitted`, `Forbidden` or `ForbiddenField`, then `KeyUnavailable`.
        """
        async with self._store.recording(request.context(actor), act or _ACTS[action], ids):
            grant = _reading(policy.ruling(actor, action), asked)
            require(self._store.keys, asked)
            return grant

    async def read(self, actor: Actor, request: Request, patient_id: str, asked: frozenset[str]) -> Profile:
        """One profile. Raises `NotFound` for an absent patient and for one this actor may not know of alike.

        And `Erased`, and `BreakGlassRequired` for whoever asks under break-glass without a grant for the patient.
        """
        grant = await self.admit(actor, request, asked, [patient_id])
        async with self._store.reading(request.context(actor, grant.rule), Act.READ, [patient_id]) as unit:
            records = await unit.load(await visible(unit, actor, [patient_id]), _names(asked))
            broken = await unit.grants(records.values()) if grant.needs_grant else {}
            return self._profile(unit, records.get(patient_id), grant, actor, broken)

    async def read_many(
        self, actor: Actor, request: Request, ids: Sequence[str], asked: frozenset[str]
    ) -> list[Profile | Refused]:
        """Profiles in input order, each id on its own: a refusal of one does not sink the others. At most 1,000 ids."""
        if len(ids) > MAX_BATCH:
            async with self._store.recording(request.context(actor), Act.READ):
                raise BatchTooLarge(MAX_BATCH)
        grant = await self.admit(actor, request, asked, ids)
        async with self._store.reading(request.context(actor, grant.rule), Act.READ, ids) as unit:
            distinct = list(dict.fromkeys(ids))
            records = await unit.load(await visible(unit, actor, distinct), _names(asked)) if distinct else {}
            broken = await unit.grants(records.values()) if grant.needs_grant else {}
            answers: dict[str, Profile | Refused] = {}
            for number, patient_id in enumerate(distinct, start=1):
                if number % AT_A_STRETCH == 0:
                    await asyncio.sleep(0)
                try:
                    answers[patient_id] = self._profile(unit, records.get(patient_id), grant, actor, broken)
                except (NotFound, Erased, BreakGlassRequired) as refusal:
                    answers[patient_id] = Refused(patient_id, reason(refusal))
            refused = [answer for answer in answers.values() if isinstance(answer, Refused)]
            for code in sorted({answer.code for answer in refused}):
                await unit.refuse([answer.id for answer in refused if answer.code == code], code)
            return [answers[patient_id] for patient_id in ids]

    async def by_identifier(
        self, actor: Actor, request: Request, system: str, value: str, asked: frozenset[str]
    ) -> Profile:
        """The profile that carries this business identifier. Raises `NotFound`, or `Invalid` when several carry it."""
        by = {"identifier": {"system": system, "value": value}}
        page = await self._find(actor, request, by, 1, None, asked, unique=True)
        if not page.nodes:
            raise NotFound
        profile: Profile = page.nodes[0]
        return profile

    async def search(
        self,
        actor: Actor,
        request: Request,
        by: Mapping[str, Any],
        first: int,
        after: str | None,
        asked: frozenset[str],
    ) -> Page:
        """Exact matches through the blind indexes, ordered by id; no prefixes, no wildcards, no totals."""
        return await self._find(actor, request, by, first, after, asked)

    async def _find(
        self,
        actor: Actor,
        request: Request,
        by: Mapping[str, Any],
        first: int,
        after: str | None,
        asked: frozenset[str],
        *,
        unique: bool = False,
    ) -> Page:
        async with self._store.recording(request.context(actor), Act.QUERY):
            query = parse(by, self._region)
            position = "" if after is None else decode_cursor(after)
        # Filtering is reading: the actor must be allowed to read, unmasked, what the index is made of.
        filtered = frozenset(BY_NAME[name].paths[0] for name in query.index.fields)
        grant = await self.admit(actor, request, asked | filtered, action=Action.SEARCH)
        context = request.context(actor, grant.rule)
        if masked := filtered & grant.masked:
            async with self._store.recording(context, Act.QUERY):
                raise ForbiddenField(masked)
        shown = grant._replace(clear=grant.clear & asked, masked=grant.masked & asked)
        async with self._store.reading(context, Act.QUERY) as unit:
            # One more than is answered, to know whether there are more; that one is not opened for the answer.
            matches = await self._matches(unit, actor, query, position, first + 1, _names(asked))
            if unique and len(matches) > 1:
                raise Invalid("value", "ambiguous")
            nodes = [self._profile(unit, record, shown, actor) for record in matches[:first]]
            unit.remark(cnt=len(nodes), fld=tuple(filtered))
        return Page(nodes, [encode_cursor(node["id"]) for node in nodes], len(matches) > first, after is not None)

    async def _matches(
        self, unit: Unit, actor: Actor, query: Query, after: str, limit: int, names: frozenset[str]
    ) -> list[Record]:
        """The first records that truly match, with the sealed rows that `names` need."""
        index = query.index
        ids = await visible(unit, actor, await unit.candidates(index, query.term, after))
        records = await unit.load(ids, names | set(index.fields)) if ids else {}
        hidden = policy.withheld_when_restricted(actor)
        found: list[Record] = []
        for patient_id in ids:
            record = records.get(patient_id)
            if record is None or record.status != "active" or record in found:  # as of one merged just now
                continue
            # What is withheld on a restricted record must not be confirmed by finding it either.
            if record.restricted and any(BY_NAME[name].group in hidden for name in index.fields):
                continue
            if unit.compare(record, index.fields, query.matches):
                found.append(record)
                if len(found) == limit:
                    break
        return found

    def _profile(
        self,
        unit: Unit,
        record: Record | None,
        grant: ReadGrant,
        actor: Actor,
        broken: Mapping[str, str] = MappingProxyType({}),
    ) -> Profile:
        if record is None:
            raise NotFound
        if record.status == "erased":
            raise Erased
        return unit.open(record, view(grant, actor, restricted=record.restricted, broken=broken.get(record.id)))


def encode_cursor(position: str) -> str:
    """An opaque cursor of a position."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str) -> str:
    """The position behind a cursor. Raises `Invalid` for what was never one."""
    try:
        position = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except ValueError:
        position = ""
    if not _POSITION.fullmatch(position):
        raise Invalid("after", "cursor")
    return position


async def visible(unit: Unit, actor: Actor, ids: Sequence[str]) -> list[str]:
    """Those of the ids that the actor may know of at all: everything in the organisation, or just the own record.

    That is their own under each of its ids: another record may have been merged into it, or it into another.
    """
    own = policy.scope(actor)
    if own is None or all(each == own for each in ids):
        return list(ids)
    return await unit.same(own, ids)


@lru_cache(maxsize=1024)
def _names(paths: frozenset[str]) -> frozenset[str]:
    return frozenset(BY_PATH[path].name for path in paths)
