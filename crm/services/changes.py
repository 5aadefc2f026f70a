"""Changing profiles: registration, preferences, identity and contact points. Asks the policy, then one unit of work."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from uuid_utils import uuid7

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.domain import values
from crm.errors import CrmError, Erased, Invalid, NotFound, VersionConflict, VersionRequired
from crm.services.profiles import Profile, Profiles, groups, view
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit, reason

Edit = Callable[[WritingUnit, Record], Mapping[str, Any]]
"""Computes the values to store from the locked record."""

Points = list[dict[str, Any]]


class Changes:
    """The use cases of writing. `region` is the default region of telephone numbers without a country code."""

    def __init__(self, store: Store, profiles: Profiles, *, region: str | None = None) -> None:
        self._store = store
        self._profiles = profiles
        self._region = region

    async def register(
        self, actor: Actor, request: Request, submitted: Mapping[str, Any], asked: frozenset[str]
    ) -> Profile:
        """A new patient. Raises `Invalid` with the path of the value to blame, or the policy's refusals."""
        grant = await self._profiles.admit(actor, request, asked)
        canonical = await self._accept(actor, request, submitted, Action.REGISTER, ())
        async with self._store.writing(request.context(actor, grant.rule), Act.CREATE) as unit:
            record = unit.create(canonical, _system(actor))
            return unit.open(record, view(grant, actor, restricted=record.restricted))

    async def update(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        submitted: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Replaces the submitted fields: what is omitted stays, None clears, lists are replaced whole.

        Raises `VersionRequired`, `VersionConflict`, `NotFound`, `Erased`, `Invalid`, or the policy's refusals.
        """
        grant = await self._profiles.admit(actor, request, asked, [patient_id])
        canonical = await self._accept(actor, request, submitted, Action.UPDATE, [patient_id])
        return await self._edit(actor, request, patient_id, expected_version, grant, lambda *_: canonical)

    async def add_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Appends a contact point under a new id; it starts unverified."""
        new = {**contact_point, "id": str(uuid7()), "verification": {"status": "UNVERIFIED"}}
        return await self._edit_contact_points(
            actor, request, patient_id, expected_version, asked, lambda points, _: [*points, new]
        )

    async def update_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        contact_point: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile:
        """Replaces the submitted members of one contact point; a new value has to be verified anew."""

        def edit(points: Points, _: str) -> Points:
            old = _one(points, contact_point_id)
            new = {key: value for key, value in {**old, **contact_point}.items() if value is not None}
            if (new.get("system"), new.get("value")) != (old["system"], old["value"]):
                new["verification"] = {"status": "UNVERIFIED"}
                new.pop("undeliverable", None)
                new.pop("as_written", None)
            return [new if point["id"] == contact_point_id else point for point in points]

        return await self._edit_contact_points(actor, request, patient_id, expected_version, asked, edit)

    async def retire_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        asked: frozenset[str],
    ) -> Profile:
        """Marks a contact point as old and ends its period today; it stays in the record as a fact."""

        def edit(points: Points, today: str) -> Points:
            old = _one(points, contact_point_id)
            period = {**old.get("period", {}), "end": today}
            if period.get("start", "") > today:
                period["start"] = today
            retired = {key: value for key, value in old.items() if key != "rank"} | {"use": "OLD", "period": period}
            return [retired if point["id"] == contact_point_id else point for point in points]

        return await self._edit_contact_points(actor, request, patient_id, expected_version, asked, edit)

    async def _edit_contact_points(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        asked: frozenset[str],
        edit: Callable[[Points, str], Points],
    ) -> Profile:
        grant = await self._profiles.admit(actor, request, asked, [patient_id])
        await self._decide(actor, request, ["contactPoints"], Action.UPDATE, [patient_id])

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            # On a restricted record, who may not see the contact points may not replace them either.
            if not view(grant, actor, restricted=record.restricted).withheld.isdisjoint({"contactPoints"}):
                raise NotFound
            stored = unit.current(record, ["contact_points"]).get("contact_points", [])
            return {"contact_points": self._checked(list(stored), edit(list(stored), unit.today))}

        return await self._edit(actor, request, patient_id, expected_version, grant, change)

    def _checked(self, stored: Points, points: Points) -> Any:
        """The canonical list: a new value is held to the rules of entry, what an import kept as written may stay."""
        known = {(point["id"], point["system"], point["value"]) for point in stored}
        checked = [
            values.parse(
                values.ContactPoint,
                point,
                "input.contactPoint",
                region=self._region,
                lenient=(point.get("id"), point.get("system"), point.get("value")) in known,
            )
            for point in points
        ]
        return values.parse(BY_NAME["contact_points"].kind, checked, "input.contactPoints", lenient=True)

    async def _edit(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        grant: policy.ReadGrant,
        edit: Edit,
    ) -> Profile:
        """The one path of every update: lock, check the version, change, and answer from what is now stored."""
        async with self._store.writing(request.context(actor, grant.rule), Act.UPDATE, [patient_id]) as unit:
            if expected_version is None:
                raise VersionRequired
            own = policy.scope(actor)
            found = await unit.load_for_change([patient_id]) if own in (None, patient_id) else {}
            record = found.get(patient_id)
            if record is None:
                raise NotFound
            if record.status == "erased":
                raise Erased
            if record.version != expected_version:
                raise VersionConflict(record.version)
            unit.change(record, edit(unit, record), _system(actor))
            return unit.open(record, view(grant, actor, restricted=record.restricted))

    async def _accept(
        self,
        actor: Actor,
        request: Request,
        submitted: Mapping[str, Any],
        action: Action,
        subjects: Sequence[str],
    ) -> dict[str, Any]:
        """Canonical values of the submitted ones, after the policy allowed each field; a refusal is recorded."""
        split = split_cultural_needs(submitted)
        await self._decide(actor, request, _paths(split), action, subjects)
        try:
            return canonical(split, region=self._region)
        except CrmError as refusal:
            act = Act.CREATE if action is Action.REGISTER else Act.UPDATE
            await self._store.refuse(request.context(actor), act, subjects, why=reason(refusal))
            raise

    async def _decide(
        self, actor: Actor, request: Request, paths: list[str], action: Action, subjects: Sequence[str]
    ) -> None:
        try:
            policy.decide_write(actor, groups(frozenset(paths)), action)
        except AuthError as refusal:
            act = Act.CREATE if action is Action.REGISTER else Act.UPDATE
            fields = getattr(refusal, "paths", ())
            await self._store.refuse(request.context(actor), act, subjects, why=reason(refusal), fields=fields)
            raise


def canonical(
    submitted: Mapping[str, Any], *, region: str | None = None, lenient: bool = False, root: str = "input"
) -> dict[str, Any]:
    """Validated values by catalogue name.

    Raises `Invalid` with the path below `root`.
    """
    result: dict[str, Any] = {}
    for name, value in submitted.items():
        if name not in BY_NAME or BY_NAME[name].kind is None:
            raise Invalid(f"{root}.{name}", "unknown_field")
        field = BY_NAME[name]
        if value is None:
            result[name] = None
            continue
        path = f"{root}.{(field.paths or (name,))[0].split('.')[0]}"
        result[name] = values.parse(field.kind, value, path, region=region, lenient=lenient)
    return result


def split_cultural_needs(submitted: Mapping[str, Any]) -> dict[str, Any]:
    """Takes `cultural_needs` apart into what staff should do and why, which are sealed under different keys.

    The reasons are touched only where a need states one, so that staff who may not know them can still edit the handling.
    """
    split = dict(submitted)
    if "cultural_needs" not in split:
        return split
    needs = split.pop("cultural_needs")
    if needs is None:
        return split | {"cultural_need_handling": None, "cultural_need_detail": None}
    identified = [{**need, "id": need.get("id") or str(uuid7())} for need in needs]
    split["cultural_need_handling"] = [{"id": need["id"], "handling": need.get("handling")} for need in identified]
    reasons = [
        {key: need[key] for key in ("id", "kind", "detail") if need.get(key) is not None}
        for need in identified
        if need.get("kind") is not None or need.get("detail") is not None
    ]
    if reasons:
        split["cultural_need_detail"] = reasons
    return split


def _paths(submitted: Mapping[str, Any]) -> list[str]:
    """The public paths that a set of submitted values writes."""
    return [path for name in submitted if name in BY_NAME for path in BY_NAME[name].paths]


def _one(points: Points, contact_point_id: str) -> dict[str, Any]:
    for point in points:
        if point["id"] == contact_point_id:
            return point
    raise Invalid("input.contactPointId", "unknown_contact_point")


def _system(actor: Actor) -> str:
    """The source system of a change made through the API: the calling application."""
    return actor.client_id or "api"


__all__ = ["Changes", "canonical", "split_cultural_needs"]
