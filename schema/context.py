"""What a root resolver has at hand: the caller, the request, the services, and the plan. Does no work itself."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from auth.actor import Actor
from auth.policy import Action
from crm.audit.event import Act
from crm.catalogue import KeyClass
from crm.domain.break_glass import BreakGlassReason, Verdict
from crm.domain.erasure import ErasureReason
from crm.domain.superseding import MergeReason, UnmergeReason
from crm.services.duplicates import PairsPage
from crm.services.duplicates import Verdict as DuplicateVerdict
from crm.services.erasures import Receipt
from crm.services.feed import ChangesPage
from crm.services.holds import Hold, HoldReason
from crm.services.merging import Which
from crm.services.questions import Answered
from crm.services.request import Request
from crm.store.feed import Change
from schema.contact_services import ContactServices
from schema.plan import Plan, RootField
from schema.prepared import Prepared
from schema.settings import Limits
from schema.version_services import VersionServices

__all__ = [
    "AccessLog",
    "BreakGlass",
    "Changes",
    "Context",
    "Erasures",
    "Evidence",
    "Feed",
    "Holds",
    "OwnLog",
    "Page",
    "Profile",
    "Profiles",
    "Questions",
    "Queue",
    "Services",
    "TrustedDocuments",
    "Verifier",
]

Profile = dict[str, Any]
"""What a service read of one patient: `id`, `version`, and the catalogue's field names with plain values.

An exception in place of a value becomes the error of that field."""


class Page(Protocol):
    """One page of a list: nodes and their cursors, in step."""

    @property
    def nodes(self) -> Sequence[Any]: ...
    @property
    def cursors(self) -> Sequence[str]: ...
    @property
    def has_next_page(self) -> bool: ...
    @property
    def has_previous_page(self) -> bool: ...


class Profiles(Protocol):
    """The use cases of reading (`crm.services.profiles`)."""

    async def admit(
        self,
        actor: Actor,
        request: Request,
        asked: frozenset[str],
        ids: Sequence[str] = ...,
        action: Action = ...,
        act: Act | None = ...,
    ) -> Any: ...
    async def read(self, actor: Actor, request: Request, patient_id: str, asked: frozenset[str]) -> Profile: ...
    async def read_many(
        self, actor: Actor, request: Request, ids: Sequence[str], asked: frozenset[str]
    ) -> Sequence[Any]: ...
    async def by_identifier(
        self, actor: Actor, request: Request, system: str, value: str, asked: frozenset[str]
    ) -> Profile: ...
    async def search(
        self,
        actor: Actor,
        request: Request,
        by: Mapping[str, Any],
        first: int,
        after: str | None,
        asked: frozenset[str],
    ) -> Page: ...


class Changes(Protocol):
    """The use cases of writing (`crm.services.changes`)."""

    async def register(
        self, actor: Actor, request: Request, submitted: Mapping[str, Any], asked: frozenset[str]
    ) -> Profile: ...
    async def update(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        submitted: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile: ...
    async def add_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile: ...
    async def update_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        contact_point: Mapping[str, Any],
        asked: frozenset[str],
    ) -> Profile: ...
    async def retire_contact_point(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        asked: frozenset[str],
    ) -> Profile: ...


class Holds(Protocol):
    """The use cases around legal holds (`crm.services.holds`)."""

    async def place(self, actor: Actor, request: Request, patient_id: str, reason: HoldReason) -> Hold: ...
    async def lift(self, actor: Actor, request: Request, patient_id: str, hold_id: str) -> Hold: ...
    async def of(self, actor: Actor, request: Request, patient_id: str) -> Sequence[Hold]: ...


class Erasures(Protocol):
    """The use cases of erasure (`crm.services.erasures`)."""

    async def erase(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        classes: frozenset[KeyClass] | None,
        reason: ErasureReason,
    ) -> Receipt: ...
    async def receipts(self, actor: Actor, request: Request, patient_id: str) -> Sequence[Receipt]: ...


class Queue(Protocol):
    """How many grants wait for a review, and since when the oldest (microseconds since 1970), None without any."""

    @property
    def grants(self) -> int: ...
    @property
    def oldest(self) -> int | None: ...


class BreakGlass(Protocol):
    """The use cases of break-glass (`crm.services.break_glass`)."""

    async def request(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        reason: BreakGlassReason,
        text: str,
        minutes: int | None,
    ) -> Mapping[str, Any]: ...
    async def review(
        self,
        actor: Actor,
        request: Request,
        grant_id: str,
        verdict: Verdict,
        note: str | None,
        asked: frozenset[str],
    ) -> Mapping[str, Any]: ...
    async def grants(
        self, actor: Actor, request: Request, reviewed: bool, first: int, after: str | None, asked: frozenset[str]
    ) -> Page: ...
    @property
    def waiting(self) -> Queue: ...


class AccessLog(Protocol):
    """Reading the log, and recording attempts that never became a use case (`crm.services.access_log`)."""

    async def events(
        self, actor: Actor, request: Request, filter: Mapping[str, Any], first: int, after: str | None
    ) -> Page: ...
    async def admit(self, actor: Actor, request: Request, action: Action = ..., ids: Sequence[str] = ...) -> Any: ...
    async def refused(
        self, reason: str, request: Request, actor: Actor | None = ..., *, revoked: bool = ...
    ) -> None: ...
    async def unasked(self, reason: str, actor: Actor, request: Request, count: int | None) -> None: ...


class Questions(Protocol):
    """What officers add up of the log (`crm.services.questions`)."""

    async def summary(
        self, actor: Actor, request: Request, question: Mapping[str, Any], dimensions: Sequence[str], first: int
    ) -> Answered: ...
    async def anomalies(
        self, actor: Actor, request: Request, from_: str | None, to: str | None, least: int
    ) -> Answered: ...
    async def disclosures(
        self, actor: Actor, request: Request, patient_id: str, from_: str | None, to: str | None
    ) -> Answered: ...


class Evidence(Protocol):
    """What proves the log (`crm.services.evidence`)."""

    async def checkpoint(
        self, actor: Actor, request: Request, *, witnessed: bool = ...
    ) -> Mapping[str, Any] | None: ...
    async def inclusion(
        self, actor: Actor, request: Request, event_id: str | None, index: int | None
    ) -> Mapping[str, Any]: ...
    async def consistency(
        self, actor: Actor, request: Request, first: int, second: int | None
    ) -> Mapping[str, Any]: ...
    async def completeness(self, actor: Actor, request: Request) -> Mapping[str, Any]: ...


class OwnLog(Protocol):
    """What patients see of the log (`crm.services.own_log`)."""

    async def events(self, actor: Actor, request: Request, first: int, after: str | None) -> Page: ...


class LiveLog(Protocol):
    """Following the log (`crm.services.live_log`)."""

    async def follow(
        self, actor: Actor, request: Request, question: Mapping[str, Any], after: str | None
    ) -> AsyncGenerator[Any, None]: ...
    async def told(self, actor: Actor, request: Request, appended: Any) -> Mapping[str, Any]: ...


class TrustedDocuments(Protocol):
    """The documents that clients may have executed by name (`crm.services.documents`)."""

    async def text(self, sha256: str) -> str | None: ...


class Feed(Protocol):
    """The use cases of following changes (`crm.services.feed`)."""

    async def follow(
        self, actor: Actor, request: Request, ids: Sequence[str] | None, after: str | None
    ) -> AsyncGenerator[Change, None]: ...
    async def tell(
        self, actor: Actor, request: Request, change: Change, *, named: bool
    ) -> Mapping[str, Any] | None: ...
    async def page(self, actor: Actor, request: Request, first: int, after: str | None) -> ChangesPage: ...
    async def changed_since(
        self, actor: Actor, request: Request, known: Sequence[Mapping[str, Any]]
    ) -> Sequence[Any]: ...


class Merging(Protocol):
    """Making one record of two, and two of one (`crm.services.merging`)."""

    async def merge(
        self, actor: Actor, request: Request, which: Which, reason: MergeReason, asked: frozenset[str]
    ) -> Profile: ...
    async def unmerge(
        self, actor: Actor, request: Request, which: Which, reason: UnmergeReason, asked: frozenset[str]
    ) -> Profile: ...
    async def merges(self, actor: Actor, request: Request, patient_id: str) -> Sequence[Any]: ...


class Duplicates(Protocol):
    """Records that may be about one person (`crm.services.duplicates`)."""

    async def page(self, actor: Actor, request: Request, first: int, after: str | None) -> PairsPage: ...
    async def of_patient(
        self, actor: Actor, request: Request, patient_id: str, first: int, after: str | None
    ) -> PairsPage: ...
    async def review(
        self, actor: Actor, request: Request, patient_id: str, other_id: str, verdict: DuplicateVerdict
    ) -> Mapping[str, Any]: ...


class Services(ContactServices, VersionServices, Protocol):
    """All that this room may ask of the service: the only way to patient data."""

    @property
    def profiles(self) -> Profiles: ...
    @property
    def changes(self) -> Changes: ...
    @property
    def access_log(self) -> AccessLog: ...
    @property
    def holds(self) -> Holds: ...
    @property
    def erasures(self) -> Erasures: ...
    @property
    def questions(self) -> Questions: ...
    @property
    def evidence(self) -> Evidence: ...
    @property
    def own_log(self) -> OwnLog: ...
    @property
    def break_glass(self) -> BreakGlass: ...
    @property
    def documents(self) -> TrustedDocuments: ...
    @property
    def live_log(self) -> LiveLog: ...
    @property
    def feed(self) -> Feed: ...
    @property
    def merging(self) -> Merging: ...
    @property
    def duplicates(self) -> Duplicates: ...


class Verifier(Protocol):
    """Turns headers into an actor. Raises `auth.errors.Unauthenticated`, or `PurposeNotPermitted` with the actor."""

    def verify(self, authorization: str | None, purpose: str | None = None) -> Actor: ...


@dataclass(frozen=True, slots=True)
class Context:
    """`info.context` of one operation."""

    actor: Actor
    request: Request
    services: Services
    operation: Prepared
    plan: Plan
    limits: Limits

    def root(self, info: Any) -> RootField:
        """What was planned for the root field that is being resolved."""
        return self.plan.roots[info.path.key]

    def asked(self, info: Any) -> frozenset[str]:
        """Catalogue paths that the root field being resolved asks for."""
        return self.root(info).asked

    def selected(self, info: Any, kind: str) -> frozenset[str]:
        """The fields of the type `kind` that the root field being resolved selects, wherever in its answer."""
        return self.operation.selected(info.path.key, kind)
