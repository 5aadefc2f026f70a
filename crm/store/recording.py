"""How a unit of work is left: its events made durable, or what ended it recorded. Opens nothing."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol

from crm.audit.event import Act
from crm.audit.writer import LogWriter
from crm.errors import AuditUnavailable
from crm.store.context import Context
from crm.store.reading import Unit
from crm.store.refusing import DENIALS, reason
from crm.store.retries import Repeated

__all__ = ["Reading", "Recording"]


class _Store(Protocol):
    """What of the store is needed here."""

    log: LogWriter

    async def refuse(
        self,
        context: Context,
        act: Act,
        subjects: Sequence[str],
        *,
        why: str,
        denied: bool = ...,
        fields: Sequence[str] = ...,
    ) -> None: ...
    def ask_log(self, org: str) -> None: ...


class Recording:
    """See `Store.recording`. A class, because a generator costs three times as much to enter and to leave."""

    __slots__ = ("_act", "_context", "_store", "_subjects")

    def __init__(self, store: _Store, context: Context, act: Act, subjects: Sequence[str]) -> None:
        self._store = store
        self._context = context
        self._act = act
        self._subjects = subjects

    async def __aenter__(self) -> None:
        self._store.ask_log(self._context.org)

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(failure, Exception):
            await self._record(failure)

    async def _record(self, failure: Exception) -> None:
        """Records a refusal, or a failure of the service; but not that nothing can be recorded, or need be done."""
        if not isinstance(failure, AuditUnavailable | Repeated):
            denied, fields = isinstance(failure, DENIALS), getattr(failure, "paths", ())
            await self._store.refuse(
                self._context, self._act, self._subjects, why=reason(failure), denied=denied, fields=fields
            )


class Reading:
    """See `Store.reading`."""

    __slots__ = ("_recording", "_store", "_unit")

    def __init__(self, store: _Store, unit: Unit, act: Act, subjects: Sequence[str]) -> None:
        self._store = store
        self._unit = unit
        self._recording = Recording(store, unit.context, act, subjects)

    async def __aenter__(self) -> Unit:
        self._store.ask_log(self._unit.context.org)
        return self._unit

    async def __aexit__(
        self, kind: type[BaseException] | None, failure: BaseException | None, at: TracebackType | None
    ) -> None:
        if isinstance(failure, asyncio.CancelledError):
            with suppress(AuditUnavailable):  # nobody gets an answer: what was opened for it is recorded all the same
                await self._store.log.append(self._unit.context.org, self._unit.events())
            return
        if failure is not None:
            await self._recording.__aexit__(kind, failure, at)
            return
        async with self._recording:
            events = self._unit.events()
        await self._store.log.append(self._unit.context.org, events)
