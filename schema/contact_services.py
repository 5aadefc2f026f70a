"""What the services around contact offer to this room, as protocols; `context.Services` takes them in."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from auth.actor import Actor
from crm.domain.codes import SuspensionVerdict, UndeliverableReason
from crm.services.contact import Inquiry
from crm.services.request import Request

__all__ = ["ContactServices"]


class Confidential(Protocol):
    """Where somebody asked to be reached instead (`crm.services.confidential`)."""

    async def set(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        wanted: Mapping[str, Any],
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def clear(
        self, actor: Actor, request: Request, patient_id: str, expected_version: int | None, asked: frozenset[str]
    ) -> dict[str, Any]: ...


class Consents(Protocol):
    """What people permit and forbid (`crm.services.consents`)."""

    async def record(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        directive: Mapping[str, Any],
        asked: frozenset[str],
    ) -> dict[str, Any]: ...


class Contact(Protocol):
    """Whether, how and why not somebody may be contacted (`crm.services.contact`)."""

    async def decide(self, actor: Actor, request: Request, patient_id: str, inquiry: Inquiry) -> Mapping[str, Any]: ...
    async def decide_many(
        self, actor: Actor, request: Request, ids: Sequence[str], inquiry: Inquiry
    ) -> Sequence[Any]: ...
    async def explain(self, actor: Actor, request: Request, patient_id: str, inquiry: Inquiry) -> Mapping[str, Any]: ...


class Restrictions(Protocol):
    """What binds the organisation (`crm.services.restrictions`)."""

    async def place(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        wanted: Mapping[str, Any],
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def lift(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        restriction_id: str,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...


class RelatedPersons(Protocol):
    """Who stands in for a patient (`crm.services.related_persons`)."""

    async def add(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        person: Mapping[str, Any],
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def update(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        person_id: str,
        person: Mapping[str, Any],
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def end(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        person_id: str,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...


class ContactVerification(Protocol):
    """Whether a contact point is the person's (`crm.services.contact_verification`)."""

    async def start(
        self, actor: Actor, request: Request, patient_id: str, contact_point_id: str
    ) -> Mapping[str, Any]: ...
    async def confirm(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        code: str,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def attest(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        contact_point_id: str,
        verified: bool,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...


class DeliveryReports(Protocol):
    """What became of messages (`crm.services.delivery_reports`)."""

    async def report(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        contact_point_id: str,
        delivered: bool,
        reason: UndeliverableReason | None,
    ) -> Mapping[str, Any]: ...


class NeedsPage(Protocol):
    """One page of patients, in step with their cursors."""

    @property
    def nodes(self) -> Sequence[Any]: ...
    @property
    def cursors(self) -> Sequence[str]: ...
    @property
    def has_next_page(self) -> bool: ...
    @property
    def has_previous_page(self) -> bool: ...


class UnmetPage(NeedsPage, Protocol):
    """The same with when a need of each was last not met, and how often."""

    @property
    def last(self) -> Sequence[str]: ...
    @property
    def times(self) -> Sequence[int]: ...


class Needs(Protocol):
    """The life of access needs (`crm.services.needs`)."""

    async def review(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        need_id: str,
        due: str | None,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def outcome(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        need_id: str,
        met: bool,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...
    async def overdue(
        self, actor: Actor, request: Request, as_of: str | None, first: int, after: str | None, asked: frozenset[str]
    ) -> NeedsPage: ...
    async def unmet(
        self,
        actor: Actor,
        request: Request,
        from_: str,
        to: str | None,
        first: int,
        after: str | None,
        asked: frozenset[str],
    ) -> UnmetPage: ...


class Reply(Protocol):
    """What a message came to (`crm.services.message_reading`)."""

    @property
    def kind(self) -> str: ...
    @property
    def honour_by(self) -> str | None: ...
    @property
    def confirmation(self) -> Mapping[str, Any] | None: ...


class MessagesPage(Protocol):
    """A page of messages that wait, each with its patient."""

    @property
    def nodes(self) -> Sequence[Any]: ...
    @property
    def cursors(self) -> Sequence[str]: ...
    @property
    def has_next_page(self) -> bool: ...
    @property
    def has_previous_page(self) -> bool: ...


class Messages(Protocol):
    """Messages that patients send (`crm.services.messages`)."""

    async def take(self, actor: Actor, request: Request, message: Mapping[str, Any]) -> Reply: ...
    async def queue(
        self, actor: Actor, request: Request, first: int, after: str | None, asked: frozenset[str]
    ) -> MessagesPage: ...
    async def resolve(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        expected_version: int | None,
        suspension_id: str,
        verdict: SuspensionVerdict,
        asked: frozenset[str],
    ) -> dict[str, Any]: ...


class ContactServices(Protocol):
    """The use cases around contact, each a property that is named like its module in `crm.services`."""

    @property
    def confidential(self) -> Confidential: ...
    @property
    def consents(self) -> Consents: ...
    @property
    def contact(self) -> Contact: ...
    @property
    def restrictions(self) -> Restrictions: ...
    @property
    def related_persons(self) -> RelatedPersons: ...
    @property
    def contact_verification(self) -> ContactVerification: ...
    @property
    def delivery_reports(self) -> DeliveryReports: ...
    @property
    def needs(self) -> Needs: ...
    @property
    def messages(self) -> Messages: ...
