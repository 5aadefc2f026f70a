"""The attack list of sealing: whoever may write to the database can destroy, but can neither forge, move nor replay.

The numbers E-01 and so on are those of the list in the encryption design. Every test holds its control: the same thing
untouched works, so that the refusal is due to the attack.
"""

import os
from pathlib import Path

import pytest

from crm.catalogue import BY_NAME, KeyClass
from crm.crypto import envelope, wrapping
from crm.crypto.aead import Alg, cipher
from crm.crypto.data_key import DataKey
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet, NewKey
from crm.crypto.lengths import uuid_octets
from crm.crypto.stored_key import new_wrap_key
from crm.errors import KeyUnavailable, Tampered, Unsafe
from tests.keys import ENV, CountingCipher, key_set

ORG = "org-1"
ANNA, BORA = "0198f0c2-7a00-7000-8000-000000000001", "0198f0c2-7a00-7000-8000-000000000002"
CLASS = KeyClass.PREFERENCE
ZONE, STYLE, LANGUAGES = BY_NAME["time_zone"], BY_NAME["communication_style"], BY_NAME["languages"]
PLAINTEXT = b"Europe/Paris"


@pytest.fixture
def keys(tmp_path: Path) -> KeySet:
    """A key set of its own."""
    return key_set(tmp_path)


@pytest.fixture
def anna(keys: KeySet) -> tuple[DataKey, NewKey]:
    """Anna's data key for preferences, and its stored form."""
    return keys.new_data_key(ORG, ANNA, CLASS, 1)


@pytest.fixture
def sealed(anna: tuple[DataKey, NewKey]) -> bytes:
    """Anna's time zone; it opens as it stands."""
    cell = anna[0].seal(ZONE, PLAINTEXT)
    assert anna[0].open(ZONE, cell) == PLAINTEXT
    return cell


class Unbound:
    """A cipher that authenticates no place: what would be left if the formats bound nothing."""

    def __init__(self) -> None:
        self._inner = cipher(Alg.GCM, os.urandom(32))

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        return self._inner.encrypt(nonce, data, None)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        return self._inner.decrypt(nonce, data, None)


def test_e01_without_the_binding_a_moved_cell_opens() -> None:
    """The control: the same moves succeed for a cipher that leaves out the associated data, so these refuse them."""
    unbound = Unbound()
    home = DataKey(unbound, ORG, uuid_octets(ANNA), CLASS, 1)
    cell, seal = home.seal(ZONE, PLAINTEXT), home.seal_row(1, {}, b"")
    assert home.open(STYLE, cell) == PLAINTEXT
    for org, patient in (("org-2", ANNA), (ORG, BORA)):
        away = DataKey(unbound, org, uuid_octets(patient), CLASS, 1)
        assert away.open(ZONE, cell) == PLAINTEXT
        away.verify_row(seal, 2, {ZONE.number: cell}, b"edited")
    epoch = wrapping.WrapKey(1, Alg.GCM, unbound)
    wrapped = wrapping.wrap(epoch, wrapping.place(ORG, uuid_octets(ANNA), CLASS, 1), bytes(32))
    assert wrapping.unwrap(epoch, wrapping.place("org-2", uuid_octets(BORA), "contact", 2), wrapped) == bytes(32)


def test_e01_cell_moved_to_another_field(anna: tuple[DataKey, NewKey], sealed: bytes) -> None:
    """A cell does not open as another field of the same row, of the same codec or of another."""
    assert ZONE.codec is STYLE.codec
    assert ZONE.codec is not LANGUAGES.codec
    for other in (STYLE, LANGUAGES):
        with pytest.raises(Tampered):
            anna[0].open(other, sealed)


def test_e02_cell_moved_to_another_patient_with_and_without_the_key(
    keys: KeySet, anna: tuple[DataKey, NewKey], sealed: bytes
) -> None:
    """Bora's own key does not open Anna's cell, and Anna's key row does not unwrap in Bora's place."""
    bora, _ = keys.new_data_key(ORG, BORA, CLASS, 1)
    with pytest.raises(Tampered):
        bora.open(ZONE, sealed)
    with pytest.raises(Tampered):
        keys.data_key(ORG, BORA, CLASS, 1, anna[1].wrapped)


def test_e02_binding_holds_even_under_the_same_key() -> None:
    """With one key for all, a cell still opens only for its organisation, patient, row and data-key number."""
    key, patient = cipher(Alg.GCM, os.urandom(32)), uuid_octets(ANNA)
    home = DataKey(key, ORG, patient, CLASS, 1)
    cell = home.seal(ZONE, PLAINTEXT)
    assert DataKey(key, ORG, patient, CLASS, 1).open(ZONE, cell) == PLAINTEXT
    for other in (
        DataKey(key, "org-2", patient, CLASS, 1),
        DataKey(key, ORG, uuid_octets(BORA), CLASS, 1),
        DataKey(key, ORG, patient, CLASS, 2),
    ):
        with pytest.raises(Tampered):
            other.open(ZONE, cell)
    framed = envelope.frame(Alg.GCM, ZONE.codec, 1, ORG, "patient", ZONE.name)
    assert envelope.open_cell(key, framed, envelope.owner(patient, CLASS), cell) == PLAINTEXT
    with pytest.raises(Tampered):
        envelope.open_cell(key, framed, envelope.owner(patient, KeyClass.CONTACT), cell)


def test_e03_wrapped_key_moved(keys: KeySet, anna: tuple[DataKey, NewKey]) -> None:
    """A wrapped data key does not unwrap for another organisation, patient, class or number."""
    wrapped = anna[1].wrapped
    keys.data_key(ORG, ANNA, CLASS, 1, wrapped)
    for org, patient, key_class, dek_no in (
        ("org-2", ANNA, CLASS, 1),
        (ORG, BORA, CLASS, 1),
        (ORG, ANNA, KeyClass.IDENTITY, 1),
        (ORG, ANNA, CLASS, 2),
        (ORG, ANNA, CLASS, -1),
        (ORG, ANNA, CLASS, 1 << 32),
        (ORG, ANNA.upper(), CLASS, 1),
        (ORG, "anna", CLASS, 1),
    ):
        with pytest.raises(Tampered):
            keys.data_key(org, patient, key_class, dek_no, wrapped)


def test_e03_wrapped_key_moved_to_another_epoch(tmp_path: Path) -> None:
    """A wrapped data key whose header names another epoch that exists does not unwrap."""
    ring = KeyRing.create(tmp_path / "keyring.json")
    rows = KeySet.bootstrap(ring, ENV)
    keys = KeySet.load(ring, ENV, [*rows, new_wrap_key(ring, ENV, CLASS, 2, "pending")])
    _, new = keys.new_data_key(ORG, ANNA, CLASS, 1)
    keys.data_key(ORG, ANNA, CLASS, 1, new.wrapped)
    with pytest.raises(Tampered):
        keys.data_key(ORG, ANNA, CLASS, 1, new.wrapped[:2] + (2).to_bytes(4) + new.wrapped[6:])


def test_e04_every_flipped_bit_of_a_cell(anna: tuple[DataKey, NewKey], sealed: bytes) -> None:
    """No single flipped bit leaves a cell that opens, and the refusal carries nothing of the value."""
    for bit in range(len(sealed) * 8):
        flipped = bytearray(sealed)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(Tampered) as refusal:
            anna[0].open(ZONE, bytes(flipped))
        assert PLAINTEXT.decode() not in str(refusal.value)
        assert refusal.value.__cause__ is None


def test_e04_every_flipped_bit_of_a_wrapped_key(keys: KeySet, anna: tuple[DataKey, NewKey]) -> None:
    """No single flipped bit leaves a wrapped key that unwraps; an epoch that does not exist is unavailable."""
    wrapped = anna[1].wrapped
    for bit in range(len(wrapped) * 8):
        flipped = bytearray(wrapped)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(KeyUnavailable if 2 <= bit // 8 < 6 else Tampered):
            keys.data_key(ORG, ANNA, CLASS, 1, bytes(flipped))


def test_e05_truncated_extended_and_plain_cells(anna: tuple[DataKey, NewKey], sealed: bytes) -> None:
    """Every prefix, anything longer, nothing, and plain text in the column are refused, never returned as a value."""
    others: list[object] = [sealed[:end] for end in range(len(sealed))]
    others += [sealed + b"\0", sealed * 2, b"", PLAINTEXT, PLAINTEXT * 8, PLAINTEXT.decode(), None, 0xE1]
    for other in others:
        with pytest.raises(Tampered):
            anna[0].open(ZONE, other)  # type: ignore[arg-type]


def test_e05_truncated_extended_and_plain_wrapped_keys(keys: KeySet, anna: tuple[DataKey, NewKey]) -> None:
    """Every prefix of a wrapped key, anything longer, a bare key and null are refused."""
    wrapped = anna[1].wrapped
    others: list[object] = [wrapped[:end] for end in range(len(wrapped))]
    others += [wrapped + b"\0", os.urandom(32), b"\xd2" + wrapped[1:], "key", None]
    for other in others:
        with pytest.raises(Tampered):
            keys.data_key(ORG, ANNA, CLASS, 1, other)  # type: ignore[arg-type]


def test_e07_header_changed(anna: tuple[DataKey, NewKey], sealed: bytes) -> None:
    """Another format, algorithm (known or not), codec or data-key number in the header is refused."""
    for at, values in ((0, (0x00, 0xE0, 0xE2)), (1, (0x00, 0x02, 0x03)), (2, (0x00, 0x02, 0x03)), (6, (0, 2))):
        for value in values:
            with pytest.raises(Tampered):
                anna[0].open(ZONE, sealed[:at] + bytes((value,)) + sealed[at + 1 :])


@pytest.mark.parametrize(("written", "read"), [(Alg.GCM, Alg.GCM_SIV), (Alg.GCM_SIV, Alg.GCM)])
def test_e07_reader_chooses_the_algorithm(written: Alg, read: Alg) -> None:
    """A cell of one algorithm is refused by a reader of the other, with its header as it was and with it rewritten."""
    secret, owner = os.urandom(32), envelope.owner(uuid_octets(ANNA), CLASS)
    frames = {alg: envelope.frame(alg, 1, 1, ORG, "patient", ZONE.name) for alg in Alg}
    cell = envelope.seal_cell(cipher(written, secret), frames[written], owner, 16, PLAINTEXT)
    assert envelope.open_cell(cipher(written, secret), frames[written], owner, cell) == PLAINTEXT
    for attempt in (cell, cell[:1] + bytes((read,)) + cell[2:]):
        with pytest.raises(Tampered):
            envelope.open_cell(cipher(read, secret), frames[read], owner, attempt)


def test_e08_replayed_cell_breaks_the_row_seal(anna: tuple[DataKey, NewKey], sealed: bytes) -> None:
    """An older cell of the same place opens by itself, as it must; the seal over its row does not verify with it."""
    key, number = anna[0], ZONE.number
    current = {number: key.seal(ZONE, b"Asia/Tokyo")}
    seal = key.seal_row(2, current, b"")
    key.verify_row(seal, 2, current, b"")
    assert key.open(ZONE, sealed) == PLAINTEXT
    with pytest.raises(Tampered):
        key.verify_row(seal, 2, {number: sealed}, b"")


def test_e09_edited_clear_column_breaks_the_row_seal(anna: tuple[DataKey, NewKey], sealed: bytes) -> None:
    """Provenance is stored clear, but whoever edits it in the database breaks the seal."""
    key, cells = anna[0], {ZONE.number: sealed}
    seal = key.seal_row(1, cells, b'{"CHANNEL":{"by":"anna"}}')
    key.verify_row(seal, 1, cells, b'{"CHANNEL":{"by":"anna"}}')
    with pytest.raises(Tampered):
        key.verify_row(seal, 1, cells, b'{"CHANNEL":{"by":"bora"}}')


def test_e12_no_trial_decryption(sealed: bytes) -> None:
    """Opening a cell and verifying a row are one decryption each; what fails the checks before costs none."""
    counting = CountingCipher(cipher(Alg.GCM, os.urandom(32)))
    key = DataKey(counting, ORG, uuid_octets(ANNA), CLASS, 1)
    cell = key.seal(ZONE, PLAINTEXT)
    row_seal = key.seal_row(1, {ZONE.number: cell}, b"")
    key.open(ZONE, cell)
    assert counting.decrypted == 1
    key.verify_row(row_seal, 1, {ZONE.number: cell}, b"")
    assert counting.decrypted == 2
    with pytest.raises(Tampered):
        key.open(ZONE, sealed)
    assert counting.decrypted == 3
    for refused in (b"", cell[:34], b"\xe2" + cell[1:]):
        with pytest.raises(Tampered):
            key.open(ZONE, refused)
    assert counting.decrypted == 3


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o606, 0o601])
def test_e37_ring_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """Any bit of the mode for group or others is refused, with the command that helps."""
    path = tmp_path / "keyring.json"
    KeyRing.create(path)
    KeyRing.load(path)
    path.chmod(mode)
    with pytest.raises(Unsafe, match="chmod 600"):
        KeyRing.load(path)


def test_e37_ring_in_a_folder_that_anyone_may_write_is_refused(tmp_path: Path) -> None:
    """Where anyone may replace the file, its own mode is worth nothing; a sticky folder is safe."""
    path = tmp_path / "keyring.json"
    KeyRing.create(path)
    tmp_path.chmod(0o777)
    with pytest.raises(Unsafe, match="chmod o-w"):
        KeyRing.load(path)
    tmp_path.chmod(0o1777)
    KeyRing.load(path)


def test_e37_ring_that_is_no_plain_file_is_refused(tmp_path: Path) -> None:
    """A missing file, a symbolic link, a folder and a pipe are each refused with what to do."""
    path = tmp_path / "keyring.json"
    with pytest.raises(Unsafe, match="keys init"):
        KeyRing.load(path)
    KeyRing.create(path)
    link, pipe = tmp_path / "link.json", tmp_path / "pipe"
    link.symlink_to(path)
    os.mkfifo(pipe, 0o600)
    for place, text in ((link, "symbolic link"), (tmp_path, "regular file"), (pipe, "regular file")):
        with pytest.raises(Unsafe, match=text):
            KeyRing.load(place)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_e37_ring_of_another_user_is_refused(tmp_path: Path) -> None:
    """A ring that neither the service's user nor root owns was put there by somebody else."""
    path = tmp_path / "keyring.json"
    KeyRing.create(path)
    os.chown(path, 65_534, 65_534)
    with pytest.raises(Unsafe, match="another user"):
        KeyRing.load(path)
