"""The two authenticated ciphers that stored octets may name, and nothing about what they protect."""

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

from crm.errors import Unsafe

__all__ = ["KEY", "NONCE", "TAG", "Aead", "Alg", "InvalidTag", "cell_cipher", "cipher"]

KEY = 32
"""Octets of every secret key here."""

NONCE = 12
"""Octets of a nonce (NIST SP 800-38D, section 8.2: 96 bits). Drawn from `os.urandom` for each message, never ahead:
a forked process would repeat a stock that its parent drew."""

TAG = 16
"""Octets of an authentication tag."""


class Alg(IntEnum):
    """The cipher as stored octets name it."""

    GCM = 0x01
    """AES-256-GCM (NIST SP 800-38D), for cells: a patient's key seals few messages."""

    GCM_SIV = 0x02
    """AES-256-GCM-SIV (RFC 8452), for keys: a wrap key seals many, so it must survive a repeated nonce."""


class Aead(Protocol):
    """What a cipher does once it holds its key; a test may count the calls."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes: ...


def cipher(alg: Alg, key: bytes) -> Aead:
    """The cipher `alg` with a key of 32 octets. Raises Unsafe where this OpenSSL does not offer it."""
    if len(key) != KEY:
        raise ValueError("a key has 32 octets")
    if alg is Alg.GCM:
        return AESGCM(key)
    try:
        return AESGCMSIV(key)
    except UnsupportedAlgorithm:
        raise Unsafe(
            "this OpenSSL offers no AES-256-GCM-SIV, which wraps the keys: use the cryptography wheel from PyPI, "
            "which brings its own OpenSSL"
        ) from None


cell_cipher: Callable[[bytes], Aead] = AESGCM
"""The cipher of cells with a key that is known to have 32 octets: made for each class of each record that is opened."""
