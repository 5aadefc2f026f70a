"""One call of a use case: its request id, its operation, and the context that follows from the actor."""

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from auth.actor import Actor
from auth.policy import POLICY_VERSION
from auth.roles import STAFF, Role
from crm.audit.event import Who
from crm.domain.circumstances import Caller
from crm.domain.retries import Retry
from crm.store.context import Context

_TREATING = frozenset({Role.CLINICIAN, Role.CARE_COORDINATOR})
"""Roles that have patients of their own."""


@dataclass(frozen=True, slots=True)
class Request:
    """`id` is the X-Request-Id; `operation` a GraphQL operation's name, `sha256:…` of a document, or a command.

    With `retry` a change that was made before under the same key is not made again. With `merge` a change may be put
    on a newer version than the one it is based on, where that changed other fields (`crm.services.conflicts`).
    """

    id: str
    operation: str
    retry: Retry | None = None
    merge: bool = False

    def context(self, actor: Actor, *rules: str) -> Context:
        """The context of a unit of work on behalf of `actor`, allowed by `rules` of the policy."""
        who, purpose, person = _standing(actor)
        rule = _single(rules)
        return Context(actor.org, who, self.operation, self.id, purpose, POLICY_VERSION, rule, person, self.retry)


class _Standing(NamedTuple):
    """What every event of an actor says of them, why they ask, and who they are as a private person."""

    who: Who
    purpose: str | None
    person: Caller | None


@lru_cache(maxsize=1024)
def _standing(actor: Actor) -> _Standing:
    """Kept, because the same actors ask again; it follows from the actor alone, and permits nothing."""
    who = Who(
        iss=actor.issuer,
        sub=actor.subject,
        roles=tuple(sorted(role.value for role in actor.roles)),
        org=actor.org,
        client=actor.client_id or "",
        jti=actor.token_id,
    )
    return _Standing(who, actor.purpose.value if actor.purpose else None, _person(actor))


def _person(actor: Actor) -> Caller | None:
    """The caller as one of the people who work here; None for programs, patients and those who act for them."""
    if actor.roles.isdisjoint(STAFF):
        return None
    return Caller(
        actor.subject,
        treats=not actor.roles.isdisjoint(_TREATING),
        own_record=actor.own_record,
        family_name=actor.family_name,
        postal_code=actor.postal_code,
        street_address=actor.street_address,
    )


@lru_cache(maxsize=1024)
def _single(rules: tuple[str, ...]) -> tuple[str, ...]:
    """The rules one by one: several roles of a token decide together, as `a/PURPOSE+b/PURPOSE`."""
    return tuple(sorted({part for rule in rules for part in rule.split("+")}))
