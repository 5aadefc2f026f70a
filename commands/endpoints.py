"""`webhooks …`: endpoints are added, shown, disabled, enabled, given new secrets, tried out, and told again."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from auth.actor import Actor
from auth.purposes import Purpose
from auth.roles import Role
from commands.actors import command_request, system_actor
from commands.house import House, house
from crm.audit.event import rfc3339
from crm.delivery.destinations import Resolver
from crm.delivery.posting import Poster
from crm.domain.webhooks import Kind, Verdict, message_id, verdict
from crm.errors import Invalid, PositionExpired, Unsafe
from crm.services.refusals import NOBODY
from crm.services.request import Request
from crm.services.webhook_notices import headers, trial
from crm.services.webhooks import Shown, Webhooks
from crm.settings import Environment, Settings
from crm.store import organisations
from crm.store.webhook_messages import Message

__all__ = [
    "Trial",
    "add",
    "dead",
    "dead_json",
    "dead_lines",
    "every",
    "line",
    "replay",
    "revive",
    "rotate",
    "shown_json",
    "try_out",
    "turn",
]

_SENTENCES = {
    "url: address": "this is no address that can be used: write https://host/path, without user and fragment",
    "url: https": "webhooks go to https addresses only (in development also to http on this machine)",
    "url: not_public": "this host is not public: webhooks go to the internet (in development also to http here)",
    "url: host_name": "write the host as a name with a domain: a certificate is verified for it",
    "url: port": "receivers listen on port 443 or 8443",
    "role: personal": "patients and those who act for them have no endpoints",
    "purpose: not_permitted": "the policy does not let this role follow changes for this purpose: see `policy show`",
    "purpose: needs_grant": "this purpose needs a break-glass grant for each record",
    "fields: unknown": "there is no such field: docs/fields.md lists them",
    "fields: not_permitted": "the role may not read one of these fields for this purpose: see `policy show`",
    "id: unknown_webhook": "there is no such endpoint in this organisation: `webhooks list` shows them",
    "id: changed_meanwhile": "somebody else changed this endpoint meanwhile: try again",
    "message: unknown": "this is no message of this endpoint: `webhooks dead` shows them",
    "after: cursor": "this was never a position: messages carry them as `data.position`",
}


@dataclass(frozen=True, slots=True)
class _Counter:
    """Where a command is done: who does it, and the use cases."""

    house: House
    hooks: Webhooks
    actor: Actor
    request: Request


@asynccontextmanager
async def _opened(settings: Settings, org: str, command: str) -> AsyncIterator[_Counter]:
    """The house for one command. A refusal becomes one sentence that says what to do."""
    development = settings.env is Environment.DEVELOPMENT
    async with house(settings) as it:
        hooks = Webhooks(it.services.store, development=development)
        actor = system_actor(org, Role.OPERATOR, Purpose.HSYSADMIN)
        try:
            yield _Counter(it, hooks, actor, command_request(f"webhooks-{command}"))
        except Invalid as refusal:
            raise Unsafe(_SENTENCES.get(str(refusal), str(refusal))) from None
        except PositionExpired:
            raise Unsafe(
                "the feed does not reach back so far: let the receiver read the records anew, and go on with "
                "`webhooks replay ID --now`"
            ) from None


async def add(
    settings: Settings,
    url: str,
    *,
    org: str,
    kinds: Collection[Kind],
    fields: Collection[str],
    role: Role,
    purpose: Purpose,
) -> tuple[str, str]:
    """Id and secret of a new endpoint. Raises Unsafe with what to do, also for an organisation that is not known.

    The first of all may have endpoints before it has records: nothing is stored yet that it could be mistaken for.
    """
    async with _opened(settings, org, "add") as at:
        if set(await organisations.every(at.house.database)) - {NOBODY}:
            await organisations.require(at.house.database, org)
        wanted = kinds or frozenset(Kind)
        endpoint, secret = await at.hooks.add(
            at.actor, at.request, url=url, kinds=wanted, fields=fields, role=role, purpose=purpose
        )
        return endpoint.id, secret


async def every(settings: Settings, *, org: str) -> list[Shown]:
    """All endpoints of an organisation."""
    async with _opened(settings, org, "list") as at:
        return await at.hooks.every(org)


async def turn(settings: Settings, endpoint_id: str, *, org: str, enabled: bool) -> bool:
    """Enables or disables an endpoint; False where it was so already. Raises Unsafe."""
    async with _opened(settings, org, "enable" if enabled else "disable") as at:
        done = at.hooks.enable if enabled else at.hooks.disable
        return await done(at.actor, at.request, endpoint_id)


async def rotate(settings: Settings, endpoint_id: str, *, org: str, overlap: int) -> str:
    """The new secret; the one before it goes on signing for `overlap` seconds. Raises Unsafe."""
    async with _opened(settings, org, "rotate-secret") as at:
        return await at.hooks.rotate(at.actor, at.request, endpoint_id, overlap)


async def dead(settings: Settings, endpoint_id: str, *, org: str, limit: int) -> list[Message]:
    """Messages that were given up. Raises Unsafe."""
    async with _opened(settings, org, "dead") as at:
        return await at.hooks.dead(org, endpoint_id, limit=limit)


async def revive(settings: Settings, endpoint_id: str, *, org: str, message: str | None) -> int:
    """Lets messages that were given up wait again, one or all; how many. Raises Unsafe."""
    async with _opened(settings, org, "replay") as at:
        return await at.hooks.revive(at.actor, at.request, endpoint_id, message)


async def replay(settings: Settings, endpoint_id: str, *, org: str, after: str | None) -> None:
    """Sends again what lies behind a position, or with None only what comes from now on. Raises Unsafe."""
    async with _opened(settings, org, "replay") as at:
        await at.hooks.replay(at.actor, at.request, endpoint_id, after)


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of trying an endpoint out: the code of the answer, and whether it counts as delivered."""

    answer: str
    delivered: bool


async def try_out(settings: Settings, endpoint_id: str, *, org: str) -> Trial:
    """Sends a message that tells of nobody, once, whether or not the endpoint is enabled. Raises Unsafe."""
    async with _opened(settings, org, "test") as at:
        endpoint, now = await at.hooks.find(org, endpoint_id), at.house.services.store.clock()
        notice = trial(endpoint.id, now)
        resolver = Resolver(1)
        try:
            poster = Poster(
                resolver, timeout=settings.webhook_timeout, development=settings.env is Environment.DEVELOPMENT
            )
            answer = await poster.post(endpoint.registration.url, headers(endpoint, notice, now), notice.body)
        finally:
            resolver.close()
        return Trial(answer.code, verdict(answer) is Verdict.DELIVERED)


def shown_json(one: Shown) -> dict[str, Any]:
    """An endpoint as JSON. Of the address only the host: the rest may hold a secret of the receiver.

    What was agreed is left out where the registration cannot be opened.
    """
    stored, known, failing = one.stored, one.registration, one.stored.failing_since
    agreed = (
        {}
        if known is None
        else {
            "host": urlsplit(known.url).netloc,
            "kinds": sorted(known.kinds),
            "fields": sorted(known.fields),
            "role": known.role,
            "purpose": known.purpose,
            "secrets": len(known.secrets),
        }
    )
    return {
        "id": stored.id,
        "state": stored.state,
        "why": stored.why,
        "readable": known is not None,
        **agreed,
        "waiting": one.waiting,
        "dead": one.dead,
        "behind": one.behind,
        "failing_since": None if failing is None else rfc3339(failing),
        "created_at": rfc3339(stored.created_at),
    }


def line(one: Shown) -> str:
    """An endpoint on a line, tab-separated."""
    shown = shown_json(one)
    numbers = f"{one.waiting} waiting, {one.dead} dead, {one.behind} behind"
    told = f"{shown['role']}/{shown['purpose']}" if one.registration else "its registration cannot be opened"
    return "\t".join((shown["id"], shown.get("host", ""), f"{shown['state']} ({shown['why']})", told, numbers))


def dead_json(endpoint_id: str, message: Message) -> dict[str, Any]:
    """A message that was given up, as JSON: what it was about, and how the last attempt ended."""
    return {
        "message": message_id(endpoint_id, message.change_id),
        "patient": message.patient_id,
        "version": message.version,
        "kind": message.kind,
        "changed_at": rfc3339(message.at),
        "attempts": message.attempts,
        "answer": message.answer,
    }


def dead_lines(endpoint_id: str, messages: Sequence[Message]) -> list[str]:
    """The same on lines, tab-separated."""
    return ["\t".join(str(value) for value in dead_json(endpoint_id, each).values()) for each in messages]
