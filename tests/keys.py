"""Key rings and key sets for tests: real ones in a temporary folder, and a cipher that counts what is asked of it."""

from pathlib import Path

import orjson

from crm.crypto.aead import Aead
from crm.crypto.keyring import KeyRing
from crm.crypto.keyset import KeySet

ENV = "test"


def key_set(folder: Path) -> KeySet:
    """A key set of its own, with the first keys of every class."""
    ring = KeyRing.create(folder / "keyring.json")
    return KeySet.load(ring, ENV, KeySet.bootstrap(ring, ENV))


def partial_ring(whole: Path, *uses: str) -> KeyRing:
    """The ring that a deployment is given which may have only these uses, cut out of a whole one."""
    ring = orjson.loads(whole.read_bytes())
    ring["keys"] = [key for key in ring["keys"] if key["use"] in uses]
    part = whole.with_name("partial.json")
    part.touch(mode=0o600)
    part.write_bytes(orjson.dumps(ring))
    return KeyRing.load(part)


class CountingCipher:
    """A cipher that does its work and counts the calls."""

    def __init__(self, inner: Aead) -> None:
        self.inner = inner
        self.encrypted = 0
        self.decrypted = 0

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        self.encrypted += 1
        return self.inner.encrypt(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes | None) -> bytes:
        self.decrypted += 1
        return self.inner.decrypt(nonce, data, associated_data)
