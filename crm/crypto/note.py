"""Signed notes (C2SP signed-note, https://c2sp.org/signed-note) with Ed25519: signing one, and opening one.

    text, each line ending in a newline
    (an empty line)
    — <name> <base64(key id 4 ‖ signature 64)>

The signature covers the text with its last newline, and nothing else. The key id is the first four octets of
SHA-256(name ‖ 0x0A ‖ type ‖ public key), of type 0x01 here; `cosignature` has another. What a text says, and where a
key is kept, is no matter of this module.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from crm.crypto.secret import Secret
from crm.errors import Tampered

__all__ = [
    "ED25519",
    "Note",
    "Signature",
    "Signer",
    "VerifierKey",
    "derived",
    "may_be_a_name",
    "open_note",
    "parsed",
    "verifier_key",
    "with_signatures",
]

ED25519 = b"\x01"
"""The type of signature that the keys of this module begin with."""

_KEY_ID = 4
_MARK = "\u2014 "
"""An em dash and a space, with which each line of a signature begins."""

_FORBIDDEN = re.compile(r"[\x00-\x09\x0b-\x1f\ud800-\udfff]")
"""What no text may hold: control characters of ASCII, and halves of characters, which have no octets in UTF-8."""

_MOST_SIGNATURES = 16
"""Lines of signatures that a note may have: as many as the specification asks every reader to accept."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One line below a text: whose it says to be, and what was signed with."""

    name: str
    key_id: bytes
    octets: bytes

    def line(self) -> str:
        """The line as it stands in a note, with its newline."""
        return f"{_MARK}{self.name} {base64.b64encode(self.key_id + self.octets).decode()}\n"


@dataclass(frozen=True, slots=True)
class Note:
    """A text with its last newline, and what stands below it. None of it is verified yet."""

    text: str
    signatures: tuple[Signature, ...]

    def signed_by(self, key: "VerifierKey") -> list[bytes]:
        """What claims to be by this key. Raises Tampered where nothing does."""
        found = [each.octets for each in self.signatures if (each.name, each.key_id) == (key.name, key.key_id)]
        if not found:
            raise Tampered("no signature of this key")
        return found


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """What everybody may know of a key: the name that it is trusted under, its type, its id, its 32 octets."""

    name: str
    kind: bytes
    key_id: bytes
    public: bytes

    @classmethod
    def of(cls, name: str, kind: bytes, public: bytes) -> "VerifierKey":
        """That of a public key under a name. Raises RuntimeError for a name that none may have."""
        if not may_be_a_name(name):
            raise RuntimeError("a signer's name must not be empty, nor hold a space or a plus sign")
        key_id = hashlib.sha256(name.encode() + b"\n" + kind + public).digest()[:_KEY_ID]
        return cls(name, kind, key_id, public)

    def __str__(self) -> str:
        """Name, key id in hex, and type with public key in base64, joined by `+`."""
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(self.kind + self.public).decode()}"

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises Tampered unless this key has signed the message."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, message)
        except InvalidSignature:
            raise Tampered("a note's signature") from None


class Signer(Secret):
    """Signs texts under a name and an Ed25519 seed of 32 octets.

    The name is what a reader trusts, such as `clinic.example/erasure`: not empty, without spaces and plus signs.
    """

    __slots__ = ("_key", "_public", "_stamping", "name", "verifier_key")

    def __init__(self, name: str, seed: bytes) -> None:
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._stamping = derived(seed, b"heed/stamp/1")
        self._public = VerifierKey.of(name, ED25519, self._key.public_key().public_bytes_raw())
        self.verifier_key: str = str(self._public)
        """What everybody may know, to open notes with: name, key id in hex and public key in base64, joined by `+`."""

    def sign(self, text: str) -> str:
        """The note of `text`, which must end in a newline and hold no other control character."""
        if not _may_be_signed(text):
            raise RuntimeError("a text to sign must end in a newline, and hold no other control character")
        return f"{text}\n{Signature(self.name, self._public.key_id, self._key.sign(text.encode())).line()}"

    def stamp(self, *parts: bytes) -> bytes:
        """HMAC-SHA256 over the parts, each behind its length (u32), under another key from the same seed; 32 octets.

        For what nobody has to believe but those who hold the seed themselves, at a tenth of the time of a signature.
        """
        message = b"".join([len(part).to_bytes(4) + part for part in parts])
        return hmac.digest(self._stamping, message, "sha256")

    def stamped(self, stamp: bytes, *parts: bytes) -> bool:
        """Whether this is the stamp of the parts."""
        return hmac.compare_digest(stamp, self.stamp(*parts))

    def opened(self, note: str) -> str:
        """The text of `note` if this very key has signed it. Raises Tampered."""
        return _opened(note, self._public)


def derived(seed: bytes, info: bytes) -> bytes:
    """A seed for one use of a signing key whose own seed is uniformly random (HKDF-Expand, RFC 5869, SHA-256)."""
    return HKDFExpand(SHA256(), 32, info).derive(seed)


def open_note(note: str, verifier: str) -> str:
    """The text of `note` if the key that `verifier` names has signed it; lines of unknown keys are ignored.

    Raises Tampered for a note that is malformed, not signed by that key, or changed since; RuntimeError for something
    that is no verifier key.
    """
    return _opened(note, verifier_key(verifier))


def _opened(note: str, key: VerifierKey) -> str:
    found = parsed(note)
    for signature in found.signed_by(key):
        key.verify(signature, found.text.encode())
    return found.text


def parsed(note: str) -> Note:
    """A note taken apart, its text before the last empty line. Raises Tampered for one that is malformed."""
    text, gap, rest = note.rpartition("\n\n")
    *lines, end = rest.split("\n")
    if not gap or end or len(lines) > _MOST_SIGNATURES or not _may_be_signed(text + "\n"):
        raise Tampered("a note's form")
    return Note(text + "\n", tuple(map(_signature, lines)))


def with_signatures(note: str, lines: str) -> str:
    """The same note with more lines of signatures, such as those of witnesses; none twice. Raises Tampered."""
    text, _, present = note.rpartition("\n\n")
    added = [line for line in lines.splitlines(keepends=True) if line not in present.splitlines(keepends=True)]
    result = f"{text}\n\n{present}{''.join(added)}"
    parsed(result)
    return result


def verifier_key(encoded: str, kind: bytes = ED25519) -> VerifierKey:
    """The key that this encodes. Raises RuntimeError for anything but a verifier key of this type.

    The key itself may hold plus signs, the name may not.
    """
    try:
        name, number, rest = encoded.split("+", 2)
        key_id, octets = bytes.fromhex(number), base64.b64decode(rest, validate=True)
        Ed25519PublicKey.from_public_bytes(octets[1:])
    except ValueError:
        raise RuntimeError("not a verifier key") from None
    if octets[:1] != kind or not may_be_a_name(name) or key_id != VerifierKey.of(name, kind, octets[1:]).key_id:
        raise RuntimeError("not a verifier key of this type of signature")
    return VerifierKey(name, kind, key_id, octets[1:])


def _signature(line: str) -> Signature:
    name, _, encoded = line.removeprefix(_MARK).partition(" ")
    try:
        octets = base64.b64decode(encoded, validate=True)
    except ValueError:
        octets = b""
    if not line.startswith(_MARK) or not may_be_a_name(name) or len(octets) <= _KEY_ID:
        raise Tampered("the form of a note's signature")
    return Signature(name, octets[:_KEY_ID], octets[_KEY_ID:])


def may_be_a_name(name: str) -> bool:
    """Whether keys may have this name: not empty, printable, without spaces and plus signs."""
    return bool(name) and name.isprintable() and "+" not in name and not any(map(str.isspace, name))


def _may_be_signed(text: str) -> bool:
    return text.endswith("\n") and not _FORBIDDEN.search(text)
