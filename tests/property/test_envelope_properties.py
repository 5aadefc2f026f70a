"""Laws of the sealed formats, for any names and any octets."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm.crypto import box, envelope, seal, wrapping
from crm.crypto.aead import Alg, cipher
from crm.crypto.lengths import uuid_octets
from crm.errors import Tampered

KEY = cipher(Alg.GCM, os.urandom(32))
PATIENT = uuid_octets("0198f0c2-7a00-7000-8000-000000000001")
FRAME = envelope.frame(Alg.GCM, 1, 1, "org", "patient", "time_zone")
OWNER = envelope.owner(PATIENT, "preference")

# A short alphabet with few lengths, so that joined names are equal often and only their boundaries differ.
NAMES = st.text(alphabet="ab\0é", max_size=3)
PLACES = st.tuples(NAMES, NAMES, NAMES, st.sampled_from([PATIENT, bytes(16)]), NAMES)


def _bound(place: tuple[str, str, str, bytes, str]) -> bytes:
    tenant, entity, field, patient, row = place
    return envelope.frame(Alg.GCM, 1, 1, tenant, entity, field).start + envelope.owner(patient, row)


@given(PLACES, PLACES)
def test_e06_different_places_have_different_bindings(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """The associated data of two cells are equal exactly when their places are."""
    assert (_bound(one) == _bound(other)) == (one == other)  # type: ignore[arg-type]


def test_e06_without_lengths_shifted_names_would_be_the_same() -> None:
    """The control: joined as they are, two different places look alike; with their lengths they do not."""
    one, other = ("ward", "patient", "name", PATIENT, "r"), ("war", "dpatient", "name", PATIENT, "r")
    assert "".join(one[:3]) == "".join(other[:3])
    assert _bound(one) != _bound(other)


@given(st.tuples(NAMES, NAMES, NAMES), st.integers(0, 2), st.integers(0, 2))
def test_e06_moved_boundaries_change_the_binding(names: tuple[str, str, str], source: int, target: int) -> None:
    """Moving a character from the end of one name to the front of another gives another binding."""
    moved = list(names)
    if source == target or not moved[source]:
        return
    moved[target] = moved[source][-1] + moved[target]
    moved[source] = moved[source][:-1]
    assert _bound((*names, PATIENT, "r")) != _bound((moved[0], moved[1], moved[2], PATIENT, "r"))


@given(NAMES, NAMES, NAMES, NAMES, st.integers(0, 3), st.integers(0, 3))
def test_wrapped_key_places_are_distinct(
    tenant: str, key_class: str, tenant2: str, class2: str, a: int, b: int
) -> None:
    """The places of two data keys are equal exactly when organisation, class and number are."""
    same = (tenant, key_class, a) == (tenant2, class2, b)
    assert (wrapping.place(tenant, PATIENT, key_class, a) == wrapping.place(tenant2, PATIENT, class2, b)) == same


@given(st.binary(max_size=200), st.sampled_from([16, 32, 64]))
def test_padding_is_undone_exactly(plaintext: bytes, block: int) -> None:
    """Whatever the plaintext, zeros and markers at its end included, it comes back, and the length is whole blocks."""
    padded = envelope.pad(plaintext, block)
    assert len(padded) % block == 0
    assert 1 <= len(padded) - len(plaintext) <= block
    assert envelope.unpad(padded) == plaintext


@given(st.binary(max_size=100))
def test_sealed_cells_open(plaintext: bytes) -> None:
    """Whatever was sealed opens."""
    assert envelope.open_cell(KEY, FRAME, OWNER, envelope.seal_cell(KEY, FRAME, OWNER, 16, plaintext)) == plaintext


@given(st.binary(max_size=60), st.data())
def test_e04_flipped_bits_never_open(plaintext: bytes, data: st.DataObject) -> None:
    """One or more flipped bits anywhere are refused."""
    sealed = bytearray(envelope.seal_cell(KEY, FRAME, OWNER, 16, plaintext))
    for bit in data.draw(st.sets(st.integers(0, len(sealed) * 8 - 1), min_size=1, max_size=5)):
        sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(Tampered):
        envelope.open_cell(KEY, FRAME, OWNER, bytes(sealed))


@given(st.binary(max_size=60), st.data())
def test_e05_prefixes_never_open(plaintext: bytes, data: st.DataObject) -> None:
    """A cell cut anywhere, or with anything behind it, is refused."""
    sealed = envelope.seal_cell(KEY, FRAME, OWNER, 16, plaintext)
    end = data.draw(st.integers(0, len(sealed) - 1))
    more = data.draw(st.binary(min_size=1, max_size=20))
    for other in (sealed[:end], sealed + more):
        with pytest.raises(Tampered):
            envelope.open_cell(KEY, FRAME, OWNER, other)


@given(st.binary(max_size=200))
def test_e05_octets_that_nobody_sealed_never_open(octets: bytes) -> None:
    """Any octets, also behind a right header, are refused."""
    for other in (octets, FRAME.header + octets):
        with pytest.raises(Tampered):
            envelope.open_cell(KEY, FRAME, OWNER, other)


CELLS = st.dictionaries(st.integers(0, 0xFFFF), st.binary(min_size=35, max_size=90), max_size=6)


@given(CELLS)
def test_boxes_give_back_their_cells(cells: dict[int, bytes]) -> None:
    """Packing and unpacking are inverse, and packing does not depend on the order."""
    packed = box.pack(cells)
    assert box.unpack(packed) == cells
    assert box.pack(dict(reversed(cells.items()))) == packed


@given(st.binary(max_size=120))
def test_boxes_have_one_form(octets: bytes) -> None:
    """Octets that unpack are exactly what packing their cells gives; all others are refused."""
    try:
        cells = box.unpack(octets)
    except Tampered:
        return
    assert box.pack(cells) == octets


COLUMN = st.tuples(NAMES, st.sampled_from(["null", "sealed", "clear"]), st.binary(min_size=16, max_size=18))
ROWS = st.lists(COLUMN, max_size=4)


def _message(columns: list[tuple[str, str, bytes]]) -> bytes:
    def octets(name: str, kind: str, value: bytes) -> bytes:
        named = len(name.encode()).to_bytes(2) + name.encode()
        if kind == "null":
            return seal.empty(named)
        return seal.sealed(named, value[:16]) if kind == "sealed" else seal.clear(named, value)

    return seal.message(b"where", 1, [octets(*column) for column in columns])


def _meaning(columns: list[tuple[str, str, bytes]]) -> list[tuple[str, str, bytes]]:
    length = {"null": 0, "sealed": 16, "clear": None}
    return [(name, kind, value[: length[kind]]) for name, kind, value in columns]


@given(ROWS, ROWS)
def test_different_rows_have_different_seal_messages(
    one: list[tuple[str, str, bytes]], other: list[tuple[str, str, bytes]]
) -> None:
    """What a row seal covers is equal exactly when the columns are, in name, kind and content."""
    assert (_message(one) == _message(other)) == (_meaning(one) == _meaning(other))
