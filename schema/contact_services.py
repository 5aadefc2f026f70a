"""What the services around contact offer to this room, as protocols; `context.Services` takes them in."""

from collections.abc import Mapping
from typing import Any, Protocol

from auth.actor import Actor
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


class ContactServices(Protocol):
    """The use cases around contact, each a property that is named like its module in `crm.services`."""

    @property
    def confidential(self) -> Confidential: ...
    @property
    def restrictions(self) -> Restrictions: ...
    @property
    def related_persons(self) -> RelatedPersons: ...
