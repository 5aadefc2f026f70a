"""Former versions of a record: what it said at a time, and who made each version. Asks the policy, then the store.

Permissions are those of now, and a restriction withholds whether it stood then or stands now: time passing shows nobody
what they may not see. What a record held of another, until their merge was undone, no patient sees.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, NamedTuple

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
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
from crm.store import merges
from crm.store.history import Maker, Version
from crm.store.merges import Merge
from crm.store.record import Past, Record
from crm.store.unit import Store, Unit
from crm.store.view import View

__all__ = ["History", "former_view"]

_LOOKED: Final = "HISTORY"
_NEWEST: Final = 2**53
_HOUR: Final = 3_600_000_000


class History:
    """The use cases of history. `names`: patients are told the subjects of the members of staff.

    Who may change records and not see history can compare versions that were the newest in the last `hours`.
    """

    def __init__(self, store: Store, profiles: Profiles, *, names: bool = False, hours: int = 24) -> None:
        self._store = store
        self._profiles = profiles
        self._names = names
        self._recent = hours * _HOUR

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

        Raises `NotFound`, also for a time before there was the record; `Erased`; `Invalid` for a time to come, for a
        version that there is not yet or that is older than history, and for one that held what another person said
        where a patient asks, or that person is erased; and what the policy refuses.
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
            [then] = await _as_they_were(unit, actor, present, [chosen], names, day)
            if then is None:
                raise Invalid("asOfVersion" if moment is None else "asOf", "not_kept")
            unit.current(now, ["restricted"])  # believed only where a row vouches for it
            return _opened(unit, then, grant, actor, now)

    async def compare(
        self, actor: Actor, request: Request, patient_id: str, first: int, second: int, asked: frozenset[str]
    ) -> dict[str, Any]:
        """The record in two versions, `before` the older one, and what changed between them, as far as it is described.

        Each side has an event of its own. Raises what `read` raises for a version, and `Invalid` (`too_old`) to who may
        not see history where the older one has not been the newest for too long.
        """
        action = _compares_by(actor)
        grant = await self._profiles.admit(actor, request, asked, [patient_id], action, Act.READ)
        context = request.context(actor, grant.rule)
        async with self._store.reading(context, Act.READ, [patient_id]) as unit:
            names = {BY_PATH[path].name for path in asked}
            present = await self._present(unit, actor, patient_id, names)
            chosen = [await unit.version(present.id, number) for number in sorted((first, second))]
            for number, version in zip(sorted((first, second)), chosen, strict=True):
                if version is None:
                    raise _not_there(present, None, number)
            if action is not Action.HISTORY:
                await self._require_recent(unit, present, min(first, second))
            known = [version for version in chosen if version is not None]
            both = [each for each in await _as_they_were(unit, actor, present, known, names) if each is not None]
            if len(both) < len(known) or (action is not Action.HISTORY and any(each.others for each in both)):
                raise Invalid("asOfVersion", "not_kept")
            before, after = (_opened(unit, each, grant, actor) for each in both)
            since = await conflicts.changes_since(unit, both[-1].record, both[0].record.version)
            if since is not None and policy.scope(actor) is not None:
                kept = _of_two(await unit.family(present), present.id)
                since = [version for version in since if version.version not in kept]
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
            records = await _as_they_were(unit, actor, present, shown if asked else [], names)
            profiles = [each and _opened(unit, each, grant, actor) for each in records]
            if not any(profiles):
                unit.touch(present, _LOOKED)
            if not profiles:
                profiles = [{"id": present.id, "version": version.version} for version in shown]
            kept = frozenset() if policy.scope(actor) is None else _of_two(await unit.family(present), present.id)
            nodes = [
                {**self._node(actor, request, grant, present, version, version.version in kept), "patient": profile}
                for version, profile in zip(shown, profiles, strict=True)
            ]
        cursors = [encode_cursor(str(version.version)) for version in shown]
        return Page(nodes, cursors, len(found) > first, after is not None)

    async def _require_recent(self, unit: Unit, present: Record, version: int) -> None:
        """Raises `Invalid` for a version that was not the newest any more when the time began that may be compared."""
        then = await unit.version_at(present.id, unit.now - self._recent)
        if then is not None and then.version > version:
            raise Invalid("from", "too_old")

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

    def _node(
        self, actor: Actor, request: Request, grant: ReadGrant, present: Record, version: Version, of_two: bool
    ) -> dict[str, Any]:
        """A version as the caller may know of it; `of_two` says that it is not for them alone."""
        guarded = present.restricted or version.restricted
        told = grant.groups - policy.withheld_when_restricted(actor) if guarded else grant.groups
        told = frozenset() if of_two else told
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


def _compares_by(actor: Actor) -> Action:
    """What lets the actor compare versions: seeing history, or for staff and programs changing the record."""
    for action in (Action.HISTORY, Action.UPDATE):
        with suppress(AuthError):
            policy.ruling(actor, action)
            return Action.HISTORY if policy.scope(actor) is not None else action
    return Action.HISTORY


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


class _Then(NamedTuple):
    """A record as it was, and the others whose values it held then and holds no more, each as it was then."""

    record: Record
    others: Sequence[Record]


async def _as_they_were(
    unit: Unit,
    actor: Actor,
    present: Record,
    versions: Sequence[Version],
    names: set[str],
    day: str | None = None,
) -> list[_Then | None]:
    """A record in these versions, in step with them; None for those that hold what is not the actor's to see any more.

    That is what another person said, of whom it was found out that they are another: for patients, and for everybody
    where an erasure has emptied it. Raises what `Unit.load_past` raises.
    """
    family = await unit.family(present) if versions else []
    beside = [merges.others(family, present.id, version.version) for version in versions]
    ids = {name for others in beside for name in others}
    people = await unit.load_as_they_are(ids, {"restricted"})
    alone = policy.scope(actor) is not None
    seen = [version for version, others in zip(versions, beside, strict=True) if not (others and alone)]
    loaded = {record.version: record for record in await unit.load_past(present, seen, names, day)}
    found: list[_Then | None] = []
    for version, others in zip(versions, beside, strict=True):
        record = loaded.get(version.version)
        if record is None or (others and record.emptied):
            found.append(None)
            continue
        then = []
        for name, number in others.items():
            other = people[name]
            if other.status != "erased":
                unit.current(other, ["restricted"])
                then.append(replace(other, version=number, past=Past(other, day or rfc3339(version.at)[:10])))
        found.append(_Then(record, then))
    return found


def _opened(unit: Unit, then: _Then, grant: ReadGrant, actor: Actor, asked: Record | None = None) -> Profile:
    """The profile; guarded where any of those whom it is about is, or the record `asked` that its id leads to now."""
    record = then.record
    if record.past is not None:
        present = asked or record.past.present
        people = (present, record.past.present, *then.others)
        guard = next((each for each in people if each.restricted), present)
        record.past = replace(record.past, present=guard)
    profile = unit.open(record, former_view(grant, actor, record))
    unit.share(record, then.others)
    return profile


def _of_two(family: Sequence[Merge], patient_id: str) -> frozenset[int]:
    """The versions that two people made, from their merge to where it was undone, that one as well."""
    return frozenset(
        version
        for merge in family
        if merge.survivor_id == patient_id and merge.undone_version is not None
        for version in range(merge.survivor_version, merge.undone_version + 1)
        if merges.others(family, patient_id, merge.survivor_version)
    )


async def _led_to(unit: Unit, present: Record, patient_id: str, moment: int, names: set[str]) -> Record:
    """The record that an id led to at a time: its own, or the one that it was merged into by then."""
    name, family = patient_id, await unit.family(present)
    while (version := await unit.version_at(name, moment)) is not None and version.status == MERGED:
        into = merges.led_to(family, name, version.version)
        if into is None:
            break
        name = into
    if name == present.id:
        return present
    found = (await unit.load_as_they_are([name], names | {"restricted"}))[name]
    if found.status == "erased":
        raise Invalid("asOf", "not_kept")
    return found


def _not_there(present: Record, moment: int | None, version: int | None) -> NotFound | Invalid:
    """Why nothing is kept of that time or version."""
    if moment is not None:
        return NotFound() if moment < present.created_at else Invalid("asOf", "not_kept")
    later = version is None or not 1 <= version <= present.version
    return Invalid("asOfVersion", "unknown_version" if later else "not_kept")
