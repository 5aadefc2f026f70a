"""Former versions of a record: what it said at a time, and who made each version. Asks the policy, then the store.

Permissions are those of now, and a restriction withholds whether it stood then or stands now: time passing shows nobody
what they may not see.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from auth import policy
from auth.actor import Actor
from auth.policy import Action, Group, ReadGrant
from crm.audit.event import Act, recorded_subject, rfc3339
from crm.catalogue import BY_NAME, BY_PATH
from crm.domain.superseding import MERGED
from crm.errors import Erased, Invalid, NotFound
from crm.services import conflicts
from crm.services.access_log import place_of
from crm.services.log_questions import micros
from crm.services.profiles import Page, Profile, Profiles, encode_cursor, view, visible
from crm.services.request import Request
from crm.store.history import Maker, Version
from crm.store.record import Record
from crm.store.unit import Store, Unit
from crm.store.view import View

__all__ = ["History", "former_view"]

_LOOKED: Final = "HISTORY"
_NEWEST: Final = 2**53


class History:
    """The use cases of history. `names`: patients are told the subjects of the members of staff."""

    def __init__(self, store: Store, profiles: Profiles, *, names: bool = False) -> None:
        self._store = store
        self._profiles = profiles
        self._names = names

    async def read(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        asked: frozenset[str],
        *,
        at: str | None = None,
        version: int | None = None,
    ) -> Profile:
        """The profile as it was at a time (RFC 3339 text) or in a version; exactly one of the two is given.

        Raises `NotFound`, also for a time before there was the record; `Erased`; `Invalid` for a time to come, and for
        a version that there is not yet or that is older than history; and what the policy refuses.
        """
        grant = await self._profiles.admit(actor, request, asked, [patient_id], Action.HISTORY)
        context = request.context(actor, grant.rule)
        async with self._store.recording(context, Act.READ, [patient_id]):
            moment = self._moment(at, version)
        async with self._store.reading(context, Act.READ, [patient_id]) as unit:
            names = {BY_PATH[path].name for path in asked}
            now = present = await self._present(unit, actor, patient_id, names)
            if moment is None:
                chosen = None if version is None else await unit.version(present.id, version)
            else:
                present = await _led_to(unit, now, patient_id, moment, names)
                chosen = await unit.version_at(present.id, moment)
            if chosen is None:
                raise _not_there(present, moment, version)
            day = None if moment is None else rfc3339(moment)[:10]
            [record] = await unit.load_past(present, [chosen], names, day)
            unit.current(now, ["restricted"])  # believed only where a row vouches for it
            record.past = record.past and replace(record.past, present=now)
            return self._profile(unit, record, grant, actor)

    async def compare(
        self, actor: Actor, request: Request, patient_id: str, first: int, second: int, asked: frozenset[str]
    ) -> dict[str, Any]:
        """The record in two versions, `before` the older one, and what changed between them, as far as it is described.

        Each side has an event of its own. Raises what `read` raises for a version.
        """
        grant = await self._profiles.admit(actor, request, asked, [patient_id], Action.HISTORY)
        context = request.context(actor, grant.rule)
        async with self._store.reading(context, Act.READ, [patient_id]) as unit:
            names = {BY_PATH[path].name for path in asked}
            present = await self._present(unit, actor, patient_id, names)
            chosen = [await unit.version(present.id, number) for number in sorted((first, second))]
            for number, version in zip(sorted((first, second)), chosen, strict=True):
                if version is None:
                    raise _not_there(present, None, number)
            records = await unit.load_past(present, [version for version in chosen if version is not None], names)
            before, after = (self._profile(unit, record, grant, actor) for record in records)
            newest = records[-1]
            since = await conflicts.changes_since(unit, newest, records[0].version)
            told = None if since is None else sorted(conflicts.told_since(present, actor, grant, since))
            return {"before": before, "after": after, "changed_fields": told}

    async def versions(
        self, actor: Actor, request: Request, patient_id: str, first: int, after: str | None, asked: frozenset[str]
    ) -> Page:
        """The versions of a record, the newest first; with `asked`, each is opened as it was.

        Raises `NotFound`, `Erased`, `Invalid` for a cursor, and what the policy refuses.
        """
        grant = await self._profiles.admit(actor, request, asked, [patient_id], Action.HISTORY)
        context = request.context(actor, grant.rule)
        async with self._store.recording(context, Act.READ, [patient_id]):
            below = place_of(after)
        async with self._store.reading(context, Act.READ, [patient_id]) as unit:
            names = {BY_PATH[path].name for path in asked}
            present = await self._present(unit, actor, patient_id, names)
            found = await unit.versions(present.id, _NEWEST if below is None else below, first + 1)
            shown = found[:first]
            records = await unit.load_past(present, shown if asked else [], names)
            profiles = [self._profile(unit, record, grant, actor) for record in records]
            if not profiles:
                unit.touch(present, _LOOKED)
                profiles = [{"id": present.id, "version": version.version} for version in shown]
            nodes = [
                {**self._node(actor, request, grant, present, version), "patient": profile}
                for version, profile in zip(shown, profiles, strict=True)
            ]
        cursors = [encode_cursor(str(version.version)) for version in shown]
        return Page(nodes, cursors, len(found) > first, after is not None)

    def _moment(self, at: str | None, version: int | None) -> int | None:
        """The time in microseconds since 1970, UTC. Raises `Invalid`."""
        if at is not None and version is not None:
            raise Invalid("asOfVersion", "one_of")
        moment = micros(at, "asOf")
        if moment is not None and moment > self._store.clock():
            raise Invalid("asOf", "in_the_future")
        return moment

    async def _present(self, unit: Unit, actor: Actor, patient_id: str, names: set[str]) -> Record:
        """The record as it is. Raises `NotFound`, `Erased`."""
        found = await unit.load(await visible(unit, actor, [patient_id]), names | {"restricted"})
        present = found.get(patient_id)
        if present is None:
            raise NotFound
        if present.status == "erased":
            raise Erased
        return present

    def _profile(self, unit: Unit, record: Record, grant: ReadGrant, actor: Actor) -> Profile:
        return unit.open(record, former_view(grant, actor, record))

    def _node(
        self, actor: Actor, request: Request, grant: ReadGrant, present: Record, version: Version
    ) -> dict[str, Any]:
        """A version as the caller may know of it."""
        guarded = present.restricted or version.restricted
        told = grant.groups - policy.withheld_when_restricted(actor) if guarded else grant.groups
        hidden = version.changed and not any(
            name in BY_NAME and BY_NAME[name].group in told for name in version.changed
        )
        maker = None if hidden else version.maker  # who did something, and how, may tell what was done
        return {
            "version": version.version,
            "recorded_at": rfc3339(version.at),
            "changed_fields": _paths(version.changed, told),
            "action": None if maker is None else maker.act,
            "source": None if maker is None else maker.system,
            "channel": None if maker is None else maker.channel,
            "by": None if maker is None else self._by(actor, request, maker),
        }

    def _by(self, actor: Actor, request: Request, maker: Maker) -> Mapping[str, Any]:
        """Who made a version, as the caller is told: patients learn of staff what their own log says of them."""
        who = request.context(actor).who
        yourself = (maker.issuer, maker.subject) == (who.iss, recorded_subject(who.sub))
        named = self._names or yourself or policy.scope(actor) is None
        return {"subject": maker.subject if named else None, "roles": maker.roles, "yourself": yourself}


def former_view(grant: ReadGrant, actor: Actor, record: Record) -> View:
    """The view that a grant gives on a record as it was.

    What is used unseen is withheld there: that there is one may be known, and not since when. Raises
    `BreakGlassRequired`.
    """
    seen = view(grant, actor, restricted=record.guarded)
    unseen = frozenset(path for path in seen.masked if BY_PATH[path].group not in grant.groups)
    return replace(seen, masked=seen.masked - unseen, withheld=seen.withheld | unseen) if unseen else seen


def _paths(names: frozenset[str], told: frozenset[Group]) -> list[str]:
    """The public paths of the fields, of groups of which the caller may be told; a newer release may know others."""
    known = (BY_NAME[name] for name in names if name in BY_NAME)
    return sorted(path for field in known if field.group in told for path in field.paths)


async def _led_to(unit: Unit, present: Record, patient_id: str, moment: int, names: set[str]) -> Record:
    """The record that an id led to at a time: before it was merged into `present`, its own."""
    if present.id == patient_id:
        return present
    version = await unit.version_at(patient_id, moment)
    if version is None or version.status == MERGED:
        return present
    return (await unit.load_as_they_are([patient_id], names | {"restricted"}))[patient_id]


def _not_there(present: Record, moment: int | None, version: int | None) -> NotFound | Invalid:
    """Why nothing is kept of that time or version."""
    if moment is not None:
        return NotFound() if moment < present.created_at else Invalid("asOf", "not_kept")
    later = version is None or not 1 <= version <= present.version
    return Invalid("asOfVersion", "unknown_version" if later else "not_kept")
