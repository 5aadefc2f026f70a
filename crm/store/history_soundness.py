"""Whether the history of one patient is as the service left it: a judgement over rows. Loads and changes nothing.

Three witnesses are heard: the row seals of former rows, under the clear row of then; the versions themselves, which
follow each other as the service numbers them and name the classes that they sealed anew; and the access log, which
tells the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from crm.audit.event import Act
from crm.catalogue import BY_NAME, CLASSES, KeyClass
from crm.crypto.keyset import KeySet
from crm.errors import KeyDestroyed, Tampered, UnknownKey
from crm.store import past
from crm.store.faults import Fault, Flaw
from crm.store.history import Version, unbroken
from crm.store.opening import content, unlock
from crm.store.record import LIVE, SHREDDED, Record, SealedRow
from crm.store.soundness import Change, Stored

__all__ = ["flaws"]

_VERSIONS: Final = "patient_version"
_ROWS: Final = "sealed_version"
_CLASSES: Final = frozenset(key_class.value for key_class in KeyClass)
_APART: Final = 15 * 60 * 1_000_000
"""Microseconds by which history and log may tell different times of one change: replicas' clocks, and a long import."""


def flaws(keys: KeySet, stored: Stored) -> Iterator[Flaw]:
    """The flaws of one patient's history. Of classes whose keys this process lacks, rows are not opened."""
    record, versions = stored.record, sorted(stored.versions, key=lambda version: version.version)
    if record.status == "erased":
        yield from _remains(stored)
        return
    if gaps := set(_numbers(record, versions)):  # what the others say depends on them
        yield from gaps
        return
    yield from _clear_rows(record, versions)
    yield from _rows(stored, versions)
    yield from _opened(keys, stored, versions)
    yield from _log(stored.changes, versions)


def _remains(stored: Stored) -> Iterator[Flaw]:
    """Of a patient who was erased whole, history knows the erasure and nothing before it."""
    if stored.former or any(version.version != stored.record.version for version in stored.versions):
        yield Flaw(Fault.ERASED_REMAINS, _ROWS if stored.former else _VERSIONS)


# --- versions --------------------------------------------------------------------------------------------------------


def _numbers(record: Record, versions: Sequence[Version]) -> Iterator[Flaw]:
    """From the first, or the one that was there before history, to the present one, as `unbroken` has it."""
    if not versions:
        yield Flaw(Fault.VERSION_MISSING, _VERSIONS)
        return
    numbers = [version.version for version in versions]
    first = numbers[0] if versions[0].maker is None else 1
    told = (version for version in versions if version.version <= record.version)
    acts = [(version.version, version.maker.act if version.maker else None) for version in told]
    if numbers[0] != first or not unbroken(acts, first - 1, record.version):
        yield Flaw(Fault.VERSION_MISSING, _VERSIONS)
    if numbers[-1] > record.version or any(version.maker is None for version in versions[1:]):
        yield Flaw(Fault.VERSION_SURPLUS, _VERSIONS)


def _clear_rows(record: Record, versions: Sequence[Version]) -> Iterator[Flaw]:
    """Times that do not go back, and a newest version that says what the record says."""
    times = [version.at for version in versions]
    newest = versions[-1]
    told = (newest.at, newest.status, newest.restricted, newest.classes)
    now = (record.updated_at, record.status, record.restricted, record.classes)
    if times != sorted(times) or (newest.version == record.version and told != now):
        yield Flaw(Fault.VERSION_CHANGED, _VERSIONS)


def _log(changes: Sequence[Change], versions: Sequence[Version]) -> Iterator[Flaw]:
    """What the log tells of each change: who made which versions when, and of which fields.

    One unit of work may make several versions and one event. What is older than history is not compared.
    """
    known = {version.version: version for version in versions if version.maker is not None}
    first, last = versions[0].version, versions[-1].version
    if any(first < change.version < last and change.version not in known for change in changes):
        yield Flaw(Fault.VERSION_MISSING, _VERSIONS)  # before a merge, where numbers alone do not tell
        return
    before = 0
    for change in sorted(changes, key=lambda change: change.version):
        merging = change.act in {Act.MERGE, Act.UNMERGE}  # makes one version, which may skip numbers
        of, before = range(change.version if merging else before + 1, change.version + 1), change.version
        made = [known[number] for number in of if number in known]
        if len(made) < len(of):
            continue  # missing, or older than history
        makers = {version.maker.subject for version in made if version.maker}
        names = {name for version in made for name in version.changed}
        apart = any(abs(version.at - change.at) > _APART for version in made)
        if makers != {change.by} or apart or (change.paths is not None and _paths(names) != change.paths):
            yield Flaw(Fault.VERSION_CHANGED, _VERSIONS)
            return


def _paths(names: set[str]) -> set[str]:
    """The paths by which the log names fields; a field of a newer release by its own name, as there."""
    return {path for name in names for path in (BY_NAME[name].paths if name in BY_NAME else ()) or (name,)}


# --- former rows -----------------------------------------------------------------------------------------------------


def _rows(stored: Stored, versions: Sequence[Version]) -> Iterator[Flaw]:
    """In each class, a row for each version that sealed it anew, and none for others."""
    rows = [(KeyClass(key_class), row) for key_class, row in stored.former if key_class in _CLASSES]
    rows += stored.record.rows.items()
    there = {(key_class, row.version) for key_class, row in rows}
    first = versions[0].version if versions[0].maker is None else 0
    older = {(key_class, number) for key_class, number in there if number <= first}
    due = set(_due(versions, _erased_before(first, rows)))
    by_number = {version.version: version for version in versions}
    allowed = due | older | {at for at in there if at[1] in by_number and "provenance" in by_number[at[1]].changed}
    if any(key_class not in _CLASSES for key_class, _ in stored.former):
        yield Flaw(Fault.VERSION_SURPLUS, _ROWS)
    if due - there or len({key_class for key_class, _ in older}) < len(older):
        yield Flaw(Fault.VERSION_ROW_MISSING if due - there else Fault.VERSION_SURPLUS, _ROWS)
    if there - allowed and not any(name not in BY_NAME for version in versions for name in version.changed):
        yield Flaw(Fault.VERSION_SURPLUS, _ROWS)


def _erased_before(first: int, rows: Sequence[tuple[KeyClass, SealedRow]]) -> set[KeyClass]:
    """The classes that were erased already in the version from before history: no later row is under their key."""
    ends = {(key_class, row.dek_no) for key_class, row in rows if row.version <= first and not row.seal}
    later = {(key_class, row.dek_no) for key_class, row in rows if row.version > first}
    return {key_class for key_class, _ in ends - later}


def _due(versions: Sequence[Version], erased: set[KeyClass]) -> Iterator[tuple[KeyClass, int]]:
    """The classes that each described version sealed anew: those of its fields, or all where the clear row changed.

    `erased` are those that were erased before the first of the versions.
    """
    before: Version | None = None
    for version in versions:
        named = {BY_NAME[name].key_class for name in version.changed if name in BY_NAME}
        touched = {key_class for key_class in named if key_class is not None}
        if version.maker is not None and version.maker.act == Act.ERASE:
            erased |= touched
        elif version.maker is not None:
            if before is None or _clear(before) != _clear(version):
                touched |= version.classes - erased
            erased -= touched
            yield from ((key_class, version.version) for key_class in touched)
        before = version


def _clear(version: Version) -> tuple[object, ...]:
    return version.status, version.restricted, version.classes


def _opened(keys: KeySet, stored: Stored, versions: Sequence[Version]) -> Iterator[Flaw]:
    """Each former row, under the clear row of the version in which it began to hold."""
    known = {(key.key_class, key.dek_no): key for key in stored.keys}
    emptied = set(_emptied(stored))
    ledgered = {(each, no) for entry in stored.erasures for each, no, _ in entry.keys}
    for key_class, bare in stored.former:
        if key_class not in _CLASSES:
            continue
        key = known.get((key_class, bare.dek_no))
        if (key_class, bare.version) in emptied:
            if bare.box or bare.seal or bare.provenance != "{}":
                yield Flaw(Fault.ERASED_REMAINS, _ROWS)
        elif key is None:
            yield Flaw(Fault.KEY_MISSING, _ROWS)
        elif key.state == SHREDDED:
            if bare.box or bare.seal or bare.provenance != "{}":
                yield Flaw(Fault.ERASED_REMAINS, _ROWS)
            elif (key_class, bare.dek_no) not in ledgered:  # a new data key leaves no row behind
                yield Flaw(Fault.SEAL_BROKEN, _ROWS)
        elif key_class in keys.held:
            row = SealedRow(bare.version, bare.dek_no, bare.box, bare.seal, bare.provenance, key.wrapped, LIVE)
            version = next((each for each in versions if each.version >= row.version), None)
            if version is None:
                yield Flaw(Fault.VERSION_SURPLUS, _ROWS)
            else:
                then = past.as_it_was(stored.record, version, [(KeyClass(key_class), row)])
                yield from _cells(keys, then, KeyClass(key_class))


def _emptied(stored: Stored) -> Iterator[tuple[str, int]]:
    """Class and version of former rows that somebody else's erasure reached, as the ledger says: see `erasing`."""
    rows = [*stored.former, *((each.value, row) for each, row in stored.record.rows.items())]
    for told in stored.emptied:
        for name, first, until in told.former:
            for key_class, row in stored.former if name == stored.record.id else ():
                later = (of == key_class and row.version < other.version <= until for of, other in rows)
                if first <= row.version < until and (told.whole or key_class in told.classes) and any(later):
                    yield key_class, row.version


_UNLOCKING: Final[Mapping[str, Fault]] = {"row seal": Fault.SEAL_BROKEN, "box": Fault.BOX_BROKEN}


def _cells(keys: KeySet, record: Record, key_class: KeyClass) -> Iterator[Flaw]:
    try:
        key, cells = unlock(keys, record, key_class)
        for field in CLASSES[key_class]:
            content(key, cells, field)
    except Tampered as failure:
        yield Flaw(_UNLOCKING.get(str(failure), Fault.CELL_TAMPERED), _ROWS)
    except (UnknownKey, KeyDestroyed):
        return  # told by its epoch
    except ValueError:
        yield Flaw(Fault.CELL_UNREADABLE, _ROWS)
