"""The pure formats of cells, boxes and wrapped keys."""

import os

import pytest

from crm.crypto import envelope, wrapping
from crm.crypto.aead import Alg, cipher
from crm.crypto.box import pack, unpack
from crm.crypto.lengths import lp, uuid_octets
from crm.errors import Tampered

PATIENT = uuid_octets("0198f0c2-7a00-7000-8000-000000000001")
FRAME = envelope.frame(Alg.GCM, 1, 3, "org", "patient", "time_zone")
OWNER = envelope.owner(PATIENT, "preference")


@pytest.mark.parametrize(
    ("length", "block", "padded"), [(0, 16, 16), (15, 16, 16), (16, 16, 32), (31, 32, 32), (32, 32, 64), (63, 64, 64)]
)
def test_padding_fills_blocks_and_always_adds(length: int, block: int, padded: int) -> None:
    """A plaintext grows to the next multiple of its block, and by a whole block when it filled one."""
    plaintext = b"\x80" * length
    result = envelope.pad(plaintext, block)
    assert len(result) == padded
    assert envelope.unpad(result) == plaintext


@pytest.mark.parametrize("padded", [b"", b"\0" * 16, b"abc", b"abc\0", b"\x81\0"])
def test_padding_without_marker_is_refused(padded: bytes) -> None:
    """Octets that nobody padded give no plaintext."""
    with pytest.raises(Tampered):
        envelope.unpad(padded)


def test_block_may_change_between_releases() -> None:
    """A cell padded to another block still opens, since the block is a choice of the writer."""
    key = cipher(Alg.GCM, os.urandom(32))
    sealed = envelope.seal_cell(key, FRAME, OWNER, 64, b"Europe/Paris")
    assert envelope.open_cell(key, FRAME, OWNER, sealed) == b"Europe/Paris"


@pytest.mark.parametrize("values", [("YES", "NO", "UNKNOWN"), ("+442071838750", "+15551234567")])
def test_lengths_do_not_tell_values_apart(values: tuple[str, ...]) -> None:
    """Short answers within a block have envelopes of one length."""
    key = cipher(Alg.GCM, os.urandom(32))
    assert len({len(envelope.seal_cell(key, FRAME, OWNER, 32, value.encode())) for value in values}) == 1


def test_envelope_adds_thirty_five_octets() -> None:
    """Header, nonce and tag are 35 octets; the header names format, algorithm, codec and data-key number."""
    sealed = envelope.seal_cell(cipher(Alg.GCM, os.urandom(32)), FRAME, OWNER, 16, b"Europe/Paris")
    assert len(sealed) == envelope.SHORTEST + 16 == 51
    assert sealed[:7] == bytes((0xE1, 0x01, 0x01, 0, 0, 0, 3))


def test_box_keeps_cells_in_order_and_unknown_numbers() -> None:
    """A box gives back what it was given, ascending, whatever numbers the fields have."""
    cells = {60_000: os.urandom(51), 10: os.urandom(35), 47: os.urandom(99)}
    box = pack(cells)
    assert unpack(box) == cells
    assert list(unpack(box)) == [10, 47, 60_000]
    assert pack(unpack(box)) == box
    assert unpack(pack({})) == {}


def test_box_refuses_every_truncation_and_extension() -> None:
    """Lengths must fill the box exactly: cut anywhere but between two cells, or longer, it is refused."""
    box = pack({10: bytes(40), 11: bytes(35)})
    between = 6 + 40
    for end in range(1, len(box)):
        if end != between:
            with pytest.raises(Tampered):
                unpack(box[:end])
    with pytest.raises(Tampered):
        unpack(box + b"\0")


@pytest.mark.parametrize(
    "box",
    [
        pack({10: bytes(40)}) * 2,
        pack({11: bytes(40)}) + pack({10: bytes(40)}),
        pack({10: bytes(34)}),
        (10).to_bytes(2) + b"\xff\xff\xff\xff" + bytes(40),
        "plain text",
        None,
    ],
    ids=["repeated", "descending", "short cell", "huge length", "text", "null"],
)
def test_box_refuses_other_octets(box: object) -> None:
    """What is no box is refused before any cell is looked at."""
    with pytest.raises(Tampered):
        unpack(box)


def test_wrapped_data_key_has_sixty_six_octets() -> None:
    """Format, algorithm and epoch stand in front, and the algorithm is the epoch's own."""
    wrap_key = wrapping.WrapKey(258, Alg.GCM, cipher(Alg.GCM, os.urandom(32)))
    whose = wrapping.place("org", PATIENT, "identity", 1)
    secret = os.urandom(32)
    wrapped = wrapping.wrap(wrap_key, whose, secret)
    assert len(wrapped) == wrapping.LENGTH == 66
    assert wrapped[:6] == bytes((0xD1, 0x01, 0, 0, 1, 2))
    assert wrapping.unwrap(wrap_key, whose, wrapped) == secret


@pytest.mark.parametrize(
    "text",
    [
        "0198f0c27a0070008000000000000001",
        "0198F0C2-7A00-7000-8000-000000000001",
        "{198f0c2-7a00-7000-8000-000000000001}",
        "0198f0c2-7a00-7000-8000-00000000001 ",
        "0198f0c27-a00-7000-8000-000000000001",
        "0198f0c2-7a00-7000-8000-00000000000g",
        "0198f0c2-7a00-7000-8000-00000000000\u0661",
        "",
    ],
)
def test_only_canonical_uuids_name_patients(text: str) -> None:
    """Another spelling of a UUID would be a second patient under the same octets."""
    with pytest.raises(ValueError, match=r"UUID|hexadecimal"):
        uuid_octets(text)


def test_length_prefix_counts_octets_and_has_a_limit() -> None:
    """The length is that of the UTF-8 octets, in two octets; longer names are refused."""
    assert lp("né") == b"\x00\x03n\xc3\xa9"
    with pytest.raises(ValueError, match="65,535"):
        lp("x" * 65_536)
