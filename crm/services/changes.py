"""Changing profiles: registration, preferences, identity and contact points. Asks the policy, then one unit of work."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError, ForbiddenField
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import BY_NAME
from crm.domain import values
from crm.domain.codes import ContactPointUse
from crm.domain.contact_points import personal
from crm.domain.times import ended
from crm.errors import Invalid
from crm.services.editing import Admitted, Editor, system_of
from crm.services.held_keys import require_to_change
from crm.services.profiles import Profile, Profiles, groups, view
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, WritingUnit

__all__ = ["Changes", "canonical"]

Points = list[dict[str, Any]]


class Changes:
    """The use cases of writing. `region` is the default region of telephone numbers without a country code."""

    def __init__(self, store: Store, profiles: Profiles, *, region: str | None = None) -> None:
        self._store = store
        self._profiles = profiles
        self._editor = Editor(store, profiles)
        self._region = region

    async def register(
        self, actor: Actor, request: Request, submitted: Mapping[str, Any], asked: frozenset[str]
    ) -> Profile:
        """A new patient. Raises `Invalid` with the path of the value to blame, or the policy's refusals."""
        grant = await self._profiles.admit(actor, request, asked, action=Action.REGISTER)
        async with self._store.recording(request.context(actor), Act.CREATE):
            rule = _may_write(actor, _paths(submitted), Action.REGISTER)
            require_to_change(self._store.keys, _paths(submitted))
            values = canonical(submitted, region=self._region)
        async with self._store.writing(request.context(actor, *{grant.rule, rule}), Act.CREATE) as unit:
            record = unit.create(values, system_of(actor))
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

        Raises `VersionRequired`, `VersionConflict`, `NotFound`, `Erased`, `RestrictedRecord`, `Invalid`, or what the
        policy refuses.
        """
        grant = await self._profiles.admit(actor, request, asked, [patient_id], Action.UPDATE)
        async with self._store.recording(request.context(actor), Act.UPDATE, [patient_id]):
            rule = _may_write(actor, _paths(submitted), Action.UPDATE)
            require_to_change(self._store.keys, _paths(submitted))
            _require_replaceable(submitted)
            values = canonical(submitted, region=self._region)
            may_forget = _may_forget_reasons(actor)
        context = request.context(actor, *{grant.rule, rule})

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            return _with_kept_outcomes(unit, record, _with_kept_reasons(unit, record, values, forget=may_forget))

        admitted = Admitted(actor, context, patient_id, frozenset(values), grant, request.merge)
        return await self._editor.edit(admitted, expected_version, change)

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
        new = {**contact_point, "id": values.new_id(), "verification": {"status": "UNVERIFIED"}}
        return await self._edit_contact_points(
            actor, request, patient_id, expected_version, asked, lambda points, _: [*points, self._entered(new)]
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
            if "value" in contact_point or "system" in contact_point:
                new.pop("as_written", None)
                new.pop("extension", None)
                new = self._entered(new)
                if any(new.get(key) != old.get(key) for key in ("system", "value", "extension")):
                    new["verification"] = {"status": "UNVERIFIED"}
                    new.pop("undeliverable", None)
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
        """Marks a contact point as old and ends its period today, unless it ended before; it stays as a fact."""

        def edit(points: Points, today: str) -> Points:
            old = _one(points, contact_point_id)
            period = ended(old.get("period", {}), today)
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
        admitted = await self._editor.admit(actor, request, patient_id, ["contact_points"], asked)

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            stored = unit.current(record, ["contact_points"]).get("contact_points") or []
            # A new value was entered by the rules; what an import kept as it was written may stay so.
            points = [
                point if point in stored else self._entered(point, lenient=True) for point in edit(stored, unit.today)
            ]
            kind = BY_NAME["contact_points"].kind
            after = values.parse(kind, points, "input.contactPoints", lenient=True)
            if policy.scope(actor) is not None:
                _require_personal(stored, after)
            return {"contact_points": after}

        return await self._editor.edit(admitted, expected_version, change)

    def _entered(self, point: Mapping[str, Any], *, lenient: bool = False) -> dict[str, Any]:
        """One contact point in its canonical form. Raises `Invalid`, unless `lenient`, for a value without one."""
        path = "input.contactPoint"
        entered: dict[str, Any] = values.parse(values.ContactPoint, point, path, region=self._region, lenient=lenient)
        return entered


def canonical(submitted: Mapping[str, Any], *, region: str | None = None) -> dict[str, Any]:
    """Validated values by catalogue name; `cultural_needs` become the two fields in which they are stored.

    Raises `Invalid` with the path below `input`.
    """
    result: dict[str, Any] = {}
    for name, value in submitted.items():
        if name == "cultural_needs":
            result |= _cultural_needs(value)
        elif name not in BY_NAME or BY_NAME[name].kind is None:
            raise Invalid(f"input.{name}", "unknown_field")
        elif value is None:
            result[name] = None
        else:
            field = BY_NAME[name]
            path = f"input.{(field.paths or (name,))[0].split('.')[0]}"
            result[name] = values.parse(field.kind, value, path, region=region)
    return result


def _cultural_needs(needs: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """What staff should do, and apart from it, sealed under another key, why; joined by the id of the need."""
    if needs is None:
        return {"cultural_need_handling": None}
    path = "input.culturalNeeds"
    handlings, reasons = [], []
    for number, need in enumerate(needs):
        place, name = f"{path}.{number}", {"id": need.get("id") or values.new_id()}
        handling = {**name, "handling": need.get("handling")}
        handlings.append(values.parse(values.CulturalNeedHandling, handling, place))
        if _states_reason(need):
            reason = {**name, "kind": need.get("kind"), "detail": need.get("detail")}
            reasons.append(values.parse(values.CulturalNeedDetail, reason, place))
    result = {"cultural_need_handling": values.parse(BY_NAME["cultural_need_handling"].kind, handlings, path)}
    if reasons:
        result["cultural_need_detail"] = values.parse(BY_NAME["cultural_need_detail"].kind, reasons, path)
    return result


def _states_reason(need: Mapping[str, Any]) -> bool:
    return need.get("kind") is not None or need.get("detail") is not None


def _with_kept_reasons(
    unit: WritingUnit, record: Record, changes: Mapping[str, Any], *, forget: bool
) -> Mapping[str, Any]:
    """A need that states no reason keeps its own, so that staff who may not know it can edit the rest.

    A need that is gone takes its reason along, but only if the actor may write reasons: with `forget` false it stays.
    """
    if "cultural_need_handling" not in changes or not forget:
        return changes
    stored = unit.current(record, ["cultural_need_detail"]).get("cultural_need_detail") or []
    reasons = {reason["id"]: reason for reason in [*stored, *(changes.get("cultural_need_detail") or [])]}
    if not reasons:
        return changes
    kept = [reasons[need["id"]] for need in changes["cultural_need_handling"] or [] if need["id"] in reasons]
    return {**changes, "cultural_need_detail": kept or None}


_OUTCOMES = ("last_met_at", "last_unmet_at")


def _with_kept_outcomes(unit: WritingUnit, record: Record, changes: Mapping[str, Any]) -> Mapping[str, Any]:
    """An access need that stays keeps when it was met or not: that is said by `needs`, and no list replaces it."""
    if not changes.get("access_needs"):
        return changes
    stored = unit.current(record, ["access_needs"]).get("access_needs") or []
    kept = {need["id"]: {name: need[name] for name in _OUTCOMES if name in need} for need in stored}
    return {**changes, "access_needs": [{**need, **kept.get(need["id"], {})} for need in changes["access_needs"]]}


def _require_replaceable(submitted: Mapping[str, Any]) -> None:
    """Raises `Invalid` for a field that is only appended to, by a use case of its own."""
    for name in submitted:
        if name in BY_NAME and BY_NAME[name].append_only:
            raise Invalid(f"input.{BY_NAME[name].paths[0]}", "append_only")


def _paths(submitted: Mapping[str, Any]) -> list[str]:
    """The public paths that submitted values write; the reasons of cultural needs only where one is stated."""
    names = set(submitted) & BY_NAME.keys()
    if "cultural_needs" in submitted:
        names.add("cultural_need_handling")
        if any(_states_reason(need) for need in submitted["cultural_needs"] or ()):
            names.add("cultural_need_detail")
    return [path for name in names for path in BY_NAME[name].paths]


def _may_write(actor: Actor, paths: Sequence[str], action: Action) -> str:
    """The rule that lets `actor` change these paths. Raises the policy's refusals."""
    return policy.decide_write(actor, groups(paths), action).rule


def _may_forget_reasons(actor: Actor) -> bool:
    """Whether the actor may write why a cultural need is there, and so also remove it."""
    try:
        policy.decide_write(actor, groups(BY_NAME["cultural_need_detail"].paths), Action.UPDATE)
    except AuthError:
        return False
    return True


def _require_personal(before: Points, after: Points) -> None:
    """Raises `ForbiddenField` where somebody changes more of themselves than mobiles and mailboxes."""
    known = {point["id"]: point for point in before}
    for point in after:
        old = known.get(point["id"], point)
        ends = point.get("use") == ContactPointUse.OLD
        if point not in before and not (personal(old) and (personal(point) or ends)):
            raise ForbiddenField(["contactPoints"])


def _one(points: Points, contact_point_id: str) -> dict[str, Any]:
    for point in points:
        if point["id"] == contact_point_id:
            return point
    raise Invalid("input.contactPointId", "unknown_contact_point")
