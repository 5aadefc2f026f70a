"""One call of a use case: its request id, its operation, and the context that follows from the actor."""

from dataclasses import dataclass

from auth.actor import Actor
from auth.policy import POLICY_VERSION
from crm.audit.event import Who
from crm.store.context import Context


@dataclass(frozen=True, slots=True)
class Request:
    """`id` is the X-Request-Id; `operation` a GraphQL operation's name, `sha256:…` of a document, or a command."""

    id: str
    operation: str

    def context(self, actor: Actor, *rules: str) -> Context:
        """The context of a unit of work on behalf of `actor`, allowed by `rules` of the policy."""
        who = Who(
            iss=actor.issuer,
            sub=actor.subject,
            roles=tuple(sorted(role.value for role in actor.roles)),
            org=actor.org,
            client=actor.client_id or "",
            jti=actor.token_id,
        )
        purpose = actor.purpose.value if actor.purpose else None
        return Context(actor.org, who, self.operation, self.id, purpose, POLICY_VERSION, _single(rules))


def _single(rules: tuple[str, ...]) -> tuple[str, ...]:
    """The rules one by one: several roles of a token decide together, as `a/PURPOSE+b/PURPOSE`."""
    return tuple(sorted({part for rule in rules for part in rule.split("+")}))
