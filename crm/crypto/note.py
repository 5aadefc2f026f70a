"""Signed notes (C2SP signed-note, https://c2sp.org/signed-note) with Ed25519: signing one, and opening one.

    text, each line ending in a newline
    (an empty line)
    — <name> <base64(key id 4 ‖ signature 64)>

The signature covers the text with its last newline, and nothing else. The key id is the first four octets of
SHA-256(name ‖ 0x0A ‖ 0x01 ‖ public key). What a text says, and where a key is kept, is no matter of this module.
"""

import base64
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from crm.crypto.secret import Secret
from crm.errors import Tampered

__all__ = ["Signer", "derived", "open_note"]

_ED25519 = b"\x01"
"""The type of signature that every key here begins with."""

_KEY_ID = 4
_MARK = "\u2014 "
"""An em dash and a space, with which each line of a signature begins."""

_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
"""What no text may hold: control characters of ASCII, and halves of characters, which have no octets in UTF-8."""

_MOST_SIGNATURES = 100
"""Lines of signatures that are looked at; the specification asks for sixteen at least."""


class Signer(Secret):
    """Signs texts under a name and an Ed25519 seed of 32 octets.

    The name is what a reader trusts, such as `clinic.example/erasure`: not empty, without spaces and plus signs.
    """

    __slots__ = ("_key", "_key_id", "name", "verifier_key")

    def __init__(self, name: str, seed: bytes) -> None:
        if not _may_be_a_name(name):
            raise RuntimeError("a signer's name must not be empty, nor hold a space or a plus sign")
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        public = _ED25519 + self._key.public_key().public_bytes_raw()
        self._key_id = _key_id(name, public)
        self.verifier_key: str = f"{name}+{self._key_id.hex()}+{base64.b64encode(public).decode()}"
        """What everybody may know, to open notes with: name, key id in hex and public key in base64, joined by `+`."""

    def sign(self, text: str) -> str:
        """The note of `text`, which must end in a newline and hold no other control character."""
        if not _may_be_signed(text):
            raise RuntimeError("a text to sign must end in a newline, and hold no other control character")
        signature = base64.b64encode(self._key_id + self._key.sign(text.encode())).decode()
        return f"{text}\n{_MARK}{self.name} {signature}\n"


def derived(seed: bytes, info: bytes) -> bytes:
    """A seed for one use of a signing key whose own seed is uniformly random (HKDF-Expand, RFC 5869, SHA-256)."""
    return HKDFExpand(SHA256(), 32, info).derive(seed)


def open_note(note: str, verifier_key: str) -> str:
    """The text of `note` if the key that `verifier_key` names has signed it; lines of unknown keys are ignored.

    Raises Tampered for a note that is malformed, not signed by that key, or changed since; RuntimeError for something
    that is no verifier key.
    """
    name, key_id, public = _verifier(verifier_key)
    text, lines = _parts(note)
    signatures = [found for named, number, found in map(_signature, lines) if (named, number) == (name, key_id)]
    if not signatures:
        raise Tampered("no signature of this key")
    try:
        for signature in signatures:
            public.verify(signature, text.encode())
    except InvalidSignature:
        raise Tampered("a note's signature") from None
    return text


def _parts(note: str) -> tuple[str, list[str]]:
    """The text and the lines of signatures, which stand behind the last empty line."""
    text, gap, rest = note.rpartition("\n\n")
    *lines, end = rest.split("\n")
    if not gap or end or len(lines) > _MOST_SIGNATURES or not _may_be_signed(text + "\n"):
        raise Tampered("a note's form")
    return text + "\n", lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    """Name, key id and signature of one line."""
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    try:
        octets = base64.b64decode(encoded, validate=True)
    except ValueError:
        octets = b""
    if not line.startswith(_MARK) or not _may_be_a_name(name) or len(octets) <= _KEY_ID:
        raise Tampered("the form of a note's signature")
    return name, octets[:_KEY_ID], octets[_KEY_ID:]


def _verifier(verifier_key: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Name, key id and public key. The key itself may hold plus signs, the name may not."""
    try:
        name, number, encoded = verifier_key.split("+", 2)
        key_id, public = bytes.fromhex(number), base64.b64decode(encoded, validate=True)
        key = Ed25519PublicKey.from_public_bytes(public[1:])
    except ValueError:
        raise RuntimeError("not a verifier key") from None
    if public[:1] != _ED25519 or not _may_be_a_name(name) or key_id != _key_id(name, public):
        raise RuntimeError("not a verifier key of Ed25519")
    return name, key_id, key


def _key_id(name: str, public: bytes) -> bytes:
    """Which key of a name this is; `public` begins with its type."""
    return hashlib.sha256(name.encode() + b"\n" + public).digest()[:_KEY_ID]


def _may_be_a_name(name: str) -> bool:
    return bool(name) and name.isprintable() and "+" not in name and not any(map(str.isspace, name))


def _may_be_signed(text: str) -> bool:
    return text.endswith("\n") and not _FORBIDDEN.search(text)
