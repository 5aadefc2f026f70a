"""Possible duplicates: pairs of records that may be about one person, found, shown with their likeness, and reviewed.

Candidates come from the blind indexes; how alike two records are, `crm.domain.likeness` says. Whoever is told how
fields compare must be allowed to read them in clear, and every record that is opened to compare it is on record. Nobody
is merged here.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

from auth import policy
from auth.actor import Actor
from auth.errors import ForbiddenField
from auth.policy import Action, Group
from crm.audit.event import Act, Outcome, rfc3339
from crm.catalogue import BY_NAME, INDEXES
from crm.domain.likeness import COMPARED, Band, Fact, Likeness, Traits, compare
from crm.errors import Erased, Invalid, NotFound, Tampered
from crm.services.profiles import AT_A_STRETCH, Page, Profiles, decode_cursor, encode_cursor
from crm.services.request import Request
from crm.store.context import Context
from crm.store.duplicates import NOT_DUPLICATE, Found, Pair
from crm.store.record import Record
from crm.store.refusing import reason
from crm.store.retries import Effect, Kind
from crm.store.unit import Store, Unit

__all__ = ["NEAREST", "Duplicates", "PairsPage", "Swept", "Verdict", "reviewed"]

_INDEXES: Final = tuple(
    index for index in INDEXES if index.name in {"identifier", "phone", "email", "full_name", "family_birth_date"}
)
_NAMES: Final = frozenset(COMPARED)
_PATHS: Final = frozenset(path for name in COMPARED for path in BY_NAME[name].paths)
_IDENTITY: Final = ("names", "birth_date", "identifiers")
_DIGESTED: Final = "reviewed duplicate"

_CROWD: Final = 50
"""Records under one term from which on it tells nobody apart: a switchboard, or the commonest names."""
NEAREST: Final = 100
"""Records that are compared with one record at most: those that share the most terms with it, and the rarest."""

_CHUNK: Final = 100


class Verdict(StrEnum):
    """What a person says of two records."""

    NOT_DUPLICATE = NOT_DUPLICATE
    UNDECIDED = "UNDECIDED"


@dataclass(slots=True)
class Swept:
    """What a sweep came to: records looked at, pairs that are new or open again, and what was passed over as a crowd.

    That is each term which more than `_CROWD` records share, and each record with more than `NEAREST` to compare it to.
    """

    records: int = 0
    found: int = 0
    crowded: int = 0


@dataclass(frozen=True, slots=True)
class PairsPage(Page):
    """One page of pairs. `end` is the cursor behind all that was looked at, None where there was nothing.

    `crowded` says of one record that not all were compared that share something with it; None of the list.
    """

    end: str | None = None
    crowded: bool | None = None


class Duplicates:
    """The use cases around pairs, and the sweep that finds them."""

    def __init__(self, store: Store, profiles: Profiles) -> None:
        self._store = store
        self._profiles = profiles

    async def page(self, actor: Actor, request: Request, first: int, after: str | None) -> PairsPage:
        """Of the next `first` pairs that a sweep found and nobody settled those that are alike still, as they are now.

        Raises what the policy refuses, also to a caller who may not read one of the compared fields.
        """
        context = await self._admit(actor, request, ())
        async with self._store.recording(context, Act.QUERY):
            place = "" if after is None else decode_cursor(after)
        async with self._store.reading(context, Act.QUERY) as unit:
            opened = _Opened(unit, actor)
            rows = await unit.pairs(place, first + 1)
            still = await self._still(opened, rows[:first])
            alike = [(row, likeness) for row, likeness in still if likeness is not None]
            nodes = [_told(opened, *row.pair, likeness, row) for row, likeness in alike]
            unit.remark(cnt=len(nodes), fld=tuple(_PATHS))
        cursors = [encode_cursor(row.id) for row, _ in alike]
        end = encode_cursor(still[-1][0].id) if still else None
        return PairsPage(nodes, cursors, len(rows) > first, after is not None, end)

    async def of_patient(
        self, actor: Actor, request: Request, patient_id: str, first: int, after: str | None
    ) -> PairsPage:
        """One page of the records that may be about the same person as this one, the most alike first, looked for now.

        Raises `NotFound`, `Erased`, and what `page` raises.
        """
        context = await self._admit(actor, request, [patient_id])
        async with self._store.recording(context, Act.QUERY, [patient_id]):
            skipped = 0 if after is None else _number(decode_cursor(after))
        async with self._store.reading(context, Act.QUERY, [patient_id]) as unit:
            record = _present((await unit.load([patient_id], _NAMES)).get(patient_id))
            opened = _Opened(unit, actor)
            swept = Swept()
            found = await self._alike(opened, [record], swept)
            found.sort(key=lambda one: (-one.likeness.bits, one.other))
            shown = found[skipped : skipped + first]
            nodes = [_told(opened, *_pair(one.of, one.other), one.likeness, one.known) for one in shown]
            unit.remark(cnt=len(nodes), fld=tuple(_PATHS))
        cursors = [encode_cursor(str(skipped + number)) for number in range(1, len(nodes) + 1)]
        end, more = cursors[-1] if cursors else None, len(found) > skipped + first
        return PairsPage(nodes, cursors, more, after is not None, end, swept.crowded > 0)

    async def review(
        self, actor: Actor, request: Request, patient_id: str, other_id: str, verdict: Verdict
    ) -> Mapping[str, Any]:
        """What a person says of two records; NOT_DUPLICATE hides the pair until either identity changes.

        Raises `Invalid` (`same_record`; `not_alike` for two that are not, and were not found before), `NotFound`,
        `Erased`, and what `page` raises.
        """
        context = await self._admit(actor, request, [patient_id, other_id])
        async with self._store.writing(context, Act.UPDATE, [patient_id, other_id]) as unit:
            records = await unit.load_for_change([patient_id, other_id])
            one, other = _present(records.get(patient_id)), _present(records.get(other_id))
            if one.id == other.id:
                raise Invalid("input.otherId", "same_record")
            opened = _Opened(unit, actor)
            first, second = sorted((one, other), key=lambda record: record.id)
            if not (opened.add(first) and opened.add(second)):
                raise Tampered
            known = await unit.pairs_of(first, [second.id])
            if not known and opened.likeness(first.id, second.id).band is Band.UNLIKELY:
                raise Invalid("input.otherId", "not_alike")
            await unit.say_of_pair(first, second, verdict.value, self._identities(opened, first, second))
            unit.effect = Effect(Kind.PAIR, one.id, one.version, f"{verdict.value} {other.id}")
            return reviewed(one.id, other.id, verdict.value, unit.now)

    async def sweep(self, actor: Actor, request: Request) -> Swept:
        """Looks through all records of the organisation for pairs, and stores those that are new.

        A pair of which somebody said that it is none comes back once an identity changed; any other goes once it is no
        longer alike. May be run at any time, also after a run that was killed. Raises what `page` raises.
        """
        context = await self._admit(actor, request, ())
        swept, after, more = Swept(), "", True
        while more:
            async with self._store.reading(context, Act.QUERY) as unit:
                ids = await unit.ids(after, _CHUNK)
                records = await unit.load(ids, _NAMES) if ids else {}
                found = await self._alike(_Opened(unit, actor), list(records.values()), swept)
                unit.remark(cnt=len(records))
            new = {_pair(one.of, one.other) for one in found if one.known is None}
            again = [one.known.id for one in found if one.known and one.known.verdict == NOT_DUPLICATE]
            if new or again:
                async with self._store.writing(context, Act.QUERY) as writing:
                    await writing.pair_up(sorted(new), again, ())
                    writing.remark(cnt=len(new) + len(again))
            swept.records += len(records)
            swept.found += len(new) + len(again)
            more, after = len(ids) == _CHUNK, ids[-1] if ids else ""
        await self._forget_unlike(actor, context)
        return swept

    async def _forget_unlike(self, actor: Actor, context: Context) -> None:
        """Removes the pairs that are not alike any more, but for those of which somebody said that they are none."""
        place, more = "", True
        while more:
            async with self._store.writing(context, Act.QUERY) as unit:
                rows = await unit.pairs(place, _CHUNK)
                still = await self._still(_Opened(unit, actor), rows)
                await unit.pair_up((), (), [row.id for row, likeness in still if likeness is None])
                unit.remark(cnt=len(rows))
            more, place = len(rows) == _CHUNK, rows[-1].id if rows else ""

    async def _admit(self, actor: Actor, request: Request, ids: Iterable[str]) -> Context:
        """The context of who may be told how the compared fields compare: who may merge, and read each of them."""
        named = list(ids)
        grant = await self._profiles.admit(actor, request, _PATHS, named, Action.MERGE, Act.QUERY)
        if grant.masked:
            async with self._store.recording(request.context(actor, grant.rule), Act.QUERY, named):
                raise ForbiddenField(grant.masked)
        return request.context(actor, grant.rule)

    async def _still(self, opened: "_Opened", rows: Iterable[Found]) -> list[tuple[Found, Likeness | None]]:
        """The stored pairs, with how alike they are; None where they are not any more, or not two records."""
        stored = list(rows)
        records = await opened.unit.load({name for row in stored for name in row.pair}, _NAMES) if stored else {}
        found: list[tuple[Found, Likeness | None]] = []
        for number, row in enumerate(stored, start=1):
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            pair = [records[name] for name in row.pair if name in records and records[name].id == name]
            likeness = opened.likeness(*row.pair) if len(pair) > 1 and all(map(opened.add, pair)) else None
            found.append((row, likeness if likeness and likeness.band is not Band.UNLIKELY else None))
        return found

    async def _alike(self, opened: "_Opened", records: Iterable[Record], swept: Swept) -> list["_Alike"]:
        """Pairs of these records with any other, each once, without those that were judged and have not changed."""
        mine = [record for record in records if opened.add(record)]
        near = await self._near(opened, mine, swept)
        strange = set().union(*near.values()) - opened.ids if near else set()
        loaded = await opened.unit.load(strange, _NAMES) if strange else {}
        for number, (name, record) in enumerate(loaded.items(), start=1):
            if number % AT_A_STRETCH == 0:
                await asyncio.sleep(0)
            if record.id == name:
                opened.add(record)
        found: list[_Alike] = []
        seen: set[frozenset[str]] = set()
        for record in mine:
            alike = {}
            for other in sorted(near[record.id] & opened.ids):
                likeness = opened.likeness(record.id, other)
                if likeness.band is not Band.UNLIKELY and frozenset((record.id, other)) not in seen:
                    alike[other] = likeness
            known = await opened.unit.pairs_of(record, alike) if alike else {}
            for other, likeness in alike.items():
                seen.add(frozenset((record.id, other)))
                if not self._settled(opened, known.get(other)):
                    found.append(_Alike(record.id, other, likeness, known.get(other)))
        return found

    async def _near(self, opened: "_Opened", records: Iterable[Record], swept: Swept) -> dict[str, set[str]]:
        """For each record the ids that share the most of its terms, `NEAREST` at most; one statement for each index."""
        shared: dict[str, dict[str, _Shared]] = {record.id: {} for record in records}
        for index in _INDEXES:
            holding: dict[bytes, list[str]] = defaultdict(list)
            for patient_id in shared:
                for term in index.terms(opened.values(patient_id)):
                    holding[term].append(patient_id)
            for term, ids in (await opened.unit.holders(index, holding)).items():
                if len(ids) > _CROWD:
                    swept.crowded += 1
                    continue
                for patient_id in holding[term]:
                    others = shared[patient_id]
                    for name in ids:
                        others[name] = others.get(name, _Shared(0, 0.0)).and_one_of(len(ids))
        return {patient_id: _nearest(patient_id, others, swept) for patient_id, others in shared.items()}

    def _settled(self, opened: "_Opened", known: Found | None) -> bool:
        """Whether somebody said that the two are not one, of who they are now."""
        if known is None or known.verdict != NOT_DUPLICATE:
            return False
        return known.identities == self._identities(opened, *map(opened.record, known.pair))

    def _identities(self, opened: "_Opened", first: Record, second: Record) -> bytes:
        """A keyed digest of who two people are, the smaller id first: without the key nobody can test a guess."""
        who = [[opened.values(record.id).get(name) for name in _IDENTITY] for record in (first, second)]
        material = orjson.dumps(who, option=orjson.OPT_SORT_KEYS)
        return self._store.keys.lasting_digest(first.org, _DIGESTED, material)


class _Shared(NamedTuple):
    """How many terms somebody shares with a record, and how rare these are."""

    terms: int
    rarity: float

    def and_one_of(self, holders: int) -> "_Shared":
        """With one term more, which so many records have."""
        return _Shared(self.terms + 1, self.rarity + 1 / holders)


def _nearest(patient_id: str, others: Mapping[str, _Shared], swept: Swept) -> set[str]:
    """Those who share the most, and of as many the rarest."""
    strange = sorted(others.keys() - {patient_id}, key=lambda name: (others[name], name), reverse=True)
    swept.crowded += len(strange) > NEAREST
    return set(strange[:NEAREST])


class _Alike(NamedTuple):
    """Two ids, how alike their records are, and the stored pair if there is one."""

    of: str
    other: str
    likeness: Likeness
    known: Found | None


class _Opened:
    """The records that one unit of work compares: each opened once, as far as `actor` may know of it, and on record."""

    def __init__(self, unit: Unit, actor: Actor) -> None:
        self.unit = unit
        self._hidden = policy.withheld_when_restricted(actor)
        self._records: dict[str, Record] = {}
        self._values: dict[str, Mapping[str, Any]] = {}
        self._traits: dict[str, Traits] = {}

    @property
    def ids(self) -> set[str]:
        """Those of the records."""
        return set(self._records)

    def add(self, record: Record) -> bool:
        """Opens a record; False for one that cannot be compared. Damage leaves an event, and costs this record only."""
        if record.id in self._records:
            return True
        if record.status != "active":
            return False
        hidden = self._hidden if record.restricted else frozenset[Group]()
        try:
            values = self.unit.compared(
                record, frozenset(name for name in COMPARED if BY_NAME[name].group not in hidden)
            )
        except Tampered as damage:
            self.unit.remark(pat=record.audit_subject, out=Outcome.ERROR, why=reason(damage))
            return False
        self._records[record.id], self._values[record.id] = record, values
        self._traits[record.id] = Traits.of(values)
        return True

    def record(self, patient_id: str) -> Record:
        """One that was added."""
        return self._records[patient_id]

    def values(self, patient_id: str) -> Mapping[str, Any]:
        """What is compared of one that was added."""
        return self._values[patient_id]

    def likeness(self, one: str, other: str) -> Likeness:
        """How alike two are that were added."""
        return compare(self._traits[one], self._traits[other])


def reviewed(patient_id: str, other_id: str, verdict: str, at: int) -> Mapping[str, Any]:
    """What is answered to who judged two records; `at` in microseconds since 1970, UTC."""
    return {"patient_id": patient_id, "other_id": other_id, "verdict": verdict, "reviewed_at": rfc3339(at)}


def _told(opened: _Opened, first: str, second: str, likeness: Likeness, known: Found | None) -> Mapping[str, Any]:
    """A pair as it is answered: ids, versions, codes, bits and times."""
    return {
        "first_id": first,
        "first_version": opened.record(first).version,
        "second_id": second,
        "second_version": opened.record(second).version,
        "bits": round(likeness.bits, 1),
        "likeness": likeness.band.value,
        "facts": [
            {"fact": fact.value, "agreement": likeness.facts[fact].value} for fact in Fact if fact in likeness.facts
        ],
        "found_at": rfc3339(known.found_at) if known else None,
        "verdict": known.verdict if known else None,
    }


def _pair(one: str, other: str) -> Pair:
    return (one, other) if one < other else (other, one)


def _present(record: Record | None) -> Record:
    """Raises `NotFound`, `Erased`."""
    if record is None:
        raise NotFound
    if record.status == "erased":
        raise Erased
    return record


def _number(position: str) -> int:
    if not position.isdecimal():
        raise Invalid("after", "cursor")
    return int(position)
