"""Who asks: from the token and purpose of a request to an actor, with every refusal on record. Owns no transport."""

from collections.abc import Sequence

from auth.actor import Actor
from auth.errors import AuthError, PurposeNotPermitted, Revoked, Unauthenticated
from crm.services.request import Request
from schema.context import Services, Verifier
from schema.errors import problem_of

__all__ = ["Callers"]


class Callers:
    """Lets callers in, by whatever transport they come."""

    def __init__(self, verifier: Verifier, services: Services) -> None:
        self._verifier = verifier
        self._services = services

    async def recognise(self, tokens: Sequence[str], purposes: Sequence[str], request: Request) -> Actor:
        """The actor behind a token, as stated in so many places. A refusal is recorded before it is raised.

        Raises `Unauthenticated`, `PurposeNotPermitted`, or `AuditUnavailable` when the refusal cannot be recorded.
        """
        log = self._services.access_log
        try:
            if len(tokens) > 1 or len(purposes) > 1:
                raise Unauthenticated("header_twice")
            return self.verify(next(iter(tokens), None), next(iter(purposes), None))
        except Revoked as refused:
            await log.refused(refused.reason, request, refused.actor, revoked=True)
            raise
        except Unauthenticated as refused:
            await log.refused(refused.reason, request)
            raise
        except AuthError as refused:
            actor = refused.actor if isinstance(refused, PurposeNotPermitted) else None
            await log.refused(problem_of(refused).code.value, request, actor)
            raise

    def verify(self, token: str | None, purpose: str | None) -> Actor:
        """The actor, as long as the token is good; records nothing."""
        return self._verifier.verify(token, purpose)
