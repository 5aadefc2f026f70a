"""The octets of one sealed cell: header, binding and padding. Knows no catalogue and keeps no key.

    0xE1 ‖ alg u8 ‖ codec u8 ‖ data-key number u32 ‖ nonce 12 ‖ ciphertext of the padded plaintext ‖ tag 16

The associated data are "FLE1" ‖ the first seven octets ‖ the binding, so that a cell opens only in its own
organisation, entity, field, patient and row, and under the header it was sealed with. Integers are big-endian.
"""

import os
from collections.abc import Mapping

from crm.crypto.aead import NONCE, TAG, Aead, Alg, InvalidTag
from crm.crypto.lengths import lp
from crm.errors import Tampered

__all__ = ["SHORTEST", "associated_data", "binding", "open_cell", "pad", "seal_cell", "tag", "unpad"]

FORMAT = 0xE1
_HEADER = 7
_BODY = _HEADER + NONCE

SHORTEST = _BODY + TAG
"""Octets of an envelope around nothing at all: shorter is no envelope."""


def binding(tenant: str, entity: str, field: str, patient: bytes, row: str) -> bytes:
    """Where a cell belongs: lp(tenant) ‖ lp(entity) ‖ lp(field) ‖ the patient's 16 octets ‖ lp(row).

    All are frozen logical names, never those of tables or columns, which may change.
    """
    return lp(tenant) + lp(entity) + lp(field) + patient + lp(row)


def associated_data(header: bytes, bound: bytes) -> bytes:
    """What the tag covers beside the ciphertext; `header` is the first seven octets of the envelope."""
    return b"FLE1" + header + bound


def pad(plaintext: bytes, block: int) -> bytes:
    """`plaintext` ‖ 0x80 ‖ zeros up to a multiple of `block` octets (ISO/IEC 7816-4), so that lengths tell little."""
    return plaintext + b"\x80" + bytes(-(len(plaintext) + 1) % block)


def unpad(padded: bytes) -> bytes:
    """The plaintext before its padding, whatever block it was written with. Raises Tampered without a marker."""
    end = padded.rstrip(b"\0")
    if end[-1:] != b"\x80":
        raise Tampered("padding")
    return end[:-1]


def seal_cell(alg: Alg, cipher: Aead, codec: int, dek_no: int, block: int, bound: bytes, plaintext: bytes) -> bytes:
    """One new envelope, with a nonce of its own."""
    header = bytes((FORMAT, alg, codec)) + dek_no.to_bytes(4)
    nonce = os.urandom(NONCE)
    return header + nonce + cipher.encrypt(nonce, pad(plaintext, block), associated_data(header, bound))


def open_cell(ciphers: Mapping[int, Aead], codec: int, bound: bytes, envelope: object) -> bytes:
    """The plaintext of `envelope`, by exactly one decryption.

    `ciphers` is the allow-list: the algorithms that may occur here, each with its key. Anything that is not the
    envelope sealed for this place raises Tampered, without saying what was found.
    """
    if not isinstance(envelope, bytes) or len(envelope) < SHORTEST or envelope[0] != FORMAT or envelope[2] != codec:
        raise Tampered("cell")
    cipher = ciphers.get(envelope[1])
    if cipher is None:
        raise Tampered("cell")
    try:
        padded = cipher.decrypt(envelope[_HEADER:_BODY], envelope[_BODY:], b"FLE1" + envelope[:_HEADER] + bound)
    except InvalidTag:
        raise Tampered("cell") from None
    return unpad(padded)


def tag(envelope: bytes) -> bytes:
    """The last 16 octets, which stand for the whole cell in a row seal."""
    return envelope[-TAG:]
