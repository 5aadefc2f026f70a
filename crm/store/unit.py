"""The unit of work: the one door to patient data, and the promise that goes with it. Its reading half is `reading`.

* Plaintext exists only as the result of `open`, and the same call notes patient and fields: opening is recording.
* Leaving a unit makes its events durable *before* the caller gets the block's result: no answer without a record.
* A change, its version, its outbox row and its audit row are one transaction; then they are sequenced into the log.
* A refusal inside the unit rolls everything back and is recorded afterwards.

It decides nothing: services ask the policy and pass in which fields are clear, masked or withheld.
"""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any
from uuid import uuid4

from uuid_utils import uuid7

from auth.roles import Role
from auth.vocabulary import Group
from crm.audit.event import Act, Outcome, rfc3339
from crm.audit.writer import LogWriter
from crm.catalogue import CLASSES, KeyClass
from crm.crypto.keyset import KeySet
from crm.domain.break_glass import AGAIN, MINUTE
from crm.domain.circumstances import Watch
from crm.domain.contact_codes import channel_of
from crm.domain.precedence import Note, Rule, SourceRules, Verdict, Voice, may_replace, voice_of
from crm.errors import AuditUnavailable, Invalid
from crm.store import break_glass, changing, contact_codes, details, erasing, holds, imported, ledger, messages, retries
from crm.store import record as records
from crm.store.break_glass import Grant
from crm.store.changing import Writes
from crm.store.context import Context
from crm.store.database import Connection, Database
from crm.store.details import Detail
from crm.store.feed import ChangeKind
from crm.store.history import Maker
from crm.store.holds import Hold
from crm.store.ledger import Erasure, Link
from crm.store.log import stage_rows
from crm.store.messages import Answered, Waiting
from crm.store.provenance import Source
from crm.store.reading import Renew, Unit
from crm.store.record import Record
from crm.store.recording import Reading, Recording
from crm.store.refusing import refusals
from crm.store.retries import Effect, Kind
from crm.store.revoked_tokens import Revocation

__all__ = ["Renew", "Store", "Unit", "WritingUnit"]


_NOTHING: Mapping[Group, Rule] = MappingProxyType({})


def _nobody(_org: str) -> None:
    """For a process in which nobody waits for changes."""


async def _nothing_new() -> None:
    """For a process whose keys never change while it runs."""


class WritingUnit(Unit):
    """A unit inside one transaction: it can also lock and change records."""

    def __init__(
        self,
        connection: Connection,
        keys: KeySet,
        renew: Renew,
        context: Context,
        act: Act,
        now: int,
        watch: Watch,
        sources: SourceRules,
    ) -> None:
        super().__init__(connection.fetch, keys, renew, context, act, now, watch)
        self._connection = connection
        self._sources = sources
        self._committed = committed
        self.writes = Writes()
        self.effect: Effect | None = None
        """What is answered again to who asks for the same again; without one the unit is not what they asked for."""

    async def load_for_change(self, ids: Collection[str]) -> dict[str, Record]:
        """Whole records, locked against other writers until the unit ends."""
        return await self._known(await records.load_locked(self._fetch, self.context.org, ids))

    async def remember(self, reports: Mapping[bytes, tuple[str, bytes]]) -> None:
        """Stores, for slots of imported records, the patient's id and the digest of the report."""
        version = self._keys.index_version  # before others have a turn, in which it may become another
        await self.writes.flush(self._connection)
        await imported.store(self._connection, self.context.org, reports, version)

    async def place_hold(self, record: Record, reason: str) -> Hold:
        """A new legal hold on a locked record, by the caller and now; the record itself stays as it is."""
        hold = Hold(str(uuid7()), record.id, reason, self.context.who.sub, self.now)
        self._notebook.of(record).why = reason
        await holds.place(self._connection, self.context.org, hold)
        self.effect = Effect(Kind.HOLD_PLACED, record.id, record.version, hold.id)
        return hold

    async def lift_hold(self, record: Record, hold: Hold) -> Hold:
        """The hold of a locked record after its end. Raises `Invalid` where somebody else has lifted it."""
        self._notebook.of(record).why = hold.reason
        if not await holds.lift(self._connection, self.context.org, hold.id, self.context.who.sub, self.now):
            raise Invalid("input.holdId", "already_lifted")
        self.effect = Effect(Kind.HOLD_LIFTED, record.id, record.version, hold.id)
        return replace(hold, lifted_by=self.context.who.sub, lifted_at=self.now)

    async def break_glass(self, record: Record, grant: Grant, words: str) -> Grant:
        """Stores a new grant for a locked record, with the words that justify it.

        Returns it, or the one that goes on unreviewed, which is left as it is. Raises `KeyUnavailable`, `RateLimited`.
        """
        note = self._notebook.of(record)
        if known := await break_glass.known(self._fetch, self.context, grant):
            note.why, note.broken, note.returned = AGAIN, known.id, frozenset({"text"})
            self.effect = Effect(Kind.GRANT_GIVEN, record.id, record.version, known.id)
            return known
        note.why, note.broken, note.count = grant.reason, grant.id, (grant.expires_at - grant.requested_at) // MINUTE
        note.sealed = await self._seal(record.id, Detail(grant.id, Act.BREAKGLASS), words)
        await break_glass.add(self._connection, self.context.org, grant)
        self.effect = Effect(Kind.GRANT_GIVEN, record.id, record.version, grant.id)
        return grant

    async def revoke(self, entry: Revocation, why: str) -> None:
        """Stores tokens that are not believed any more, with an event of the entry's id; `why` is a code."""
        await entry.store(self._connection)
        self.remark(ref=entry.id, why=why)

    async def review(
        self, grant: Grant, verdict: str, patient_id: str | None, words: str | None, shown: Iterable[str] = ()
    ) -> Grant:
        """Enters the caller's verdict on a grant; `words` are for a patient who is locked. Raises `Invalid`.

        `shown` names what of the words of both sides the answer will tell.
        """
        if not await break_glass.review(self._connection, self.context, grant.id, verdict, self.now):
            raise Invalid("input.grantId", "already_reviewed")
        sealed = await self._seal(patient_id, Detail(grant.id, Act.REVIEW), words) if patient_id and words else None
        self.remark(pat=grant.subject, ref=grant.id, why=verdict, sealed=sealed, fld=tuple(sorted(shown)))
        self.effect = Effect(Kind.GRANT_REVIEWED, patient_id, 0, grant.id)
        who = self.context.who
        return replace(grant, reviewer_issuer=who.iss, reviewer=who.sub, reviewed_at=self.now, verdict=verdict)

    async def _seal(self, patient_id: str, detail: Detail, words: str) -> str:
        return await details.seal(self._connection, self._keys, self.context, patient_id, detail, words, self.now)

    async def add_code(self, record: Record, point: Mapping[str, Any], code: str) -> None:
        """Stores a one-time code for a contact point of a locked record. Raises `RateLimited`, `KeyUnavailable`."""
        about = await contact_codes.add(
            self._connection, self._keys, self.context.org, record.id, point, code, self.now
        )
        note = self._notebook.of(record)
        note.about, note.why, note.returned = about, "CODE_SENT", frozenset({"contactPoints"})
        self.effect = Effect(Kind.CODE, record.id, record.version, f"{channel_of(point)} {point['id']}")

    async def try_code(self, record: Record, point: Mapping[str, Any], code: str) -> bool | None:
        """See `contact_codes.tried`: nothing may be raised in this unit afterwards, or the try would not be counted."""
        return await contact_codes.tried(
            self._connection, self._keys, self.context.org, record.id, point, code, self.now
        )

    async def end_codes(self, record: Record, point_id: str) -> None:
        """No code that was sent to the contact point serves any more."""
        await contact_codes.end(self._connection, self.context.org, record.id, point_id, self.now)

    def flag(self, record: Record, flag: str) -> None:
        """Adds a word of `FLAGS` to the patient's event."""
        note = self._notebook.of(record)
        note.circumstances = (*note.circumstances, flag)

    async def take_in(self, gateway: str, message_id: str, said: Answered, received_at: int) -> Answered | None:
        """Takes a message in; what it said and was answered before, where it was taken in before: then nothing is done.

        Who takes the same one at this moment goes first or waits here.
        """
        if await messages.claim(self._connection, self.context.org, gateway, message_id, said, received_at):
            return None
        return await messages.known(self._fetch, self.context.org, gateway, message_id)

    async def let_wait(self, waiting: Iterable[Waiting]) -> None:
        """Puts messages into the queue of those that staff have to read."""
        await messages.wait(self._connection, self.context.org, waiting)

    async def settle(self, waiting_id: str) -> None:
        """Takes a message out of that queue."""
        await messages.close(self._connection, self.context.org, waiting_id, self.now)

    async def suppress(self, values: Iterable[tuple[str, str | bytes]], why: str) -> None:
        """Leaves these (channel, number or mailbox) alone from now on, whoever they belong to; `why` is a code."""
        await messages.suppress(self._connection, self._keys, self.context.org, values, self.now, why)

    async def release(self, values: Iterable[tuple[str, str | bytes]], before: int) -> None:
        """Ends that where it began before a moment (microseconds, UTC); see `messages.release`."""
        await messages.release(self._connection, self._keys, self.context.org, values, before)

    def number_digest(self, channel: str, value: str) -> bytes | None:
        """The keyed hash of a number or mailbox; see `messages.number_digest`."""
        return messages.number_digest(self._keys, self.context.org, channel, value)

    def hear(self, record: Record, why: str) -> None:
        """Gives the patient an event of a message, with `why`, a code; also where it changes nothing of the record."""
        self._notebook.of(record).why = why

    def create(self, values: Mapping[str, Any], system: str) -> Record:
        """A new record with these canonical values, under a fresh UUIDv7."""
        record = changing.new_record(self.context.org, str(uuid7()), uuid4().hex, self.now)
        self._change(record, values, system, Act.CREATE)
        self.effect = Effect(Kind.PROFILE, record.id, record.version)
        return record

    def word(self, system: str) -> Note:
        """What the caller says now through an application or as an imported source, for `precedence`."""
        imported = self._act is Act.IMPORT
        voice = Voice.SYSTEM if imported else voice_of(frozenset(map(Role, self.context.who.roles)))
        return Note(voice, "import" if imported else "api", system, rfc3339(self.now))

    def weigh(self, record: Record, groups: Iterable[Group], system: str) -> dict[Group, Verdict]:
        """For each of the groups whether the caller's word may replace what stands there."""
        known, word = self.notes(record), self.word(system)
        return {group: may_replace(group, known.get(group), word, self._sources) for group in groups}

    def change(
        self,
        record: Record,
        values: Mapping[str, Any],
        system: str,
        *,
        speaks: bool = True,
        overruled: Mapping[Group, Rule] = _NOTHING,
    ) -> list[str]:
        """Applies canonical values to a locked record; returns the names that really changed.

        With `speaks` false they are marks beside what somebody said, whose word it stays. `overruled` are groups in
        which the caller said something else that is not taken: that it was said is remembered, with the rule.
        """
        self._notebook.of(record)  # as it was: nobody changes away what their look is flagged for
        changed = self._change(record, values, system, Act.UPDATE, speaks=speaks, overruled=overruled)
        self.effect = Effect(Kind.PROFILE, record.id, record.version)
        return changed

    async def erase(
        self, record: Record, classes: frozenset[KeyClass] | None, why: str, index_versions: Iterable[int] = ()
    ) -> Erasure:
        """Erases these classes of a locked record, all of it with None; `why` is a reason code. Raises `LegalHold`.

        `index_versions` are those of the key store, of which this process may have been given none.
        """
        self._notebook.of(record)  # while it can still be opened
        known = {*self._keys.index_versions(), *index_versions}
        before = record.version
        erasure = await erasing.erase(self._connection, self.context, record, classes, why, self.now, known)
        self._erased(record, before, record.classes if classes is None else classes, why)
        self.effect = Effect(Kind.RECEIPT, record.id, record.version, str(erasure.seq))
        return erasure

    async def erase_again(self, link: Link) -> None:
        """Does here what a copy of the ledger says was done, and takes its entry over word for word."""
        told = link.erasure()
        record = (await self.load_for_change([told.patient_id])).get(told.patient_id)
        if record is None:
            self.remark(why=told.reason)
        else:
            before = record.version
            left = await erasing.erase_again(self._connection, record, told, self.now)
            self._erased(record, before, left, told.reason)
        await ledger.repeat(self._connection, [link])

    def _erased(self, record: Record, before: int, classes: frozenset[KeyClass], why: str) -> None:
        names = {field.name for key_class in classes for field in CLASSES[key_class]}
        if record.version != before:
            kind = ChangeKind.ERASED if record.status == "erased" else ChangeKind.CHANGED
            changing.announce(self.writes, record, names, Maker.of(self.context, Act.ERASE), kind)
        note = self._notebook.of(record)
        note.act, note.why = Act.ERASE, why
        note.changed |= names

    def _change(
        self,
        record: Record,
        values: Mapping[str, Any],
        system: str,
        act: Act,
        *,
        speaks: bool = True,
        overruled: Mapping[Group, Rule] = _NOTHING,
    ) -> list[str]:
        word = self.word(system)
        maker = Maker.of(self.context, act, word.channel, system)
        source = Source(word, self.context.who.sub, self.now, maker, self._sources, speaks, overruled)
        changed = changing.apply(self._keys, self.writes, record, values, source)
        note = self._notebook.of(record)
        note.act = act
        note.changed |= frozenset(changed)
        return changed


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
        self._sources = sources

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
            now = self.clock()
            unit = WritingUnit(connection, self.keys, self._renew, context, act, now, self._watch, self._sources)
            claimed = await retries.claim(connection, self.keys, context)
            yield unit
            await unit.writes.flush(connection)
            if claimed and unit.effect:
                await retries.complete(connection, claimed, context.org, unit.effect, unit.now)
            entries = self.log.stage(context.org, unit.events())
            await stage_rows(connection, context.org, entries)
        self._committed(context.org)
        await self.log.sequence(context.org, entries)

    async def undone(self, context: Context) -> None:
        """Lets what the context's `retry` names be done again, because it failed after it was stored."""
        async with self.database.transaction(context.org) as connection:
            await retries.forget(connection, self.keys, context)

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
