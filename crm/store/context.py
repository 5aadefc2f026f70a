"""On whose behalf a unit of work acts: what every access event of it has in common. Holds no patient data."""

from dataclasses import dataclass

from crm.audit.event import Who


@dataclass(frozen=True, slots=True)
class Context:
    """`org` scopes every statement; the rest goes into the events.

    `operation` is the GraphQL operation's name or `sha256:…` of its document, never its literals; `purpose` is an HL7
    purpose-of-use code; `policy` the version of the policy table that decided; `rules` the grants that did.
    """

    org: str
    who: Who
    operation: str
    request_id: str
    purpose: str | None
    policy: str
    rules: tuple[str, ...] = ()
