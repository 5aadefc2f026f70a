"""The stored formats against known answers of another program; a failure here means that old data would not open."""

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from crm.crypto import detail, envelope, index, seal, wrapping
from crm.crypto.aead import Alg, cipher
from crm.crypto.lengths import lp, uuid_octets

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "crypto.json").read_text())
GIVEN = VECTORS["inputs"]
PATIENT = uuid_octets(GIVEN["patient"])
OWNER = envelope.owner(PATIENT, GIVEN["row"])
DATA_KEY = bytes.fromhex(GIVEN["data_key"])
PLAINTEXT = GIVEN["plaintext"].encode()


def _envelope(alg: Alg) -> bytes:
    return bytes.fromhex(next(row["envelope"] for row in VECTORS["envelopes"] if row["alg"] == alg))


def _frame(alg: Alg) -> envelope.Frame:
    return envelope.frame(alg, GIVEN["codec"], GIVEN["dek_no"], GIVEN["tenant"], GIVEN["entity"], GIVEN["field"])


def test_e15_associated_data_are_the_known_octets() -> None:
    """Header, names, patient and row stand in the associated data exactly as the format says."""
    framed = _frame(Alg.GCM)
    assert framed.header == _envelope(Alg.GCM)[:7]
    assert (framed.start + OWNER).hex() == VECTORS["associated_data"]


@pytest.mark.parametrize("alg", list(Alg))
def test_e15_known_envelopes_open(alg: Alg) -> None:
    """An envelope of each algorithm opens to its plaintext."""
    assert envelope.open_cell(cipher(alg, DATA_KEY), _frame(alg), OWNER, _envelope(alg)) == PLAINTEXT


@pytest.mark.parametrize("alg", list(Alg))
def test_e15_new_envelopes_are_the_same_octets_but_for_the_nonce(alg: Alg) -> None:
    """What is sealed now is what an independent assembly of the format gives under the nonce that was drawn."""
    key = cipher(alg, DATA_KEY)
    sealed = envelope.seal_cell(key, _frame(alg), OWNER, GIVEN["block"], PLAINTEXT)
    known = _envelope(alg)
    padded = PLAINTEXT + b"\x80\x00\x00"
    covered = b"FLE1" + known[:7] + bytes.fromhex(VECTORS["associated_data"])[11:]
    assert sealed[:7] == known[:7]
    assert sealed[19:] == key.encrypt(sealed[7:19], padded, covered)
    assert known[19:] == key.encrypt(known[7:19], padded, covered)


def test_e15_known_wrapped_data_key_unwraps() -> None:
    """The wrapped data key of epoch 7 gives the data key, and names its epoch."""
    wrapped = bytes.fromhex(VECTORS["wrapped_data_key"])
    wrap_key = wrapping.WrapKey(GIVEN["epoch"], Alg.GCM_SIV, cipher(Alg.GCM_SIV, bytes.fromhex(GIVEN["wrap_key"])))
    whose = wrapping.place(GIVEN["tenant"], PATIENT, GIVEN["class"], GIVEN["dek_no"])
    assert wrapping.epoch_of(wrapped) == GIVEN["epoch"]
    assert wrapping.unwrap(wrap_key, whose, wrapped) == DATA_KEY
    assert wrapping.unwrap(wrap_key, whose, wrapping.wrap(wrap_key, whose, DATA_KEY)) == DATA_KEY


@pytest.mark.parametrize("known", VECTORS["blind_indexes"], ids=lambda known: known["index"])
def test_e15_known_blind_indexes(known: dict[str, Any]) -> None:
    """Each index gives the known octets, cut to its bits."""
    info = index.search_info(GIVEN["tenant"], GIVEN["entity"], known["index"])
    template = index.started(bytes.fromhex(GIVEN["index_key"]), info)
    assert index.value(template, known["normalised"].encode(), known["bits"]).hex() == known["value"]


def test_e15_known_row_seal_verifies() -> None:
    """The known seal covers a sealed, an empty and a clear column, and the message it covers is rebuilt exactly."""
    columns = [
        seal.sealed(lp("phone"), _envelope(Alg.GCM)),
        seal.empty(lp("email")),
        seal.clear(lp("sms_opt_in"), b"true"),
    ]
    where = seal.place(GIVEN["tenant"], GIVEN["entity"], PATIENT, GIVEN["row"])
    covered = seal.message(where, VECTORS["row_seal"]["version"], columns)
    known = bytes.fromhex(VECTORS["row_seal"]["seal"])
    seal.verify_row(AESGCM(DATA_KEY), covered, known)
    assert AESGCM(DATA_KEY).encrypt(known[:12], b"", covered) == known[12:]


def test_known_detail_opens() -> None:
    """Words that another program sealed beside an event open, and their associated data are the known octets."""
    known = VECTORS["detail"]
    where = detail.place(GIVEN["tenant"], PATIENT, known["kind"], uuid_octets(known["ref"]))
    sealed, number = bytes.fromhex(known["octets"]), known["dek_no"]
    assert (b"DTL1" + sealed[:6] + where).hex() == known["associated_data"]
    assert detail.number_of(sealed) == number
    key = cipher(Alg.GCM, DATA_KEY)
    assert detail.open_detail(key, number, where, sealed) == known["words"].encode()
    again = detail.seal_detail(key, number, where, known["words"].encode())
    assert (again[:6], len(again)) == (sealed[:6], len(sealed))
    assert detail.open_detail(key, number, where, again) == known["words"].encode()
