"""Cosignatures of witnesses (C2SP tlog-cosignature, https://c2sp.org/tlog-cosignature), the Ed25519 kind: v1.

A line below the text of a checkpoint, like any signature of a note, of type 0x04:

    — <name> <base64(key id 4 ‖ seconds since 1970, 8, big-endian ‖ signature 64)>

The signature covers `cosignature/v1`, a line `time <the same seconds>`, and the text. It says that then this was the
largest tree of that log that the witness had seen, and that all it had seen before were its beginnings. Whether that
is so is judged by whoever calls; here is only how it is said.
"""

from contextlib import suppress

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from crm.crypto.note import Signature, VerifierKey, parsed, verifier_key
from crm.crypto.secret import Secret
from crm.errors import Tampered

__all__ = ["COSIGNATURE", "Cosigner", "cosigned_at", "good_lines", "lines_of"]

COSIGNATURE = b"\x04"
"""The type of signature that a witness's key begins with."""

_TIME = 8
_LATEST = 2**63 - 1


class Cosigner(Secret):
    """Cosigns texts under a name and an Ed25519 seed of 32 octets, which nobody may use for anything else."""

    __slots__ = ("_key", "_public", "name", "verifier_key")

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises RuntimeError for a name that no key may have."""
        self.name = name
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self._public = VerifierKey.of(name, COSIGNATURE, self._key.public_key().public_bytes_raw())
        self.verifier_key: str = str(self._public)
        """What everybody may know: name, key id in hex and public key in base64, joined by `+`."""

    def cosign(self, text: str, seconds: int) -> str:
        """The line to add to the note of `text`, with its newline."""
        octets = seconds.to_bytes(_TIME) + self._key.sign(_message(text, seconds))
        return Signature(self.name, self._public.key_id, octets).line()


def cosigned_at(note: str, witness: str) -> int:
    """When the witness with this verifier key cosigned the note, in seconds since 1970; the latest where it did often.

    Raises Tampered for a note that is malformed, not cosigned by that key, or changed since; RuntimeError for something
    that is no verifier key of a witness.
    """
    key, found, latest = verifier_key(witness, COSIGNATURE), parsed(note), 0
    for octets in found.signed_by(key):
        seconds = int.from_bytes(octets[:_TIME])
        if len(octets) <= _TIME or seconds > _LATEST:
            raise Tampered("the form of a cosignature")
        key.verify(octets[_TIME:], _message(found.text, seconds))
        latest = max(latest, seconds)
    return latest


def lines_of(note: str, witness: str) -> str:
    """The lines of a note that claim to be by this witness."""
    key = verifier_key(witness, COSIGNATURE)
    return "".join(
        each.line() for each in parsed(note).signatures if (each.name, each.key_id) == (key.name, key.key_id)
    )


def good_lines(text: str, lines: str, witness: str) -> dict[str, int]:
    """Those of many lines by which this witness did cosign the text, each with its time in seconds since 1970.

    Whatever else stands among them is passed by: each is judged alone.
    """
    mark, good = f"\u2014 {verifier_key(witness, COSIGNATURE).name} ", {}
    for line in lines.split("\n"):
        if line.startswith(mark):
            with suppress(Tampered):
                good[f"{line}\n"] = cosigned_at(f"{text}\n{line}\n", witness)
    return good


def _message(text: str, seconds: int) -> bytes:
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()
