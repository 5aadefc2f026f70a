"""The row seal: over the version, every cell and the provenance, including cells that only a newer program knows."""

import os
from pathlib import Path

import pytest

from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.data_key import DataKey
from crm.errors import Tampered
from tests.keys import key_set

ORG, PATIENT = "org-1", "0198f0c2-7a00-7000-8000-000000000001"
PROVENANCE = b'{"CHANNEL":{"source":"front desk"}}'


@pytest.fixture
def key(tmp_path: Path) -> DataKey:
    """A data key for preferences."""
    return key_set(tmp_path).new_data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1)[0]


@pytest.fixture
def cells(key: DataKey) -> dict[int, bytes]:
    """Two cells that this program knows, and one of a field that only a newer one does."""
    known = {
        BY_NAME[name].number: key.seal(BY_NAME[name], text)
        for name, text in (("time_zone", b"Europe/Paris"), ("interpreter_needed", b"NO"))
    }
    return known | {59: os.urandom(51)}


def test_row_verifies_as_it_was_sealed(key: DataKey, cells: dict[int, bytes]) -> None:
    """A row verifies in any order of its cells, and unknown cells do not disturb."""
    seal = key.seal_row(3, cells, PROVENANCE)
    assert len(seal) == 28
    key.verify_row(seal, 3, dict(reversed(cells.items())), PROVENANCE)


def test_empty_row_verifies(key: DataKey) -> None:
    """A class in which nothing has a value yet is sealed too."""
    key.verify_row(key.seal_row(1, {}, b""), 1, {}, b"")


def test_every_change_of_the_row_is_refused(key: DataKey, cells: dict[int, bytes]) -> None:
    """Version, provenance, a cell gone, added, renumbered, exchanged or replaced: each breaks the seal."""
    seal = key.seal_row(3, cells, PROVENANCE)
    zone, interpreter = BY_NAME["time_zone"].number, BY_NAME["interpreter_needed"].number
    renumbered = {number if number != 59 else 58: cell for number, cell in cells.items()}
    changes: list[tuple[int, dict[int, bytes], bytes]] = [
        (4, cells, PROVENANCE),
        (2, cells, PROVENANCE),
        (-1, cells, PROVENANCE),
        (1 << 64, cells, PROVENANCE),
        (3, cells, PROVENANCE + b" "),
        (3, cells, b""),
        (3, {}, PROVENANCE),
        (3, cells | {51: os.urandom(51)}, PROVENANCE),
        (3, renumbered, PROVENANCE),
        (3, cells | {zone: cells[interpreter], interpreter: cells[zone]}, PROVENANCE),
        (3, cells | {zone: key.seal(BY_NAME["time_zone"], b"Europe/Paris")}, PROVENANCE),
    ]
    changes += [(3, {other: cells[other] for other in cells if other != number}, PROVENANCE) for number in cells]
    for version, changed, provenance in changes:
        with pytest.raises(Tampered):
            key.verify_row(seal, version, changed, provenance)


def test_seal_of_another_row_is_refused(key: DataKey, cells: dict[int, bytes], tmp_path: Path) -> None:
    """A seal holds for its organisation, patient and class only, even under the same octets of a key."""
    seal = key.seal_row(3, cells, PROVENANCE)
    cipher, patient = key._cipher, key._owner[:16]
    DataKey(cipher, ORG, patient, KeyClass.PREFERENCE, 1).verify_row(seal, 3, cells, PROVENANCE)
    others = [
        DataKey(cipher, "org-2", patient, KeyClass.PREFERENCE, 1),
        DataKey(cipher, ORG, bytes(16), KeyClass.PREFERENCE, 1),
        DataKey(cipher, ORG, patient, KeyClass.CONTACT, 1),
    ]
    for other in others:
        with pytest.raises(Tampered):
            other.verify_row(seal, 3, cells, PROVENANCE)


def test_damaged_seals_are_refused(key: DataKey, cells: dict[int, bytes]) -> None:
    """Every flipped bit, every length but 28, text and null are no seal."""
    seal = key.seal_row(3, cells, PROVENANCE)
    flipped = [seal[:at] + bytes((seal[at] ^ 1 << bit,)) + seal[at + 1 :] for at in range(28) for bit in range(8)]
    others: list[object] = [*flipped, *(seal[:end] for end in range(28)), seal + b"\0", "seal", None]
    for damaged in others:
        with pytest.raises(Tampered):
            key.verify_row(damaged, 3, cells, PROVENANCE)  # type: ignore[arg-type]
