"""One patient's data key for one class, bound to its place: the only way to seal and open cells, and details.

Stores nothing.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from crm.catalogue import CLASSES, Field, KeyClass
from crm.crypto import detail, envelope, seal
from crm.crypto.aead import TAG, Aead, Alg
from crm.crypto.lengths import lp, uuid_octets
from crm.crypto.secret import Secret
from crm.errors import Tampered

ENTITY = "patient"
"""The logical name of what all cells belong to; frozen, since stored cells are bound to it."""

_PROVENANCE = seal.before_clear(lp("provenance"))
_RECORD = seal.before_clear(lp("record"))
_VERSIONS = 1 << 63


class DataKey(Secret):
    """Seals and opens the cells of one (organisation, patient, class) under the data key numbered `dek_no`.

    Made by `KeySet` only. `cipher` is AES-256-GCM with the key already inside; `patient` the 16 octets of the id.
    Nonces are drawn inside for each message. The row of a cell is its class: a patient has one sealed row per class.
    """

    __slots__ = ("_cipher", "_frames", "_org", "_owner", "_patient", "_where", "dek_no", "key_class")

    def __init__(self, cipher: Aead, org: str, patient: bytes, key_class: KeyClass, dek_no: int) -> None:
        shelf = _shelf(org, key_class, dek_no)
        self.key_class = key_class
        self.dek_no = dek_no
        self._cipher = cipher
        self._org = org
        self._patient = patient
        self._owner = owner = envelope.owner(patient, key_class)
        self._where = shelf.entity + owner
        self._frames = shelf.frames

    def seal(self, field: Field, plaintext: bytes) -> bytes:
        """A new envelope for that field. Raises RuntimeError when the field belongs to another class."""
        framed = self._frames.get(field.name)
        if framed is None:
            raise self._foreign(field)
        return envelope.seal_cell(self._cipher, framed, self._owner, field.block, plaintext)

    def open(self, field: Field, sealed: bytes) -> bytes:
        """The plaintext of that field's envelope, by exactly one decryption.

        Raises Tampered for anything but the envelope sealed here, RuntimeError when the field belongs to another class.
        """
        try:
            framed = self._frames[field.name]
        except KeyError:
            raise self._foreign(field) from None
        return envelope.open_cell(self._cipher, framed, self._owner, sealed)

    def seal_row(self, version: int, cells: Mapping[int, bytes], provenance: bytes, *, record: bytes = b"") -> bytes:
        """A new seal, 28 octets, over the row's version, its cells (field number to envelope) and its clear columns.

        `record` is what the clear row of the record says: every row vouches for it, so that nobody can edit it unseen.
        """
        return seal.seal_row(self._cipher, self._covered(version, cells, provenance, record))

    def verify_row(
        self, sealed: bytes, version: int, cells: Mapping[int, bytes], provenance: bytes, *, record: bytes = b""
    ) -> None:
        """Raises Tampered unless this seal was made over exactly this row. Cells need not be opened for it."""
        if not 0 <= version < _VERSIONS:
            raise Tampered("row seal")
        seal.verify_row(self._cipher, self._covered(version, cells, provenance, record), sealed)

    def seal_detail(self, kind: str, ref: str, words: bytes) -> bytes:
        """Words sealed beside the event of that kind about `ref` (a UUID)."""
        return detail.seal_detail(self._cipher, self.dek_no, self._beside(kind, ref), words)

    def open_detail(self, kind: str, ref: str, sealed: bytes) -> bytes:
        """Those words, by exactly one decryption. Raises Tampered."""
        return detail.open_detail(self._cipher, self.dek_no, self._beside(kind, ref), sealed)

    def _beside(self, kind: str, ref: str) -> bytes:
        return detail.place(self._org, self._patient, kind, uuid_octets(ref))

    def _foreign(self, field: Field) -> RuntimeError:
        return RuntimeError(f"{field.name} is not sealed under {self.key_class}")

    def _covered(self, version: int, cells: Mapping[int, bytes], provenance: bytes, record: bytes) -> bytes:
        """The cells by number, then the clear columns: a field that only a newer program knows is covered as well."""
        pieces = seal.beginning(self._where, version)
        for number in sorted(cells):
            pieces += (_numbered(number), cells[number][-TAG:])
        pieces += (_PROVENANCE, len(provenance).to_bytes(4), provenance, _RECORD, len(record).to_bytes(4), record)
        return b"".join(pieces)


class _Shelf(NamedTuple):
    """What all patients of an organisation share in one class: how their rows begin, and the frames by field."""

    entity: bytes
    frames: Mapping[str, envelope.Frame]


@lru_cache(maxsize=1024)
def _shelf(org: str, key_class: KeyClass, dek_no: int) -> _Shelf:
    """Remembered, since it holds no secret and nothing of a patient."""
    frames = {
        field.name: envelope.frame(Alg.GCM, field.codec, dek_no, org, ENTITY, field.name)
        for field in CLASSES[key_class]
    }
    return _Shelf(lp(org) + lp(ENTITY), frames)


@lru_cache(maxsize=1024)
def _numbered(number: int) -> bytes:
    """How the column of a cell begins in the row seal, whose name is the field number u16; its tag follows."""
    return seal.before_tag(b"\0\2" + number.to_bytes(2))
