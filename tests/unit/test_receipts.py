"""What a receipt says, computed from the ledger's entry and the times of keys alone."""

from dataclasses import replace

import pytest

from crm.crypto.note import Signer, open_note
from crm.crypto.stored_key import Name, StoredKey
from crm.domain.erasure import GROUNDS, ErasureReason
from crm.services.receipts import Receipt, receipt
from crm.store.keystore import KeyRow
from crm.store.ledger import Erasure

DAY = 86_400_000_000
AT = 1_795_287_303_000_000
NOW = AT + 5 * DAY
WRAP, BACKUP = 30 * DAY, 20 * DAY

ENTRY = Erasure(
    org="north",
    seq=7,
    patient_id="01a2011c-0f9a-75d6-a306-c3e2151297ba",
    whole=True,
    classes=("contact", "identity"),
    keys=(("contact", 1, 2), ("contact", 2, 3), ("identity", 1, 1)),
    index_versions=(2,),
    reason="PATIENT_REQUEST",
    request_id="r-1",
    by="officer",
    at=AT,
    hash=bytes(range(32)),
)


def key(
    use: str, no: int, *, destroyed_at: int | None = None, drained_at: int | None = None, began: int = AT
) -> KeyRow:
    """A key that began then; `destroyed_at` implies that it was forgotten."""
    kind = "index" if use == "index" else "wrap"
    state = "destroyed" if destroyed_at else "retiring" if drained_at else "active"
    stored = StoredKey(kind, "" if use == "index" else use, no, state, "test", "ref", None)
    return KeyRow(stored, began, None, began, None, drained_at, destroyed_at)


def of(*rows: KeyRow) -> dict[Name, KeyRow]:
    """Keys by name."""
    return {row.key.name: row for row in rows}


def made(
    rows: dict[Name, KeyRow] | None, entry: Erasure = ENTRY, signer: Signer | None = None, now: int = NOW
) -> Receipt:
    """The receipt of the entry."""
    return receipt(entry, rows, signer, now, wrap=WRAP, backup=BACKUP)


GONE = (
    key("contact", 1, destroyed_at=AT - DAY),
    key("contact", 2, destroyed_at=AT + DAY),
    key("contact", 3, destroyed_at=AT + 3 * DAY),
    key("identity", 1, destroyed_at=AT + 2 * DAY),
    key("index", 1, destroyed_at=AT + DAY),
    key("index", 2, destroyed_at=AT + DAY),
)


def test_every_epoch_up_to_the_last_counts() -> None:
    """A copy may have a data key under any epoch that it ever had: the last of them to go says from when."""
    whole = made(of(*GONE))
    assert whole.effective_in_copies_at == AT + 3 * DAY
    assert (whole.waits_for, whole.index_waits_for, whole.due_at) == ((), (), None)
    for missing in GONE[:4]:
        left = made(of(*(row for row in GONE if row is not missing)))
        use, no = missing.key.name
        assert (left.effective_in_copies_at, left.waits_for) == (None, (f"{use}/{no}",))
    later = key("contact", 4)  # began after the erasure: it never wrapped a key of this patient
    assert made(of(*GONE, later)) == whole


def test_a_key_that_is_forgotten_but_not_gone() -> None:
    """Without its root key's end an epoch in an old copy of the key store could still be opened."""
    forgotten = replace(key("identity", 1), key=replace(key("identity", 1).key, state="destroyed"))
    found = made(of(*GONE[:3], forgotten, *GONE[4:]))
    assert (found.effective_in_copies_at, found.waits_for) == (None, ("identity/1",))


def test_an_end_that_lies_ahead() -> None:
    """A keeper that waits before it destroys: the day is known, and is told as from that day on."""
    ahead = NOW + 7 * DAY
    found = made(of(*GONE[:3], key("identity", 1, destroyed_at=ahead), GONE[4], key("index", 2, destroyed_at=ahead)))
    assert (found.effective_in_copies_at, found.waits_for) == (ahead, ())
    assert found.index_waits_for == ("index/2",)
    assert "from 2026-12-03T" in found.note


def test_keys_that_were_gone_before() -> None:
    """Nothing is effective before it was done."""
    early = [replace(row, destroyed_at=AT - DAY) for row in GONE]
    assert made(of(*early)).effective_in_copies_at == AT
    assert made({}, replace(ENTRY, keys=(), index_versions=())).effective_in_copies_at == AT


def test_when_it_is_due() -> None:
    """An epoch is used for its period, and kept as long as copies are after nothing needs it; the last one counts."""
    used = of(*GONE[:3], key("identity", 1, began=AT - 10 * DAY))
    assert made(used).due_at == AT - 10 * DAY + WRAP + BACKUP
    overdue = of(*GONE[:3], key("identity", 1, began=AT - 90 * DAY))
    assert made(overdue).due_at == AT + BACKUP
    drained = of(*GONE[:3], key("identity", 1, drained_at=AT + 2 * DAY))
    assert made(drained).due_at == AT + 2 * DAY + BACKUP


def test_nobody_could_be_asked() -> None:
    """Then everything still has to wait: a receipt never promises more than is known."""
    found = made(None)
    assert found.effective_in_copies_at is None
    assert found.waits_for == ("contact/1", "contact/2", "contact/3", "identity/1")
    assert found.index_waits_for == ("index/1", "index/2")
    assert found.due_at == AT + WRAP + BACKUP


@pytest.mark.parametrize("reason", list(ErasureReason))
def test_the_note(reason: ErasureReason) -> None:
    """Plain lines, signed: what, why, since when, what it waits for, and what it does not cover."""
    signer = Signer("north/erasure", bytes(32))
    text = open_note(made(of(*GONE), replace(ENTRY, reason=reason.value), signer).note, signer.verifier_key)
    lines = dict(line.split(": ", 1) for line in text.splitlines()[1:])
    assert lines["patient"] == ENTRY.patient_id
    assert lines["erased"] == "the whole record"
    assert lines["reason"] == f"{reason.value}, {GROUNDS[reason]}"
    assert lines["ledger entry"] == f"7 {ENTRY.hash.hex()}"
    assert lines["in older copies"].startswith("from ")
    assert {"not covered", "not claimed", "as of", "search values in older copies"} <= lines.keys()
    waiting = made(None, replace(ENTRY, whole=False), signer).note
    assert "the classes contact, identity" in waiting
    assert "not yet;" in waiting
    assert "test a guess" in waiting


def test_without_a_signing_key() -> None:
    """The same lines, nothing that looks like a signature, and no key to verify it with."""
    signed, plain = made(of(*GONE), signer=Signer("north/erasure", bytes(32))), made(of(*GONE))
    assert open_note(signed.note, str(signed.verifier_key)) == plain.note
    assert plain.verifier_key is None
