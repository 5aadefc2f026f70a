"""The sealed place of a change in the feed: whoever holds one learns neither its number nor its time, nor makes one.

    nonce 12 ‖ ciphertext of (number u64 ‖ microseconds since 1970 u64) ‖ tag 16

AES-256-GCM-SIV under a key for the positions of the organisation that no rotation changes, with "POS1" as associated
data. The nonce follows from the place, so that one place has one position; or it is drawn, so that two positions of one
place cannot be told from those of two.
"""

import os
from typing import Final

from crm.crypto.aead import NONCE, TAG, InvalidTag
from crm.crypto.keyset import KeySet
from crm.errors import Tampered

__all__ = ["open_position", "seal_position"]

_PURPOSE: Final = "position"
_PLACE: Final = b"POS1"
_NUMBER: Final = 8
_LENGTH: Final = NONCE + 2 * _NUMBER + TAG


def seal_position(keys: KeySet, org: str, seq: int, at: int, *, drawn: bool = False) -> bytes:
    """The sealed place of change number `seq`, made at `at`. Raises KeyUnavailable."""
    place = seq.to_bytes(_NUMBER) + at.to_bytes(_NUMBER)
    nonce = os.urandom(NONCE) if drawn else keys.lasting_digest(org, _PURPOSE, place)[:NONCE]
    return nonce + keys.lasting_cipher(org, _PURPOSE).encrypt(nonce, place, _PLACE)


def open_position(keys: KeySet, org: str, sealed: bytes) -> tuple[int, int]:
    """Number and time. Raises Tampered for what was not sealed for this organisation; KeyUnavailable."""
    if len(sealed) != _LENGTH:
        raise Tampered("position")
    try:
        place = keys.lasting_cipher(org, _PURPOSE).decrypt(sealed[:NONCE], sealed[NONCE:], _PLACE)
    except InvalidTag:
        raise Tampered("position") from None
    return int.from_bytes(place[:_NUMBER]), int.from_bytes(place[_NUMBER:])
