"""The row seal: one tag over a row's version, its cells and its clear columns. Knows no catalogue and keeps no key.

    seal = nonce 12 ‖ AES-256-GCM tag 16 over nothing, with this as associated data:
    "SEAL1" ‖ lp(tenant) ‖ lp(entity) ‖ patient 16 ‖ lp(row) ‖ version u64 ‖ the columns

A column is lp(name), then 0x00 when it is empty, 0x01 ‖ the tag of its envelope, or 0x02 ‖ length u32 ‖ clear octets.
"""

import os
from collections.abc import Iterable

from crm.crypto.aead import NONCE, TAG, Aead, InvalidTag
from crm.crypto.lengths import lp
from crm.errors import Tampered

LENGTH = NONCE + TAG
"""Octets of every row seal."""


def empty(name: bytes) -> bytes:
    """A column without a value; `name` carries its length already, as `lp` gives it."""
    return name + b"\0"


def sealed(name: bytes, envelope: bytes) -> bytes:
    """A column that holds an envelope: its tag stands for it, since an opened cell is verified itself."""
    return before_tag(name) + envelope[-TAG:]


def before_tag(name: bytes) -> bytes:
    """The start of such a column: it is the same for everybody's."""
    return name + b"\1"


def clear(name: bytes, octets: bytes) -> bytes:
    """A column that holds clear octets."""
    return before_clear(name) + len(octets).to_bytes(4) + octets


def before_clear(name: bytes) -> bytes:
    """The start of such a column, before the length u32 and the octets."""
    return name + b"\2"


def place(tenant: str, entity: str, patient: bytes, row: str) -> bytes:
    """Which row: lp(tenant) ‖ lp(entity) ‖ patient 16 ‖ lp(row)."""
    return lp(tenant) + lp(entity) + patient + lp(row)


def message(where: bytes, version: int, columns: Iterable[bytes]) -> bytes:
    """What the seal covers."""
    return b"".join((*beginning(where, version), *columns))


def beginning(where: bytes, version: int) -> list[bytes]:
    """The pieces of that message before those of the columns."""
    return [b"SEAL1", where, version.to_bytes(8)]


def seal_row(cipher: Aead, covered: bytes) -> bytes:
    """A new seal over the message `covered`."""
    nonce = os.urandom(NONCE)
    return nonce + cipher.encrypt(nonce, b"", covered)


def verify_row(cipher: Aead, covered: bytes, seal: object) -> None:
    """Raises Tampered unless `seal` was made over exactly this message."""
    if not isinstance(seal, bytes) or len(seal) != LENGTH:
        raise Tampered("row seal")
    try:
        cipher.decrypt(seal[:NONCE], seal[NONCE:], covered)
    except InvalidTag:
        raise Tampered("row seal") from None
