"""Words sealed beside an event: they open in their own place under their own key, and nowhere else."""

import pytest

from crm.catalogue import KeyClass
from crm.crypto import detail
from crm.crypto.aead import Alg, cipher
from crm.crypto.data_key import DataKey
from crm.crypto.lengths import uuid_octets
from crm.errors import Tampered
from tests.keys import CountingCipher

ORG, PATIENT, OTHER = "org-1", "0198f0c2-7a00-7000-8000-000000000001", "0198f0c2-7a00-7000-8000-000000000002"
REF, KIND = "0199c0de-b6a5-7000-8000-000000000002", "breakglass"
WORDS = b"Found unconscious."
SECRET = bytes(range(32))


def key(org: str = ORG, patient: str = PATIENT, number: int = detail.FIRST_KEY, secret: bytes = SECRET) -> DataKey:
    """A data key of a patient."""
    return DataKey(cipher(Alg.GCM, secret), org, uuid_octets(patient), KeyClass.IDENTITY, number)


def test_words_come_back() -> None:
    """Under a nonce of their own each time, and none of them readable."""
    one, two = (key().seal_detail(KIND, REF, WORDS) for _ in range(2))
    assert one != two
    assert WORDS not in one
    assert key().open_detail(KIND, REF, one) == key().open_detail(KIND, REF, two) == WORDS


def test_lengths_tell_little() -> None:
    """What is stored grows in steps of 128 octets."""
    lengths = {len(key().seal_detail(KIND, REF, b"x" * size)) for size in range(10, 1001)}
    assert lengths == {6 + 12 + 16 + 128 * blocks for blocks in range(1, 9)}


@pytest.mark.parametrize(
    ("opener", "kind", "ref"),
    [
        (key(org="org-2"), KIND, REF),
        (key(patient=OTHER), KIND, REF),
        (key(number=detail.FIRST_KEY + 1), KIND, REF),
        (key(secret=bytes(32)), KIND, REF),
        (key(), "review", REF),
        (key(), KIND, OTHER),
    ],
)
def test_no_other_place(opener: DataKey, kind: str, ref: str) -> None:
    """Another organisation, patient, number, key, kind or subject: Tampered."""
    with pytest.raises(Tampered):
        opener.open_detail(kind, ref, key().seal_detail(KIND, REF, WORDS))


def test_every_bit_counts() -> None:
    """Each single bit flipped, each truncation, and anything longer: Tampered."""
    sealed = key().seal_detail(KIND, REF, WORDS)
    forged = [
        bytes([*sealed[:at], sealed[at] ^ (1 << bit), *sealed[at + 1 :]])
        for at in range(len(sealed))
        for bit in range(8)
    ]
    for octets in [*forged, *(sealed[:size] for size in range(len(sealed))), sealed + b"\0"]:
        with pytest.raises(Tampered):
            key().open_detail(KIND, REF, octets)


def test_one_decryption() -> None:
    """Nothing is tried: one decryption where the header fits, none where it does not."""
    counting = CountingCipher(cipher(Alg.GCM, SECRET))
    where = detail.place(ORG, uuid_octets(PATIENT), KIND, uuid_octets(REF))
    sealed = key().seal_detail(KIND, REF, WORDS)
    assert detail.open_detail(counting, detail.FIRST_KEY, where, sealed) == WORDS
    assert counting.decrypted == 1
    with pytest.raises(Tampered):
        detail.open_detail(counting, 1, where, sealed)
    assert counting.decrypted == 1
