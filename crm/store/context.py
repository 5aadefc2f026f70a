"""On whose behalf a unit of work acts: what every access event of it has in common. Holds no patient data."""

from dataclasses import dataclass, field

from crm.audit.event import Who
from crm.domain.circumstances import Caller
from crm.domain.retries import Retry


@dataclass(frozen=True, slots=True)
class Context:
    """`org` scopes every statement; the rest goes into the events.

    `operation` is the GraphQL operation's name or `sha256:…` of its document, never its literals; `purpose` is an HL7
    purpose-of-use code; `policy` the version of the policy table that decided; `rules` the grants that did. `caller`
    is a person of staff as a private person, whose looks are flagged; nothing of it goes into an event. `retry` is the
    step that a writing unit does once, however often it is asked.
    """

    org: str
    who: Who
    operation: str
    request_id: str
    purpose: str | None
    policy: str
    rules: tuple[str, ...] = ()
    caller: Caller | None = field(default=None, repr=False)
    retry: Retry | None = None
