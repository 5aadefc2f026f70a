"""Giving records out: everything of an organisation, or everything about one person. Every patient leaves an event."""

from collections.abc import AsyncIterator

from auth import policy
from auth.actor import Actor
from auth.policy import Action, ReadGrant
from crm.audit.event import Act
from crm.catalogue import BY_PATH, FIELDS
from crm.errors import Erased, NotFound
from crm.services.profiles import Profile, groups, view
from crm.services.request import Request
from crm.store.unit import Store

CHUNK = 100

EVERYTHING = frozenset(path for row in FIELDS for path in row.paths)
"""The paths of all fields that clients can read."""


class Exports:
    """The use cases of one export by `actor` of its organisation."""

    def __init__(self, store: Store, actor: Actor, request: Request) -> None:
        self._store = store
        self._actor = actor
        self._request = request

    async def patients(self, *, chunk: int = CHUNK, paths: frozenset[str] = EVERYTHING) -> AsyncIterator[list[Profile]]:
        """All active patients in the order of their ids, as far as `paths` tell of them.

        Each chunk is given out once its events are durable.
        """
        grant = await self._admit(paths)
        names = frozenset(BY_PATH[path].name for path in paths)
        after = ""
        while True:
            async with self._store.reading(self._request.context(self._actor, grant.rule), Act.EXPORT) as unit:
                ids = await unit.ids(after, chunk)
                records = await unit.load(ids, names) if ids else {}
                profiles = [
                    _without_erased(unit.open(record, view(grant, self._actor, restricted=record.restricted)))
                    for record in (records[patient_id] for patient_id in ids)
                    if record.status != "erased"  # between the two statements
                ]
            if not ids:
                return
            yield profiles
            after = ids[-1]

    async def patient(self, patient_id: str) -> Profile:
        """Everything about one person; `erased` names fields that were erased, if any. Raises `NotFound`, `Erased`."""
        grant = await self._admit()
        context = self._request.context(self._actor, grant.rule)
        async with self._store.reading(context, Act.EXPORT, [patient_id]) as unit:
            records = await unit.load([patient_id], {row.name for row in FIELDS if row.paths})
            if patient_id not in records:
                raise NotFound
            profile = unit.open(
                records[patient_id], view(grant, self._actor, restricted=records[patient_id].restricted)
            )
            left = _without_erased(profile)
            erased = sorted(profile.keys() - left.keys())
            return {**left, "erased": erased} if erased else left

    async def _admit(self, paths: frozenset[str] = EVERYTHING) -> ReadGrant:
        async with self._store.recording(self._request.context(self._actor), Act.EXPORT):
            return policy.decide_read(self._actor, groups(paths), Action.EXPORT)


def _without_erased(profile: Profile) -> Profile:
    return {name: value for name, value in profile.items() if not isinstance(value, Erased)}
