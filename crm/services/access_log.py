"""Reading the access log, and recording attempts that never became an actor. Reading it leaves exactly one event."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import Action
from crm.audit.event import Act, Outcome
from crm.errors import Invalid
from crm.services.log_questions import understood, walkable
from crm.services.profiles import Page, decode_cursor, encode_cursor
from crm.services.refusals import EACH_SECOND, Refusals
from crm.services.request import Request
from crm.store import log_reading
from crm.store.log_reading import LoggedEvent
from crm.store.refusing import event, reason
from crm.store.subjects import patients_of
from crm.store.unit import Store


class AccessLog:
    """The use cases around the log of access events.

    `each_second` is how many attempts without a valid token are recorded one by one before the rest is summed.
    """

    def __init__(self, store: Store, *, each_second: int = EACH_SECOND) -> None:
        self._store = store
        self._nobody = Refusals(store, each_second)

    async def admit(
        self, actor: Actor, request: Request, action: Action = Action.AUDIT_READ, ids: Sequence[str] = ()
    ) -> str:
        """The rule that lets the actor read the log; a refusal is recorded, naming the patients `ids`, and raised.

        Who is let in needs no record of that, so what names nobody is answered also while the log takes no events.
        """
        try:
            return policy.decide(actor, action)
        except AuthError as refusal:
            await self._store.refuse(request.context(actor), Act.AUDIT_READ, ids, why=reason(refusal))
            raise

    async def events(
        self, actor: Actor, request: Request, question: Mapping[str, Any], first: int, after: str | None
    ) -> Page:
        """Access events of the actor's organisation, newest first. The look itself is recorded, with its count.

        `question` as in `crm.services.log_questions`; by action or purpose alone it is about at most a month, the last
        one where it does not say. Raises `Invalid` for a longer time, for what is malformed, and for a cursor.
        """
        rule = await self.admit(actor, request)
        database = self._store.database
        fetch = partial(database.fetch, actor.org)
        async with self._store.reading(request.context(actor, rule), Act.AUDIT_READ) as unit:
            found: list[LoggedEvent] = []
            position = place_of(after)
            asked = walkable(await understood(fetch, actor.org, question), unit.now)
            if not asked.nothing:
                found = await log_reading.events(database, asked.org, asked.chosen, first + 1, position)
            shown = found[:first]
            contents = [entry.content for entry in shown]
            names = await patients_of(fetch, actor.org, {leaf["pat"] for leaf in contents if "pat" in leaf})
            unit.remark(cnt=len(shown), pat=asked.chosen.patient)
        nodes = [node_of(entry.seq, leaf, names) for entry, leaf in zip(shown, contents, strict=True)]
        cursors = [encode_cursor(str(entry.seq)) for entry in shown]
        return Page(nodes, cursors, len(found) > first, after is not None)

    async def refused(self, why: str, request: Request, actor: Actor | None = None, *, revoked: bool = False) -> None:
        """Records an attempt that got no further than its token: a reason code, and nothing of the token itself.

        `actor` is known where the token was good but its purpose was not, or it was `revoked`. Floods are summed, but
        of those whose token is still good.
        """
        if actor is None or revoked:
            await self._nobody.refuse(why, request, actor)
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


def place_of(cursor: str | None) -> int | None:
    """The number of the event behind which to go on."""
    if cursor is None:
        return None
    number = decode_cursor(cursor)
    if not number.isdigit() or len(number) > 18:
        raise Invalid("after", "cursor")
    return int(number)


def node_of(seq: int, leaf: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
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
            "token_id": who.get("jti"),
        },
        "purpose_of_use": next(iter(leaf.get("pou", ())), None),
        "patient_id": names.get(leaf.get("pat", "")),
        "audit_subject": leaf.get("pat"),
        "operation": leaf.get("op"),
        "request_id": leaf.get("req"),
        "fields_returned": paths if answered and not searched else [],
        "fields_searched": paths if searched else [],
        "fields_refused": [] if answered else paths,
        "fields_masked": leaf.get("msk", []),
        "fields_changed": leaf.get("chg", []),
        "count": leaf.get("cnt"),
        "record_version": next((entry["ver"] for entry in leaf.get("obj", ())), None),
        "reference": leaf.get("ref"),
        "flags": leaf.get("flg", []),
        "policy_version": leaf.get("pol", {}).get("v"),
        "policy_rules": leaf.get("pol", {}).get("d", []),
    }
