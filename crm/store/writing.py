"""The writing half of a unit of work: locks records and changes them, inside one transaction. Decides nothing.

What is written waits in `changing.Writes` for the end of the unit; what it did goes into the patients' events.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

from uuid_utils import uuid7

from auth.roles import Role
from auth.vocabulary import Group
from crm.audit.event import Act, recorded_subject, rfc3339
from crm.catalogue import CLASSES, KeyClass
from crm.crypto.keyset import KeySet
from crm.domain.break_glass import AGAIN, MINUTE
from crm.domain.circumstances import Watch
from crm.domain.contact_codes import channel_of
from crm.domain.precedence import Note, Rule, SourceRules, Verdict, Voice, may_replace, voice_of
from crm.errors import Invalid
from crm.store import (
    break_glass,
    changing,
    contact_codes,
    details,
    duplicates,
    erasing,
    holds,
    imported,
    ledger,
    merges,
    messages,
    redirecting,
)
from crm.store import record as records
from crm.store.break_glass import Grant
from crm.store.changing import Turn, Writes
from crm.store.context import Context
from crm.store.database import Connection
from crm.store.details import Detail
from crm.store.duplicates import Pair
from crm.store.feed import ChangeKind
from crm.store.history import Maker
from crm.store.holds import Hold
from crm.store.ledger import Erasure, Link
from crm.store.merges import Merge
from crm.store.messages import Answered, Waiting
from crm.store.provenance import Source
from crm.store.reading import Renew, Unit
from crm.store.record import Record
from crm.store.retries import Effect, Kind
from crm.store.revoked_tokens import Revocation

__all__ = ["WritingUnit"]

_NOTHING: Mapping[Group, Any] = MappingProxyType({})


class Merged(NamedTuple):
    """That a change was put on top of others: the version it is based on, and the paths that changed since."""

    version: int
    paths: tuple[str, ...]


class WritingUnit(Unit):
    """A unit inside one transaction: it can also lock and change records."""

    def __init__(
        self,
        connection: Connection,
        keys: KeySet,
        renew: Renew,
        context: Context,
        act: Act,
        clock: Callable[[], int],
        watch: Watch,
        sources: SourceRules,
    ) -> None:
        super().__init__(connection.fetch, keys, renew, context, act, clock(), watch)
        self._connection = connection
        self._clock = clock
        self._sources = sources
        self.writes = Writes()
        self.merged: Merged | None = None
        self.effect: Effect | None = None
        """What is answered again to who asks for the same again; without one the unit is not what they asked for."""

    async def load_for_change(self, ids: Collection[str]) -> dict[str, Record]:
        """Whole records, locked against other writers until the unit ends; merged ones as `Unit.load` has them.

        `now` is the time at which they were got: the lock may have been waited for, and readers answered meanwhile.
        """
        found = await redirecting.locked(self._fetch, self._keys, self._known, self.context.org, ids)
        self.now = self._clock()
        return found

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

    async def add_code(self, record: Record, point: Mapping[str, Any], code: str) -> Effect:
        """Stores a one-time code for a contact point of a locked record. Raises `RateLimited`, `KeyUnavailable`.

        What it answers is done once the code was sent, and not by this unit.
        """
        about = await contact_codes.add(
            self._connection, self._keys, self.context.org, record.id, point, code, self.now
        )
        note = self._notebook.of(record)
        note.about, note.why, note.returned = about, "CODE_SENT", frozenset({"contactPoints"})
        return Effect(Kind.CODE, record.id, record.version, f"{channel_of(point)} {point['id']}")

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

    async def pair_up(self, pairs: Iterable[Pair], reopened: Collection[str], gone: Collection[str]) -> None:
        """Stores pairs of records that may be one person; see `duplicates.settle` for the others."""
        await duplicates.add(self._connection, self.context.org, pairs, self.now)
        await duplicates.settle(self._connection, self.context.org, reopened, gone)

    async def say_of_pair(self, first: Record, second: Record, verdict: str, identities: bytes) -> None:
        """Enters what the caller says of two records, who each get an event of it."""
        for record in (first, second):
            self.touch(record, verdict)
        pair, who = (first.id, second.id), (self.context.who.iss, self.context.who.sub)
        await duplicates.say(self._connection, self.context.org, pair, verdict, identities, who, self.now)

    def hear(self, record: Record, why: str) -> None:
        """Gives the patient an event of a message, with `why`, a code; also where it changes nothing of the record."""
        self._notebook.of(record).why = why

    def put_on_top(self, record: Record, merged: Merged, why: str) -> None:
        """Notes that a locked record is changed although it is not the version that the change is based on."""
        self.merged = merged
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

    async def lock_as_they_are(self, ids: Collection[str]) -> dict[str, Record]:
        """Whole records by id, each as itself whatever it was merged into, locked in the order in which all lock.

        `now` is renewed as by `load_for_change`.
        """
        found = await self._known(await records.load_locked(self._fetch, self.context.org, ids))
        self.now = self._clock()
        return found

    def turn(
        self,
        record: Record,
        values: Mapping[str, Any],
        system: str,
        turn: Turn,
        why: str,
        carried: Mapping[Group, dict[str, Any]] = _NOTHING,
    ) -> None:
        """Gives a locked record the values that a merge, or the end of one, leaves it with; `why` is a code.

        They stay the word of who said them: of whom `carried` names, as notes of provenance are stored, or as before.
        """
        self._notebook.of(record)  # while it is as it was
        act = Act.UNMERGE if turn.kind is ChangeKind.UNMERGED else Act.MERGE
        word = self.word(system)
        maker = Maker.of(self.context, act, word.channel, system)
        source = Source(word, self.context.who.sub, self.now, maker, self._sources, False, carried=carried)
        changed = changing.apply(self._keys, self.writes, record, values, source, turn)
        note = self._notebook.of(record)
        note.act, note.why = act, why
        note.changed |= frozenset(changed)

    async def join(self, merge: Merge) -> None:
        """Stores a merge of two locked records, and hands what hangs at the duplicate over to the survivor."""
        await self.writes.flush(self._connection)
        await merges.add(self._connection, self.context.org, merge)
        await merges.carry(self._connection, self.context.org, merge.duplicate_id, merge.survivor_id, self.now)
        self.effect = Effect(Kind.PROFILE, merge.survivor_id, merge.survivor_version)

    async def part(
        self,
        merge: Merge,
        survivor: Record,
        reported: Iterable[Mapping[str, str]],
        waiting: Collection[str],
        to_review: Sequence[str],
    ) -> None:
        """Undoes a merge: gives the duplicate back what imports knew of it (`reported`) and its waiting messages.

        Legal holds that came with the duplicate go back to it. Those still active hold both from now on: whoever placed
        one during the merge meant the record of both, and of the others nobody shall lose what they were kept for.
        """
        org = self.context.org
        await self.writes.flush(self._connection)
        slots = {imported.slot(self._keys, org, entry) for entry in reported}
        await merges.give_back(self._connection, org, merge.survivor_id, merge.duplicate_id, slots, waiting)
        active = await holds.active(self._fetch, org, merge.survivor_id)
        await merges.give_back_holds(self._connection, org, merge)
        for hold in active:
            other = merge.survivor_id if hold.id in merge.holds else merge.duplicate_id
            await holds.place(self._connection, org, replace(hold, id=str(uuid7()), patient_id=other))
        by = recorded_subject(self.context.who.sub)
        await merges.undo(self._connection, org, merge, by, self.now, to_review, survivor.version)
        self.effect = Effect(Kind.PROFILE, survivor.id, survivor.version)

    async def erase(
        self, record: Record, classes: frozenset[KeyClass] | None, why: str, index_versions: Iterable[int] = ()
    ) -> Erasure:
        """Erases these classes of a locked record, all of it with None; `why` is a reason code. Raises `LegalHold`.

        Also of what others, locked as well, held of it in former versions until a merge was undone.
        `index_versions` are those of the key store, of which this process may have been given none.
        """
        self._notebook.of(record)  # while it can still be opened
        known = {*self._keys.index_versions(), *index_versions}
        before = record.version
        erasure = await erasing.erase(
            self._connection, self.context, record, classes, why, self.now, known, await self.spans(record.id)
        )
        self._erased(record, before, record.classes if classes is None else classes, why)
        self.effect = Effect(Kind.RECEIPT, record.id, record.version, str(erasure.seq))
        return erasure

    async def erase_again(self, link: Link) -> None:
        """Does here what a copy of the ledger says was done, and takes its entry over word for word."""
        told = link.erasure()
        spans = await self.spans(told.patient_id)
        ids = {told.patient_id, *(span.patient_id for span in spans)}
        record = (await self.lock_as_they_are(ids)).get(told.patient_id)
        if record is None:
            self.remark(why=told.reason)
        else:
            before = record.version
            left = await erasing.erase_again(self._connection, record, told, self.now, spans)
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
