"""The query root: each resolver asks one service once, and translates. Decides nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

import graphene

from auth.policy import POLICY_VERSION, Action, scope
from crm.audit.event import rfc3339
from crm.errors import NotFound
from crm.services.erasures import Receipt
from crm.services.holds import Hold
from schema import policy_enums
from schema.break_glass import BreakGlassGrantConnection
from schema.changes import FeedQueries
from schema.contact import ContactQueries
from schema.context import Context, Profile
from schema.duplicates import DuplicatesQueries
from schema.erasures import ErasureReceipt, LegalHold, allowed_to
from schema.events import AccessEventConnection, AccessEventFilter
from schema.evidence import EvidenceQuestions
from schema.federation import FederationRoots
from schema.history import AS_OF, AS_OF_VERSION, HistoryQueries
from schema.inputs import PatientSearch, plain
from schema.merging import MergingQueries
from schema.messages import MessageQueries
from schema.needs import NeedsQueries
from schema.pages import PatientConnection, as_connection, page_size
from schema.questions import OfficersQuestions
from schema.scalars import DateTime
from schema.types import Patient, PatientResult

__all__ = ["Query"]


class Viewer(graphene.ObjectType):
    """The caller, as the token and the header X-Purpose-Of-Use describe them."""

    subject = graphene.String(required=True, description="Who is calling: the subject of the token.")
    org = graphene.String(required=True, description="The organisation whose records can be reached.")
    roles = graphene.List(
        graphene.NonNull(policy_enums.RoleEnum), required=True, description="The caller's roles, sorted."
    )
    purpose_of_use = graphene.Field(
        policy_enums.PurposeOfUse, description="Why the caller asks; null if nothing was stated."
    )
    client_id = graphene.String(description="The application that is used.")
    patient_id = graphene.ID(description="The caller's own record, or that of the person they act for.")
    policy_version = graphene.String(required=True, description="Version of the policy table: `sha256:` and a digest.")
    expires_at = graphene.Field(DateTime, required=True, description="When the token expires.")


def _first(text: str) -> graphene.Argument:
    return graphene.Argument(graphene.Int, description=text)


_FIRST = "How many at most: 1 to 100, 25 if omitted."
_AFTER = graphene.String(description="The cursor after which to go on; from the first if omitted.")


class Query(
    FederationRoots,
    ContactQueries,
    EvidenceQuestions,
    OfficersQuestions,
    MessageQueries,
    NeedsQueries,
    FeedQueries,
    HistoryQueries,
    MergingQueries,
    DuplicatesQueries,
    graphene.ObjectType,
):
    """Everything that can be read. Each patient touched has an entry in the access log before the answer leaves."""

    viewer = graphene.Field(
        Viewer, required=True, description="The caller; for everybody with a token. Touches no patient."
    )
    patient = graphene.Field(
        Patient,
        id=graphene.ID(required=True, description="The record's id."),
        as_of=AS_OF,
        as_of_version=AS_OF_VERSION,
        description="One patient. NOT_FOUND for an unknown id and for a record that you may not know of. "
        + allowed_to(Action.READ),
    )
    patient_by_identifier = graphene.Field(
        Patient,
        system=graphene.String(required=True, description="The identifier's namespace, a URI."),
        value=graphene.String(required=True, description="The identifier itself."),
        description="The patient who carries a business identifier. NOT_FOUND where there is none. "
        + allowed_to(Action.SEARCH),
    )
    patients = graphene.List(
        graphene.NonNull(PatientResult),
        required=True,
        ids=graphene.List(
            graphene.NonNull(graphene.ID),
            required=True,
            description="At most 1,000 ids. Give them as a variable: a document has at most 1,000 tokens.",
        ),
        description="Many patients in the order of `ids`; each is answered or refused on its own. "
        + allowed_to(Action.READ),
    )
    search_patients = graphene.Field(
        PatientConnection,
        by=PatientSearch(required=True, description="What to look for."),
        first=_first(_FIRST),
        after=_AFTER,
        description="Patients who match exactly: no prefixes, wildcards or totals. What is looked for counts as read. "
        + allowed_to(Action.SEARCH),
    )
    me = graphene.Field(Patient, description=f"The caller's own record. {allowed_to(Action.SELF_READ)}")
    access_events = graphene.Field(
        AccessEventConnection,
        filter=AccessEventFilter(description="Which events; all of the organisation's if omitted."),
        first=_first(_FIRST),
        after=_AFTER,
        description=f"The access log, newest entry first. Reading it is recorded. {allowed_to(Action.AUDIT_READ)}",
    )
    erasure_receipts = graphene.List(
        graphene.NonNull(ErasureReceipt),
        required=True,
        patient_id=graphene.ID(required=True, description="The record's id."),
        description="What was erased of a record, in order, and how far that has got in copies by now; empty where "
        f"nothing was. {allowed_to(Action.HOLD)}",
    )
    legal_holds = graphene.List(
        graphene.NonNull(LegalHold),
        required=True,
        patient_id=graphene.ID(required=True, description="The record's id."),
        description="All legal holds on a record, also those that were lifted, in the order of placing. "
        + allowed_to(Action.HOLD),
    )
    break_glass_grants = graphene.Field(
        BreakGlassGrantConnection,
        reviewed=graphene.Boolean(
            description="Those that were reviewed, the newest first; otherwise those that wait, the oldest first."
        ),
        first=_first(_FIRST),
        after=_AFTER,
        description=f"The queue of break-glass grants. Looking is recorded. {allowed_to(Action.REVIEW)}",
    )

    @staticmethod
    def resolve_viewer(_root: Any, info: Any) -> Mapping[str, Any]:
        """The actor; no service is asked."""
        actor = info.context.actor
        return {
            "subject": actor.subject,
            "org": actor.org,
            "roles": sorted(actor.roles),
            "purpose_of_use": actor.purpose,
            "client_id": actor.client_id,
            "patient_id": actor.patient_id,
            "policy_version": POLICY_VERSION,
            "expires_at": rfc3339(actor.expires_at * 1_000_000),
        }

    @staticmethod
    async def resolve_patient(
        _root: Any, info: Any, id: str, as_of: str | None = None, as_of_version: int | None = None
    ) -> Profile:
        """One profile, as it is or as it was."""
        here: Context = info.context
        if as_of is not None or as_of_version is not None:
            return await here.services.history.read(
                here.actor, here.request, id, here.asked(info), at=as_of, version=as_of_version
            )
        return await here.services.profiles.read(here.actor, here.request, id, here.asked(info))

    @staticmethod
    async def resolve_patient_by_identifier(_root: Any, info: Any, system: str, value: str) -> Profile:
        """One profile by its identifier."""
        here: Context = info.context
        return await here.services.profiles.by_identifier(here.actor, here.request, system, value, here.asked(info))

    @staticmethod
    async def resolve_patients(_root: Any, info: Any, ids: list[str]) -> Sequence[Any]:
        """Profiles and refusals in step with the ids."""
        here: Context = info.context
        return await here.services.profiles.read_many(here.actor, here.request, ids, here.asked(info))

    @staticmethod
    async def resolve_search_patients(
        _root: Any, info: Any, by: Mapping[str, Any], first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of profiles."""
        here: Context = info.context
        size = page_size(first, here.limits)
        page = await here.services.profiles.search(here.actor, here.request, plain(by), size, after, here.asked(info))
        return as_connection(page)

    @staticmethod
    async def resolve_me(_root: Any, info: Any) -> Profile:
        """The profile the token is bound to."""
        here: Context = info.context
        own = scope(here.actor)
        if own is None:  # cannot be: only callers bound to a record are admitted to `me`
            raise NotFound
        return await here.services.profiles.read(here.actor, here.request, own, here.asked(info))

    @staticmethod
    async def resolve_access_events(
        _root: Any,
        info: Any,
        filter: Mapping[str, Any] | None = None,
        first: int | None = None,
        after: str | None = None,
    ) -> Mapping[str, Any]:
        """One page of the log."""
        here: Context = info.context
        size = page_size(first, here.limits)
        page = await here.services.access_log.events(here.actor, here.request, plain(filter or {}), size, after)
        return as_connection(page)

    @staticmethod
    async def resolve_erasure_receipts(_root: Any, info: Any, patient_id: str) -> Sequence[Receipt]:
        """The receipts of one record."""
        here: Context = info.context
        return await here.services.erasures.receipts(here.actor, here.request, patient_id)

    @staticmethod
    async def resolve_legal_holds(_root: Any, info: Any, patient_id: str) -> Sequence[Hold]:
        """The holds on one record."""
        here: Context = info.context
        return await here.services.holds.of(here.actor, here.request, patient_id)

    @staticmethod
    async def resolve_break_glass_grants(
        _root: Any, info: Any, reviewed: bool | None = None, first: int | None = None, after: str | None = None
    ) -> Mapping[str, Any]:
        """One page of grants."""
        here: Context = info.context
        size, asked = page_size(first, here.limits), here.selected(info, "BreakGlassGrant")
        page = await here.services.break_glass.grants(here.actor, here.request, bool(reviewed), size, after, asked)
        return as_connection(page)
