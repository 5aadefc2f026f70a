"""Key sets: what a process can open depends on the root keys it was given, and nothing is tried twice."""

from dataclasses import replace
from pathlib import Path

import pytest

from crm.catalogue import BY_NAME, KeyClass
from crm.crypto.aead import Alg
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet
from crm.crypto.stored_key import StoredKey, new_index_key, new_signing_key, new_wrap_key
from crm.errors import KeyUnavailable, Tampered, Unsafe
from tests.keys import ENV, key_set, partial_ring

ORG, PATIENT = "org-1", "0198f0c2-7a00-7000-8000-000000000001"
FIELD = BY_NAME["time_zone"]


@pytest.fixture
def ring(tmp_path: Path) -> KeyRing:
    """A whole key ring."""
    return KeyRing.create(tmp_path / "keyring.json")


@pytest.fixture
def rows(ring: KeyRing) -> list[StoredKey]:
    """The first keys of a database."""
    return KeySet.bootstrap(ring, ENV)


def test_first_keys_are_one_for_each_class_and_one_index_key(rows: list[StoredKey]) -> None:
    """Bootstrap gives active keys numbered 1, one of them to sign with, and no two wrapped alike."""
    wraps = {("wrap", name) for name in KeyClass}
    assert {(row.kind, row.key_class) for row in rows} == {("index", ""), ("sign", "")} | wraps
    assert {(row.no, row.state) for row in rows} == {(1, "active")}
    assert len({row.wrapped for row in rows}) == len(KeyClass) + 2


def test_data_key_opens_again_in_another_process(ring: KeyRing, rows: list[StoredKey]) -> None:
    """What one key set seals, another of the same database opens."""
    sealer, new = KeySet.load(ring, ENV, rows).new_data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1)
    opener = KeySet.load(ring, ENV, rows).data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1, new.wrapped)
    assert new.epoch == 1
    assert opener.open(FIELD, sealer.seal(FIELD, b"Europe/Paris")) == b"Europe/Paris"


def test_process_without_a_class_keeps_working_for_the_others(
    ring: KeyRing, rows: list[StoredKey], tmp_path: Path
) -> None:
    """A ring for contact and preference opens those, and answers KeyUnavailable for identity, sensitive and search."""
    _, new = KeySet.load(ring, ENV, rows).new_data_key(ORG, PATIENT, KeyClass.CONTACT, 1)
    keys = KeySet.load(partial_ring(tmp_path / "keyring.json", "contact", "preference"), ENV, rows)
    assert keys.held == {KeyClass.CONTACT, KeyClass.PREFERENCE}
    keys.data_key(ORG, PATIENT, KeyClass.CONTACT, 1, new.wrapped)
    for key_class in (KeyClass.IDENTITY, KeyClass.SENSITIVE):
        with pytest.raises(KeyUnavailable):
            keys.data_key(ORG, PATIENT, key_class, 1, new.wrapped)
        with pytest.raises(KeyUnavailable):
            keys.new_data_key(ORG, PATIENT, key_class, 1)
    assert keys.index_versions() == ()
    with pytest.raises(KeyUnavailable):
        keys.index_value(ORG, "phone", 16, b"x")
    with pytest.raises(KeyUnavailable):
        keys.digest(ORG, "import", b"x")


def test_search_keys_are_apart_from_reading_keys(ring: KeyRing, rows: list[StoredKey], tmp_path: Path) -> None:
    """A ring for the index alone computes index values and opens nothing."""
    keys = KeySet.load(partial_ring(tmp_path / "keyring.json", "index"), ENV, rows)
    assert keys.held == frozenset()
    assert keys.index_value(ORG, "phone", 16, b"x") == KeySet.load(ring, ENV, rows).index_value(ORG, "phone", 16, b"x")


def test_epochs_are_read_by_number_and_written_by_the_active_one(ring: KeyRing, rows: list[StoredKey]) -> None:
    """Under a new active epoch old data keys still open and new ones carry its number; a pending one opens too."""
    old_key, old = KeySet.load(ring, ENV, rows).new_data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1)
    retired = [replace(row, state="retiring") if row.key_class == "preference" else row for row in rows]
    second = new_wrap_key(ring, ENV, KeyClass.PREFERENCE, 2, "active")
    keys = KeySet.load(ring, ENV, [*retired, second])
    _, new = keys.new_data_key(ORG, PATIENT, KeyClass.PREFERENCE, 2)
    assert new.epoch == 2
    reopened = keys.data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1, old.wrapped)
    assert reopened.open(FIELD, old_key.seal(FIELD, b"UTC")) == b"UTC"
    early = KeySet.load(ring, ENV, [*rows, replace(second, state="pending")])
    early.data_key(ORG, PATIENT, KeyClass.PREFERENCE, 2, new.wrapped)
    with pytest.raises(KeyUnavailable):
        KeySet.load(ring, ENV, rows).data_key(ORG, PATIENT, KeyClass.PREFERENCE, 2, new.wrapped)


def test_destroyed_epoch_is_unavailable(ring: KeyRing, rows: list[StoredKey]) -> None:
    """A data key of a destroyed epoch is gone, and the key set loads without the destroyed row's octets."""
    _, old = KeySet.load(ring, ENV, rows).new_data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1)
    gone = [replace(row, state="destroyed", wrapped=None) if row.key_class == "preference" else row for row in rows]
    keys = KeySet.load(ring, ENV, [*gone, new_wrap_key(ring, ENV, KeyClass.PREFERENCE, 2, "active")])
    with pytest.raises(KeyUnavailable):
        keys.data_key(ORG, PATIENT, KeyClass.PREFERENCE, 1, old.wrapped)


def test_algorithm_belongs_to_the_epoch(ring: KeyRing) -> None:
    """An epoch that wraps with AES-256-GCM works, and refuses a data key that claims the other algorithm."""
    keys = KeySet.load(ring, ENV, KeySet.bootstrap(ring, ENV, Alg.GCM))
    _, new = keys.new_data_key(ORG, PATIENT, KeyClass.CONTACT, 1)
    assert new.wrapped[1] == Alg.GCM
    keys.data_key(ORG, PATIENT, KeyClass.CONTACT, 1, new.wrapped)
    with pytest.raises(Tampered):
        keys.data_key(ORG, PATIENT, KeyClass.CONTACT, 1, new.wrapped[:1] + b"\x02" + new.wrapped[2:])


def test_index_versions_live_side_by_side(ring: KeyRing, rows: list[StoredKey]) -> None:
    """While a new index key is prepared, values of both versions can be computed and only the active one is written."""
    keys = KeySet.load(ring, ENV, [*rows, new_index_key(ring, ENV, 2, "pending")])
    assert keys.index_versions() == (1, 2)
    assert keys.index_version == 1
    values = {keys.index_value(ORG, "phone", 128, b"x", version) for version in keys.index_versions()}
    assert len(values) == 2
    assert keys.index_value(ORG, "phone", 128, b"x") in values
    with pytest.raises(KeyUnavailable):
        keys.index_value(ORG, "phone", 128, b"x", 3)


def test_ring_of_another_database_is_refused(rows: list[StoredKey], tmp_path: Path) -> None:
    """Another ring, or the right ring for another environment, does not start the service."""
    other = KeyRing.create(tmp_path / "other.json")
    with pytest.raises(Unsafe, match="does not fit this database"):
        KeySet.load(other, ENV, rows)
    with pytest.raises(Unsafe, match="now: production"):
        KeySet.load(KeyRing.load(tmp_path / "keyring.json"), "production", rows)


def test_edited_key_rows_are_refused(ring: KeyRing, rows: list[StoredKey]) -> None:
    """A row moved to another class, renumbered, emptied or of another kind does not authenticate."""
    identity, contact = rows[0], rows[1]
    edits = [
        replace(identity, wrapped=contact.wrapped, key_ref=contact.key_ref),
        replace(identity, no=2),
        replace(identity, wrapped=None),
        replace(identity, wrapped=b""),
        replace(rows[-1], kind="wrap", key_class="identity"),
    ]
    for edited in edits:
        with pytest.raises(Unsafe, match="does not fit"):
            KeySet.load(ring, ENV, [edited, *rows[1:]])


def test_each_use_has_exactly_one_active_key(ring: KeyRing, rows: list[StoredKey]) -> None:
    """No rows, a class without an active epoch and a class with two are each refused with what to do."""
    with pytest.raises(Unsafe, match="keys init"):
        KeySet.load(ring, ENV, [])
    with pytest.raises(Unsafe, match="no active key for index"):
        KeySet.load(ring, ENV, [row for row in rows if row.kind != "index"])
    with pytest.raises(Unsafe, match="two active keys for contact"):
        KeySet.load(ring, ENV, [*rows, new_wrap_key(ring, ENV, KeyClass.CONTACT, 2, "active")])


def test_bootstrap_needs_every_use(ring: KeyRing, tmp_path: Path) -> None:
    """The first keys of a database are not made by a process that holds only some uses."""
    with pytest.raises(Unsafe, match="index, log, sensitive"):
        KeySet.bootstrap(partial_ring(tmp_path / "keyring.json", "identity", "contact", "preference"), ENV)


def test_field_of_another_class_is_a_mistake_of_the_programmer(tmp_path: Path) -> None:
    """Sealing or opening a field under a key of another class is refused at once."""
    key, _ = key_set(tmp_path).new_data_key(ORG, PATIENT, KeyClass.CONTACT, 1)
    with pytest.raises(RuntimeError, match="time_zone is not sealed under contact"):
        key.seal(FIELD, b"UTC")
    with pytest.raises(RuntimeError, match="time_zone"):
        key.open(FIELD, b"")


def test_new_data_key_needs_a_canonical_id(tmp_path: Path) -> None:
    """An id that is no canonical UUID gets no data key."""
    with pytest.raises(ValueError, match="UUID"):
        key_set(tmp_path).new_data_key(ORG, "patient-1", KeyClass.CONTACT, 1)


def test_lasting_digests_outlive_every_rotation(ring: KeyRing, rows: list[StoredKey], tmp_path: Path) -> None:
    """They are the same with any index key, apart for each organisation and use, and every process makes them."""
    before = KeySet.load(ring, ENV, rows)
    turned = [replace(row, state="retiring") if row.kind == "index" else row for row in rows]
    after = KeySet.load(ring, ENV, [*turned, new_index_key(ring, ENV, 2, "active")])
    assert before.digest(ORG, "test", b"value") != after.digest(ORG, "test", b"value")
    lasting = before.lasting_digest(ORG, "test", b"value")
    assert after.lasting_digest(ORG, "test", b"value") == lasting
    others = [("org-2", "test", b"value"), (ORG, "tes", b"value"), (ORG, "test", b"other")]
    assert lasting not in {before.lasting_digest(*other) for other in others}
    only_log = KeySet.load(partial_ring(tmp_path / "keyring.json", "log"), ENV, rows)
    assert only_log.lasting_digest(ORG, "test", b"value") == lasting
    without = KeySet.load(partial_ring(tmp_path / "keyring.json", "contact"), ENV, rows)
    with pytest.raises(KeyUnavailable):
        without.lasting_digest(ORG, "test", b"value")


def test_lasting_digests_outlive_a_second_signing_key(ring: KeyRing, rows: list[StoredKey]) -> None:
    """They go on with the first signing key when another signs."""
    before = KeySet.load(ring, ENV, rows).lasting_digest(ORG, "test", b"value")
    retired = [replace(row, state="retiring") if row.kind == "sign" else row for row in rows]
    after = KeySet.load(ring, ENV, [*retired, new_signing_key(ring, ENV, 2, "active")])
    assert after.lasting_digest(ORG, "test", b"value") == before
