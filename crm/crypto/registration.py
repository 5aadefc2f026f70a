"""The sealed registration of a webhook endpoint: its address, what it is told and its secrets, as one authentic whole.

    0xB1 ‖ alg u8 ‖ nonce 12 ‖ ciphertext of JSON ‖ tag 16

The associated data are "WHK1" ‖ those first two octets ‖ lp(tenant) ‖ endpoint 16, under a key for the registrations of
the organisation: whoever may write the database can neither redirect an endpoint nor learn its secrets.
"""

import os
from typing import Final

from crm.crypto.aead import NONCE, TAG, Alg, InvalidTag
from crm.crypto.keyset import KeySet
from crm.crypto.lengths import lp, uuid_octets
from crm.errors import Tampered

__all__ = ["open_registration", "seal_registration"]

_HEADER: Final = bytes((0xB1, Alg.GCM_SIV))
_BODY: Final = len(_HEADER) + NONCE
_PURPOSE: Final = "webhook"


def _place(org: str, endpoint_id: str) -> bytes:
    return b"WHK1" + _HEADER + lp(org) + uuid_octets(endpoint_id)


def seal_registration(keys: KeySet, org: str, endpoint_id: str, content: bytes) -> bytes:
    """The sealed octets, with a nonce of their own. Raises KeyUnavailable."""
    nonce = os.urandom(NONCE)
    sealed = keys.lasting_cipher(org, _PURPOSE).encrypt(nonce, content, _place(org, endpoint_id))
    return _HEADER + nonce + sealed


def open_registration(keys: KeySet, org: str, endpoint_id: str, sealed: bytes) -> bytes:
    """The content. Raises Tampered unless it was sealed for that endpoint of that organisation; KeyUnavailable."""
    if len(sealed) < _BODY + TAG or sealed[: len(_HEADER)] != _HEADER:
        raise Tampered("webhook registration")
    cipher = keys.lasting_cipher(org, _PURPOSE)
    try:
        return cipher.decrypt(sealed[len(_HEADER) : _BODY], sealed[_BODY:], _place(org, endpoint_id))
    except InvalidTag:
        raise Tampered("webhook registration") from None
