"""Tokens that are not believed any more before they expire: revoking them, and knowing at each request which they are.

Owns what a process knows of them, and how old that may be. Who may revoke is not asked here: only commands do.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from uuid_utils import uuid7

from auth.actor import Actor
from auth.tokens import LEEWAY, MAX_LIFETIME
from crm.audit.event import Act
from crm.errors import StoreUnavailable
from crm.services.request import Request
from crm.store import revoked_tokens
from crm.store.revoked_tokens import Revocation
from crm.store.unit import Store

__all__ = ["EVERY", "STALE", "TOPIC", "Revocation", "Revocations"]

TOPIC: Final = "tokens"
"""What the bell rings for when something was revoked."""

EVERY: Final = 0.25
"""Seconds between two looks at what was revoked, where nobody says that there is something new."""
STALE: Final = 10.0
"""Seconds without a look after which this process believes no token."""

_SECOND: Final = 1_000_000
_MARGIN: Final = 3_600 * _SECOND
"""How much longer than a token can live its revocation is kept in mind: clocks may differ."""


class Revocations:
    """What was revoked, as far as this process knows: `refresh` is to be called every `EVERY` seconds.

    Until the first look no token is believed. `told` is called after a look that found something new. `ticks` are the
    seconds of a clock that nobody sets.
    """

    def __init__(self, store: Store, ticks: Callable[[], float] = time.monotonic) -> None:
        self.told: Callable[[], None] = lambda: None
        self._store = store
        self._ticks = ticks
        self._known = 0
        self._looked_at: float | None = None
        self._tokens: dict[tuple[str, str], int] = {}
        self._subjects: dict[tuple[str, str], tuple[int, int]] = {}

    @property
    def fresh(self) -> bool:
        """Whether this process knows what is revoked."""
        return self._looked_at is not None and self._ticks() - self._looked_at <= STALE

    def revoked(self, actor: Actor, issued_at: int) -> bool:
        """Whether a token that was issued at a time (Unix seconds) must not be believed any more.

        Raises StoreUnavailable where that cannot be known, because the last look was too long ago.
        """
        if not self.fresh:
            raise StoreUnavailable
        if (actor.issuer, actor.token_id) in self._tokens:
            return True
        until, _ = self._subjects.get((actor.issuer, actor.subject), (-1, 0))
        return issued_at * _SECOND <= until

    async def refresh(self) -> None:
        """Learns what was revoked meanwhile. Raises StoreUnavailable; what is known stays known."""
        asked_at, now = self._ticks(), self._store.clock()
        known, found = await revoked_tokens.since(self._store.database, self._known, now)
        for entry in found:
            self._learn(entry)
        self._known = max(self._known, known)  # another look may have ended meanwhile
        self._looked_at = max(asked_at, self._looked_at or asked_at)
        if found:
            self._forget(now)
            self.told()

    def _learn(self, entry: Revocation) -> None:
        if entry.token_id is not None:
            self._tokens[entry.issuer, entry.token_id] = entry.ends_at
        elif entry.subject is not None:
            name = entry.issuer, entry.subject
            self._subjects[name] = max(self._subjects.get(name, (-1, 0)), (entry.issued_until, entry.ends_at))

    def _forget(self, now: int) -> None:
        """Drops what has expired of itself."""
        self._tokens = {name: ends for name, ends in self._tokens.items() if ends > now}
        self._subjects = {name: (until, ends) for name, (until, ends) in self._subjects.items() if ends > now}

    async def revoke_token(self, actor: Actor, request: Request, issuer: str, token_id: str) -> Revocation:
        """Revokes one token by its `jti`. Raises StoreUnavailable, AuditUnavailable."""
        return await self._revoke(actor, request, issuer, token_id=token_id)

    async def revoke_subject(self, actor: Actor, request: Request, issuer: str, subject: str) -> Revocation:
        """Revokes all tokens of a subject that were issued until now.

        The issuer's clock may be ahead of ours by `LEEWAY` seconds, so what it issues in the next moments is revoked
        too. Raises StoreUnavailable, AuditUnavailable.
        """
        return await self._revoke(actor, request, issuer, subject=subject)

    async def _revoke(
        self, actor: Actor, request: Request, issuer: str, *, token_id: str | None = None, subject: str | None = None
    ) -> Revocation:
        """Entry and event are one transaction, in the log of the actor's organisation; `ref` is the entry's id."""
        async with self._store.writing(request.context(actor), Act.LOGOUT) as unit:
            until = unit.now + LEEWAY * _SECOND
            ends = until + (MAX_LIFETIME + LEEWAY) * _SECOND + _MARGIN
            entry = Revocation(str(uuid7()), issuer, token_id, subject, until, ends, unit.now, actor.subject)
            await unit.revoke(entry, "TOKEN_REVOKED" if subject is None else "SUBJECT_REVOKED")
        await self.refresh()
        return entry

    async def every(self) -> Sequence[Revocation]:
        """All that was ever revoked, in the order of time. Raises StoreUnavailable."""
        return await revoked_tokens.every(self._store.database)
