"""The reading half of a unit of work: loads sealed records and opens what it is told to. Opening is recording.

Plaintext exists only as the result of `open` and of `judge`, and the same call notes patient and fields.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from auth.vocabulary import Group
from crm.audit.event import Act, Event, Outcome
from crm.catalogue import BY_NAME, BY_PATH, Index
from crm.crypto.keyset import KeySet
from crm.domain.circumstances import Watch
from crm.domain.precedence import Note
from crm.errors import CrmError, Erased, NotFound
from crm.store import (
    break_glass,
    details,
    duplicates,
    history,
    holds,
    imported,
    ledger,
    merges,
    messages,
    opening,
    past,
    provenance,
    redirecting,
    search,
    unmet,
)
from crm.store import record as records
from crm.store.break_glass import Grant
from crm.store.context import Context
from crm.store.database import Fetch
from crm.store.details import Detail
from crm.store.duplicates import Found
from crm.store.history import Version
from crm.store.holds import Hold
from crm.store.ledger import Erasure
from crm.store.merges import Merge, Span
from crm.store.notes import Notebook
from crm.store.record import Record
from crm.store.refusing import refused
from crm.store.subjects import patients_of
from crm.store.view import View
from crm.store.watching import Watcher

__all__ = ["Judged", "Renew", "Unit"]

Renew = Callable[[], Awaitable[None]]


class Judged(Protocol):
    """What a decision about a patient came to, and what of it tells something of them.

    `disclosed` are the public paths that the answer shows, `masked` those of which it tells only that there is
    something; `refused` says that it is recorded as a denial, `why` is its first reason code, `flags` are words of
    `FLAGS`, and `id` names the decision in the event.
    """

    @property
    def disclosed(self) -> frozenset[str]: ...
    @property
    def masked(self) -> frozenset[str]: ...
    @property
    def refused(self) -> bool: ...
    @property
    def why(self) -> str: ...
    @property
    def flags(self) -> tuple[str, ...]: ...
    @property
    def id(self) -> str | None: ...


J = TypeVar("J", bound=Judged)

_NONE_SHOWN = frozenset[str]()

_FORMER: Final = "HISTORY"
"""Why somebody reads what a record says no more."""


class _Shown(NamedTuple):
    """Catalogue names that a view opens, and those of them masked; the paths it answers, and those not in clear."""

    names: frozenset[str]
    masked: frozenset[str]
    told: frozenset[str]
    hidden: frozenset[str]


@lru_cache(maxsize=1024)
def _shown(clear: frozenset[str], masked: frozenset[str], withheld: frozenset[str]) -> _Shown:
    """Kept, because the same views come again."""
    covered = frozenset(BY_PATH[path].name for path in masked)
    names = covered.union(BY_PATH[path].name for path in clear)
    return _Shown(names, covered, clear | masked, masked | withheld)


@lru_cache(maxsize=1024)
def _joined(names: frozenset[str], more: frozenset[str]) -> frozenset[str]:
    """Both; kept, because a set that is known is looked up at less cost than a new one."""
    return names | more


class Unit:
    """A reading unit: loads sealed records and opens what it is told to."""

    def __init__(
        self, fetch: Fetch, keys: KeySet, renew: Renew, context: Context, act: Act, now: int, watch: Watch
    ) -> None:
        self.context = context
        self.now = now
        self._fetch = fetch
        self._keys = keys
        self._renew = renew
        self._act = act
        self._watcher = Watcher(watch, keys, context.caller, now)
        self._notebook = Notebook(context, act, self._watcher)

    @property
    def today(self) -> str:
        """The day in UTC, YYYY-MM-DD, on which periods are judged."""
        return self._watcher.today

    async def load(self, ids: Collection[str], names: Iterable[str]) -> dict[str, Record]:
        """Sealed records by id, with the classes that `names` and the flags need; unknown ids are absent.

        Under the id of a record that was merged into another stands that one. Raises `Tampered`, `KeyUnavailable`.
        """
        needed = _joined(frozenset(names), self._watcher.fields)
        found = await self._known(await records.load(self._fetch, self.context.org, ids, needed))  # one statement
        if redirecting.any_merged(found):
            load = partial(self.load_as_they_are, names=needed)
            return await redirecting.followed(self._fetch, self._keys, self._known, self.context.org, found, load)
        return found

    async def load_as_they_are(self, ids: Collection[str], names: Iterable[str]) -> dict[str, Record]:
        """The same with just the classes of `names`, and each record as itself, whatever it was merged into."""
        return await self._known(await records.load(self._fetch, self.context.org, ids, names)) if ids else {}

    async def same(self, patient_id: str, ids: Sequence[str]) -> list[str]:
        """Those of the ids that lead to the same record as `patient_id`; unknown ones lead nowhere."""
        found = await self.load({patient_id, *ids}, ())
        own = found.get(patient_id)
        return [each for each in ids if own is not None and each in found and found[each].id == own.id]

    async def merges(self, record: Record) -> list[Merge]:
        """The merges of the record and of those merged into it, the oldest first, also those that were undone."""
        ids = [record.id, *await self.superseded(record)]
        return await merges.of_record(self._fetch, self.context.org, ids)

    async def family(self, record: Record) -> list[Merge]:
        """Every merge by which the record ever had to do with another, see `merges.others`; most have none."""
        return await merges.family(self._fetch, self.context.org, [record.id])

    async def spans(self, patient_id: str) -> list[Span]:
        """The former versions of other records that hold what was said of a patient, until their merge was undone."""
        return merges.spans(await merges.family(self._fetch, self.context.org, [patient_id]), patient_id)

    async def merge_of(self, duplicate_id: str) -> Merge | None:
        """The merge by which a record is merged into another now."""
        return await merges.standing(self._fetch, self.context.org, duplicate_id)

    async def superseded(self, record: Record) -> list[str]:
        """The ids of all records that were merged into this one, directly or through others."""
        return await redirecting.superseded(self._fetch, self.context.org, record.id)

    async def versions(self, patient_id: str, below: int, limit: int) -> list[Version]:
        """At most `limit` versions older than `below`, the newest first; whoever answers of them notes the patient."""
        return await history.page(self._fetch, self.context.org, patient_id, below, limit)

    async def version_at(self, patient_id: str, time: int) -> Version | None:
        """The version that was the newest at a time (microseconds since 1970, UTC); None where none is kept."""
        return await history.at(self._fetch, self.context.org, patient_id, time)

    async def version(self, patient_id: str, number: int) -> Version | None:
        """That version; None where it is not kept."""
        return (await history.chosen(self._fetch, self.context.org, patient_id, [number])).get(number)

    async def load_past(
        self, present: Record, versions: Sequence[Version], names: Iterable[str], day: str | None = None
    ) -> list[Record]:
        """A record as it was in these versions, in step with them, to be opened like the present one.

        `present` was loaded with `restricted`, which withholds of former versions too, and is verified here. `day`
        (YYYY-MM-DD) is the one on which periods are judged, by default the first of each version. Raises `Tampered`,
        `KeyUnavailable`, and `Erased` where the patient is erased meanwhile.
        """
        self.current(present, ["restricted"])
        if not versions:
            return []
        numbers, classes = [version.version for version in versions], records.classes_of(frozenset(names))
        rows = await past.rows(self._fetch, self.context.org, present.id, classes, numbers)
        found = [past.as_it_was(present, version, rows, day) for version in versions]
        if any(record.classes & classes - record.rows.keys() for record in found):
            again = (await records.load(self._fetch, self.context.org, [present.id], ())).get(present.id)
            if again is None or again.status == "erased":
                raise Erased
        await self._known({str(number): record for number, record in enumerate(found)})
        return found

    async def ids(self, after: str, first: int) -> list[str]:
        """At most `first` ids of the organisation's active patients behind `after`, ascending."""
        return await records.active_ids(self._fetch, self.context.org, after, first)

    async def candidates(self, index: Index, term: bytes, after: str) -> list[str]:
        """Ids after `after` that a blind index gives for a normalised term; see `compare`."""
        return await search.candidates(self._fetch, self._keys, self.context.org, index, term, after)

    async def any_candidates(self, index: Index, terms: Iterable[bytes], after: str, limit: int) -> list[str]:
        """At most `limit` ids after `after` that a blind index gives for any of these terms; see `compare`."""
        return await search.any_candidates(self._fetch, self._keys, self.context.org, index, terms, after, limit)

    async def unmet(self, since: int, until: int, after: str, limit: int) -> list[unmet.Unmet]:
        """Patients of whom a need was not met in this time; see `unmet.patients`. Whoever asks remarks on it."""
        return await unmet.patients(self._fetch, self.context.org, since, until, after, limit)

    async def _known(self, found: dict[str, Record]) -> dict[str, Record]:
        """The same records, once this process has looked for an epoch that one of them names and it does not know."""
        for record in found.values():
            for key_class, row in record.rows.items():
                if row.wrapped is not None and not self._keys.knows(key_class, row.wrapped):
                    await self._renew()
                    return found
        return found

    def open(self, record: Record, view: View) -> dict[str, Any]:
        """The profile: id, version and every granted field that has a value, keyed by catalogue name.

        The paths go into the patient's event, whether or not they held a value. The value of a field whose class was
        erased is an instance of `Erased`, and its paths are not among those returned. Raises `Erased` for the whole.
        """
        if record.status == "erased":
            raise Erased
        names, masked, told, hidden = _shown(view.clear, view.masked, view.withheld)
        beside = frozenset[str]() if record.past else self._watcher.beside(record, names)
        opened = _joined(names, beside)
        values = opening.reveal(self._keys, record, opened, record.past.day if record.past else self.today)
        note = self._notebook.of(record, values, opened)
        note.why = note.why or (_FORMER if record.past else "")
        for name in beside:
            values.pop(name, None)
        for name in masked & values.keys() if masked else ():
            values[name] = BY_NAME[name].mask(values[name])
        if "provenance" in values:
            values["provenance"] = [entry for entry in values["provenance"] if entry["group"] in view.groups]
        note.show(told, hidden)
        note.broken = note.broken or view.broken
        for name in opening.erased(record, names):
            values[name] = note.erased(name)
        return {"id": record.id, "version": record.version, **values}

    def share(self, record: Record, others: Iterable[Record]) -> None:
        """Gives these patients, as they were, the event that an opened record has: it held what they had said."""
        note = self._notebook.of(record)
        for other in others:
            theirs = self._notebook.of(other)
            theirs.why = note.why
            theirs.show(note.returned, note.masked)

    def judge(
        self,
        record: Record,
        names: frozenset[str],
        decide: Callable[[Mapping[str, Any]], J],
        broken: str | None = None,
    ) -> J:
        """What `decide` makes of the values of `names`: only what it says that it discloses may be answered.

        Values are by catalogue name; absent is what nobody filled in and what was erased. `broken` is the id of the
        break-glass grant under which the record is opened. A record may be judged again: the event tells of the last.
        """
        if beside := self._watcher.beside(record, names):
            names |= beside
        values = opening.reveal(self._keys, record, names, self.today)
        note = self._notebook.of(record, values, names)
        judged = decide(values)
        note.returned, note.masked = judged.disclosed, judged.masked
        note.out, note.why = Outcome.DENIED if judged.refused else Outcome.OK, judged.why
        note.broken, note.about, note.found = broken, judged.id, judged.flags
        return judged

    async def suppressed(self, values: Collection[tuple[str, str]]) -> frozenset[str]:
        """Those of the values (channel, number or mailbox) from which somebody said stop; see `messages.suppressed`."""
        return await messages.suppressed(self._fetch, self._keys, self.context.org, values)

    async def holders(self, index: Index, terms: Iterable[bytes]) -> dict[bytes, list[str]]:
        """For each normalised term the ids that may hold it; see `compare`."""
        return await search.holders(self._fetch, self._keys, self.context.org, index, terms)

    async def slots(self, slots: Iterable[bytes]) -> dict[bytes, tuple[str, bytes]]:
        """For each slot of imported records that is known: the patient's id and the digest of its last report."""
        return await imported.load(self._fetch, self.context.org, set(slots))

    def current(self, record: Record, names: Iterable[str]) -> dict[str, Any]:
        """Values that a decision or change of the service itself needs; none of them may be answered to anyone."""
        return opening.reveal(self._keys, record, names, self.today)

    async def erasures(self, patient_id: str) -> list[Erasure]:
        """What was erased of a patient, in order; see `touch`."""
        return await ledger.entries_of(self._fetch, self.context.org, patient_id)

    def notes(self, record: Record) -> dict[Group, Note]:
        """For each field group somebody filled in: whose word stands."""
        return provenance.notes(record)

    async def holds(self, record: Record) -> list[Hold]:
        """The legal holds on the record, also those that were lifted; looking at them is noted."""
        self.touch(record)
        return await holds.all_of(self._fetch, self.context.org, record.id)

    async def grants(self, found: Iterable[Record]) -> dict[str, str]:
        """The caller's active break-glass grants for these records: by patient id, the grant's id. One statement."""
        named = {record.audit_subject: record.id for record in found if record.audit_subject}
        active = await break_glass.active(self._fetch, self.context, named.keys(), self.now)
        return {named[subject]: grant_id for subject, grant_id in active.items()}

    async def grant(self, grant_id: str) -> tuple[Grant, str | None]:
        """A break-glass grant, and the patient's id unless the patient was erased. Raises `NotFound`."""
        found = await break_glass.find(self._fetch, self.context.org, grant_id)
        if found is None:
            raise NotFound
        return found, (await patients_of(self._fetch, self.context.org, [found.subject])).get(found.subject)

    async def openings(self, ids: Sequence[str]) -> dict[str, int]:
        """How often the record was opened under each of these grants; see `break_glass.openings`."""
        return await break_glass.openings(self._fetch, self.context.org, ids)

    async def words(self, kinds: Collection[Act], patients: Mapping[str, str]) -> dict[Detail, str | CrmError]:
        """Words beside events of these kinds, see `details.read`; whoever asks notes that they were opened."""
        asked = [kind.value for kind in kinds]
        return await details.read(self._fetch, self._keys, self._renew, self.context, asked, patients)

    def compare(self, record: Record, names: Iterable[str], matches: Callable[[Mapping[str, Any]], bool]) -> bool:
        """Whether a candidate of a search is a true match; nothing of it is returned, so nothing is noted."""
        return matches(opening.reveal(self._keys, record, names, self.today))

    def compared(self, record: Record, names: frozenset[str]) -> dict[str, Any]:
        """Values of which the caller is told only how they compare with another record's; that is noted as masked."""
        values = opening.reveal(self._keys, record, names, self.today)
        paths = frozenset(path for name in names for path in BY_NAME[name].paths)
        self._notebook.of(record, values, names).show(_NONE_SHOWN, paths)
        return values

    async def pairs(self, after: str, rows: int) -> list[Found]:
        """Pairs of records that may be one person; see `duplicates.page`."""
        return await duplicates.page(self._fetch, self.context.org, after, rows)

    async def pairs_of(self, record: Record, others: Collection[str]) -> dict[str, Found]:
        """The stored pairs of a record with any of the others, by the other's id."""
        return await duplicates.known(self._fetch, self.context.org, record.id, others)

    def touch(self, record: Record, why: str = "") -> None:
        """Gives the patient an event although nothing of the record is answered; `why` is a code."""
        note = self._notebook.of(record)
        note.why = why or note.why

    def notify(self, record: Record, names: frozenset[str], broken: str | None = None) -> None:
        """Notes that the caller is told that fields of these names changed, and nothing else of the record.

        `broken` is the id of the break-glass grant under which they are.
        """
        note = self._notebook.of(record)
        note.changed |= names
        note.broken = note.broken or broken

    def remark(self, **facts: Any) -> None:
        """Adds one event of its own, such as the count of a search."""
        self._notebook.remark(facts)

    async def refuse(self, ids: Sequence[str], why: str) -> None:
        """Adds the events of ids that this unit refuses while it answers others."""
        denied = {"out": Outcome.DENIED, "why": why, "flg": self._watcher.always}
        for facts in await refused(self._fetch, self.context, ids, denied):
            self._notebook.remark(facts)

    def events(self) -> list[Event]:
        """One event per patient touched, in the order of touching, then the unit's own remarks."""
        return self._notebook.events()
