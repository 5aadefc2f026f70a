"""The access log as GraphQL shows it: one event per patient touched, and who asked. Holds field names, never values."""

import graphene

from schema import enums
from schema.pages import PageInfo
from schema.scalars import DateTime

__all__ = ["AccessEventConnection", "AccessEventFilter"]


def _names(text: str) -> graphene.Field:
    names = graphene.List(graphene.NonNull(graphene.String))
    return graphene.Field(names, required=True, default_value=(), description=text)


class AccessActor(graphene.ObjectType):
    """The caller of a recorded access as the token named it; all null for an attempt without a valid token."""

    subject = graphene.String(description="The subject of the token: a person or a program.")
    issuer = graphene.String(description="The issuer of the token.")
    roles = graphene.List(graphene.NonNull(enums.RoleEnum), description="The roles in the token.")
    organisation = graphene.String(description="The organisation whose records were asked for.")
    client_id = graphene.String(description="The application that was used.")


class AccessEvent(graphene.ObjectType):
    """One entry of the access log: somebody looked, changed, searched or was refused."""

    id = graphene.ID(required=True, description="The event's id (a UUID that sorts by time).")
    seq = graphene.Int(required=True, description="The place in the organisation's log, counted from 0 without gaps.")
    recorded_at = graphene.Field(DateTime, required=True, description="When it happened.")
    action = graphene.String(
        required=True,
        description="What was done or attempted, in the log's words: `read`, `query`, `create`, `update`, `import`, "
        "`export`, `erase`, `hold`, `release`, `audit.read`, `login` and others.",
    )
    outcome = graphene.Field(enums.AccessOutcome, required=True, description="How it ended.")
    reason = graphene.String(
        description="A reason code: why it was not done (often an error code), or why a record was erased or held."
    )
    actor = graphene.Field(AccessActor, required=True, description="Who asked.")
    purpose_of_use = graphene.Field(enums.PurposeOfUse, description="Why they asked, as they stated it.")
    patient_id = graphene.ID(description="The patient who was touched; null where the event concerns no single one.")
    operation = graphene.String(
        description="The GraphQL operation's name, or `sha256:` and the digest of its document; never its literals."
    )
    request_id = graphene.String(description="The X-Request-Id of the request.")
    fields_returned = _names("Paths of the patient's fields that were answered.")
    fields_searched = _names("Paths that a search looked at; the patients it found have events of their own.")
    fields_refused = _names("Paths that were asked for and refused.")
    fields_masked = _names("Paths of those that were masked or withheld.")
    fields_changed = _names("Paths of the fields that were changed.")
    count = graphene.Int(
        description="How many patients were found, taken in, given out or asked for at once; or how many attempts "
        "without a valid token the event stands for."
    )
    record_version = graphene.Int(description="The version of the record that was read or written.")
    flags = _names("Circumstances worth a second look, such as `restricted` or `break_glass`.")
    policy_rules = _names("The rules that decided, such as `front_desk/PATADMIN`.")
    policy_version = graphene.String(description="The version of the policy table that decided.")


class AccessEventEdge(graphene.ObjectType):
    """One event of a page."""

    node = graphene.Field(AccessEvent, required=True, description="The event.")
    cursor = graphene.String(required=True, description="The place of this event in the list; opaque.")


class AccessEventConnection(graphene.ObjectType):
    """One page of access events, the newest first."""

    edges = graphene.List(graphene.NonNull(AccessEventEdge), required=True, description="The events of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")


class AccessEventFilter(graphene.InputObjectType):
    """Which events to show; all conditions that are given must hold."""

    patient_id = graphene.ID(description="Only events that touched this patient.")
    actor = graphene.String(description="Only events of this subject.")
    outcome = enums.AccessOutcome(description="Only events that ended so.")
    purpose = enums.PurposeOfUse(description="Only events with this purpose of use.")
    act = graphene.String(name="action", description="Only events of this action, such as `read`.")
    request_id = graphene.String(description="Only events of the request with this X-Request-Id.")
    unattributed = graphene.Boolean(
        description="Instead of the organisation's events: attempts without a valid token, which belong to nobody."
    )
    from_ = DateTime(name="from", description="Only events at this time or later.")
    to = DateTime(description="Only events before this time.")
