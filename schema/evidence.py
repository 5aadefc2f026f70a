"""Proofs of the log as GraphQL shows them, and what patients see of it. Hashes and keys are base64 (RFC 4648)."""

from collections.abc import Mapping
from typing import Any

import graphene

from auth.policy import Action
from schema import enums, policy_enums
from schema.context import Context
from schema.erasures import allowed_to
from schema.events import AccessFlag
from schema.pages import PageInfo, as_connection, page_size
from schema.scalars import DateTime, LogIndex

__all__ = ["EvidenceQuestions"]

_FOR = allowed_to(Action.AUDIT_READ)
_UNRECORDED = f"Names nobody, and leaves no event unless it is refused. {_FOR}"


def _index(text: str, *, required: bool = True) -> graphene.Field:
    return graphene.Field(LogIndex, required=required, description=text)


def _text(text: str) -> graphene.String:
    return graphene.String(required=True, description=text)


def _texts(text: str) -> graphene.List:
    return graphene.List(graphene.NonNull(graphene.String), required=True, description=text)


class AuditCheckpoint(graphene.ObjectType):
    """What the log signed: its name, how many events it had, and the root of the Merkle tree over them (RFC 6962)."""

    origin = _text("The log's name, which is that of its key as well.")
    size = _index("How many events.")
    root_hash = _text("The root of the tree over them.")
    note = _text("The same as a signed note (C2SP tlog-checkpoint), with the lines of witnesses who cosigned it.")
    verifier_key = graphene.String(
        description="The key to verify `note` with, as C2SP signed-note writes it; null where this replica does not "
        "have the key. Keep it apart: somebody who forges a log can also forge the key beside it."
    )
    published_at = graphene.Field(DateTime, description="When it was published; null while it was not.")
    witnessed_at = graphene.Field(DateTime, description="When a witness had cosigned it; null while none has.")
    cosignatures = _texts("The lines by which witnesses cosigned it (C2SP tlog-cosignature).")


class AuditInclusionProof(graphene.ObjectType):
    """That an event is in the log, at its place (RFC 9162, section 2.1.3)."""

    index = _index("The event's place in the log, from 0.")
    size = _index("The size of the tree in which it is proved.")
    leaf = graphene.String(description="The event as it was logged, octet by octet; null where it is not kept or told.")
    leaf_hash = _text("SHA-256 of an octet 0 and the leaf.")
    hashes = _texts("The audit path, from the leaf's neighbour up to the root.")
    checkpoint = graphene.Field(AuditCheckpoint, required=True, description="The checkpoint over that tree.")
    tlog_proof = _text("The proof and the checkpoint in one text (C2SP tlog-proof), to keep and to check offline.")


class AuditConsistencyProof(graphene.ObjectType):
    """That a log only grew: a tree is the beginning of a later one (RFC 9162, section 2.1.4)."""

    from_size = _index("The size of the earlier tree.")
    to_size = _index("The size of the later tree.")
    hashes = _texts("The proof; empty where the sizes are equal, or the earlier tree is.")


class AuditCompleteness(graphene.ObjectType):
    """Whether the log is whole, as far as it can tell itself; whoever does not trust it runs `audit verify`."""

    size = _index("How many events were ever logged.")
    epoch = graphene.Int(required=True, description="How often the log had to begin anew, from 1.")
    oldest_kept = _index("The place of the oldest event that is kept; older ones were pruned.")
    checked_from = _index("From which place to the end every number was looked for now.")
    contiguous = graphene.Boolean(required=True, description="Whether none of them is missing.")
    first_missing = _index("The first place that is missing; null where none is.", required=False)
    waiting = graphene.Int(required=True, description="Events of changes that are stored, and not numbered yet.")
    waiting_since = graphene.Field(DateTime, description="Since when the oldest of them waits; seconds are usual.")
    checkpoint = graphene.Field(AuditCheckpoint, description="The checkpoint over all; null for an empty log.")
    published = graphene.Field(AuditCheckpoint, description="The newest that was published.")
    witnessed = graphene.Field(AuditCheckpoint, description="The newest that a witness cosigned.")


class AccessedField(graphene.ObjectType):
    """A field of your record."""

    path = _text("The field's name here.")
    label = _text("What it is, in words.")


class OwnAccessEvent(graphene.ObjectType):
    """Somebody had to do with your record, or tried to."""

    id = graphene.ID(required=True, description="The event's id.")
    recorded_at = graphene.Field(DateTime, required=True, description="When it happened.")
    action = _text("What was done or attempted, in the log's words, such as `read` or `update`.")
    outcome = graphene.Field(enums.AccessOutcome, required=True, description="How it ended.")
    fields = graphene.List(
        graphene.NonNull(AccessedField), required=True, description="What was seen, changed, or asked for in vain."
    )
    purpose_of_use = graphene.Field(policy_enums.PurposeOfUse, description="Why they asked, as they stated it.")
    roles = graphene.List(
        graphene.NonNull(policy_enums.RoleEnum), required=True, description="In which roles they asked."
    )
    organisation = graphene.String(description="For which organisation.")
    yourself = graphene.Boolean(required=True, description="Whether it was you.")
    subject = graphene.String(description="Who asked; null where the organisation does not tell, unless it was you.")
    circumstances = graphene.List(
        graphene.NonNull(AccessFlag),
        required=True,
        description="What was special: BREAK_GLASS, AFTER_HOURS and others.",
    )
    proof = graphene.Field(
        AuditInclusionProof,
        required=True,
        description="That this entry is in the log and cannot be taken out. Its leaf is given where the organisation "
        "tells who asked, since it says so. Without it the proof shows that one event stands there which nobody can "
        "change or take away, and the organisation can be asked to show that event.",
    )

    @staticmethod
    async def resolve_proof(root: Mapping[str, Any], _info: Any) -> Mapping[str, Any]:
        """The proof, made with those of the whole page."""
        found: Mapping[str, Any] = await root["proofs"].of(root["seq"])
        return found


class OwnAccessEventEdge(graphene.ObjectType):
    """One event of a page."""

    node = graphene.Field(OwnAccessEvent, required=True, description="The event.")
    cursor = graphene.String(required=True, description="The place of this event in the list; opaque.")


class OwnAccessEventConnection(graphene.ObjectType):
    """One page of events, the newest first."""

    edges = graphene.List(graphene.NonNull(OwnAccessEventEdge), required=True, description="The events of this page.")
    page_info = graphene.Field(PageInfo, required=True, description="Where the page stands in the list.")


class EvidenceQuestions:
    """Root fields that prove the log, and the patient's own view of it."""

    audit_checkpoint = graphene.Field(
        AuditCheckpoint,
        witnessed=graphene.Boolean(description="The newest that a witness cosigned, instead of the newest."),
        description=f"The newest checkpoint of the organisation's log; null where there is none. {_UNRECORDED}",
    )
    audit_inclusion_proof = graphene.Field(
        AuditInclusionProof,
        event_id=graphene.ID(description="The event's id."),
        seq=LogIndex(description="Instead of the id: its place, by which pruned events can be proved too."),
        description=f"That an event is in the log. NOT_FOUND where there is none. The look is recorded. {_FOR}",
    )
    audit_consistency_proof = graphene.Field(
        AuditConsistencyProof,
        from_size=LogIndex(required=True, description="The size of the earlier tree."),
        to_size=LogIndex(description="The size of the later tree; that of now if omitted."),
        description=f"That the log of the earlier size is the beginning of the later. {_UNRECORDED}",
    )
    audit_completeness = graphene.Field(
        AuditCompleteness, description=f"Whether the log is whole and looked after. {_UNRECORDED}"
    )
    my_access_log = graphene.Field(
        OwnAccessEventConnection,
        first=graphene.Int(description="How many at most: 1 to 100, 25 if omitted."),
        after=graphene.String(description="The cursor after which to go on; from the first if omitted."),
        description="Who looked at your own record, newest first. The look is recorded, and will be seen the next "
        f"time. {allowed_to(Action.SELF_AUDIT)}",
    )

    @staticmethod
    async def resolve_audit_checkpoint(
        _root: Any, info: Any, witnessed: bool | None = None
    ) -> Mapping[str, Any] | None:
        """One checkpoint."""
        here: Context = info.context
        return await here.services.evidence.checkpoint(here.actor, here.request, witnessed=bool(witnessed))

    @staticmethod
    async def resolve_audit_inclusion_proof(
        _root: Any, info: Any, event_id: str | None = None, seq: int | None = None
    ) -> Mapping[str, Any]:
        """The proof for one event."""
        here: Context = info.context
        return await here.services.evidence.inclusion(here.actor, here.request, event_id, seq)

    @staticmethod
    async def resolve_audit_consistency_proof(
        _root: Any, info: Any, from_size: int, to_size: int | None = None
    ) -> Mapping[str, Any]:
        """The proof between two sizes."""
        here: Context = info.context
        return await here.services.evidence.consistency(here.actor, here.request, from_size, to_size)

    @staticmethod
    async def resolve_audit_completeness(_root: Any, info: Any) -> Mapping[str, Any]:
        """What the log says of itself."""
        here: Context = info.context
        return await here.services.evidence.completeness(here.actor, here.request)

    @staticmethod
    async def resolve_my_access_log(
        _root: Any, info: Any, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of one's own events."""
        here: Context = info.context
        size = page_size(first, here.limits)
        return as_connection(await here.services.own_log.events(here.actor, here.request, size, after))
