"""Reading the access log, and recording attempts that never became an actor. Reading it leaves exactly one event."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import POLICY_VERSION, Action
from crm.audit.event import EPOCH, Act, Outcome, Who
from crm.errors import Invalid
from crm.services.profiles import Page, encode_cursor
from crm.services.request import Request
from crm.store import log
from crm.store.context import Context
from crm.store.log import EventFilter, LoggedEvent
from crm.store.subjects import patients_of, subjects_of
from crm.store.unit import Store, reason

NOBODY = "_"
"""The log of attempts that belong to no organisation, because their token proved nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """What an officer asks: the filter as it came in, each part optional.

    `patient_id` is the patient's id, `since` (inclusive) and `until` (exclusive) are instants with a zone, `outcome` one of
    ok, partial, denied, error, `purpose` an HL7 purpose-of-use code, `act` as in `crm.audit.event.Act`.
    """

    patient_id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    outcome: str | None = None
    purpose: str | None = None
    act: str | None = None
    request_id: str | None = None


class AccessLog:
    """The use cases around the log of access events."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, actor: Actor, request: Request) -> str:
        """The rule that lets the actor read the log; a refusal is recorded and raised."""
        try:
            return policy.decide(actor, Action.AUDIT_READ)
        except AuthError as refusal:
            await self._store.refuse(request.context(actor), Act.AUDIT_READ, [], why=reason(refusal))
            raise

    async def events(
        self, actor: Actor, request: Request, question: Question, first: int, after: str | None
    ) -> Page:
        """Access events of the actor's organisation, newest first. The look itself is recorded, with its count."""
        rule = await self.admit(actor, request)
        position = _position(after)
        database = self._store.database
        fetch = partial(database.fetch, actor.org)
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            subject: str | None = None
            found: list[LoggedEvent] = []
            if question.patient_id is not None:
                subject = (await subjects_of(fetch, actor.org, [question.patient_id])).get(question.patient_id)
            if question.patient_id is None or subject is not None:
                chosen = _filter(question, subject)
                found = await log.events(database, actor.org, chosen, first + 1, position)
            shown = found[:first]
            contents = [entry.content for entry in shown]
            names = await patients_of(fetch, actor.org, {leaf["pat"] for leaf in contents if "pat" in leaf})
            unit.remark(cnt=len(shown), pat=subject)
        nodes = [_node(entry.seq, leaf, names) for entry, leaf in zip(shown, contents, strict=True)]
        cursors = [encode_cursor(str(entry.seq)) for entry in shown]
        return Page(nodes, cursors, len(found) > first, after is not None)

    async def refused(self, why: str, request: Request) -> None:
        """Records an attempt without a valid token: that it happened and a reason code, nothing of the token."""
        context = Context(NOBODY, Who(), request.operation, request.id, None, POLICY_VERSION)
        async with self._store.reading(context, Act.LOGIN) as unit:
            unit.remark(out=Outcome.DENIED, why=why)


def _filter(question: Question, subject: str | None) -> EventFilter:
    return EventFilter(
        patient=subject,
        actor=question.actor,
        since=_micros(question.since),
        until=_micros(question.until),
        outcome=question.outcome,
        purpose=question.purpose,
        act=question.act,
        request=question.request_id,
    )


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - EPOCH) // timedelta(microseconds=1)


def _position(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    try:
        return int(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii"))
    except (ValueError, binascii.Error):
        raise Invalid("after", "cursor") from None


def _node(seq: int, leaf: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """An event as it is answered; `fld` of an event that was denied names what was refused, not what was returned."""
    who = leaf.get("who", {})
    answered = leaf["out"] in ("ok", "partial")
    return {
        "id": leaf["id"],
        "seq": seq,
        "recorded_at": leaf["t"],
        "action": leaf["act"],
        "outcome": leaf["out"],
        "reason": leaf.get("why"),
        "actor": {
            "subject": who.get("sub"),
            "issuer": who.get("iss"),
            "roles": who.get("roles", []),
            "organisation": who.get("org"),
            "client_id": who.get("client"),
        },
        "purpose_of_use": next(iter(leaf.get("pou", ())), None),
        "patient_id": names.get(leaf.get("pat", "")),
        "operation": leaf.get("op"),
        "request_id": leaf.get("req"),
        "fields_returned": leaf.get("fld", []) if answered else [],
        "fields_refused": [] if answered else leaf.get("fld", []),
        "fields_masked": leaf.get("msk", []),
        "fields_changed": leaf.get("chg", []),
        "count": leaf.get("cnt"),
        "record_version": next((entry["ver"] for entry in leaf.get("obj", ())), None),
        "flags": leaf.get("flg", []),
        "policy_version": leaf.get("pol", {}).get("v"),
        "policy_rules": leaf.get("pol", {}).get("d", []),
    }
