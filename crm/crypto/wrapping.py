"""The octets of one wrapped data key, 66 of them. Knows neither where wrap keys come from nor what data keys seal.

    0xD1 ‖ alg u8 ‖ epoch u32 ‖ nonce 12 ‖ wrapped key 32 ‖ tag 16

The associated data are "DEK1" ‖ the first six octets ‖ lp(tenant) ‖ patient 16 ‖ lp(class) ‖ data-key number u32.
"""

import os
from dataclasses import dataclass, field
from functools import lru_cache

from crm.crypto.aead import KEY, NONCE, TAG, Aead, Alg, InvalidTag
from crm.crypto.lengths import lp
from crm.errors import Tampered

FORMAT = 0xD1
_HEADER = 6
_BODY = _HEADER + NONCE

LENGTH = _BODY + KEY + TAG
"""Octets of every wrapped data key."""


@dataclass(frozen=True, slots=True)
class WrapKey:
    """One epoch's key for one class. The algorithm is the epoch's, not the record's choice."""

    epoch: int
    alg: Alg
    cipher: Aead = field(repr=False)
    header: bytes = field(init=False)
    """The first six octets of everything this key wraps."""
    bound: bytes = field(init=False)
    """What the associated data begin with."""

    def __post_init__(self) -> None:
        header = bytes((FORMAT, self.alg)) + self.epoch.to_bytes(4)
        object.__setattr__(self, "header", header)
        object.__setattr__(self, "bound", b"DEK1" + header)


def place(tenant: str, patient: bytes, key_class: str, dek_no: int) -> bytes:
    """Whose key it is: lp(tenant) ‖ patient 16 ‖ lp(class) ‖ data-key number u32."""
    return lp(tenant) + patient + _numbered(key_class, dek_no)


@lru_cache(maxsize=4096)
def _numbered(key_class: str, dek_no: int) -> bytes:
    """The end of a place, which is the same for everybody's."""
    return lp(key_class) + dek_no.to_bytes(4)


def wrap(key: WrapKey, whose: bytes, data_key: bytes) -> bytes:
    """The data key, wrapped under the epoch's key for that place."""
    nonce = os.urandom(NONCE)
    return key.header + nonce + key.cipher.encrypt(nonce, data_key, key.bound + whose)


def header_of(wrapped: object) -> bytes:
    """The octets that a wrap key is known by, its `header`; nothing at all where these are no octets."""
    return wrapped[:_HEADER] if isinstance(wrapped, bytes) else b""


def epoch_of(wrapped: object) -> int:
    """The epoch that a wrapped key names. Raises Tampered when this is no wrapped key."""
    if not isinstance(wrapped, bytes) or len(wrapped) != LENGTH or wrapped[0] != FORMAT:
        raise Tampered("data key")
    return int.from_bytes(wrapped[2:_HEADER])


def unwrap(key: WrapKey, whose: bytes, wrapped: bytes) -> bytes:
    """The data key, by exactly one decryption. Raises Tampered when it is not that place's key under that epoch."""
    if wrapped[:_HEADER] != key.header or len(wrapped) != LENGTH:
        raise Tampered("data key")
    try:
        return key.cipher.decrypt(wrapped[_HEADER:_BODY], wrapped[_BODY:], key.bound + whose)
    except InvalidTag:
        raise Tampered("data key") from None
