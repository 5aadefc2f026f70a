"""Opens one patient's record without Heed: from its SQLite file and its key ring, as docs/reading-without-us.md says.

python open_a_record.py heed.db keyring.json production north-clinic 0198f0c2-7a00-7000-8000-000000000001
"""

import base64
import json
import sqlite3
import struct
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

CIPHERS: dict[int, Any] = {1: AESGCM, 2: AESGCMSIV}
CODECS: dict[int, Any] = {1: bytes.decode, 3: json.loads, 4: bytes.decode, 5: b"1".__eq__}
FIELDS = {10: "preferred_name", 11: "names", 12: "birth_date", 13: "deceased", 14: "deceased_at", 15: "identifiers",
          16: "active", 17: "links", 20: "source_records", 21: "sensitivity", 22: "superseded_ids", 23: "merged_into",
          30: "contact_points", 31: "addresses",
          32: "related_persons", 33: "confidential_communication", 40: "languages", 41: "interpreter_needed",
          42: "accessible_formats", 43: "access_needs", 44: "cultural_need_handling", 45: "channel_preferences",
          46: "contact_windows", 47: "time_zone", 48: "communication_style", 49: "instructions",
          50: "appointment_preferences", 51: "case_manager", 52: "care_team", 53: "consents", 54: "suspensions",
          55: "restrictions", 60: "pronouns", 61: "administrative_gender", 62: "religion", 63: "religion_code",
          64: "cultural_need_detail"}  # fmt: skip
ROWS = """SELECT key_class, dek_no, cells, patient_key.wrapped, no, key_ref, crypto_key.wrapped
    FROM sealed_row JOIN patient_key USING (org, patient_id, key_class, dek_no) JOIN crypto_key USING (key_class)
    WHERE kind = 'wrap' AND no = epoch AND patient_key.state = 'live' AND org = ? AND patient_id = ?"""


def lp(text: str) -> bytes:
    """A text behind its length, so that joined texts cannot be confused."""
    return len(text.encode()).to_bytes(2, "big") + text.encode()


def opened(cipher: Any, sealed: bytes, header: int, bound: bytes) -> bytes:
    """What was sealed: a header, a nonce of 12 octets, a ciphertext with its tag, and what it is bound to."""
    return bytes(cipher.decrypt(sealed[header : header + 12], sealed[header + 12 :], bound))


def record(database: str, ring: str, env: str, org: str, patient: str) -> Iterator[tuple[str, Any]]:
    """The names and values of all fields that the record has. Raises LookupError where a key for them is missing."""
    roots = {
        key["id"]: base64.b64decode(key["key"]) for key in json.loads(Path(ring).read_text())["keys"] if "key" in key
    }
    whose, rows = uuid.UUID(patient).bytes, sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    for use, dek_no, box, wrapped, epoch, root, stored in rows.execute(ROWS, (org, patient)).fetchall():
        if root not in roots or stored is None:
            raise LookupError(f"{use} needs wrap key {epoch} under root key {root}: not in the ring, or destroyed")
        context = {"app": "heed", "env": env, "no": str(epoch), "purpose": "wrap", "use": use}
        bound = b"ROOT1" + stored[:2] + lp(root) + json.dumps(context, separators=(",", ":")).encode()
        alg, *wrap_key = opened(AESGCMSIV(roots[root]), stored, 2, bound)
        bound = b"DEK1" + wrapped[:6] + lp(org) + whose + lp(use) + dek_no.to_bytes(4, "big")
        data_key, start = AESGCM(opened(CIPHERS[alg](bytes(wrap_key)), wrapped, 6, bound)), 0
        while start < len(box):
            number, length = struct.unpack_from(">HI", box, start)
            cell, start = box[start + 6 : start + 6 + length], start + 6 + length
            bound = b"FLE1" + cell[:7] + lp(org) + lp("patient") + lp(FIELDS[number]) + whose + lp(use)
            yield FIELDS[number], CODECS[cell[2]](opened(data_key, cell, 7, bound).rstrip(b"\0")[:-1])
    rows.close()


if __name__ == "__main__":
    if len(sys.argv) != 6:
        sys.exit("usage: open_a_record.py DATABASE KEY_RING ENV ORGANISATION PATIENT")
    try:
        print(json.dumps(dict(record(*sys.argv[1:])), indent=2, ensure_ascii=False))
    except LookupError as failure:
        sys.exit(f"not readable: {failure}")
