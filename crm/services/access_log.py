"""Reading the access log, and recording attempts that never became an actor. Reading it leaves exactly one event."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import EPOCH, Act, Outcome, Who
from crm.errors import Invalid
from crm.services.profiles import Page, decode_cursor, encode_cursor
from crm.services.refusals import EACH_SECOND, NOBODY, Refusals
from crm.services.request import Request
from crm.store import log_reading
from crm.store.log_reading import EventFilter, LoggedEvent
from crm.store.refusing import event
from crm.store.subjects import patients_of, subjects_of
from crm.store.unit import Store


class AccessLog:
    """The use cases around the log of access events.

    `each_second` is how many attempts without a valid token are recorded one by one before the rest is summed.
    """

    def __init__(self, store: Store, *, each_second: int = EACH_SECOND) -> None:
        self._store = store
        self._nobody = Refusals(store, each_second)

    async def admit(self, actor: Actor, request: Request) -> str:
        """The rule that lets the actor read the log; a refusal is recorded and raised."""
        async with self._store.recording(request.context(actor), Act.AUDIT_READ):
            return policy.decide(actor, Action.AUDIT_READ)

    async def events(
        self, actor: Actor, request: Request, question: Mapping[str, Any], first: int, after: str | None
    ) -> Page:
        """Access events of the actor's organisation, newest first. The look itself is recorded, with its count.

        `question` may hold `patient_id`, `actor`, `from_` (inclusive) and `to` (exclusive) as RFC 3339 text, `outcome`
        (ok, partial, denied, error), `purpose` (HL7 code), `act` and `request_id`; with `unattributed` it is about the
        attempts without a valid token, which belong to no organisation. Raises `Invalid` for a malformed time or
        cursor.
        """
        rule = await self.admit(actor, request)
        database = self._store.database
        fetch = partial(database.fetch, actor.org)
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            subject: str | None = None
            found: list[LoggedEvent] = []
            position = _position(after)
            patient_id = question.get("patient_id")
            if patient_id is not None:
                subject = (await subjects_of(fetch, actor.org, [patient_id])).get(patient_id)
            chosen = _filter(question, subject)
            if patient_id is None or subject is not None:
                of = NOBODY if question.get("unattributed") else actor.org
                found = await log_reading.events(database, of, chosen, first + 1, position)
            shown = found[:first]
            contents = [entry.content for entry in shown]
            names = await patients_of(fetch, actor.org, {leaf["pat"] for leaf in contents if "pat" in leaf})
            unit.remark(cnt=len(shown), pat=subject)
        nodes = [_node(entry.seq, leaf, names) for entry, leaf in zip(shown, contents, strict=True)]
        cursors = [encode_cursor(str(entry.seq)) for entry in shown]
        return Page(nodes, cursors, len(found) > first, after is not None)

    async def refused(self, why: str, request: Request, actor: Actor | None = None) -> None:
        """Records an attempt that got no further than its token: a reason code, and nothing of the token itself.

        `actor` is known where the token was good but its purpose was not. Floods of the others are summed.
        """
        if actor is None:
            await self._nobody.refuse(why, request)
        else:
            await self._store.refuse(request.context(actor), Act.LOGIN, [], why=why)

    async def unasked(self, why: str, actor: Actor, request: Request, count: int | None = None) -> None:
        """Records a question refused before it was put to the policy; `count` is how many ids it named, where known."""
        act = Act.QUERY if count is None else Act.READ
        refusal = event(request.context(actor), act=act, out=Outcome.DENIED, why=why, cnt=count)
        await self._store.log.append(actor.org, [refusal])

    async def close(self) -> None:
        """Makes durable what is summed but not yet recorded; to be called before the log is stopped."""
        await self._nobody.close()


def _filter(question: Mapping[str, Any], subject: str | None) -> EventFilter:
    return EventFilter(
        patient=subject,
        # A subject that is no plain identifier stands in the log as its digest.
        actor=None if question.get("actor") is None else Who(sub=question["actor"]).sub,
        since=_micros(question.get("from_"), "filter.from"),
        until=_micros(question.get("to"), "filter.to"),
        outcome=question.get("outcome"),
        purpose=question.get("purpose"),
        act=question.get("act"),
        request=question.get("request_id"),
    )


def _micros(text: str | None, path: str) -> int | None:
    """Microseconds since 1970 of RFC 3339 text with an offset."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(path, "date_time") from None
    if moment.tzinfo is None:
        raise Invalid(path, "date_time")
    return (moment - EPOCH) // timedelta(microseconds=1)


def _position(cursor: str | None) -> int | None:
    """The number of the event behind which to go on."""
    if cursor is None:
        return None
    number = decode_cursor(cursor)
    if not number.isdigit() or len(number) > 18:
        raise Invalid("after", "cursor")
    return int(number)


def _node(seq: int, leaf: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """An event as it is answered.

    `fld` names what was refused where the outcome is denied, what a search looked at in the search's own event (which
    concerns no patient), and what was returned everywhere else.
    """
    who = leaf.get("who", {})
    answered = leaf["out"] in ("ok", "partial")
    searched = answered and leaf["act"] == Act.QUERY and "pat" not in leaf
    paths = leaf.get("fld", [])
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
        "fields_returned": paths if answered and not searched else [],
        "fields_searched": paths if searched else [],
        "fields_refused": [] if answered else paths,
        "fields_masked": leaf.get("msk", []),
        "fields_changed": leaf.get("chg", []),
        "count": leaf.get("cnt"),
        "record_version": next((entry["ver"] for entry in leaf.get("obj", ())), None),
        "flags": leaf.get("flg", []),
        "policy_version": leaf.get("pol", {}).get("v"),
        "policy_rules": leaf.get("pol", {}).get("d", []),
    }
