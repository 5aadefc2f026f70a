"""The octets of one sealed cell: header, binding and padding. Knows no catalogue and keeps no key.

    0xE1 ‖ alg u8 ‖ codec u8 ‖ data-key number u32 ‖ nonce 12 ‖ ciphertext of the padded plaintext ‖ tag 16

The associated data are "FLE1" ‖ those first seven octets ‖ lp(tenant) ‖ lp(entity) ‖ lp(field) ‖ patient 16 ‖ lp(row),
so that a cell opens only in its own place and under the header it was sealed with. The names are frozen logical ids,
never those of tables or columns, which may change. Integers are big-endian.
"""

import os
from typing import NamedTuple

from crm.crypto.aead import NONCE, TAG, Aead, Alg, InvalidTag
from crm.crypto.lengths import lp
from crm.errors import Tampered

__all__ = ["SHORTEST", "Frame", "frame", "open_cell", "owner", "pad", "seal_cell", "unpad"]

FORMAT = 0xE1

SHORTEST = 7 + NONCE + TAG
"""Octets of an envelope around nothing at all: shorter is no envelope."""


class Frame(NamedTuple):
    """What all patients share in one field: the only header that is accepted, and the start of the binding."""

    header: bytes
    start: bytes


def frame(alg: Alg, codec: int, dek_no: int, tenant: str, entity: str, field: str) -> Frame:
    """The frame of one field. The algorithm and the codec are the reader's expectation, never the envelope's choice."""
    header = bytes((FORMAT, alg, codec)) + dek_no.to_bytes(4)
    return Frame(header, b"FLE1" + header + lp(tenant) + lp(entity) + lp(field))


def owner(patient: bytes, row: str) -> bytes:
    """The end of the binding: the patient's 16 octets ‖ lp(row)."""
    return patient + lp(row)


def pad(plaintext: bytes, block: int) -> bytes:
    """`plaintext` ‖ 0x80 ‖ zeros up to a multiple of `block` octets (ISO/IEC 7816-4), so that lengths tell little."""
    return plaintext + b"\x80" + bytes(-(len(plaintext) + 1) % block)


def unpad(padded: bytes) -> bytes:
    """The plaintext before its padding, whatever block it was written with. Raises Tampered without a marker."""
    marked = padded.rstrip(b"\0")
    if not marked or marked[-1] != 0x80:
        raise Tampered("padding")
    return marked[:-1]


def seal_cell(cipher: Aead, framed: Frame, owned: bytes, block: int, plaintext: bytes) -> bytes:
    """One new envelope, with a nonce of its own."""
    nonce = os.urandom(NONCE)
    return framed.header + nonce + cipher.encrypt(nonce, pad(plaintext, block), framed.start + owned)


def open_cell(cipher: Aead, framed: Frame, owned: bytes, envelope: object) -> bytes:
    """The plaintext of `envelope`, by exactly one decryption.

    Anything that is not an envelope sealed for this place raises Tampered, without saying what was found.
    """
    header, start = framed
    if not isinstance(envelope, bytes) or len(envelope) < SHORTEST or envelope[:7] != header:
        raise Tampered("cell")
    try:
        return unpad(cipher.decrypt(envelope[7:19], envelope[19:], start + owned))
    except InvalidTag:
        raise Tampered("cell") from None
