"""What the services around versions of records offer to this room, as protocols; `context.Services` takes them in."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from auth.actor import Actor
from crm.services.request import Request
from crm.services.retries import Repeatable

__all__ = ["VersionServices"]


class VersionsPage(Protocol):
    """One page of versions, in step with their cursors."""

    @property
    def nodes(self) -> Sequence[Any]: ...
    @property
    def cursors(self) -> Sequence[str]: ...
    @property
    def has_next_page(self) -> bool: ...
    @property
    def has_previous_page(self) -> bool: ...


class History(Protocol):
    """Former versions of records (`crm.services.history`)."""

    async def read(
        self,
        actor: Actor,
        request: Request,
        patient_id: str,
        asked: frozenset[str],
        *,
        at: str | None = ...,
        version: int | None = ...,
    ) -> dict[str, Any]: ...
    async def versions(
        self, actor: Actor, request: Request, patient_id: str, first: int, after: str | None, asked: frozenset[str]
    ) -> VersionsPage: ...
    async def compare(
        self, actor: Actor, request: Request, patient_id: str, first: int, second: int, asked: frozenset[str]
    ) -> Mapping[str, Any]: ...


class Retries(Protocol):
    """Doing a change once, however often it is asked for (`crm.services.retries`)."""

    @property
    def told(self) -> Mapping[str, int]: ...
    async def once(
        self, actor: Actor, request: Request, change: Repeatable, attempt: Callable[[Request], Awaitable[Any]]
    ) -> Any: ...


class VersionServices(Protocol):
    """The use cases around versions, each a property that is named like its module in `crm.services`."""

    @property
    def history(self) -> History: ...
    @property
    def retries(self) -> Retries: ...
