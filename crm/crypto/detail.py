"""The octets of words that are sealed beside an event of the log: header, binding and padding. Keeps no key.

    0xA1 ‖ alg u8 ‖ data-key number u32 ‖ nonce 12 ‖ ciphertext of the padded words ‖ tag 16

The associated data are "DTL1" ‖ those first six octets ‖ lp(tenant) ‖ patient 16 ‖ lp(kind) ‖ subject 16, where the
kind is the act of the event and the subject what it is about (`ref`), so that words open only beside their own event.
Their padding is that of a cell (`envelope`), in blocks of 128 octets. Integers are big-endian.
"""

import os
from typing import Final

from crm.crypto.aead import NONCE, TAG, Aead, Alg, InvalidTag
from crm.crypto.envelope import pad, unpad
from crm.crypto.lengths import lp
from crm.errors import Tampered

__all__ = ["FIRST_KEY", "number_of", "open_detail", "place", "seal_detail"]

FIRST_KEY: Final = 1_000_000
"""Number of the first data key that seals details of a patient: far from those of records, which count from 1."""

FORMAT: Final = 0xA1
BLOCK: Final = 128
_HEADER: Final = 6
_BODY: Final = _HEADER + NONCE


def place(tenant: str, patient: bytes, kind: str, subject: bytes) -> bytes:
    """Whose words, and beside which event: lp(tenant) ‖ patient 16 ‖ lp(kind) ‖ subject 16."""
    return lp(tenant) + patient + lp(kind) + subject


def seal_detail(cipher: Aead, dek_no: int, where: bytes, words: bytes) -> bytes:
    """The sealed octets, with a nonce of their own, under the data key of that number."""
    header, nonce = bytes((FORMAT, Alg.GCM)) + dek_no.to_bytes(4), os.urandom(NONCE)
    return header + nonce + cipher.encrypt(nonce, pad(words, BLOCK), b"DTL1" + header + where)


def number_of(sealed: bytes) -> int:
    """The number of the data key that sealed octets name. Raises Tampered where they are none."""
    if len(sealed) < _BODY + TAG or sealed[:2] != bytes((FORMAT, Alg.GCM)):
        raise Tampered("detail")
    return int.from_bytes(sealed[2:_HEADER])


def open_detail(cipher: Aead, dek_no: int, where: bytes, sealed: bytes) -> bytes:
    """The words, by exactly one decryption. Raises Tampered unless they were sealed for that place under that key."""
    if number_of(sealed) != dek_no:
        raise Tampered("detail")
    try:
        return unpad(cipher.decrypt(sealed[_HEADER:_BODY], sealed[_BODY:], b"DTL1" + sealed[:_HEADER] + where))
    except InvalidTag:
        raise Tampered("detail") from None
