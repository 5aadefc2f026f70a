"""Whether what is stored of one patient is as the service left it: a judgement over rows. Loads and changes nothing.

Three witnesses are heard: the row seals, which only this patient's data keys can make; the terms of the blind indexes,
computed again from what was opened; and the access log, which alone knows the newest version (`docs/decisions/0018`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from crm.audit.event import Act
from crm.catalogue import BY_NAME, BY_PATH, CLASSES, INDEXES, Index, KeyClass
from crm.crypto.detail import FIRST_KEY
from crm.crypto.keyset import KeySet
from crm.crypto.stored_key import Name
from crm.crypto.wrapping import epoch_of
from crm.domain.superseding import MERGED
from crm.errors import KeyDestroyed, Tampered, UnknownKey
from crm.store.details import CLASS
from crm.store.faults import Fault, Flaw
from crm.store.history import Version
from crm.store.ledger import Erasure
from crm.store.opening import content, unlock
from crm.store.record import LIVE, SHREDDED, Record, SealedRow

__all__ = ["Change", "Judgement", "KeyRow", "Stored", "Term", "judge"]


_CLASSES: Final = frozenset(key_class.value for key_class in KeyClass)


class KeyRow(NamedTuple):
    """A row of `patient_key`, by the columns that are judged."""

    key_class: str
    dek_no: int
    epoch: int
    wrapped: bytes | None
    state: str

    @property
    def part(self) -> str:
        """The class, as far as it is one: whatever else stands there is not repeated."""
        return self.key_class if self.key_class in _CLASSES else "patient_key"

    @property
    def of_details(self) -> bool:
        """Whether it seals words beside events of the log (`crm.store.details`), and no row of the record."""
        return self.key_class == CLASS.value and self.dek_no >= FIRST_KEY


class Term(NamedTuple):
    """A row of `blind_index`."""

    code: int
    key_ver: int
    value: bytes
    row_id: str


class Change(NamedTuple):
    """What the access log says of one change: the version it made, and the paths that it changed, by whom and when.

    `paths` is None where the log does not list them all. `at` is in microseconds since 1970, UTC.
    """

    id: str
    act: str
    version: int
    paths: frozenset[str] | None
    by: str
    at: int


@dataclass(slots=True)
class Stored:
    """Everything stored of one patient. `reports` counts the rows of `source_record`; `erasures` are in order.

    `former` are the sealed rows that later ones replaced, without their data keys, by what stands as their class;
    `emptied` the erasures of others that reached some of them.
    """

    record: Record
    keys: list[KeyRow] = field(default_factory=list)
    terms: list[Term] = field(default_factory=list)
    reports: int = 0
    changes: list[Change] = field(default_factory=list)
    erasures: list[Erasure] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    former: list[tuple[str, SealedRow]] = field(default_factory=list)
    emptied: list[Erasure] = field(default_factory=list)


class Judgement(NamedTuple):
    """What is wrong, and how many cells belong to fields that this program does not know."""

    flaws: frozenset[Flaw]
    unknown_cells: int = 0


_Opened = dict[KeyClass, dict[str, Any]]


def judge(keys: KeySet, epochs: Mapping[Name, str], stored: Stored) -> Judgement:
    """The flaws of one patient. `epochs` are the states of the keys in the key store, whoever holds them.

    Classes whose keys this process lacks are judged by their clear columns only; see `KeySet.held`.
    """
    flaws = {*_keys(epochs, stored), *_detail_keys(keys, stored), *_erasures(stored)}
    if stored.record.status == "erased":
        return Judgement(frozenset(flaws | _remains(stored)))
    opened: _Opened = {}
    unknown = 0
    for key_class in sorted(stored.record.classes | stored.record.rows.keys()):
        found, values, strange = _row(keys, stored.record, key_class)
        flaws |= found
        unknown += strange
        if values is not None:
            opened[key_class] = values
    flaws.update(_history(stored.record, stored.changes))
    flaws.update(_index(keys, stored, opened))
    return Judgement(frozenset(flaws), unknown)


# --- keys and rows ---------------------------------------------------------------------------------------------------


def _keys(epochs: Mapping[Name, str], stored: Stored) -> Iterator[Flaw]:
    """Data keys by what can be said without opening them."""
    used = {(key_class.value, row.dek_no) for key_class, row in stored.record.rows.items()}
    missing = {key_class.value for key_class in stored.record.classes - stored.record.rows.keys()}
    for key in stored.keys:
        part = key.part
        if key.state != LIVE:
            continue
        if (key.key_class, key.dek_no) not in used and key.key_class not in missing and not key.of_details:
            yield Flaw(Fault.KEY_UNUSED, part)
        try:
            epoch = epoch_of(key.wrapped)
        except Tampered:
            yield Flaw(Fault.KEY_TAMPERED, part)
            continue
        if epoch != key.epoch:
            yield Flaw(Fault.KEY_MISLABELLED, part)
        state = epochs.get((key.key_class, epoch))
        if state in (None, "destroyed"):
            yield Flaw(Fault.EPOCH_UNKNOWN if state is None else Fault.EPOCH_DESTROYED, part)


def _detail_keys(keys: KeySet, stored: Stored) -> Iterator[Flaw]:
    """Live keys of details, by unwrapping them: no row says whether they are this patient's.

    What they sealed is compared with the log by `audit verify`.
    """
    if CLASS not in keys.held:
        return
    for key in stored.keys:
        if key.state == LIVE and key.of_details:
            try:
                keys.data_key(stored.record.org, stored.record.id, CLASS, key.dek_no, key.wrapped or b"")
            except Tampered:
                yield Flaw(Fault.KEY_TAMPERED, key.part)
            except (UnknownKey, KeyDestroyed):
                continue  # told by its epoch


def _row(keys: KeySet, record: Record, key_class: KeyClass) -> tuple[set[Flaw], dict[str, Any] | None, int]:
    """The flaws of one class, its values if they could be opened, and how many of its cells are unknown."""
    row, part = record.rows.get(key_class), key_class.value
    if row is None:
        return {Flaw(Fault.ROW_MISSING, part)}, None, 0
    flaws: set[Flaw] = set()
    if key_class not in record.classes:
        flaws.add(Flaw(Fault.ROW_UNNAMED, part))
    if row.version > record.version:
        flaws.add(Flaw(Fault.ROW_AHEAD, part))
    if row.key_state is None:
        flaws.add(Flaw(Fault.KEY_MISSING, part))
    if row.key_state == SHREDDED:
        if _has_content(row):
            flaws.add(Flaw(Fault.ERASED_REMAINS, part))
        return flaws, {}, 0
    if flaws or key_class not in keys.held:
        return flaws, None, 0
    return _opened(keys, record, key_class)


_UNLOCKING: Final = {"row seal": Fault.SEAL_BROKEN, "box": Fault.BOX_BROKEN, "data key": Fault.KEY_TAMPERED}
"""What `Tampered` names: the first of the steps of `unlock` that failed."""


def _opened(keys: KeySet, record: Record, key_class: KeyClass) -> tuple[set[Flaw], dict[str, Any] | None, int]:
    part = key_class.value
    try:
        key, cells = unlock(keys, record, key_class)
    except Tampered as failure:
        return {Flaw(_UNLOCKING.get(str(failure), Fault.KEY_TAMPERED), part)}, None, 0
    except UnknownKey:
        return {Flaw(Fault.EPOCH_UNKNOWN, part)}, None, 0
    except KeyDestroyed:
        return {Flaw(Fault.EPOCH_DESTROYED, part)}, None, 0
    flaws: set[Flaw] = set()
    values: dict[str, Any] = {}
    for each in CLASSES[key_class]:
        try:
            value = content(key, cells, each)
        except Tampered:
            flaws.add(Flaw(Fault.CELL_TAMPERED, part))
        except ValueError:
            flaws.add(Flaw(Fault.CELL_UNREADABLE, part))
        else:
            if value is not None:
                values[each.name] = value
    strange = len(cells.keys() - {each.number for each in CLASSES[key_class]})
    return flaws, None if flaws else values, strange


# --- the access log --------------------------------------------------------------------------------------------------


def _history(record: Record, changes: Sequence[Change]) -> Iterator[Flaw]:
    """A record that was put back whole is sound in itself; only what the log says of its changes tells.

    Their order in the log is not asked: an event is numbered after its change has committed.
    """
    newest = max((change.version for change in changes), default=0)
    if record.version < newest:
        yield Flaw(Fault.RECORD_ROLLED_BACK)
    elif record.version > newest:
        yield Flaw(Fault.RECORD_UNRECORDED)
    if len({change.version for change in changes}) < len(changes):
        yield Flaw(Fault.VERSION_REPEATED)
    elif record.version == newest:
        yield from _old_rows(record, changes)


def _old_rows(record: Record, changes: Sequence[Change]) -> Iterator[Flaw]:
    """Rows put back under a record that was not: a change of their class, or of the clear row, had sealed them anew."""
    live = {key_class: row.version for key_class, row in record.rows.items() if row.key_state == LIVE}
    least = _sealed_since(changes)
    behind = [key_class for key_class, version in live.items() if version < least.get(key_class, 0)]
    yield from (Flaw(Fault.ROW_ROLLED_BACK, key_class.value) for key_class in behind)
    last = max(changes, key=lambda change: change.version)
    if live and not behind and last.act != Act.ERASE and max(live.values()) < last.version:
        yield Flaw(Fault.ROW_ROLLED_BACK)


def _sealed_since(changes: Sequence[Change]) -> dict[KeyClass, int]:
    """For each class the version which its row has at least.

    A change of the restriction seals every row anew, and so does the first value of a class: the clear row names it.
    One unit of work may make several versions and one event; so a row changed in it may have any of these.
    """
    least: dict[KeyClass, int] = {}
    seen: set[KeyClass] = set()
    whole = all(change.paths is not None for change in changes)
    before = 0
    for change in sorted(changes, key=lambda change: change.version):
        first, before = before + 1, change.version
        if change.act == Act.ERASE or change.paths is None:
            continue
        named = {BY_PATH.get(path) or BY_NAME.get(path) for path in change.paths}
        whole &= None not in named  # a field of a newer release: nobody knows what it is first in
        touched = {each.key_class for each in named if each and each.key_class}
        every = "restricted" in change.paths or (whole and not touched <= seen)
        seen |= touched
        least.update(dict.fromkeys(KeyClass if every else touched, first))
    return least


# --- blind indexes ---------------------------------------------------------------------------------------------------


def _index(keys: KeySet, stored: Stored, opened: _Opened) -> Iterator[Flaw]:
    """Search values compared with what was opened.

    While the index key is rotated a term may be stored under any one of the versions: searches look under each.
    """
    versions, codes = keys.index_versions(), {index.code for index in INDEXES}
    if not versions:
        return
    if any(each.code not in codes or each.key_ver not in versions for each in stored.terms):
        yield Flaw(Fault.INDEX_WRONG)
    for index in INDEXES:
        values = _feeding(index, stored.record, opened)
        if values is None:
            continue
        there = {
            (each.key_ver, each.value, each.row_id)
            for each in stored.terms
            if each.code == index.code and each.key_ver in versions
        }
        try:
            terms = set() if stored.record.status == MERGED else index.terms(values)
        except (LookupError, TypeError, ValueError, AttributeError):  # shaped as this program shapes none
            yield Flaw(Fault.CELL_UNREADABLE, index.name)
            continue
        due = [
            {
                (version, keys.index_value(stored.record.org, index.name, index.bits, term, version), stored.record.id)
                for version in versions
            }
            for term in terms
        ]
        if there.difference(*due):
            yield Flaw(Fault.INDEX_WRONG, index.name)
        if any(one.isdisjoint(there) for one in due):
            yield Flaw(Fault.INDEX_MISSING, index.name)


def _feeding(index: Index, record: Record, opened: _Opened) -> dict[str, Any] | None:
    """The values that an index is made of; None where not all of them could be opened."""
    values: dict[str, Any] = {}
    for name in index.fields:
        key_class = BY_NAME[name].key_class
        if key_class in opened:
            values |= {name: opened[key_class][name]} if name in opened[key_class] else {}
        elif key_class in record.classes or key_class in record.rows:
            return None
    return values


# --- erasure ---------------------------------------------------------------------------------------------------------


def _erasures(stored: Stored) -> Iterator[Flaw]:
    """What the ledger says, compared with what the rows say."""
    gone = stored.record.status == "erased"
    if any(entry.whole for entry in stored.erasures) != gone:
        yield Flaw(Fault.ERASURE_UNLEDGERED if gone else Fault.ERASURE_UNDONE)
    ledgered = {(key_class, no) for entry in stored.erasures for key_class, no, _ in entry.keys}
    newest = {(key.key_class, key.of_details): key.dek_no for key in sorted(stored.keys, key=lambda key: key.dek_no)}
    for key in stored.keys:
        told = (key.key_class, key.dek_no) in ledgered
        if key.state == LIVE and told:
            yield Flaw(Fault.ERASURE_UNDONE, key.part)
        elif key.state != LIVE and not told and key.dek_no == newest[key.key_class, key.of_details]:
            # A data key that was followed by another was rotated.
            yield Flaw(Fault.ERASURE_UNLEDGERED, key.part)


def _remains(stored: Stored) -> set[Flaw]:
    """What is left of a patient who was erased whole."""
    flaws = {
        Flaw(Fault.ERASED_REMAINS, key_class.value)
        for key_class, row in stored.record.rows.items()
        if _has_content(row)
    }
    flaws |= {Flaw(Fault.ERASED_REMAINS, key.part) for key in stored.keys if key.wrapped is not None}
    if stored.terms:
        flaws.add(Flaw(Fault.ERASED_REMAINS, "blind_index"))
    if stored.reports:
        flaws.add(Flaw(Fault.ERASED_REMAINS, "source_record"))
    return flaws


def _has_content(row: SealedRow) -> bool:
    return bool(row.box or row.seal or row.wrapped) or row.provenance != "{}"
