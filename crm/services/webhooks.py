"""Webhook endpoints: who registers one, what stands in its registration, and how it is enabled, disabled and replayed.

An endpoint follows changes in a role and for a purpose, as every other follower does; what it is told of one is made by
`webhook_notices`. Nothing is sent from here. Every change of an endpoint is an event of the log.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final
from uuid import UUID

import orjson
from uuid_utils import uuid7

from auth import policy
from auth.actor import Actor
from auth.errors import AuthError
from auth.policy import Action
from auth.purposes import Purpose
from auth.roles import PERSONAL, Role
from crm.audit.event import Act
from crm.catalogue import BY_PATH
from crm.crypto.registration import open_registration, seal_registration
from crm.crypto.webhook import new_secret, read_secret, written
from crm.domain.webhooks import Kind, checked_address, message_id
from crm.errors import Invalid, KeyUnavailable, PositionExpired, Tampered
from crm.services.feed import Feed
from crm.services.request import Request
from crm.store import feed, webhook_messages, webhooks
from crm.store.database import Connection
from crm.store.log import stage_rows
from crm.store.refusing import event
from crm.store.rings import ring
from crm.store.unit import Store
from crm.store.webhook_messages import DEAD, WAITING, Message
from crm.store.webhooks import ACTIVE, DISABLED, StoredEndpoint

__all__ = ["TOPIC", "Endpoint", "Registration", "Secret", "Shown", "Webhooks", "opened"]

TOPIC: Final = "webhooks"
"""What is rung when endpoints changed."""

_SECOND = 1_000_000
_ISSUER = "urn:heed:webhook"


@dataclass(frozen=True, slots=True)
class Secret:
    """What signs, and until when (microseconds since 1970, UTC); None for the one that is meant to."""

    octets: bytes = field(repr=False)
    until: int | None = None


@dataclass(frozen=True, slots=True)
class Registration:
    """What was agreed with whoever receives. `fields` are public paths, none for all that the role may read."""

    url: str = field(repr=False)
    kinds: frozenset[Kind]
    fields: frozenset[str]
    role: Role
    purpose: Purpose
    secrets: tuple[Secret, ...] = field(repr=False)

    def octets(self) -> bytes:
        """As it is sealed."""
        return orjson.dumps(
            {
                "url": self.url,
                "kinds": sorted(self.kinds),
                "fields": sorted(self.fields),
                "role": self.role,
                "purpose": self.purpose,
                "secrets": [{"secret": written(each.octets), "until": each.until} for each in self.secrets],
            }
        )

    @classmethod
    def of(cls, octets: bytes) -> "Registration":
        """What was sealed."""
        known = orjson.loads(octets)
        return cls(
            known["url"],
            frozenset(map(Kind, known["kinds"])),
            frozenset(known["fields"]),
            Role(known["role"]),
            Purpose(known["purpose"]),
            tuple(Secret(read_secret(each["secret"]), each["until"]) for each in known["secrets"]),
        )

    def signing(self, now: int) -> tuple[bytes, ...]:
        """The secrets that sign at a time, the one that is meant to first."""
        return tuple(each.octets for each in self.secrets if each.until is None or now < each.until)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint, opened."""

    org: str
    stored: StoredEndpoint
    registration: Registration

    @property
    def id(self) -> str:
        """Its id, a UUID."""
        return self.stored.id

    @property
    def actor(self) -> Actor:
        """As whom it is told of changes, and how the log names it."""
        return _actor(self.org, self.id, self.registration.role, self.registration.purpose)


@dataclass(frozen=True, slots=True)
class Shown:
    """An endpoint with what waits for it: messages, those that were given up, and changes not looked at yet.

    `registration` is None where it cannot be opened: it is not what was sealed, or its key is not held here.
    """

    stored: StoredEndpoint
    registration: Registration | None
    waiting: int
    dead: int
    behind: int


def opened(store: Store, org: str, stored: StoredEndpoint) -> Endpoint:
    """The endpoint with its registration. Raises Tampered where that is not what was sealed, KeyUnavailable."""
    return Endpoint(org, stored, Registration.of(open_registration(store.keys, org, stored.id, stored.sealed)))


class Webhooks:
    """The use cases of whoever sees to the endpoints. With `development`, one may listen on this machine over HTTP."""

    def __init__(self, store: Store, *, development: bool = False) -> None:
        self._store = store
        self._development = development

    async def add(
        self,
        actor: Actor,
        request: Request,
        *,
        url: str,
        kinds: Collection[Kind] = frozenset(Kind),
        fields: Collection[str] = (),
        role: Role,
        purpose: Purpose,
    ) -> tuple[Endpoint, str]:
        """A new endpoint, told of what changes from now on, and its secret, which is shown this once.

        Raises Invalid for an address, field, or role and purpose that cannot be told of anything.
        """
        async with self._store.recording(request.context(actor), Act.CONFIG):
            self._check(actor.org, url, fields, role, purpose)
        secret = new_secret()
        known = Registration(url, frozenset(kinds), frozenset(fields), role, purpose, (Secret(secret),))
        now, name = self._store.clock(), str(uuid7())
        sealed = seal_registration(self._store.keys, actor.org, name, known.octets())
        async with self._changing(actor, request, name, "WEBHOOK_ADDED") as connection:
            position = await feed.head(connection.fetch, actor.org)
            stored = StoredEndpoint(name, sealed, ACTIVE, "ADDED", position, 0, None, 0, None, 0, now, now)
            await webhooks.add(connection, actor.org, stored)
        return Endpoint(actor.org, stored, known), written(secret)

    def _check(self, org: str, url: str, fields: Collection[str], role: Role, purpose: Purpose) -> None:
        try:
            checked_address(url, development=self._development)
        except ValueError as rule:
            raise Invalid("url", str(rule)) from None
        if role in PERSONAL:
            raise Invalid("role", "personal")
        try:
            ruling = policy.ruling(_actor(org, "new", role, purpose), Action.FOLLOW)
        except AuthError:
            raise Invalid("purpose", "not_permitted") from None
        if ruling.needs_grant:
            raise Invalid("purpose", "needs_grant")
        for path in sorted(fields):
            if path not in BY_PATH:
                raise Invalid("fields", "unknown")
            if BY_PATH[path].group not in ruling.read | ruling.masked:
                raise Invalid("fields", "not_permitted")

    async def every(self, org: str) -> list[Shown]:
        """All endpoints of an organisation."""
        fetch = partial(self._store.database.fetch, org)
        counts = await webhook_messages.counts(fetch, org)
        head = await feed.head(fetch, org)
        return [
            Shown(
                each,
                self._registration(org, each),
                counts.get((each.id, WAITING), 0),
                counts.get((each.id, DEAD), 0),
                max(0, head - each.position),
            )
            for each in await webhooks.every(fetch, org)
        ]

    def _registration(self, org: str, stored: StoredEndpoint) -> Registration | None:
        try:
            return opened(self._store, org, stored).registration
        except (Tampered, KeyUnavailable):
            return None

    async def find(self, org: str, endpoint_id: str) -> Endpoint:
        """One endpoint. Raises Invalid where there is none, Tampered, KeyUnavailable."""
        return opened(self._store, org, await self._stored(org, endpoint_id))

    async def _stored(self, org: str, endpoint_id: str) -> StoredEndpoint:
        stored = await webhooks.find(partial(self._store.database.fetch, org), org, endpoint_id)
        if stored is None:
            raise Invalid("id", "unknown_webhook")
        return stored

    async def disable(self, actor: Actor, request: Request, endpoint_id: str, why: str = "OPERATOR") -> bool:
        """Nothing is sent any more; what happens meanwhile waits in the feed. False where it was so already."""
        if (await self._stored(actor.org, endpoint_id)).state == DISABLED:
            return False
        async with self._changing(actor, request, endpoint_id, f"WEBHOOK_DISABLED_{why}") as connection:
            return await webhooks.turn(connection, actor.org, endpoint_id, DISABLED, why, self._store.clock())

    async def enable(self, actor: Actor, request: Request, endpoint_id: str) -> bool:
        """Sending goes on where it stopped, and what waits is tried at once. False where it was so already.

        Raises PositionExpired where the feed does not reach back so far any more: whoever receives has to read the
        records anew, and `replay` says from where it goes on.
        """
        endpoint = await self.find(actor.org, endpoint_id)
        if endpoint.stored.state == ACTIVE:
            return False
        fetch, position = partial(self._store.database.fetch, actor.org), endpoint.stored.position
        following = await feed.read(fetch, actor.org, position, 1)
        if following and following[0].seq != position + 1:
            raise PositionExpired
        async with self._changing(actor, request, endpoint_id, "WEBHOOK_ENABLED") as connection:
            now = self._store.clock()
            await webhook_messages.hasten(connection, actor.org, endpoint_id, now)
            return await webhooks.turn(connection, actor.org, endpoint_id, ACTIVE, "ENABLED", now)

    async def rotate(self, actor: Actor, request: Request, endpoint_id: str, overlap: int) -> str:
        """A new secret, shown this once; the one before it goes on signing beside it for `overlap` seconds.

        Raises Invalid where somebody else changed the registration meanwhile.
        """
        secret, now = new_secret(), self._store.clock()
        endpoint = await self.find(actor.org, endpoint_id)
        # Only one before it: a secret that was replaced in a hurry must not live on with every rotation.
        before = [replace(each, until=now + overlap * _SECOND) for each in endpoint.registration.secrets[:1]]
        known = replace(endpoint.registration, secrets=(Secret(secret), *(before if overlap else ())))
        sealed = seal_registration(self._store.keys, actor.org, endpoint_id, known.octets())
        async with self._changing(actor, request, endpoint_id, "WEBHOOK_SECRET") as connection:
            if not await webhooks.reseal(connection, actor.org, endpoint_id, endpoint.stored.sealed, sealed, now):
                raise Invalid("id", "changed_meanwhile")
        return written(secret)

    async def dead(self, org: str, endpoint_id: str, after: int = 0, limit: int = 100) -> list[Message]:
        """Messages that were given up, in the order of the feed."""
        await self.find(org, endpoint_id)
        return await webhook_messages.dead(partial(self._store.database.fetch, org), org, endpoint_id, after, limit)

    async def revive(self, actor: Actor, request: Request, endpoint_id: str, message: str | None = None) -> int:
        """Messages that were given up are tried again as if they were new: one by its id, or all of them; how many.

        Raises Invalid for an id that is not one of this endpoint's.
        """
        await self.find(actor.org, endpoint_id)
        change = None if message is None else _change_of(message, endpoint_id)
        async with self._changing(actor, request, endpoint_id, "WEBHOOK_REPLAYED") as connection:
            return await webhook_messages.revive(connection, actor.org, endpoint_id, change, self._store.clock())

    async def replay(self, actor: Actor, request: Request, endpoint_id: str, after: str | None) -> None:
        """Everything behind a position is sent again, under the ids that it had; with None only what comes from now on.

        Raises Invalid for what was never a position, and PositionExpired for one that the feed does not reach back to.
        """
        await self.find(actor.org, endpoint_id)
        if after is None:
            number = await feed.head(partial(self._store.database.fetch, actor.org), actor.org)
        else:
            found = await Feed(self._store).found(actor.org, after)
            number = 0 if found is None else found.seq
        async with self._changing(actor, request, endpoint_id, "WEBHOOK_REPLAYED") as connection:
            await webhooks.move(connection, actor.org, endpoint_id, number, self._store.clock())
            await webhook_messages.drop_after(connection, actor.org, endpoint_id, number)

    @asynccontextmanager
    async def _changing(self, actor: Actor, request: Request, endpoint_id: str, why: str) -> AsyncIterator[Connection]:
        """A transaction that ends with its event, and wakes whoever sends."""
        context, org = request.context(actor), actor.org
        facts: dict[str, Any] = {"act": Act.CONFIG, "ref": endpoint_id, "why": why}
        async with self._store.recording(context, Act.CONFIG), self._store.database.transaction(org) as connection:
            yield connection
            entries = self._store.log.stage(org, [event(context, **facts)])
            await stage_rows(connection, org, entries)
            await ring(connection, TOPIC)
        await self._store.log.sequence(org, entries)


def _change_of(message: str, endpoint_id: str) -> str:
    """The id of the change that a message is about. Raises Invalid for what is no id of a message of this endpoint."""
    try:
        change = str(UUID(message.rpartition("_")[2]))
    except ValueError:
        raise Invalid("message", "unknown") from None
    if message != message_id(endpoint_id, change):
        raise Invalid("message", "unknown")
    return change


def _actor(org: str, endpoint_id: str, role: Role, purpose: Purpose) -> Actor:
    return Actor(
        subject=f"webhook:{endpoint_id}",
        issuer=_ISSUER,
        org=org,
        roles=frozenset({role}),
        purpose=purpose,
        client_id="heed-webhook",
        token_id=endpoint_id,
        patient_id=None,
        expires_at=2**40,
    )
