"""Break-glass: asking for a grant, the queue of grants that nobody has judged, and the review by another person."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from uuid_utils import uuid7

from auth import policy
from auth.actor import Actor
from auth.errors import Forbidden
from auth.policy import Action
from crm.audit.event import Act, rfc3339
from crm.domain.break_glass import MINUTE, BreakGlassReason, Verdict, words
from crm.errors import CrmError, Erased, Invalid, KeyUnavailable, NotFound, Tampered
from crm.services.profiles import Page, decode_cursor, encode_cursor
from crm.services.request import Request
from crm.store import break_glass, details
from crm.store.break_glass import Grant, Waiting
from crm.store.details import Detail
from crm.store.record import Record
from crm.store.subjects import patients_of
from crm.store.unit import Store, Unit, WritingUnit

__all__ = ["BreakGlass", "Rules"]

_privacy = logging.getLogger("heed.privacy")
"""Where an operator lets the privacy officers be alerted from: a line for each grant, with ids and codes alone."""

_HOUR: Final = 60 * MINUTE
_USUAL: Final = 60

WORDS: Final[Mapping[str, Act]] = {"text": Act.BREAKGLASS, "note": Act.REVIEW}
"""Fields of a grant that hold what people wrote, and the events beside which it is sealed."""
_ALL: Final = frozenset({"openings", *WORDS})


@dataclass(frozen=True, slots=True)
class Rules:
    """`minutes` is how long a grant lasts at most, `review_hours` how long one may wait for its review."""

    minutes: int = 60
    review_hours: int = 72


class BreakGlass:
    """The use cases of break-glass. `waiting` is how the queues of all organisations were at the last `refresh`.

    A grant is answered as a mapping: its columns, `patient_id` (None once the patient was erased), `age_minutes`,
    `overdue`, and where they were asked for `openings`, `text` and `note`. An exception in place of words becomes the
    error of that field.
    """

    def __init__(self, store: Store, rules: Rules | None = None) -> None:
        self._store = store
        self._rules = rules or Rules()
        self.waiting = Waiting(0, None)

    async def request(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        reason: BreakGlassReason,
        text: str,
        minutes: int | None,
    ) -> dict[str, Any]:
        """A grant for the caller and this patient, from now on, and an alert to the privacy officers.

        One that goes on and that nobody has reviewed is answered as it is, with its own end and words: asking again
        leaves an event and nothing else, however often an answer was lost or a button pressed.

        Raises `Invalid` for words that are too short or too long and for too many minutes, `RateLimited` for a caller
        of whom too many grants wait for a review, `NotFound`, `Erased`, `KeyUnavailable` where this process cannot seal
        the words, or what the policy refuses.
        """
        context = request.context(actor)
        async with self._store.recording(context, Act.BREAKGLASS, [patient_id]):
            rule = policy.decide(actor, Action.BREAK_GLASS)
            text, lasting = words(text, "input.text"), self._lasting(minutes)
            self._require_keys()
        context = request.context(actor, rule)
        async with self._store.writing(context, Act.BREAKGLASS, [patient_id]) as unit:
            record = await _locked(unit, actor, patient_id)
            who = context.who
            grant = Grant(
                id=str(uuid7()),
                subject=str(record.audit_subject),
                issuer=who.iss,
                actor=who.sub,
                role=",".join(who.roles),
                reason=reason.value,
                requested_at=unit.now,
                expires_at=unit.now + lasting * MINUTE,
            )
            given = await unit.break_glass(record, grant, text)
            if given != grant:
                return (await self._shown(unit, [given], {given.subject: patient_id}, _ALL))[0]
        _privacy.warning(
            "break-glass grant %s of %s in %s (%s) until %s waits for a review",
            grant.id, grant.actor, who.org, grant.reason, rfc3339(grant.expires_at),
        )  # fmt: skip
        return {**self._node(grant, patient_id), "openings": 0, "text": text, "note": None}

    async def review(
        self,
        actor: Actor,
        request: Request,
        grant_id: str,
        verdict: Verdict,
        note: str | None,
        asked: frozenset[str],
    ) -> dict[str, Any]:
        """The grant with the caller's verdict, by which it leaves the queue. Each is reviewed once, by somebody else.

        Raises `NotFound`, `Forbidden` for whoever asked for the grant, `Invalid` for one that was reviewed before,
        `Erased` for a note about a patient who was erased, `KeyUnavailable`, or what the policy refuses.
        """
        context = request.context(actor)
        async with self._store.recording(context, Act.REVIEW):
            rule = policy.decide(actor, Action.REVIEW)
            written = None if note is None else words(note, "input.note")
            if written or asked & WORDS.keys():
                self._require_keys()
        concerned: list[str] = []
        async with self._store.writing(request.context(actor, rule), Act.REVIEW, concerned) as unit:
            grant, patient_id = await unit.grant(grant_id)
            if patient_id is not None:
                concerned.append(patient_id)  # a refusal from here on stands under the patient's name
            who = unit.context.who
            if (grant.issuer, grant.actor) == (who.iss, who.sub):
                raise Forbidden(rule)
            if written:
                if patient_id is None:
                    raise Erased
                await _locked(unit, actor, patient_id)
            grant = await unit.review(grant, verdict.value, patient_id, written, asked & WORDS.keys())
            [node] = await self._shown(unit, [grant], {grant.subject: patient_id} if patient_id else {}, asked)
        return node

    async def again(
        self, actor: Actor, request: Request, grant_id: str, asked: frozenset[str], why: str, *, given: bool
    ) -> dict[str, Any]:
        """A grant as it was answered before: as it was `given` to the caller, or with the caller's verdict.

        What goes on is told as of now: its age, and how often it was used. `why` is a code for the record. Raises
        `NotFound`, `KeyUnavailable`, or what the policy refuses.
        """
        asked = _ALL - {"note"} if given else asked
        async with self._store.recording(request.context(actor), Act.AUDIT_READ):
            rule = policy.decide(actor, Action.BREAK_GLASS if given else Action.REVIEW)
            if asked & WORDS.keys():
                self._require_keys()
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            grant, patient_id = await unit.grant(grant_id)
            if given:
                grant = replace(grant, reviewer_issuer=None, reviewer=None, reviewed_at=None, verdict=None)
            [node] = await self._shown(unit, [grant], {grant.subject: patient_id} if patient_id else {}, asked)
            unit.remark(pat=grant.subject, ref=grant.id, why=why, fld=tuple(sorted(asked & WORDS.keys())))
        return {"note": None, **node}

    async def grants(
        self, actor: Actor, request: Request, reviewed: bool, first: int, after: str | None, asked: frozenset[str]
    ) -> Page:
        """The queue, the grant that waits longest first, or those that were reviewed, the newest first.

        The look leaves one event, with the count and with the fields of `WORDS` that were opened. Raises
        `KeyUnavailable` where this process cannot open them, `Invalid` for a malformed cursor, or what the policy
        refuses.
        """
        async with self._store.recording(request.context(actor), Act.AUDIT_READ):
            rule = policy.decide(actor, Action.REVIEW)
            position = decode_cursor(after) if after else ("~" if reviewed else "")
            if asked & WORDS.keys():
                self._require_keys()
        fetch = partial(self._store.database.fetch, actor.org)
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            found = await break_glass.page(fetch, actor.org, reviewed, position, first + 1)
            shown = found[:first]
            patients = await patients_of(fetch, actor.org, {grant.subject for grant in shown})
            nodes = await self._shown(unit, shown, patients, asked)
            unit.remark(cnt=len(nodes), fld=tuple(sorted(asked & WORDS.keys())))
        return Page(nodes, [encode_cursor(grant.id) for grant in shown], len(found) > first, after is not None)

    async def refresh(self) -> None:
        """Counts the queues anew; to be called now and then, so that no request has to. Raises StoreUnavailable."""
        self.waiting = await break_glass.waiting(self._store.database)

    async def _shown(
        self, unit: Unit, grants: Sequence[Grant], patients: Mapping[str, str], asked: frozenset[str]
    ) -> list[dict[str, Any]]:
        """The grants as they are answered; `patients` by audit subject."""
        nodes = [self._node(grant, patients.get(grant.subject)) for grant in grants]
        if "openings" in asked:
            counts = await unit.openings([grant.id for grant in grants])
            for node in nodes:
                node["openings"] = counts.get(node["id"], 0)
        if kinds := [WORDS[name] for name in WORDS.keys() & asked]:
            opened = await unit.words(kinds, {node["id"]: node["patient_id"] for node in nodes if node["patient_id"]})
            for node in nodes:
                for name in WORDS.keys() & asked:
                    node[name] = _words(node, name, opened)
        return nodes

    def _node(self, grant: Grant, patient_id: str | None) -> dict[str, Any]:
        now = self._store.clock()
        return {
            "id": grant.id,
            "patient_id": patient_id,
            "reason": grant.reason,
            "requested_by": grant.actor,
            "requested_at": rfc3339(grant.requested_at),
            "expires_at": rfc3339(grant.expires_at),
            "reviewed_by": grant.reviewer,
            "reviewed_at": None if grant.reviewed_at is None else rfc3339(grant.reviewed_at),
            "verdict": grant.verdict,
            "age_minutes": max(0, (grant.reviewed_at or now) - grant.requested_at) // MINUTE,
            "overdue": grant.reviewed_at is None and now - grant.requested_at > self._rules.review_hours * _HOUR,
        }

    def _lasting(self, minutes: int | None) -> int:
        lasting = min(_USUAL, self._rules.minutes) if minutes is None else minutes
        if not 1 <= lasting <= self._rules.minutes:
            raise Invalid("input.minutes", "out_of_range")
        return lasting

    def _require_keys(self) -> None:
        """Asked before any row is read, so that the answer is the same about every patient."""
        if details.CLASS not in self._store.keys.held:
            raise KeyUnavailable(f"this process was not given {details.CLASS}, under which words are sealed")


def _words(node: Mapping[str, Any], name: str, opened: Mapping[Detail, str | CrmError]) -> str | CrmError | None:
    """What somebody wrote, why it cannot be told, or None where nobody wrote anything."""
    found = opened.get(Detail(node["id"], WORDS[name]))
    if found is not None:
        return found
    if node["patient_id"] is None:
        return Erased() if name == "text" or node["verdict"] else None  # there may have been a note
    return Tampered("detail") if name == "text" else None  # there is no grant without a reason in words


async def _locked(unit: WritingUnit, actor: Actor, patient_id: str) -> Record:
    """The record, locked as writers and erasures lock it."""
    record = (await unit.load_for_change([patient_id])).get(patient_id)
    if record is None or policy.scope(actor) not in (None, patient_id):
        raise NotFound
    if record.status == "erased":
        raise Erased
    return record
