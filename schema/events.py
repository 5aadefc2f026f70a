"""The access log as GraphQL shows it: one event per patient touched, and who asked. Holds field names, never values."""

from enum import StrEnum

import graphene

from crm.audit.event import FLAGS
from schema import enums, policy_enums
from schema.enums import enum_type
from schema.pages import PageInfo
from schema.scalars import DateTime, LogIndex

__all__ = ["AccessActor", "AccessEventConnection", "AccessEventFilter", "AccessFlag"]

Flag = StrEnum("Flag", [(name.upper(), name) for name in FLAGS])  # type: ignore[misc]
AccessFlag = enum_type(
    Flag,
    {
        "BREAK_GLASS": "Under a break-glass grant.",
        "AFTER_HOURS": "Outside the organisation's hours.",
        "SELF_ACCESS": "Somebody of the staff looked at their own record.",
        "SAME_SURNAME": "Somebody of the staff has the surname of the patient.",
        "VIP": "Many may be curious about the patient.",
        "COWORKER": "The patient works for the organisation.",
        "NO_RELATIONSHIP": "Nothing on record connects the caller with the patient.",
        "BULK": "One of many records in a short time.",
        "CLOCK_SKEW": "The clocks of the service and of its database disagreed.",
        "DECEASED": "The patient has died.",
        "MINOR": "The patient is a minor.",
        "SAME_ADDRESS": "Somebody of the staff lives where the patient does.",
        "RESTRICTED": "The record is restricted.",
        "NEED_UNMET": "A need of the patient was not met.",
    },
    name="AccessFlag",
    about="A circumstance of an access, as it was when it happened.",
)


def _names(text: str) -> graphene.Field:
    names = graphene.List(graphene.NonNull(graphene.String))
    return graphene.Field(names, required=True, default_value=(), description=text)


class AccessActor(graphene.ObjectType):
    """The caller of a recorded access as the token named it; all null for an attempt without a valid token."""

    subject = graphene.String(description="The subject of the token: a person or a program.")
    issuer = graphene.String(description="The issuer of the token.")
    roles = graphene.List(graphene.NonNull(policy_enums.RoleEnum), description="The roles in the token.")
    organisation = graphene.String(description="The organisation whose records were asked for.")
    client_id = graphene.String(description="The application that was used.")
    token_id = graphene.String(description="The id of the token (`jti`), which is one session's.")


class AccessEvent(graphene.ObjectType):
    """One entry of the access log: somebody looked, changed, searched or was refused."""

    id = graphene.ID(required=True, description="The event's id (a UUID that sorts by time).")
    seq = graphene.Field(
        LogIndex, required=True, description="The place in the organisation's log, counted from 0 without gaps."
    )
    recorded_at = graphene.Field(DateTime, required=True, description="When it happened.")
    action = graphene.String(
        required=True,
        description="What was done or attempted, in the log's words: `read`, `query`, `decide`, `create`, `update`, "
        "`import`, `export`, `erase`, `hold`, `release`, `audit.read`, `login` and others.",
    )
    outcome = graphene.Field(enums.AccessOutcome, required=True, description="How it ended.")
    reason = graphene.String(
        description="A reason code: why it was not done (often an error code), why a record was erased or held, or "
        "that an officer began to follow the log (`FOLLOWED`) and was told of events as they were appended (`LIVE`)."
    )
    actor = graphene.Field(AccessActor, required=True, description="Who asked.")
    purpose_of_use = graphene.Field(policy_enums.PurposeOfUse, description="Why they asked, as they stated it.")
    patient_id = graphene.ID(
        description="The patient who was touched; null where the event concerns no single one, or the patient was "
        "erased since."
    )
    audit_subject = graphene.String(
        description="The patient's random name in the log, which outlives an erasure and then leads to nobody."
    )
    operation = graphene.String(
        description="The GraphQL operation's name, or `sha256:` and the digest of its document; never its literals."
    )
    request_id = graphene.String(description="The X-Request-Id of the request.")
    fields_returned = _names("Paths of the patient's fields that were answered.")
    fields_searched = _names("Paths that a search looked at; the patients it found have events of their own.")
    fields_refused = _names("Paths that were asked for and refused.")
    fields_masked = _names("Paths of those that were masked or withheld.")
    fields_changed = _names(
        "Paths of the fields that were changed; where the action is `notify`, that somebody was told had changed."
    )
    count = graphene.Int(
        description="How many patients were found, taken in, given out or asked for at once; or how many attempts "
        "without a valid token the event stands for."
    )
    record_version = graphene.Int(description="The version of the record that was read or written.")
    reference = graphene.ID(
        description="The break-glass grant that the event asks for, reads under or reviews, or the contact decision "
        "(`decisionId`) that it records, or the entry of `tokens list` that it made."
    )
    flags = graphene.List(graphene.NonNull(AccessFlag), required=True, description="Circumstances worth a second look.")
    policy_rules = _names(
        "The rules that decided, such as `front_desk/PATADMIN`. Of a contact decision also what it was asked for: "
        "`purpose:EMERGENCY`, `sender:reminders`, and the version of the contact rules (`contact:…`)."
    )
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
    audit_subject = graphene.String(description="The same by the patient's random name in the log.")
    actor = graphene.String(description="Only events of this subject.")
    token_id = graphene.String(description="Only events of the session with this token id; needs `actor`.")
    outcome = enums.AccessOutcome(description="Only events that ended so.")
    purpose = policy_enums.PurposeOfUse(
        description="Only events with this purpose of use. Bounded in time as `action` is."
    )
    act = graphene.String(
        name="action",
        description=(
            "Only events of this action, such as `read`. Without `patientId`, `auditSubject`, `actor`, `requestId` of "
            "31 days at most, the last ones where `from` is omitted; more is VALIDATION_FAILED, rule `span_too_long`."
        ),
    )
    request_id = graphene.String(description="Only events of the request with this X-Request-Id.")
    reference = graphene.ID(
        description="Only events of this contact decision (`decisionId`), or of this break-glass grant until it ended."
    )
    flags = graphene.List(
        graphene.NonNull(AccessFlag), description="Only events with at least one of these circumstances."
    )
    unattributed = graphene.Boolean(
        description="Instead of the organisation's events: attempts without a valid token, which belong to nobody."
    )
    from_ = DateTime(name="from", description="Only events at this time or later.")
    to = DateTime(description="Only events before this time.")
