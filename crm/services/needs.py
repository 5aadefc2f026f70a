"""The life of access needs after they are recorded: reviewed, met or not, overdue. Which needs there are is `changes`'.

The stages are those of the English Accessible Information Standard (DAPB1605): identified, recorded, flagged, shared,
met, reviewed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from auth.actor import Actor
from auth.errors import ForbiddenField
from auth.policy import Action, ReadGrant
from crm.audit.event import Act, rfc3339
from crm.catalogue import BY_PATH, INDEXES
from crm.domain import values
from crm.domain.reviews import due_months, is_overdue
from crm.domain.times import micros
from crm.errors import Invalid
from crm.services.editing import Editor
from crm.services.profiles import Page, Profile, Profiles, decode_cursor, encode_cursor, view
from crm.services.request import Request
from crm.store.record import Record
from crm.store.unit import Store, Unit, WritingUnit

__all__ = ["Needs"]

_REVIEW_DUE: Final = next(index for index in INDEXES if index.name == "review_due")
_FIELD: Final = frozenset({"accessNeeds"})
_CHUNK: Final = 200
"""Records that are opened at once to compare their dates."""


@dataclass(frozen=True, slots=True)
class UnmetPage(Page):
    """`last` and `times` are in step with the nodes: when a need was last not met, and how often in the time asked."""

    last: tuple[str, ...] = ()
    times: tuple[int, ...] = ()


class Needs:
    """The use cases of reviews and outcomes."""

    def __init__(self, store: Store, profiles: Profiles, editor: Editor) -> None:
        self._store = store
        self._profiles = profiles
        self._editor = editor

    async def review(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        need_id: str,
        due: str | None,
        asked: frozenset[str],
    ) -> Profile:
        """The profile with the need reviewed now and its next review `due`, or without one where that is None.

        Raises `Invalid` (`unknown_need`, `in_the_past`), and what `Editor.edit` raises.
        """

        def reviewed(need: dict[str, Any], now: str) -> dict[str, Any]:
            if due is not None and is_overdue(due, now[:10]):
                raise Invalid("input.reviewDueAt", "in_the_past")
            return {**need, "last_reviewed_at": now, "review_due_at": due}

        return await self._edit(actor, request, patient_id, expected_version, need_id, reviewed, asked)

    async def outcome(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        need_id: str,
        met: bool,
        asked: frozenset[str],
    ) -> Profile:
        """The profile with the need met, or not met, just now; what was not met is flagged in the access log.

        Raises `Invalid` (`unknown_need`), and what `Editor.edit` raises.
        """
        member = "last_met_at" if met else "last_unmet_at"
        return await self._edit(
            actor,
            request,
            patient_id,
            expected_version,
            need_id,
            lambda need, now: {**need, member: now},
            asked,
            unmet=not met,
        )

    async def _edit(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        need_id: str,
        edit: Callable[[dict[str, Any], str], dict[str, Any]],
        asked: frozenset[str],
        *,
        unmet: bool = False,
    ) -> Profile:
        admitted = await self._editor.admit(actor, request, patient_id, ["access_needs"], asked)

        def change(unit: WritingUnit, record: Record) -> Mapping[str, Any]:
            needs = unit.current(record, ["access_needs"]).get("access_needs") or []
            if all(need["id"] != need_id for need in needs):
                raise Invalid("input.needId", "unknown_need")
            now = rfc3339(unit.now)
            changed = [edit(need, now) if need["id"] == need_id else need for need in needs]
            if unmet:
                unit.flag(record, "need_unmet")
            return {"access_needs": values.parse(values.AccessNeeds, changed, "input", lenient=True)}

        return await self._editor.edit(admitted, expected_version, change, speaks=False)

    async def overdue(
        self, actor: Actor, request: Request, as_of: str | None, first: int, after: str | None, asked: frozenset[str]
    ) -> Page:
        """Patients with a need whose review was due before the day `as_of` (today if None), in the order of their ids.

        Found by the month through the blind index `review_due`; then the dates themselves are compared. Raises
        `Invalid`, `KeyUnavailable`, or what the policy refuses.
        """
        grant = await self._admit(actor, request, asked)
        context = request.context(actor, grant.rule)
        async with self._store.recording(context, Act.QUERY):
            day = None if as_of is None else _day(as_of)
            position = "" if after is None else decode_cursor(after)
        async with self._store.reading(context, Act.QUERY) as unit:
            found = await self._overdue(unit, day or unit.today, position, first + 1, asked)
            nodes = [unit.open(record, _seen(grant, asked, actor, record)) for record in found[:first]]
            unit.remark(cnt=len(nodes), fld=tuple(_FIELD))
        return Page(nodes, _cursors(nodes), len(found) > first, after is not None)

    async def unmet(
        self,
        actor: Actor,
        request: Request,
        from_: str,
        to: str | None,
        first: int,
        after: str | None,
        asked: frozenset[str],
    ) -> UnmetPage:
        """Patients of whom a need was not met from `from_` until before `to` (now if None), in the order of their ids.

        A contact decision that could not meet one counts, and what staff recorded of a visit. Raises `Invalid`,
        `KeyUnavailable`, or what the policy refuses.
        """
        grant = await self._admit(actor, request, asked)
        context = request.context(actor, grant.rule)
        async with self._store.recording(context, Act.QUERY):
            since, until = _moment(from_, "from"), None if to is None else _moment(to, "to")
            position = "" if after is None else decode_cursor(after)
        async with self._store.reading(context, Act.QUERY) as unit:
            facts = await unit.unmet(since, until or unit.now + 1, position, first + 1)
            shown = facts[:first]
            records = await unit.load([fact.patient_id for fact in shown], _names(asked)) if shown else {}
            # Between the two statements somebody may have been erased.
            shown = [
                fact for fact in shown if fact.patient_id in records and records[fact.patient_id].status == "active"
            ]
            nodes = [
                unit.open(records[fact.patient_id], _seen(grant, asked, actor, records[fact.patient_id]))
                for fact in shown
            ]
            unit.remark(cnt=len(nodes), fld=tuple(_FIELD))
        return UnmetPage(
            nodes,
            _cursors(nodes),
            len(facts) > first,
            after is not None,
            tuple(rfc3339(fact.last) for fact in shown),
            tuple(fact.times for fact in shown),
        )

    async def _admit(self, actor: Actor, request: Request, asked: frozenset[str]) -> ReadGrant:
        """The grant to search among needs: who is listed has one, so they must be readable unmasked."""
        grant = await self._profiles.admit(actor, request, asked | _FIELD, action=Action.SEARCH)
        if not grant.clear >= _FIELD:
            async with self._store.recording(request.context(actor, grant.rule), Act.QUERY):
                raise ForbiddenField(_FIELD)
        return grant

    async def _overdue(self, unit: Unit, day: str, after: str, limit: int, asked: frozenset[str]) -> list[Record]:
        """The first records that are really overdue; in the month of `day` the index also gives those that are not."""
        terms = due_months(day)
        found: list[Record] = []
        while len(found) < limit:
            ids = await unit.any_candidates(_REVIEW_DUE, terms, after, _CHUNK)
            records = await unit.load(ids, _names(asked | _FIELD)) if ids else {}
            present = [records[patient_id] for patient_id in ids if patient_id in records]
            found += [record for record in present if record.status == "active" and _is_late(unit, record, day)]
            if len(ids) < _CHUNK:
                break
            after = ids[-1]
        return found[:limit]


def _is_late(unit: Unit, record: Record, day: str) -> bool:
    def late(profile: Mapping[str, Any]) -> bool:
        due = [need.get("review_due_at") for need in profile.get("access_needs") or ()]
        return any(text is not None and is_overdue(text, day) for text in due)

    return unit.compare(record, ["access_needs"], late)


def _seen(grant: ReadGrant, asked: frozenset[str], actor: Actor, record: Record) -> Any:
    """The view on one of the records found: what was asked for, and not what was only searched by."""
    shown = grant._replace(clear=grant.clear & asked, masked=grant.masked & asked)
    return view(shown, actor, restricted=record.restricted)


def _names(paths: frozenset[str]) -> frozenset[str]:
    return frozenset(BY_PATH[path].name for path in paths)


def _cursors(nodes: list[Profile]) -> list[str]:
    return [encode_cursor(node["id"]) for node in nodes]


def _day(text: str) -> str:
    """A whole day. Raises `Invalid`."""
    day: str = values.parse(values.PartialDate, text, "asOf")
    if len(day) != len("2026-11-22"):
        raise Invalid("asOf", "date")
    return day


def _moment(text: str, path: str) -> int:
    """Microseconds since 1970. Raises `Invalid`."""
    return micros(values.parse(values.PartialDateTime, text, path))
