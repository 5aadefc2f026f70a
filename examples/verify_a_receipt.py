"""Verifies a signed note (C2SP signed-note, Ed25519), such as the receipt of an erasure, and prints its text.

python verify_a_receipt.py receipt.txt "$(cat receipt.key)"
"""

import base64
import hashlib
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def verified(note: bytes, verifier_key: str) -> str:
    """The text of the note. Raises ValueError or InvalidSignature unless this key has signed it as it stands."""
    name, key_id, encoded = verifier_key.strip().split("+", 2)
    public = base64.b64decode(encoded, validate=True)
    digest = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if public[:1] != b"\x01" or digest.hex() != key_id:
        raise ValueError("not a verifier key of Ed25519")
    text, gap, signatures = note.rpartition(b"\n\n")
    start = f"\N{EM DASH} {name} ".encode()
    found = [base64.b64decode(line[len(start) :]) for line in signatures.splitlines() if line.startswith(start)]
    ours = [signature[4:] for signature in found if signature[:4] == digest]
    if not gap or not ours:
        raise ValueError("no signature of this key")
    for signature in ours:
        Ed25519PublicKey.from_public_bytes(public[1:]).verify(signature, text + b"\n")
    return text.decode()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: verify_a_receipt.py NOTE_FILE VERIFIER_KEY")
    try:
        print(verified(Path(sys.argv[1]).read_bytes(), sys.argv[2]))
    except (OSError, ValueError, InvalidSignature) as failure:
        sys.exit(f"not verified: {str(failure) or 'the signature is not one of this text'}")
