"""The unit of work: the one door to patient data, and the promise that goes with it.

* Plaintext exists only as the result of `open`, and the same call notes patient and fields: opening is recording.
* Leaving a unit makes its events durable *before* the caller gets the block's result: no answer without a record.
* A change, its version, its outbox row and its audit row are one transaction; then they are sequenced into the log.
* A refusal inside the unit rolls everything back and is recorded afterwards.

It decides nothing: services ask the policy and pass in which fields are clear, masked or withheld. Its two halves are
`reading` and `writing`.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial

from crm.audit.event import Act, Outcome
from crm.audit.writer import LogWriter
from crm.crypto.keyset import KeySet
from crm.domain.circumstances import Watch
from crm.domain.precedence import SourceRules
from crm.errors import AuditUnavailable, RequestInProgress
from crm.store import retries
from crm.store.context import Context
from crm.store.database import Database
from crm.store.log import stage_rows
from crm.store.reading import Renew, Unit
from crm.store.recording import Reading, Recording
from crm.store.refusing import refusals
from crm.store.retries import Effect, Repeated
from crm.store.writing import WritingUnit

__all__ = ["Renew", "Store", "Unit", "WritingUnit"]


def _nobody(_org: str) -> None:
    """For a process in which nobody waits for changes."""


async def _nothing_new() -> None:
    """For a process whose keys never change while it runs."""


class Store:
    """Opens units of work and records refusals; holds the database, the keys, the log and the clock.

    `renew` looks for new keys in the key store, for a record that names one which `keys` does not have. `watch` says
    what is remarkable of staff. `sources` is whose word stands before that of a feed. `committed` is told of which
    organisation something was stored.
    """

    def __init__(
        self,
        database: Database,
        keys: KeySet,
        log: LogWriter,
        clock: Callable[[], int],
        renew: Renew = _nothing_new,
        watch: Watch = Watch(),  # noqa: B008 - frozen
        sources: SourceRules = SourceRules(),  # noqa: B008 - frozen
        committed: Callable[[str], None] = _nobody,
    ) -> None:
        self.database = database
        self.keys = keys
        self.log = log
        self.clock = clock
        self._renew = renew
        self._watch = watch
        self.sources = sources
        self._committed = committed

    def reading(
        self, context: Context, act: Act, subjects: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[Unit, bool | None]:
        """A unit that only reads. On leaving, its events are durable; `subjects` are the ids that a refusal names."""
        fetch = partial(self.database.fetch, context.org)
        return Reading(
            self, Unit(fetch, self.keys, self._renew, context, act, self.clock(), self._watch), act, subjects
        )

    @asynccontextmanager
    async def writing(self, context: Context, act: Act, subjects: Sequence[str] = ()) -> AsyncIterator[WritingUnit]:
        """A unit in one transaction. On leaving, change and audit rows are committed together and then sequenced.

        What the context's `retry` names is done once: `Repeated` is raised where it was done before, and
        `RequestInProgress` where it is being done.
        """
        async with self.recording(context, act, subjects), self.database.transaction(context.org) as connection:
            unit = WritingUnit(connection, self.keys, self._renew, context, act, self.clock, self._watch, self.sources)
            claimed = await retries.claim(connection, self.keys, context)
            yield unit
            await unit.writes.flush(connection)
            if claimed and unit.effect:
                await retries.complete(connection, claimed, context.org, unit.effect, unit.now)
            entries = self.log.stage(context.org, unit.events())
            await stage_rows(connection, context.org, entries)
        self._committed(context.org)
        await self.log.sequence(context.org, entries)

    async def done(self, context: Context, effect: Effect, at: int) -> None:
        """Stores that what the context's `retry` names was done, for what is done only once it was outside, too.

        Until then whoever asks again has it done again, however that ended. `at` is microseconds since 1970, UTC.
        """
        with suppress(Repeated, RequestInProgress):  # somebody else has done it too, or is about to
            async with self.database.transaction(context.org) as connection:
                claimed = await retries.claim(connection, self.keys, context)
                if claimed:
                    await retries.complete(connection, claimed, context.org, effect, at)

    def recording(
        self, context: Context, act: Act, subjects: Sequence[str] = ()
    ) -> AbstractAsyncContextManager[None, bool | None]:
        """Records whatever is raised inside as a refusal or a failure of `act`, and lets it go on.

        Raises AuditUnavailable before anything is looked at where the log takes no events now.
        """
        return Recording(self, context, act, subjects)

    async def refuse(
        self,
        context: Context,
        act: Act,
        subjects: Sequence[str],
        *,
        why: str,
        denied: bool = True,
        fields: Sequence[str] = (),
    ) -> None:
        """Records that nothing was done and why: one event per named patient that exists, else one without a patient.

        `fields` are the paths that were refused. Pseudonyms are looked up after the refusal was decided, and for known
        and unknown ids alike, so that neither the answer nor its time tells them apart.
        """
        self.ask_log(context.org)
        facts = {"act": act, "out": Outcome.DENIED if denied else Outcome.ERROR, "why": why, "fld": tuple(fields)}
        facts["flg"] = self._watch.always(context.caller, self.clock())
        fetch = partial(self.database.fetch, context.org)
        await self.log.append(context.org, await refusals(fetch, context, subjects, facts))

    def ask_log(self, org: str) -> None:
        """Raises AuditUnavailable where the log of `org` takes no events now."""
        if not self.log.accepting(org):
            raise AuditUnavailable
