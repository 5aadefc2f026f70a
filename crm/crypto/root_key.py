"""A root key that this process holds itself, and how it wraps; where it is kept is the provider's business."""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from crm.crypto.aead import KEY, NONCE, TAG, Aead, Alg, InvalidTag, cipher
from crm.crypto.lengths import lp
from crm.errors import Tampered

__all__ = ["RootKey", "octets"]

_HEADER = bytes((0xC1, Alg.GCM_SIV))


@dataclass(frozen=True, slots=True)
class RootKey:
    """One root key of a use.

    A wrapped key is 0xC1 ‖ 0x02 ‖ nonce 12 ‖ ciphertext ‖ tag 16 under AES-256-GCM-SIV, with the associated data
    "ROOT1" ‖ those two octets ‖ lp(key id) ‖ the context as JSON with sorted keys (RFC 8785 for these plain texts).
    """

    id: str
    use: str
    cipher: Aead = field(repr=False)

    @classmethod
    def of(cls, key_id: str, use: str, secret: bytes) -> "RootKey":
        """The root key with these 32 octets."""
        return cls(key_id, use, cipher(Alg.GCM_SIV, secret))

    def wrap(self, key: bytes, context: Mapping[str, str]) -> bytes:
        """The key, wrapped."""
        nonce = os.urandom(NONCE)
        return _HEADER + nonce + self.cipher.encrypt(nonce, key, self._associated_data(context))

    def unwrap(self, blob: bytes, context: Mapping[str, str]) -> bytes:
        """The key again. Raises Tampered when blob or context is not what it was."""
        body = len(_HEADER) + NONCE
        if self.use != context["use"] or not blob.startswith(_HEADER) or len(blob) < body + TAG:
            raise Tampered("stored key")
        try:
            return self.cipher.decrypt(blob[len(_HEADER) : body], blob[body:], self._associated_data(context))
        except InvalidTag:
            raise Tampered("stored key") from None

    def _associated_data(self, context: Mapping[str, str]) -> bytes:
        return b"ROOT1" + _HEADER + lp(self.id) + orjson.dumps(dict(context), option=orjson.OPT_SORT_KEYS)


def octets(text: str) -> bytes:
    """The 32 octets of a root key written in base64. Raises ValueError, which says what is wrong and not the text."""
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("is not base64") from None
    if len(secret) != KEY or not any(secret):
        raise ValueError(f"does not have {KEY} octets")
    return secret
