"""Cosignatures: a checkpoint that public witnesses really cosigned, and everything that may be wrong with one (T8)."""

import base64

import pytest

from crm.crypto.cosignature import COSIGNATURE, Cosigner, cosigned_at, good_lines, lines_of
from crm.crypto.note import Signer, open_note, parsed, verifier_key, with_signatures
from crm.errors import Tampered

# A checkpoint of the Certificate Transparency log "Arche 2025h1" (staging) with its witnesses, as it was published;
# the log's own signature is of two types, its Ed25519 key and that of the witness "remora" are public.
LOG = "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
PUBLISHED = """\
arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— witness1.smartit.nu/witness1 pIyCDwAAAABqEiEghIp82KWebrw7/oHQwlTAm3g2RKS4+eebl8eO0WH+/iEcxZ75W3u5hNI7TOQtmJbqmNWVuE0tgh0XwzdZsDsUAQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
— witness.stagemole.eu Z/euoAAAAABqEiEgw0i+7g2ENfDAWHmtRzCfKTHSDwYDJA2NmKeGi9Y8FtEyOUvVr+AJmIY/2TUFucgKi7lI7cUiOvKFYe/TmN9DAg==
"""  # noqa: E501 - as it was published

# The example of the specification, https://c2sp.org/tlog-cosignature: its keys are not published, its form is.
EXAMPLE = "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA=="

SIGNER = Signer("log.test/north/1", bytes(range(32)))
COSIGNER = Cosigner("witness.test/w1", bytes(range(1, 33)))
TEXT = "log.test/north/1\n3\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n"
NOTE = SIGNER.sign(TEXT)
COSIGNED = with_signatures(NOTE, COSIGNER.cosign(TEXT, 1_795_287_303))


def test_a_published_checkpoint_is_that_of_its_log_and_of_its_witness() -> None:
    """What a public log signed and a public witness cosigned verifies under their keys."""
    assert open_note(PUBLISHED, LOG).startswith("arche2025h1.staging.ct.transparency.dev\n1432088532\n")
    assert cosigned_at(PUBLISHED, WITNESS) == 0x6A122120
    assert lines_of(PUBLISHED, WITNESS).startswith("— remora.n621.de 2net5w")


def test_the_example_of_the_specification_has_our_form() -> None:
    """Key id, time and signature stand where the specification's own example has them."""
    [line] = parsed(f"{TEXT}\n— witness.example.com/w1 {EXAMPLE}\n").signatures
    assert (len(line.octets), int.from_bytes(line.octets[:8])) == (72, 1_679_315_147)


def test_several_keys_vouch_for_one_text() -> None:
    """The line of a witness stands below that of the log, and each opens for itself."""
    assert open_note(COSIGNED, SIGNER.verifier_key) == TEXT
    assert cosigned_at(COSIGNED, COSIGNER.verifier_key) == 1_795_287_303
    assert str(verifier_key(COSIGNER.verifier_key, COSIGNATURE)) == COSIGNER.verifier_key


def test_the_latest_cosignature_counts() -> None:
    """A witness may cosign the same tree again, which says that it is still the largest."""
    again = with_signatures(COSIGNED, COSIGNER.cosign(TEXT, 1_795_300_000))
    assert cosigned_at(again, COSIGNER.verifier_key) == 1_795_300_000
    assert with_signatures(again, COSIGNER.cosign(TEXT, 1_795_300_000)) == again


@pytest.mark.parametrize("place", range(0, len(TEXT), 5))
def test_a_changed_text_is_noticed(place: int) -> None:
    """No octet of the text can be changed under a cosignature."""
    other = chr(ord(TEXT[place]) ^ 1) if TEXT[place] != "\n" else " "
    with pytest.raises(Tampered):
        cosigned_at(COSIGNED.replace(TEXT, TEXT[:place] + other + TEXT[place + 1 :]), COSIGNER.verifier_key)


def test_the_time_is_signed() -> None:
    """A cosignature cannot be made to look younger."""
    [line] = [each for each in parsed(COSIGNED).signatures if each.name == COSIGNER.name]
    younger = base64.b64encode(line.key_id + (1_795_999_999).to_bytes(8) + line.octets[8:]).decode()
    with pytest.raises(Tampered):
        cosigned_at(f"{TEXT}\n— {COSIGNER.name} {younger}\n", COSIGNER.verifier_key)


def test_a_time_beyond_all_times_is_refused() -> None:
    """A time of 2^63 and more is none, even with a signature over it."""
    with pytest.raises(Tampered, match="form"):
        cosigned_at(with_signatures(NOTE, COSIGNER.cosign(TEXT, 2**63)), COSIGNER.verifier_key)


@pytest.mark.parametrize(
    "note",
    [
        NOTE,
        COSIGNED.replace("\n", "\r\n"),
        COSIGNED.replace("north", "nor\0th"),
        COSIGNED.replace("witness.test", "other.test"),
        COSIGNED.replace("log.test/north/1\n3", "log.test/south/1\n3"),
        COSIGNED.replace("\n3\n", "\n3\nmore\n"),
        COSIGNED.rstrip("\n"),
        COSIGNED[:-3] + "?=\n",
        f"{TEXT}\n— witness.test/w1 {base64.b64encode(b'1234' + bytes(72)).decode()}\n",
        COSIGNED + NOTE.rpartition("\n\n")[2] * 15,
    ],
    ids=["unknown", "crlf", "nul", "name", "origin", "line", "end", "base64", "key", "seventeen"],
)
def test_what_this_witness_did_not_cosign_is_refused(note: str) -> None:
    """Unknown keys, other names, other origins, more lines, other characters, and more than sixteen signatures."""
    with pytest.raises(Tampered):
        cosigned_at(note, COSIGNER.verifier_key)


def test_sixteen_signatures_are_read() -> None:
    """As many as the specification asks every reader to accept."""
    assert cosigned_at(COSIGNED + NOTE.rpartition("\n\n")[2] * 14, COSIGNER.verifier_key)


def test_a_signature_is_no_cosignature() -> None:
    """The key of a log cannot speak as a witness, nor a witness's as a log, even under one name and one seed."""
    twin = Cosigner(SIGNER.name, bytes(range(32)))
    assert twin.verifier_key != SIGNER.verifier_key
    with pytest.raises(Tampered):
        cosigned_at(NOTE, twin.verifier_key)
    with pytest.raises(RuntimeError, match="type"):
        cosigned_at(NOTE, SIGNER.verifier_key)
    with pytest.raises(RuntimeError, match="type"):
        open_note(COSIGNED, twin.verifier_key)


def test_good_lines_among_others() -> None:
    """Each is judged alone: made-up ones in the same name, those of other texts, and nonsense take nothing away."""
    good = COSIGNED.rpartition("\n\n")[2].splitlines(keepends=True)[-1]
    name = f"\u2014 {COSIGNER.name}"
    noise = f"{name} AAAAAAAA\n\u2028\n\n{COSIGNER.cosign('another text' + chr(10), 5)}{name}"
    assert good_lines(TEXT, noise, COSIGNER.verifier_key) == {}
    found = good_lines(TEXT, f"{noise}\n{good}{noise}", COSIGNER.verifier_key)
    assert found == {good: cosigned_at(COSIGNED, COSIGNER.verifier_key)}
    assert good_lines(TEXT, good, WITNESS) == {}
