"""What can be wrong with what is stored, in words that stay: codes for programs, a sentence for people.."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

__all__ = ["MEANINGS", "Fault", "Flaw"]


class Fault(StrEnum):
    """One kind of thing that is wrong; reports say it by this word."""

    RECORD_UNREADABLE = "record_unreadable"
    RECORD_ROLLED_BACK = "record_rolled_back"
    RECORD_UNRECORDED = "record_unrecorded"
    RECORD_REMOVED = "record_removed"
    VERSION_REPEATED = "version_repeated"
    VERSION_MISSING = "version_missing"
    VERSION_SURPLUS = "version_surplus"
    VERSION_CHANGED = "version_changed"
    VERSION_ROW_MISSING = "version_row_missing"
    ROW_MISSING = "row_missing"
    ROW_UNNAMED = "row_unnamed"
    ROW_AHEAD = "row_ahead"
    ROW_ROLLED_BACK = "row_rolled_back"
    ROW_OF_NOBODY = "row_of_nobody"
    KEY_MISSING = "key_missing"
    KEY_TAMPERED = "key_tampered"
    KEY_MISLABELLED = "key_mislabelled"
    KEY_UNUSED = "key_unused"
    EPOCH_UNKNOWN = "epoch_unknown"
    EPOCH_DESTROYED = "epoch_destroyed"
    BOX_BROKEN = "box_broken"
    SEAL_BROKEN = "seal_broken"
    CELL_TAMPERED = "cell_tampered"
    CELL_UNREADABLE = "cell_unreadable"
    INDEX_MISSING = "index_missing"
    INDEX_WRONG = "index_wrong"
    ERASED_REMAINS = "erased_remains"
    ERASURE_UNDONE = "erasure_undone"
    ERASURE_UNLEDGERED = "erasure_unledgered"
    LEDGER_BROKEN = "ledger_broken"


MEANINGS: Final[Mapping[Fault, str]] = {
    Fault.RECORD_UNREADABLE: "the clear row of the patient is none that the service writes",
    Fault.RECORD_ROLLED_BACK: "the record is older than the newest change in the access log",
    Fault.RECORD_UNRECORDED: "the record is newer than any change in the access log, or the log knows nothing of it",
    Fault.RECORD_REMOVED: "a patient of the log or the ledger has no row any more, and was not erased",
    Fault.VERSION_REPEATED: "two changes made the same version: the record was rolled back, and then changed again",
    Fault.VERSION_MISSING: "a version of the record is not described in its history",
    Fault.VERSION_SURPLUS: "history has a version, or a former sealed row, that the record never had",
    Fault.VERSION_CHANGED: "history tells of a version otherwise than the record or the access log",
    Fault.VERSION_ROW_MISSING: "the sealed row of a former version is gone",
    Fault.ROW_MISSING: "the sealed row of a class that the record names is gone",
    Fault.ROW_UNNAMED: "a sealed row of a class that the record does not name",
    Fault.ROW_AHEAD: "a sealed row says a later version than its record",
    Fault.ROW_ROLLED_BACK: "a sealed row is older than the last change of its class in the access log",
    Fault.ROW_OF_NOBODY: "a row of a patient who is not there",
    Fault.KEY_MISSING: "the data key of a sealed row is gone",
    Fault.KEY_TAMPERED: "a data key does not unwrap in its place",
    Fault.KEY_MISLABELLED: "a data key is not under the epoch that its row says",
    Fault.KEY_UNUSED: "a live data key that no sealed row needs",
    Fault.EPOCH_UNKNOWN: "data keys under an epoch that the key store does not list",
    Fault.EPOCH_DESTROYED: "data keys under an epoch that was destroyed",
    Fault.BOX_BROKEN: "the box of cells is not in form",
    Fault.SEAL_BROKEN: "the row seal does not fit the row, or the clear columns that it vouches for",
    Fault.CELL_TAMPERED: "a cell does not open in its place",
    Fault.CELL_UNREADABLE: "a cell opens, and its value cannot be read",
    Fault.INDEX_MISSING: "a search value that the record should be found by is not stored",
    Fault.INDEX_WRONG: "a stored search value that is not the record's, or is under no known index key",
    Fault.ERASED_REMAINS: "something is left of what was erased",
    Fault.ERASURE_UNDONE: "the ledger says erased, and the rows say otherwise",
    Fault.ERASURE_UNLEDGERED: "a data key was destroyed and the ledger does not say so",
    Fault.LEDGER_BROKEN: "an entry of the erasure ledger was changed, or is missing",
}
"""Each fault in a sentence, for whoever has to act on it."""


class Flaw(NamedTuple):
    """One thing that is wrong, and with which key class, index or table; never with which value."""

    fault: Fault
    part: str = ""
